"""The migrations, run as the deployer runs them: by the role that owns the schema."""

from alembic.config import Config
from alembic.script import ScriptDirectory

from links.application import create_app
from tests.cluster import APP, OWNER, Cluster
from tests.conftest import ROOT, alembic, register, run, serving, settings, shorten

OLD_LINKS = "SELECT id, code, url, created_at FROM links WHERE id <= 1000 ORDER BY id"
# Types and functions that no extension has brought.
LEFT = (
    "SELECT typname FROM pg_type WHERE typname LIKE 'pgq%'"
    " UNION SELECT proname FROM pg_proc WHERE proname LIKE '%pgq%'"
)
TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"


def test_up_and_down_again(cluster: Cluster, empty: str) -> None:
    url = cluster.url(OWNER, empty)
    assert alembic(url, "upgrade", "head").returncode == 0
    assert cluster.ask(TABLES, empty).split() == [
        "alembic_version",
        "clicks",
        "links",
        "pgqueuer",
        "pgqueuer_log",
        "pgqueuer_schedules",
        "pgqueuer_statistics",
        "sessions",
        "users",
    ]
    assert alembic(url, "downgrade", "base").returncode == 0
    assert cluster.ask(TABLES, empty) == "alembic_version"
    assert cluster.ask(LEFT, empty) == ""


def test_an_older_database_keeps_its_links(cluster: Cluster, empty: str) -> None:
    url = cluster.url(OWNER, empty)
    assert alembic(url, "upgrade", "0001").returncode == 0
    insert = "INSERT INTO links (code, url) SELECT lpad(n::text, 7, 'a'), 'https://a/' || n"
    cluster.sql(f"{insert} FROM generate_series(1, 1000) AS n", role=APP, database=empty)
    before = cluster.ask(OLD_LINKS, empty)
    assert alembic(url, "upgrade", "head").returncode == 0
    assert cluster.ask(OLD_LINKS, empty) == before
    with serving(create_app(settings(cluster.url(APP, empty)))) as client:
        assert client.get("/health/ready").json() == {"ready": True, "reasons": []}
        assert client.get("/aaa1000").headers["location"] == "https://a/1000"
        register(client)
        shorten(client, code="seven77")
        shorten(client, code="longer-than-seven")
    # What the release before still does while it serves beside this one.
    cluster.sql(
        "INSERT INTO links (code, url) VALUES ('bbbbbbb', 'https://b/')", role=APP, database=empty
    )
    assert alembic(url, "downgrade", "0001").returncode == 0
    assert cluster.ask(OLD_LINKS, empty) == before
    codes = cluster.ask("SELECT code FROM links WHERE id > 1000 ORDER BY id", empty)
    assert codes.split() == ["seven77", "bbbbbbb"]


def test_a_failing_revision_leaves_nothing_behind(cluster: Cluster, empty: str) -> None:
    cluster.sql("CREATE TABLE pgqueuer_log ()", role=OWNER, database=empty)
    assert alembic(cluster.url(OWNER, empty), "upgrade", "head").returncode != 0
    assert cluster.ask(TABLES, empty) == "pgqueuer_log"


def test_models_and_migrations_agree(cluster: Cluster, database: str) -> None:
    result = alembic(cluster.url(OWNER, database), "check")
    assert result.returncode == 0, result.stderr + result.stdout


def test_the_app_may_not_migrate(cluster: Cluster, empty: str) -> None:
    result = alembic(cluster.url(APP, empty), "upgrade", "head")
    assert result.returncode != 0
    assert "permission denied for schema public" in result.stderr


def test_a_lock_timeout_of_the_role_holds(cluster: Cluster, own_database: str) -> None:
    cluster.sql(f"ALTER ROLE \"{OWNER}\" IN DATABASE {own_database} SET lock_timeout = '50ms'")
    with cluster.locked("links", own_database):
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
