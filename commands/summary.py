"""The summary of a run, printed here and on a CI job's page."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from onebox_release.terminal import printable

# Without these options apt writes a cache, and a deploy that changes nothing writes nothing.
APT = "apt-get -s -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= upgrade"
Statuses = Mapping[str, Mapping[str, Any]]


def report(title: str, lines: Sequence[str]) -> None:
    """Print a title and a list in Markdown, also to the file in GITHUB_STEP_SUMMARY."""
    text = "\n".join([f"## {title}", "", *(f"- {printable(line)}" for line in lines), ""])
    print(f"\n{text}", flush=True)
    if page := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(page).open("a") as file:
            file.write(f"{text}\n")


def query() -> str:
    """Return a command that prints what `onebox-release status` does not have."""
    steps = [
        f"echo updates $({APT} | grep -c ^Inst)",
        "echo reboot $(cat /run/reboot-required.pkgs 2>/dev/null | sort -u)",
        "echo failed $(systemctl --failed --plain --no-legend | cut -d' ' -f1)",
    ]
    return f"sh -c {shlex.quote('; '.join(steps))}"


def server_lines(statuses: Statuses, answer: str) -> Iterator[str]:
    """Yield the state of a server, by its apps' statuses and the answer to the query.

    A line that starts with ! needs a person.
    """
    found = {what: words for what, *words in map(str.split, answer.splitlines())}
    if (updates := found.get("updates", ["0"])) != ["0"]:
        yield f"pending updates: {updates[0]}"
    if any(status.get("reboot") for status in statuses.values()):
        packages = found.get("reboot")
        yield "! reboot needed" + (f" by {', '.join(packages)}" if packages else "")
    if units := found.get("failed"):
        yield f"! failed units: {', '.join(units)}"


def certificate_lines(statuses: Statuses) -> Iterator[str]:
    """Yield the state of each app's certificate; ! marks a missing one and a late renewal."""
    for app, status in statuses.items():
        days = status.get("certificate_days")
        mark = "! " if days is None or status.get("certificate_late") else ""
        state = "no certificate" if days is None else f"certificate expires in {days} days"
        yield f"{mark}{app}: {state}"
