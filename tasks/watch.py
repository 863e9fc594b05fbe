"""The server looks at itself, and tells somebody: docs/checks.md says what."""

import shlex
from typing import Any

from pydantic import SecretStr
from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import files, manifest, systemd, users
from operations.machine import Machine, machine
from operations.templates import template
from settings import VM
from settings.app import App
from tasks.certificates import CA

FOLDER = "/etc/onebox/watch"
USER = "onebox-watch"
UNITS = "etc/systemd/system"


@deploy("Watch")
def watch() -> None:
    """Look at the server by a timer, from the state that this deploy leaves."""
    vm: VM = host.data.vm
    units = [template(f"{UNITS}/onebox-watch.{kind}", vm=vm) for kind in ("service", "timer")]
    window = vm.updates.restart or "daily"
    updates = [
        template(f"{UNITS}/onebox-updates.service"),
        template(
            f"{UNITS}/onebox-updates.timer",
            vm=vm,
            check=f"systemd-analyze calendar {shlex.quote(window)} > /dev/null",
        ),
    ]
    files.place(
        name="Describe the checks, and who is told",
        things=[
            template("etc/sysusers.d/onebox-watch.conf"),
            files.Folder(FOLDER),
            template(
                "etc/onebox/watch/settings.json", mode="600", settings=settings(vm, machine(host))
            ),
            *units,
            *updates,
        ],
    )
    users.present(name="Create the user of the checks", users=[USER])
    manifest.written(name="Write down how this deploy leaves its files", path=manifest.PATH)
    systemd.running(
        name="Look at the server by a timer",
        unit="onebox-watch.timer",
        restart_for=[unit.path for unit in units],
    )
    systemd.running(
        name="Restart after updates in the maintenance window alone",
        unit="onebox-updates.timer",
        restart_for=[unit.path for unit in updates],
    )


def settings(vm: VM, machine: Machine) -> dict[str, Any]:
    """Return what the program on the server reads."""
    email = vm.notify.email
    return {
        "schema": 1,
        "data": {
            "host": vm.address,
            "every": vm.checks.every,
            "ping": _plain(vm.checks.ping),
            "apps": {app.name: _units_of(app) for app in vm.apps},
            "units": _units(vm, machine),
            "authority": vm.tls.server,
            "authority_ca": CA if vm.tls.server_ca else None,
            "deploys": vm.notify.deploys,
            "hourly": vm.notify.hourly,
            "email": {**email.model_dump(), "password": _plain(email.password)} if email else None,
            "webhook": _plain(vm.notify.webhook),
            "command": vm.notify.command,
            "restart": vm.updates.restart,
        },
    }


def _units(vm: VM, machine: Machine) -> list[str]:
    """Return the units that are up as long as all is well."""
    cluster = [f"postgresql@{machine.postgresql}-main.service"] if vm.local_apps else []
    timers = ["onebox-certbot.timer", "onebox-logrotate.timer"]
    return ["nginx.service", "onebox-firewall.service", *timers, *cluster]


def _units_of(app: App) -> list[str]:
    jobs = [f"onebox-job-{app.name}-{timer.name}.timer" for timer in app.timers]
    return [f"{app.name}.service", *jobs]


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
