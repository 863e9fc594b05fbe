"""The disk's last space: for whom it is kept, and on which file system."""

from __future__ import annotations

import grp
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from onebox_release.host import reserve
from onebox_release.host.reserve import Mount, mount_of

MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
30 22 0:25 / /tmp rw,nosuid shared:2 - tmpfs tmpfs rw,size=1g
31 22 8:2 / /var/lib/post\\040gres rw - xfs /dev/sdb rw
32 22 8:3 / /srv rw - ext4 /dev/sdc rw,resgid=104
33 22 8:4 / /srv rw - ext4 /dev/sdd rw
"""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/var/lib/postgresql", Mount("8:1", "/", "ext4", "rw,relatime,rw,errors=remount-ro")),
        ("/var/lib/post gres/15", Mount("8:2", "/var/lib/post gres", "xfs", "rw,rw")),
        ("/srv/x", Mount("8:4", "/srv", "ext4", "rw,rw")),  # the last one covers the others
        ("/srvx", Mount("8:1", "/", "ext4", "rw,relatime,rw,errors=remount-ro")),
    ],
)
def test_a_paths_mount_is_the_nearest_and_the_last(path: str, found: Mount) -> None:
    assert mount_of(Path(path), MOUNTS) == found


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A server's commands; its root is ext4 with 1 GiB, of which 10 MiB are reserved."""
    commands: list[str] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(" ".join(command))
        return subprocess.CompletedProcess(command, 1, "", "not here")

    mib = 256  # blocks
    disk = SimpleNamespace(
        f_frsize=4096, f_blocks=1024 * mib, f_bfree=500 * mib, f_bavail=490 * mib
    )
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    monkeypatch.setattr(grp, "getgrnam", lambda _: SimpleNamespace(gr_gid=104))
    monkeypatch.setattr(reserve, "MOUNTS", tmp_path / "mountinfo")
    return commands


def mounted(kind: str, options: str) -> None:
    reserve.MOUNTS.write_text(f"22 1 8:1 / / rw - {kind} /dev/sda1 rw{options}\n")


def test_the_reserve_is_made_large_enough_and_postgresqls(ran: list[str]) -> None:
    mounted("ext4", "")
    assert not reserve.is_applied()
    reserve.apply()
    assert ran == ["tune2fs -r 13107 /dev/block/8:1", "mount -o remount,resgid=104 /"]


def test_a_reserve_that_is_kept_is_left_alone(ran: list[str]) -> None:
    mounted("ext4", ",resgid=104")
    assert reserve.is_applied()
    vars(os.statvfs("/")).update(f_bavail=100)
    reserve.apply()
    assert ran == []


def test_a_full_disk_says_nothing_about_its_reserve(ran: list[str]) -> None:
    mounted("ext4", ",resgid=104")
    vars(os.statvfs("/")).update(f_bavail=0, f_bfree=2)
    reserve.apply()
    assert ran == []


def test_another_file_system_has_none(ran: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    mounted("xfs", "")
    assert reserve.is_applied()
    reserve.apply()
    assert ran == []
    assert "/ is xfs, which has no reserved blocks" in capsys.readouterr().err
