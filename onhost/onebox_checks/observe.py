"""Observe the server. A measurement that fails is left out: another check reports its cause."""

from __future__ import annotations

import email.utils
import http.client
import os
import re
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from onebox_release.app import App
from onebox_release.core import history
from onebox_release.core.state import observe
from onebox_release.errors import ReleaseError
from onebox_release.host import certificates, health, lock, resources, systemd
from onebox_release.host.certificates import Certificate
from onebox_release.report import plain

from onebox_checks import configuration, libraries, observation
from onebox_checks.configuration import Configuration

REBOOT = Path("/run/reboot-required")
PRESSURE = Path("/proc/pressure/memory")
FIREWALL = Path("/run/onebox-firewall")  # as loaded; .now beside it is what the round's unit found
DATABASE = Path("/run/onebox-postgresql.now")  # the superuser's connection error before this round
TIMEKEEPERS = (
    "systemd-timesyncd", "chrony", "chronyd", "ntpsec", "ntp", "openntpd", "ntpd",
)  # fmt: skip
TABLE = re.compile(r"^table inet (\w+) \{\n.*?^\}\n", re.MULTILINE | re.DOTALL)
LET_IN = re.compile(r"^\s*tcp dport (?:\{ (.+) \}|(\d+)) accept$", re.MULTILINE)
# An app's process can be called sshd too: "uid:" marks those that are not root's.
SSHD = re.compile(r'^LISTEN\s+\d+\s+\d+\s+\S+:(\d+)\s(?!.* uid:\d).*"sshd"', re.MULTILINE)
PATIENCE = 10  # seconds for a response from another server
UPDATES = {
    "APT::Periodic::Update-Package-Lists": "1",
    "APT::Periodic::Unattended-Upgrade": "1",
    "Unattended-Upgrade::Automatic-Reboot": "false",
}


def observe_server(settings: Configuration, *, clock: float | None) -> observation.Observation:
    """Observe the server and all apps."""
    apps = [app for name in settings.apps if (app := _app(App(name)))]
    units = [*settings.units, *(unit for app in apps for unit in settings.apps[app.name])]
    firewall, closed, link_local = firewall_state(FIREWALL)
    return observation.Observation(
        at=time.time(),
        apps=apps,
        deploying=lock.is_locked(lock.LOCK),
        failed=systemd.units("--state=failed"),
        stopped=[unit for unit in units if is_stopped(unit)],
        disks=list(_disks("/", "/boot", "/var", "/var/lib/postgresql", "/srv")),
        memory=resources.memory(),
        pressure=_pressure(PRESSURE),
        clock=clock,
        reboot=_reboot(REBOOT),
        firewall=firewall,
        closed=closed,
        link_local=link_local,
        database=first_line(DATABASE),
        timekeeper=_timekeeper(),
        drift=_drift(configuration.MANIFEST),
        libraries=libraries.read(),
        updates=_updates(),
    )


def is_stopped(unit: str) -> bool:
    """Check whether a unit that must be active is not. A timer that is not installed is none: a
    deploy installs an app's timers after its release, and not if that fails."""
    if unit.endswith(".timer") and systemd.show(unit, "LoadState")["LoadState"] == "not-found":
        return False
    return not systemd.is_active(unit)


def _app(app: App) -> observation.App | None:
    """Return an app's observation, or None if its parameters are missing or invalid."""
    try:
        settings = app.parameters
    except (ReleaseError, ValueError, TypeError, KeyError):
        return None
    release, domain = app.live(), settings.domains[0]
    state = observe(app, release, history.read(app))
    failure, certificate = "", None
    if release:
        failure, certificate = _answer(domain, release.health_path)
        if failure and not (file := release.socket).exists():
            failure = f"the release's socket {file} is missing"
    own = certificates.of_file(app.certificate)
    certified = own.domains if own else ()
    return observation.App(
        name=app.name,
        domain=domain,
        live=state.live,
        paused=state.paused,
        missing=state.missing,
        deploying=state.deploying,
        failure=failure,
        certificate=certificate,
        uncertified=[name for name in settings.domains if name not in certified],
        down=state.down,
        others=state.others,
        restarts={each.unit: each.restarts for each in state.units},
        last=state.last,
        timers=state.timers,
    )


def _answer(domain: str, path: str) -> tuple[str, Certificate | None]:
    """Request an app as a client would; return the error, and the certificate."""
    connection, certificate = health.NginxConnection(domain), None
    try:
        connection.connect()
        tls = connection.sock
        certificate = certificates.of_connection(
            tls.getpeercert(binary_form=True) if isinstance(tls, ssl.SSLSocket) else None
        )
        answer = health.ask(connection, path)
    except (OSError, http.client.HTTPException) as error:
        return health.unanswered(connection, error), certificate
    good = answer.status == http.client.OK
    return ("" if good else f"{path} answered {answer}"), certificate


