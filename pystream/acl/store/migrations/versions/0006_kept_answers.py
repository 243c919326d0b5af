"""What the API answered to requests that may be sent again."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "kept_answer",
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("reference", sa.LargeBinary(16), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(32), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "digest", name="pk_kept_answer"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_kept_answer_tenant_id"),
    )
    op.create_index("ix_kept_answer_expires", "kept_answer", ["expires"])


def downgrade() -> None:
    op.drop_table("kept_answer")
