"""Certificates: one lineage per app, requested only if it differs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trustme

from operations import certbot
from operations.acme_errors import Request
from operations.certbot import Contact, Lineage, Lineages, obtain, update_contact
from tests.unit.hosts import commands, run

SERVER = "https://ca.example/directory"
START = "/usr/local/lib/onebox/certbot/bin/certbot certonly --non-interactive --agree-tos"
END = f"--webroot --webroot-path /var/lib/onebox/acme --server {SERVER} --cert-name links"
ARGUMENTS: dict[str, Any] = {
    "lineage": "links",
    "domains": ["b.example.com", "a.example.com"],
    "server": SERVER,
    "profile": "classic",
    "email": None,
    "ca": None,
}
NEW = "test -d /etc/letsencrypt/accounts/ca.example/directory || new=1; "
NOTE = "umask 077 && echo {} > /var/lib/onebox/acme-contact.new"
NOTE += " && mv -T /var/lib/onebox/acme-contact.new /var/lib/onebox/acme-contact"
DOMAINS = "-d b.example.com -d a.example.com"
DONE = f' && {{ test -z "$new" || {{ {NOTE.format(SERVER)}; }}; }} && sync'


def certbot_commands(current: Lineage | None, **changes: Any) -> list[str]:
    facts = {Lineages: {"links": current} if current else {}}
    found = commands(obtain, **{**ARGUMENTS, **changes}, facts=facts)
    return [" ".join(command.args[1].split()).removeprefix(NEW) for command in found]


def test_lineages_are_read_by_name() -> None:
    output = [
        f"links\t{SERVER}\tshort lived\tb.example.com a.example.com",
        f"other\t{SERVER}\t\tc.example.com",
    ]
    assert Lineages().process(output) == {
        "links": Lineage(SERVER, ("a.example.com", "b.example.com"), "short lived"),
        "other": Lineage(SERVER, ("c.example.com",), "classic"),
    }


def test_lineages_are_read_from_certbots_files(tmp_path: Path) -> None:
    authority = trustme.CA()
    live, renewal = tmp_path / "live/links", tmp_path / "renewal"
    live.mkdir(parents=True)
    renewal.mkdir()
    leaf = authority.issue_cert("b.example.com", "a.example.com")
    leaf.cert_chain_pems[0].write_to_path(live / "fullchain.pem")
    notes = f"[renewalparams]\npreferred_profile = shortlived\nserver = {SERVER}\n"
    (renewal / "links.conf").write_text(notes)
    read = Lineages().command().replace("/etc/letsencrypt", str(tmp_path))
    lineage = Lineage(SERVER, ("a.example.com", "b.example.com"), "shortlived")
    assert Lineages().process(run(read)) == {"links": lineage}
    (renewal / "links.conf").unlink()
    assert Lineages().process(run(read)) == {"links": Lineage("", lineage.domains)}


def test_a_certificate_that_is_not_renewed_is_adopted_and_renewed() -> None:
    [current] = Lineages().process(["links\t\t\ta.example.com b.example.com"]).values()
    expected = Lineage(SERVER, ("a.example.com", "b.example.com"))
    assert current.difference_from(expected) == f"is not renewed by {SERVER}"
    [command] = certbot_commands(current)
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
def test_an_existing_certificate_is_left_to_its_renewal(domains: tuple[str, ...]) -> None:
    assert certbot_commands(Lineage(SERVER, domains)) == []


def test_a_missing_certificate_is_requested() -> None:
    [command] = certbot_commands(None)
    assert command == (
        f"{START} --register-unsafely-without-email {END}"
        f" --preferred-profile classic --renew-with-new-domains --expand {DOMAINS}{DONE}"
    )


def test_a_profile_is_quoted() -> None:
    [command] = certbot_commands(None, profile="short lived; id")
    assert " --preferred-profile 'short lived; id' --renew-with-new-domains " in command


@pytest.mark.parametrize("domains", [("a.example.com",), ("a.example.com", "c.example.com")])
def test_other_domains_need_another_certificate(domains: tuple[str, ...]) -> None:
    [command] = certbot_commands(Lineage(SERVER, domains))
    assert command.endswith(f"--renew-with-new-domains --expand {DOMAINS}{DONE}")


def test_another_issuer_is_used_immediately() -> None:
    other = Lineage("https://staging.example/directory", ("a.example.com", "b.example.com"))
    [command] = certbot_commands(other)
    assert f"--server {SERVER}" in command
    assert "--force-renewal" in command


def test_another_profile_is_requested_immediately() -> None:
    current = Lineage(SERVER, ("a.example.com", "b.example.com"))
    [command] = certbot_commands(current, profile="shortlived")
    assert " --preferred-profile shortlived " in command
    assert " --force-renewal " in command
    assert current.difference_from(Lineage(SERVER, current.domains, "shortlived")) == (
        "has profile classic, not shortlived"
    )


def updated(recorded: str, email: str | None, lineage: Lineage | None = None) -> list[str]:
    """Return how certbot is asked to change the account."""
    current = lineage or Lineage(SERVER, ("a.example.com",))
    facts = {Contact: recorded, Lineages: {"links": current}}
    found = commands(update_contact, SERVER, email, None, facts=facts)
    return [command.args[1] for command in found]


UPDATE = "/usr/local/lib/onebox/certbot/bin/certbot update_account --non-interactive --agree-tos"


@pytest.mark.parametrize("recorded", ["", SERVER, f"{SERVER} old@example.com"])
def test_a_changed_address_is_given_to_the_authority(recorded: str) -> None:
    """It was only given with the first certificate; certbot itself keeps no note of it."""
    note = NOTE.format(f"'{SERVER} me@example.com'")
    expected = f"{UPDATE} --email me@example.com --server {SERVER} && {note}"
    assert updated(recorded, "me@example.com") == [expected]


def test_a_removed_address_is_removed_from_the_account() -> None:
    expected = (
        f"{UPDATE} --register-unsafely-without-email --server {SERVER} && {NOTE.format(SERVER)}"
    )
    assert updated(f"{SERVER} old@example.com", None) == [expected]


@pytest.mark.parametrize(
    ("recorded", "email"),
    [(f"{SERVER} me@example.com", "me@example.com"), (SERVER, None), ("", None)],
)
def test_an_address_that_the_authority_has_is_not_given_again(
    recorded: str, email: str | None
) -> None:
    assert updated(recorded, email) == []


def test_without_an_account_there_is_no_address_to_change() -> None:
    other = Lineage("https://staging.example/directory", ("a.example.com",))
    assert updated("", "me@example.com", other) == []


class Box:
    """A host on which certbot answers the same to all."""

    name, print_prefix = "box", ""

    def __init__(self, *output: str, done: bool = False) -> None:
        self.answer = done, [SimpleNamespace(line=line) for line in output]
        self.data: dict[str, Any] = {}
        self.certbot_commands = 0

    def run_shell_command(self, *_: Any, **__: Any) -> Any:
        self.certbot_commands += 1
        return self.answer


@pytest.fixture(autouse=True)
def _first_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certbot, "failures", {})
    monkeypatch.setattr(certbot, "_unreachable", {})


def run_certbot(box: Box, app: str) -> Any:
    request = Request((f"{app}.example.com",), SERVER)
    return certbot._run_certbot(cast("Any", None), cast("Any", box), app, "certbot", request)


def test_a_certificate_that_can_not_be_had_is_kept_for_the_end_of_the_run(
    caplog: pytest.LogCaptureFixture,
) -> None:
    box = Box("An unexpected error occurred:", "No space left on device")
    assert run_certbot(box, "links") is False
    expected = (
        "No certificate for links.example.com: certbot failed (No space left on device). Fix: read"
        " /var/log/letsencrypt/letsencrypt.log on the server; then deploy again."
    )
    assert certbot.failed(cast("Any", box)) == {"links": expected}
    assert expected in caplog.text
    assert run_certbot(Box(done=True), "links") is True
    assert certbot.failed(cast("Any", box)) == {}


def test_an_unreachable_authority_is_tried_once() -> None:
    """It takes certbot most of a minute each time."""
    line = "requests.exceptions.ConnectTimeout: HTTPSConnectionPool(host='ca.example', port=443)"
    box = Box("An unexpected error occurred:", line)
    assert run_certbot(box, "links") is False
    assert run_certbot(box, "shop") is False
    assert box.certbot_commands == 1
    assert list(certbot.failed(cast("Any", box))) == ["links", "shop"]


def test_an_email_address_is_passed_to_the_authority() -> None:
    [command] = certbot_commands(None, email="you+acme@example.com; id")
    assert command.startswith(f"{START} --email 'you+acme@example.com; id' {END}")


def test_an_authority_of_ones_own_is_trusted() -> None:
    [command] = certbot_commands(None, ca="/etc/onebox/acme-ca.pem")
    assert command.startswith(f"env REQUESTS_CA_BUNDLE=/etc/onebox/acme-ca.pem {START}")
