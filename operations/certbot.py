"""Certificates by certbot, one lineage an app."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from pyinfra import host, logger
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.facts import FactBase
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State

from operations import acme_errors
from operations.difference import Difference, mends
from operations.python import BASE

CERTBOT = f"{BASE}/certbot/bin/certbot"
WEBROOT = "/var/lib/onebox/acme"
LIVE = "/etc/letsencrypt/live"
RENEWAL = "/etc/letsencrypt/renewal"
ACCOUNTS = "/etc/letsencrypt/accounts"
# Which ACME server was given which e-mail address last: certbot itself forgets it.
CONTACT = "/var/lib/onebox/acme-contact"
FILES = "cert", "privkey", "chain", "fullchain"
CLASSIC = "classic"  # what a certificate is of that was asked for without a profile
# What could not be had in this run, a sentence each, by host and app ("" is the account).
failures: dict[tuple[str, str], str] = {}
# ACME servers that did not answer in this run: asking them for each app would take minutes.
_silent: dict[tuple[str, str], acme_errors.Why] = {}


@dataclass(frozen=True)
class Lineage:
    """A certificate that is renewed under one name: by whom, for which domains, of which kind."""

    server: str
    """Empty where certbot has lost its notes, and nobody renews it."""
    domains: tuple[str, ...]
    profile: str = CLASSIC

    def unlike(self, wanted: Lineage) -> str:
        """Return how this one differs from the one that is wanted."""
        if self.domains != wanted.domains:
            return f"is for {', '.join(self.domains)}, not for {', '.join(wanted.domains)}"
        if self.server != wanted.server:
            return f"is renewed by {self.server or 'nobody'}, not by {wanted.server}"
        return f"is of the profile {self.profile}, not {wanted.profile}"


class Lineages(FactBase[dict[str, Lineage]]):
    """The lineages on the host that have a certificate, by name."""

    def command(self) -> str:
        """Return one command that reads each certificate's names and who is asked to renew it."""
        return (
            f"for pem in {LIVE}/*/fullchain.pem; do [ -e $pem ] || continue;"
            " name=$(basename $(dirname $pem)); notes=" + RENEWAL + "/$name.conf;"
            " server=$(sed -n 's/^server = //p' $notes 2>/dev/null);"
            " profile=$(sed -n 's/^preferred_profile = //p' $notes 2>/dev/null);"
            " names=$(openssl x509 -in $pem -noout -ext subjectAltName | tail -n +2"
            " | grep -o 'DNS:[^, ]*' | cut -c5-);"
            """ printf '%s\\t%s\\t%s\\t%s\\n' "$name" "$server" "$profile" "$(echo $names)"; done"""
        )

    @staticmethod
    def default() -> dict[str, Lineage]:
        """Return the state of a host without certificates."""
        return {}

    def process(self, output: list[str]) -> dict[str, Lineage]:
        """Return the lineages by name."""
        lineages = {}
        for line in output:
            name, server, profile, domains = line.split("\t")
            lineages[name] = Lineage(server, tuple(sorted(domains.split())), profile or CLASSIC)
        return lineages


class Contact(FactBase[str]):
    """The ACME server and the e-mail address that it was given last; nothing if nobody noted it."""

    def command(self) -> str:
        """Return the command."""
        return f"cat {CONTACT} 2>/dev/null || true"

    @staticmethod
    def default() -> str:
        """Return what a host without the note has."""
        return ""

    def process(self, output: list[str]) -> str:
        """Return the note."""
        return "".join(output)


