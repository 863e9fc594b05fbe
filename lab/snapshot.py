"""Snapshots of hosts, in the cache, from which new hosts start."""

import json
import shutil
from dataclasses import asdict, dataclass

from lab import disk, mounts, process
from lab.errors import LabError
from lab.layout import Lab
from lab.registry import HostEntry

META = "snapshot.json"


@dataclass(frozen=True)
class Snapshot:
    """What a copy needs; `lower` as in a host's entry."""

    name: str
    debian: int
    lower: tuple[str, ...]
    domains: tuple[str, ...]


def load(lab: Lab, name: str) -> Snapshot:
    """A snapshot; raise LabError, which names the known ones."""
    try:
        data = json.loads((lab.snapshots / name / META).read_text())
    except FileNotFoundError:
        raise LabError(
            f"There is no snapshot {name!r}. {_known(names(lab))}"
            "Take one of a host: lab snapshot HOST " + name
        ) from None
    lower, domains = tuple(data["lower"]), tuple(data["domains"])
    return Snapshot(data["name"], data["debian"], lower, domains)


def names(lab: Lab) -> list[str]:
    return sorted(path.parent.name for path in lab.snapshots.glob(f"[!.]*/{META}"))


def save(lab: Lab, entry: HostEntry, name: str) -> None:
    """Copy a stopped host's files; an interrupted copy is never listed."""
    this = process.myself()
    draft = lab.snapshots / f".making-{name}.{this.pid}.{this.started}"
    draft.mkdir(parents=True)
    below = disk.copy_tree(lab, entry, draft / "tree")
    saved = Snapshot(name, entry.debian, (f"snapshots/{name}/tree", *below), entry.domains)
    (draft / META).write_text(json.dumps(asdict(saved)))
    draft.rename(lab.snapshots / name)


def sweep(lab: Lab) -> None:
    """Remove interrupted copies of killed commands."""
    for draft in lab.snapshots.glob(".making-*"):
        pid, started = (int(part) for part in draft.name.split(".")[-2:])
        if not process.Process(pid, started).alive:
            shutil.rmtree(draft, ignore_errors=True)


def check_free(lab: Lab, name: str) -> None:
    if (lab.snapshots / name).exists():
        raise LabError(
            f"Snapshot {name!r} already exists. Use another name, or delete it: lab forget {name}"
        )


def forget(lab: Lab, name: str) -> None:
    """Delete a snapshot that no host and no other snapshot uses."""
    load(lab, name)
    users = _users(lab, name)
    if users:
        raise LabError(
            f"Snapshot {name!r} is used by {', '.join(users)}. Remove or forget them first."
        )
    shutil.rmtree(lab.snapshots / name)


def layers_in_use(lab: Lab) -> set[str]:
    """Layers of snapshots, and of anything that any lab has mounted."""
    kept = {layer for name in names(lab) for layer in load(lab, name).lower}
    layers = [*lab.images.glob("*"), *lab.snapshots.glob("*/tree")]
    return kept | {str(path.relative_to(lab.cache)) for path in layers if mounts.is_lower(path)}


def _users(lab: Lab, name: str) -> list[str]:
    layer = f"snapshots/{name}/tree"
    others = [other for other in names(lab) if other != name]
    found = [f"snapshot {o}" for o in others if layer in load(lab, o).lower]
    return found + (["a host"] if mounts.is_lower(lab.cache / layer) else [])


def _known(known: list[str]) -> str:
    return f"Snapshots: {', '.join(known)}. " if known else ""
