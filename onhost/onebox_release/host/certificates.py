"""A certificate: how long it lasts yet and for which names. One rule for all that judges it."""

from __future__ import annotations

import re
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

DAY = 24 * 3600
# Of its life. certbot renews at a third, or at half of a life of less than ten days, twice a day;
# a fixed number of days would be wrong for lives of 90, 45 and 6 days alike.
LATE = 0.30


@dataclass(frozen=True)
class Certificate:
    """When it begins and ends, in seconds of the epoch, and the domains that it is for."""

    begin: float
    end: float
    domains: tuple[str, ...] = ()

    def left(self, now: float) -> float:
        """Return how many days it lasts yet; less than 0 where it has ended."""
        return (self.end - now) / DAY

    def is_late(self, now: float) -> bool:
        """Tell whether it should have been renewed by now."""
        return self.end - now < LATE * (self.end - self.begin)


def of_file(path: Path) -> Certificate | None:
    """Return the certificate of a PEM file; None if there is none."""
    return _read(["-in", str(path)], b"")


def of_connection(der: bytes | None) -> Certificate | None:
    """Return the certificate that a server presented; None if it is none."""
    return _read(["-inform", "der"], der or b"")


def _read(source: list[str], given: bytes) -> Certificate | None:
    command = ["openssl", "x509", "-noout", "-dates", "-ext", "subjectAltName", *source]
    result = subprocess.run(command, input=given, capture_output=True, check=False)
    text = result.stdout.decode(errors="replace")
    dates = [re.search(rf"^not{which}=(.*)$", text, re.MULTILINE) for which in ("Before", "After")]
    if None in dates:
        return None
    begin, end = (ssl.cert_time_to_seconds(date[1]) for date in dates if date)
    return Certificate(begin, end, tuple(re.findall(r"DNS:([^,\s]+)", text)))
