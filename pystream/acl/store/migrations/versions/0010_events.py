"""Events that are attended, and the sealed reports of events and of streams."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

COUNTED = sa.BigInteger().with_variant(sa.Integer, "sqlite")
NEVER_CHANGED = {
    "sqlite": (
        "CREATE TRIGGER attendance_report_is_not_changed BEFORE UPDATE ON attendance_report"
        " BEGIN SELECT RAISE(ABORT, 'a sealed report is never changed'); END",
        "CREATE TRIGGER attendance_report_is_not_replaced BEFORE INSERT ON attendance_report"
        " WHEN EXISTS (SELECT 1 FROM attendance_report WHERE id = NEW.id"
        " OR (subject = NEW.subject AND version = NEW.version))"
        " BEGIN SELECT RAISE(ABORT, 'a sealed report is never changed'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION attendance_report_stays() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " RAISE EXCEPTION 'a sealed report is never changed'; END $$",
        "CREATE TRIGGER attendance_report_stays BEFORE UPDATE ON attendance_report"
        " FOR EACH ROW EXECUTE FUNCTION attendance_report_stays()",
    ),
}


def upgrade() -> None:
    op.create_table(
        "attendance_event",
        sa.Column("id", COUNTED, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("vnr", sa.Text, nullable=False),
        sa.Column("timezone", sa.Text, nullable=False),
        sa.Column("windows", sa.JSON, nullable=False),
        sa.Column("breaks", sa.JSON, nullable=False),
        sa.Column("rounding", sa.String(16), nullable=False),
        sa.Column("threshold_pct", sa.Integer),
        sa.Column("least_minutes", sa.Integer),
        sa.Column("seal_after_s", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_attendance_event"),
        *_owned("attendance_event"),
        sa.UniqueConstraint("tenant_id", "name", name="uq_attendance_event_tenant_id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "attendance_event_stream",
        sa.Column("event_id", sa.BigInteger, nullable=False),
        sa.Column("stream_id", sa.BigInteger, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("event_id", "stream_id", name="pk_attendance_event_stream"),
        *_owned("attendance_event_stream", "attendance_event", "stream"),
    )
    op.create_index(
        "ix_attendance_event_stream_stream_id", "attendance_event_stream", ["stream_id"]
    )
    op.create_table(
        "attendance_report",
        sa.Column("id", sa.BigInteger, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("event_id", sa.BigInteger),
        sa.Column("stream_id", sa.BigInteger),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("made_at", sa.BigInteger, nullable=False),
        sa.Column("reference", sa.LargeBinary(16), nullable=False),
        sa.Column("sealed_document", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_attendance_report"),
        *_owned("attendance_report", "attendance_event", "stream"),
        sa.UniqueConstraint("subject", "version", name="uq_attendance_report_subject"),
    )
    op.create_index("ix_attendance_report_event_id", "attendance_report", ["event_id"])
    op.create_index("ix_attendance_report_stream_id", "attendance_report", ["stream_id"])
    op.create_table(
        "attendance_report_name",
        sa.Column("id", sa.BigInteger, nullable=False),
        sa.Column("tenant_id", sa.BigInteger, nullable=False),
        sa.Column("report_id", sa.BigInteger, nullable=False),
        sa.Column("password_id", sa.BigInteger, nullable=False),
        sa.Column("reference", sa.LargeBinary(16), nullable=False),
        sa.Column("sealed_name", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_attendance_report_name"),
        *_owned("attendance_report_name", "attendance_report"),
    )
    op.create_index("ix_attendance_report_name_report_id", "attendance_report_name", ["report_id"])
    for statement in NEVER_CHANGED[op.get_bind().dialect.name]:
        op.execute(statement)


def _owned(table: str, *others: str) -> list[sa.ForeignKeyConstraint]:
    columns = {other: f"{other.removeprefix('attendance_')}_id" for other in ("tenant", *others)}
    return [
        sa.ForeignKeyConstraint([column], [f"{other}.id"], name=f"fk_{table}_{column}")
        for other, column in columns.items()
    ]


def downgrade() -> None:
    for name in ("report_name", "report", "event_stream", "event"):
        op.drop_table(f"attendance_{name}")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION attendance_report_stays()")
