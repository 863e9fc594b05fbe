"""What is written down about each host, before anything of it is made."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lab.place import Lab
from lab.process import Process

RECORD = "host.json"


@dataclass(frozen=True)
class Record:
    """One host; sizes in bytes, `lower` in the cache and the topmost first."""

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
        """Whether nobody will finish it, or nobody wants it any more."""
        unfinished = self.state == "starting" and not (self.creator and self.creator.alive)
        return unfinished or (self.owner is not None and not self.owner.alive)


def folder(lab: Lab, name: str) -> Path:
    return lab.hosts / name


def save(lab: Lab, record: Record) -> None:
    """Write a record as a whole or not at all."""
    target = folder(lab, record.name) / RECORD
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, json.dumps(asdict(record), indent=1))


def load(lab: Lab, name: str) -> Record | None:
    try:
        data = json.loads((folder(lab, name) / RECORD).read_text())
    except FileNotFoundError:
        return None
    return _parse(data)


def load_all(lab: Lab) -> list[Record]:
    """Every host of the lab, by number."""
    found = [load(lab, name) for name in names(lab)]
    return sorted((r for r in found if r is not None), key=lambda r: r.number)


def names(lab: Lab) -> list[str]:
    """Folders of hosts, those whose record was never written included."""
    return sorted(path.name for path in lab.hosts.iterdir()) if lab.hosts.is_dir() else []


def write_whole(target: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file so that a reader sees the old or the new one."""
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    draft.touch(mode)
    draft.write_text(text)
    draft.replace(target)


def _parse(data: dict[str, Any]) -> Record:
    for key in ("creator", "owner"):
        if data[key] is not None:
            data[key] = Process(**data[key])
    for key in ("domains", "lower"):
        data[key] = tuple(data[key])
    return Record(**data)
