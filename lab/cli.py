"""The command line: `python -m lab`."""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from lab import cgroup, hosts, power, preflight, snapshot, ssh
from lab.allocation import HostRequest
from lab.errors import LabError
from lab.layout import Lab, this_lab
from lab.options import parser
from lab.registry import HostEntry, load_all, names

Arguments = argparse.Namespace


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 1 after printing one paragraph to stderr."""
    args = parser().parse_args(arguments)
    try:
        preflight.check()
        lab = this_lab()
        hosts.sweep(lab)
        COMMANDS[args.command](lab, args)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"lab: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; the unfinished host was removed.", file=sys.stderr)
        return 1
    return 0


def _up(lab: Lab, args: Arguments) -> None:
    begun = time.monotonic()
    request = HostRequest(
        name=args.name,
        debian=args.debian,
        memory=args.memory,
        cpus=args.cpus,
        disk=args.disk,
        snapshot=args.snapshot,
        domains=args.domain,
        owner=args.owner,
    )
    host = hosts.up(lab, request)
    report(f"{host.name} answers SSH after {time.monotonic() - begun:.1f} s.")
    print(host.name, host.address)


def _list(lab: Lab, args: Arguments) -> None:
    rows = [describe(lab, entry) for entry in load_all(lab)]
    if args.json:
        print(json.dumps({"schema": 1, "host": None, "app": None, "data": rows}))
        return
    columns = ("NAME", "STATE", "DEBIAN", "ADDRESS", "MEMORY", "CPUS", "DISK", "UPTIME")
    table = [columns, *([_cell(row, column.lower()) for column in columns] for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(columns))]
    for line in table:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


def _ssh(lab: Lab, args: Arguments) -> None:
    entry = hosts.get(lab, args.name)
    if not power.is_on(lab, entry.name):
        raise LabError(f"{entry.name} is not running. Start it: lab start {entry.name}")
    ssh.exec_ssh(lab, args.name, args.remote)


def _reboot(lab: Lab, args: Arguments) -> None:
    power.reboot(lab, hosts.get(lab, args.name))
    report(f"{args.name} has rebooted.")


def _poweroff(lab: Lab, args: Arguments) -> None:
    entry = hosts.get(lab, args.name)
    if not power.is_on(lab, entry.name):
        report(f"{entry.name} is already off.")
    elif args.hard:
        power.cut(lab, entry)
    else:
        power.off(lab, entry)


def _start(lab: Lab, args: Arguments) -> None:
    hosts.start(lab, hosts.get(lab, args.name))


def _snapshot(lab: Lab, args: Arguments) -> None:
    hosts.take_snapshot(lab, hosts.get(lab, args.name), args.snapshot)
    report(f"Saved. Start a copy: lab up --from {args.snapshot}")


def _forget(lab: Lab, args: Arguments) -> None:
    snapshot.forget(lab, args.snapshot)


def _down(lab: Lab, args: Arguments) -> None:
    for name in names(lab) if args.all else [_chosen(lab, args.name)]:
        hosts.down(lab, name)


COMMANDS: dict[str, Callable[[Lab, Arguments], None]] = {
    "up": _up,
    "list": _list,
    "ssh": _ssh,
    "reboot": _reboot,
    "poweroff": _poweroff,
    "start": _start,
    "snapshot": _snapshot,
    "forget": _forget,
    "down": _down,
}


def report(message: str) -> None:
    """Print progress to stderr: stdout is for programs."""
    print(message, file=sys.stderr)


def describe(lab: Lab, entry: HostEntry) -> dict[str, object]:
    """A host's row of `list`; sizes in bytes, uptime in seconds."""
    row = asdict(entry)
    on = bool(cgroup.processes(lab, entry.name))
    row["state"] = entry.state if entry.state == "starting" else "running" if on else "stopped"
    row["uptime"] = power.uptime(lab, entry.name)
    row["ssh_config"] = str(lab.ssh_config)
    for internal in ("number", "lower", "creator", "owner"):
        del row[internal]
    return row


def _cell(row: dict[str, object], column: str) -> str:
    value = row[column]
    if value is None:
        return "-"
    if isinstance(value, int) and column in {"memory", "disk"}:
        return f"{value / (1 << 30):g}G"
    return f"{value:.0f} s" if isinstance(value, float) else str(value)


def _chosen(lab: Lab, name: str | None) -> str:
    known = names(lab)
    if name is None and len(known) == 1:
        return known[0]
    if name is None:
        raise LabError(
            f"Name the host: lab down NAME, or lab down --all. Hosts: {', '.join(known)}."
            if known
            else "There is no host to remove."
        )
    return hosts.get(lab, name).name
