"""Timers of apps, which run in the live release.

If an app's release failed in this run, the units of its timers stay as they are; of these, a timer
that the inventory no longer has does not run.
"""

import shlex

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import files, release, systemd
from operations import timers as app_timers
from operations.templates import template
from settings import VM
from settings.app import App

UNITS = "etc/systemd/system"


@deploy("Timers")
def timers() -> None:
    """Install each app's timers, and remove obsolete ones."""
    vm: VM = host.data.vm
    for app in host.loop(vm.chosen(host.data.get("app"))):
        _app(app)


def _app(app: App) -> None:
    def is_released() -> bool:
        return app.name not in release.failed(host)

    app_timers.remove(
        name=f"Remove obsolete timers of {app.name}",
        app=app.name,
        expected=[timer.name for timer in app.timers],
        processes=[process.name for process in app.processes],
        _if=is_released,
    )
    for timer in app.timers:
        calendar = f"systemd-analyze calendar {shlex.quote(timer.schedule)} > /dev/null"
        unit, service, release_unit = (
            template(
                f"{UNITS}/onebox-timer-NAME-TIMER.timer", app=app, timer=timer, check=calendar
            ),
            template(f"{UNITS}/onebox-timer-NAME-TIMER.service", app=app, timer=timer),
            template(f"{UNITS}/NAME-TIMER@.service", app=app, timer=timer),
        )
        files.install(
            name=f"Install the timer {timer.name} of {app.name}",
            entries=[release_unit, service, unit],
            _if=is_released,
        )
        systemd.activate(
            name=f"Start the timer {timer.name} of {app.name}, {timer.schedule}",
            unit=unit.path.rpartition("/")[2],
            restart_for=[unit.path, service.path, release_unit.path],
            _if=is_released,
        )
