"""Commands that run on the server as they are: fab's tasks, made of the server's declarations."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter, Signature
from typing import Any

from invoke.exceptions import Exit
from invoke.tasks import task
from onebox_release.shell.commands import COMMANDS, Argument, Command

from commands.inventory import REFUSED
from commands.server import Server

__all__ = ["COMMANDS", "forwarded"]


def forwarded(command: Command, app: Mapping[str, str], json: Mapping[str, str]) -> Any:
    """Return the task that runs a command on the server; `app` and `json` have the help texts of
    the options that all of them share."""

    def body(_: Any, **options: Any) -> None:
        if options.get("json") and options.get("follow"):
            raise Exit("--json and --follow can't be combined.", REFUSED)
        server = Server.of(options["on"])
        name = server.app(options["app"]).name
        terminal = command.prints_json and not options["json"]
        server.program(command.name, name, *command.line(options), terminal=terminal)

    shared = {"app": "", "on": ""} | ({"json": False} if command.prints_json else {})
    texts = {**app, **(json if command.prints_json else {})}
    # Invoke reads a task's options from its signature.
    body.__signature__ = Signature([  # type: ignore[attr-defined]
        Parameter("_", Parameter.POSITIONAL_ONLY),
        *(_parameter(each.name, _default(each)) for each in command.arguments),
        *(_parameter(name, default) for name, default in shared.items()),
    ])  # fmt: skip
    body.__name__ = command.name
    details = f"{command.details}\n\n" if command.details else ""
    body.__doc__ = f"{command.help}\n\n{details}Example: fab {command.example}\n"
    return task(help={**texts, **{each.name: each.help for each in command.arguments}})(body)


def _parameter(name: str, default: object) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default)


def _default(argument: Argument) -> object:
    """Return an argument's default; without one, Invoke takes it as a positional."""
    return Parameter.empty if argument.choices else argument.default
