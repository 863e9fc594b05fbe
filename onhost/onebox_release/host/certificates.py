"""A certificate's validity and domains, and the one rule for when it is late for renewal."""

from __future__ import annotations

import re
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

DAY = 24 * 3600
# Share of the lifetime. certbot checks twice a day, and renews when a third of the lifetime is
# left, or half if it is less than ten days. No fixed number of days fits lifetimes of 90, 45 and 6
# days.
LATE = 0.30


@dataclass(frozen=True)
class Certificate:
    """A certificate's validity, in seconds of the epoch, and its domains."""

    begin: float
    end: float
    domains: tuple[str, ...] = ()

    def left(self, now: float) -> float:
        """Return the days until it expires; negative if it has expired."""
        return (self.end - now) / DAY

    def is_late(self, now: float) -> bool:
        """Check whether it should have been renewed by now."""
        return self.end - now < LATE * (self.end - self.begin)


def of_file(path: Path) -> Certificate | None:
    """Return the certificate of a PEM file; None if there is none."""
    return _read(["-in", str(path)], b"")


def of_connection(der: bytes | None) -> Certificate | None:
    """Return the certificate that a server presented; None if it cannot be read."""
    return _read(["-inform", "der"], der or b"")


def _read(source: list[str], content: bytes) -> Certificate | None:
    command = ["openssl", "x509", "-noout", "-dates", "-ext", "subjectAltName", *source]
    result = subprocess.run(command, input=content, capture_output=True, check=False)
    text = result.stdout.decode(errors="replace")
    dates = [re.search(rf"^not{which}=(.*)$", text, re.MULTILINE) for which in ("Before", "After")]
    if None in dates:
        return None
    begin, end = (ssl.cert_time_to_seconds(date[1]) for date in dates if date)
    return Certificate(begin, end, tuple(re.findall(r"DNS:([^,\s]+)", text)))
