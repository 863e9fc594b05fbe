"""Count clicks by day."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# True once the release before this one can run on the schema that this revision leaves.
onebox_compatible = True


def upgrade() -> None:
    op.create_table(
        "clicks",
        sa.Column("link_id", sa.BigInteger(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("clicks", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("link_id", "day", name=op.f("pk_clicks")),
        sa.ForeignKeyConstraint(
            ["link_id"], ["links.id"], name=op.f("fk_clicks_link_id_links"), ondelete="CASCADE"
        ),
    )


def downgrade() -> None:
    op.drop_table("clicks")
