"""Migrations: what is agreed to, what is refused, what is said."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from onebox_release.core import history, migrations
from onebox_release.errors import RefusedError, ReleaseError
from onebox_release.host import durable, postgresql, resources, systemd
from onebox_release.parameters import Parameters

from tests.unit.onhost.fake_server import PARAMETERS, Server

MIGRATION = "links-migrate@a-2.service"
NO_TABLE = 'ERROR:  42P01: relation "alembic_version" does not exist\nLOCATION:  here\n'
DENIED = "ERROR:  42501: permission denied for table alembic_version\nLOCATION:  here\n"


@pytest.fixture
def psql(server: Server, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Answer PostgreSQL's programs; `heads` is what the database is at, `after` what a migration
    brings it to: all that the release has, if that is None."""
    said: dict[str, Any] = {
        "heads": "", "after": None, "tables": "f", "error": "", "code": 1, "dump": 0,
        "ran": [], "as": [],
    }  # fmt: skip

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        program = next((word for word in command if word in {"psql", "pg_dump"}), command[0])
        said["ran"].append(program)
        said["as"].append(command[:4])
        if program == "pg_dump":
            os.write(options["stdout"].fileno(), b"dumped")
            return subprocess.CompletedProcess(command, said["dump"], None, b"no dump")
        heads = said["heads"]
        if f"start {MIGRATION}" in server.calls and server.calls[-1].startswith("start"):
            versions = server.app.release("a-2").folder / "app/migrations/versions"
            all_ = "".join(f"{path.stem}\n" for path in versions.glob("*.py"))
            heads = all_ if said["after"] is None else said["after"]
        answer = said["tables"] if "pg_class" in command[-1] else heads
        code = said["code"] if said["error"] else 0
        return subprocess.CompletedProcess(command, code, answer, said["error"])

    def check_disk(*_: object, dump: bool) -> None:
        said["ran"].append(f"dump={dump}")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(postgresql, "captured", run)
    monkeypatch.setattr(resources, "check_disk", check_disk)
    return said


def project(server: Server, release: str, *revisions: str) -> None:
    """Make a release whose revisions follow each other; ! ends the names of unmarked ones."""
    server.make(release)
    app = server.app.release(release).folder / "app"
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
    app = replace(server.app, override=parameters)
    old = app.release(before) if before else None
    return migrations.migrate(app.release("a-2"), old, consent=consent)


def test_an_app_without_migrations_can_always_roll_back(server: Server) -> None:
    assert migrate(server, parameters=replace(PARAMETERS, migrates=False))
    assert server.calls == []


@pytest.mark.parametrize("before", [None, "a-1", "b-1"])
def test_nothing_pending_still_runs_the_command_without_consent(
    server: Server, psql: dict[str, Any], before: str | None
) -> None:
    """It may do more than its revisions say."""
    if before:
        project(server, before, "r1!")
    project(server, "a-2", "r1!")
    psql["heads"] = "r1\n"
    assert migrate(server, before=before)
    assert server.calls == [f"start {MIGRATION}"]
    assert "pg_dump" not in psql["ran"]


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
        f"The live release might not work with the schema after r2. {migrations.CONSENT}"
    )
    assert server.calls == []


