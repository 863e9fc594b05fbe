"""The migrations, run as the deployer runs them: by the role that owns the schema."""

from alembic.config import Config
from alembic.script import ScriptDirectory

from tests.cluster import APP, OWNER, Cluster
from tests.conftest import ROOT, alembic, run

TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"


def test_up_and_down_again(cluster: Cluster, empty: str) -> None:
    url = cluster.url(OWNER, empty)
    assert alembic(url, "upgrade", "head").returncode == 0
    assert cluster.ask(TABLES, empty) == "alembic_version\nlinks"
    assert alembic(url, "downgrade", "base").returncode == 0
    assert cluster.ask(TABLES, empty) == "alembic_version"


def test_models_and_migrations_agree(cluster: Cluster, database: str) -> None:
    result = alembic(cluster.url(OWNER, database), "check")
    assert result.returncode == 0, result.stderr + result.stdout


def test_the_app_may_not_migrate(cluster: Cluster, empty: str) -> None:
    result = alembic(cluster.url(APP, empty), "upgrade", "head")
    assert result.returncode != 0
    assert "permission denied for schema public" in result.stderr


def test_a_lock_timeout_of_the_role_holds(cluster: Cluster, own_database: str) -> None:
    cluster.sql(f"ALTER ROLE \"{OWNER}\" IN DATABASE {own_database} SET lock_timeout = '50ms'")
    with cluster.locked_links(own_database):
        result = alembic(cluster.url(OWNER, own_database), "downgrade", "base")
    assert "canceling statement due to lock timeout" in result.stderr


def test_a_missing_address_has_a_line() -> None:
    result = run("-m", "alembic", "upgrade", "head")
    assert (result.returncode, len(result.stderr.splitlines())) == (3, 1)
    assert result.stderr.startswith("DATABASE_URL: missing; ")


def test_each_revision_says_whether_its_predecessor_can_stay() -> None:
    scripts = ScriptDirectory.from_config(Config(ROOT / "alembic.ini"))
    revisions = list(scripts.walk_revisions())
    assert revisions
    for revision in revisions:
        assert isinstance(getattr(revision.module, "onebox_compatible", None), bool), revision.path
