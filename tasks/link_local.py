"""Apps reach no link-local address: clouds serve the server's own credentials there."""

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
    """Refuse what apps send there, by the user that sends it: the users must be there."""
    vm: VM = host.data.vm
    unit = f"etc/systemd/system/{UNIT}"
    files.place(
        name="Describe what apps may not reach",
        things=[
            template(RULES, ports=machine(host).ssh_ports, check="/usr/sbin/nft -c -f {}"),
            template(unit, apps=vm.apps),
        ],
    )
    held = [
        user
        for app in vm.chosen(host.data.get("app"))
        for user in (app.builder, *(() if app.sandbox.link_local else (app.name, app.migrator)))
    ]
    proofs = [f"/usr/sbin/nft list chain {TABLE} output | grep -q fe80::/10"]
    proofs += [
        f"/usr/sbin/nft get element {TABLE} apps '{{ {user} }}' > /dev/null" for user in held
    ]
    systemd.running(
        name="Keep apps from link-local addresses",
        unit=UNIT,
        reload_for=[f"/{RULES}", f"/{unit}"],
        proof=f"{{ {' && '.join(proofs)}; }} 2> /dev/null",
    )
