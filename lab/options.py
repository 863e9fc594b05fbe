"""The command line's options and help."""

import argparse
import re
from typing import TYPE_CHECKING, NoReturn

UNITS = {"M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Parser(argparse.ArgumentParser):
    """Exits with 1 on a wrong option: 2 has another meaning in onebox."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f"{self.prog}: {message}\n{self.format_usage()}")


def parser() -> Parser:
    """The parser of `python -m lab`."""
    top = Parser(
        prog="lab",
        description="Throwaway Debian servers on this machine, as bare as a fresh cloud VM. "
        "Run as root.",
        epilog="Example: python -m lab up web --debian 12 && python -m lab ssh web",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_up(commands)
    _add_list(commands)
    _add_ssh(commands)
    _add_power(commands)
    _add_snapshots(commands)
    _add_down(commands)
    return top


def size(text: str) -> int:
    """Bytes of a size like 512M or 4G (powers of 1024)."""
    match = re.fullmatch(r"(\d+)([MGT])", text)
    if not match or int(match[1]) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 512M or 4G")
    return int(match[1]) * UNITS[match[2]]


def count(text: str) -> int:
    """A whole number from 1."""
    if not re.fullmatch(r"[1-9]\d{0,6}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]


def domain(text: str) -> str:
    """A host name with a dot in it, in lower case."""
    label = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
    if len(text) > 253 or not re.fullmatch(rf"{label}(\.{label})+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a domain such as www.example.test")
    return text


def _add(commands: "Commands", name: str, text: str, example: str) -> Parser:
    return commands.add_parser(
        name,
        help=text.partition(".")[0].lower(),
        description=text,
        epilog=f"Example: python -m lab {example}",
    )


def _add_up(commands: "Commands") -> None:
    up = _add(commands, "up", "Create a host and wait until it answers SSH.", "up web --disk 4G")
    add = up.add_argument
    add("name", nargs="?", metavar="NAME", help="default: lab1, lab2, ...")
    add("--debian", type=int, choices=(12, 13), help="default: 13, or the snapshot's")
    add("--memory", type=size, metavar="SIZE", help="limit, like 1G; default: none")
    add("--cpus", type=count, metavar="N", help="limit; default: none")
    add(
        "--disk",
        type=size,
        metavar="SIZE",
        help="a file system of its own, like 4G; only with one does `poweroff --hard` lose data; "
        "default: share this machine's",
    )
    add("--from", dest="snapshot", metavar="SNAPSHOT", help="start as a copy of that snapshot")
    add(
        "--domain",
        type=domain,
        action="append",
        default=[],
        metavar="DOMAIN",
        help="another name that the lab's DNS points at the host, beside NAME.onebox.test; "
        "repeatable",
    )
    add("--owner", type=count, metavar="PID", help="remove the host after this process exits")


def _add_list(commands: "Commands") -> None:
    listing = _add(commands, "list", "List the hosts.", "list --json")
    listing.add_argument("--json", action="store_true", help="for programs; sizes in bytes")


def _add_ssh(commands: "Commands") -> None:
    text = "Log in as root, or run a command. Exits with the command's status."
    ssh = _add(commands, "ssh", text, "ssh web -- systemctl --failed")
    _add_name(ssh)
    ssh.add_argument("remote", nargs="*", metavar="CMD", help="after --")


def _add_power(commands: "Commands") -> None:
    _add_name(_add(commands, "reboot", "Reboot a host and wait for SSH.", "reboot web"))
    off = _add(commands, "poweroff", "Switch a host off and keep its files.", "poweroff web --hard")
    _add_name(off)
    off.add_argument(
        "--hard",
        action="store_true",
        help="cut the power: a host with --disk loses what it had not synced; "
        "without --disk the processes are killed and no file is lost",
    )
    _add_name(_add(commands, "start", "Start a host that is off, wait for SSH.", "start web"))


def _add_snapshots(commands: "Commands") -> None:
    text = "Save a host's state under a name. A running host is shut down and started again."
    save = _add(commands, "snapshot", text, "snapshot web deployed")
    _add_name(save)
    save.add_argument("snapshot", metavar="AS", help="then: lab up --from AS")
    forget = _add(commands, "forget", "Delete a snapshot.", "forget deployed")
    forget.add_argument("snapshot", metavar="AS")


def _add_down(commands: "Commands") -> None:
    down = _add(commands, "down", "Remove hosts and all that they left here.", "down --all")
    which = down.add_mutually_exclusive_group()
    which.add_argument("name", nargs="?", metavar="NAME", help="default: the only host")
    which.add_argument("--all", action="store_true", help="every host")


def _add_name(command: Parser) -> None:
    command.add_argument("name", metavar="NAME", help="the host")
