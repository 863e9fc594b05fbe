"""The checksums of what a deploy installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from operations import manifest
from tests.unit.hosts import commands, run


def test_checksums_are_written_where_they_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, path = tmp_path / "file", str(tmp_path / "manifest")
    file.write_text("a")
    monkeypatch.setattr(manifest, "SUMS", f"sha256sum {file}")

    def same() -> bool:
        return manifest.IsCurrent().process(run(manifest.IsCurrent().command(path)))

    assert not same()
    facts = {manifest.IsCurrent: False}
    [command] = commands(manifest.write, path, facts=facts)
    run(command)
    assert same()
    assert Path(path).stat().st_mode & 0o777 == 0o600
    file.write_text("b")
    assert not same()
    assert commands(manifest.write, path, facts={manifest.IsCurrent: True}) == []
