"""Programs that the server needs beside Debian's: uv, certbot, and our own."""

from collections.abc import Generator
from pathlib import Path

from pyinfra.api.command import StringCommand
from pyinfra.api.deploy import deploy
from pyinfra.api.operation import operation

from operations import files, python, tree

ONHOST = Path(__file__).resolve().parent.parent / "onhost"
BASE = "/usr/local/lib/onebox"
PACKAGES = "onebox_release", "onebox_checks"
PROGRAMS = "onebox-release", "onebox-submit", "onebox-watch"
# Compiled once, not by each command; flushed, for half a file of bytecode would start nothing.
RUNS = (
    "PYTHONPATH={} python3 -B -c 'import onebox_release.shell.cli, onebox_checks.cli'"
    " && umask 022 && python3 -m compileall -q {} && sync $(find {} -name '*.pyc')"
)


@deploy("Tools")
def tools() -> None:
    """Install uv and certbot as uv.lock pins them, and our own programs."""
    for package in ("uv", "certbot"):
        python.environment(name=f"Install {package} as uv.lock pins it", group=package)
    programs(name="Place our own programs")


@operation()
def programs() -> Generator[StringCommand, None, None]:
    """Place our packages as a whole: with half of a new one, a boot would start no app. Where an
    older onebox had them goes last."""
    modules = {
        str(path.relative_to(ONHOST)): path.read_text()
        for package in PACKAGES
        for path in sorted((ONHOST / package).rglob("*.py"))
    }
    yield from tree.place._inner(path=f"{BASE}/programs", files=modules, check=RUNS)
    commands = [
        files.File(f"/usr/local/bin/{program}", (ONHOST / program).read_text(), mode="755")
        for program in PROGRAMS
    ]
    old = [f"{BASE}/{package}" for package in ("onebox_release", "onebox_watch")]
    yield from files.place._inner(things=commands, absent=old)
