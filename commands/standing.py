"""What a person should know of a server that nobody watches, asked in one command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

# apt would write its cache down; where nothing is to be done, nothing is to be touched.
APT = "apt-get -s -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= upgrade"


def question() -> str:
    """Return the command to run on the server."""
    steps = [
        f"echo updates $({APT} | grep -c ^Inst)",
        "echo reboot $(cat /run/reboot-required.pkgs 2>/dev/null | sort -u)",
        "echo failed $(systemctl --failed --plain --no-legend | cut -d' ' -f1)",
    ]
    return f"sh -c {shlex.quote('; '.join(steps))}"


def told(answer: str) -> Iterator[str]:
    """Yield a line for each thing that the server's answer tells; ! marks what needs somebody."""
    for what, *words in (line.split() for line in answer.splitlines()):
        if what == "updates" and words != ["0"]:
            yield f"pending updates: {words[0]}"
        elif what == "reboot" and words:
            yield f"! wants a reboot, for {', '.join(words)}"
        elif what == "failed" and words:
            yield f"! failed units: {', '.join(words)}"


def certificates(statuses: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each app's certificate, by what the server says of the app."""
    for app, status in statuses.items():
        days = status.get("certificate_days")
        mark = "! " if days is None or status.get("certificate_late") else ""
        ends = "no certificate" if days is None else f"its certificate ends in {days} days"
        yield f"{mark}{app}: {ends}"
