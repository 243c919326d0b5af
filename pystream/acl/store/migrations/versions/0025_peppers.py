"""The generation of a pepper is a second, of which 31 bits have no more from 2038 on."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # SQLite's integers have 64 bits.
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("password", "pepper", type_=sa.BigInteger)


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("password", "pepper", type_=sa.Integer)
