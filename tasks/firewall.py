"""The firewall: only SSH, HTTP and HTTPS are open."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import files, guarded, systemd
from operations.machine import machine
from operations.templates import template
from settings import VM

EXTRA = 200  # connections without a request: kept alive, in a handshake, closing
UNIT = "onebox-firewall.service"
DROP_IN = "etc/systemd/system/nftables.service.d/onebox.conf"
RULES = "etc/onebox/firewall.nft"


@deploy("Firewall")
def firewall() -> None:
    """Close every port but those of SSH, HTTP and HTTPS."""
    vm: VM = host.data.vm
    ports = sorted({*machine(host).ssh_ports, 80, 443})
    drop_in = template(DROP_IN)
    files.install(
        name="Install the firewall's unit",
        entries=[
            template(f"etc/systemd/system/{UNIT}"),
            files.Folder(drop_in.path.rpartition("/")[0]),
            drop_in,
        ],
    )
    systemd.load_drop_in(
        name="Load the drop-in of nftables.service",
        unit="nftables.service",
        path=drop_in.path,
    )
    guarded.install(
        name=f"Allow only ports {', '.join(map(str, ports))}",
        file=template(
            RULES, ports=ports, connections=connections(vm), check="/usr/sbin/nft -c -f {}"
        ),
        apply=f"systemctl daemon-reload && systemctl reload-or-restart {UNIT}",
        revert=f"systemctl stop {UNIT}",
    )
    systemd.activate(
        name="Load the firewall, now and at boot",
        unit=UNIT,
        reload_for=[f"/{RULES}"],
        check="/usr/sbin/nft -t list table inet onebox | cmp -s - /run/onebox-firewall",
    )


def connections(vm: VM) -> int:
    """Return a client's maximum of connections; 0, for none, if an app has no limits: all its
    clients may share the address of a CDN."""
    limits = [app.limits for app in vm.apps]
    if not limits or None in limits:
        return 0
    return max(limit.connections for limit in limits if limit) + EXTRA
