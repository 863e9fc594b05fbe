"""Certificates from certbot, one lineage per app."""

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
from operations.difference import Difference, fixes
from operations.python import BASE

CERTBOT = f"{BASE}/certbot/bin/certbot"
WEBROOT = "/var/lib/onebox/acme"
LIVE = "/etc/letsencrypt/live"
RENEWAL = "/etc/letsencrypt/renewal"
ACCOUNTS = "/etc/letsencrypt/accounts"
# The ACME server and the e-mail address last sent to it; certbot keeps no record of it.
CONTACT = "/var/lib/onebox/acme-contact"
FILES = "cert", "privkey", "chain", "fullchain"
CLASSIC = "classic"  # the profile of a certificate that was requested without one
# Why this run got no certificate, in a sentence, by host and app ("" is the account).
failures: dict[tuple[str, str], str] = {}
# ACME servers that this run could not reach: each further try would take most of a minute.
_unreachable: dict[tuple[str, str], acme_errors.Failure] = {}


@dataclass(frozen=True)
class Lineage:
    """A certificate that is renewed under one name: issuer, domains and profile."""

    server: str
    """Empty if its renewal configuration is missing, so that nothing renews it."""
    domains: tuple[str, ...]
    profile: str = CLASSIC

    def difference_from(self, expected: Lineage) -> str:
        """Return how it differs from the expected one."""
        if self.domains != expected.domains:
            return f"is for {', '.join(self.domains)}, not for {', '.join(expected.domains)}"
        if not self.server:
            return f"is not renewed by {expected.server}"
        if self.server != expected.server:
            return f"is renewed by {self.server}, not by {expected.server}"
        return f"has profile {self.profile}, not {expected.profile}"


class Lineages(FactBase[dict[str, Lineage]]):
    """The lineages on the server that have a certificate, by name."""

    def command(self) -> str:
        """Return one command that reads each certificate's names and renewal configuration."""
        return (
            f"for pem in {LIVE}/*/fullchain.pem; do [ -e $pem ] || continue;"
            " name=$(basename $(dirname $pem)); config=" + RENEWAL + "/$name.conf;"
            " server=$(sed -n 's/^server = //p' $config 2>/dev/null);"
            " profile=$(sed -n 's/^preferred_profile = //p' $config 2>/dev/null);"
            " names=$(openssl x509 -in $pem -noout -ext subjectAltName | tail -n +2"
            " | grep -o 'DNS:[^, ]*' | cut -c5-);"
            """ printf '%s\\t%s\\t%s\\t%s\\n' "$name" "$server" "$profile" "$(echo $names)"; done"""
        )

    @staticmethod
    def default() -> dict[str, Lineage]:
        """Return no lineages."""
        return {}

    def process(self, output: list[str]) -> dict[str, Lineage]:
        """Return the lineages by name."""
        lineages = {}
        for line in output:
            name, server, profile, domains = line.split("\t")
            lineages[name] = Lineage(server, tuple(sorted(domains.split())), profile or CLASSIC)
        return lineages


class Contact(FactBase[str]):
    """The ACME server and the e-mail address last sent to it; "" without a record."""

    def command(self) -> str:
        """Return the command."""
        return f"cat {CONTACT} 2>/dev/null || true"

    @staticmethod
    def default() -> str:
        """Return no record."""
        return ""

    def process(self, output: list[str]) -> str:
        """Return the record."""
        return "".join(output)


@operation()
def obtain(
    lineage: str,
    domains: Sequence[str],
    *,
    server: str,
    profile: str,
    email: str | None,
    ca: str | None,
    address: str = "",
) -> Generator[FunctionCommand, None, None]:
    """Obtain a certificate for exactly these domains, of this profile, from this ACME server.

    The renewal timer renews an existing one. `ca` is a file on the server with the root to trust
    for the ACME server; `address` is the server's own IP address, if known.
    """
    current = host.get_fact(Lineages).get(lineage)
    expected = Lineage(server, tuple(sorted(domains)), profile)
    if current == expected:
        return
    how = current.difference_from(expected) if current else "is missing"
    is_same_kind = current and (current.server, current.profile) == (server, profile)
    force = "--force-renewal" if current and not is_same_kind else ""
    adopt = _adopt(lineage) if current and not current.server else ""
    options = (
        f"--server {shlex.quote(server)} --cert-name {lineage}"
        f" --preferred-profile {shlex.quote(profile)} --renew-with-new-domains --expand {force}"
        f" {' '.join(f'-d {domain}' for domain in domains)}"
    )
    get = _certonly(adopt + _trust(ca), options, server, email)
    request = acme_errors.Request(tuple(domains), server, address)
    command = FunctionCommand(_run_certbot, (lineage, get, request), {})
    yield fixes(command, Difference(f"certificate {lineage}", how))


