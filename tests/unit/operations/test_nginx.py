"""nginx's configuration for a whole server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from operations.certbot import Lineage
from operations.nginx import configuration
from operations.published import Published
from settings import VM
from tests.unit.hosts import BOOKWORM, TRIXIE
from tests.unit.inventories import a_vm, an_app, read


@pytest.fixture
def vm(folder: Path) -> VM:
    return read(folder, a_vm(an_app(), an_app(name="other", domains=["other.example.com"])))


def having(*names: str) -> dict[str, Lineage]:
    return {name: Lineage("ca", (f"{name}.example.com",)) for name in names}


def test_the_names_of_a_certificate_are_served_until_there_is_another(vm: VM) -> None:
    lineages = {"links": Lineage("ca", ("links.example.com", "old.example.com"))}
    text = configuration(vm, BOOKWORM, lineages, {})["sites/links.conf"]
    assert "server_name links.example.com old.example.com;" in text
    lineages = {"links": Lineage("ca", ("links.example.com", "other.example.com"))}
    text = configuration(vm, BOOKWORM, lineages, {})["sites/links.conf"]
    assert "other.example.com" not in text, "that is another app's name"


def test_each_app_has_a_site(vm: VM) -> None:
    assert list(configuration(vm, BOOKWORM, {}, {})) == [
        "nginx.conf",
        ".onebox/maintenance.html",
        "sites/links.conf",
        "sites/other.conf",
    ]


def test_an_app_is_served_over_https_as_soon_as_it_has_a_certificate(vm: VM) -> None:
    sites = configuration(vm, BOOKWORM, having("other", "gone"), {})
    assert "listen 443" not in sites["sites/links.conf"]
    assert "ssl_certificate /etc/letsencrypt/live/other/fullchain.pem;" in sites["sites/other.conf"]


def test_what_each_debian_can_do_is_used(vm: VM) -> None:
    older = configuration(vm, BOOKWORM, having("links"), {})
    assert "listen 443 ssl http2;" in older["sites/links.conf"]
    assert "ssl_ecdh_curve X25519:prime256v1:secp384r1;" in older["nginx.conf"]
    newer = configuration(vm, TRIXIE, having("links"), {})
    assert "http2 on;" in newer["sites/links.conf"]
    assert "ssl_ecdh_curve X25519MLKEM768:X25519:prime256v1:secp384r1;" in newer["nginx.conf"]


def test_ipv6_is_listened_on_where_the_server_has_it(vm: VM) -> None:
    for ipv6 in (True, False):
        machine = replace(BOOKWORM, ipv6=ipv6)
        files = configuration(vm, machine, having("links", "other"), {})
        for name, text in files.items():
            assert ("[::]:" in text) is (ipv6 and name.endswith(".conf"))


def test_a_certificate_elsewhere_changes_no_other_site(vm: VM) -> None:
    before = configuration(vm, BOOKWORM, {}, {})
    after = configuration(vm, BOOKWORM, having("other"), {})
    assert [path for path in before if before[path] != after[path]] == ["sites/other.conf"]


def test_the_folders_of_kept_releases_are_served_on(folder: Path) -> None:
    app = an_app(static=[{"path": "/assets", "folder": "links", "max_age": 60}])
    vm = read(folder, a_vm(app))
    published = {"links": ["assets", "static"], "gone": ["theirs"]}
    text = configuration(vm, BOOKWORM, {}, published)["sites/links.conf"]
    assert text.count("location ^~ /assets/ {") == text.count("location ^~ /static/ {") == 1
    assert text.count("location @app {") == 1
    assert "theirs" not in text


def test_folders_are_found_by_app() -> None:
    lines = ["links/static", "links/assets", "two/a;b", "two/x"]
    assert Published().process(lines) == {"links": ["static", "assets"], "two": ["x"]}
