"""The program within the unit gets all of its input on standard input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.unit.onhost.conftest import ONHOST

PROGRAM = ONHOST / "onebox_release/install/inside.py"


def run(tmp_path: Path, **job: Any) -> subprocess.CompletedProcess[str]:
    whole = {"commands": [], "afterwards": [], "environment": {}, "key": "", **job}
    return subprocess.run(
        [sys.executable, "-I", "-B", "-S", str(PROGRAM)],
        env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path / "tmp")},
        input=json.dumps(whole), capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_commands_run_in_turn_with_the_credentials(tmp_path: Path) -> None:
    commands = [["sh", "-c", "echo $TOKEN"], ["sh", "-c", "echo $0", "two"]]
    result = run(tmp_path, commands=commands, environment={"TOKEN": "s3cret"})
    assert (result.returncode, result.stdout) == (0, "s3cret\ntwo\n")
    assert (tmp_path / "tmp").is_dir()


def test_the_first_failure_ends_it(tmp_path: Path) -> None:
    result = run(tmp_path, commands=[["false"], ["echo", "x"]], afterwards=[["echo", "y"]])
    assert (result.returncode, result.stdout) == (1, "")


def test_what_comes_afterwards_may_fail_and_says_nothing(tmp_path: Path) -> None:
    made = tmp_path / "made"
    result = run(tmp_path, afterwards=[["sh", "-c", "echo x; false"], ["touch", str(made)]])
    assert (result.returncode, result.stdout, made.exists()) == (0, "", True)
