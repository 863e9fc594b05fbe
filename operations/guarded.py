"""Changes that could lock everybody out of the server, with an automatic revert."""

from __future__ import annotations

import shlex
import time
from collections.abc import Generator

from pyinfra import host, logger
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host
from pyinfra.api.operation import operation
from pyinfra.api.state import State
from pyinfra.connectors.ssh import SSHConnector

from operations.difference import Difference, fixes
from operations.facts import YesOrNo
from operations.files import File, FileStates, describe_difference, write

REVERT_AFTER = 60  # seconds until the server reverts the change, unless a new connection succeeds
CONNECT_TIMEOUT = 10  # seconds for a new connection to succeed
REJECTED = (
    "The server refused a new SSH connection: {error}. It reverts this change within"
    f" {REVERT_AFTER} seconds. Fix: use a key that the server accepts, then deploy again."
)


class Pending(YesOrNo):
    """Whether a change still waits to be confirmed or reverted."""

    def command(self, unit: str) -> str:
        """Return the command."""
        return f"systemctl is-active --quiet {unit}.timer && echo yes || true"


@operation()
def install(
    file: File, *, apply: str, revert: str
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Replace a file and run `apply`; the server reverts both unless a new connection succeeds.

    It does so after 60 seconds, even if the deploy is killed: it restores the previous file and
    runs `apply`, or, if there was none, removes the file and runs `revert`.
    """
    timer = "onebox-revert-" + file.path.rsplit("/", 1)[-1].split(".")[0]
    current = host.get_fact(FileStates, paths=[file.path]).get(file.path)
    how = describe_difference(current, file.state)
    if host.get_fact(Pending, unit=timer):
        how = "was changed by a deploy that was interrupted before it confirmed the change"
        yield StringCommand(f"systemctl start {timer}.service && systemctl stop {timer}.timer")
    elif current == file.state:
        return
    arm = StringCommand(_arm(timer, file.path, apply, revert))
    yield fixes(arm, Difference(file.path, how))
    yield write(file)
    yield StringCommand(apply)
    yield FunctionCommand(reconnect, (), {})
    yield StringCommand(f"systemctl stop {timer}.timer && rm -f {file.path}.before")


def reconnect(state: State, host: Host) -> bool:
    """Return whether the server accepts a new connection; log why, and what to do, if not.

    It retries: sshd does not listen for a moment while it reloads.
    """
    deadline = time.monotonic() + CONNECT_TIMEOUT
    while True:
        connector = SSHConnector(state, host)
        try:
            connector.connect()
        except ConnectError as error:
            # No retry of a rejected key: sshd would penalize this address.
            if "uthentication" not in str(error) and time.monotonic() < deadline:
                time.sleep(0.2)
                continue
            host.log_styled(REJECTED.format(error=error), fg="red", log_func=logger.error)
            return False
        if connector.client:
            connector.client.close()
        return True


def _arm(timer: str, path: str, apply: str, revert: str) -> str:
    before = f"{path}.before"
    restore, remove = f"mv -T {before} {path}; {apply}", f"rm -f {path}; {revert}"
    undo = f"if [ -e {before} ]; then {restore}; else {remove}; fi"
    return (
        f"rm -f {before}; [ ! -e {path} ] || cp -a {path} {before};"
        f" systemd-run --quiet --unit={timer} --on-active={REVERT_AFTER} sh -c {shlex.quote(undo)}"
    )
