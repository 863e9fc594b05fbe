"""`make soak-keys`: hostile packages and build hooks, over a restricted deploy key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults.probed import Probed
from tests.hostile_index import SDIST, WHEEL, Index, archive_of, sdist, serve, wheel
from tests.keyholder import Keyholder
from tests.lab_server import Server

RAN_AS = "/tmp/who"  # noqa: S108 - on the server
SETTINGS = "/etc/onebox/probe.json"
RUN = f"import os; os.system('id -un >> {RAN_AS}')\n"
DEEP = "/".join(["d"] * 1500)
# Hostile wheels, and whether uv installs each, then without harm; None: either.
WHEELS: dict[str, tuple[Callable[[], bytes], bool | None]] = {
    "a .pth file": (lambda: wheel({"evil.pth": RUN}), True),
    "sitecustomize": (lambda: wheel({"sitecustomize.py": RUN, "usercustomize.py": RUN}), True),
    "a path upwards": (lambda: wheel({"../../../../../../etc/planted": "x"}), None),
    "an absolute path": (lambda: wheel({"/etc/planted": "x"}), None),
    "absolute data": (lambda: wheel({"evil-1.data/data//etc/planted": "x"}), None),
    "data upwards": (lambda: wheel({"evil-1.data/data/../../../../etc/planted": "x"}), None),
    "a script upwards": (lambda: wheel(scripts="../../../../../usr/bin/planted = evil:x"), False),
    "a script called python": (lambda: wheel({"evil-1.data/scripts/python3": RUN}), None),
    "another pyvenv.cfg": (lambda: wheel({"evil-1.data/data/pyvenv.cfg": "home = /tmp\n"}), None),
    "our own marks": (
        lambda: wheel({"evil-1.data/data/.complete": "", "evil-1.data/data/.manifest": "{}"}),
        None,
    ),
    "a link": (lambda: wheel(links={"evil_link": "/etc/shadow"}), None),
    "a file below a link": (lambda: wheel({"d/planted": "x"}, links={"d": "/etc"}), None),
    "a record upwards": (
        lambda: wheel(record="../../../../../etc/passwd,,\n/etc/passwd,,\n"),
        None,
    ),
    "line breaks and escapes": (lambda: wheel({"evil\n\x1b[2J.py": "x"}), False),
    "fifteen hundred levels": (lambda: wheel({f"{DEEP}/x": "x"}), False),
    "colliding names": (lambda: wheel({"Evil.py": "1", "EVIL.py": "2"}), None),
    "no archive": (lambda: b"not a zip", False),
    "an sdist as a wheel": (lambda: sdist(RUN), False),
    "bombs for the compiler": (
        lambda: wheel({"b.py": "(" * 100_000, "c.py": "x = " + "-" * 200_000 + "1"}),
        None,
    ),
    "a bomb": (lambda: wheel({"zeros": bytes(300 << 20)}), None),
}
BEGIN = "import os, subprocess, glob, socket\nV = glob.glob('/srv/*/venvs/*')[0]\n"
HOOKS = {
    "a pipe": "os.mkfifo(V + '/pipe')",
    "a link out": "os.symlink('/etc/shadow', V + '/link')",
    "a hard link": "open('/cache/h', 'w'); os.link('/cache/h', V + '/h')",
    "setuid": "open(V + '/s', 'w'); os.chmod(V + '/s', 0o4755)",
    "a process that stays": "subprocess.Popen(['setsid', 'sleep', '500'], stdin=-3, stdout=-3,"
    " stderr=-3)",
    "a folder that is a link": "os.rename(V + '/lib', V + '/lib2'); os.symlink('/etc', V + '/lib')",
    "no environment": "import shutil; shutil.rmtree(V, ignore_errors=True)",
    "another python": "os.unlink(V + '/bin/python'); os.symlink('/tmp/x', V + '/bin/python')",
    "a deep cache": "os.chdir('/cache')\nfor _ in range(3000):\n  os.mkdir('d'); os.chdir('d')",
    "a deep environment": "os.chdir(V)\nfor _ in range(3000):\n  os.mkdir('d'); os.chdir('d')",
    "endless words": "print('x' * 10**8)",
    "escapes in words": "raise SystemExit('\\x1b[2J\\nroot:x:0:0')",
    "metadata": "socket.create_connection(('169.254.169.254', 80), 3); os.mkfifo(V + '/reached')",
}


@pytest.fixture(scope="module")
def probe(copy: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Probed:
    """The probe, released once."""
    return Probed.on(copy("12"), tmp_path_factory.mktemp("keys"), start_timeout=30)


@pytest.fixture(scope="module")
def keyholder(probe: Probed) -> Keyholder:
    """A restricted deploy key for the probe."""
    keyholder = Keyholder.of(probe.server, probe.folder.parent)
    keys = [{"key": keyholder.public, "apps": ["probe"]}]
    probe.server.entry |= {"deploy_keys": keys}
    probe.release()
    probe.server.run(f"install -m 666 /dev/null {RAN_AS}")
    return keyholder


@pytest.fixture(scope="module")
def index(probe: Probed) -> Iterator[Index]:
    """An index that the server trusts."""
    with serve(probe.server, probe.folder.parent) as index:
        yield index


def submit_and_check(
    probe: Probed, keyholder: Keyholder, index: Index, *names: str, **lock: Any
) -> bytes:
    """Submit a project locked to files of the index; check that it reached nothing."""
    before = probe.live()
    result = keyholder.submit(archive_of(index.lock(*names, **lock)))
    output = result.stdout + result.stderr
    assert result.returncode in {1, 4}, output
    assert b"Traceback" not in output
    assert b"\x1b" not in output
    assert b"root:" not in output
    server = probe.server
    assert "root" not in server.run(f"cat {RAN_AS}").split()
    assert server.run("pgrep -u probe-build", check=False) == ""
    assert server.run("ls /etc/planted /usr/bin/planted /run/onebox-build-*", check=False) == ""
    assert server.run("find /srv /var/cache/onebox -xdev -perm /6000") == ""
    assert server.run("find /srv/probe -xdev ! -user root") == ""
    assert server.run("find /srv/probe/venvs -xdev -name '.*.new'") == ""
    assert (
        server.run("find /srv/probe/venvs -xdev -type l -lname '/*' ! -lname '/usr/bin/py*'") == ""
    )
    assert probe.live() == before
    return output


@pytest.mark.parametrize("what", WHEELS)
def test_a_wheel_reaches_nothing(
    probe: Probed, keyholder: Keyholder, index: Index, what: str
) -> None:
    make, installs = WHEELS[what]
    index.files[WHEEL] = make()
    output = submit_and_check(probe, keyholder, index, WHEEL)
    failed = b"could not be installed" in output or b"environment is not accepted" in output
    assert installs is None or failed != installs, output


@pytest.mark.parametrize("what", HOOKS)
def test_a_build_hook_reaches_nothing(
    probe: Probed, keyholder: Keyholder, index: Index, what: str
) -> None:
    """Deploy keys are not allowed for an app with `build`: the test edits the server's settings."""
    probe.server.run(f'sed -i \'s/"build": false/"build": true/\' {SETTINGS}')
    index.files[SDIST] = sdist(BEGIN + HOOKS[what])
    submit_and_check(probe, keyholder, index, SDIST)
    probe.server.run(f'sed -i \'s/"build": true/"build": false/\' {SETTINGS}')
    probe.server.run("rm -rf /var/cache/onebox/build/probe")  # too deep for the lab to remove


@pytest.mark.parametrize("to", ["file:///etc/shadow", "http://169.254.169.254/x.whl", "//[::1]/x"])
def test_an_index_cannot_redirect_to_the_servers_own_files_and_addresses(
    probe: Probed, keyholder: Keyholder, index: Index, to: str
) -> None:
    index.files[WHEEL] = wheel()
    index.redirects[WHEEL] = to
    output = submit_and_check(probe, keyholder, index, WHEEL)
    index.redirects.clear()
    assert b"could not be installed" in output


def test_a_wrong_hash_is_refused(probe: Probed, keyholder: Keyholder, index: Index) -> None:
    index.files[WHEEL] = wheel()
    output = submit_and_check(probe, keyholder, index, WHEEL, digest="ab" * 32)
    assert b"could not be installed: a file does not match its hash (evil)." in output