def _disks(*mounts: str) -> Iterator[observation.Disk]:
    """Return the file systems of some paths, each once."""
    devices = set()
    for mount in mounts:
        with suppress(OSError):
            disk, device = os.statvfs(mount), Path(mount).stat().st_dev
            if device not in devices and disk.f_blocks:
                devices.add(device)
                # Blocks that only root can use do not count: they do not help the database.
                size = disk.f_blocks - disk.f_bfree + disk.f_bavail
                yield observation.Disk(
                    mount, size * disk.f_frsize, disk.f_bavail * disk.f_frsize,
                    disk.f_files, disk.f_favail,
                )  # fmt: skip


def _pressure(path: Path) -> float:
    """Return the share of five minutes lost; 0 if the kernel does not measure it."""
    text = path.read_text() if path.exists() else ""
    found = re.search(r"^full .*avg300=([\d.]+)", text, re.MULTILINE)
    return float(found[1]) / 100 if found else 0


def _reboot(path: Path) -> str:
    if not path.exists():
        return ""
    packages = path.with_suffix(".pkgs")
    names = packages.read_text().split() if packages.exists() else []
    return ", ".join(sorted(set(names))) or "the kernel"


def firewall_state(loaded: Path) -> tuple[str, list[int], bool]:
    """Return how our table differs from the loaded one, which of sshd's ports it closes, and
    whether apps are kept from link-local addresses.

    No difference is reported if the kernel's tables could not be read.
    """
    try:
        now = loaded.with_suffix(".now").read_text(errors="replace")
        expected = loaded.read_text()
    except OSError:
        return "", [], True
    if not now:
        return "", [], True
    tables = {found[1]: found[0] for found in TABLE.finditer(now)}
    table, link_local = tables.get("onebox"), "onebox_link_local" in tables
    if table is None:
        return "is gone", [], link_local
    ports = {
        port for found in LET_IN.finditer(table) for port in (found[1] or found[2]).split(", ")
    }
    closed = {int(port) for port in SSHD.findall(now)} - {int(port) for port in ports}
    return ("" if table == expected else "was changed"), sorted(closed), link_local


def first_line(path: Path) -> str:
    """Return the first line of a file, or "" if there is none."""
    try:
        lines = path.read_text(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return plain(lines[0], 300) if lines else ""


def _timekeeper() -> bool:
    """Check whether a service synchronises the clock; true in a container, which uses its
    host's."""
    if subprocess.run(["systemd-detect-virt", "--quiet", "--container"], check=False).returncode:
        return any(systemd.is_active(f"{name}.service") for name in TIMEKEEPERS)
    return True


def _updates() -> list[str]:
    """Return the settings of apt that are not in effect, whichever file overrides them."""
    command = ["apt-config", "dump", "--format", "%F %v%n", *UPDATES]
    dump = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (line.partition(" ") for line in dump.stdout.splitlines())
    found = {name: value for name, _, value in lines}
    return [
        f"{name} is {found.get(name) or 'not set'}, not {value}"
        for name, value in UPDATES.items()
        if not dump.returncode and found.get(name) != value
    ]


def _drift(manifest: Path) -> list[str]:
    """Return the files that differ from the checksums of the last deploy, or are missing."""
    command = ["sha256sum", "--check", "--quiet", str(manifest)]
    environment = {**os.environ, "LC_ALL": "C"}
    result = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment
    ).stdout
    return [line.rpartition(": FAILED")[0] for line in result.splitlines() if ": FAILED" in line]


def skew(date: str | None) -> float | None:
    """Return by how many seconds the clock is ahead of a just received HTTP date."""
    moment = email.utils.parsedate_to_datetime(date) if date else None
    return round(time.time() - moment.timestamp(), 1) if moment else None


def ask_clock(settings: Configuration) -> float | None:
    """Return by how many seconds the clock is ahead of the certificate authority's."""
    trust = ssl.create_default_context(cafile=settings.authority_ca)
    try:
        with urllib.request.urlopen(  # noqa: S310 - https, as the settings check
            settings.authority, timeout=PATIENCE, context=trust
        ) as answer:
            off = skew(answer.headers["Date"])
            # Subtract the age of a cached response.
            return None if off is None else off - int(answer.headers.get("Age") or 0)
    except (OSError, ValueError, http.client.HTTPException):
        return None
