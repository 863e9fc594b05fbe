"""nginx: the only process that the internet reaches."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import files, systemd
from operations import nginx as configuration
from operations.certbot import LIVE, WEBROOT
from operations.machine import machine
from operations.templates import template
from settings import VM

DROP_IN = "etc/systemd/system/nginx.service.d/onebox.conf"


@deploy("nginx")
def nginx() -> None:
    """Serve each app at its domains: over HTTPS as soon as its certificate is there."""
    vm: VM = host.data.vm
    configuration.install(name="Install the configuration of nginx", vm=vm, machine=machine(host))
    files.install(
        name="Install the drop-in of nginx",
        entries=[
            files.Folder(WEBROOT),
            # Not readable by apps, which could see each other's requests. www-data, because nginx's
            # workers open new files after a rotation.
            files.Folder("/var/log/nginx", mode="750", owner="root:www-data"),
            files.Folder(f"/{DROP_IN.rpartition('/')[0]}"),
            template(DROP_IN),
        ],
    )
    systemd.activate(
        name="Run nginx",
        unit="nginx.service",
        reload_for=[configuration.FOLDER, LIVE],  # a certificate changes without its site
        restart_for=[f"/{DROP_IN}"],
    )
