"""Migrations: what is agreed to, what is refused, what is said."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from onebox_release import database, durable, history, resources, systemd
from onebox_release.errors import RefusedError, ReleaseError
from onebox_release.parameters import Parameters

from tests.unit.onhost.server import PARAMETERS, Server

MIGRATION = "links-migrate@a-2.service"


@pytest.fixture
def psql(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Answer PostgreSQL's programs; `heads` is what the database is at."""
    said: dict[str, Any] = {"heads": "", "error": "", "dump": 0, "ran": [], "as": []}

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        program = next((word for word in command if word in {"psql", "pg_dump"}), command[0])
        said["ran"].append(program)
        said["as"].append(command[:4])
        if program == "pg_dump":
            os.write(options["stdout"].fileno(), b"dumped")
            return subprocess.CompletedProcess(command, said["dump"], None, b"no dump")
        return subprocess.CompletedProcess(
            command, int(bool(said["error"])), said["heads"], said["error"]
        )

    def check_disk(*_: object, dump: bool) -> None:
        said["ran"].append(f"dump={dump}")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(resources, "check_disk", check_disk)
    return said


def project(server: Server, release: str, *revisions: str) -> None:
    """Make a release whose revisions follow each other; ! ends the names of unmarked ones."""
    server.make(release)
    app = server.places.release(release) / "app"
    (app / "alembic.ini").write_text("[alembic]\nscript_location = migrations\n")
    (app / "migrations/versions").mkdir(parents=True)
    before = None
    for text in revisions:
        name = text.rstrip("!")
        (app / f"migrations/versions/{name}.py").write_text(
            f"revision = {name!r}\ndown_revision = {before!r}\n"
            f"onebox_compatible = {'!' not in text}\n"
        )
        before = name


def migrate(
    server: Server,
    *,
    before: str | None = "a-1",
    consent: bool = False,
    parameters: Parameters = PARAMETERS,
) -> bool:
    return database.migrate(server.places, parameters, "a-2", before, consent=consent)


def test_an_app_without_migrations_can_always_go_back(server: Server) -> None:
    assert migrate(server, parameters=replace(PARAMETERS, migrates=False))
    assert server.calls == []


def test_nothing_pending_runs_nothing(server: Server, psql: dict[str, Any]) -> None:
    project(server, "a-2", "r1")
    psql["heads"] = "r1\n"
    assert migrate(server)
    assert server.calls == []


def test_marked_revisions_are_run_without_a_dump(server: Server, psql: dict[str, Any]) -> None:
    project(server, "a-1", "r1!")
    project(server, "a-2", "r1!", "r2")
    psql["heads"] = "r1\n"
    assert migrate(server)
    assert server.calls == [f"start {MIGRATION}"]
    assert "pg_dump" not in psql["ran"]


def test_an_unmarked_one_is_refused_by_name_before_anything_ran(
    server: Server, psql: dict[str, Any]
) -> None:
    project(server, "a-2", "r1", "r2!", "r3")
    psql["heads"] = "r1\n"
    with pytest.raises(RefusedError) as error:
        migrate(server)
    assert str(error.value) == (
        f"The live release may not be able to run on r2. {database.CONSENT}"
    )
    assert server.calls == []


