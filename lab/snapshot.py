"""Saved states of a host, in the cache, to start copies of."""

import json
import shutil
from dataclasses import asdict, dataclass

from lab import disk, mounts, process
from lab.errors import LabError
from lab.place import Lab
from lab.record import Record

META = "snapshot.json"


@dataclass(frozen=True)
class Snapshot:
    """What a copy needs to know; `lower` as in a host's record."""

    name: str
    debian: int
    lower: tuple[str, ...]
    domains: tuple[str, ...]


def load(lab: Lab, name: str) -> Snapshot:
    """A snapshot, or LabError naming those there are."""
    try:
        data = json.loads((lab.snapshots / name / META).read_text())
    except FileNotFoundError:
        raise LabError(
            f"There is no snapshot {name!r}. {_offer(names(lab))}"
            "Make one of a host: lab snapshot HOST " + name
        ) from None
    lower, domains = tuple(data["lower"]), tuple(data["domains"])
    return Snapshot(data["name"], data["debian"], lower, domains)


def names(lab: Lab) -> list[str]:
    return sorted(path.parent.name for path in lab.snapshots.glob(f"[!.]*/{META}"))


def save(lab: Lab, record: Record, name: str) -> None:
    """Copy a stopped host's files; a copy that is cut off is never listed."""
    us = process.myself()
    draft = lab.snapshots / f".making-{name}.{us.pid}.{us.started}"
    draft.mkdir(parents=True)
    below = disk.copy_tree(lab, record, draft / "tree")
    saved = Snapshot(name, record.debian, (f"snapshots/{name}/tree", *below), record.domains)
    (draft / META).write_text(json.dumps(asdict(saved)))
    draft.rename(lab.snapshots / name)


def sweep(lab: Lab) -> None:
    """Remove what killed runs had copied so far."""
    for draft in lab.snapshots.glob(".making-*"):
        pid, started = (int(part) for part in draft.name.split(".")[-2:])
        if not process.Process(pid, started).alive:
            shutil.rmtree(draft, ignore_errors=True)


def check_free(lab: Lab, name: str) -> None:
    if (lab.snapshots / name).exists():
        raise LabError(
            f"There is a snapshot {name!r} already. Take another name, or remove it: "
            f"lab forget {name}"
        )


def forget(lab: Lab, name: str) -> None:
    """Delete a snapshot that nothing stands on."""
    load(lab, name)
    users = _users(lab, name)
    if users:
        raise LabError(
            f"Snapshot {name!r} carries {', '.join(users)}. Take them down, or forget them, first."
        )
    shutil.rmtree(lab.snapshots / name)


def layers_in_use(lab: Lab) -> set[str]:
    """Layers below snapshots, and below anything mounted now by any lab."""
    kept = {layer for name in names(lab) for layer in load(lab, name).lower}
    layers = [*lab.images.glob("*"), *lab.snapshots.glob("*/tree")]
    return kept | {str(path.relative_to(lab.cache)) for path in layers if mounts.is_lower(path)}


def _users(lab: Lab, name: str) -> list[str]:
    layer = f"snapshots/{name}/tree"
    others = [other for other in names(lab) if other != name]
    found = [f"snapshot {o}" for o in others if layer in load(lab, o).lower]
    return found + (["a host"] if mounts.is_lower(lab.cache / layer) else [])


def _offer(known: list[str]) -> str:
    return f"There are: {', '.join(known)}. " if known else ""
