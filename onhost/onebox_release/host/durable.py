"""Writes that a power cut leaves either done or not done."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, Any


def write(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file's content atomically."""
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
        sync(file)
    rename(new, path)


def append(path: Path, line: str) -> None:
    """Append a line to a file; start a new line if a power cut tore the last one."""
    is_new = not path.exists()
    with path.open("a+b") as file:
        file.seek(0, os.SEEK_END)
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else f"\n{line}"
        file.write(f"{line}\n".encode())
        sync(file)
    if is_new:
        sync_folder(path.parent)


def point(link: Path, target: str) -> None:
    """Point a symlink at `target`, atomically."""
    new = link.with_name(f".{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    rename(new, link)


def rename(new: Path, path: Path) -> None:
    """Rename a file, and wait until its folder is on the disk."""
    new.rename(path)
    sync_folder(path.parent)


def sync(file: IO[Any]) -> None:
    """Wait until a file's content is on the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until a folder's entries are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
