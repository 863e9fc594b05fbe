"""Apps can't reach link-local addresses: clouds serve the server's credentials there."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import files, systemd
from operations.machine import machine
from operations.templates import template
from settings import VM

RULES = "etc/onebox/link-local.nft"
UNIT = "onebox-link-local.service"
TABLE = "inet onebox_link_local"


@deploy("Link-local")
def link_local() -> None:
    """Block link-local addresses for the users of apps, which must exist."""
    vm: VM = host.data.vm
    unit = f"etc/systemd/system/{UNIT}"
    files.install(
        name="Install the rules for link-local addresses",
        entries=[
            template(RULES, ports=machine(host).ssh_ports, check="/usr/sbin/nft -c -f {}"),
            template(unit, apps=vm.apps),
        ],
    )
    blocked = [
        user
        for app in vm.chosen(host.data.get("app"))
        for user in (app.builder, *(() if app.sandbox.link_local else (app.name, app.migrator)))
    ]
    checks = [f"/usr/sbin/nft list chain {TABLE} output | grep -q fe80::/10"]
    checks += [
        f"/usr/sbin/nft get element {TABLE} apps '{{ {user} }}' > /dev/null" for user in blocked
    ]
    systemd.activate(
        name="Block link-local addresses for apps",
        unit=UNIT,
        reload_for=[f"/{RULES}", f"/{unit}"],
        check=f"{{ {' && '.join(checks)}; }} 2> /dev/null",
    )