@operation()
def certificate(
    lineage: str,
    domains: Sequence[str],
    *,
    server: str,
    profile: str,
    email: str | None,
    ca: str | None,
    address: str = "",
) -> Generator[FunctionCommand, None, None]:
    """Have a certificate for exactly these domains, of this profile, from this ACME server.

    A certificate that is there is left to the renewal timer. `ca` is a file on the host to trust
    when talking to the ACME server; `address` is the host's own, where it is known.
    """
    standing = host.get_fact(Lineages).get(lineage)
    wanted = Lineage(server, tuple(sorted(domains)), profile)
    if standing == wanted:
        return
    how = standing.unlike(wanted) if standing else "is missing"
    renewed = standing and (standing.server, standing.profile) == (server, profile)
    force = "--force-renewal" if standing and not renewed else ""
    adopt = _adopt(lineage) if standing and not standing.server else ""
    account = shlex.quote(ACCOUNTS + "/" + "".join(urlsplit(server)[1:3]))
    get = (
        f"test -d {account} || new=1; {adopt}{_trust(ca)}{CERTBOT} certonly --non-interactive"
        f" --agree-tos {_contact(email)}"
        f" --webroot --webroot-path {WEBROOT} --server {shlex.quote(server)} --cert-name {lineage}"
        f" --preferred-profile {shlex.quote(profile)} --renew-with-new-domains --expand {force}"
        f" {' '.join(f'-d {domain}' for domain in domains)}"
        # The account is as old as this; later ones get another address by `contact`.
        f' && {{ test -z "$new" || {{ {_note(server, email)}; }}; }}'
        # certbot does not: after a power cut nginx would find an empty certificate, and not start.
        " && sync"
    )
    facts = acme_errors.Request(tuple(domains), server, address)
    yield mends(
        FunctionCommand(_ask, (lineage, get, facts), {}), Difference(f"certificate {lineage}", how)
    )


@operation()
def contact(
    server: str, email: str | None, ca: str | None
) -> Generator[FunctionCommand, None, None]:
    """Let the ACME server write to this address, or to nobody, after it was changed."""
    noted = host.get_fact(Contact)
    has_account = any(each.server == server for each in host.get_fact(Lineages).values())
    if not has_account or noted == f"{server} {email or ''}".strip() or not (noted or email):
        return
    update = (
        f"{_trust(ca)}{CERTBOT} update_account --non-interactive --agree-tos {_contact(email)}"
        f" --server {shlex.quote(server)} && {_note(server, email)}"
    )
    how = "is registered with another e-mail address"
    yield mends(
        FunctionCommand(_ask, ("", update, acme_errors.Request((), server)), {}),
        Difference(f"account at {server}", how),
    )


def _ask(state: State, host: Host, name: str, command: str, request: acme_errors.Request) -> bool:  # noqa: ARG001 - pyinfra's signature
    """Run certbot; keep in one sentence why it failed."""
    failures.pop((host.name, name), None)
    if known := _silent.get((host.name, request.server)):
        failures[host.name, name] = request.sentence(known)
        return False
    done, output = host.run_shell_command(
        StringCommand(command), _sudo=bool(host.data.get("_sudo")), print_output=False
    )
    if done:
        return True
    why = acme_errors.explain("\n".join(line.line for line in output), request)
    if why.silent:
        _silent[host.name, request.server] = why
    failures[host.name, name] = request.sentence(why)
    logger.error(f"{host.print_prefix}{failures[host.name, name]}")
    return False


def failed(host: Host) -> dict[str, str]:
    """Return why certificates could not be had in this run on a host, by app."""
    return {app: why for (name, app), why in failures.items() if name == host.name}


def _trust(ca: str | None) -> str:
    return f"env REQUESTS_CA_BUNDLE={ca} " if ca else ""


def _contact(email: str | None) -> str:
    return f"--email {shlex.quote(email)}" if email else "--register-unsafely-without-email"


def _note(server: str, email: str | None) -> str:
    """Return a command that notes which address was given."""
    note = shlex.quote(f"{server} {email or ''}".strip())
    return f"umask 077 && echo {note} > {CONTACT}.new && mv -T {CONTACT}.new {CONTACT}"


def _adopt(lineage: str) -> str:
    """Return the beginning of a command: write the notes without which certbot refuses to touch a
    certificate that is there. The rest of them it writes when it renews."""
    notes = "".join(f"{file} = {LIVE}/{lineage}/{file}.pem\\n" for file in FILES)
    return f"printf '{notes}[renewalparams]\\n' > {RENEWAL}/{lineage}.conf && "
