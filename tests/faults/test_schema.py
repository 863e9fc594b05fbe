"""An incompatible migration needs consent, and so does a rollback across it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.probed import Probed
from tests.lab_server import Server

REVISION = """
from alembic import op
revision = "{name}"
down_revision = "{before}"
onebox_compatible = {compatible}


def upgrade() -> None:
    op.execute("create table {name} (id int)")
"""


@pytest.fixture(scope="module")
def probe(copy: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Probed:
    """The probe, released twice: once before and once after a compatible migration."""
    probed = Probed.on(copy("13", settle=False), tmp_path_factory.mktemp("schema"))
    probed.release()
    add(probed, "r2", "r1", compatible=True)
    probed.release()
    return probed


def add(probe: Probed, name: str, before: str, *, compatible: bool) -> Path:
    path = probe.folder / f"migrations/versions/{name}.py"
    path.write_text(REVISION.format(name=path.stem, before=before, compatible=compatible))
    return path


def test_a_rollback_across_a_compatible_migration(probe: Probed) -> None:
    second = probe.live()
    probe.server.run("onebox-release rollback probe")
    assert probe.live() != second
    probe.server.run(f"onebox-release rollback probe {second}")
    assert probe.live() == second


def test_an_incompatible_migration_needs_consent_and_is_preceded_by_a_dump(probe: Probed) -> None:
    before = probe.live()
    add(probe, "r3", "r2", compatible=False)
    probe.change()
    refused = probe.deploy()
    assert refused.returncode != 0
    output = refused.stdout + refused.stderr
    assert "The live release might not work with the schema after r3." in output
    assert "--data allow_incompatible=true" in output
    assert probe.live() == before
    assert probe.sql("select version_num from alembic_version") == "r2"

    agreed = probe.deploy("--data", "allow_incompatible=true")
    output = agreed.stdout + agreed.stderr
    assert agreed.returncode == 0, output
    assert "Automatic rollback is disabled" in output
    [dump] = probe.server.run("ls /var/lib/onebox/probe/dumps").split()
    listed = probe.server.run(f"pg_restore --list /var/lib/onebox/probe/dumps/{dump}")
    assert "TABLE DATA public rows" in listed
    assert "r3" not in listed

    rollback = "onebox-release rollback probe"
    assert "it has the later revisions r3" in probe.server.run(
        f"{rollback} 2>&1; echo $?", check=False
    )
    assert probe.server.run(f"{rollback} >/dev/null 2>&1; echo $?") == "4"
    after = probe.live()
    probe.server.run(f"{rollback} --force")
    assert probe.live() != after
    probe.assert_settled()


def test_an_unreadable_migration_layout_runs_and_a_migration_that_hangs_is_stopped(
    probe: Probed,
) -> None:
    ini = probe.folder / "alembic.ini"
    ini.write_text(ini.read_text().replace("\n", "\nrecursive_version_locations = true\n", 1))
    (probe.folder / "migrations/versions/2026").mkdir()
    add(probe, "2026/r4", "r3", compatible=True)
    refused = submitted(probe)
    assert "alembic.ini sets recursive_version_locations; only its default" in refused
    assert "set `migrations_compatible`" in refused
    assert refused.endswith("4")

    probe.server.app.update(migrations_compatible=True, migrate_timeout=20)
    probe.release()
    assert probe.sql("select version_num from alembic_version") == "r4"

    probe.server.app.update(migrate_timeout=3)
    before = probe.live()
    path = add(probe, "2026/r5", "r4", compatible=True)
    path.write_text(path.read_text().replace("create table r5 (id int)", "select pg_sleep(99)"))
    probe.change()
    late = probe.deploy()
    output = late.stdout + late.stderr
    assert late.returncode != 0
    assert "The migration was stopped after 3 s (`migrate_timeout`)" in output
    assert "at revision r5" in output
    assert probe.live() == before


def submitted(probe: Probed) -> str:
    """Release the source folder with the server's current settings; return the output and the exit
    code."""
    digest = probe.send()
    return probe.server.run(f"onebox-release deploy probe {digest} 2>&1; echo $?", check=False)
