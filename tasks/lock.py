"""The server's lock: one deploy at a time."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import lock as locks
from settings import VM


@deploy("Lock")
def lock() -> None:
    """Lock out other deploys to this server until this run ends."""
    vm: VM = host.data.vm
    apps = [app.name for app in vm.chosen(host.data.get("app"))]
    locks.acquire(name="Acquire the server's lock", apps=apps)
