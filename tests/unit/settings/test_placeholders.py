"""Settings that still have example values."""

from __future__ import annotations

from pathlib import Path

import pytest

from settings.placeholders import placeholders
from settings.server import VM
from tests.unit.inventories import a_vm, an_app, read


def found(folder: Path, vm: dict[str, object]) -> list[str]:
    checked: VM = read(folder, vm)
    return [mistake.path for mistake in placeholders(checked)]


@pytest.mark.parametrize(
    "address", ["203.0.113.10", "198.51.100.1", "192.0.2.9", "2001:db8::1", "box.example.org"]
)
def test_an_address_for_documentation_is_a_placeholder(folder: Path, address: str) -> None:
    app = an_app(domains=["links.onebox.test"])
    assert found(folder, a_vm(app, address=address)) == ["address"]


def test_domains_and_the_e_mail_address_are_checked(folder: Path) -> None:
    app = an_app(domains=["links.onebox.test", "links.example.com"])
    vm = a_vm(app, address="box", public_address="203.0.113.9", tls={"email": "you@example.com"})
    assert found(folder, vm) == ["public_address", "apps[0].domains[1]", "tls.email"]


@pytest.mark.parametrize("address", ["203.0.112.10", "2001:db7::1", "notexample.com", "localhost"])
def test_what_somebody_may_have_is_no_placeholder(folder: Path, address: str) -> None:
    app = an_app(domains=["example.com.onebox.test"])
    assert found(folder, a_vm(app, address=address, tls={"email": "me@onebox.test"})) == []