def test_with_consent_it_is_run_after_a_dump_and_going_back_is_off(
    server: Server, psql: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    project(server, "a-2", "r1", "r2!")
    psql["heads"] = "r1\n"
    assert not migrate(server, consent=True)
    assert server.calls == [f"start {MIGRATION}"]
    assert psql["ran"] == ["psql", "dump=True", "pg_dump"]
    assert psql["as"][1] == ["runuser", "-u", "postgres", "--"]
    [dump] = server.places.dumps.iterdir()
    assert re.fullmatch(r"a-2\.\d{8}-\d{6}\.dump", dump.name)
    assert dump.read_bytes() == b"dumped"
    assert server.places.dumps.stat().st_mode & 0o777 == 0o700
    told = capsys.readouterr().err
    assert "PUTTING BACK IS OFF: the live release may not be able to run on r2\n" in told


def test_a_dump_that_fails_stops_the_migration(server: Server, psql: dict[str, Any]) -> None:
    project(server, "a-2", "r1!")
    psql["dump"] = 1
    with pytest.raises(ReleaseError, match="The dump failed: no dump"):
        migrate(server, consent=True)
    assert server.calls == []
    assert not list(server.places.dumps.glob("*.dump"))


@pytest.mark.usefixtures("psql")
def test_a_dump_is_on_the_disk_before_it_gets_its_name(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    rename = durable.rename

    def renamed(new: Path, path: Path) -> None:
        done.append(f"rename {new.name} {path.name}")
        rename(new, path)

    monkeypatch.setattr(durable, "sync", lambda file: done.append(f"sync {Path(file.name).name}"))
    monkeypatch.setattr(durable, "rename", renamed)
    project(server, "a-2", "r1!")
    assert not migrate(server, consent=True)
    [name] = (path.name for path in server.places.dumps.iterdir())
    new = name.replace(".dump", ".new")
    assert done == [f"sync {new}", f"rename {new} {name}"]


@pytest.mark.usefixtures("psql")
def test_the_last_three_dumps_are_kept(server: Server) -> None:
    server.places.dumps.mkdir()
    for age, name in enumerate("zyxw"):
        dump = server.places.dumps / f"{name}.dump"
        dump.touch()
        os.utime(dump, (1000 - age, 1000 - age))
    project(server, "a-2", "r1!")
    migrate(server, consent=True)
    [new, *kept] = sorted(path.name for path in server.places.dumps.iterdir())
    assert new.startswith("a-2.")
    assert kept == ["y.dump", "z.dump"]


@pytest.mark.usefixtures("psql")
def test_a_dump_of_an_earlier_attempt_stays(server: Server) -> None:
    """A migration that failed half-way may have dropped what only that dump has."""
    server.places.dumps.mkdir()
    for age, name in enumerate(("z", "y", "x", "a-2.20261119-030000", "w")):
        dump = server.places.dumps / f"{name}.dump"
        dump.touch()
        os.utime(dump, (1000 - age, 1000 - age))
    project(server, "a-2", "r1!")
    migrate(server, consent=True)
    kept = sorted(path.name for path in server.places.dumps.iterdir())
    assert kept[0] == "a-2.20261119-030000.dump"
    assert kept[2:] == ["y.dump", "z.dump"]


def test_an_external_database_is_not_dumped(server: Server, psql: dict[str, Any]) -> None:
    project(server, "b-1", "r1")
    project(server, "a-2", "r1", "r2!")
    parameters = replace(PARAMETERS, database="external")
    assert not migrate(server, before="b-1", consent=True, parameters=parameters)
    assert server.calls == [f"start {MIGRATION}"]
    assert psql["ran"] == []


def test_the_first_release_has_nobody_to_be_compatible_with(
    server: Server, psql: dict[str, Any]
) -> None:
    project(server, "a-2", "r1!")
    assert migrate(server, before=None)
    assert "pg_dump" not in psql["ran"]


def test_a_database_ahead_of_a_release_is_refused(server: Server, psql: dict[str, Any]) -> None:
    project(server, "a-1", "r1", "r2!")
    project(server, "a-2", "r1")
    psql["heads"] = "r2\n"
    with pytest.raises(RefusedError) as error:
        migrate(server, consent=True)
    assert str(error.value) == (
        "The database is at r2, and this release does not know r2."
        " Deploy code that has these revisions."
    )
    assert server.calls == []


def test_one_that_is_marked_may_be_ahead(server: Server, psql: dict[str, Any]) -> None:
    project(server, "a-1", "r1", "r2")
    project(server, "a-2", "r1")
    psql["heads"] = "r2\n"
    assert migrate(server)


def test_a_failing_migration_tells_revision_database_and_last_lines(
    server: Server, psql: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = "Running upgrade  -> r1, one\nRunning upgrade r1 -> r2, two\ncolumn exists\n"
    monkeypatch.setattr(systemd, "journal", lambda *_: log)
    project(server, "a-2", "r1", "r2")
    psql["heads"] = "r1\n"
    server.refuses = {f"start {MIGRATION}"}
    with pytest.raises(ReleaseError) as error:
        migrate(server)
    assert str(error.value) == (
        "The migration failed at revision r2.\nThe database is at r1.\n"
        f"Its last lines:\n{log.rstrip()}"
    )
    assert server.calls[-1] == f"reset-failed {MIGRATION}"


@pytest.mark.parametrize(
    ("line", "failed"),
    [
        ("Running upgrade  -> r1, one", " at revision r1"),
        ("Running upgrade r1 -> r-2, two", " at revision r-2"),
        ("Running upgrade r1, r2 -> r3, merge", " at revision r3"),
        ("Running upgrade r1 -> r2", " at revision r2"),
        ("no such module", ""),
    ],
)
def test_the_revision_that_failed_is_the_last_one_begun(
    server: Server,
    psql: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    failed: str,
) -> None:
    monkeypatch.setattr(systemd, "journal", lambda *_: f"INFO  [x] {line}\nlast")
    server.refuses = {"start"}
    psql["heads"] = "r0\n"
    with pytest.raises(ReleaseError) as error:
        database._run(server.places, "a-2")
    told = f"The migration failed{failed}.\nThe database is at r0.\nIts last lines:\n"
    assert str(error.value).startswith(told)


def test_a_failing_first_migration_left_the_database_at_no_revision(
    server: Server, psql: dict[str, Any]
) -> None:
    server.refuses = {"start"}
    psql["error"] = 'relation "alembic_version" does not exist'
    with pytest.raises(ReleaseError, match=r"failed\.\nThe database is at no revision\.\nIts"):
        database._run(server.places, "a-2")


def test_a_migration_that_failed_because_the_database_is_gone_says_no_more_than_it_knows(
    server: Server, psql: dict[str, Any]
) -> None:
    psql["error"] = "no such socket"
    server.refuses = {"start"}
    with pytest.raises(ReleaseError) as error:
        database._run(server.places, "a-2")
    assert str(error.value) == (
        f"The migration failed.\nIts last lines:\nlast words of {MIGRATION}"
    )


# Other tools than Alembic, and other servers.


@pytest.mark.parametrize(
    ("before", "compatible", "consent", "can_go_back"),
    [
        (None, False, False, True),
        ("a-1", False, False, True),
        ("b-1", True, False, True),
        ("b-1", False, True, False),
    ],
)
@pytest.mark.usefixtures("psql")
def test_a_tool_that_can_not_be_asked_runs_at_each_deploy(
    server: Server, before: str | None, *, compatible: bool, consent: bool, can_go_back: bool
) -> None:
    server.make("a-2")
    parameters = replace(PARAMETERS, migrations_compatible=compatible)
    assert migrate(server, before=before, consent=consent, parameters=parameters) is can_go_back
    assert server.calls == [f"start {MIGRATION}"]


@pytest.mark.parametrize("kind", ["local", "external"])
def test_it_needs_consent_where_the_setting_does_not_vouch_for_it(
    server: Server, psql: dict[str, Any], kind: str
) -> None:
    server.make("a-2")
    parameters = replace(PARAMETERS, database=kind)
    with pytest.raises(RefusedError) as error:
        migrate(server, before="b-1", parameters=parameters)
    assert str(error.value).startswith(
        "The live release may not be able to run on the migration. Mark "
    )
    assert server.calls == psql["ran"] == []
    assert not migrate(server, before="b-1", consent=True, parameters=parameters)
    assert ("pg_dump" in psql["ran"]) == (kind == "local")


def test_revisions_of_a_database_elsewhere_are_not_believed(
    server: Server, psql: dict[str, Any]
) -> None:
    project(server, "a-2", "r1")
    parameters = replace(PARAMETERS, database="external")
    with pytest.raises(RefusedError):
        migrate(server, before="b-1", parameters=parameters)
    assert migrate(server, before="b-1", parameters=replace(parameters, migrations_compatible=True))
    assert psql["ran"] == []


# Where the database is at.


@pytest.mark.parametrize("error", ["", 'relation "alembic_version" does not exist'])
def test_an_empty_database_is_at_nothing(server: Server, psql: dict[str, Any], error: str) -> None:
    psql["error"] = error
    assert database.at(server.places) == []


def test_a_database_may_have_several_heads_and_its_owner_is_asked(
    server: Server, psql: dict[str, Any]
) -> None:
    psql["heads"] = "r1\nr2\n"
    assert database.at(server.places) == ["r1", "r2"]
    assert psql["as"] == [["runuser", "-u", "links-migrate", "--"]]


def test_a_database_that_does_not_answer_is_an_error(server: Server, psql: dict[str, Any]) -> None:
    psql["error"] = "no such socket"
    with pytest.raises(ReleaseError, match="doesn't answer: no such socket"):
        database.at(server.places)


# What can be gone back to.


def test_going_back_stays_off_when_the_deploy_after_has_nothing_to_migrate(
    server: Server, psql: dict[str, Any]
) -> None:
    """The first try migrated with consent, and its candidate did not get ready."""
    project(server, "a-1", "r1")
    project(server, "a-2", "r1", "r2!")
    psql["heads"] = "r2\n"
    assert not migrate(server)
    assert server.calls == []


def test_a_mark_does_not_speak_of_a_live_release_that_is_further_behind(
    server: Server, psql: dict[str, Any]
) -> None:
    """r2, which was not agreed to, went in with a candidate that failed; r3 follows it."""
    project(server, "a-1", "r1")
    project(server, "a-2", "r1", "r2!", "r3")
    psql["heads"] = "r2\n"
    with pytest.raises(RefusedError, match="may not be able to run on r2"):
        migrate(server)


@pytest.fixture
def three(server: Server, psql: dict[str, Any]) -> Server:
    """A server on which `three` is live, and the database is at its marked revision."""
    project(server, "one", "base")
    project(server, "two", "base", "expand")
    project(server, "three", "base", "expand", "contract")
    server.remember(*(("deploy", name, "live") for name in ("one", "two", "three")))
    psql["heads"] = "contract\n"
    return server


def back(server: Server, to: str, **changes: Any) -> None:
    database.check_back(server.places, replace(PARAMETERS, **changes), to, "three-1")


def test_a_contraction_is_not_readable_two_releases_back(three: Server) -> None:
    back(three, "two")
    with pytest.raises(RefusedError) as error:
        back(three, "one")
    assert str(error.value) == (
        "Release one may not run on today's database, which has moved on since: contract came"
        " after it, and nothing there says that it can live with that. (A revision with"
        " `onebox_compatible = True` says so, of the release right before it.) Go back to a newer"
        " release, or to this one all the same with --force."
    )


def test_what_was_not_marked_is_not_readable_one_release_back(
    server: Server, psql: dict[str, Any]
) -> None:
    project(server, "one", "base")
    project(server, "two", "base", "drop!")
    server.remember(("deploy", "one", "live"), ("deploy", "two", "live"))
    psql["heads"] = "drop\n"
    with pytest.raises(RefusedError, match="has moved on since: drop came"):
        back(server, "one")
    psql["heads"] = "base\n"
    back(server, "one")


def test_without_a_history_no_mark_speaks_of_a_release(three: Server) -> None:
    three.places.history.unlink()
    assert history.successor(three.places, "two") is None
    with pytest.raises(RefusedError):
        back(three, "two")


def test_a_broken_revision_of_another_release_is_not_in_the_way(three: Server) -> None:
    project(three, "broken", "base")
    broken: Path = three.places.release("broken") / "app/migrations/versions/base.py"
    broken.write_text("def upgrade(:\n")
    back(three, "two")


def test_an_app_without_migrations_can_go_back_to_any(server: Server, psql: dict[str, Any]) -> None:
    back(server, "one", migrates=False)
    assert psql["ran"] == []


@pytest.mark.parametrize("kind", ["local", "external"])
def test_where_nobody_can_look_the_same_artifact_and_the_setting_speak_for_a_release(
    server: Server, psql: dict[str, Any], kind: str
) -> None:
    if kind == "external":
        project(server, "one-1", "base")
    with pytest.raises(RefusedError, match=r"Nobody can say whether release one-1 runs on today's"):
        back(server, "one-1", database=kind)
    back(server, "one-1", database=kind, migrations_compatible=True)
    back(server, "three-2", database=kind)
    assert psql["ran"] == []
