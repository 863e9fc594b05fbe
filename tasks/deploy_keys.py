"""Restricted deploy keys: SSH keys that release their apps and read their state, no more."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import files, users
from operations.templates import template
from settings import VM

USER = "onebox-deploy"
HOME = "/etc/onebox/deploy"  # owned by root, so that the user can't add a key
SUDOERS = "etc/sudoers.d/onebox-deploy"


@deploy("Deploy keys")
def deploy_keys() -> None:
    """Install the deploy keys, each restricted to one command; remove them if none are set."""
    vm: VM = host.data.vm
    keys = template(f"{HOME[1:]}/.ssh/authorized_keys", keys=vm.deploy_keys)
    if not vm.deploy_keys:
        files.install(name="Remove deploy keys", entries=[], absent=[f"/{SUDOERS}", HOME])
        return
    sysusers = template("etc/sysusers.d/onebox-deploy.conf")
    files.install(
        name="Install the sysusers.d file of deploy keys",
        entries=[files.Folder("/etc/sysusers.d"), sysusers],
    )
    users.create(name="Create the user of deploy keys", users=[USER], login=True)
    files.install(
        name="Install the deploy keys and their sudo rule",
        entries=[
            template(SUDOERS, mode="440", check="/usr/sbin/visudo -cqf {}"),
            files.Folder(HOME),
            files.Folder(f"{HOME}/.ssh"),
            keys,
        ],
    )
