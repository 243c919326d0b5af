"""People and tokens of tenants, and one log of all that was changed and seen, which only grows."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

COUNTED = sa.BigInteger().with_variant(sa.Integer, "sqlite")

RELEASED = (
    "EXISTS (SELECT 1 FROM audit_release AS released WHERE OLD.at < released.older_than"
    " AND (released.tenant_id IS NULL OR released.tenant_id = OLD.tenant_id))"
)
ONLY_GROWS = {
    "sqlite": (
        "CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit"
        " BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END",
        f"CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit WHEN NOT {RELEASED}"
        " BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END",
        "CREATE TRIGGER audit_is_not_replaced BEFORE INSERT ON audit"
        " WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)"
        " BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF TG_OP = 'DELETE' THEN IF {RELEASED} THEN RETURN OLD; END IF; END IF;"
        " RAISE EXCEPTION 'the audit log only grows'; END $$",
        "CREATE TRIGGER audit_only_grows BEFORE UPDATE OR DELETE ON audit"
        " FOR EACH ROW EXECUTE FUNCTION audit_only_grows()",
        "CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON audit"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_only_grows()",
    ),
}


def tenant() -> sa.Column[int]:
    return sa.Column("tenant_id", sa.BigInteger, nullable=False)


def upgrade() -> None:
    make_audit()
    make_people()


def make_audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", COUNTED, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        tenant(),
        sa.Column("stream_id", sa.BigInteger),
        sa.Column("what", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_audit_tenant_id"),
        sa.ForeignKeyConstraint(["stream_id"], ["stream.id"], name="fk_audit_stream_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_tenant_id", "audit", ["tenant_id", "id"])
    op.execute(
        "INSERT INTO audit (id, at, who, kind, tenant_id, stream_id, what)"
        " SELECT id, at, who, CASE WHEN CAST(what AS TEXT) LIKE '{\"passwords_shown\"%'"
        " THEN 'view' ELSE 'change' END, tenant_id, stream_id, what FROM change"
    )
    go_on_counting("audit")
    op.drop_table("change")
    op.create_table(
        "audit_release",
        sa.Column("id", sa.SmallInteger, nullable=False),
        sa.Column("tenant_id", sa.BigInteger),
        sa.Column("older_than", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit_release"),
        sa.CheckConstraint("id = 1", name=op.f("ck_audit_release_single")),
    )
    for statement in ONLY_GROWS[op.get_bind().dialect.name]:
        op.execute(statement)


def go_on_counting(table: str) -> None:
    """PostgreSQL counts in a sequence, which knows nothing of numbers that were given."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            f"SELECT setval(pg_get_serial_sequence('{table}', 'id'),"
            f" (SELECT coalesce(max(id), 0) + 1 FROM {table}), false)"
        )


def make_people() -> None:
    op.create_table(
        "person",
        sa.Column("id", sa.BigInteger, autoincrement=False, nullable=False),
        tenant(),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("password_until", sa.BigInteger),
        sa.Column("reference", sa.LargeBinary(16)),
        sa.Column("sealed_totp", sa.LargeBinary),
        sa.Column("totp_on", sa.Boolean, nullable=False),
        sa.Column("totp_step", sa.BigInteger, nullable=False),
        sa.Column("let_in_until", sa.BigInteger),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_person"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_person_tenant_id"),
        sa.UniqueConstraint("tenant_id", "name", name="uq_person_tenant_id"),
    )
    op.create_table(
        "recovery_code",
        sa.Column("person_id", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        tenant(),
        sa.PrimaryKeyConstraint("person_id", "digest", name="pk_recovery_code"),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_recovery_code_person_id"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_recovery_code_tenant_id"),
    )
    op.create_table(
        "console_session",
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        tenant(),
        sa.Column("person_id", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_console_session"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_console_session_tenant_id"),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_console_session_person_id"),
    )
    op.create_index("ix_console_session_person_id", "console_session", ["person_id"])
    op.create_table(
        "token",
        sa.Column("id", sa.BigInteger, autoincrement=False, nullable=False),
        tenant(),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires", sa.BigInteger),
        sa.Column("used_on", sa.Integer),
        sa.PrimaryKeyConstraint("id", name="pk_token"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_token_tenant_id"),
        sa.UniqueConstraint("tenant_id", "name", name="uq_token_tenant_id"),
        sa.UniqueConstraint("digest", name="uq_token_digest"),
    )


def downgrade() -> None:
    for name in ("token", "console_session", "recovery_code", "person"):
        op.drop_table(name)
    op.create_table(
        "change",
        sa.Column("id", COUNTED, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        tenant(),
        sa.Column("stream_id", sa.BigInteger),
        sa.Column("what", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_change"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenant.id"], name="fk_change_tenant_id"),
        sa.ForeignKeyConstraint(["stream_id"], ["stream.id"], name="fk_change_stream_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_change_tenant_id", "change", ["tenant_id", "stream_id"])
    op.execute(
        "INSERT INTO change (id, at, who, tenant_id, stream_id, what)"
        " SELECT id, at, who, tenant_id, stream_id, what FROM audit WHERE kind <> 'access'"
    )
    go_on_counting("change")
    op.drop_table("audit_release")
    op.drop_table("audit")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION audit_only_grows()")
