"""What gets in: SSH, HTTP and HTTPS."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import files, guarded, systemd
from operations.machine import machine
from operations.templates import template
from settings import VM

MORE = 200  # connections beside those with a request: kept alive, in a handshake, ending
UNIT = "onebox-firewall.service"
DROP_IN = "etc/systemd/system/nftables.service.d/onebox.conf"
RULES = "etc/onebox/firewall.nft"


@deploy("Firewall")
def firewall() -> None:
    """Close every port but those that are served."""
    vm: VM = host.data.vm
    ports = sorted({*machine(host).ssh_ports, 80, 443})
    drop_in = template(DROP_IN)
    files.place(
        name="Place the firewall's unit",
        things=[
            template(f"etc/systemd/system/{UNIT}"),
            files.Folder(drop_in.path.rpartition("/")[0]),
            drop_in,
        ],
    )
    systemd.drop_in_read(
        name="Keep our rules where nftables.service empties the ruleset",
        unit="nftables.service",
        path=drop_in.path,
    )
    guarded.place(
        name=f"Let in the ports {', '.join(map(str, ports))} alone",
        file=template(
            RULES, ports=ports, connections=connections(vm), check="/usr/sbin/nft -c -f {}"
        ),
        apply=f"systemctl daemon-reload && systemctl reload-or-restart {UNIT}",
        withdraw=f"systemctl stop {UNIT}",
    )
    systemd.running(
        name="Keep the firewall loaded, at boot too",
        unit=UNIT,
        reload_for=[f"/{RULES}"],
        proof="/usr/sbin/nft -t list table inet onebox | cmp -s - /run/onebox-firewall",
    )


def connections(vm: VM) -> int:
    """Return how many connections a client may have, or 0 where an app has no limits: then many
    clients may have one address, that of a CDN."""
    limits = [app.limits for app in vm.apps]
    if not limits or None in limits:
        return 0
    return max(limit.connections for limit in limits if limit) + MORE
