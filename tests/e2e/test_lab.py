"""The lab itself, on real hosts. Needs root, and about a minute with cached images."""

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import fabric  # type: ignore[import-untyped]
import httpx
import paramiko
import pytest

from lab import acme, cgroup, hosts, preflight
from lab.layout import Lab, this_lab
from lab.waiting import wait_until

REPOSITORY = Path(__file__).resolve().parents[2]
ROOTS = Path("/var/lib/onebox-lab-test")
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or bool(preflight.missing_packages()),
    reason="the lab needs root and its packages: see `python -m lab list`",
)


class CommandLine:
    """A lab with its own root, used through its command line."""

    def __init__(self, root: Path, machine: int = 1) -> None:
        self.lab = Lab(root=root, cache=this_lab().cache)
        self.environment = os.environ | {"ONEBOX_LAB_ROOT": str(root)}
        self.top = Path(f"/proc/{machine}/root")
        enter = ("nsenter", f"--target={machine}", "--net", "--mount", f"--wd={REPOSITORY}")
        self.inside = () if machine == 1 else enter

    def begin(self, *args: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*self.inside, sys.executable, "-m", "lab", *args],
            cwd=REPOSITORY,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def attempt(self, *args: str) -> tuple[int, str, str]:
        with self.begin(*args) as process:
            out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def __call__(self, *args: str) -> str:
        status, out, err = self.attempt(*args)
        assert status == 0, err
        return out

    def up(self, name: str, *args: str) -> str:
        return self("up", name, "--owner", str(os.getpid()), *args)

    def ssh(self, name: str, command: str) -> str:
        return self("ssh", name, "--", command)

    def listed(self) -> dict[str, dict[str, object]]:
        answer = json.loads(self("list", "--json"))
        assert answer.keys() == {"schema", "host", "app", "data"}
        return {row["name"]: row for row in answer["data"]}

    def traces(self) -> dict[str, set[str]]:
        """Return what labs change on a machine; of files and processes, only this lab's."""
        groups = [p for top in cgroup.hierarchies() for p, _, _ in os.walk(top)]
        loops = output("losetup", "--list", "--noheadings", "--output=BACK-FILE").splitlines()
        processes = output("ps", "-eo", "args").splitlines()
        mine = {str(x) for x in (*groups, *loops, *processes, *ROOTS.glob("*/*"))}
        return {
            "links": set(self.output("ip", "-brief", "link").splitlines()),
            "routes": set(self.output("ip", "route", "show", "table", "all").splitlines()),
            "mounts": {
                line
                for line in self.output("cat", "/proc/self/mounts").splitlines()
                if not line.split()[1].startswith(OTHERS)
            },
            "tables": set(self.output("nft", "list", "ruleset").splitlines()),
            "run": set(self.output("find", "/run").splitlines()),
            "forwarding": {self.output("cat", "/proc/sys/net/ipv4/ip_forward")},
            "named": {x for x in mine if self.lab.prefix in x or str(self.lab.root) in x},
        }

    def output(self, *command: str) -> str:
        return output(*self.inside, *command)


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# Other tests start and remove hosts meanwhile, and mounts propagate into every namespace.
OTHERS = "/var/lib/onebox-lab/hosts"


def fresh_lab(name: str, machine: int = 1) -> CommandLine:
    return CommandLine(ROOTS / str(os.getpid()) / name, machine)


@pytest.fixture(scope="module", autouse=True)
def tidy() -> Iterator[None]:
    """Remove what a killed run left, and at the end what this one created."""
    for run in ROOTS.glob("*"):
        if not Path("/proc", run.name).exists():
            clear(run)
    yield
    clear(ROOTS / str(os.getpid()))
    if ROOTS.exists() and not any(ROOTS.iterdir()):
        ROOTS.rmdir()


def clear(run: Path) -> None:
    for root in run.glob("*"):
        CommandLine(root)("down", "--all")
    shutil.rmtree(run, ignore_errors=True)


@pytest.fixture(scope="module")
def lab() -> Iterator[CommandLine]:
    lab = fresh_lab("shared")
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda v: lab.up(f"deb{v}", "--debian", v), ["12", "13"]))
    yield lab
    lab("down", "--all")


@pytest.fixture
def saved(lab: CommandLine) -> Iterator[str]:
    """Name for a snapshot."""
    name = f"test-{os.getpid()}"
    yield name
    lab("forget", name)


@pytest.fixture
def copy(lab: CommandLine) -> Iterator[str]:
    """Name for a host."""
    yield "copy"
    lab("down", "copy")


