"""The tables that the tests use."""

from alembic import op

revision = "r1"
down_revision = None
onebox_compatible = True


def upgrade() -> None:
    """Create them."""
    op.execute("create table rows (key text primary key)")
    op.execute(
        "create table jobs (id serial primary key, seconds int not null,"
        " began timestamptz, ended timestamptz, runs int not null default 0)"
    )
