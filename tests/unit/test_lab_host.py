"""What a host is booted with and known by: supervise.py, limits.py, ssh.py, guest.py."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from lab import acme, disk, domains, guest, limits, record, ssh, supervise
from lab.place import Lab
from lab.record import Record

WEB = Record(
    name="web",
    number=11,
    debian=12,
    address="10.213.0.11",
    address6="fd6f::b",
    domains=("web.onebox.test", "www.test"),
)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(root=tmp_path / "root", cache=tmp_path / "cache")
    made.hosts.mkdir(parents=True)
    return made


def test_nspawn_boots_without_a_systemd_outside() -> None:
    assert supervise.command(Lab(), WEB) == [
        *("systemd-nspawn", "--quiet", "--boot", "--register=no", "--keep-unit", "--settings=no"),
        "--directory=/var/lib/onebox-lab/hosts/web/root",
        "--machine=onebox-web",
        "--hostname=web",
        "--network-namespace-path=/run/netns/onebox-web",
        "--capability=CAP_NET_ADMIN",
        *("--resolv-conf=off", "--timezone=off", "--link-journal=no", "--console=read-only"),
    ]


@pytest.mark.parametrize(("text", "debian"), [("13.1\n", 13), ("12.12\n", 12), ("forky/sid\n", 12)])
def test_an_upgraded_host_boots_as_what_it_is(tmp_path: Path, text: str, debian: int) -> None:
    lab = Lab(root=tmp_path)
    etc = disk.root(lab, WEB.name) / "etc"
    etc.mkdir(parents=True)
    (etc / "debian_version").write_text(text)
    assert supervise._debian(lab, replace(WEB, debian=12)) == debian


@pytest.mark.parametrize(("debian", "unified"), [(12, None), (13, "1")])
def test_only_debian_13_is_put_on_the_unified_hierarchy(debian: int, unified: str | None) -> None:
    environment = supervise.environment(debian)
    assert environment.get("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY") == unified
    assert environment["SYSTEMD_NSPAWN_API_VFS_WRITABLE"] == "network"


def test_cpus_are_spread_over_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 4, 5})
    assert limits.cpu_list(WEB) is None
    assert limits.cpu_list(replace(WEB, cpus=1)) == "5"
    assert limits.cpu_list(replace(WEB, cpus=1, number=12)) == "0"
    assert limits.cpu_list(replace(WEB, cpus=2)) == "4,5"
    assert limits.cpu_list(replace(WEB, cpus=9)) == "0,1,4,5"


def test_the_guest_is_shown_its_limits() -> None:
    assert (limits.online(1), limits.online(2)) == ("0\n", "0-1\n")
    assert limits.meminfo(1 << 30).splitlines()[0].split() == ["MemTotal:", "1048576", "kB"]


def test_ssh_config_and_known_hosts_name_every_way_to_a_host(lab: Lab) -> None:
    record.save(lab, WEB)
    (lab.hosts / "web" / ssh.HOST_KEYS).write_text("ssh-ed25519 AAAA\n")
    ssh.write_config(lab)
    assert lab.ssh_config.read_text() == (
        "Host web web.onebox.test www.test 10.213.0.11 fd6f::b\n"
        "  HostName 10.213.0.11\n"
        "  User root\n"
        f"  IdentityFile {lab.root}/id_ed25519\n"
        "  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {lab.root}/known_hosts\n"
        "  GlobalKnownHostsFile /dev/null\n"
        "  StrictHostKeyChecking yes\n"
        "  ControlMaster no\n"
        "  ControlPath none\n"
        "  LogLevel ERROR\n"
    )
    assert (lab.root / "known_hosts").read_text() == (
        "web,web.onebox.test,www.test,10.213.0.11,fd6f::b ssh-ed25519 AAAA\n"
    )


def test_a_link_in_the_guests_tree_is_replaced_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("ours")
    (tmp_path / "resolv.conf").symlink_to(outside)
    guest._put(tmp_path / "resolv.conf", "theirs")
    assert outside.read_text() == "ours"
    assert (tmp_path / "resolv.conf").read_text() == "theirs"


def test_pebble_asks_on_the_ports_of_a_real_ca(lab: Lab) -> None:
    config = acme.config(lab)["pebble"]
    assert isinstance(config, dict)
    assert (config["httpPort"], config["tlsPort"]) == (80, 443)
    assert config["profiles"]["shortlived"]["validityPeriod"] == 160 * 3600


def test_the_newest_host_holds_a_shared_domain(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, str | None]] = []

    def point(_: Lab, domain: str, holder: Record | None) -> None:
        told.append((domain, holder.name if holder else None))

    monkeypatch.setattr(domains, "point", point)
    old = replace(WEB, created=1.0)
    new = replace(WEB, name="copy", created=2.0, domains=("copy.onebox.test", "www.test"))
    domains.resolve(lab, ["www.test", "web.onebox.test", "gone.test"], [new, old])
    assert told == [("www.test", "copy"), ("web.onebox.test", "web"), ("gone.test", None)]
