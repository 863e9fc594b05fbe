"""Create the queue's tables, as PgQueuer makes them.

A newer PgQueuer that wants other tables gets a revision of its own, which calls `upgrade()`: it
adds what is missing, and nothing where this one has made it already.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from alembic import op
from pgqueuer import AsyncpgDriver, Queries

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# True once the release before this one can run on the schema that this revision leaves.
onebox_compatible = True


def with_queue(act: Callable[[Queries], Awaitable[object]]) -> None:
    """Do something with the queue over the migration's own connection, in its transaction."""

    async def run(connection: Any) -> None:
        await act(Queries(AsyncpgDriver(connection)))

    dbapi: Any = op.get_bind().connection.dbapi_connection
    dbapi.run_async(run)


def upgrade() -> None:
    with_queue(lambda queries: queries.install())


def downgrade() -> None:
    with_queue(lambda queries: queries.uninstall())
