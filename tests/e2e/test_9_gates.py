"""Unattended deploys: verified, rolled back, restricted to their environment and app."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from operations.artifact import Artifact, pack
from tests.faults.probed import Probed
from tests.gated import PRODUCTION, TOKEN, fab, runner_for
from tests.hostile_index import EXPLORE, SDIST, WHEEL, Index, archive_of, sdist, serve, wheel
from tests.keyholder import Keyholder, archive, evil_builds, member
from tests.lab_server import PROJECT, Server
from tests.workflow import Runner

LOCKED, REFUSED, LOST = 3, 4, 255
KEYS = "/etc/onebox/deploy/.ssh/authorized_keys"
SPY = """
create table public.seen (who text);
create function public.spy(oid, regrole) returns boolean language plpgsql as
  $$ begin insert into public.seen values (current_user); return $1 = $2::oid; end $$;
create operator public.= (leftarg = oid, rightarg = regrole, function = public.spy);
"""
UNSPY = "drop operator public.= (oid, regrole); drop function public.spy; drop table public.seen;"
RAN_AS = "/tmp/who"  # noqa: S108 - on a lab host
# Apps' temporary files are no changes of a deploy.
PATHS = "/etc /srv /usr/local /var/lib/onebox"
CHANGED = f"find {PATHS} -newer /run/marked -type f -not -path '*/temporary/*'"
LOST_AFTER = 5  # commands
# Replaces ssh, and drops the connection after some commands.
LOSING = """#!/bin/sh
echo >> {count}
[ "$(wc -l < {count})" -le {most} ] || {{ echo "Connection reset by peer" >&2; exit 255; }}
exec /usr/bin/ssh "$@"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for this file's tests."""
    return tmp_path_factory.mktemp("gates")


@pytest.fixture(scope="module")
def probe(copy: Callable[..., Server], folder: Path) -> Probed:
    """The probe, on a server of its own."""
    return Probed.on(copy("12", settle=False), folder, start_timeout=30)


@pytest.fixture(scope="module")
def keyholder(probe: Probed, folder: Path) -> Keyholder:
    """A restricted deploy key for the probe, on a production server."""
    keyholder = Keyholder.of(probe.server, folder)
    keys = [{"key": keyholder.public, "apps": ["probe"]}]
    probe.server.entry |= {"environment": "production", "deploy_keys": keys}
    probe.server.run(PRODUCTION)
    probe.release()
    return keyholder


def test_another_environments_settings_are_refused_with_both_names(probe: Probed) -> None:
    server = probe.server
    server.run("touch /run/marked; sleep 0.1")
    server.entry["environment"] = "staging"
    unnamed = server.pyinfra("-y")
    server.run(PRODUCTION)
    named = server.pyinfra("-y")
    dry = server.pyinfra("--dry")
    del server.entry["environment"]
    none = server.pyinfra("-y")
    server.run("rm /etc/onebox/environment")
    assert [run.returncode for run in (unnamed, named, dry, none)] == [REFUSED] * 4
    assert "has environment none, and the inventory has staging" in unnamed.stderr
    assert "has environment production, and the inventory has staging" in named.stderr
    assert "has environment production, and the inventory has none" in none.stderr
    assert server.run(CHANGED) == ""


@pytest.fixture(scope="module")
def runner(probe: Probed, folder: Path, keyholder: Keyholder) -> Runner:  # noqa: ARG001 - deployed
    """A CI runner, and both environments on one server."""
    return runner_for(probe.server, folder)


def test_the_workflow_ships_one_artifact_to_staging_and_then_to_production(
    probe: Probed, runner: Runner
) -> None:
    probe.server.run("echo staging > /etc/onebox/environment")
    assert runner.job("staging") == 0, runner.output
    shipped, page = probe.live(), runner.page.read_text()
    assert page.startswith(f"## staging ({probe.server.host.address}): deployed\n")
    assert f"- probe: release {shipped}\n" in page
    assert "certificate expires in " in page
    assert TOKEN not in runner.output + page
    assert runner.job("production") == REFUSED, runner.output
    assert "has environment staging, and the inventory has production" in runner.output
    probe.server.run(PRODUCTION)
    assert runner.job("production") == 0, runner.output
    assert (
        f"- probe: release {shipped}, as before\n- nothing was changed" in runner.page.read_text()
    )


