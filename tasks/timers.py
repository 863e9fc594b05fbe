"""What apps do at certain times, in the release that is live then.

Where a release of this run failed, the live one keeps its timers.
"""

import shlex

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import files, jobs, release, systemd
from operations.templates import template
from settings import VM
from settings.app import App

UNITS = "etc/systemd/system"


@deploy("Timers")
def timers() -> None:
    """Schedule each app's jobs."""
    vm: VM = host.data.vm
    for app in host.loop(vm.chosen(host.data.get("app"))):
        _app(app)


def _app(app: App) -> None:
    def is_released() -> bool:
        return app.name not in release.failed(host)

    jobs.gone(
        name=f"Remove the timers that {app.name} no longer has",
        app=app.name,
        wanted=[timer.name for timer in app.timers],
        processes=[process.name for process in app.processes],
        _if=is_released,
    )
    for timer in app.timers:
        calendar = f"systemd-analyze calendar {shlex.quote(timer.schedule)} > /dev/null"
        clock, job, process = (
            template(f"{UNITS}/onebox-job-NAME-TIMER.timer", app=app, timer=timer, check=calendar),
            template(f"{UNITS}/onebox-job-NAME-TIMER.service", app=app, timer=timer),
            template(f"{UNITS}/NAME-TIMER@.service", app=app, timer=timer),
        )
        files.place(
            name=f"Describe the timer {timer.name} of {app.name}",
            things=[process, job, clock],
            _if=is_released,
        )
        systemd.running(
            name=f"Run {timer.name} of {app.name} {timer.schedule}",
            unit=clock.path.rpartition("/")[2],
            restart_for=[clock.path, job.path, process.path],
            _if=is_released,
        )
