"""The journal of attendance lies as it is written and sealed: in few places, each with some passwords."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

TABLE = "attendance_journal"
BEFORE = ("log_id", "number")
AFTER = ("shard", "stream_id", "log_id", "number")
COLUMNS = "log_id, number, tenant_id, stream_id, password_id, t, salt, event"


def upgrade() -> None:
    op.drop_index("ix_attendance_journal_stream_id", TABLE)
    if op.get_bind().dialect.name == "sqlite":
        _make_anew("shard, ", "password_id % 32, ", AFTER, sqlite_with_rowid=False)
        return
    op.add_column(TABLE, sa.Column("shard", sa.SmallInteger))
    op.execute(f"UPDATE {TABLE} SET shard = password_id % 32")
    op.alter_column(TABLE, "shard", nullable=False)
    op.drop_constraint(f"pk_{TABLE}", TABLE)
    op.create_primary_key(f"pk_{TABLE}", TABLE, list(AFTER))


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _make_anew("", "", BEFORE)
    else:
        op.drop_constraint(f"pk_{TABLE}", TABLE)
        op.create_primary_key(f"pk_{TABLE}", TABLE, list(BEFORE))
        op.drop_column(TABLE, "shard")
    columns = ["stream_id", "password_id", "t"]
    op.create_index("ix_attendance_journal_stream_id", TABLE, columns)


def _make_anew(column: str, value: str, key: tuple[str, ...], **options: bool) -> None:
    """With another primary key, which SQLite gives no table that is there."""
    op.rename_table(TABLE, f"{TABLE}_before")
    op.create_table(
        TABLE,
        *([sa.Column("shard", sa.SmallInteger, nullable=False)] if column else []),
        sa.Column("log_id", sa.BigInteger, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("stream_id", sa.BigInteger, nullable=False),
        sa.Column("password_id", sa.BigInteger, nullable=False),
        sa.Column("t", sa.BigInteger, nullable=False),
        sa.Column("salt", sa.LargeBinary(16), nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint(*key, name=f"pk_{TABLE}"),
        *(
            sa.ForeignKeyConstraint([f"{of}_id"], [f"{to}.id"], name=f"fk_{TABLE}_{of}_id")
            for of, to in (("stream", "stream"), ("log", "attendance_log"), ("tenant", "tenant"))
        ),
        **options,
    )
    op.execute(
        f"INSERT INTO {TABLE} ({column}{COLUMNS}) SELECT {value}{COLUMNS} FROM {TABLE}_before"
    )
    op.drop_table(f"{TABLE}_before")
