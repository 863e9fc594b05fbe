"""onebox's own programs, installed on the server."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from pyinfra.api.command import StringCommand
from pyinfra.api.operation import operation
from sent import renames

from operations import files, program, tree

ONHOST = Path(__file__).resolve().parent.parent / "onhost"
BASE = "/usr/local/lib/onebox"
PACKAGES = "onebox_release", "onebox_checks"
PROGRAMS = "onebox-release", "onebox-submit", "onebox-checks"
# Compiled here, not at each run; synced, because a program can't start from a truncated .pyc file.
CHECK = (
    "PYTHONPATH={} python3 -B -c 'import onebox_release.shell.cli, onebox_checks.cli'"
    " && umask 022 && python3 -m compileall -q {} && sync $(find {} -name '*.pyc')"
)


@operation()
def install() -> Generator[StringCommand, None, None]:
    """Install our packages as one tree: with half of a new one, no app would start at boot.

    What an older onebox left is converted or removed last.
    """
    modules = {
        str(path.relative_to(ONHOST)): path.read_text()
        for package in PACKAGES
        for path in sorted((ONHOST / package).rglob("*.py"))
    }
    yield from tree.install._inner(path=f"{BASE}/programs", files=modules, check=CHECK)
    commands = [
        files.File(f"/usr/local/bin/{program}", (ONHOST / program).read_text(), mode="755")
        for program in PROGRAMS
    ]
    old = [f"{BASE}/{package}" for package in ("onebox_release", "onebox_watch")]
    converted = {f"/{renames.MARKER}": program.sent("sent.renames")}
    yield from files.install._inner(entries=commands, absent=old, converted=converted)
