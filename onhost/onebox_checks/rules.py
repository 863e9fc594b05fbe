"""Judge observations: which problems there are, given this round's and earlier ones. No I/O."""

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
# Each pair: the limit that opens a problem, and the one that resolves it.
FULL = 1 - LOW, 0.85  # of a disk, or of its inodes
SCARCE = LOW, 0.15  # of memory and swap available
PRESSURE = 0.10, 0.05  # of five minutes lost to waiting for memory
ROUNDS = 12  # samples to keep: an hour, at 5 minutes a round
RESTARTS = 5  # of one unit, in the kept samples
SOON = DAY / 2  # seconds until a disk is full, below which it is reported
OFF = 60  # seconds that a clock may be wrong
LONGEST = 1000  # characters of a problem's text
BAD = {"failed", "rolled back", "refused"}  # results of a deploy or rollback


@dataclass(frozen=True)
class Finding:
    """A problem: its check, its subject, its text and the fix."""

    check: str
    of: str
    what: str
    do: str
    patient: bool = True
    """Whether a second round must confirm it: a restart or a full queue may be over by then."""
    urgent: bool = True
    """Whether users may be affected, now or soon: then no ping is sent."""
    mark: str = ""
    """A change of it makes the problem new again."""

    @property
    def key(self) -> str:
        """Return the identity of the problem across rounds."""
        return f"{self.check}:{self.of}"


@dataclass(frozen=True)
class Past:
    """Earlier rounds: open problems' keys, disks' free bytes and units' restarts."""

    open: set[str]
    free: dict[str, list[tuple[float, int]]]
    restarts: dict[str, list[tuple[float, int]]]


def unknown(observed: Observation) -> set[str]:
    """Return the checks without a result in this round; with an app's name, for that app only.

    A deploy of one app, by a deploy key for example, hides no other app's problems: it may take
    long.
    """
    checks = {f"release:{app.name}" for app in observed.apps if app.deploying}
    if observed.deploying:
        checks |= {"release", "drift"}
    return checks | ({"clock"} if observed.clock is None else set())


def judge(observed: Observation, past: Past) -> list[Finding]:
    """Return all problems that this round shows."""
    checks: list[Callable[[Observation, Past], Iterator[Finding]]] = [
        _answers, _releases, _units, _disks, _memory, _certificates, _clock, _time, _firewall,
        _database, _reboot, _drift, _deploys, _timers, _libraries, _updates,
    ]  # fmt: skip
    hidden = unknown(observed)
    found = (finding for check in checks for finding in check(observed, past))
    reported = (each for each in found if hidden.isdisjoint({each.check, each.key}))
    # One message has all news, and some receivers accept little: a long text of an app or a deploy
    # must not crowd out the rest.
    return [replace(finding, what=short(finding.what, LONGEST)) for finding in reported]


def _answers(observed: Observation, _: Past) -> Iterator[Finding]:
    for app in observed.apps:
        if app.missing:
            what = f"No release of {app.name} serves: current points to release {app.missing},"
            what += f" which is missing in /srv/{app.name}/releases"
            do = f"Deploy again, or roll back: onebox-release rollback {app.name}"
            yield Finding("answer", app.name, what, do)
        if app.paused:
            what = f"{app.name} is paused: its timers are stopped,"
            what += " and its processes unless a deploy started them"
            do = f"Start it: onebox-release resume {app.name}"
            yield Finding("paused", app.name, what, do, patient=False, urgent=False)
        elif app.live and app.failure and app.domain not in app.uncertified:
            what = f"https://{app.domain} is unhealthy, requested from the server itself:"
            what += f" {app.failure}"
            do = f"Read its log: journalctl -u '{app.name}-web@*' -n 50; systemctl status nginx"
            yield Finding("answer", app.name, what, do)


def _releases(observed: Observation, past: Past) -> Iterator[Finding]:
    for app in observed.apps:
        texts = []
        if app.down and not app.paused:
            texts.append(f"not active: {', '.join(app.down)}")
        if app.others:
            texts.append(f"active beside the live release: {', '.join(app.others)}")
        texts += [
            f"{unit} restarted {count} times in the last {ROUNDS} rounds of checks"
            for unit, now in app.restarts.items()
            if (count := _since(past.restarts.get(unit, []), now)) >= RESTARTS
        ]
        if texts:
            do = (
                f"Read its log: journalctl -u '{app.name}-*' -n 100. Restore its processes:"
                f" onebox-release recover {app.name}. Or roll back:"
                f" onebox-release rollback {app.name}"
            )
            yield Finding("release", app.name, f"Release {app.live}: {'; '.join(texts)}", do)


def _since(samples: list[tuple[float, int]], now: int) -> int:
    """Return by how much a count has grown; it restarts at 0 with its unit."""
    counts = [count for _, count in samples] + [now]
    return sum(b - a if b >= a else b for a, b in pairwise(counts))


