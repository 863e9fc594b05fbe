"""One deploy at a time."""

from pyinfra.api.deploy import deploy

from operations import lock as locks


@deploy("Lock")
def lock() -> None:
    """Keep other deploys away from this server until this run ends."""
    locks.held(name="Take the server's lock for this run")
