"""SSH keys that can do little: release the apps that they are for, and read their state."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import files, users
from operations.templates import template
from settings import VM

USER = "onebox-deploy"
HOME = "/etc/onebox/deploy"  # root's, so that the user can't add a key
SUDOERS = "etc/sudoers.d/onebox-deploy"


@deploy("Deploy keys")
def deploy_keys() -> None:
    """Let deploy keys in, to one command; without any in the settings, let none in."""
    vm: VM = host.data.vm
    keys = template(f"{HOME[1:]}/.ssh/authorized_keys", keys=vm.deploy_keys)
    if not vm.deploy_keys:
        files.place(name="Let no deploy key in", things=[], absent=[f"/{SUDOERS}", HOME])
        return
    sysusers = template("etc/sysusers.d/onebox-deploy.conf")
    files.place(
        name="Describe the user of deploy keys",
        things=[files.Folder("/etc/sysusers.d"), sysusers],
    )
    users.present(name="Create the user of deploy keys", users=[USER], login=True)
    files.place(
        name="Let deploy keys release their apps",
        things=[
            template(SUDOERS, mode="440", check="/usr/sbin/visudo -cqf {}"),
            files.Folder(HOME),
            files.Folder(f"{HOME}/.ssh"),
            keys,
        ],
    )
