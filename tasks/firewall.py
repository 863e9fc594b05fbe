"""What gets in: SSH, HTTP and HTTPS."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import files, guarded, systemd
from operations.machine import machine
from operations.templates import template

UNIT = "onebox-firewall.service"
DROP_IN = "etc/systemd/system/nftables.service.d/onebox.conf"
RULES = "etc/onebox/firewall.nft"


@deploy("Firewall")
def firewall() -> None:
    """Close every port but those that are served."""
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
        file=template(RULES, ports=ports, check="/usr/sbin/nft -c -f {}"),
        apply=f"systemctl daemon-reload && systemctl reload-or-restart {UNIT}",
        withdraw=f"systemctl stop {UNIT}",
    )
    systemd.running(
        name="Keep the firewall loaded, at boot too",
        unit=UNIT,
        reload_for=[f"/{RULES}"],
        proof="/usr/sbin/nft list table inet onebox | cmp -s - /run/onebox-firewall",
    )