@pytest.fixture
def isolated(lab: CommandLine) -> Iterator[int]:
    """A process with its own network, mounts and /run, as on a machine without other labs."""
    assert lab.lab.root.exists(), "without an uplink, the images have to be in the cache already"
    run = ROOTS / str(os.getpid()) / "run"
    (run / "systemd").mkdir(parents=True)
    (run / "mount").mkdir()  # libmount's
    if Path("/run/systemd/resolve").is_dir():
        shutil.copytree("/run/systemd/resolve", run / "systemd/resolve")
    clear = "umount -R /run/netns; umount /run/systemd/nspawn"
    command = f"{clear}; mount --bind {run} /run && sysctl -qw net.ipv4.ip_forward=0 && echo"
    with subprocess.Popen(
        [
            "unshare",
            "--net",
            "--mount",
            "--propagation=slave",
            "sh",
            "-c",
            f"{command} && exec sleep infinity",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "\n"
        yield holder.pid
        for root in {*run.parent.iterdir()} - {run, lab.lab.root}:
            CommandLine(root, holder.pid)("down", "--all")
        holder.kill()
    shutil.rmtree(run)


@pytest.fixture(params=["deb12", "deb13"])
def host(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def disk_host(lab: CommandLine) -> Iterator[str]:
    lab.up("disk", "--disk", "2G", "--memory", "512M", "--cpus", "1", "--debian", "12")
    yield "disk"
    lab("down", "disk")


def test_a_host_is_healthy_and_bare(lab: CommandLine, host: str) -> None:
    assert lab.ssh(host, "systemctl is-system-running --wait").strip() == "running"
    assert lab.ssh(host, "systemctl --failed --plain --no-legend").strip() == ""
    assert lab.ssh(host, "cat /etc/debian_version").startswith(host.removeprefix("deb"))
    ours = "command -v nginx nft psql uv certbot unattended-upgrade || ls /opt /srv"
    assert lab.ssh(host, ours).split() == ["/opt:", "/srv:"]


def test_one_ssh_config_serves_ssh_paramiko_and_fabric(lab: CommandLine, host: str) -> None:
    command = ["ssh", "-F", str(lab.lab.ssh_config), "-l", "debian", host, "sudo -n id -un"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "root\n"

    known = paramiko.SSHConfig.from_path(str(lab.lab.ssh_config)).lookup(host)
    client = paramiko.SSHClient()
    client.load_host_keys(known["userknownhostsfile"])
    client.connect(known["hostname"], username="debian", key_filename=known["identityfile"])
    assert client.exec_command("id -un")[1].read() == b"debian\n"
    client.close()

    settings = fabric.Config(runtime_ssh_path=str(lab.lab.ssh_config))
    with fabric.Connection(host, config=settings) as connection:
        assert connection.run("id -un", hide=True, in_stream=False).stdout == "root\n"


def test_this_machine_reaches_a_host_over_both_families(lab: CommandLine, host: str) -> None:
    row = lab.listed()[host]
    lab.ssh(host, "systemd-run --quiet --unit=web python3 -m http.server 80 --bind :: -d /srv")
    for address in (row["address"], f"[{row['address6']}]"):
        wait_for(partial(serves, f"http://{address}/"))
    lab.ssh(host, "systemctl stop web")


def test_hosts_reach_apt_and_pypi_and_get_certificates(lab: CommandLine) -> None:
    addresses = {name: str(row["address"]) for name, row in lab.listed().items()}
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(use_the_internet, lab), addresses, addresses.values()))


def use_the_internet(lab: CommandLine, host: str, address: str) -> None:
    lab.ssh(host, "apt-get update -qq && apt-get install -qq -y python3-venv >/dev/null 2>&1")
    lab.ssh(host, "python3 -m venv /root/v && /root/v/bin/pip install -q uv")
    lab.ssh(host, "/root/v/bin/uv pip install -q --python /root/v/bin/python certbot==5.8.0")
    for file in (acme.ca_file(lab.lab), acme.root_file(lab.lab)):
        lab.ssh(host, f"cat >/tmp/{file.name} <<'END'\n{file.read_text()}END")
    certbot = (
        "REQUESTS_CA_BUNDLE=/tmp/ca.pem /root/v/bin/certbot certonly --quiet --standalone "
        f"--server {acme.directory(lab.lab)} --agree-tos --register-unsafely-without-email "
    )
    lab.ssh(host, f"{certbot} --required-profile classic -d {host}.onebox.test")
    lab.ssh(host, f"{certbot} --required-profile shortlived --ip-address {address}")
    for lineage in (f"{host}.onebox.test", address):
        folder = f"/etc/letsencrypt/live/{lineage}"
        verify = f"openssl verify -CAfile /tmp/root.pem -untrusted {folder}/chain.pem"
        assert "OK" in lab.ssh(host, f"{verify} {folder}/cert.pem")


def test_a_host_reboots(lab: CommandLine, host: str) -> None:
    before = lab.ssh(host, "cat /proc/sys/kernel/random/boot_id; touch /root/kept")
    lab("reboot", host)
    after = lab.ssh(host, "cat /proc/sys/kernel/random/boot_id; test -e /root/kept")
    assert before != after
    assert lab.ssh(host, "systemctl is-system-running --wait").strip() == "running"


def test_a_host_is_switched_off_and_on(lab: CommandLine, host: str) -> None:
    lab.ssh(host, "touch /root/kept")
    lab("poweroff", host)
    assert lab.listed()[host]["state"] == "stopped"
    status, _, error = lab.attempt("ssh", host, "--", "true")
    assert (status, error) == (1, f"lab: {host} is not running. Start it: lab start {host}\n")
    lab("start", host)
    row = lab.listed()[host]
    assert row["state"] == "running"
    assert isinstance(row["uptime"], float)
    assert lab.ssh(host, "ls /root/kept") == "/root/kept\n"


def test_limits_bind_and_show(lab: CommandLine, disk_host: str) -> None:
    assert lab.ssh(disk_host, "nproc").strip() == "1"
    assert lab.ssh(disk_host, "getconf _NPROCESSORS_ONLN").strip() == "1"
    assert lab.ssh(disk_host, "head -1 /proc/meminfo").split() == ["MemTotal:", "524288", "kB"]
    lab.ssh(disk_host, "python3 -c 'bytearray(200 << 20)'")
    status, _, _ = lab.attempt("ssh", disk_host, "--", "python3 -c 'bytearray(700 << 20)'")
    assert status in {137, 255}  # systemd ends the whole session of a killed process
    lab("reboot", disk_host)
    assert lab.ssh(disk_host, "nproc; grep -c 524288 /proc/meminfo").split() == ["1", "2"]


def test_a_hard_power_off_loses_what_was_not_synced(lab: CommandLine, disk_host: str) -> None:
    size = int(lab.ssh(disk_host, "df --output=size --block-size=1M / | tail -1"))
    assert 1800 < size <= 2048
    lab.ssh(disk_host, "echo x >/root/synced && sync && echo x >/root/unsynced")
    assert lab.ssh(disk_host, "cat /root/synced /root/unsynced") == "x\nx\n"
    lab("reboot", "deb13")  # its new systemd-nspawn copies the mounts of the disk host
    lab("poweroff", disk_host, "--hard")
    lab("start", disk_host)
    assert lab.ssh(disk_host, "cat /root/synced /root/unsynced 2>/dev/null || true") == "x\n"
    assert lab.ssh(disk_host, "systemctl is-system-running --wait").strip() == "running"


def test_the_power_may_be_cut_right_after_up(lab: CommandLine, disk_host: str) -> None:
    lab("poweroff", disk_host, "--hard")
    lab("start", disk_host)
    assert lab.ssh(disk_host, "systemctl is-system-running --wait").strip() == "running"


def test_the_next_host_at_an_address_gets_its_hardware_address(lab: CommandLine) -> None:
    found = []
    for name in ("first", "second"):
        lab.up(name)
        found.append(lab.ssh(name, "hostname --all-ip-addresses; cat /sys/class/net/eth0/address"))
        lab("down", name)
    assert found[0] == found[1]  # or ARP caches point at the first one for 40 s


@pytest.mark.parametrize("options", [[], ["--disk", "2G"]], ids=["overlay", "disk"])
def test_a_copy_starts_from_the_snapshots_state(
    lab: CommandLine, saved: str, copy: str, options: list[str]
) -> None:
    lab.ssh("deb13", "echo mine >/srv/file; rm -f /usr/bin/less; rm -rf /usr/share/doc")
    # mv would copy if the file system can't rename a folder of a lower layer.
    rename = "perl -e 'rename shift, shift or die $!'"
    lab.ssh("deb13", f"{rename} /usr/share/zoneinfo /srv/zones")
    lab("snapshot", "deb13", saved)
    assert lab.ssh("deb13", "cat /srv/file") == "mine\n"
    lab.up(copy, "--from", saved, *options)
    lab.ssh("deb13", f"{rename} /srv/zones /usr/share/zoneinfo")
    lab.ssh(copy, f"{rename} /srv/zones /srv/again")
    shown = lab.ssh(copy, "hostname; cat /srv/file; ls /usr/bin/less /usr/share/doc 2>&1; true")
    assert shown.splitlines()[:2] == [copy, "mine"]
    assert lab.ssh(copy, "ls /srv/again/Etc/UTC") == "/srv/again/Etc/UTC\n"
    assert shown.count("No such file or directory") == 2
    assert lab.listed()[copy]["domains"] == [f"{copy}.onebox.test", "deb13.onebox.test"]


def test_a_snapshot_in_use_is_not_forgotten(lab: CommandLine, saved: str, copy: str) -> None:
    lab("snapshot", "deb13", saved)
    status, _, error = lab.attempt("snapshot", "deb13", saved)
    assert (status, f"Snapshot {saved!r} already exists." in error) == (1, True)
    lab.up(copy, "--from", saved)
    status, _, error = lab.attempt("forget", saved)
    assert (status, f"Snapshot {saved!r} is used by a host." in error) == (1, True)


def test_the_library_returns_what_the_command_line_prints(lab: CommandLine) -> None:
    rows, found = lab.listed(), hosts.running(lab.lab)
    assert {host.name: (host.address, host.debian) for host in found} == {
        name: (row["address"], row["debian"]) for name, row in rows.items()
    }
    assert all(path.exists() for h in found for path in (h.ssh_config, h.acme_ca, h.acme_root))
    trust = ssl.create_default_context(cafile=found[0].acme_ca)
    assert "newOrder" in httpx.get(found[0].acme_directory, verify=trust, trust_env=False).json()


def test_a_name_in_use_is_refused(lab: CommandLine) -> None:
    status, _, error = lab.attempt("up", "deb12")
    assert (status, error) == (
        1,
        "lab: Host 'deb12' already exists. Use another name, or remove it: lab down deb12\n",
    )


def test_down_leaves_nothing(isolated: int) -> None:
    lab = fresh_lab("nothing", isolated)
    before = lab.traces()
    lab.up("one", "--memory", "1G", "--cpus", "1", "--disk", "1G")
    lab("reboot", "one")
    lab.up("two", "--debian", "12")
    during = lab.traces()
    assert [kind for kind in before if during[kind] == before[kind]] == []
    lab("down", "one")
    assert list(lab.listed()) == ["two"]
    lab("down", "--all")
    assert lab.traces() == before


def test_the_last_of_several_labs_restores_forwarding(isolated: int) -> None:
    first, second = fresh_lab("first", isolated), fresh_lab("second", isolated)
    before = first.traces()
    first.up("one")
    second.up("one")
    first("down", "--all")
    assert second.traces()["forwarding"] == {"1\n"}
    assert second.ssh("one", "hostname") == "one\n"
    second("down", "--all")
    assert first.traces() == before


def after_allocation(lab: CommandLine) -> bool:
    return (lab.lab.hosts / "cut/host.json").exists()


def after_network(lab: CommandLine) -> bool:
    return (lab.top / "run/netns" / lab.lab.namespace("cut")).exists()


def after_copying(lab: CommandLine) -> bool:
    return any((lab.top / str(lab.lab.hosts)[1:] / "cut/root").glob("etc/*"))


def after_boot(lab: CommandLine) -> bool:
    return len(cgroup.processes(lab.lab, "cut")) > 2


def after_acme(lab: CommandLine) -> bool:
    return bool(cgroup.processes(lab.lab, acme.NAME))


@pytest.mark.parametrize(
    "reached", [after_allocation, after_network, after_copying, after_boot, after_acme]
)
def test_leftovers_of_a_killed_up_are_swept_by_the_next(
    isolated: int, reached: Callable[[CommandLine], bool]
) -> None:
    lab = fresh_lab("cut", isolated)
    before = lab.traces()
    with lab.begin("up", "cut", "--disk", "1G", "--memory", "1G") as process:
        wait_for(lambda: reached(lab), every=0.0005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert lab.traces() != before
    assert lab.listed() == {}
    assert lab.traces() == before


def test_a_host_is_removed_with_its_owner(isolated: int) -> None:
    lab = fresh_lab("owned", isolated)
    before = lab.traces()
    with subprocess.Popen(["sleep", "60"]) as owner:
        lab("up", "owned", "--owner", str(owner.pid))
        assert list(lab.listed()) == ["owned"]
        owner.kill()
    assert lab.listed() == {}
    assert lab.traces() == before


def test_a_host_that_does_not_boot_shows_its_console(lab: CommandLine) -> None:
    lab.up("broken")
    lab("poweroff", "broken")
    for init in ("usr/lib/systemd/systemd", "usr/sbin/init"):
        (lab.lab.hosts / "broken/root" / init).unlink()
    status, _, error = lab.attempt("start", "broken")
    assert status == 1
    assert "lab: broken stopped during its boot. Last lines of its console:\n" in error
    assert "execv(/usr/lib/systemd/systemd" in error
    lab("down", "broken")


def serves(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=2).is_success
    except httpx.TransportError:
        return False


def wait_for(condition: Callable[[], bool], every: float = 0.05) -> None:
    assert wait_until(condition, 20, every), "not within 20 s"
