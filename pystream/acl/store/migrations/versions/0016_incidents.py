"""Attacks, and what is sealed of their sources."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

COUNTED = sa.BigInteger().with_variant(sa.Integer, "sqlite")
KEPT = ("incident_event", "incident_custody")
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


def upgrade() -> None:
    op.create_table(
        "incident",
        sa.Column("id", COUNTED, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("dry_run", sa.Boolean, nullable=False),
        sa.Column("opened_at", sa.BigInteger, nullable=False),
        sa.Column("last_at", sa.BigInteger, nullable=False),
        sa.Column("closed_at", sa.BigInteger),
        sa.Column("shredded_at", sa.BigInteger),
        sa.Column("reference", sa.LargeBinary(16), nullable=False),
        sa.Column("sources", sa.BigInteger, nullable=False),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("left_out", sa.BigInteger, nullable=False),
        sa.Column("hold_until", sa.BigInteger),
        sa.Column("hold_reason", sa.Text),
        sa.Column("hold_by", sa.Text),
        sa.Column("hold_second", sa.Text),
        sa.Column("asked_until", sa.BigInteger),
        sa.Column("asked_reason", sa.Text),
        sa.Column("asked_by", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_incident"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "incident_event",
        sa.Column("incident_id", sa.BigInteger, nullable=False),
        sa.Column("number", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("sealed_events", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("incident_id", "number", name="pk_incident_event"),
        sa.ForeignKeyConstraint(
            ["incident_id"], ["incident.id"], name="fk_incident_event_incident_id"
        ),
    )
    op.create_table(
        "incident_custody",
        sa.Column("incident_id", sa.BigInteger, nullable=False),
        sa.Column("number", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("incident_id", "number", name="pk_incident_custody"),
        sa.ForeignKeyConstraint(
            ["incident_id"], ["incident.id"], name="fk_incident_custody_incident_id"
        ),
    )
    for table in KEPT:
        for statement in STAYS[op.get_bind().dialect.name]:
            op.execute(statement.format(table))


def downgrade() -> None:
    for table in (*KEPT, "incident"):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        for table in KEPT:
            op.execute(f"DROP FUNCTION {table}_stays()")
