"""Who gets in: keys, sudo rights and listening programs, put on record."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import access as accesses
from settings import VM


@deploy("Access")
def access() -> None:
    """Have `authorized_keys` be all, if given; and remember who got in after the first deploy, so
    that `fab drift` can tell who else does."""
    vm: VM = host.data.vm
    if vm.authorized_keys:
        accesses.keys_alone(
            name=f"Let the given keys alone log in as {vm.ssh_user}",
            user=vm.ssh_user,
            keys=vm.authorized_keys,
        )
    accept = bool(host.data.get("accept"))
    accesses.recorded(name="Put on record who gets in", vm=vm, accept=accept)
