"""What a person should know of a server that nobody watches, asked in one command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime

from operations.certbot import LIVE
from settings import VM

SOON = 14  # days: certificates are renewed long before
# apt would write its cache down; where nothing is to be done, nothing is to be touched.
APT = "apt-get -s -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= upgrade"


def question(vm: VM) -> str:
    """Return the command to run on the server."""
    ends = "openssl x509 -noout -enddate -dateopt iso_8601 -in"
    steps = [
        *(f"echo certificate {a.name} $({ends} {LIVE}/{a.name}/cert.pem)" for a in vm.apps),
        f"echo updates $({APT} | grep -c ^Inst)",
        "echo reboot $(cat /run/reboot-required.pkgs 2>/dev/null | sort -u)",
        "echo failed $(systemctl --failed --plain --no-legend | cut -d' ' -f1)",
    ]
    return f"sh -c {shlex.quote('; '.join(steps))}"


def told(answer: str, now: datetime | None = None) -> Iterator[str]:
    """Yield a line for each thing that the server's answer tells; ! marks what needs somebody."""
    for what, *words in (line.split() for line in answer.splitlines()):
        if what == "certificate":
            yield _certificate(*words, now=now or datetime.now(UTC))
        elif what == "updates" and words != ["0"]:
            yield f"pending updates: {words[0]}"
        elif what == "reboot" and words:
            yield f"! wants a reboot, for {', '.join(words)}"
        elif what == "failed" and words:
            yield f"! failed units: {', '.join(words)}"


def _certificate(app: str, *end: str, now: datetime) -> str:
    if not end:
        return f"! {app}: no certificate"
    until = datetime.fromisoformat(" ".join(end).removeprefix("notAfter="))
    days = (until - now).days
    return f"{'! ' if days < SOON else ''}{app}: its certificate ends in {days} days"
