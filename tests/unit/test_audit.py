"""The nightly audit: red for what is known, never for what could not be asked."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lab_server import PROJECT

FOUND = "Found 2 known vulnerabilities in 1 package\njinja2 3.1.6 PYSEC-1"


@pytest.mark.parametrize(
    ("told", "audited", "code", "line"),
    [
        ("No known vulnerabilities found", 0, 0, "- nothing known against what ./uv.lock pins"),
        (FOUND, 1, 1, "- known vulnerabilities in ./uv.lock"),
        ("a could not be audited: a", 0, 0, "- could not tell about ./uv.lock: a could"),
        ("ERROR: Failed to connect", 1, 0, "- could not tell about ./uv.lock: ERROR: Failed"),
    ],
)
def test_the_audit(tmp_path: Path, told: str, audited: int, code: int, line: str) -> None:
    for path in (".ci", ".tools/bin", ".venv/bin"):
        (tmp_path / path).mkdir(parents=True)
    shutil.copy(PROJECT / ".ci/audit", tmp_path / ".ci")
    stand_in(tmp_path / ".tools/bin/uv", "", 0)
    stand_in(tmp_path / ".venv/bin/pip-audit", told, audited)
    page = tmp_path / "page.md"
    result = subprocess.run(
        [tmp_path / ".ci/audit"],
        env={**os.environ, "GITHUB_STEP_SUMMARY": str(page)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == code, result.stderr
    assert page.read_text() == result.stdout
    assert page.read_text().startswith(line)
    assert "app/uv.lock" in page.read_text()


def stand_in(path: Path, told: str, code: int) -> None:
    path.write_text(f"#!/bin/sh\nprintf '%s\\n' '{told}' >&2\nexit {code}\n")
    path.chmod(0o755)
