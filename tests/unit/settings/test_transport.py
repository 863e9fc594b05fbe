"""SSH connections wait for nothing; one that breaks is one sentence."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from paramiko.ssh_exception import SSHException
from pyinfra.connectors.ssh import SSHConnector

from settings import transport
from settings.transport import no_delay


def test_small_packets_do_not_wait() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        transport = no_delay(client)
        try:
            assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        finally:
            transport.close()
            client.close()


class Ended(Exception):  # noqa: N818 - it takes the place of the process's end
    """The exit code that the process would have."""


@pytest.fixture(autouse=True)
def _survives(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr("os._exit", end)


def connector(*, active: bool) -> Any:
    """Return a pyinfra connector whose connection is there, or was lost."""
    carried = SimpleNamespace(is_active=lambda: active)
    client = SimpleNamespace(get_transport=lambda: carried)
    return SimpleNamespace(client=client, host=SimpleNamespace(name="box"))


def answers(_: Any) -> tuple[bool, str]:
    return False, "failed"


def raises(_: Any) -> None:
    raise SSHException("SSH session not active")


@pytest.mark.parametrize("call", [answers, raises])
def test_a_lost_connection_ends_the_run_with_what_goes_on(
    call: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """pyinfra goes on, and ends in a traceback."""
    with pytest.raises(Ended, match="1"):
        transport._stop_if_lost(call)(connector(active=False))
    assert capsys.readouterr().err == (
        "The connection to box was lost. If the server is up, a release that had started continues"
        " on it; nothing else does. Check `fab status` and `fab history`, then deploy again.\n"
    )


def test_what_fails_over_a_connection_is_left_to_pyinfra() -> None:
    assert transport._stop_if_lost(answers)(connector(active=True)) == (False, "failed")
    with pytest.raises(SSHException):
        transport._stop_if_lost(raises)(connector(active=True))


def test_pyinfras_connector_is_the_one_that_is_wrapped() -> None:
    transport.configure_pyinfra()
    for name in ("connect", "run_shell_command", "put_file", "get_file"):
        assert hasattr(getattr(SSHConnector, name), "__wrapped__"), name
