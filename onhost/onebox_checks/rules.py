"""What is wrong, given what was seen now and before. Nothing here looks at the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

from onebox_release.host.resources import LOW
from onebox_release.report import short

from onebox_checks.observation import App, Observation

GIB = 1024**3
DAY = 24 * 3600
# Each pair: from where on it is wrong, and from where on it is right again.
FULL = 1 - LOW, 0.85  # of a disk, or of its inodes
SCARCE = LOW, 0.15  # of memory and swap available
PRESSURE = 0.10, 0.05  # of five minutes lost to waiting for memory
ROUNDS = 12  # what "lately" is: an hour, at 5 minutes a round
RESTARTS = 5  # of one unit, lately
SOON = DAY / 2  # a disk that is full by then is told now
OFF = 60  # seconds of a clock
LONGEST = 1000  # characters that say what is wrong
BAD = {"failed", "rolled back", "refused"}  # results of a deploy or rollback


@dataclass(frozen=True)
class Finding:
    """Something that is wrong: which check, of what; in words, with what to do about it."""

    check: str
    of: str
    what: str
    do: str
    patient: bool = True
    """Whether it must last for a second round: a restart or a full queue may be over by then."""
    urgent: bool = True
    """Whether visitors may notice, now or soon: then the ping stays away."""
    mark: str = ""
    """Where it changes, this is news again."""

    @property
    def key(self) -> str:
        """Return what makes it the same problem in the next round."""
        return f"{self.check}:{self.of}"


@dataclass(frozen=True)
class Past:
    """What earlier rounds left: open problems' keys, disks' free bytes and units' restarts."""

    open: set[str]
    free: dict[str, list[tuple[float, int]]]
    restarts: dict[str, list[tuple[float, int]]]


def unknown(seen: Observation) -> set[str]:
    """Return the checks that this round can't tell anything by; with an app's name, for that app.

    A deploy of one app, by a deploy key say, hides nothing of the others: it may last for long.
    """
    checks = {f"release:{app.name}" for app in seen.apps if app.deploying}
    if seen.deploying:
        checks |= {"release", "drift"}
    return checks | ({"clock"} if seen.clock is None else set())


def judge(seen: Observation, past: Past) -> list[Finding]:
    """Return all that is wrong, as far as this round can tell."""
    checks: list[Callable[[Observation, Past], Iterator[Finding]]] = [
        _answers, _releases, _units, _disks, _memory, _certificates, _clock, _time, _firewall,
        _database, _reboot, _drift, _deploys, _jobs, _libraries, _updates,
    ]  # fmt: skip
    hidden = unknown(seen)
    found = (finding for check in checks for finding in check(seen, past))
    notified = (each for each in found if hidden.isdisjoint({each.check, each.key}))
    # One message has all that is new, and some receivers take little: what an app or a deploy says
    # at length must not keep the rest from being told.
    return [replace(finding, what=short(finding.what, LONGEST)) for finding in notified]


def _answers(seen: Observation, _: Past) -> Iterator[Finding]:
    for app in seen.apps:
        if app.missing:
            what = f"Nothing of {app.name} serves: current points to release {app.missing}, which"
            what += f" is missing in /srv/{app.name}/releases"
            do = f"Deploy again, or roll back: onebox-release rollback {app.name}"
            yield Finding("answer", app.name, what, do)
        if app.paused:
            what = f"{app.name} is paused: none of its processes and timers runs"
            do = f"Start it again: onebox-release resume {app.name}"
            yield Finding("paused", app.name, what, do, patient=False, urgent=False)
        elif app.live and app.failure and app.domain not in app.uncertified:
            what = f"https://{app.domain} does not answer on the server itself: {app.failure}"
            do = f"Read its log: journalctl -u '{app.name}-web@*' -n 50; systemctl status nginx"
            yield Finding("answer", app.name, what, do)


def _releases(seen: Observation, past: Past) -> Iterator[Finding]:
    for app in seen.apps:
        notified = []
        if app.down and not app.paused:
            notified.append(f"not up: {', '.join(app.down)}")
        if app.others:
            notified.append(f"up beside the live release: {', '.join(app.others)}")
        notified += [
            f"{unit} restarted {count} times in the last hour"
            for unit, now in app.restarts.items()
            if (count := _since(past.restarts.get(unit, []), now)) >= RESTARTS
        ]
        if notified:
            do = (
                f"See why it ends: journalctl -u '{app.name}-*' -n 100. To go back:"
                f" onebox-release rollback {app.name}. To put it straight:"
                f" onebox-release recover {app.name}"
            )
            yield Finding("release", app.name, f"Release {app.live}: {'; '.join(notified)}", do)


