"""A host's root: an overlay on the image, or with --disk a file system of its own."""

import os
import shutil
from pathlib import Path

from lab import mounts
from lab.command import DIES_WITH_US, attempt, run
from lab.errors import LabError
from lab.layout import Lab
from lab.registry import HostEntry, folder
from lab.waiting import wait_until

SMALLEST = 1 << 30
RELEASE_SECONDS = 10


def root(lab: Lab, name: str) -> Path:
    """Where the host's root is mounted while it is up."""
    return folder(lab, name) / "root"


def prepare(lab: Lab, entry: HostEntry) -> None:
    """Create the mount's folders, and for --disk a file system with the image's files."""
    home = folder(lab, entry.name)
    for part in ("root", "upper", "work"):
        (home / part).mkdir(mode=0o755)
    if entry.disk:
        _make_disk(home / "disk.img", entry.disk)
        _fill_disk(lab, entry)


def mount(lab: Lab, entry: HostEntry) -> None:
    """Mount the root; after a power cut ext4 replays its journal."""
    home = folder(lab, entry.name)
    if mounts.is_mounted(home / "root"):
        return
    if entry.disk:
        run("mount", "-o", "loop", home / "disk.img", home / "root")
    else:
        _mount_overlay(lab, entry, home / "root")


def unmount(lab: Lab, name: str) -> None:
    """Unmount everything below the host's folder, in whatever state it is."""
    for path in mounts.below(folder(lab, name)):
        if not attempt("umount", path) and mounts.is_mounted(path):
            run("umount", "--lazy", path)


def is_released(lab: Lab, name: str) -> bool:
    """Wait for the unmounted disk to be released; return whether it was.

    The kernel removes a killed guest's mount namespace asynchronously. Until then the file
    system stays active, and a new mount would return that same, shut-down file system.
    """
    image = folder(lab, name) / "disk.img"
    return not image.exists() or wait_until(lambda: not _loop_device(image), RELEASE_SECONDS)


def cut_power(lab: Lab, name: str) -> None:
    """Shut the --disk file system down below the running host: no later write reaches it.

    Killing the guest alone loses nothing: this machine's page cache survives.
    """
    if mounts.is_mounted(root(lab, name)):
        run("xfs_io", "-x", "-c", "shutdown", root(lab, name))


def copy_tree(lab: Lab, entry: HostEntry, target: Path) -> tuple[str, ...]:
    """Copy the stopped host's files to `target`; return the layers it needs below it."""
    home = folder(lab, entry.name)
    if not entry.disk:
        _copy(home / "upper", target)
        return entry.lower
    mount(lab, entry)
    _copy(home / "root", target)
    (target / "lost+found").rmdir()
    return ()


def _loop_device(image: Path) -> str:
    return run("losetup", "--associated", image).strip()


def _mount_overlay(lab: Lab, entry: HostEntry, target: Path) -> None:
    home = folder(lab, entry.name)
    lower = ":".join(str(lab.cache / layer) for layer in entry.lower)
    # A disk can rename folders; an overlay can only with redirect_dir.
    options = f"redirect_dir=on,lowerdir={lower},upperdir={home / 'upper'},workdir={home / 'work'}"
    run("mount", "-t", "overlay", f"{lab.prefix}-{entry.name}", "-o", options, target)


def _make_disk(image: Path, size: int) -> None:
    if size < SMALLEST:
        raise LabError(
            f"--disk must be at least {SMALLEST >> 30}G (a bare Debian takes a quarter of that); "
            f"got {size} bytes."
        )
    image.touch(0o600)
    os.truncate(image, size)
    run(*DIES_WITH_US, "mkfs.ext4", "-q", "-F", "-L", "root", image)


def _fill_disk(lab: Lab, entry: HostEntry) -> None:
    home = folder(lab, entry.name)
    # The initial files must survive a power cut, so they go to the image file now. Without
    # barriers that takes 0.3 s: they need not reach this machine's disk.
    run("mount", "-o", "loop,nobarrier", home / "disk.img", home / "root")
    if len(entry.lower) == 1:
        _copy(lab.cache / entry.lower[0], home / "root")
    else:
        (home / "layers").mkdir()
        _mount_overlay(lab, entry, home / "layers")
        _copy(home / "layers", home / "root")
        run("umount", home / "layers")
    run("umount", home / "root")
    for part in ("upper", "work"):
        shutil.rmtree(home / part)


def _copy(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    # An overlay's whiteout is a device, an opaque folder an attribute: --archive keeps both.
    run(*DIES_WITH_US, "cp", "--archive", "--reflink=auto", f"{source}/.", target)