def test_the_workflow_ships_only_what_ran_on_staging(probe: Probed, runner: Runner) -> None:
    before = probe.live()
    (runner.folder / "tests/faults/probe/probe/behaviour.py").write_text(
        "NUMBER, KIND = 1, 'good'\n"
    )
    assert runner.job("production") == REFUSED
    assert "check out the commit that was tested" in runner.output
    assert probe.live() == before


def test_the_workflow_refuses_a_server_with_another_host_key(
    probe: Probed, runner: Runner, keyholder: Keyholder
) -> None:
    before = probe.live()
    known = dict(runner.given)
    runner.given["vars.ONEBOX_KNOWN_HOSTS"] = f"{probe.server.host.address} {keyholder.public}"
    code = runner.job("staging")
    runner.given |= known
    assert code == 1, runner.output
    assert probe.live() == before


def failing(probe: Probed, kind: str) -> str:
    """Deploy a release of this kind, which must fail; return the output."""
    probe.change(kind)
    result = fab(probe.server, "deploy")
    assert result.returncode == 1
    return result.stdout


@pytest.mark.usefixtures("keyholder")
def test_a_release_that_fails_independent_verification_is_rolled_back(probe: Probed) -> None:
    before = probe.live()
    printed = failing(probe, "shy")
    assert f"- probe: rolled back to {before}." in printed
    assert "- Verification of the release failed; see above." in printed
    assert probe.live() == before
    probe.assert_settled()


@pytest.mark.usefixtures("keyholder")
def test_why_a_release_failed_is_in_the_summary(probe: Probed) -> None:
    before = probe.live()
    summary = failing(probe, "import error").partition(": the deploy failed\n")[2]
    assert "did not become ready: it crashed: RuntimeError: broken on purpose: import." in summary
    assert f"- probe: release {before} is live\n" in summary


@pytest.mark.usefixtures("keyholder")
def test_a_failed_check_of_the_server_fails_the_job_and_undoes_nothing(probe: Probed) -> None:
    probe.server.run("systemd-run --quiet --unit=broken false; sleep 1")
    probe.server.run("echo '# by hand' >> /etc/apt/apt.conf.d/99zz-onebox")
    probe.change()
    # This machine doesn't trust the server's certificate authority, which is no release's fault.
    result = fab(probe.server, "deploy", SSL_CERT_FILE=str(probe.server.host.acme_ca))
    probe.server.run("systemctl reset-failed")
    assert result.returncode == 1
    assert "no unit has failed" in result.stdout
    assert "- changed: Releases | Release probe" in result.stdout
    assert "- drift: /etc/apt/apt.conf.d/99zz-onebox was edited" in result.stdout
    assert "- Checks of the server failed, above. Changes to the server stay." in result.stdout
    assert "rolled back" not in result.stdout
    assert "Could not verify who issued the certificate of" in result.stdout


