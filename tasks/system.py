"""The base system: packages, logs, the clock, security updates."""

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
# What other tasks and our programs put into our folders; the last is of an older onebox.
CONFIGURATION = (
    "*.json", "acme-ca.pem", "deploy", "environment", "firewall.nft*", "link-local.nft",
    "logrotate.conf", "nginx*", "postgresql", "revision.key", "checks", "watch",
)  # fmt: skip
# The last two are of an older onebox: they are removed once the new programs are installed.
TOOLS = ("certbot*", "programs*", "uv*", "onebox_release", "onebox_watch")
TIMESYNCD = "systemd-timesyncd"  # unless there is chrony, ntpsec or openntpd
ROTATION = "onebox-logrotate"
JOURNAL = "etc/systemd/journald.conf.d/onebox.conf"


@deploy("System")
def system() -> None:
    """Install what all other tasks need."""
    vm: VM = host.data.vm
    rotation = [template(f"etc/systemd/system/{ROTATION}.{kind}") for kind in ("service", "timer")]
    files.install(
        name="Install the configuration of updates, logs and new database clusters",
        entries=[
            files.Folder("/etc/onebox", allowed=CONFIGURATION),
            files.Folder("/var/lib/onebox"),
            files.Folder("/usr/local/lib/onebox", allowed=TOOLS),
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
            # Before PostgreSQL, whose package creates the cluster.
            template("etc/postgresql-common/createcluster.d/onebox.conf"),
        ],
        absent=["/etc/apt/apt.conf.d/52onebox"],  # of an older onebox
    )
    apt.install(name="Install Debian packages", packages=packages(vm))
    if host.get_fact(apt.TimeDaemon) in {"", TIMESYNCD}:
        apt.install(name=f"Install {TIMESYNCD}", packages=[TIMESYNCD])
        systemd.activate(name="Synchronize the clock", unit=f"{TIMESYNCD}.service")
    systemd.activate(
        name="Limit the journal's size",
        unit="systemd-journald.service",
        restart_for=[f"/{JOURNAL}"],
    )
    systemd.activate(
        name="Start the timer of log rotation",
        unit=f"{ROTATION}.timer",
        restart_for=[unit.path for unit in rotation],
    )


def packages(vm: VM) -> list[str]:
    """Return the Debian packages that a server needs."""
    postgresql = ["postgresql"] if vm.local_apps else []
    sudo = ["sudo"] if vm.deploy_keys else []
    requested = {package for app in vm.apps for package in app.packages}
    return [*PACKAGES, *postgresql, *sudo, *sorted(requested)]
