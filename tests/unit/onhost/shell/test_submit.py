"""What a deploy key may ask for, and what it may send."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from onebox_release.app import PROGRAM, App
from onebox_release.core import identity
from onebox_release.errors import LockedError, RefusedError, ReleaseError
from onebox_release.host import lock, resources
from onebox_release.install.archive import Limits
from onebox_release.shell import keys, status, submit

from tests.unit.onhost.fake_server import PARAMETERS

DIGEST = "0" * 64
KEY = "SHA256:abc"
LINE = 'restrict,command="sudo -n /usr/local/bin/onebox-submit {}" ssh-ed25519 AAAA ci\n'


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """The commands that were run, on a server that is not on hold."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 7)

    @contextmanager
    def received(*_: object) -> Iterator[Any]:
        commands.append(["receive"])
        yield "2"

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(lock, "HOLD", tmp_path / "hold.json")
    monkeypatch.setattr(keys, "FILE", tmp_path / "authorized_keys")
    keys.FILE.write_text(LINE.format("SHA256:other blog") + LINE.format(f"{KEY} links shop"))
    monkeypatch.setattr(submit, "received", received)
    monkeypatch.setattr(submit, "App", lambda name: App(name, tmp_path, PARAMETERS))
    return commands


def test_status_is_printed_without_the_server_s_name(
    ran: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(status, "for_key", lambda app: {"live": app.name})
    assert submit.serve("status shop", KEY) == 0
    assert ran == []
    assert json.loads(capsys.readouterr().out) == {
        "schema": 1, "host": "", "app": "shop", "data": {"live": "shop"},
    }  # fmt: skip


@pytest.mark.parametrize(("asked", "wait"), [("", "600"), (" wait=0", "0"), (" wait=30", "30")])
def test_an_archive_is_received_before_its_own_app_s_deploy_is_waited_for(
    ran: list[list[str]], asked: str, wait: str
) -> None:
    """No lock of the server's is taken: it may be another app's."""
    assert submit.serve(f"submit links {DIGEST}{asked}", KEY) == 7
    command = [PROGRAM, "deploy", "links", DIGEST, "--by-key", KEY, "--upload", "2"]
    assert ran == [["receive"], [*command, "--wait", wait]]


def test_nothing_is_deployed_on_hold_and_its_user_is_not_named(ran: list[list[str]]) -> None:
    lock.HOLD.write_text(json.dumps({"at": "1", "who": "ann", "why": "we sell the shop"}))
    with pytest.raises(LockedError, match=r"^Deploys are on hold since 1: we sell the shop$"):
        submit.serve(f"submit links {DIGEST}", KEY)
    assert ran == [["receive"]]


def test_a_key_may_do_what_its_line_says_now(
    ran: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """sshd read it when the connection began."""
    monkeypatch.setattr(submit, "disconnect", lambda *_: ran.append(["disconnect"]))
    keys.FILE.write_text(LINE.format(f"{KEY} shop"))
    with pytest.raises(RefusedError, match=r"APP is one of: shop\."):
        submit.serve(f"submit links {DIGEST}", KEY)
    assert ran == []
    for text in ("", f"# {LINE.format(f'{KEY} links')}", LINE.format("SHA256:other links")):
        keys.FILE.write_text(text)
        for key in (KEY, "links", ""):  # an older onebox's line has the apps alone
            with pytest.raises(RefusedError, match="no longer authorised on this server"):
                submit.serve(f"submit links {DIGEST}", key)
    keys.FILE.unlink()
    with pytest.raises(RefusedError, match="no longer"):
        submit.serve("status links", KEY)
    assert {*map(tuple, ran)} == {("disconnect",)}


def test_a_key_that_is_taken_out_while_it_sends_begins_nothing(
    ran: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def received(*_: object) -> Iterator[str]:
        keys.FILE.write_text("")
        yield "2"

    monkeypatch.setattr(submit, "received", received)
    with pytest.raises(RefusedError, match="This key is no longer for links"):
        submit.serve(f"submit links {DIGEST}", KEY)
    assert ran == []


def test_only_the_user_s_processes_end_with_a_connection() -> None:
    mine = os.getuid() or 65534
    script = "import os; os.setuid({}); print(flush=True); import time; time.sleep(30)"
    with subprocess.Popen(
        [sys.executable, "-c", script.format(mine)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        submit.disconnect(process.pid, 0)
        submit.disconnect(process.pid, mine + 1)
        assert process.poll() is None
        if os.getuid() == 0:  # else what runs the tests would end, too
            submit.disconnect(process.pid, mine)
            assert process.wait(10) == -signal.SIGTERM
        process.kill()


def test_an_archive_whose_deploy_never_begins_leaves_nothing(app: App) -> None:
    """Or else a key fills the disk while one deploy of its app runs."""
    source, digest = packed(tar(a=b"x"))
    with submit.received(source, app, digest) as slot:
        assert app.upload(slot, digest).exists()
        assert not app.incoming(digest).exists()
    assert left(app) == []
    assert not app.incoming(digest).exists()


def test_an_archive_has_its_slot_until_its_deploy_is_over(app: App) -> None:
    source, digest = packed(tar(a=b"x"))
    with submit.received(source, app, digest) as slot:
        submit.move_upload(app, slot, digest)
        with submit._slot(app) as (other, _):
            assert other.name != f"{slot}.tar.gz"
            other.unlink()
        with pytest.raises(ReleaseError, match="Submit it again"):
            submit.move_upload(app, slot, digest)
    assert left(app) == []
    assert app.incoming(digest).stat().st_mtime == 0, "what people sent is newer, and waits"
    assert app.incoming(digest).read_bytes() == source.raw.getvalue()  # type: ignore[attr-defined]


def test_the_same_archive_of_a_person_still_waits(app: App) -> None:
    source, digest = packed(tar(a=b"x"))
    app.incoming(digest).write_bytes(b"the same")
    sent = app.incoming(digest).stat().st_mtime_ns
    with submit.received(source, app, digest) as slot:
        submit.move_upload(app, slot, digest)
    assert app.incoming(digest).stat().st_mtime_ns == sent


def test_an_archive_with_anothers_release_id_is_not_brought(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, digest = packed(tar(a=b"x"))
    app.incoming("another").write_bytes(b"")
    monkeypatch.setattr(identity, "artifact", lambda _: "0123456789ab")
    with submit.received(source, app, digest) as slot, pytest.raises(RefusedError):
        submit.move_upload(app, slot, digest)
    assert not app.incoming(digest).exists()


@pytest.mark.parametrize("brought", [True, False])
def test_what_a_killed_upload_left_waiting_goes_with_its_slot(app: App, *, brought: bool) -> None:
    """And what its deploy took is not written over."""
    source, digest = packed(tar(a=b"x"))
    kept = app.uploads.with_name("kept")
    with submit.received(source, app, digest) as slot:
        shutil.copytree(app.uploads, kept, copy_function=os.link)
    shutil.rmtree(app.uploads)
    kept.rename(app.uploads)  # as its death leaves it
    if brought:
        submit.move_upload(app, slot, digest)
    with submit._slot(app) as (_, file):
        file.write(b"other")
    assert app.incoming(digest).exists() == brought
    if brought:
        assert app.incoming(digest).read_bytes() == source.raw.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "request_",
    [
        "", " ", "sh", "status", "status other", "status links ", " status links", "status links\n",
        "status links shop", "status ../links", "submit links", f"submit other {DIGEST}",
        f"submit links {DIGEST} wait=", f"submit links {DIGEST} wait=99999",
        f"submit links {DIGEST} wait=-1", "status links wait=1",
        f"submit links {DIGEST} --allow-incompatible", f"submit links {DIGEST}0",
        "submit links " + "A" * 64, f"submit links {DIGEST}\nid", f"SUBMIT links {DIGEST}",
        "submit links ../../../../../../../../../../../../../../../../../etc/passwd",
    ],
)  # fmt: skip
def test_anything_else_is_refused(ran: list[list[str]], request_: str) -> None:
    with pytest.raises(RefusedError, match=r"APP is one of: links, shop\."):
        submit.serve(request_, KEY)
    assert ran == []


def packed(content: bytes) -> tuple[io.BufferedReader, str]:
    source = io.BytesIO(gzip.compress(content))
    return io.BufferedReader(source), hashlib.sha256(content).hexdigest()


def tar(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def _room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "check_disk", lambda *_, **__: None)


def left(app: App) -> list[str]:
    return [path.name for path in app.uploads.iterdir()]


def test_what_comes_is_there_until_it_is_taken(app: App) -> None:
    source, digest = packed(tar(a=b"x" * 200_000))
    with submit.received(source, app, digest) as slot:
        path = app.upload(slot, digest)
        assert hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() == digest
        assert path.stat().st_mode & 0o777 == 0o600
    assert left(app) == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (gzip.compress(b"other", mtime=0), "does not match its announced SHA-256"),
        (b"no archive", "Cannot read"),
        (gzip.compress(b"cut off in the middle", mtime=0)[:-9], "Cannot read"),
        (b"", "does not match"),
        (b"x" * 2000, "larger than"),
        (gzip.compress(bytes(2000), mtime=0), "larger than"),
    ],
)
def test_what_is_not_what_was_announced_leaves_nothing(
    app: App, monkeypatch: pytest.MonkeyPatch, content: bytes, why: str
) -> None:
    monkeypatch.setattr(submit, "BY_KEY", Limits(1000, 10))
    source = io.BufferedReader(io.BytesIO(content))
    with pytest.raises(RefusedError, match=why), submit.received(source, app, DIGEST):
        pass
    assert left(app) == []


def test_too_many_files_are_refused_and_leave_nothing(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit, "BY_KEY", Limits(1 << 20, 10))
    source, digest = packed(tar(**{f"{number}/{number}": b"" for number in range(6)}))
    with pytest.raises(RefusedError, match="more than 10 files and folders"):  # noqa: SIM117
        with submit.received(source, app, digest):
            pass
    assert left(app) == []


def test_the_disks_reserve_is_left_alone(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise RefusedError("no room")

    monkeypatch.setattr(resources, "check_disk", full)
    source = io.BufferedReader(io.BytesIO(os.urandom(9 << 20)))
    with pytest.raises(RefusedError, match="no room"), submit.received(source, app, DIGEST):
        pass
    assert left(app) == []


def test_what_stalls_is_given_up(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "STALLED", 1)
    reader, writer = os.pipe()
    os.write(writer, b"beginning")
    with (
        os.fdopen(reader, "rb") as source,
        pytest.raises(RefusedError, match="did not arrive: no data for 1 s"),
        submit.received(source, app, DIGEST),
    ):
        pass
    os.close(writer)
    assert left(app) == []


def test_so_many_archives_may_come_at_once(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submit, "SLOTS", 1)
    source, digest = packed(tar(a=b"x"))
    with submit.received(source, app, digest):
        again = pytest.raises(LockedError, match="1 archives of links are being uploaded")
        with again, submit.received(source, app, digest):
            pass


def test_what_a_killed_upload_left_is_written_over(app: App) -> None:
    app.uploads.mkdir()
    (app.uploads / "0.tar.gz").write_bytes(b"x" * 100_000)
    source, digest = packed(tar(a=b"x"))
    with submit.received(source, app, digest) as slot:
        assert app.upload(slot, digest).read_bytes() == source.raw.getvalue()  # type: ignore[attr-defined]
    assert left(app) == []