def test_with_consent_it_is_run_after_a_dump_and_rollback_is_off(
    server: Server, psql: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    project(server, "a-2", "r1", "r2!")
    psql["heads"] = "r1\n"
    assert not migrate(server, consent=True)
    assert server.calls == [f"start {MIGRATION}"]
    assert psql["ran"] == ["psql", "dump=True", "pg_dump", "psql"]
    assert psql["as"][1] == ["runuser", "-u", "postgres", "--"]
    [dump] = server.app.dumps.iterdir()
    assert re.fullmatch(r"a-2\.\d{8}-\d{6}\.dump", dump.name)
    assert dump.read_bytes() == b"dumped"
    assert server.app.dumps.stat().st_mode & 0o777 == 0o700
    told = capsys.readouterr().err
    assert (
        "Automatic rollback is disabled: The live release might not work with the schema after"
        " r2.\n" in told
    )


def test_a_dump_that_fails_stops_the_migration(server: Server, psql: dict[str, Any]) -> None:
    project(server, "a-2", "r1!")
    psql["dump"] = 1
    with pytest.raises(ReleaseError, match="The dump of the database links failed: no dump"):
        migrate(server, consent=True)
    assert server.calls == []
    assert not list(server.app.dumps.glob("*.dump"))


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
    [name] = (path.name for path in server.app.dumps.iterdir())
    new = name.replace(".dump", ".new")
    assert done == [f"sync {new}", f"rename {new} {name}"]


@pytest.mark.usefixtures("psql")
def test_the_last_three_dumps_are_kept(server: Server) -> None:
    server.app.dumps.mkdir()
    for age, name in enumerate("zyxw"):
        dump = server.app.dumps / f"{name}.dump"
        dump.touch()
        os.utime(dump, (1000 - age, 1000 - age))
    project(server, "a-2", "r1!")
    migrate(server, consent=True)
    [new, *kept] = sorted(path.name for path in server.app.dumps.iterdir())
    assert new.startswith("a-2.")
    assert kept == ["y.dump", "z.dump"]


@pytest.mark.usefixtures("psql")
def test_a_dump_of_an_earlier_attempt_stays(server: Server) -> None:
    """A migration that failed half-way may have dropped what only that dump has."""
    server.app.dumps.mkdir()
    for age, name in enumerate(("z", "y", "x", "a-2.20261119-030000", "w")):
        dump = server.app.dumps / f"{name}.dump"
        dump.touch()
        os.utime(dump, (1000 - age, 1000 - age))
    project(server, "a-2", "r1!")
    migrate(server, consent=True)
    kept = sorted(path.name for path in server.app.dumps.iterdir())
    assert kept[0] == "a-2.20261119-030000.dump"
    assert kept[2:] == ["y.dump", "z.dump"]


def test_an_external_database_is_not_dumped(server: Server, psql: dict[str, Any]) -> None:
    project(server, "b-1", "r1")
    project(server, "a-2", "r1", "r2!")
    parameters = replace(PARAMETERS, database="external")
    assert not migrate(server, before="b-1", consent=True, parameters=parameters)
    assert server.calls == [f"start {MIGRATION}"]
    assert psql["ran"] == []


def test_the_first_release_has_none_to_be_compatible_with(
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
        "The database is at r2; this release does not have the revisions r2."
        " Deploy code that has them."
    )
    assert server.calls == []


def test_one_that_is_marked_may_be_ahead(server: Server, psql: dict[str, Any]) -> None:
    project(server, "a-1", "r1", "r2")
    project(server, "a-2", "r1")
    psql["heads"] = "r2\n"
    assert migrate(server)


def test_a_failed_migration_reports_revision_database_and_last_lines(
    server: Server, psql: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = "Running upgrade  -> r1, one\nRunning upgrade r1 -> r2, two\ncolumn exists\n"
    monkeypatch.setattr(systemd, "journal", lambda *_, **__: log)
    project(server, "a-2", "r1", "r2")
    psql["heads"] = "r1\n"
    server.refuses = {f"start {MIGRATION}"}
    with pytest.raises(ReleaseError) as error:
        migrate(server)
    assert str(error.value) == (
        "The migration failed at revision r2.\nThe database is at r1.\n"
        "Its last lines:\n" + "\n".join(f"  | {line}" for line in log.splitlines())
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
    monkeypatch.setattr(systemd, "journal", lambda *_, **__: f"INFO  [x] {line}\nlast")
    server.refuses = {"start"}
    psql["heads"] = "r0\n"
    with pytest.raises(ReleaseError) as error:
        migrations._run(server.app.release("a-2"))
    told = f"The migration failed{failed}.\nThe database is at r0.\nIts last lines:\n"
    assert str(error.value).startswith(told)


def test_a_long_log_of_a_migration_keeps_its_heading(
    server: Server, psql: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd, "journal", lambda *_, **__: ("x" * 300 + "\n") * 30)
    server.refuses = {"start"}
    psql["heads"] = "r0\n"
    with pytest.raises(ReleaseError, match=r"r0\.\nIts last lines:\n  \| x"):
        migrations._run(server.app.release("a-2"))


def test_a_failing_first_migration_left_the_database_at_no_revision(
    server: Server, psql: dict[str, Any]
) -> None:
    server.refuses = {"start"}
    psql["error"] = NO_TABLE
    with pytest.raises(ReleaseError, match=r"failed\.\nThe database is at no revision\.\nIts"):
        migrations._run(server.app.release("a-2"))


def test_a_migration_that_failed_because_the_database_is_gone_says_no_more_than_it_knows(
    server: Server, psql: dict[str, Any]
) -> None:
    psql["error"] = "no such socket"
    server.refuses = {"start"}
    with pytest.raises(ReleaseError) as error:
        migrations._run(server.app.release("a-2"))
    assert str(error.value) == (
        f"The migration failed.\nIts last lines:\n  | last words of {MIGRATION}"
    )


def test_a_migration_that_takes_too_long_names_the_setting(
    server: Server, psql: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    server.refuses, server.results = {f"start {MIGRATION}"}, {MIGRATION: "timeout"}
    psql["heads"] = "r0\n"
    with pytest.raises(ReleaseError) as error:
        migrations._run(server.app.with_parameters(migrate_timeout=7).release("a-2"))
    assert str(error.value).startswith(
        "The migration was stopped after 7 s (`migrate_timeout`).\n"
        "The database is at r0.\n"
        "Raise `migrate_timeout`, or move the slow part out of the migration.\n"
    )
    told = capsys.readouterr().err
    assert (
        f"for at most 7 s (`migrate_timeout`). Follow its log: journalctl -fu {MIGRATION}" in told
    )


def test_a_dump_that_takes_too_long_names_the_setting(server: Server, psql: dict[str, Any]) -> None:
    project(server, "a-2", "r1!")
    psql["dump"] = 124
    with pytest.raises(
        ReleaseError, match=r"links failed: not finished within 1800 s \(`migrate_time"
    ):
        migrate(server, consent=True)
    assert not list(server.app.dumps.iterdir())


def test_what_an_archive_names_reaches_no_terminal_as_it_is(
    server: Server, psql: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names of revisions, the database's answer, the migration's own lines."""
    log = "Running upgrade  -> \x1b[2Jr\nx\x1b]0;owned\x07" + "y" * 100_000
    monkeypatch.setattr(systemd, "journal", lambda *_, **__: log)
    server.refuses = {"start"}
    psql["heads"] = "\x1b[2Jr1\n" * 500
    with pytest.raises(ReleaseError) as error:
        migrations._run(server.app.release("a-2"))
    told = str(error.value)
    assert len(told) < 6000
    assert "\x1b" not in told + migrations._named(["\x1b"])
    assert "and 492 more" in told


# Layouts that are not supported: the command runs, and they do not count as "no migrations".

LAYOUTS = {
    "recursive_version_locations": {"ini": "recursive_version_locations = true\n"},
    "version_locations": {"ini": "version_locations = %(here)s/migrations/versions %(here)s/x\n"},
    "version_table_schema in env.py": {"env": "context.configure(version_table_schema='x')\n"},
    "version_table in env.py": {"env": "context.configure(version_table='x')\n"},
    "[tool.alembic]": {"toml": "[tool.alembic]\nscript_location = 'elsewhere'\n"},
    "sourceless": {"ini": "sourceless = 1\n"},
    "a computed revision": {"more": "revision = 'r' + '9'\n"},
    "a compound command": {"command": "alembic upgrade head && python seed.py"},
    "a script": {"command": "./migrate.sh"},
    "another tool": {"command": "aerich upgrade"},
    "one revision alone": {"command": "alembic upgrade r1"},
    "an argument for env.py": {"command": "alembic -x tenant=a upgrade head"},
    "another file by the environment": {"environment": 'ALEMBIC_CONFIG="other.ini"\n'},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("heads", ["r1\n", ""])
def test_a_layout_that_is_not_understood_is_unknown_and_runs(
    server: Server, psql: dict[str, Any], layout: str, heads: str
) -> None:
    described = LAYOUTS[layout]
    for release in ("b-1", "a-2"):
        project(server, release, "r1")
        app = server.app.release(release).folder / "app"
        with (app / "alembic.ini").open("a") as ini:
            ini.write(described.get("ini", ""))
        (app / "migrations/env.py").write_text(described.get("env", ""))
        (app / "pyproject.toml").write_text(described.get("toml", ""))
        if "more" in described:
            (app / "migrations/versions/r9.py").write_text(described["more"])
        server.app.release(release).environment.write_text(described.get("environment", ""))
    psql["heads"] = psql["after"] = heads
    parameters = replace(PARAMETERS, migrate=described.get("command", "alembic upgrade head"))

    with pytest.raises(RefusedError) as error:
        migrate(server, before="b-1", parameters=parameters)
    told = str(error.value)
    assert "whose revisions cannot be read: " in told
    assert "--data allow_incompatible=true`. The database is dumped first" in told
    assert server.calls == []
    with_command = replace(server.app, override=parameters)
    back, live = with_command.release("b-1"), with_command.release("a-2")
    with pytest.raises(RefusedError, match="Unknown whether release b-1 runs on the current data"):
        migrations.check_rollback(back, live)

    assert migrate(server, before=None, parameters=parameters), "a first deploy"
    assert migrate(server, before="a-1", parameters=parameters), "the same code"
    vouched = replace(parameters, migrations_compatible=True)
    assert migrate(server, before="b-1", parameters=vouched)
    assert server.calls == [f"start {MIGRATION}"] * 3
    assert "pg_dump" not in psql["ran"]
    assert not migrate(server, before="b-1", parameters=parameters, consent=True)
    assert psql["ran"].count("pg_dump") == 1


def test_tables_without_a_recorded_revision_are_unknown(
    server: Server, psql: dict[str, Any]
) -> None:
    """env.py may have got version_table_schema from anywhere."""
    project(server, "b-1", "r1!")
    project(server, "a-2", "r1!")
    psql |= {"heads": "", "tables": "t", "after": ""}
    with pytest.raises(RefusedError, match="the database links has tables but no revision in"):
        migrate(server, before="b-1")
    assert migrate(server, before="a-1")
    assert migrate(server, before=None)


def test_a_migration_that_recorded_nothing_leaves_nothing_to_roll_back_to(
    server: Server, psql: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    project(server, "b-1", "r1")
    project(server, "a-2", "r1", "r2")
    psql |= {"heads": "r1\n", "after": "r1\n"}
    assert not migrate(server, before="b-1")
    assert "the table alembic_version lacks r2" in capsys.readouterr().err


# Other tools than Alembic, and other servers.


@pytest.mark.parametrize(
    ("before", "compatible", "consent", "can_roll_back"),
    [
        (None, False, False, True),
        ("a-1", False, False, True),
        ("b-1", True, False, True),
        ("b-1", False, True, False),
    ],
)
@pytest.mark.usefixtures("psql")
def test_a_tool_that_can_not_be_asked_runs_at_each_deploy(
    server: Server, before: str | None, *, compatible: bool, consent: bool, can_roll_back: bool
) -> None:
    server.make("a-2")
    parameters = replace(PARAMETERS, migrations_compatible=compatible)
    assert migrate(server, before=before, consent=consent, parameters=parameters) is can_roll_back
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
        "The live release might not work with the schema after `migrate`, whose revisions cannot be"
        " read: "
    )
    assert server.calls == psql["ran"] == []
    assert ("The database is dumped first" in str(error.value)) == (kind == "local")
    assert "set `migrations_compatible`" in str(error.value)
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


@pytest.mark.parametrize("error", ["", NO_TABLE])
def test_an_empty_database_is_at_nothing(server: Server, psql: dict[str, Any], error: str) -> None:
    psql["error"] = error
    assert migrations.database_heads(server.app) == []


def test_a_database_may_have_several_heads_and_its_owner_is_asked(
    server: Server, psql: dict[str, Any]
) -> None:
    psql["heads"] = "r1\nr2\n"
    assert migrations.database_heads(server.app) == ["r1", "r2"]
    assert psql["as"] == [["runuser", "-u", "links-migrate", "--"]]


def test_a_database_that_does_not_answer_is_an_error(server: Server, psql: dict[str, Any]) -> None:
    psql["error"] = "no such socket"
    with pytest.raises(ReleaseError, match="role links-migrate got an error from links: no such"):
        migrations.database_heads(server.app)


def test_a_database_that_never_answers_is_an_error_too(
    server: Server, psql: dict[str, Any]
) -> None:
    psql |= {"error": "killed", "code": 124}
    with pytest.raises(
        ReleaseError, match="database: no answer to the role links-migrate within 20 s"
    ):
        migrations.database_heads(server.app)


def test_a_table_of_another_role_is_reported_with_the_fix(
    server: Server, psql: dict[str, Any]
) -> None:
    psql["error"] = DENIED
    with pytest.raises(ReleaseError) as error:
        migrations.database_heads(server.app)
    assert str(error.value) == (
        "database: the role links-migrate cannot read the table alembic_version (permission"
        " denied): another role owns it or its schema. A deploy from the inventory makes"
        " links-migrate the owner: pyinfra -y inventory.py deploy.py"
    )


def test_no_setting_of_an_apps_reaches_our_queries(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        seen.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(postgresql, "captured", run)
    migrations.database_heads(server.app)
    postgresql.exists("links")
    for command in seen:
        assert command[4] == "env"
        assert "-c role=none" in command[5]
        assert "-c local_preload_libraries= " in command[5]
        assert "pg_class" in command[-1] or "left(" not in command[-1].replace(
            "pg_catalog.left(", ""
        )
        assert "-c statement_timeout=20s" in command[5]
        assert command[6:9] == ["timeout", "--kill-after=5", "25"]
        assert command[9:11] == ["prlimit", f"--data={postgresql.MEMORY}"]
    assert ["search_path=pg_catalog" in command[5] for command in seen] == [False, True]


@pytest.mark.parametrize("to", [1, 2])
def test_an_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch, to: int) -> None:
    """What answers may be a function of the app's."""
    monkeypatch.setattr(postgresql, "_as", lambda *_: ["sh", "-c", f"yes >&{to}"])
    with pytest.raises(
        postgresql.QueryError, match="the role links got a result of more than 1 MiB"
    ):
        postgresql.query("select 1", role="links", database="links")


def test_an_answer_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "printf 'a%0100000d' 0; echo x >&2; sleep 0.2; echo b"
    monkeypatch.setattr(postgresql, "_as", lambda *_: ["sh", "-c", said])
    assert postgresql.query("select 1", role="links") == "a" + "0" * 100_000 + "b\n"


# Which releases can be rolled back to.


def test_automatic_rollback_stays_off_when_the_next_deploy_has_nothing_to_migrate(
    server: Server, psql: dict[str, Any]
) -> None:
    """The first try migrated with consent, and its candidate did not get ready."""
    project(server, "a-1", "r1")
    project(server, "a-2", "r1", "r2!")
    psql["heads"] = "r2\n"
    assert not migrate(server)
    assert server.calls == [f"start {MIGRATION}"]


def test_a_mark_does_not_speak_of_a_live_release_that_is_further_behind(
    server: Server, psql: dict[str, Any]
) -> None:
    """r2, which was not agreed to, went in with a candidate that failed; r3 follows it."""
    project(server, "a-1", "r1")
    project(server, "a-2", "r1", "r2!", "r3")
    psql["heads"] = "r2\n"
    with pytest.raises(RefusedError, match="might not work with the schema after r2"):
        migrate(server)


@pytest.fixture
def three(server: Server, psql: dict[str, Any]) -> Server:
    """A server on which `three` is live, and the database is at its marked revision."""
    project(server, "one", "base")
    project(server, "two", "base", "expand")
    project(server, "three", "base", "expand", "contract")
    server.remember(*(("deploy", name, "succeeded") for name in ("one", "two", "three")))
    psql["heads"] = "contract\n"
    return server


def back(server: Server, to: str, **changes: Any) -> None:
    app = server.app.with_parameters(**changes)
    migrations.check_rollback(app.release(to), app.release("three-1"))


def test_a_contraction_is_not_readable_two_releases_back(three: Server) -> None:
    back(three, "two")
    with pytest.raises(RefusedError) as error:
        back(three, "one")
    assert str(error.value) == (
        "Release one might not work with the current database: it has the later revisions contract,"
        " which are not marked as compatible with this release. (`onebox_compatible = True` in a"
        " revision covers only the release right before it.) Roll back to a newer release, or to"
        " this one with --force."
    )


def test_what_was_not_marked_is_not_readable_one_release_back(
    server: Server, psql: dict[str, Any]
) -> None:
    project(server, "one", "base")
    project(server, "two", "base", "drop!")
    server.remember(("deploy", "one", "succeeded"), ("deploy", "two", "succeeded"))
    psql["heads"] = "drop\n"
    with pytest.raises(RefusedError, match="it has the later revisions drop, which"):
        back(server, "one")
    psql["heads"] = "base\n"
    back(server, "one")


def test_without_a_history_no_mark_speaks_of_a_release(three: Server) -> None:
    three.app.history.unlink()
    assert history.successor(three.app, "two") is None
    with pytest.raises(RefusedError):
        back(three, "two")


def test_a_broken_revision_of_another_release_is_not_in_the_way(three: Server) -> None:
    project(three, "broken", "base")
    broken: Path = three.app.release("broken").folder / "app/migrations/versions/base.py"
    broken.write_text("def upgrade(:\n")
    back(three, "two")


@pytest.mark.parametrize("own", [True, False])
def test_another_external_database_is_not_rolled_back_to_unasked(
    server: Server, *, own: bool
) -> None:
    """What was written since is not there."""
    app = server.app
    server.make("one-1", "three-1")
    (app.configuration / "secrets.env").write_text('DATABASE_URL="postgresql://u:p@new/x"\n')
    app.release("three-1").environment.write_text('DATABASE_URL="postgresql+asyncpg://u:p@new/x"\n')
    app.release("one-1").environment.write_text('DATABASE_URL="postgresql://u:p@old/x"\n' * own)
    if not own:  # of an older onebox: it uses today's secret
        back(server, "one-1", database="external", migrates=False)
        return
    with pytest.raises(RefusedError, match="one-1 has another DATABASE_URL than the live") as error:
        back(server, "one-1", database="external", migrates=False)
    assert "u:p" not in str(error.value)


def test_an_app_without_migrations_can_roll_back_to_any(
    server: Server, psql: dict[str, Any]
) -> None:
    back(server, "one", migrates=False)
    assert psql["ran"] == []


@pytest.mark.parametrize("kind", ["local", "external"])
def test_without_readable_revisions_the_artifact_or_the_setting_decides(
    server: Server, psql: dict[str, Any], kind: str
) -> None:
    if kind == "external":
        project(server, "one-1", "base")
    with pytest.raises(RefusedError, match="Unknown whether release one-1 runs"):
        back(server, "one-1", database=kind)
    back(server, "one-1", database=kind, migrations_compatible=True)
    back(server, "three-2", database=kind)
    assert psql["ran"] == []
