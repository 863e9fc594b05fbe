"""SSH keys, sudo rights and listening programs: recorded, so that drift reports changes."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import access as accesses
from settings import VM


@deploy("Access")
def access() -> None:
    """Install `authorized_keys`, if set; record who has access after the first deploy, so that
    `fab drift` reports later changes."""
    vm: VM = host.data.vm
    if vm.authorized_keys:
        accesses.authorize_keys(
            name=f"Install the authorized keys of {vm.ssh_user}",
            user=vm.ssh_user,
            keys=vm.authorized_keys,
        )
    accept = bool(host.data.get("accept"))
    accesses.record_access(name="Record who has access", vm=vm, accept=accept)