@operation()
def update_contact(
    server: str, email: str | None, ca: str | None
) -> Generator[FunctionCommand, None, None]:
    """Send the ACME server a changed e-mail address, or its removal."""
    recorded = host.get_fact(Contact)
    has_account = any(each.server == server for each in host.get_fact(Lineages).values())
    if not has_account or recorded == _contact_of(server, email) or not (recorded or email):
        return
    update = (
        f"{_trust(ca)}{CERTBOT} update_account --non-interactive --agree-tos {_contact(email)}"
        f" --server {shlex.quote(server)} && {_record_contact(server, email)}"
    )
    how = "is registered with another e-mail address"
    yield fixes(
        FunctionCommand(_run_certbot, ("", update, acme_errors.Request((), server)), {}),
        Difference(f"account at {server}", how),
    )


def _run_certbot(
    state: State,  # noqa: ARG001 - pyinfra's signature
    host: Host,
    name: str,
    command: str,
    request: acme_errors.Request,
) -> bool:
    """Run certbot; keep the reason of a failure for the end of the run."""
    failures.pop((host.name, name), None)
    if known := _unreachable.get((host.name, request.server)):
        failures[host.name, name] = request.message(known)
        return False
    done, output = host.run_shell_command(
        StringCommand(command), _sudo=bool(host.data.get("_sudo")), print_output=False
    )
    if done:
        return True
    failure = acme_errors.explain("\n".join(line.line for line in output), request)
    if failure.unreachable:
        _unreachable[host.name, request.server] = failure
    failures[host.name, name] = request.message(failure)
    logger.error(f"{host.print_prefix}{failures[host.name, name]}")
    return False


def _certonly(before: str, options: str, server: str, email: str | None) -> str:
    """Return the command that requests a certificate, and records the address of a new account."""
    account = shlex.quote(ACCOUNTS + "/" + "".join(urlsplit(server)[1:3]))
    return (
        f"test -d {account} || new=1; {before}{CERTBOT} certonly --non-interactive --agree-tos"
        f" {_contact(email)} --webroot --webroot-path {WEBROOT} {options}"
        # A new account; `update_contact` changes the address of an existing one.
        f' && {{ test -z "$new" || {{ {_record_contact(server, email)}; }}; }}'
        # certbot doesn't: after a power cut, nginx could find an empty certificate and not start.
        " && sync"
    )


def failed(host: Host) -> dict[str, str]:
    """Return why this run got no certificates on a host, by app."""
    return {app: why for (name, app), why in failures.items() if name == host.name}


def _trust(ca: str | None) -> str:
    return f"env REQUESTS_CA_BUNDLE={ca} " if ca else ""


def _contact(email: str | None) -> str:
    return f"--email {shlex.quote(email)}" if email else "--register-unsafely-without-email"


def _contact_of(server: str, email: str | None) -> str:
    return f"{server} {email or ''}".strip()


def _record_contact(server: str, email: str | None) -> str:
    """Return a command that records which address the ACME server has."""
    contact = shlex.quote(_contact_of(server, email))
    return f"umask 077 && echo {contact} > {CONTACT}.new && mv -T {CONTACT}.new {CONTACT}"


def _adopt(lineage: str) -> str:
    """Return the beginning of a command: write the renewal configuration without which certbot
    refuses to touch an existing certificate. certbot completes it when it renews."""
    paths = "".join(f"{file} = {LIVE}/{lineage}/{file}.pem\\n" for file in FILES)
    return f"printf '{paths}[renewalparams]\\n' > {RENEWAL}/{lineage}.conf && "
