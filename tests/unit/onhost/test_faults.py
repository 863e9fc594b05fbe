"""Points at which tests stop a deploy."""

from __future__ import annotations

import ast
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from onebox_release import faults

from tests.unit.onhost.conftest import ONHOST

PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from onebox_release import faults
faults.FILE, faults.REACHED = Path(sys.argv[2]), Path(sys.argv[3])
for name in ("started", "switched", "retired"):
    faults.point(name)
    print(name, flush=True)
"""


def run(wanted: str) -> subprocess.Popen[str]:
    if wanted:
        faults.FILE.write_text(f"{wanted}\n")
    command = [sys.executable, "-c", PROGRAM, str(ONHOST), str(faults.FILE), str(faults.REACHED)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_kill_stops_dead_at_the_point() -> None:
    with run("kill switched") as process:
        out, _ = process.communicate(timeout=5)
    assert (process.returncode, out) == (-signal.SIGKILL, "started\n")
    assert faults.REACHED.read_text() == "switched"
    assert not faults.FILE.exists(), "the next run passes"


def test_hang_stays_at_the_point() -> None:
    with run("hang switched") as process:
        deadline = time.monotonic() + 5
        while not faults.REACHED.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.1)
        process.kill()
        out, _ = process.communicate()
    assert out == "started\n"


@pytest.mark.parametrize("wanted", ["", "kill nothing", "hang"])
def test_other_points_are_passed(wanted: str) -> None:
    with run(wanted) as process:
        out, _ = process.communicate(timeout=5)
    assert (process.returncode, out) == (0, "started\nswitched\nretired\n")


def test_the_list_of_points_is_whole() -> None:
    used = [
        node.args[0].value
        for path in Path(ONHOST / "onebox_release").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "faults.point"
        and isinstance(node.args[0], ast.Constant)
    ]
    assert sorted(map(str, used)) == sorted((*faults.POINTS, *faults.REMOVAL))