@pytest.mark.usefixtures("keyholder")
def test_a_lost_connection_rolls_nothing_back(probe: Probed, tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text(LOSING.format(count=tmp_path / "count", most=LOST_AFTER))
    ssh.chmod(0o755)
    probe.change("shy")
    before = probe.live()
    result = fab(probe.server, "deploy", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert result.returncode == 1
    assert "Could not verify the server; nothing was rolled back." in result.stdout
    assert "rolled back to" not in result.stdout
    assert probe.live() != before


def test_a_deploy_key_releases_its_app(probe: Probed, keyholder: Keyholder) -> None:
    probe.change()
    before, to = probe.live(), str(probe.server.host.address)
    arguments = ["--app", "probe", "--source", str(probe.folder), "--to", to]
    result = fab(probe.server, "submit", *arguments, ONEBOX_SSH_CONFIG=str(keyholder.config))
    assert result.returncode == 0, result.stdout + result.stderr
    assert probe.live() != before
    assert probe.live() in keyholder.ssh(keyholder.destination, "status probe").stdout.decode()


def test_a_configuration_is_deployed_and_keeps_code_that_a_deploy_key_released(
    probe: Probed, keyholder: Keyholder
) -> None:
    """The deployer's folder has other code than CI submitted."""
    probe.change()
    assert keyholder.submit(pack(probe.folder)).returncode == 0
    by_key = probe.live()
    probe.change()
    replaces = f"replaces the code of probe that a deploy key released (release {by_key})"
    dry = probe.server.pyinfra("--dry")
    assert replaces in dry.stderr
    drift = fab(probe.server, "drift").stdout
    assert "a deploy key released its code: add --data code=keep to keep it" in " ".join(
        drift.split()
    )
    probe.server.app["env"] = {"COLOUR": "green"}
    kept = probe.deploy("--data", "code=keep")
    del probe.server.app["env"]
    assert kept.returncode == 0, kept.stderr
    assert replaces not in kept.stderr
    artifact, configuration = by_key.split("-")
    assert probe.live().split("-")[0] == artifact
    assert probe.live().split("-")[1] != configuration


@pytest.mark.parametrize(
    "asked",
    [
        "", "id", "status probe; id", "status probe\nid", "status $(id)", "status links",
        "status ../probe", "status", "submit probe", "submit links " + "0" * 64,
        "submit probe ../../../../etc/passwd", "submit probe " + "0" * 64 + " --allow-incompatible",
        "internal-sftp", "scp -t /tmp", "rollback probe", "onebox-release hold x",
    ],
)  # fmt: skip
def test_a_deploy_key_can_do_nothing_else(keyholder: Keyholder, asked: str) -> None:
    result = keyholder.ssh(keyholder.destination, *([asked] if asked else []))
    assert result.returncode == REFUSED
    assert result.stdout == b""
    assert b"APP is one of: probe." in result.stderr


def test_a_deploy_key_gets_no_terminal_no_files_and_no_forwarding(
    probe: Probed, keyholder: Keyholder, tmp_path: Path
) -> None:
    options, at = keyholder.options, keyholder.destination
    (tmp_path / "file").write_text("x")
    for command in (
        ["ssh", *options, "-tt", at, "status probe"],
        ["ssh", *options, "-W", "127.0.0.1:22", at],
        ["ssh", *options, "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:22", at],
        ["sftp", *options, at],
        ["scp", *options, f"{at}:/etc/passwd", str(tmp_path)],
        ["scp", "-O", *options, str(tmp_path / "file"), f"{at}:/tmp/planted"],
    ):
        result = keyholder.run(*command)
        assert result.returncode != 0, command
        assert b"schema" not in result.stdout, command
    assert not (tmp_path / "passwd").exists()
    assert probe.server.run("ls /tmp/planted", check=False) == ""


def test_a_deploy_key_sets_no_environment(probe: Probed, keyholder: Keyholder) -> None:
    probe.server.run("echo 'import os; os.system(\"id >> /tmp/owned\")' > /tmp/sitecustomize.py")
    names = ("PYTHONPATH=/tmp", "LD_PRELOAD=/tmp/x.so", "LC_PYTHONSTARTUP=/tmp/sitecustomize.py")
    options = [word for name in names for word in ("-o", f"SetEnv={name}")]
    result = keyholder.ssh(*options, keyholder.destination, "status probe")
    assert (result.returncode, result.stderr) == (0, b"")
    assert probe.server.run("ls /tmp/owned", check=False) == ""


def test_the_user_of_deploy_keys_can_become_root_by_no_other_command(probe: Probed) -> None:
    as_user = "runuser -u onebox-deploy --"
    assert probe.server.run(f"{as_user} sudo -n id 2>&1", check=False).startswith("sudo:")
    writable = f"{as_user} find /etc/onebox /usr/local -writable ! -type l"
    assert probe.server.run(writable, check=False) == ""


BAD = {
    "a path upwards": archive((member("../../../etc/planted"), b"x")),
    "an absolute path": archive((member("/etc/planted"), b"x")),
    "a link": archive((member("app", tarfile.SYMTYPE, link="/etc"), b"")),
    "a hard link": archive((member("app", tarfile.LNKTYPE, link="/etc/shadow"), b"")),
    "a device": archive((member("app", tarfile.CHRTYPE), b"")),
    "a sparse file": archive((member("app", tarfile.GNUTYPE_SPARSE), b"")),
    "no lock file": archive((member("main.py"), b"x")),
    "no archive": Artifact(b"x" * 1000, "0" * 64),
    "another digest": Artifact(archive((member("uv.lock"), b"x")).content, "0" * 64),
    "too much, packed": Artifact(bytes(129 << 20), "0" * 64),
}


@pytest.mark.parametrize("what", BAD)
def test_a_tampered_archive_is_refused(probe: Probed, keyholder: Keyholder, what: str) -> None:
    before = probe.live()
    result = keyholder.submit(BAD[what])
    assert result.returncode in {1, REFUSED}, result.stderr
    assert b"Traceback" not in result.stderr
    assert b"archive" in result.stderr
    assert probe.live() == before
    assert (
        probe.server.run("ls /etc/planted /var/lib/onebox/probe/incoming/*.new", check=False) == ""
    )


def test_an_archive_that_unpacks_to_too_much_is_refused(keyholder: Keyholder) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1 << 20)
    bomb = b"".join(packer.compress(zeros) for _ in range(2000)) + packer.flush()
    assert len(bomb) < 4 << 20
    result = keyholder.submit(Artifact(bomb, "0" * 64))
    assert result.returncode == REFUSED
    assert b"larger than 128 MiB" in result.stderr


def test_no_file_of_an_archive_makes_anybody_root(probe: Probed, keyholder: Keyholder) -> None:
    probe.change()
    result = keyholder.submit(archive((member("su", mode=0o6755), b"x"), base=pack(probe.folder)))
    assert result.returncode == 0, result.stderr
    found = probe.server.run("find /srv/probe -name su -printf '%m %U\\n'")
    assert "755 0" in found
    assert "6755" not in found


@pytest.fixture(scope="module")
def index(probe: Probed, folder: Path) -> Iterator[Index]:
    """An index of hostile packages, which the server trusts."""
    with serve(probe.server, folder) as index:
        yield index


def test_root_runs_no_code_of_a_release(probe: Probed, keyholder: Keyholder, index: Index) -> None:
    """A .pth file runs at each start of the environment's Python; uv starts it to compile."""
    probe.server.run(f"install -m 666 /dev/null {RAN_AS}")
    before = probe.live()
    run = f"import os; os.system('id -un >> {RAN_AS}')\n"
    index.files[WHEEL] = wheel({"evil.pth": run, "sitecustomize.py": run})
    result = keyholder.submit(archive_of(index.lock(WHEEL, settings="compile-bytecode = true")))
    assert result.returncode in {1, REFUSED}  # without migrations it can't serve
    assert (
        b"Settings that the server ignores: 'pyproject.toml, [tool.uv]: compile-bytecode'"
        in result.stderr
    )
    assert b"could not be installed" not in result.stderr
    assert probe.server.run("ls /srv/probe/venvs/*/lib/python3*/site-packages/evil.pth")
    assert "root" not in probe.server.run(f"cat {RAN_AS}").split()
    assert probe.live() == before


def test_a_build_reads_nothing_and_leaves_nothing(
    probe: Probed, keyholder: Keyholder, index: Index
) -> None:
    """Even code that uv runs for an app with `build` reaches nothing."""
    before = probe.live()
    settings = "/etc/onebox/probe.json"
    probe.server.run(f'sed -i \'s/"build": false/"build": true/\' {settings}')
    index.files[SDIST] = sdist(EXPLORE)
    result = keyholder.submit(archive_of(index.lock(SDIST)))
    probe.server.run(f'sed -i \'s/"build": true/"build": false/\' {settings}')
    assert result.returncode == 1
    assert b"could not be installed: a package could not be built (evil)." in result.stderr
    log = probe.server.run("journalctl -t onebox-release -t onebox-submit --since -2min -o cat")
    [found] = re.findall(r"FOUND (\{.*?\}) END", log)[:1]
    assert json.loads(found) == {"user": "probe-build", "seen": [], "written": [], "reached": []}
    assert probe.server.run("pgrep -u probe-build", check=False) == ""
    assert probe.server.run("ls -A /srv/probe/venvs | grep new", check=False) == ""
    assert probe.live() == before


@pytest.mark.parametrize("pins", ["-e ./evil", "./evil", "-r /etc/shadow", "workspace"])
def test_nothing_of_an_archive_is_built_and_no_file_shown(
    probe: Probed, keyholder: Keyholder, tmp_path: Path, pins: str
) -> None:
    probe.server.run(f"install -m 666 /dev/null {RAN_AS}")
    before = probe.live()
    result = keyholder.submit(pack(evil_builds(tmp_path, RAN_AS, pins)))
    assert result.returncode in {1, REFUSED}
    assert probe.server.run(f"cat {RAN_AS}") == ""
    assert b"root:" not in result.stdout + result.stderr
    assert probe.live() == before


def test_a_stalled_upload_blocks_nobody(probe: Probed, keyholder: Keyholder) -> None:
    command = ["ssh", *keyholder.options, keyholder.destination, f"submit probe {'0' * 64}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as stalled:
        assert stalled.stdin
        stalled.stdin.write(b"beginning")
        stalled.stdin.flush()
        probe.server.wait_for("ls /var/lib/onebox/probe/uploads/0.tar.gz", 20)
        probe.change()
        assert keyholder.submit(pack(probe.folder)).returncode == 0
        stalled.kill()
    probe.server.wait_for("! ls /var/lib/onebox/probe/uploads/*", 20)


@contextmanager
def busy(probe: Probed) -> Iterator[None]:
    """Block the probe's deploys."""
    probe.server.run("systemd-run --quiet --unit=onebox-release-probe.service sleep 60")
    try:
        yield
    finally:
        probe.server.run("systemctl stop onebox-release-probe.service", check=False)


def test_an_archive_whose_deploy_never_begins_leaves_nothing(
    probe: Probed, keyholder: Keyholder
) -> None:
    probe.change()
    release = pack(probe.folder)
    listed = "find /var/lib/onebox/probe/incoming /var/lib/onebox/probe/uploads -type f"
    before = probe.server.run(listed, check=False)
    with busy(probe):
        request = f"submit probe {release.digest} wait=0"
        result = keyholder.ssh(keyholder.destination, request, given=release.content)
    assert result.returncode == LOCKED, result.stderr
    assert probe.server.run(listed, check=False) == before


def test_an_archive_of_very_many_files_is_refused(probe: Probed, keyholder: Keyholder) -> None:
    many = (member(f"{number}/{number}/f") for number in range(7000))
    result = keyholder.submit(archive(*((one, b"") for one in many)))
    assert result.returncode == REFUSED
    assert b"more than 20000 files and folders" in result.stderr
    assert probe.server.run("ls -A /var/lib/onebox/probe/uploads", check=False) == ""


def test_what_a_migration_creates_never_runs_as_the_superuser(probe: Probed) -> None:
    """A deploy queries the app's database as `postgres`, with PostgreSQL's own operators only."""
    ask = "cd /; runuser -u {} -- psql -XqAt -v ON_ERROR_STOP=1 -d probe"
    probe.server.run(ask.format("probe-migrate"), given=SPY)
    probe.server.deploy()
    assert probe.server.run(ask.format("probe-migrate"), given="table public.seen;") == ""
    asked = "select 1 from pg_default_acl where defaclrole = to_regrole('postgres');"
    probe.server.run(ask.format("postgres"), given=asked)
    assert "postgres" in probe.server.run(ask.format("probe-migrate"), given="table public.seen;")
    probe.server.run(ask.format("probe-migrate"), given=UNSPY)


def test_a_hold_blocks_deploy_keys(probe: Probed, keyholder: Keyholder) -> None:
    probe.change()
    probe.server.run("onebox-release hold 'upgrading Debian'")
    result = keyholder.submit(pack(probe.folder))
    probe.server.run("onebox-release unhold")
    assert result.returncode == LOCKED
    assert b"upgrading Debian" in result.stderr


def test_a_hold_ends_a_waiting_deploy(probe: Probed, keyholder: Keyholder) -> None:
    probe.change()
    release, before = pack(probe.folder), probe.live()
    command = [
        "ssh",
        *keyholder.options,
        keyholder.destination,
        f"submit probe {release.digest} wait=50",
    ]
    pipe = subprocess.PIPE
    with busy(probe), subprocess.Popen(command, stdin=pipe, stderr=pipe) as waiting:
        assert waiting.stdin
        assert waiting.stderr
        waiting.stdin.write(release.content)
        waiting.stdin.close()
        assert b"Waiting for at most 50 s" in waiting.stderr.readline()
        probe.server.run("onebox-release hold 'an incident'")
        output = waiting.stderr.read()
        probe.server.run("onebox-release unhold")
        assert waiting.wait(20) == LOCKED
    assert b"an incident" in output
    assert probe.live() == before


def test_an_open_connection_of_a_removed_key_ends_at_its_next_request(
    probe: Probed, keyholder: Keyholder
) -> None:
    probe.change()
    release, before = pack(probe.folder), probe.live()
    with keyholder.connected() as through:
        request = ["ssh", *through, keyholder.destination]
        assert keyholder.run(*request, "status probe").returncode == 0
        probe.server.run(f"cp -p {KEYS} /run/keys; sed -i s/SHA256:./SHA256:-/ {KEYS}")
        result = keyholder.run(*request, f"submit probe {release.digest}", given=release.content)
        assert result.returncode in {REFUSED, LOST}, result.stderr
        # Without the open connection ssh would reconnect, which ProxyCommand prevents.
        again = keyholder.run(*request, "-o", "ProxyCommand=false", "status probe")
        probe.server.run(f"cp -p /run/keys {KEYS}")
    assert again.returncode == LOST
    assert probe.live() == before
    probe.server.wait_for("! pgrep -u onebox-deploy sshd", 10)


def test_the_nightly_timer_runs_the_nightly_script(probe: Probed) -> None:
    server = probe.server
    script = (PROJECT / ".ci/nightly-timer").read_text()
    server.run(
        "install -d '/opt/one box/.ci' && cat > '/opt/one box/.ci/nightly-timer'", given=script
    )
    nightly = '#!/bin/sh\necho "$ONEBOX_INVENTORY" > /run/nightly\n'
    server.run(
        "cat > '/opt/one box/.ci/nightly' && chmod 755 '/opt/one box/.ci/nightly'", given=nightly
    )
    output = server.run("ONEBOX_INVENTORY=production.py sh '/opt/one box/.ci/nightly-timer'")
    assert "onebox-nightly.timer" in output
    server.run("systemd-analyze verify onebox-nightly.timer onebox-nightly.service")
    assert server.run("systemctl is-active onebox-nightly.timer") == "active"
    server.run("systemctl start onebox-nightly.service")
    assert server.run("cat /run/nightly") == "production.py"


def test_a_key_that_is_removed_from_the_settings_is_refused(
    probe: Probed, keyholder: Keyholder
) -> None:
    del probe.server.entry["deploy_keys"]
    result = probe.server.pyinfra("-y")
    assert result.returncode == 0, result.stderr
    assert keyholder.ssh(keyholder.destination, "status probe").returncode == LOST
    assert probe.server.run("ls /etc/sudoers.d/onebox-deploy", check=False) == ""
