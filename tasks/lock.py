"""One deploy at a time."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import lock as locks
from settings import VM


@deploy("Lock")
def lock() -> None:
    """Keep other deploys away from this server until this run ends."""
    vm: VM = host.data.vm
    apps = [app.name for app in vm.chosen(host.data.get("app"))]
    locks.held(name="Take the server's lock for this run", apps=apps)
