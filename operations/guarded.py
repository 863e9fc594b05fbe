"""Changes that could lock everybody out of the server, made with a way back."""

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

from operations.difference import Difference, mends
from operations.facts import YesOrNo
from operations.files import File, Standing, differs, write

SECONDS = 60  # until the change is taken back, unless a new connection proves it good
PATIENCE = 10  # seconds in which a new connection must be let in
REFUSED = (
    "The server refused a new SSH connection: {error}. It takes this change back by itself within"
    f" {SECONDS} seconds. Connect with a key that the server knows, then deploy again."
)


class Pending(YesOrNo):
    """Whether a change still waits to be proven good or taken back."""

    def command(self, unit: str) -> str:
        """Return the command."""
        return f"systemctl is-active --quiet {unit}.timer && echo yes || true"


@operation()
def place(
    file: File, *, apply: str, withdraw: str
) -> Generator[StringCommand | FunctionCommand, None, None]:
    """Replace a file and run `apply`; if no new connection can be made, both are undone.

    The server undoes them by itself after 60 seconds, so a deploy that dies here leaves it
    reachable as it was before. Where there was no such file, `withdraw` is run in place of
    `apply`.
    """
    timer = "onebox-way-back-" + file.path.rsplit("/", 1)[-1].split(".")[0]
    standing = host.get_fact(Standing, paths=[file.path]).get(file.path)
    how = differs(standing, file.state)
    if host.get_fact(Pending, unit=timer):
        how = "was changed by a deploy that died before it could prove the change good"
        yield StringCommand(f"systemctl start {timer}.service && systemctl stop {timer}.timer")
    elif standing == file.state:
        return
    arm = StringCommand(_arm(timer, file.path, apply, withdraw))
    yield mends(arm, Difference(file.path, how))
    yield write(file)
    yield StringCommand(apply)
    yield FunctionCommand(connect_anew, (), {})
    yield StringCommand(f"systemctl stop {timer}.timer && rm -f {file.path}.before")


def connect_anew(state: State, host: Host) -> bool:
    """Prove that the server lets a new connection in; tell why, and what happens now, if not.

    Several tries: sshd does not listen for a moment while it reloads.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        connector = SSHConnector(state, host)
        try:
            connector.connect()
        except ConnectError as error:
            # A key that was refused once is refused again, and sshd would come to shut us out.
            if "uthentication" not in str(error) and time.monotonic() < deadline:
                time.sleep(0.2)
                continue
            host.log_styled(REFUSED.format(error=error), fg="red", log_func=logger.error)
            return False
        if connector.client:
            connector.client.close()
        return True


def _arm(timer: str, path: str, apply: str, withdraw: str) -> str:
    before = f"{path}.before"
    restore, remove = f"mv -T {before} {path}; {apply}", f"rm -f {path}; {withdraw}"
    undo = f"if [ -e {before} ]; then {restore}; else {remove}; fi"
    return (
        f"rm -f {before}; [ ! -e {path} ] || cp -a {path} {before};"
        f" systemd-run --quiet --unit={timer} --on-active={SECONDS} sh -c {shlex.quote(undo)}"
    )
