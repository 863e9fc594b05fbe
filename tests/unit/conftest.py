"""Fixtures of unit tests, none of which connects to a server."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from settings import servers
from settings.exit_codes import REFUSED
from tests.unit.inventories import make_project


@pytest.fixture(autouse=True)
def _no_secrets_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("LINKS_")]:
        monkeypatch.delenv(variable)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an inventory's folder, with an app in app/."""
    make_project(tmp_path / "app")
    return tmp_path


@pytest.fixture
def refusal(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a function that returns the error message for invalid servers."""

    def refuse(*vms: Mapping[str, object]) -> str:
        with pytest.raises(SystemExit) as stopped:
            servers(*vms, beside=str(folder / "inventory.py"))
        assert stopped.value.code == REFUSED
        out, err = capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
        return err

    return refuse
