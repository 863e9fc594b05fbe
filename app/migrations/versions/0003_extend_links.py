"""Give links an owner, an expiry, codes of one's own, and the result of a check.

Expands only: every new column may be null, so that the release before this one goes on inserting
links. The columns stay so: what it inserted until the switch has no owner, and neither have the
links of before.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# True once the release before this one can run on the schema that this revision leaves.
onebox_compatible = True


def upgrade() -> None:
    # A longer varchar changes the catalogue alone; the rows are neither read nor written.
    op.alter_column("links", "code", type_=sa.String(32), existing_type=sa.String(7))
    op.add_column("links", sa.Column("user_id", sa.BigInteger()))
    op.add_column("links", sa.Column("expires_at", sa.DateTime(timezone=True)))
    op.add_column("links", sa.Column("checked_at", sa.DateTime(timezone=True)))
    op.add_column("links", sa.Column("fault", sa.Text()))
    op.create_foreign_key(op.f("fk_links_user_id_users"), "links", "users", ["user_id"], ["id"])
    # Not CONCURRENTLY, which can't be undone with the rest when a later revision fails. Inserts
    # wait for it.
    op.create_index(op.f("ix_links_user_id_id"), "links", ["user_id", "id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_links_user_id_id"), "links")
    op.drop_constraint(op.f("fk_links_user_id_users"), "links")
    for column in ("fault", "checked_at", "expires_at", "user_id"):
        op.drop_column("links", column)
    # The release before finds codes of seven characters only.
    op.execute("DELETE FROM links WHERE length(code) > 7")
    op.alter_column("links", "code", type_=sa.String(7), existing_type=sa.String(32))