def _since(samples: list[tuple[float, int]], now: int) -> int:
    """Return by how much a count has grown; it starts at 0 again when its unit does."""
    counts = [count for _, count in samples] + [now]
    return sum(b - a if b >= a else b for a, b in pairwise(counts))


def _units(seen: Observation, _: Past) -> Iterator[Finding]:
    for unit in seen.failed:
        do = f"Find the cause: systemctl status {unit}. Once fixed: systemctl reset-failed {unit}"
        yield Finding("unit", unit, f"{unit} failed", do)
    for unit in seen.stopped:
        if unit not in seen.failed:
            do = f"Start it: systemctl start {unit}; or deploy again"
            yield Finding("unit", unit, f"{unit} should be up, and is not", do)


def _disks(seen: Observation, past: Past) -> Iterator[Finding]:
    for disk in seen.disks:
        notified = []
        was_open = f"disk:{disk.mount}" in past.open
        if _over(1 - disk.free / disk.size, FULL, was_open):
            notified.append(f"{disk.free / GIB:.1f} GiB of {disk.size / GIB:.1f} are free")
        if disk.files and _over(1 - disk.files_free / disk.files, FULL, was_open):
            notified.append(f"{disk.files_free} of {disk.files} inodes are free")
        left = _seconds_left([*past.free.get(disk.mount, []), (seen.at, disk.free)])
        if left is not None and left < SOON:
            notified.append(f"full in {left / 3600:.1f} hours at the rate of the last hour")
        if notified:
            do = (
                f"Find what grows: du -xh -d2 {disk.mount} | sort -h | tail -20;"
                " journalctl --disk-usage; fewer releases: `keep_releases`"
            )
            yield Finding("disk", disk.mount, f"The disk {disk.mount}: {'; '.join(notified)}", do)


def _over(share: float, limits: tuple[float, float], was_open: bool) -> bool:  # noqa: FBT001
    return share >= limits[1 if was_open else 0]


def _seconds_left(samples: list[tuple[float, int]]) -> float | None:
    """Return when a disk is full if it goes on as lately, or None.

    It must fill in both halves of that time, so that one large file, a deploy's, is no pace; the
    slower half counts.
    """
    if len(samples) < ROUNDS:
        return None
    middle = len(samples) // 2
    halves = (samples[0], samples[middle]), (samples[middle], samples[-1])
    paces = [(a[1] - b[1]) / (b[0] - a[0]) for a, b in halves if b[0] > a[0]]
    pace = min(paces, default=0)
    return samples[-1][1] / pace if pace > 0 else None


def _memory(seen: Observation, past: Past) -> Iterator[Finding]:
    available, total = seen.memory
    was_open = "memory:server" in past.open
    notified = []
    if available < SCARCE[was_open] * total:
        notified.append(f"{available // 2**20} MiB of {total // 2**20} are available, swap counted")
    if _over(seen.pressure, PRESSURE, was_open):
        notified.append(
            f"{seen.pressure:.0%} of the last five minutes everything waited for memory"
        )
    if notified:
        do = "Find what uses it: ps -eo rss,args --sort -rss | head. Set fewer `workers`"
        yield Finding("memory", "server", f"Memory is short: {'; '.join(notified)}", do)


def _certificates(seen: Observation, _: Past) -> Iterator[Finding]:
    for app in seen.apps:
        if app.live and app.uncertified:
            what = f"{app.name} has no certificate for {', '.join(app.uncertified)}"
            do = "Deploy again: it requests one, and reports why that fails"
            yield Finding("certificate", app.name, what, do)
        elif app.certificate and app.certificate.is_late(seen.at):
            life = app.certificate.left(app.certificate.begin)
            left = f"{app.certificate.left(seen.at):.1f} of {life:.0f} days left"
            what = f"The certificate that {app.domain} serves was not renewed: {left}"
            do = "Renew it and find the cause: systemctl start onebox-certbot; journalctl -u"
            yield Finding("certificate", app.name, what, f"{do} onebox-certbot -n 50")


def _clock(seen: Observation, _: Past) -> Iterator[Finding]:
    if seen.clock is not None and abs(seen.clock) > OFF:
        way = "ahead" if seen.clock > 0 else "behind"
        what = f"The clock is {abs(seen.clock):.0f} s {way}"
        do = "Check time synchronisation: timedatectl. None? apt install systemd-timesyncd"
        yield Finding("clock", "server", what, do, urgent=False)


def _time(seen: Observation, _: Past) -> Iterator[Finding]:
    if not seen.timekeeper:
        what = "The clock is not synchronised: no NTP service runs"
        do = "systemctl enable --now systemd-timesyncd. Not installed? Deploy again"
        yield Finding("time", "server", what, do, urgent=False)


