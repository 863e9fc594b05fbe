"""fab's tasks for commands of the server's program, made of its declarations."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any

from invoke.exceptions import Exit
from invoke.tasks import task
from onebox_release.shell.commands import FORWARDED, REMOVE, RUN, Argument, Command

from commands.server import Server
from settings.exit_codes import REFUSED

__all__ = ["FORWARDED", "REMOVE", "RUN", "declared", "forwarded", "who"]

ON = {"on": "the server's address, if the inventory has several"}
APP = {"app": "the app's name, if the server has several", **ON}
JSON = {"json": "print JSON"}


def declared(command: Command) -> Callable[[Callable[..., None]], Any]:
    """Make a function the task of a command, with the declared help."""
    shared = {**(APP if command.on_app else ON), **(JSON if command.prints_json else {})}
    own = {each.name: each.help for each in command.arguments if not each.is_user}
    details = f"{command.details}\n\n" if command.details else ""

    def decorate(function: Callable[..., None]) -> Any:
        function.__name__ = command.name
        function.__doc__ = f"{command.help}\n\n{details}Example: fab {command.example}\n"
        return task(help={**shared, **own})(function)

    return decorate


def forwarded(command: Command) -> Any:
    """Return the task that runs a command on the server as it is."""

    users = [each for each in command.arguments if each.is_user]

    def body(_: Any, **options: Any) -> None:
        if options.get("json") and options.get("follow"):
            raise Exit("--json and --follow can't be combined.", REFUSED)
        server = Server.of(options["on"])
        name = [server.app(options["app"]).name] if command.on_app else []
        line = command.line(options | {each.name: who() for each in users})
        terminal = command.reads_input or (command.prints_json and not options["json"])
        server.program(
            command.name, *name, *line, terminal=terminal, interactive=command.reads_input
        )

    shared: dict[str, object] = {"app": "", "on": ""} if command.on_app else {"on": ""}
    shared |= {"json": False} if command.prints_json else {}
    # Invoke reads a task's options from its signature; the first to ask gets a letter.
    body.__signature__ = Signature([  # type: ignore[attr-defined]
        Parameter("_", Parameter.POSITIONAL_ONLY),
        *(_parameter(name, default) for name, default in shared.items()),
        *(_parameter(each.name, _default(each)) for each in command.arguments if each not in users),
    ])  # fmt: skip
    return declared(command)(body)


def who() -> str:
    """Return the user of this machine, as the server records it."""
    return f"{getpass.getuser()} at {socket.gethostname()}"


def _parameter(name: str, default: object) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default)


def _default(argument: Argument) -> object:
    """Return an argument's default; without one, Invoke takes it as a positional."""
    return Parameter.empty if argument.is_required else argument.default