def _units(observed: Observation, _: Past) -> Iterator[Finding]:
    for unit in observed.failed:
        do = (
            f"Find the cause: systemctl status {unit}. Once fixed: systemctl restart {unit}, or"
            f" systemctl reset-failed {unit} if it does not run all the time"
        )
        yield Finding("unit", unit, f"{unit} failed", do)
    for unit in observed.stopped:
        if unit not in observed.failed:
            do = f"Start it: systemctl start {unit}; or deploy again"
            yield Finding("unit", unit, f"{unit} should be active, but is not", do)


def _disks(observed: Observation, past: Past) -> Iterator[Finding]:
    for disk in observed.disks:
        texts = []
        was_open = f"disk:{disk.mount}" in past.open
        if _over(1 - disk.free / disk.size, FULL, was_open):
            texts.append(f"{disk.free / GIB:.1f} GiB of {disk.size / GIB:.1f} are free")
        if disk.files and _over(1 - disk.files_free / disk.files, FULL, was_open):
            texts.append(f"{disk.files_free} of {disk.files} inodes are free")
        left = _seconds_left([*past.free.get(disk.mount, []), (observed.at, disk.free)])
        if left is not None and left < SOON:
            texts.append(f"full in {left / 3600:.1f} hours at the current rate")
        if texts:
            do = (
                f"Find what grows: du -xh -d2 {disk.mount} | sort -h | tail -20;"
                " journalctl --disk-usage; fewer releases: `keep_releases`"
            )
            yield Finding("disk", disk.mount, f"The disk {disk.mount}: {'; '.join(texts)}", do)


def _over(share: float, limits: tuple[float, float], was_open: bool) -> bool:  # noqa: FBT001
    return share >= limits[1 if was_open else 0]


def _seconds_left(samples: list[tuple[float, int]]) -> float | None:
    """Return the seconds until a disk is full at the recent rate, or None.

    The slower half of the samples counts, so that one large file, such as a deploy's, is no trend.
    """
    if len(samples) < ROUNDS:
        return None
    middle = len(samples) // 2
    halves = (samples[0], samples[middle]), (samples[middle], samples[-1])
    paces = [(a[1] - b[1]) / (b[0] - a[0]) for a, b in halves if b[0] > a[0]]
    pace = min(paces, default=0)
    return samples[-1][1] / pace if pace > 0 else None


def _memory(observed: Observation, past: Past) -> Iterator[Finding]:
    available, total = observed.memory
    was_open = "memory:server" in past.open
    texts = []
    if available < SCARCE[was_open] * total:
        texts.append(f"{available // 2**20} MiB of {total // 2**20} are available, swap counted")
    if _over(observed.pressure, PRESSURE, was_open):
        texts.append(
            f"all processes waited for memory for {observed.pressure:.0%} of the last five minutes"
        )
    if texts:
        do = "Find what uses it: ps -eo rss,args --sort -rss | head. Set fewer `workers`"
        yield Finding("memory", "server", f"Memory is short: {'; '.join(texts)}", do)


def _certificates(observed: Observation, _: Past) -> Iterator[Finding]:
    for app in observed.apps:
        if app.live and app.uncertified:
            what = f"{app.name} has no certificate for {', '.join(app.uncertified)}"
            do = "Deploy again: it requests one, and reports why that fails"
            yield Finding("certificate", app.name, what, do)
        elif app.certificate and app.certificate.is_late(observed.at):
            life = app.certificate.left(app.certificate.begin)
            left = f"{app.certificate.left(observed.at):.1f} of {life:.0f} days left"
            what = f"The certificate that {app.domain} serves was not renewed: {left}"
            do = "Renew it and find the cause: systemctl start onebox-certbot; journalctl -u"
            yield Finding("certificate", app.name, what, f"{do} onebox-certbot -n 50")


def _clock(observed: Observation, _: Past) -> Iterator[Finding]:
    if observed.clock is not None and abs(observed.clock) > OFF:
        direction = "ahead" if observed.clock > 0 else "behind"
        what = f"The clock is {abs(observed.clock):.0f} s {direction}"
        do = "Check time synchronisation: timedatectl. If none: apt install systemd-timesyncd"
        yield Finding("clock", "server", what, do, urgent=False)


def _time(observed: Observation, _: Past) -> Iterator[Finding]:
    if not observed.timekeeper:
        what = "The clock is not synchronised: no NTP service runs"
        do = "Start it: systemctl enable --now systemd-timesyncd. If not installed, deploy again"
        yield Finding("time", "server", what, do, urgent=False)


