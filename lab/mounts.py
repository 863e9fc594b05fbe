"""The machine's mount table."""

import re
from pathlib import Path


def is_mounted(path: Path) -> bool:
    return str(path) in _points()


def below(home: Path) -> list[Path]:
    """Mount points at or below a folder, the latest first."""
    found = [Path(point) for point in _points()]
    return [path for path in reversed(found) if path == home or home in path.parents]


def source(path: Path) -> str | None:
    """The device or name mounted there, None if nothing is."""
    return next(
        (line.split()[0] for line in reversed(_lines()) if line.split()[1] == str(path)), None
    )


def is_lower(layer: Path) -> bool:
    """Whether a mounted overlay uses the layer."""
    return re.search(f"[=:]{re.escape(str(layer))}[:,]", "\n".join(_lines())) is not None


def _lines() -> list[str]:
    return Path("/proc/self/mounts").read_text().splitlines()


def _points() -> list[str]:
    return [line.split()[1] for line in _lines()]
