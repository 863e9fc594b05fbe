"""The sources that a kept result depends on: the code that its measurement exercises.

The measurement itself is not listed: delete its result to have it run again.
"""

from __future__ import annotations

DEPLOY = (
    "deploy.py", "settings", "preflight", "tasks", "operations", "templates", "onhost", "uv.lock",
)  # fmt: skip
COMMANDS = ("fabfile.py", "commands")
UNITS = "templates/etc/systemd/system"
PROBE = ("tests/faults/probe",)
APP = ("app/links", "app/migrations", "app/uv.lock")
NGINX = (
    "tasks/nginx.py",
    "operations/nginx.py",
    "templates/etc/onebox/nginx",
    f"{UNITS}/nginx.service.d",
)
PROCESSES = (
    "tasks/apps.py", "templates/etc/NAME", "templates/sandbox.j2", f"{UNITS}/NAME-web@.service.j2",
    f"{UNITS}/NAME-web@.socket.j2", f"{UNITS}/NAME-PROCESS@.service.j2", f"{UNITS}/NAME@.target.j2",
)  # fmt: skip
SWITCH = (
    "tasks/releases.py", "operations/release.py", "onhost/onebox_release/core",
    "onhost/onebox_release/host", *NGINX, *PROCESSES,
)  # fmt: skip
LOCK = (
    "tasks/lock.py", "operations/lock.py", "onhost/onebox_release/host/lock.py",
    "onhost/onebox_release/core/release.py",
)  # fmt: skip
INSTALL = (
    "settings/app.py", "settings/source.py", "settings/git.py", "operations/artifact.py",
    "operations/python.py", "onhost/onebox_release/install", "onhost/onebox_release/core/build.py",
    "onhost/onebox_release/core/sandbox.py",
)  # fmt: skip
CHECKS = (
    "tasks/monitoring.py", "templates/etc/onebox/checks", f"{UNITS}/onebox-checks.service.j2",
    f"{UNITS}/onebox-checks.timer.j2", "onhost/onebox_checks", "onhost/onebox_release/host",
)  # fmt: skip
TIMERS = (
    "tasks/timers.py", "operations/timers.py", "onhost/onebox_release/core/timers.py",
    f"{UNITS}/NAME-TIMER@.service.j2", f"{UNITS}/onebox-timer-NAME-TIMER.service.j2",
    f"{UNITS}/onebox-timer-NAME-TIMER.timer.j2",
)  # fmt: skip
LOGS = (
    "templates/etc/onebox/logrotate.conf.j2", f"{UNITS}/onebox-logrotate.timer.j2",
    f"{UNITS}/onebox-logrotate.service.j2", "templates/etc/systemd/journald.conf.d",
)  # fmt: skip
# By the start of the result's name; the longest that matches holds, else DEPLOY.
SOURCES = {
    "app/": (*APP, "app/tests/test_soak.py"),
    "apps/": (*INSTALL, *PROCESSES),
    "drift/": (*DEPLOY, "commands/drift.py"),
    "edge/": (*NGINX, *PROCESSES, "settings/app.py", "tests/e2e/apps/echo"),
    "edge/long-headers": (*NGINX, *LOGS),
    "gates/": (
        ".github/workflows", ".ci", "Makefile", "pyproject.toml", *COMMANDS, "tests/workflow.py",
        "tests/gated.py",
    ),
    "gates/30-nights": (*DEPLOY, *COMMANDS, *PROBE),
    "gates/a-job-killed": (*LOCK, *SWITCH, *COMMANDS, *PROBE),
    "gates/a-job-whose-clock": ("tasks/preflight.py", "preflight", *COMMANDS),
    "harm/": (
        "tasks/resources.py", "operations/slices.py", UNITS, "tasks/postgresql.py",
        "templates/etc/postgresql", *SWITCH,
    ),
    "main/": (*DEPLOY, "tests/host"),
    "main/the-demo": (*DEPLOY, *APP, "tests/host", "Makefile", "lab/demo.py", "lab/bootstrap.sh"),
    "moving/debian-12-to-13": (*DEPLOY, "docs/debian-12-to-13.md"),
    "moving/new-server": (*DEPLOY, "docs/new-server.md"),
    "moving/newer-onebox": (*DEPLOY, "docs/newer-onebox.md"),
    "releases/": (*SWITCH, *PROBE),
    "releases/a-laptop": (*LOCK, *PROBE),
    "releases/long-connections": (*SWITCH, *TIMERS, *PROBE),
    "releases/two-deploys": (*LOCK, *PROBE),
    "serving/": (
        *APP, "tasks/apps.py", "tasks/nginx.py", "templates/etc/NAME", "templates/etc/onebox/nginx",
        UNITS, "templates/sandbox.j2", "bench/serving.py", "bench/wrk.py",
    ),
    "unattended/": (*CHECKS, *PROBE),
    "unattended/a-deploy": (*CHECKS, *SWITCH, *PROBE),
    "unattended/a-timer": (*CHECKS, *TIMERS, *PROBE),
    "unattended/a-missed-run": (*TIMERS, *SWITCH, *PROBE),
    "unattended/quiet-minutes": (*DEPLOY, *PROBE),
}  # fmt: skip


def sources_of(name: str) -> tuple[str, ...]:
    """Return the files and folders that a result depends on."""
    starts = [start for start in SOURCES if name.startswith(start)]
    return SOURCES[max(starts, key=len)] if starts else DEPLOY
