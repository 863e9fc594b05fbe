"""lab/preflight.py: errors on a machine that can't run the lab."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from lab import cli, preflight


@pytest.fixture(autouse=True)
def able_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that meets all requirements."""
    keyring = tmp_path / "keyring.gpg"
    keyring.touch()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name, **_: f"/usr/bin/{name}")
    monkeypatch.setattr(preflight, "KEYRING", keyring)


def error(capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["list"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    return err


def test_an_able_machine_passes() -> None:
    preflight.check()


def test_not_linux(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert error(capsys) == (
        "lab: The lab boots Debian in a Linux container, and this machine is 'darwin'. "
        "Run it on Linux, or in a Linux virtual machine.\n"
    )


def test_not_root(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert error(capsys) == (
        "lab: The lab creates mounts and network interfaces, which needs root. "
        "Run it again as root: sudo .venv/bin/python -m lab ...\n"
    )


def test_missing_packages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = {"systemd-nspawn", "nft"}
    monkeypatch.setattr(shutil, "which", lambda name, **_: None if name in missing else name)
    monkeypatch.setattr(preflight, "KEYRING", Path("/nowhere"))
    assert error(capsys) == (
        "lab: The lab needs programs that are not installed on this machine. Install them: "
        "apt-get install debian-archive-keyring nftables systemd-container\n"
    )
