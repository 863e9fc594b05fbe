"""The registry of hosts: an entry on disk for each, saved before the host is created."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lab.layout import Lab
from lab.process import Process

FILE = "host.json"


@dataclass(frozen=True)
class HostEntry:
    """One host; sizes in bytes, `lower` in the cache, topmost layer first."""

    name: str
    number: int
    debian: int
    address: str
    address6: str
    domains: tuple[str, ...]
    memory: int | None = None
    cpus: int | None = None
    disk: int | None = None
    lower: tuple[str, ...] = ()
    state: Literal["starting", "ready"] = "starting"
    creator: Process | None = None
    owner: Process | None = None
    created: float = 0.0

    @property
    def abandoned(self) -> bool:
        """Whether its creator exited before it was ready, or its owner has exited."""
        unfinished = self.state == "starting" and not (self.creator and self.creator.alive)
        return unfinished or (self.owner is not None and not self.owner.alive)


def folder(lab: Lab, name: str) -> Path:
    return lab.hosts / name


def save(lab: Lab, entry: HostEntry) -> None:
    """Write an entry atomically."""
    target = folder(lab, entry.name) / FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, json.dumps(asdict(entry), indent=1))


def load(lab: Lab, name: str) -> HostEntry | None:
    try:
        data = json.loads((folder(lab, name) / FILE).read_text())
    except FileNotFoundError:
        return None
    return _parse(data)


def load_all(lab: Lab) -> list[HostEntry]:
    """Every host of the lab, by number."""
    found = [load(lab, name) for name in names(lab)]
    return sorted((r for r in found if r is not None), key=lambda r: r.number)


def names(lab: Lab) -> list[str]:
    """Names of all hosts' folders, including those without an entry."""
    return sorted(path.name for path in lab.hosts.iterdir()) if lab.hosts.is_dir() else []


def write_atomically(target: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file: a reader sees the old text or the new one, never a part."""
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    draft.touch(mode)
    draft.write_text(text)
    draft.replace(target)


def _parse(data: dict[str, Any]) -> HostEntry:
    for key in ("creator", "owner"):
        if data[key] is not None:
            data[key] = Process(**data[key])
    for key in ("domains", "lower"):
        data[key] = tuple(data[key])
    return HostEntry(**data)
