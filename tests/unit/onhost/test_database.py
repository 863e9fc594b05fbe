"""Migrations: what is agreed to, what is refused, what is said."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from onebox_release import database, resources, systemd
from onebox_release.errors import RefusedError, ReleaseError
from onebox_release.parameters import Parameters

from tests.unit.onhost.server import PARAMETERS, Server

MIGRATION = "links-migrate@a-2.service"


@pytest.fixture
def psql(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Answer PostgreSQL's programs; `heads` is what the database is at."""
    said: dict[str, Any] = {"heads": "", "error": "", "dump": 0, "ran": []}

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        program = next((word for word in command if word in {"psql", "pg_dump"}), command[0])
        said["ran"].append(program)
        if program == "pg_dump":
            os.write(options["stdout"].fileno(), b"dumped")
            return subprocess.CompletedProcess(command, said["dump"], None, b"no dump")
        out = "800" if "pg_database_size" in command[-1] else said["heads"]
        return subprocess.CompletedProcess(command, int(bool(said["error"])), out, said["error"])

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(resources, "check_disk", lambda *_, **__: None)
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
    assert psql["ran"] == ["psql", "psql", "pg_dump", "sync"]
    [dump] = server.places.dumps.iterdir()
    assert (dump.name, dump.read_bytes()) == ("a-2.dump", b"dumped")
    assert server.places.dumps.stat().st_mode & 0o777 == 0o700
    assert "PUTTING BACK IS OFF: the live release may not run on r2" in capsys.readouterr().err


def test_a_dump_that_fails_stops_the_migration(server: Server, psql: dict[str, Any]) -> None:
    project(server, "a-2", "r1!")
    psql["dump"] = 1
    with pytest.raises(ReleaseError, match="The dump failed: no dump"):
        migrate(server, consent=True)
    assert server.calls == []
    assert not list(server.places.dumps.glob("*.dump"))


def test_an_external_database_is_not_dumped(
    server: Server, psql: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "run_like", lambda *_: "r1\n")
    project(server, "a-2", "r1", "r2!")
    parameters = replace(PARAMETERS, database="external")
    assert not migrate(server, consent=True, parameters=parameters)
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
    with pytest.raises(RefusedError, match="at r2, which release a-2 does not know"):
        migrate(server)


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


def test_a_migration_that_failed_because_the_database_is_gone_says_that(
    server: Server, psql: dict[str, Any]
) -> None:
    server.make("a-2")
    (server.places.release("a-2") / "app/alembic.ini").touch()
    psql["error"] = "no such socket"
    server.refuses = {"start"}
    with pytest.raises(
        ReleaseError, match=r"failed\.\nThe database doesn't answer: no such socket"
    ):
        database._run(server.places, PARAMETERS, "a-2")


# Other tools than Alembic.


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


def test_it_needs_consent_where_the_setting_does_not_vouch_for_it(server: Server) -> None:
    server.make("a-2")
    with pytest.raises(RefusedError, match="what the migrate command does"):
        migrate(server, before="b-1")


# Where the database is at.


@pytest.mark.parametrize("error", ["", 'relation "alembic_version" does not exist'])
def test_an_empty_database_is_at_nothing(server: Server, psql: dict[str, Any], error: str) -> None:
    psql["error"] = error
    assert database.at(server.places, PARAMETERS, "a-2") == []


def test_a_database_that_does_not_answer_is_an_error(server: Server, psql: dict[str, Any]) -> None:
    psql["error"] = "no such socket"
    with pytest.raises(ReleaseError, match="doesn't answer: no such socket"):
        database.at(server.places, PARAMETERS, "a-2")


def external(server: Server, monkeypatch: pytest.MonkeyPatch, output: str) -> list[str]:
    monkeypatch.setattr(systemd, "run_like", lambda *_: output)
    return database.at(server.places, replace(PARAMETERS, database="external"), "a-2")


@pytest.mark.parametrize(
    ("output", "heads"), [("", []), ("r1\n", ["r1"]), ("r1 (head)\nr2\n", ["r1", "r2"])]
)
def test_an_external_database_is_asked_through_alembic(
    server: Server, monkeypatch: pytest.MonkeyPatch, output: str, heads: list[str]
) -> None:
    assert external(server, monkeypatch, output) == heads


@pytest.mark.xfail(strict=True, reason="the pattern knows `(head)` alone: the database looks empty")
@pytest.mark.parametrize("kind", ["(mergepoint)", "(head) (mergepoint)", "(effective head)"])
def test_alembic_says_more_of_a_revision_than_head(
    server: Server, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    assert external(server, monkeypatch, f"r1 {kind}\n") == ["r1"]


# Holes.


@pytest.mark.xfail(
    strict=True, reason="migrate() says what this run did, not what the live one can run on"
)
@pytest.mark.usefixtures("psql")
def test_going_back_stays_off_when_the_deploy_after_has_nothing_to_migrate(
    server: Server, psql: dict[str, Any]
) -> None:
    """The first try migrated with consent, and its candidate did not get ready."""
    project(server, "a-1", "r1")
    project(server, "a-2", "r1", "r2!")
    psql["heads"] = "r2\n"
    assert not migrate(server)


@pytest.mark.xfail(
    strict=True, reason="a mark speaks of the release before alone, and is taken for all earlier"
)
def test_a_contraction_is_not_readable_two_releases_back(server: Server) -> None:
    project(server, "one", "base")
    project(server, "two", "base", "expand")
    project(server, "three", "base", "expand", "contract")
    with pytest.raises(RefusedError):
        database.check_readable(server.places, "one", ["contract"])


@pytest.mark.xfail(strict=True, reason="one broken file stops every later deploy and rollback")
def test_a_broken_revision_of_another_release_is_not_in_the_way(server: Server) -> None:
    project(server, "broken", "r1")
    broken: Path = server.places.release("broken") / "app/migrations/versions/r1.py"
    broken.write_text("def upgrade(:\n")
    project(server, "good", "r1")
    database.check_readable(server.places, "good", ["r1"])
