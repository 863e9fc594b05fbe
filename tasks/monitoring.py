"""Monitoring on the server, which notifies of problems: docs/checks.md lists them."""

import shlex

from onebox_checks.configuration import Configuration, Email
from pydantic import SecretStr
from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import files, manifest, systemd, users
from operations.machine import Machine, machine
from operations.templates import template
from settings import VM
from settings.app import App
from tasks.certificates import CA

FOLDER = "/etc/onebox/checks"
USER = "onebox-checks"
UNITS = "etc/systemd/system"


@deploy("Monitoring")
def monitoring() -> None:
    """Check the server by a timer, against the state that this deploy leaves."""
    vm: VM = host.data.vm
    units = [template(f"{UNITS}/onebox-checks.{kind}", vm=vm) for kind in ("service", "timer")]
    window = vm.updates.restart or "daily"
    updates = [
        template(f"{UNITS}/onebox-updates.service"),
        template(
            f"{UNITS}/onebox-updates.timer",
            vm=vm,
            check=f"systemd-analyze calendar {shlex.quote(window)} > /dev/null",
        ),
    ]
    files.install(
        name="Install the configuration and units of monitoring",
        entries=[
            template("etc/sysusers.d/onebox-checks.conf"),
            files.Folder(FOLDER),
            template(
                "etc/onebox/checks/settings.json",
                mode="600",
                settings=configuration(vm, machine(host)).document(),
            ),
            *units,
            *updates,
        ],
    )
    users.create(name="Create the user of monitoring", users=[USER])
    manifest.write(name="Write the checksums of installed files", path=manifest.PATH)
    systemd.activate(
        name="Start the timer of monitoring",
        unit="onebox-checks.timer",
        restart_for=[unit.path for unit in units],
    )
    systemd.activate(
        name="Start the timer of the maintenance window",
        unit="onebox-updates.timer",
        restart_for=[unit.path for unit in updates],
    )


def configuration(vm: VM, machine: Machine) -> Configuration:
    """Return the configuration of onebox-checks."""
    email = vm.notify.email
    account = {**email.model_dump(), "password": _plain(email.password)} if email else None
    return Configuration(
        host=vm.address,
        every=vm.checks.every,
        ping=_plain(vm.checks.ping),
        apps={app.name: _units_of(app) for app in vm.apps},
        units=_units(vm, machine),
        authority=vm.tls.server,
        authority_ca=CA if vm.tls.server_ca else None,
        deploys=vm.notify.deploys,
        hourly=vm.notify.hourly,
        email=Email(**account) if account else None,
        webhook=_plain(vm.notify.webhook),
        command=vm.notify.command,
        restart=vm.updates.restart,
    )


def _units(vm: VM, machine: Machine) -> list[str]:
    """Return the units that must be active."""
    cluster = [f"postgresql@{machine.postgresql}-main.service"] if vm.local_apps else []
    timers = ["onebox-certbot.timer", "onebox-logrotate.timer"]
    return ["nginx.service", "onebox-firewall.service", *timers, *cluster]


def _units_of(app: App) -> list[str]:
    timers = [f"onebox-timer-{app.name}-{timer.name}.timer" for timer in app.timers]
    return [f"{app.name}.service", *timers]


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
