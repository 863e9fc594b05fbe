"""The commands that both `fab` and onebox-release have, declared once.

onebox-release makes its argument parser of them, and fabfile.py its tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

TIME = '"15m", "2h", "3d" or "2026-11-20 07:00" (UTC); default: 1h'


@dataclass(frozen=True)
class Argument:
    """An argument of a command: a flag if its default is a bool."""

    name: str
    help: str
    default: str | int | bool = False
    is_positional: bool = False
    """Whether the server takes it without its name; `fab` does if it is required."""
    is_required: bool = False
    choices: tuple[str, ...] = ()
    is_user: bool = False
    """Whether it names the user to record, which `fab` knows."""


@dataclass(frozen=True)
class Command:
    """A command on one app, or on the server."""

    name: str
    help: str
    """One imperative sentence."""
    example: str
    arguments: tuple[Argument, ...] = ()
    details: str = ""
    prints_json: bool = False
    """Whether it prints text for a person, or JSON by --json."""
    in_unit: bool = False
    """Whether it runs in a unit of its own, which waits for deploys and outlives a connection."""
    on_app: bool = True
    reads_input: bool = False
    """Whether it reads standard input."""

    def line(self, options: Mapping[str, object]) -> list[str]:
        """Return the arguments that pass options on, `json` too."""
        line = ["--json"] if options.get("json") else []
        for argument in self.arguments:
            value = options[argument.name]
            if argument.is_positional:
                line += [str(value)] if value else []
            elif isinstance(argument.default, bool):
                flag = argument.name if value else f"no-{argument.name}"
                line += [f"--{flag}"] if value != argument.default else []
            else:
                line.append(f"--{argument.name}={value}")
        return line


WHO = Argument("who", "the user to record (default: the current one)", "", is_user=True)
RUN = Command(
    "run", "Run a command in the app's environment and sandbox, on the live release's code.",
    'run "python -m links.worker --once"',
    (Argument("command", "a shell command", "", is_positional=True),),
    reads_input=True,
)  # fmt: skip
REMOVE = Command(
    "remove",
    "Remove an app and all that belongs to it from a server; a final backup of its data stays.",
    "remove --app links",
    (
        Argument("yes", "don't ask for confirmation"),
        Argument("dump", "keep a final backup of its data", default=True),
        WHO,
    ),
    "If it is interrupted, run it again to complete it.",
    in_unit=True,
)
FORWARDED = (
    Command(
        "status", "Show the status of an app and its server.", "status --app links",
        prints_json=True,
    ),
    Command(
        "releases", "List the live release and those to roll back to.", "releases",
        prints_json=True,
    ),
    Command(
        "history", "List an app's deploys and rollbacks, with their results.", "history",
        prints_json=True,
    ),
    Command(
        "logs",
        "Show the logs of the app, its timers, hooks and deploys, nginx and PostgreSQL, by time.",
        "logs --since 1d --request 5b1f5c6a0e0d4c3f9a7e2b8d1c4f6a90",
        (
            Argument("follow", "keep printing new lines"),
            Argument("since", TIME, "1h"),
            Argument("grep", "only lines that match this regular expression", ""),
            Argument("request", "only lines with this request id", ""),
            Argument("lines", "number of newest lines; default: 200", 200),
        ),
        prints_json=True,
    ),
    Command(
        "rollback", "Roll back to an earlier release, without a failed request.", "rollback",
        (
            Argument(
                "release", "one that `releases` lists; default: the previous release", "",
                is_positional=True,
            ),
            Argument("force", "skip the checks of files, migrations and memory"),
        ),
        in_unit=True,
    ),
    Command(
        "restart", "Restart the live release, without a failed request.", "restart --app links",
        in_unit=True,
    ),
    Command(
        "maintenance",
        "Turn maintenance mode on or off: nginx serves a page (503) instead of the app.",
        "maintenance on",
        (
            Argument(
                "switch", "on or off", is_positional=True, is_required=True, choices=("on", "off")
            ),
        ),
        "It stays on across deploys and reboots; the app keeps running. Clients get Retry-After.",
    ),
    Command(
        "pause", "Stop an app's processes and timers, across reboots too, so that nothing writes.",
        "pause",
        details="A deploy, rollback or restart starts the processes again; only `resume` starts the"
        " timers.",
    ),
    Command("resume", "Start the processes and timers of a paused app.", "resume"),
    Command(
        "psql", "Open psql on the app's database, as the app's role.",
        "psql",
        (Argument("owner", "as the schema's owner, who may change it"),),
        reads_input=True,
    ),
    Command(
        "hold", "Block deploys to a server.", 'hold "upgrading Debian"',
        (
            Argument(
                "why", "the reason, which refused deploys print", is_positional=True,
                is_required=True,
            ),
            WHO,
        ),
        on_app=False,
    ),
    Command("unhold", "Allow deploys to a server again.", "unhold", on_app=False),
)  # fmt: skip
COMMANDS = (*FORWARDED, RUN, REMOVE)
