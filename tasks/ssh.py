"""SSH logins: by key only, and not for apps' users."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import guarded, sshd
from operations.templates import template
from settings import VM
from tasks.deploy_keys import USER


@deploy("SSH")
def ssh() -> None:
    """Have sshd accept keys only, and deny users that only run programs."""
    vm: VM = host.data.vm
    reload = "systemctl reload ssh.service"
    options = sshd.options(vm, host.get_fact(sshd.Sshd))
    guarded.install(
        name="Allow SSH logins by key only",
        file=template(
            sshd.DROP_IN[1:], check="/usr/sbin/sshd -t -f {}", options=options, deployer=USER
        ),
        apply=reload,
        revert=reload,
    )
    sshd.check_effective(name="Check that sshd's drop-in is in effect", expected=options)
