"""Who gets in: keys only."""

from pyinfra.api.deploy import deploy

from operations import guarded
from operations.templates import template


@deploy("SSH")
def ssh() -> None:
    """Let sshd accept keys only."""
    reload = "systemctl reload ssh.service"
    guarded.place(
        name="Accept SSH keys only",
        file=template("etc/ssh/sshd_config.d/00-onebox.conf", check="/usr/sbin/sshd -t -f {}"),
        apply=reload,
        withdraw=reload,
    )
