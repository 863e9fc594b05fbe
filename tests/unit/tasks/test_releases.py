"""The artifact of a release: what was tested, or nothing."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from operations.artifact import pack
from settings.app import App
from tasks import releases
from tests.unit.inventories import a_vm, read

VM: Any = SimpleNamespace(deploy_keys=[])


@pytest.fixture
def app(folder: Path) -> App:
    return read(folder, a_vm()).apps[0]


@pytest.fixture
def given(app: App, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The data of the command line."""
    data: dict[str, str] = {}
    (app.source / "main.py").write_text("app = 1\n")
    monkeypatch.setattr(releases, "host", SimpleNamespace(data=data, print_prefix="[box] "))
    return data


def test_an_artifact_is_one_of_the_tested_ones(app: App, given: dict[str, str]) -> None:
    digest = pack(app.source).digest
    assert releases._expected_artifact(VM, app).digest == digest
    given["digest"] = f"{'0' * 64},{digest}"
    assert releases._expected_artifact(VM, app).digest == digest


def test_another_artifact_is_refused_with_all_digests(
    app: App, given: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    given["digest"] = f"{'0' * 64},{'1' * 64}"
    with pytest.raises(SystemExit) as stopped:
        releases._expected_artifact(VM, app)
    assert stopped.value.code == 4
    digest = pack(app.source).digest[:12]
    assert f"has digest {digest}, not {'0' * 12} or {'1' * 12}. Nothing was changed." in caplog.text
