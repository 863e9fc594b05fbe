"""lab/ssh.py: ssh_config and known_hosts."""

from lab import registry, ssh
from lab.layout import Lab
from lab.registry import HostEntry


def test_ssh_config_and_known_hosts_name_every_way_to_a_host(lab: Lab, web: HostEntry) -> None:
    registry.save(lab, web)
    (lab.hosts / "web" / ssh.HOST_KEYS).write_text("ssh-ed25519 AAAA\n")
    ssh.write_config(lab)
    assert lab.ssh_config.read_text() == (
        "Host web web.onebox.test www.test 10.213.0.11 fd6f::b\n"
        "  HostName 10.213.0.11\n"
        "  User root\n"
        f"  IdentityFile {lab.root}/id_ed25519\n"
        "  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {lab.root}/known_hosts\n"
        "  GlobalKnownHostsFile /dev/null\n"
        "  StrictHostKeyChecking yes\n"
        "  ControlMaster no\n"
        "  ControlPath none\n"
        "  LogLevel ERROR\n"
    )
    assert (lab.root / "known_hosts").read_text() == (
        "web,web.onebox.test,www.test,10.213.0.11,fd6f::b ssh-ed25519 AAAA\n"
    )
