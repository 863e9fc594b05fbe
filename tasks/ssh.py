"""Who gets in: keys only, and no app."""

from typing import Any

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import guarded, sshd
from operations.templates import template
from settings import VM
from tasks.deploy_keys import USER


@deploy("SSH")
def ssh() -> None:
    """Let sshd accept keys only, and nobody's that only runs programs."""
    vm: VM = host.data.vm
    reload = "systemctl reload ssh.service"
    seen: dict[str, Any] = host.get_fact(sshd.Sshd)
    options = sshd.options(vm, seen)
    guarded.place(
        name="Accept SSH keys only",
        file=template(
            sshd.DROP_IN[1:], check="/usr/sbin/sshd -t -f {}", options=options, deployer=USER
        ),
        apply=reload,
        withdraw=reload,
    )
    sshd.in_effect(name="Check that sshd goes by it", wanted=options)
