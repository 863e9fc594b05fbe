"""An unattended deploy: deploy, verify independently, roll back if the release's checks fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from invoke.exceptions import Exit
from paramiko.ssh_exception import SSHException

from commands import summary
from commands.inventory import PROJECT, inventory_path
from commands.server import Server
from operations.lock import WAIT
from operations.release import PROGRAM
from settings.exit_codes import FAILED

DONE = 0
MAX_DIFFERENCES = 10  # in the summary
UNVERIFIED = "Could not verify the server; nothing was rolled back."

Live = Mapping[str, str | None]


def deploy(server: Server, digest: str = "", wait: int = WAIT) -> int:
    """Deploy to a server and verify it; return the exit code of the first step that failed.

    If the release's checks fail, it is rolled back. Changes to the server, such as packages or the
    firewall, are listed and stay. Checks that could not run do not count against the release.
    """
    statuses_before = _statuses(server)
    before = _live(statuses_before)
    drift = _drift(server) if any(before.values()) else []
    code, changed = _pyinfra(server, digest, wait)
    if code:
        now = _statuses(server)
        lines = [line for app in now for line in _failure(app, statuses_before[app], now[app])]
        lines += [line for line in summary.certificate_lines(now) if line.startswith("! ")]
        summary.report(f"{_title(server)}: the deploy failed", [*lines, "Details are above."])
        return code
    statuses_after = _statuses(server)
    after = _live(statuses_after)
    answer = _run(server, summary.query()).stdout
    lines = [
        *_releases(before, after), *_changes(changed), *drift,
        *summary.certificate_lines(statuses_after), *summary.server_lines(statuses_after, answer),
    ]  # fmt: skip
    release_code, server_code = verify(server, "release"), DONE
    if release_code == FAILED:
        lines += [_roll_back(server, app, before[app], after[app]) for app in after]
        lines.append("Verification of the release failed; see above.")
    elif release_code == DONE and (server_code := verify(server, "not release")) == FAILED:
        lines.append("Checks of the server failed, above. Changes to the server stay.")
    if {release_code, server_code} - {DONE, FAILED}:
        lines.append(UNVERIFIED)
    code = FAILED if release_code or server_code else DONE
    result = "failed" if code else "deployed" if changed else "nothing to do"
    summary.report(f"{_title(server)}: {result}", lines)
    return code


def _failure(app: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return which release is live after a failed deploy, and why the new one failed, if it did."""
    live = now.get("live")
    state = f"{app}: release {live} is live" if live else f"! {app}: no release is live"
    last = now.get("last")
    if not last or last == before.get("last") or last["result"] == "succeeded":
        return [state]
    reason = last.get("why") or last["result"]
    return [f"! {app}: {reason.splitlines()[0]}", state]


def _pyinfra(server: Server, digest: str, wait: int) -> tuple[int, list[str]]:
    """Run pyinfra; return its exit code and the operations that changed something."""
    data = ["--data", f"wait={wait}"] + (["--data", f"digest={digest}"] if digest else [])
    options = ["-y", "--json", "--limit", server.address, *data]
    result = _run_locally("pyinfra", *options, str(inventory_path()), "deploy.py")
    try:
        operations = json.loads(result.stdout)["results"]["operations"]
    except (json.JSONDecodeError, KeyError):  # a failed run prints no JSON
        operations = []
    return result.returncode, [each["name"] for each in operations if each["success"]]


def _drift(server: Server) -> list[str]:
    """Return how the server differs from the repository, before a deploy fixes most of it."""
    result = _run_locally("fabric", "drift", "--json", "--on", server.address)
    try:
        found = json.loads(result.stdout)["data"]
    except json.JSONDecodeError:  # the reason was printed
        return ["! could not check for drift"]
    fixed = [f"drift: {each['what']} {each['how']}" for each in found["deploy"]]
    if len(fixed) > MAX_DIFFERENCES:
        fixed[MAX_DIFFERENCES:] = [f"drift: {len(fixed) - MAX_DIFFERENCES} more"]
    return fixed + [f"! left to you: {each['what']} {each['how']}" for each in found["person"]]


def _run_locally(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a Python module on this machine; return its output."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=PROJECT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )


def verify(server: Server, marker: str = "") -> int:
    """Run tests/host, or the tests with a pytest marker, and print a few lines for each failure.

    Return pytest's exit code: 0 passed, 1 some failed, any other that they could not run.
    """
    output = ["--quiet", "--tb=no", "-rN", "-W", "default"]
    command = [sys.executable, "-m", "pytest", *output, "-m", marker, "tests/host"]
    environment = {**os.environ, "ONEBOX_LIMIT": server.address}
    return subprocess.run(command, cwd=PROJECT, env=environment, check=False).returncode


def _statuses(server: Server) -> dict[str, dict[str, Any]]:
    """Return the status of each app; empty for an app that is not deployed yet."""
    return {app.name: _status(server, app.name) for app in server.vm.apps}


def _live(statuses: Mapping[str, Mapping[str, Any]]) -> Live:
    """Return each app's live release; None if it has none."""
    return {app: status.get("live") for app, status in statuses.items()}


def _status(server: Server, app: str) -> dict[str, Any]:
    result = _run(server, f"{PROGRAM} status {app} --json")
    data: dict[str, Any] = json.loads(result.stdout)["data"] if result.ok else {}
    return data


def _roll_back(server: Server, app: str, before: str | None, after: str | None) -> str:
    """Roll back to the release that was live before this deploy; return the result."""
    if before == after:
        return f"{app}: release {after} is not from this deploy and stays live."
    if before is None:
        return f"{app}: there is no previous release to roll back to."
    result = _run(server, f"{PROGRAM} rollback {app} {before}")
    if result.ok:
        return f"{app}: rolled back to {before}."
    return f"{app}: the rollback failed, {after} stays live. {result.stderr}"


def _run(server: Server, command: str) -> Any:
    """Run a command on the server, over a new connection, as minutes may pass between two."""
    sudo = "sudo -n " if server.data["_sudo"] else ""
    try:
        with server.connection as connection:
            result = connection.run(f"{sudo}{command}", hide=True, warn=True, in_stream=False)
    except (OSError, EOFError, SSHException) as error:
        raise Exit(f"{server.address}: {error}\n{UNVERIFIED}", FAILED) from None
    if result.exited < 0:  # no exit code arrived
        raise Exit(f"{server.address}: the connection was lost.\n{UNVERIFIED}", FAILED)
    return result


def _releases(before: Live, after: Live) -> list[str]:
    return [
        f"{app}: release {release}" + (", as before" if release == before[app] else "")
        for app, release in after.items()
    ]


def _changes(changed: list[str]) -> list[str]:
    return [f"changed: {name}" for name in changed] or ["nothing was changed"]


def _title(server: Server) -> str:
    environment = server.vm.environment
    return f"{environment} ({server.address})" if environment else server.address