def _firewall(seen: Observation, _: Past) -> Iterator[Finding]:
    if seen.firewall:
        what = f"The firewall's table in the kernel {seen.firewall}: nft list table inet onebox"
        do = "Load it again: systemctl reload-or-restart onebox-firewall. Then find what changed it"
        yield Finding("firewall", "table", what, do, urgent=False)
    if seen.closed:
        ports = ", ".join(map(str, seen.closed))
        what = f"sshd listens on port {ports}, which the firewall closes"
        do = (
            "Deploy again: that opens sshd's ports. Until then, as root there:"
            f" nft insert rule inet onebox input tcp dport {seen.closed[0]} accept"
        )
        yield Finding("firewall", "ssh", what, do, patient=False, urgent=False)
    if not seen.link_local:
        what = "Apps can reach link-local addresses, such as a cloud's metadata service: the table"
        what += " inet onebox_link_local is not in the kernel"
        do = "Load it again: systemctl restart onebox-link-local. Then find what removed it"
        yield Finding("firewall", "link-local", what, do, urgent=False)


def _database(seen: Observation, _: Past) -> Iterator[Finding]:
    if seen.database:
        what = f"PostgreSQL accepts no new connection: {seen.database}"
        do = (
            "Find the app whose connections or locks use it up: ss -xp | grep PGSQL, or its log;"
            " stop that app: onebox-release pause APP"
        )
        yield Finding("database", "server", what, do)


def _reboot(seen: Observation, _: Past) -> Iterator[Finding]:
    if seen.reboot:
        what = f"An update waits for a reboot: {seen.reboot}"
        do = "Reboot when a minute of downtime is acceptable: systemctl reboot"
        yield Finding("reboot", "server", what, do, urgent=False)


def _drift(seen: Observation, _: Past) -> Iterator[Finding]:
    if seen.drift:
        what = f"Changed since the last full deploy: {_some(seen.drift)}"
        do = "Deploy again to revert it. To keep a change, make it in the inventory"
        yield Finding("drift", "server", what, do, urgent=False)


def _deploys(seen: Observation, _: Past) -> Iterator[Finding]:
    for app in seen.apps:
        last = app.last
        # A day later it is no news; nobody may want that release any more.
        if last and last["result"] in BAD and seen.at - moment(last["at"]) < DAY:
            serves = f"Release {app.live} serves" if app.live else "Nothing serves"
            what = f"{happened(app, last)}. {serves}. Why: {last.get('why', 'not said')}"
            yield Finding(
                "deploy", app.name, what, "Fix the app and deploy again",
                patient=False, urgent=False, mark=last["at"],
            )  # fmt: skip


def happened(app: App, entry: dict[str, str]) -> str:
    """Return in words what came of a deploy or rollback."""
    by = f" by {entry['who']}" if entry.get("who") else ""
    which = f"{entry['what'].capitalize()} of {app.name}, release {entry['release']}"
    return f"{which}{by}: {entry['result']}"


def _jobs(seen: Observation, _: Past) -> Iterator[Finding]:
    for app in seen.apps:
        for name, run in app.jobs.items():
            if run["result"] != "success":
                what = f"The job {name} of {app.name} failed: {run['result']}"
                what += f"\n{run['excerpt']}" if run.get("excerpt") else ""
                do = (
                    f"Read its log: journalctl -u '{app.name}-{name}@*' -n 50. Run it again:"
                    f" systemctl start onebox-job-{app.name}-{name}"
                )
                yield Finding("job", f"{app.name}-{name}", what, do, patient=False, urgent=False)


def _libraries(seen: Observation, _: Past) -> Iterator[Finding]:
    if seen.libraries:
        files = {file.rpartition("/")[2] for files in seen.libraries.values() for file in files}
        units = ", ".join(unit.removesuffix(".service") for unit in seen.libraries)
        what = f"An update is not in use yet: {units} still run on the old {_some(sorted(files))}"
        do = (
            "Wait for the maintenance window (`updates`), or restart them now: onebox-watch"
            " restart; what stays needs a reboot"
        )
        yield Finding("libraries", "server", what, do, urgent=False)


def _updates(seen: Observation, _: Past) -> Iterator[Finding]:
    if seen.updates:
        what = f"Security updates are not configured as deployed: {'; '.join(seen.updates)}"
        do = "Find the file that overrides it: grep -r Unattended-Upgrade /etc/apt/apt.conf.d"
        yield Finding("updates", "server", what, do, urgent=False)


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (" and others" if len(names) > 5 else "")


def moment(at: str) -> float:
    """Return a time of the history in seconds of the epoch."""
    return datetime.fromisoformat(at).timestamp()
