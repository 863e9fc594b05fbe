"""Certificates by certbot, one lineage an app."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from pyinfra import host
from pyinfra.api.command import StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation

from operations.difference import Difference, mends
from operations.python import BASE

CERTBOT = f"{BASE}/certbot/bin/certbot"
WEBROOT = "/var/lib/onebox/acme"
LIVE = "/etc/letsencrypt/live"
RENEWAL = "/etc/letsencrypt/renewal"
FILES = "cert", "privkey", "chain", "fullchain"


@dataclass(frozen=True)
class Lineage:
    """A certificate that is renewed under one name: who renews it, and for which domains."""

    server: str
    """Empty where certbot has lost its notes, and nobody renews it."""
    domains: tuple[str, ...]

    def unlike(self, wanted: Lineage) -> str:
        """Return how this one differs from the one that is wanted."""
        if self.domains != wanted.domains:
            return f"is for {', '.join(self.domains)}, not for {', '.join(wanted.domains)}"
        return f"is renewed by {self.server or 'nobody'}, not by {wanted.server}"


class Lineages(FactBase[dict[str, Lineage]]):
    """The lineages on the host that have a certificate, by name."""

    def command(self) -> str:
        """Return one command that reads each certificate's names and who is asked to renew it."""
        return (
            f"for pem in {LIVE}/*/fullchain.pem; do [ -e $pem ] || continue;"
            " name=$(basename $(dirname $pem));"
            f" server=$(sed -n 's/^server = //p' {RENEWAL}/$name.conf 2>/dev/null);"
            " names=$(openssl x509 -in $pem -noout -ext subjectAltName | tail -n +2"
            " | grep -o 'DNS:[^, ]*' | cut -c5-);"
            ' echo "$name" "$server" $names; done'
        )

    @staticmethod
    def default() -> dict[str, Lineage]:
        """Return the state of a host without certificates."""
        return {}

    def process(self, output: list[str]) -> dict[str, Lineage]:
        """Return the lineages by name."""
        lineages = {}
        for line in output:
            name, server, *domains = line.split(" ")
            lineages[name] = Lineage(server, tuple(sorted(domains)))
        return lineages


@operation()
def certificate(
    lineage: str,
    domains: Sequence[str],
    *,
    server: str,
    profile: str,
    email: str | None,
    ca: str | None,
) -> Generator[StringCommand, None, None]:
    """Have a certificate for exactly these domains, issued by this ACME server.

    A certificate that is there is left to the renewal timer. `ca` is a file on the host to trust
    when talking to the ACME server.
    """
    standing = host.get_fact(Lineages).get(lineage)
    wanted = Lineage(server, tuple(sorted(domains)))
    if standing == wanted:
        return
    how = standing.unlike(wanted) if standing else "is missing"
    contact = f"--email {shlex.quote(email)}" if email else "--register-unsafely-without-email"
    force = "--force-renewal" if standing and standing.server != server else ""
    trust = f"env REQUESTS_CA_BUNDLE={ca} " if ca else ""
    adopt = _adopt(lineage) if standing and not standing.server else ""
    get = StringCommand(
        f"{adopt}{trust}{CERTBOT} certonly --non-interactive --agree-tos {contact}"
        f" --webroot --webroot-path {WEBROOT} --server {shlex.quote(server)} --cert-name {lineage}"
        f" --preferred-profile {shlex.quote(profile)} --renew-with-new-domains --expand {force}"
        f" {' '.join(f'-d {domain}' for domain in domains)}"
        # certbot does not: after a power cut nginx would find an empty certificate, and not start.
        " && sync"
    )
    yield mends(get, Difference(f"certificate {lineage}", how))


def _adopt(lineage: str) -> str:
    """Return the beginning of a command: write the notes without which certbot refuses to touch a
    certificate that is there. The rest of them it writes when it renews."""
    notes = "".join(f"{file} = {LIVE}/{lineage}/{file}.pem\\n" for file in FILES)
    return f"printf '{notes}[renewalparams]\\n' > {RENEWAL}/{lineage}.conf && "
