"""Which servers are verified: the inventory's, over SSH and from outside."""

from __future__ import annotations

import os
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import redirect_stderr
from functools import cache
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from invoke.exceptions import Exit

from . import outside
from .connection import ConnectionFailed, Host, Server, is_connection_lost

if TYPE_CHECKING:
    from settings import VM
    from settings.app import App

PROJECT = Path(__file__).resolve().parent.parent.parent
REFUSED = 4  # exit code of a run that could not start
LINES, WIDTH = 5, 78  # lines and columns of a failed check's message


class InventoryError(Exception):
    """The inventory is invalid; the message has the reason."""


sys.path.insert(0, str(PROJECT))  # an inventory imports settings
from commands.inventory import read  # noqa: E402


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test for each server, or for each of its apps if the test has an app."""
    if "app" in metafunc.fixturenames:
        pairs = [(server, app) for server in servers() for app in server.vm.apps]
        ids = [f"{server.name}-{app.name}" for server, app in pairs]
        metafunc.parametrize(("server", "app"), pairs, indirect=True, ids=ids, scope="session")
    elif "server" in metafunc.fixturenames:
        ids = [server.name for server in servers()]
        metafunc.parametrize("server", servers(), indirect=True, ids=ids, scope="session")


def pytest_collection_modifyitems() -> None:
    """Stop the run with the inventory's own message if it is invalid.

    Not during collection, where pytest would print a traceback.
    """
    if not servers():
        try:
            _servers()
        except InventoryError as error:
            pytest.exit(str(error), returncode=REFUSED)


@cache
def servers() -> list[Server]:
    """Return the servers to verify; none if the inventory is invalid."""
    try:
        return _servers()
    except InventoryError:
        return []


def _servers() -> list[Server]:
    """Return the inventory's servers that ONEBOX_LIMIT names, or all. Raises InventoryError."""
    path = Path(os.environ.get("ONEBOX_INVENTORY", PROJECT / "inventory.py"))
    found = [Server(name, data) for name, data in _hosts(path)]
    if not found:
        raise InventoryError(f"{path} has no servers.")
    limit = [name for name in os.environ.get("ONEBOX_LIMIT", "").split(",") if name]
    names = [server.name for server in found]
    if unknown := sorted(set(limit) - set(names)):
        raise InventoryError(
            f"ONEBOX_LIMIT: {path} has no {', '.join(unknown)}, but {', '.join(names)}."
        )
    chosen = [server for server in found if not limit or server.name in limit]
    if unedited := [server.data["unedited"] for server in chosen if server.data["unedited"]]:
        raise InventoryError("\n\n".join(unedited))
    return chosen


def _hosts(path: Path) -> list[tuple[str, dict[str, Any]]]:
    path = path if path.is_file() else PROJECT / path
    if not path.is_file():
        raise InventoryError(f"There is no inventory {path}. Set ONEBOX_INVENTORY to yours.")
    messages = StringIO()
    try:
        with redirect_stderr(messages):
            return read(path)
    except (SystemExit, Exit) as stop:
        raise InventoryError(messages.getvalue().strip() or str(stop)) from stop


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> None:
    """Stop when the connection is lost: that is no failure of the server."""
    if call.excinfo and is_connection_lost(call.excinfo.value):
        _stop(f"Could not verify the server: the connection was lost. {call.excinfo.value}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a few lines per failed check if tracebacks are off, as in `fab verify`."""
    if terminalreporter.config.option.tbstyle != "no":
        return
    for reason in dict.fromkeys(_unverified(terminalreporter)):
        terminalreporter.write_line(f"\n{reason}", yellow=True)
    for report in terminalreporter.getreports("failed") + terminalreporter.getreports("error"):
        file, line, test = report.location
        name, _, of_what = test.removeprefix("test_").partition("[")
        about = f" ({of_what.removesuffix(']')})" if of_what else ""
        terminalreporter.write_line(f"\n{name.replace('_', ' ')}{about}", red=True)
        crash = getattr(report.longrepr, "reprcrash", None)
        message = (crash.message if crash else report.longreprtext).splitlines()
        lines = [part for text in message for part in textwrap.wrap(text, WIDTH)]
        for text in lines[:LINES]:
            terminalreporter.write_line(f"  {text}")
        terminalreporter.write_line(f"  This check: {file}, line {(line or 0) + 1}")


def _unverified(terminalreporter: pytest.TerminalReporter) -> Iterator[str]:
    """Yield what this machine could not verify."""
    for report in terminalreporter.getreports("skipped"):
        reason = str(report.longrepr[-1]).removeprefix("Skipped: ")  # file, line, reason
        if reason.startswith(outside.UNVERIFIED):
            yield reason


def _stop(message: str) -> NoReturn:
    pytest.exit(message, returncode=REFUSED)


@pytest.fixture(scope="session")
def server(request: pytest.FixtureRequest) -> Server:
    """The server and its connection."""
    found: Server = request.param
    return found


@pytest.fixture(scope="session")
def app(request: pytest.FixtureRequest) -> App:
    """An app of the server."""
    found: App = request.param
    return found


@pytest.fixture(scope="session")
def vm(server: Server) -> VM:
    """The server's settings."""
    return server.vm


@pytest.fixture(scope="session")
def host(server: Server) -> Iterator[Host]:
    """The server as root sees it, over one SSH connection."""
    with tempfile.TemporaryDirectory(prefix="onebox-") as folder:
        try:
            yield server.connect(Path(folder) / "s")
        except ConnectionFailed as error:
            _stop(str(error))
        finally:
            server.disconnect(Path(folder) / "s")


@pytest.fixture(scope="session")
def public(server: Server, host: Host) -> str:
    """The IP address that clients use. From here on, the server's own certificates are trusted.

    They are read over SSH, so they are the server's, whoever issued them: which authorities this
    machine trusts must not roll a release back.
    """
    for app in server.vm.apps:
        file = host.file(f"/etc/letsencrypt/live/{app.name}/cert.pem")
        if file.exists:
            outside.server_certificates.add(file.content_string)
    try:
        return server.public_address
    except OSError as error:
        _stop(f"{server.vm.public_address or server.name} has no address: {error}")


@pytest.fixture(scope="session")
def unreachable(server: Server, public: str) -> str:
    """Why ports 80 and 443 are unreachable from here, with the fix; "" if they are reachable."""
    return outside.unreachable(public, is_set=bool(server.vm.public_address))


@pytest.fixture(scope="session")
def address(public: str, unreachable: str) -> str:
    """The IP address that clients use; a single check fails if it is unreachable."""
    if unreachable:
        pytest.skip(unreachable)
    return public


@pytest.fixture(scope="session")
def ssh_ports(host: Host) -> set[int]:
    """The ports that sshd listens on."""
    lines = host.check_output("/usr/sbin/sshd -T").splitlines()
    return {int(line.split()[1]) for line in lines if line.startswith("port ")}


@pytest.fixture(scope="session")
def release(host: Host, app: App) -> str:
    """The release that `current` points to."""
    return Path(host.check_output("readlink /srv/%s/current", app.name)).name
