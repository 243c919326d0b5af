"""What is signed of attendance."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

COUNTED = sa.BigInteger().with_variant(sa.Integer, "sqlite")
STAYS = {
    "sqlite": (
        "CREATE TRIGGER {0}_is_not_changed BEFORE UPDATE ON {0}"
        " BEGIN SELECT RAISE(ABORT, 'what was signed stays'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION {0}_stays() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'what was signed stays'; END $$",
        "CREATE TRIGGER {0}_is_not_changed BEFORE UPDATE ON {0}"
        " FOR EACH ROW EXECUTE FUNCTION {0}_stays()",
    ),
}
SETTINGS = ("checkpoint_url", "checkpoint_cosigner")
SIGNED = ("attendance_checkpoint", "attendance_cosignature", "attendance_timestamp")


def upgrade() -> None:
    for name in SETTINGS:
        column = sa.Column(name, sa.Text, nullable=False, server_default="")
        op.add_column("tenant", column)
    epoch = sa.Column("epoch", sa.Integer, nullable=False, server_default="1")
    op.add_column("attendance_log", epoch)
    op.add_column("attendance_log", sa.Column("frontier", sa.LargeBinary))
    op.add_column("attendance_log", sa.Column("previous_size", sa.BigInteger))
    op.add_column("attendance_log", sa.Column("previous_root", sa.LargeBinary(32)))
    op.create_table(
        "attendance_key",
        sa.Column("id", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("public", sa.LargeBinary(32), nullable=False),
        sa.Column("reference", sa.LargeBinary(16), nullable=False),
        sa.Column("sealed_seed", sa.LargeBinary, nullable=False),
        sa.Column("made_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_attendance_key"),
        owned("attendance_key", "tenant"),
    )
    columns = ["tenant_id", "made_at"]
    op.create_index("ix_attendance_key_tenant_id", "attendance_key", columns)
    op.create_table(
        "attendance_subtree",
        sa.Column("log_id", sa.BigInteger, nullable=False),
        sa.Column("level", sa.SmallInteger, autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.PrimaryKeyConstraint("log_id", "level", "number", name="pk_attendance_subtree"),
        owned("attendance_subtree", "log", of="attendance_log"),
        owned("attendance_subtree", "tenant"),
    )
    op.create_table(
        "attendance_checkpoint",
        sa.Column("id", COUNTED, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("log_id", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("root", sa.LargeBinary(32), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_attendance_checkpoint"),
        owned("attendance_checkpoint", "log", of="attendance_log"),
        owned("attendance_checkpoint", "tenant"),
        sqlite_autoincrement=True,
    )
    for name in ("tenant_id", "log_id"):
        index = f"ix_attendance_checkpoint_{name}"
        op.create_index(index, "attendance_checkpoint", [name, "id"])
    op.create_table(
        "attendance_cosignature",
        sa.Column("checkpoint_id", sa.BigInteger, nullable=False),
        sa.Column("signer", sa.Text, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("line", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("checkpoint_id", "signer", name="pk_attendance_cosignature"),
        owned("attendance_cosignature", "checkpoint", of="attendance_checkpoint"),
        owned("attendance_cosignature", "tenant"),
    )
    op.create_table(
        "attendance_delivery",
        sa.Column("checkpoint_id", sa.BigInteger, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("checkpoint_id", name="pk_attendance_delivery"),
        owned("attendance_delivery", "checkpoint", of="attendance_checkpoint"),
        owned("attendance_delivery", "tenant"),
    )
    op.create_table(
        "attendance_timestamp",
        sa.Column("checkpoint_id", sa.BigInteger, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("checkpoint_id", name="pk_attendance_timestamp"),
        owned("attendance_timestamp", "checkpoint", of="attendance_checkpoint"),
        owned("attendance_timestamp", "tenant"),
    )
    for table in SIGNED:
        for statement in STAYS[op.get_bind().dialect.name]:
            op.execute(statement.format(table))


def owned(table: str, name: str, *, of: str = "") -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        [f"{name}_id"], [f"{of or name}.id"], name=f"fk_{table}_{name}_id"
    )


def downgrade() -> None:
    for name in ("timestamp", "delivery", "cosignature", "checkpoint", "subtree", "key"):
        op.drop_table(f"attendance_{name}")
    if op.get_bind().dialect.name == "postgresql":
        for table in SIGNED:
            op.execute(f"DROP FUNCTION {table}_stays()")
    with op.batch_alter_table("tenant") as batch:
        for column in SETTINGS:
            batch.drop_column(column)
    with op.batch_alter_table("attendance_log") as batch:
        for column in ("epoch", "frontier", "previous_size", "previous_root"):
            batch.drop_column(column)
