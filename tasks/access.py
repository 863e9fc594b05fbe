"""Who gets in: keys, sudo rights and listening programs, put on record."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import access as accesses


@deploy("Access")
def access() -> None:
    """Remember who gets in after the first deploy, so that `fab drift` can tell who else does."""
    accept = bool(host.data.get("accept"))
    accesses.recorded(name="Put on record who gets in", accept=accept)
