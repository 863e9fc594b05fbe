"""Deploys under load: no request fails, and a broken release never goes live."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.probed import Probed

BROKEN = {
    "import error": "broken on purpose: import",
    "not ready": "/ready answered 503",
    "hang": "did not become ready",
    "dies while settling": "it crashed",
}
BAD_REVISION = """
from alembic import op
revision = "{name}"
down_revision = "r1"
onebox_compatible = True


def upgrade() -> None:
    op.execute("{sql}")
"""


def test_no_request_fails_over_three_deploys(probe: Probed, csv: Path) -> None:
    """25, some of them broken, by `make soak-releases`."""
    with probe.load(csv) as traffic:
        for _ in range(3):
            probe.release()
    assert len(traffic.samples) > 1000
    assert len(traffic.releases) == 4
    assert not traffic.failures, traffic.first_failures()
    assert traffic.acknowledged <= probe.rows()


def test_an_altered_release_is_rebuilt_and_no_request_fails(probe: Probed, csv: Path) -> None:
    before = probe.live()
    packages = "/srv/probe/current/venv/lib/*/site-packages"
    probe.server.run("echo '# edited' >> /srv/probe/current/app/probe/main.py")
    probe.server.run(f"echo '# edited' >> $(ls {packages}/starlette/applications.py)")
    with probe.load(csv) as traffic:
        result = probe.deploy()
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"/srv/probe/releases/{before}/app/probe/main.py was altered" in result.stderr
    assert probe.server.run("grep -r edited /srv/probe/current/app", check=False) == ""
    assert probe.server.run(f"grep edited {packages}/starlette/*.py", check=False) == ""
    assert traffic.releases == {before, probe.live()}
    assert probe.live().split("-")[0] == before.split("-")[0]
    assert len(traffic.releases) == 2
    assert not traffic.failures, traffic.first_failures()
    assert before not in probe.status()["healthy"]  # type: ignore[operator]
    assert probe.server.deploy()["success"] == []


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_release_never_goes_live(probe: Probed, csv: Path, kind: str) -> None:
    before = probe.live()
    with probe.load(csv) as traffic:
        probe.change(kind)
        result = probe.deploy()
    output = result.stdout + result.stderr
    assert result.returncode != 0
    assert BROKEN[kind] in output
    assert f"Release {before} still serves." in output
    assert "Traceback" not in output.split("Releases |")[0]
    assert traffic.releases == {before}
    assert not traffic.failures, traffic.first_failures()
    probe.assert_settled()


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("insert into nowhere values (1)", 'relation "nowhere" does not exist'),
        ("alter table rows add column more int", "canceling statement due to lock timeout"),
    ],
    ids=["fails", "is blocked"],
)
def test_a_failing_migration_is_reported_and_changes_nothing(
    probe: Probed, csv: Path, sql: str, message: str
) -> None:
    before = probe.live()
    revision = probe.folder / "migrations/versions/r2.py"
    revision.write_text(BAD_REVISION.format(name="r2", sql=sql))
    with probe.rows_in_use(), probe.load(csv) as traffic:
        probe.change()
        result = probe.deploy()
    revision.unlink()
    output = result.stdout + result.stderr
    assert result.returncode != 0
    assert "The migration failed at revision r2." in output
    assert "The database is at r1." in output
    assert message in output
    assert traffic.releases == {before}
    assert not traffic.failures, traffic.first_failures()
    probe.assert_settled()


def test_restarting_in_place_would_have_failed_requests(probe: Probed, csv: Path) -> None:
    """The control: the load detects the failures that a deploy must avoid."""
    release = probe.live()
    with probe.load(csv) as traffic:
        probe.server.run(
            f"systemctl stop probe-web@{release}.socket probe-web@{release}.service;"
            f"systemctl start probe-web@{release}.service"
        )
        probe.server.seconds_until_ready(10, "/ready")
    assert traffic.failures
