"""A host's root: an overlay that copies nothing, or a file system of its own size."""

import os
import shutil
from pathlib import Path

from lab import mounts
from lab.command import DIES_WITH_US, attempt, run
from lab.errors import LabError
from lab.place import Lab
from lab.record import Record, folder
from lab.waiting import wait_until

SMALLEST = 1 << 30
RELEASE_SECONDS = 10


def root(lab: Lab, name: str) -> Path:
    """Where the host's root is mounted while it is up."""
    return folder(lab, name) / "root"


def prepare(lab: Lab, record: Record) -> None:
    """Make what is to be mounted: folders, and for --disk a filled file system."""
    home = folder(lab, record.name)
    for part in ("root", "upper", "work"):
        (home / part).mkdir(mode=0o755)
    if record.disk:
        _make_disk(home / "disk.img", record.disk)
        _fill_disk(lab, record)


def mount(lab: Lab, record: Record) -> None:
    """Mount the root; ext4 replays its journal here after a power cut."""
    home = folder(lab, record.name)
    if mounts.is_mounted(home / "root"):
        return
    if record.disk:
        run("mount", "-o", "loop", home / "disk.img", home / "root")
    else:
        _mount_overlay(lab, record, home / "root")


def unmount(lab: Lab, name: str) -> None:
    """Unmount all that the host has mounted, whatever state it is in."""
    for path in mounts.below(folder(lab, name)):
        if not attempt("umount", path) and mounts.is_mounted(path):
            run("umount", "--lazy", path)


def is_released(lab: Lab, name: str) -> bool:
    """Whether the unmounted disk is out of use; waits for it.

    The kernel ends a killed guest's mount namespace in its own time. Until then the file
    system lives on, and a new mount would be given that very one, shut down as it is.
    """
    image = folder(lab, name) / "disk.img"
    return not image.exists() or wait_until(lambda: not _loop_device(image), RELEASE_SECONDS)


def cut_power(lab: Lab, name: str) -> None:
    """Shut the --disk file system down under the host, so that nothing more reaches it.

    Killing the guest alone loses nothing: this machine's page cache lives on.
    """
    if mounts.is_mounted(root(lab, name)):
        run("xfs_io", "-x", "-c", "shutdown", root(lab, name))


def copy_tree(lab: Lab, record: Record, target: Path) -> tuple[str, ...]:
    """Copy what the stopped host has to `target`; return the layers it needs below it."""
    home = folder(lab, record.name)
    if not record.disk:
        _copy(home / "upper", target)
        return record.lower
    mount(lab, record)
    _copy(home / "root", target)
    (target / "lost+found").rmdir()
    return ()


def _loop_device(image: Path) -> str:
    return run("losetup", "--associated", image).strip()


def _mount_overlay(lab: Lab, record: Record, target: Path) -> None:
    home = folder(lab, record.name)
    lower = ":".join(str(lab.cache / layer) for layer in record.lower)
    # A disk lets folders be renamed; an overlay does only where it may note where they were.
    options = f"redirect_dir=on,lowerdir={lower},upperdir={home / 'upper'},workdir={home / 'work'}"
    run("mount", "-t", "overlay", f"{lab.prefix}-{record.name}", "-o", options, target)


def _make_disk(image: Path, size: int) -> None:
    if size < SMALLEST:
        raise LabError(
            f"--disk has to be at least {SMALLEST >> 30}G, as a bare Debian takes a quarter "
            f"of that; {size} bytes were asked for."
        )
    image.touch(0o600)
    os.truncate(image, size)
    run(*DIES_WITH_US, "mkfs.ext4", "-q", "-F", "-L", "root", image)


def _fill_disk(lab: Lab, record: Record) -> None:
    home = folder(lab, record.name)
    # What the host starts with is on its disk, so a power cut may not take it away. Without
    # barriers that is 0.3 s: it need not reach this machine's disk, only the image file.
    run("mount", "-o", "loop,nobarrier", home / "disk.img", home / "root")
    if len(record.lower) == 1:
        _copy(lab.cache / record.lower[0], home / "root")
    else:
        (home / "layers").mkdir()
        _mount_overlay(lab, record, home / "layers")
        _copy(home / "layers", home / "root")
        run("umount", home / "layers")
    run("umount", home / "root")
    for part in ("upper", "work"):
        shutil.rmtree(home / part)


def _copy(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    # A whiteout of an overlay is a device, an opaque folder an attribute: -a keeps both.
    run(*DIES_WITH_US, "cp", "--archive", "--reflink=auto", f"{source}/.", target)
