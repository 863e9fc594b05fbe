"""A deploy for when nobody watches: deployed, looked at with other eyes, put back if it is bad."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from invoke.exceptions import Exit
from paramiko.ssh_exception import SSHException

from commands import standing
from commands.inventory import PROJECT, inventory_path
from commands.server import FAILED, PROGRAM, Server
from commands.summary import tell
from operations.lock import WAIT

DONE = 0
SHOWN = 10  # differences; a page of them is not read
UNTOLD = "It could not be told whether the server is as it should be: nothing was put back."

Live = Mapping[str, str | None]


def deploy(server: Server, digest: str = "", wait: int = WAIT) -> int:
    """Deploy to a server and verify it; return the exit code of the first step that failed.

    Failed checks of the release put it back. Standing changes, such as packages or the firewall,
    are listed and stay. What could not be asked for says nothing against the release.
    """
    begun = _statuses(server)
    before = _live(begun)
    differing = _differing(server) if any(before.values()) else []
    code, changed = _pyinfra(server, digest, wait)
    if code:
        now = _statuses(server)
        lines = [line for app in now for line in _failed(app, begun[app], now[app])]
        lines += [line for line in standing.certificates(now) if line.startswith("! ")]
        tell(f"{_named(server)}: the deploy failed", [*lines, "More is said above."])
        return code
    ended = _statuses(server)
    after = _live(ended)
    answer = _run(server, standing.question()).stdout
    lines = [
        *_releases(before, after), *_listed(changed), *differing,
        *standing.certificates(ended), *standing.told(answer),
    ]  # fmt: skip
    of_release, of_rest = checks(server, "release"), DONE
    if of_release == FAILED:
        lines += [_put_back(server, app, before[app], after[app]) for app in after]
        lines.append("Checks of the release failed, above.")
    elif of_release == DONE and (of_rest := checks(server, "not release")) == FAILED:
        lines.append("Checks of the server failed, above. What was changed there stays.")
    if {of_release, of_rest} - {DONE, FAILED}:
        lines.append(UNTOLD)
    code = FAILED if of_release or of_rest else DONE
    title = "failed" if code else "deployed" if changed else "nothing to do"
    tell(f"{_named(server)}: {title}", lines)
    return code


def _failed(app: str, begun: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say what serves after a deploy that failed, and why if it was the release."""
    live = f"{app}: release {now['live']} serves" if now.get("live") else f"! {app}: nothing serves"
    last = now.get("last")
    if not last or last == begun.get("last") or last["result"] == "live":
        return [live]
    why = last.get("why") or last["result"]
    return [f"! {app}: {why.splitlines()[0]}", live]


def _pyinfra(server: Server, digest: str, wait: int) -> tuple[int, list[str]]:
    """Run the documented command; return its exit code and which operations changed something."""
    data = ["--data", f"wait={wait}"] + (["--data", f"digest={digest}"] if digest else [])
    options = ["-y", "--json", "--limit", server.address, *data]
    result = _here("pyinfra", *options, str(inventory_path()), "deploy.py")
    try:
        operations = json.loads(result.stdout)["results"]["operations"]
    except (json.JSONDecodeError, KeyError):  # a failed run prints none
        operations = []
    return result.returncode, [each["name"] for each in operations if each["success"]]


def _differing(server: Server) -> list[str]:
    """Say what is otherwise there than the repository wants: what a person changed, on either side.

    Asked before the deploy, which mends most of it.
    """
    result = _here("fabric", "drift", "--json", "--on", server.address)
    try:
        found = json.loads(result.stdout)["data"]
    except json.JSONDecodeError:  # why was printed
        return ["! it could not be told what differed"]
    mended = [f"differed: {each['what']} {each['how']}" for each in found["deploy"]]
    if len(mended) > SHOWN:
        mended[SHOWN:] = [f"and {len(mended) - SHOWN} more differed"]
    return mended + [f"! left to you: {each['what']} {each['how']}" for each in found["person"]]


def _here(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program on this machine; return what it printed."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )


def checks(server: Server, marked: str = "") -> int:
    """Run the checks, or those that are marked so; what failed is told in a few lines each.

    1 says that some failed, any other that nobody knows.
    """
    told = ["--quiet", "--tb=no", "-rN", "-W", "default"]
    command = [sys.executable, "-m", "pytest", *told, "-m", marked, "tests/host"]
    limited = {**os.environ, "ONEBOX_LIMIT": server.address}
    return subprocess.run(command, cwd=PROJECT, env=limited, check=False).returncode


def _statuses(server: Server) -> dict[str, dict[str, Any]]:
    """Return what the server says of each app; nothing where it doesn't know it yet."""
    return {app.name: _status(server, app.name) for app in server.vm.apps}


def _live(statuses: Mapping[str, Mapping[str, Any]]) -> Live:
    """Return each app's live release; None where nothing is live yet."""
    return {app: status.get("live") for app, status in statuses.items()}


def _status(server: Server, app: str) -> dict[str, Any]:
    result = _run(server, f"{PROGRAM} status {app} --json")
    data: dict[str, Any] = json.loads(result.stdout)["data"] if result.ok else {}
    return data


def _put_back(server: Server, app: str, before: str | None, after: str | None) -> str:
    """Make the release before this deploy live again; say what came of it."""
    if before == after:
        return f"{app}: release {after} is none of this deploy's, and was left."
    if before is None:
        return f"{app}: there is no release before {after} to put back."
    result = _run(server, f"{PROGRAM} rollback {app} {before}")
    return f"{app}: put back {before}." if result.ok else f"{app}: {after} stays. {result.stderr}"


def _run(server: Server, command: str) -> Any:
    """Run a command there, over a connection of its own: minutes may lie between two."""
    sudo = "sudo -n " if server.data["_sudo"] else ""
    try:
        with server.connection as connection:
            result = connection.run(f"{sudo}{command}", hide=True, warn=True, in_stream=False)
    except (OSError, EOFError, SSHException) as error:
        raise Exit(f"{server.address}: {error}\n{UNTOLD}", FAILED) from None
    if result.exited < 0:  # cut off, so the server said nothing
        raise Exit(f"{server.address}: the connection broke.\n{UNTOLD}", FAILED)
    return result


def _releases(before: Live, after: Live) -> list[str]:
    return [
        f"{app}: release {release}" + (", as before" if release == before[app] else "")
        for app, release in after.items()
    ]


def _listed(changed: list[str]) -> list[str]:
    return [f"changed: {name}" for name in changed] or ["nothing was changed"]


def _named(server: Server) -> str:
    environment = server.vm.environment
    return f"{environment} ({server.address})" if environment else server.address
