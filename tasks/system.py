"""The base system: packages, the journal, security updates."""

from pyinfra import host
from pyinfra.api.deploy import deploy

from operations import apt, files, systemd
from operations.templates import template
from settings import VM

PACKAGES = [
    "ca-certificates",
    "logrotate",
    "nftables",
    "nginx",
    "python3-venv",
    "unattended-upgrades",
]
# What stands in our folders beside what this file places: other tasks', and the server's own.
CONFIGURATION = (
    "*.json", "acme-ca.pem", "deploy", "environment", "firewall.nft*", "link-local.nft",
    "logrotate.conf", "nginx*", "postgresql", "revision.key", "watch",
)  # fmt: skip
# The last two are where an older onebox had our programs: they go once the new ones are there.
TOOLS = ("certbot*", "programs*", "uv*", "onebox_release", "onebox_watch")
TIMEKEEPER = "systemd-timesyncd"  # where there is no chrony, ntpsec or openntpd
ROTATION = "onebox-logrotate"
JOURNAL = "etc/systemd/journald.conf.d/onebox.conf"


@deploy("System")
def system() -> None:
    """Install what everything else stands on."""
    vm: VM = host.data.vm
    rotation = [template(f"etc/systemd/system/{ROTATION}.{kind}") for kind in ("service", "timer")]
    files.place(
        name="Describe updates, logs and new database clusters",
        things=[
            files.Folder("/etc/onebox", holds=CONFIGURATION),
            files.Folder("/var/lib/onebox"),
            files.Folder("/usr/local/lib/onebox", holds=TOOLS),
            files.Folder("/etc/systemd/journald.conf.d"),
            template(JOURNAL, vm=vm),
            template("etc/apt/apt.conf.d/99zz-onebox"),
            template("etc/onebox/logrotate.conf"),
            *rotation,
            files.Folder("/etc/needrestart"),
            files.Folder("/etc/needrestart/conf.d"),
            template("etc/needrestart/conf.d/onebox.conf"),
            files.Folder("/etc/postgresql-common"),
            files.Folder("/etc/postgresql-common/createcluster.d"),
            # Before PostgreSQL is installed: its package makes the cluster.
            template("etc/postgresql-common/createcluster.d/onebox.conf"),
        ],
        absent=["/etc/apt/apt.conf.d/52onebox"],  # an older onebox's, which others could override
    )
    apt.installed(name="Install Debian's packages", packages=packages(vm))
    if host.get_fact(apt.Timekeeper) in {"", TIMEKEEPER}:
        apt.installed(name="Install a keeper of the clock", packages=[TIMEKEEPER])
        systemd.running(name="Keep the clock right", unit=f"{TIMEKEEPER}.service")
    systemd.running(
        name="Keep the journal bounded",
        unit="systemd-journald.service",
        restart_for=[f"/{JOURNAL}"],
    )
    systemd.running(
        name="Rotate large logs by a timer",
        unit=f"{ROTATION}.timer",
        restart_for=[unit.path for unit in rotation],
    )


def packages(vm: VM) -> list[str]:
    """Return the Debian packages that a server needs."""
    postgresql = ["postgresql"] if vm.local_apps else []
    sudo = ["sudo"] if vm.deploy_keys else []
    theirs = {package for app in vm.apps for package in app.packages}
    return [*PACKAGES, *postgresql, *sudo, *sorted(theirs)]
