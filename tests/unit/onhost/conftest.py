"""Puts onhost/ where its programs find it on a server, and gives each test a server of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ONHOST = Path(__file__).resolve().parents[3] / "onhost"
sys.path.insert(0, str(ONHOST))

from onebox_release import faults  # noqa: E402
from onebox_release.app import App  # noqa: E402
from onebox_release.core import starting, switch, unit_states  # noqa: E402
from onebox_release.host import health, systemd  # noqa: E402

from tests.unit.onhost.fake_server import Server, make_app  # noqa: E402


@pytest.fixture(autouse=True)
def _no_faults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(faults, "FILE", tmp_path / "fault")
    monkeypatch.setattr(faults, "REACHED", tmp_path / "fault-reached")


@pytest.fixture
def app(tmp_path: Path) -> App:
    return make_app(tmp_path / "root")


@pytest.fixture
def server(app: App, monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server(app)
    for name in (
        "systemctl", "show", "releases_up", "is_active", "journal", "wait_until_inactive",
        "cursor", "cpu_time",
    ):  # fmt: skip
        monkeypatch.setattr(systemd, name, getattr(made, name))
    monkeypatch.setattr(systemd, "processes", lambda _unit: [])
    monkeypatch.setattr(health, "ask", made.ask)
    for module in (switch, starting, unit_states):
        monkeypatch.setattr(module, "time", made)
    return made
