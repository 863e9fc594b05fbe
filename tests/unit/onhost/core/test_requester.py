"""Who requested a deploy."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest
from onebox_release.core import requester
from onebox_release.host import lock


def test_who_deploys_is_who_holds_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "onebox.lock"
    path.write_text("ann at laptop\n")
    monkeypatch.setattr(lock, "LOCK", path)
    monkeypatch.setenv("SUDO_USER", "bob")
    assert requester.requester() == "bob"
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert lock.is_locked(path)
        assert requester.requester() == "ann at laptop"
    monkeypatch.setenv(requester.VARIABLE, "carol")
    assert requester.requester() == "carol"
    assert not lock.is_locked(tmp_path / "absent")
