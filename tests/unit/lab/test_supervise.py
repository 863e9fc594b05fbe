"""lab/supervise.py: how systemd-nspawn is started."""

from dataclasses import replace
from pathlib import Path

import pytest

from lab import disk, supervise
from lab.layout import Lab
from lab.registry import HostEntry


def test_nspawn_boots_without_a_systemd_outside(web: HostEntry) -> None:
    assert supervise.command(Lab(), web) == [
        *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--settings=no"),
        "--directory=/var/lib/onebox-lab/hosts/web/root",
        "--machine=onebox-web",
        "--hostname=web",
        "--network-namespace-path=/run/netns/onebox-web",
        "--capability=CAP_NET_ADMIN",
        *("--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=read-only"),
    ]


@pytest.mark.parametrize(("text", "debian"), [("13.1\n", 13), ("12.12\n", 12), ("forky/sid\n", 12)])
def test_an_upgraded_host_boots_as_what_it_is(
    tmp_path: Path, text: str, debian: int, web: HostEntry
) -> None:
    lab = Lab(root=tmp_path)
    etc = disk.root(lab, web.name) / "etc"
    etc.mkdir(parents=True)
    (etc / "debian_version").write_text(text)
    assert supervise._debian(lab, replace(web, debian=12)) == debian


@pytest.mark.parametrize(("debian", "unified"), [(12, None), (13, "1")])
def test_only_debian_13_is_put_on_the_unified_hierarchy(debian: int, unified: str | None) -> None:
    environment = supervise.environment(debian)
    assert environment.get("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY") == unified
    assert environment["SYSTEMD_NSPAWN_API_VFS_WRITABLE"] == "network"