def _firewall(observed: Observation, _: Past) -> Iterator[Finding]:
    if observed.firewall:
        what = f"The firewall's table in the kernel {observed.firewall}: nft list table inet onebox"
        do = "Load it again: systemctl reload-or-restart onebox-firewall. Then find what changed it"
        yield Finding("firewall", "table", what, do, urgent=False)
    if observed.closed:
        ports = ", ".join(map(str, observed.closed))
        what = f"sshd listens on port {ports}, which the firewall closes"
        do = (
            "Deploy again: that opens sshd's ports. Until then:"
            f" nft insert rule inet onebox input tcp dport {observed.closed[0]} accept"
        )
        yield Finding("firewall", "ssh", what, do, patient=False, urgent=False)
    if not observed.link_local:
        what = "Apps can reach link-local addresses, such as a cloud's metadata service: the table"
        what += " inet onebox_link_local is not in the kernel"
        do = "Load it again: systemctl restart onebox-link-local. Then find what removed it"
        yield Finding("firewall", "link-local", what, do, urgent=False)


def _database(observed: Observation, _: Past) -> Iterator[Finding]:
    if observed.database:
        what = f"PostgreSQL accepts no new connection: {observed.database}"
        do = (
            "Find the app that exhausts its connections or locks: ss -xp | grep PGSQL, or its log;"
            " stop that app: onebox-release pause APP"
        )
        yield Finding("database", "server", what, do)


def _reboot(observed: Observation, _: Past) -> Iterator[Finding]:
    if observed.reboot:
        what = f"An update waits for a reboot: {observed.reboot}"
        do = "Reboot when a minute of downtime is acceptable: systemctl reboot"
        yield Finding("reboot", "server", what, do, urgent=False)


def _drift(observed: Observation, _: Past) -> Iterator[Finding]:
    if observed.drift:
        what = f"Changed since the last full deploy: {_first_five(observed.drift)}"
        do = "Deploy again to revert it. To keep a change, make it in the inventory"
        yield Finding("drift", "server", what, do, urgent=False)


def _deploys(observed: Observation, _: Past) -> Iterator[Finding]:
    for app in observed.apps:
        last = app.last
        # A day later it is no longer news.
        if last and last["result"] in BAD and observed.at - moment(last["at"]) < DAY:
            serves = f"Release {app.live} serves" if app.live else "No release serves"
            what = f"{describe_deploy(app, last)}. {serves}. Why: {last.get('why', 'unknown')}"
            yield Finding(
                "deploy", app.name, what, "Fix the reason above, then deploy again",
                patient=False, urgent=False, mark=last["at"],
            )  # fmt: skip


def describe_deploy(app: App, entry: dict[str, str]) -> str:
    """Return a deploy or rollback with its result as text."""
    by = f" by {entry['who']}" if entry.get("who") else ""
    which = f"{entry['what'].capitalize()} of {app.name}, release {entry['release']}"
    return f"{which}{by}: {entry['result']}"


def _timers(observed: Observation, _: Past) -> Iterator[Finding]:
    for app in observed.apps:
        for name, run in app.timers.items():
            if run["result"] != "success":
                ended = run["result"]
                why = f"exit code {run['exit']}" if ended == "exit-code" else ended
                what = f"The last run of timer {name} of {app.name} failed: {why}"
                what += f"\n{run['excerpt']}" if run.get("excerpt") else ""
                do = (
                    f"Read its log: journalctl -u '{app.name}-{name}@*' -n 50. Run it again:"
                    f" systemctl start onebox-timer-{app.name}-{name}"
                )
                yield Finding("timer", f"{app.name}-{name}", what, do, patient=False, urgent=False)


def _libraries(observed: Observation, _: Past) -> Iterator[Finding]:
    if observed.libraries:
        files = {file.rpartition("/")[2] for files in observed.libraries.values() for file in files}
        units = ", ".join(unit.removesuffix(".service") for unit in observed.libraries)
        what = f"An update is not in effect yet: {units} still use the old"
        what += f" {_first_five(sorted(files))}"
        do = (
            "Wait for the maintenance window (`updates`), or restart them now: onebox-checks"
            " restart; the rest needs a reboot"
        )
        yield Finding("libraries", "server", what, do, urgent=False)


def _updates(observed: Observation, _: Past) -> Iterator[Finding]:
    if observed.updates:
        what = f"Security updates are not configured as deployed: {'; '.join(observed.updates)}"
        do = (
            "Find the file that overrides it:"
            " grep -rE 'Unattended-Upgrade|APT::Periodic' /etc/apt/apt.conf.d"
        )
        yield Finding("updates", "server", what, do, urgent=False)


def _first_five(names: list[str]) -> str:
    return ", ".join(names[:5]) + (" and others" if len(names) > 5 else "")


def moment(at: str) -> float:
    """Return a time of the history in seconds of the epoch."""
    return datetime.fromisoformat(at).timestamp()
