"""TLS certificates, and their renewal."""

from ipaddress import ip_address

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import certbot, files, systemd
from operations.templates import template
from settings import VM

TIMER = "onebox-certbot.timer"
CA = "/etc/onebox/acme-ca.pem"


@deploy("Certificates")
def certificates() -> None:
    """Obtain each app's certificate, and renew all by a timer.

    A failure does not stop the deploy; the end of the run reports it.
    """
    vm: VM = host.data.vm
    ca = CA if vm.tls.server_ca else None
    trusted = [files.File(CA, vm.tls.server_ca.read_text())] if vm.tls.server_ca else []
    units = [
        template("etc/systemd/system/onebox-certbot.service", certbot=certbot.CERTBOT, ca=ca),
        template(f"etc/systemd/system/{TIMER}"),
    ]
    hook = "etc/letsencrypt/renewal-hooks/deploy/onebox"
    folders = [f"/{'/'.join(hook.split('/')[:depth])}" for depth in (2, 3, 4)]
    files.install(
        name="Install the configuration and units of certificate renewal",
        entries=[*map(files.Folder, folders), template(hook, mode="755"), *trusted, *units],
        absent=[] if trusted else [CA],
    )
    for app in vm.chosen(host.data.get("app")):
        certbot.obtain(
            name=f"Obtain a certificate for {', '.join(app.domains)}",
            lineage=app.name,
            domains=app.domains,
            server=vm.tls.server,
            profile=vm.tls.profile,
            email=vm.tls.email,
            ca=ca,
            address=own_address(vm),
            _ignore_errors=True,
        )
    certbot.update_contact(
        name="Update the contact address of the ACME account",
        server=vm.tls.server,
        email=vm.tls.email,
        ca=ca,
        _ignore_errors=True,
    )
    systemd.activate(
        name="Start the timer of certificate renewal", unit=TIMER, restart_for=[units[1].path]
    )


def own_address(vm: VM) -> str:
    """Return the server's IP address; "" if the inventory has a name instead."""
    try:
        return str(ip_address(vm.public_address or vm.address))
    except ValueError:
        return ""
