"""The metrics of one server's worker processes, in files that they share.

Each worker writes files of its own; whoever is asked adds up all of them. So a counter must outlive
its worker, and its file mustn't, or they would pile up with each worker that Gunicorn replaces.
"""

import fcntl
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# One for each server process, in the service's private /tmp, which systemd empties with it: the
# releases that run during a switch have each their own, and a new one starts from zero.
PREFIX = "links-metrics-"
DIRECTORY = Path(tempfile.gettempdir()) / f"{PREFIX}{os.getppid()}"

# prometheus_client reads it when it is imported.
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(DIRECTORY)

with suppress(FileExistsError):
    DIRECTORY.mkdir(mode=0o700)

from prometheus_client import CollectorRegistry, generate_latest  # noqa: E402
from prometheus_client.mmap_dict import MmapedDict  # noqa: E402
from prometheus_client.multiprocess import MultiProcessCollector  # noqa: E402

DEAD = 0  # stands for the process id of every worker that has ended


def exposition(directory: Path = DIRECTORY) -> bytes:
    """What all workers, living and dead, have measured, in Prometheus' text format."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(directory))  # type: ignore[no-untyped-call]
    with _locked(directory):
        _fold_dead(directory)
        return generate_latest(registry)


def tidy(directory: Path = DIRECTORY) -> None:
    """Fold the files of dead workers into one, and remove the folders of dead servers."""
    with _locked(directory):
        _fold_dead(directory)
    for other in directory.parent.glob(f"{PREFIX}*"):
        if not _alive(int(other.name.removeprefix(PREFIX))):
            shutil.rmtree(other, ignore_errors=True)


def _fold_dead(directory: Path) -> None:
    dead = [file for file in directory.glob("*.db") if not _alive(_process(file))]
    for kind in ("counter", "histogram"):
        ended = [file for file in dead if file.name.startswith(f"{kind}_")]
        if ended:
            _add_to(directory / f"{kind}_{DEAD}.db", ended)
    for file in dead:  # a gauge tells of now, and the dead have no now
        file.unlink()


def _add_to(target: Path, files: list[Path]) -> None:
    total: Counter[str] = Counter()
    for file in files:
        for key, value, _, _ in MmapedDict.read_all_values_from_file(file):  # type: ignore[no-untyped-call]
            total[key] += value
    kept = MmapedDict(str(target))  # type: ignore[no-untyped-call]
    for key, value in total.items():
        kept.write_value(key, kept.read_value(key)[0] + value, 0.0)  # type: ignore[no-untyped-call]
    kept.close()  # type: ignore[no-untyped-call]


def _process(file: Path) -> int:
    return int(file.stem.rpartition("_")[2])


def _alive(process: int) -> bool:
    if process == DEAD:
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """No other worker folds or reads meanwhile."""
    with (directory / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
