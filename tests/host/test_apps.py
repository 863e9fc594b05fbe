"""The apps' users, and the files that each can read and write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .connection import Host, owner_and_mode

if TYPE_CHECKING:
    from settings import VM
    from settings.app import App

FOLDERS = [
    ("/srv/{app}", "root", 0o755),
    ("/srv/{app}/releases", "root", 0o755),
    ("/srv/{app}/venvs", "root", 0o755),
    ("/etc/{app}", "root", 0o700),
    ("/etc/{app}/releases", "root", 0o700),
    ("/var/lib/{app}", "{app}", 0o700),
    ("/var/lib/onebox/{app}", "root", 0o700),
    ("/var/lib/onebox/{app}/incoming", "root", 0o700),
]
SECRET_FILES = [
    "/etc/{app}/app.env",
    "/etc/{app}/generated.env",
    "/etc/{app}/migrate.env",
    "/etc/{app}/secrets.env",
    "/etc/onebox/revision.key",
]
SYSTEM = "/etc /opt /srv /usr/local /var/lib/onebox"


def test_users_are_system_users_that_cannot_log_in(host: Host, app: App) -> None:
    for name in (app.name, app.migrator, app.builder):
        user = host.user(name)
        assert user.exists, name
        assert 0 < user.uid < 1000
        assert user.shell == "/usr/sbin/nologin"
        assert user.password.startswith("!")


def test_users_are_only_in_their_own_group_and_the_one_that_sshd_denies(
    host: Host, app: App
) -> None:
    for name in (app.name, app.migrator, app.builder):
        assert host.user(name).groups == [name, "onebox-nologin"]


def test_users_have_no_home_and_no_systemd_user_manager(host: Host, app: App) -> None:
    for name in (app.name, app.migrator, app.builder):
        user = host.user(name)
        assert user.home == "/nonexistent"
        unit = f"/etc/systemd/system/user@{user.uid}.service"
        assert host.file(unit).linked_to == "/dev/null"


@pytest.mark.parametrize(("path", "owner", "mode"), FOLDERS)
def test_folder_has_its_owner_and_mode(
    host: Host, app: App, path: str, owner: str, mode: int
) -> None:
    folder, owner = host.file(path.format(app=app.name)), owner.format(app=app.name)
    assert folder.is_directory
    assert owner_and_mode(folder) == f"{owner}:{owner} {mode:o}"


@pytest.mark.parametrize("path", SECRET_FILES)
def test_only_root_can_read_secret_file(host: Host, app: App, path: str) -> None:
    file = host.file(path.format(app=app.name))
    assert file.is_file
    assert owner_and_mode(file) == "root:root 600"


def test_only_root_can_read_environments_of_releases(host: Host, app: App) -> None:
    command = "find /etc/%s/releases -type f '(' ! -user root -o ! -perm 600 ')'"
    assert host.check_output(command, app.name) == ""


def test_every_secret_of_the_inventory_is_installed(host: Host, app: App) -> None:
    text = host.file(f"/etc/{app.name}/secrets.env").content_string
    names = [line.split("=")[0] for line in text.splitlines() if not line.startswith("#")]
    assert names == [secret.name for secret in app.secrets]


def test_every_process_can_write_only_to_the_apps_own_folder(host: Host, app: App) -> None:
    for process in ("web", *(process.name for process in app.processes)):
        unit = f"{app.name}-{process}@*.service"
        # As root, because a read-only file system stops root, too. Three tries: a process may be
        # restarting.
        running = f"systemctl show --value -p MainPID '{unit}' | grep -m 1 '[1-9]'"
        enter = f"nsenter --target $({running}) --mount"
        check = f"{enter} sh -c 'test -w /var/lib/{app.name} && ! test -w /srv/{app.name}'"
        result = host.run(f"for i in 1 2 3; do {check} && exit; sleep 1; done; false")
        assert result.rc == 0, f"{unit}: {result.stderr}"


def test_only_root_can_write_code(host: Host, app: App) -> None:
    command = "find /srv/%s ! -type l '(' ! -user root -o -perm /022 ')'"
    assert host.check_output(command, app.name) == ""


def test_apps_users_cannot_write_system_folders(host: Host, app: App) -> None:
    for user in (app.name, app.migrator):
        # Folders that they can't read count as not writable.
        command = f"runuser -u %s -- find {SYSTEM} ! -type l -writable 2>/dev/null"
        assert host.run(command, user).stdout == "", user


def test_apps_users_cannot_read_secret_files(host: Host, vm: VM, app: App) -> None:
    paths = {path.format(app=other.name) for other in vm.apps for path in SECRET_FILES}
    keys = {f"/etc/letsencrypt/live/{other.name}/privkey.pem" for other in vm.apps}
    for user in (app.name, app.migrator):
        for path in sorted(paths | keys):
            assert host.run("runuser -u %s -- cat %s", user, path).failed, f"{user}: {path}"


def test_app_cannot_read_the_code_or_files_of_another(host: Host, vm: VM, app: App) -> None:
    others = [other for other in vm.apps if other != app]
    if not others:
        pytest.skip("the only app on this server")
    for other in others:
        for folder in (f"/srv/{other.name}/current/app", f"/var/lib/{other.name}"):
            assert host.run("runuser -u %s -- ls %s/", app.name, folder).failed


def test_app_starts_at_boot(host: Host, app: App) -> None:
    assert host.service(f"{app.name}.service").is_enabled
    assert host.service(f"{app.name}.service").is_running
