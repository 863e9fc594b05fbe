"""Certificates: one lineage an app, asked for only where it is not as wanted."""

from __future__ import annotations

from typing import Any

import pytest

from operations.certbot import Lineage, Lineages, certificate
from tests.unit.hosts import commands, run, text

SERVER = "https://ca.example/directory"
START = "/usr/local/lib/onebox/certbot/bin/certbot certonly --non-interactive --agree-tos"
END = f"--webroot --webroot-path /var/lib/onebox/acme --server {SERVER} --cert-name links"
WANTED: dict[str, Any] = {
    "lineage": "links",
    "domains": ["b.example.com", "a.example.com"],
    "server": SERVER,
    "profile": "classic",
    "email": None,
    "ca": None,
}
DOMAINS = "-d b.example.com -d a.example.com && sync"


def asked(standing: Lineage | None, **changes: Any) -> list[str]:
    facts = {Lineages: {"links": standing} if standing else {}}
    found = commands(certificate, **{**WANTED, **changes}, facts=facts)
    return [" ".join(text(command).split()) for command in found]


def test_lineages_are_read_by_name() -> None:
    output = [f"links {SERVER} b.example.com a.example.com", f"other {SERVER} c.example.com"]
    assert Lineages().process(output) == {
        "links": Lineage(SERVER, ("a.example.com", "b.example.com")),
        "other": Lineage(SERVER, ("c.example.com",)),
    }


def test_a_certificate_that_nobody_renews_is_adopted_and_renewed() -> None:
    [standing] = Lineages().process(["links  a.example.com b.example.com"]).values()
    wanted = Lineage(SERVER, ("a.example.com", "b.example.com"))
    assert standing.unlike(wanted) == f"is renewed by nobody, not by {SERVER}"
    [command] = asked(standing)
    adopt, _, renew = command.partition(" && ")
    file = "/etc/letsencrypt/live/links"
    assert adopt == (
        rf"printf 'cert = {file}/cert.pem\nprivkey = {file}/privkey.pem\n"
        rf"chain = {file}/chain.pem\nfullchain = {file}/fullchain.pem\n[renewalparams]\n'"
        " > /etc/letsencrypt/renewal/links.conf"
    )
    assert renew.startswith(START)
    assert " --force-renewal " in renew


def test_a_host_without_certificates_has_no_lineages() -> None:
    assert Lineages().default() == {}
    assert run(Lineages().command().replace("/etc/letsencrypt", "/absent")) == []


@pytest.mark.parametrize("domains", [("a.example.com", "b.example.com")])
def test_a_certificate_that_is_there_is_left_to_its_renewal(domains: tuple[str, ...]) -> None:
    assert asked(Lineage(SERVER, domains)) == []


def test_a_certificate_is_asked_for() -> None:
    [command] = asked(None)
    assert command == (
        f"{START} --register-unsafely-without-email {END}"
        f" --preferred-profile classic --renew-with-new-domains --expand {DOMAINS}"
    )


def test_a_kind_of_certificate_is_asked_for_as_one_word() -> None:
    [command] = asked(None, profile="short lived; id")
    assert " --preferred-profile 'short lived; id' --renew-with-new-domains " in command


@pytest.mark.parametrize("domains", [("a.example.com",), ("a.example.com", "c.example.com")])
def test_other_domains_need_another_certificate(domains: tuple[str, ...]) -> None:
    [command] = asked(Lineage(SERVER, domains))
    assert command.endswith(f"--renew-with-new-domains --expand {DOMAINS}")


def test_another_issuer_is_asked_at_once() -> None:
    other = Lineage("https://staging.example/directory", ("a.example.com", "b.example.com"))
    [command] = asked(other)
    assert f"--server {SERVER}" in command
    assert "--force-renewal" in command


def test_the_authority_may_write_to_an_address() -> None:
    [command] = asked(None, email="you+acme@example.com; id")
    assert command.startswith(f"{START} --email 'you+acme@example.com; id' {END}")


def test_an_authority_of_ones_own_is_trusted() -> None:
    [command] = asked(None, ca="/etc/onebox/acme-ca.pem")
    assert command.startswith(f"env REQUESTS_CA_BUNDLE=/etc/onebox/acme-ca.pem {START}")
