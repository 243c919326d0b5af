"""The store's tables, as the newest migration leaves them.

Times are Unix seconds, hours whole hours since 1970 in UTC. Names of constraints are spelled out,
so that a migration can name them on every database.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import (
    DDL,
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    event,
    false,
    text,
)

# The migration that makes these tables: of a store that has it, nothing else needs to be known.
HEAD = "0025"
# What `attendance_sealed.hour` counts, in ms.
HOUR_MS = 3_600_000
# Of `attendance_journal`: in so many places each commit writes.
SHARDS = 32

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

# SQLite counts up by itself only in an INTEGER PRIMARY KEY; its integers have 64 bits all the same.
_COUNTED = BigInteger().with_variant(Integer, "sqlite")
# Of a column that was an Integer once: in SQLite it is called so, and has 64 bits.
_LONGER = BigInteger().with_variant(Integer, "sqlite")

tenant = Table(
    "tenant",
    metadata,
    Column("id", _COUNTED, primary_key=True),
    Column("name", String(63), nullable=False),
    Column("display", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("max_rate_bps", BigInteger),
    Column("notice", Text, nullable=False, server_default=text("''")),
    # The version of the purpose text that was accepted, or nothing.
    Column("attendance_purpose", String(16), nullable=False, server_default=text("''")),
    Column("checkpoint_url", Text, nullable=False, server_default=text("''")),
    Column("checkpoint_mail", Text, nullable=False, server_default=text("''")),
    Column("checkpoint_cosigner", Text, nullable=False, server_default=text("''")),
    # Days of its own for which these classes of data are kept; null: those of the node.
    Column("attendance_days", Integer),
    Column("attendance_reports_days", Integer),
    Column("attendance_daily_reports_days", Integer),
    # Numbers of passwords that were taken.
    Column("passwords_made", BigInteger, nullable=False, server_default=text("0")),
    Column("created_at", BigInteger, nullable=False),
    # Since when it is being deleted: nothing of it can be kept any more.
    Column("deleted_at", BigInteger),
    UniqueConstraint("name"),
    sqlite_autoincrement=True,
)

# Rows stay when a stream is removed: traffic and changes name them, and no id ever comes again.
stream = Table(
    "stream",
    metadata,
    Column("id", _COUNTED, primary_key=True),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("name", String(63), nullable=False),
    Column("title", Text, nullable=False),
    Column("sources", JSON, nullable=False),
    Column("format", Text, nullable=False),
    Column("segment_duration_ms", Integer, nullable=False),
    Column("access", Text, nullable=False),
    Column("encryption", Text, nullable=False),
    Column("rotate_every", BigInteger),
    Column("cache", Text, nullable=False),
    Column("pace", Float),
    Column("download", Boolean, nullable=False),
    Column("download_source", Text),
    Column("download_rate_bps", BigInteger),
    Column("origins", JSON, nullable=False),
    Column("embed_origins", JSON, nullable=False),
    Column("max_viewers", BigInteger),
    # Of streams that were there before.
    Column("session_s", Integer, nullable=False, server_default="21600"),
    Column("idle_s", Integer, server_default="14400"),
    Column("max_devices", Integer),
    Column("device_mode", Text, nullable=False, server_default="reject_new"),
    Column("opens_at", BigInteger),
    Column("closes_at", BigInteger),
    # Null in streams that were there before; it stands for an empty list.
    Column("networks", JSON),
    Column("countries", JSON),
    Column("countries_denied", JSON),
    Column("allow_unknown_country", Boolean, nullable=False, server_default=false()),
    Column("embed_lock", Boolean, nullable=False, server_default=false()),
    Column("allow_no_referrer", Boolean, nullable=False, server_default=false()),
    Column("attendance", Boolean, nullable=False, server_default=false()),
    Column("no_skip", Boolean, nullable=False, server_default=false()),
    Column("beacons", Boolean, nullable=False, server_default=false()),
    Column("require_visible", Boolean, nullable=False, server_default=false()),
    Column("own_count", Boolean, nullable=False, server_default=false()),
    Column("check_minutes", Integer),
    Column("created_at", BigInteger, nullable=False),
    Column("removed_at", BigInteger),
    Column("revision", BigInteger, nullable=False),
    # A grant holds the id in 32 bits.
    CheckConstraint("id BETWEEN 1 AND 4294967295", name="id"),
    # Among those that are there, a name is one stream's: in PostgreSQL, too, by its migration. To say so
    # here would have each process load SQLAlchemy's part for PostgreSQL, whatever its database is.
    Index(
        "uq_stream_name",
        "tenant_id",
        "name",
        unique=True,
        sqlite_where=text("removed_at IS NULL"),
    ),
    sqlite_autoincrement=True,
)

# Who did what; of passwords and reports also who saw how many, never what. It only grows: triggers
# refuse everything else, unless `audit_release` has a row that covers what is deleted.
audit = Table(
    "audit",
    metadata,
    Column("id", _COUNTED, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("stream_id", BigInteger, ForeignKey("stream.id")),
    # {what: [before, after]}
    Column("what", JSON, nullable=False),
    Index("ix_audit_tenant_id", "tenant_id", "id"),
    sqlite_autoincrement=True,
)

# What may be deleted of the audit log now: what is older than a time, of a tenant or of all. There is
# a row within the transaction that deletes, and never after it.
audit_release = Table(
    "audit_release",
    metadata,
    Column("id", SmallInteger, primary_key=True),
    Column("tenant_id", BigInteger),
    Column("older_than", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="single"),
)

_RELEASED = (
    "EXISTS (SELECT 1 FROM audit_release AS released WHERE OLD.at < released.older_than"
    " AND (released.tenant_id IS NULL OR released.tenant_id = OLD.tenant_id))"
)
_ONLY_GROWS: dict[str, tuple[str, ...]] = {
    "sqlite": (
        "CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit"
        " BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END",
        f"CREATE TRIGGER audit_is_not_deleted BEFORE DELETE ON audit WHEN NOT {_RELEASED}"
        " BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END",
        # INSERT OR REPLACE deletes without asking the trigger above.
        "CREATE TRIGGER audit_is_not_replaced BEFORE INSERT ON audit"
        " WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)"
        " BEGIN SELECT RAISE(ABORT, 'the audit log only grows'); END",
    ),
    "postgresql": (
        "CREATE FUNCTION audit_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF TG_OP = 'DELETE' THEN IF {_RELEASED} THEN RETURN OLD; END IF; END IF;"
        " RAISE EXCEPTION 'the audit log only grows'; END $$",
        "CREATE TRIGGER audit_only_grows BEFORE UPDATE OR DELETE ON audit"
        " FOR EACH ROW EXECUTE FUNCTION audit_only_grows()",
        "CREATE TRIGGER audit_is_not_emptied BEFORE TRUNCATE ON audit"
        " FOR EACH STATEMENT EXECUTE FUNCTION audit_only_grows()",
    ),
}
for _dialect, _statements in _ONLY_GROWS.items():
    for _statement in _statements:
        _ddl = DDL(_statement)  # type: ignore[no-untyped-call]
        event.listen(audit, "after_create", _ddl.execute_if(dialect=_dialect))

# One row. Whoever writes takes it first, so that no two do at a time.
revision = Table(
    "revision",
    metadata,
    Column("id", SmallInteger, primary_key=True),
    Column("value", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="single"),
)

traffic = Table(
    "traffic",
    metadata,
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), primary_key=True),
    Column("stream_id", BigInteger, ForeignKey("stream.id"), primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("kind", SmallInteger, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("aborted", BigInteger, nullable=False),
)

# What has been added to `traffic` out of each row of a meter, all in all, and when it last grew.
meter_cursor = Table(
    "meter_cursor",
    metadata,
    Column("incarnation", BigInteger, primary_key=True, autoincrement=False),
    Column("requests", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("aborted", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
)

# Its text and label are sealed under a key of its own, which lies in the key store; `sealed_label` is
# that of a row from before both were sealed together. `lookup` is an HMAC of its canonical form under
# the pepper of a generation.
password = Table(
    "password",
    metadata,
    # Made by the application: it stands in what the seal authenticates.
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    # Of its key in the key store.
    Column("reference", LargeBinary(16), nullable=False),
    # In Unix seconds.
    Column("pepper", _LONGER, nullable=False),
    Column("lookup", LargeBinary(32), nullable=False),
    Column("sealed_text", LargeBinary, nullable=False),
    Column("sealed_label", LargeBinary),
    Column("shared", Boolean, nullable=False),
    Column("is_test", Boolean, nullable=False),
    # By the customer's links and tokens: a viewer's opaque name, which nobody types.
    Column("named", Boolean, nullable=False, server_default=false()),
    Column("valid_from", BigInteger),
    Column("valid_until", BigInteger),
    Column("max_devices", Integer),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    # Its place among the tenant's, in the order in which they were made: ids say nothing of that.
    Column("number", BigInteger, nullable=False, server_default=text("0")),
    # Since when it is being erased: nothing of it can be kept any more.
    Column("erased_at", BigInteger),
    UniqueConstraint("tenant_id", "lookup"),
    Index("ix_password_pepper", "pepper"),
    Index("ix_password_number", "tenant_id", "named", "number"),
    Index("ix_password_created_at", "tenant_id", "created_at", "number"),
)

# Which streams a password opens.
admission = Table(
    "admission",
    metadata,
    Column("stream_id", BigInteger, ForeignKey("stream.id"), primary_key=True),
    Column("password_id", BigInteger, ForeignKey("password.id"), primary_key=True),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    # The password's: so those of a stream are listed without looking at all of the tenant.
    Column("number", BigInteger, nullable=False, server_default=text("0")),
    Index("ix_admission_password_id", "password_id"),
    Index("ix_admission_number", "stream_id", "number"),
)

# The ids are random, and gone when the session is. What happened in it is not here.
session = Table(
    "session",
    metadata,
    Column("id", LargeBinary(16), primary_key=True),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("stream_id", BigInteger, ForeignKey("stream.id"), nullable=False),
    Column("password_id", BigInteger, ForeignKey("password.id")),
    # Whom devices are counted for where that is no password: a number that was made of a link.
    Column("holder", BigInteger),
    Column("opened_at", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("idle_s", Integer),
    # Of the notice that was shown before; null where there was none.
    Column("notice", String(16)),
    Column("ended_at", BigInteger),
    Column("end_reason", SmallInteger),
    Index("ix_session_expires", "expires"),
    Index("ix_session_password_id", "password_id"),
)

# How a tenant's links and tokens are checked. What it says is sealed under a key of its own.
verifier = Table(
    "verifier",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    # Null: for all streams of the tenant that have none of their own.
    Column("stream_id", BigInteger, ForeignKey("stream.id")),
    Column("name", String(16), nullable=False),
    Column("kind", Text, nullable=False),
    Column("reference", LargeBinary(16), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    Index("ix_verifier_tenant_id", "tenant_id", "stream_id"),
)

# Tokens that were good for once, for as long as they could be shown again. `token` is a keyed hash.
spent = Table(
    "spent",
    metadata,
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), primary_key=True),
    Column("token", LargeBinary(16), primary_key=True),
    # That it was spent for.
    Column("session", LargeBinary(16), nullable=False),
    Column("expires", BigInteger, nullable=False),
    Index("ix_spent_expires", "expires"),
)

# Sessions of a password or of a stream that are to end. The writer of each node follows.
ending = Table(
    "ending",
    metadata,
    Column("id", _COUNTED, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("password_id", BigInteger, ForeignKey("password.id")),
    Column("stream_id", BigInteger, ForeignKey("stream.id")),
    Column("reason", SmallInteger, nullable=False),
    # Passwords that are deleted look for theirs.
    Index("ix_ending_password_id", "password_id"),
    sqlite_autoincrement=True,
)

# A tenant's own people. `hash` is Argon2id's; the secret of an authenticator is sealed under a key of
# its own in the key store, whose name is `reference`.
person = Table(
    "person",
    metadata,
    # Made by the application: it stands in what the seal authenticates.
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("role", String(32), nullable=False),
    Column("hash", Text, nullable=False),
    # Of one that somebody else has seen: until when it does to change it.
    Column("password_until", BigInteger),
    Column("reference", LargeBinary(16)),
    Column("sealed_totp", LargeBinary),
    # Whether a code is asked for: not before its owner has shown one.
    Column("totp_on", Boolean, nullable=False),
    # The step whose code was used last.
    Column("totp_step", BigInteger, nullable=False),
    # Of a support: until when the tenant lets it in.
    Column("let_in_until", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("tenant_id", "name"),
)

# SHA-256 of codes that take an authenticator's place, each once.
recovery_code = Table(
    "recovery_code",
    metadata,
    Column("person_id", BigInteger, ForeignKey("person.id"), primary_key=True),
    Column("digest", LargeBinary(32), primary_key=True),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
)

# Who is signed in to the console. `digest` is the SHA-256 of what the cookie has.
console_session = Table(
    "console_session",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("person_id", BigInteger, ForeignKey("person.id"), nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Index("ix_console_session_person_id", "person_id"),
)

# What programs come in with. `digest` is the SHA-256 of its text; `used_on` a day since 1970.
token = Table(
    "token",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires", BigInteger),
    Column("used_on", Integer),
    UniqueConstraint("tenant_id", "name"),
    UniqueConstraint("digest"),
)

# Proofs of deletion, in the order in which they follow one another. No name is in them.
proof = Table(
    "proof",
    metadata,
    Column("id", _COUNTED, primary_key=True),
    Column("at", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("document", JSON, nullable=False),
    Column("digest", String(64), nullable=False),
    sqlite_autoincrement=True,
)

# One row, of the key store whose keys this store is sealed with: the name of its root.
key_store = Table(
    "key_store",
    metadata,
    Column("id", SmallInteger, primary_key=True),
    Column("root", String(16), nullable=False),
    CheckConstraint("id = 1", name="single"),
)

# What the API answered to a request that may be sent again. `digest` is of its Idempotency-Key,
# `fingerprint` of the request; both are keyed, and the answer is sealed under a key of its own.
kept_answer = Table(
    "kept_answer",
    metadata,
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), primary_key=True),
    Column("digest", LargeBinary(32), primary_key=True),
    # Of its key in the key store.
    Column("reference", LargeBinary(16), nullable=False),
    Column("fingerprint", LargeBinary(32), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Index("ix_kept_answer_expires", "expires"),
)

# A tenant's attendance log: whatever is in it has a number, from 0 on and without a gap, as long as it
# has this id. `size` is how many there are; `frontier` the end of those that subtrees are made of. Each
# restore begins another one, of the next epoch, with the last size and root known of the one before.
attendance_log = Table(
    "attendance_log",
    metadata,
    Column("id", _COUNTED, primary_key=True),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("begun_at", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False, server_default="1"),
    Column("frontier", LargeBinary),
    Column("previous_size", BigInteger),
    Column("previous_root", LargeBinary(32)),
    Index("ix_attendance_log_tenant_id", "tenant_id"),
    sqlite_autoincrement=True,
)

# The hashes of the log's leaves, 32 bytes each, those of one commit in a row; `first` is the number of
# the first of them. They stay when what they are the hashes of is erased.
attendance_leaf = Table(
    "attendance_leaf",
    metadata,
    Column("log_id", BigInteger, ForeignKey("attendance_log.id"), primary_key=True),
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("hashes", LargeBinary, nullable=False),
)

# What viewers got, until it is sealed. `t` is in ms since 1970, `event` RFC 8785 JSON. The password is
# a number alone: evidence outlasts it. `shard` is what `SHARDS` leaves of that number: as thousands watch,
# a place for each of them would be a page to write for each event, and one place for all of them would have
# each that is sealed or looked at be searched for among the others.
attendance_journal = Table(
    "attendance_journal",
    metadata,
    Column("shard", SmallInteger, primary_key=True, autoincrement=False),
    Column("stream_id", BigInteger, ForeignKey("stream.id"), primary_key=True),
    Column("log_id", BigInteger, ForeignKey("attendance_log.id"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("password_id", BigInteger, nullable=False),
    Column("t", BigInteger, nullable=False),
    Column("salt", LargeBinary(16), nullable=False),
    Column("event", Text, nullable=False),
    sqlite_with_rowid=False,
)


def shard(password_id: int) -> int:
    """Where a password's events are in the journal."""
    return password_id % SHARDS


def in_shards(password_ids: Collection[int] | None = None) -> ColumnElement[bool]:
    """Of the journal: where the events of these passwords are, or anybody's. Said in so many words, an index
    is used for what else is asked."""
    places = range(SHARDS) if password_ids is None else sorted(set(map(shard, password_ids)))
    return attendance_journal.c.shard.in_(places)


# The same, of one password, stream and hour, sealed under a key of its own: lines of JSON, each a number
# in the log, a salt and an event.
attendance_sealed = Table(
    "attendance_sealed",
    metadata,
    # Made by the application: it stands in what the seal authenticates.
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("log_id", BigInteger, ForeignKey("attendance_log.id"), nullable=False),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("stream_id", BigInteger, ForeignKey("stream.id"), nullable=False),
    Column("password_id", BigInteger, nullable=False),
    Column("hour", Integer, nullable=False),
    # The least and the greatest number of its events in the log; before and beyond all of them where nobody
    # knew it.
    Column("first", BigInteger, nullable=False, server_default=text("0")),
    Column("last", BigInteger, nullable=False, server_default=text("9007199254740992")),
    Column("reference", LargeBinary(16), nullable=False),
    Column("sealed_events", LargeBinary, nullable=False),
    Index("ix_attendance_sealed_stream_id", "stream_id", "hour"),
    Index("ix_attendance_sealed_password_id", "password_id"),
)

# What befell the node while it recorded: outages and steps of the clock, of no viewer.
attendance_incident = Table(
    "attendance_incident",
    metadata,
    Column("log_id", BigInteger, ForeignKey("attendance_log.id"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("t", BigInteger, nullable=False),
    Column("salt", LargeBinary(16), nullable=False),
    Column("event", Text, nullable=False),
)

# What a tenant's log is signed with, Ed25519; the newest one counts.
attendance_key = Table(
    "attendance_key",
    metadata,
    # Made by the application: it stands in what the seal authenticates.
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("public", LargeBinary(32), nullable=False),
    # Of its key in the key store.
    Column("reference", LargeBinary(16), nullable=False),
    Column("sealed_seed", LargeBinary, nullable=False),
    Column("made_at", BigInteger, nullable=False),
    Index("ix_attendance_key_tenant_id", "tenant_id", "made_at"),
)

# Roots of a log's complete subtrees of 256 leaves (level 1), 65,536 (level 2), ..., from left to right.
attendance_subtree = Table(
    "attendance_subtree",
    metadata,
    Column("log_id", BigInteger, ForeignKey("attendance_log.id"), primary_key=True),
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
)

# What was signed of a log, as a note, and who has cosigned it. Neither ever changes.
attendance_checkpoint = Table(
    "attendance_checkpoint",
    metadata,
    Column("id", _COUNTED, primary_key=True),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("log_id", BigInteger, ForeignKey("attendance_log.id"), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("note", Text, nullable=False),
    Index("ix_attendance_checkpoint_tenant_id", "tenant_id", "id"),
    Index("ix_attendance_checkpoint_log_id", "log_id", "id"),
    sqlite_autoincrement=True,
)

# `signer`: a key as text, with its name and kind; `line`: what it adds to the note.
attendance_cosignature = Table(
    "attendance_cosignature",
    metadata,
    Column("checkpoint_id", BigInteger, ForeignKey("attendance_checkpoint.id"), primary_key=True),
    Column("signer", Text, primary_key=True),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("line", Text, nullable=False),
)

# Which checkpoints have reached the tenant's site, and when.
attendance_delivery = Table(
    "attendance_delivery",
    metadata,
    Column("checkpoint_id", BigInteger, ForeignKey("attendance_checkpoint.id"), primary_key=True),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("at", BigInteger, nullable=False),
)

# Which ones the operator's mail server has taken for the tenant, and when.
attendance_mailed = Table(
    "attendance_mailed",
    metadata,
    Column("checkpoint_id", BigInteger, ForeignKey("attendance_checkpoint.id"), primary_key=True),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("at", BigInteger, nullable=False),
)

# What a time stamping authority has said of a checkpoint: its answer (RFC 3161), and the time in it.
attendance_timestamp = Table(
    "attendance_timestamp",
    metadata,
    Column("checkpoint_id", BigInteger, ForeignKey("attendance_checkpoint.id"), primary_key=True),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("answer", LargeBinary, nullable=False),
)

# Attacks, as the node has noticed them: no tenant's. `reference` names the key of what is sealed of them; a
# hold is one when it has a second person.
incident = Table(
    "incident",
    metadata,
    Column("id", _COUNTED, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("rule", Text, nullable=False),
    Column("scope", String(16), nullable=False),
    Column("dry_run", Boolean, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False),
    Column("closed_at", BigInteger),
    Column("shredded_at", BigInteger),
    Column("reference", LargeBinary(16), nullable=False),
    Column("sources", BigInteger, nullable=False),
    Column("events", BigInteger, nullable=False),
    Column("left_out", BigInteger, nullable=False),
    Column("hold_until", BigInteger),
    Column("hold_reason", Text),
    Column("hold_by", Text),
    Column("hold_second", Text),
    Column("asked_until", BigInteger),
    Column("asked_reason", Text),
    Column("asked_by", Text),
    sqlite_autoincrement=True,
)

# What the sources of an incident did, in batches: `digest` is SHA-256 of what is sealed, which names the
# digest of the batch before.
incident_event = Table(
    "incident_event",
    metadata,
    Column("incident_id", BigInteger, ForeignKey("incident.id"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("sealed_events", LargeBinary, nullable=False),
)

# Who has had an incident in hand, each entry with the hash of the one before in its own.
incident_custody = Table(
    "incident_custody",
    metadata,
    Column("incident_id", BigInteger, ForeignKey("incident.id"), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", String(32), nullable=False),
    Column("detail", Text, nullable=False),
    Column("digest", String(64), nullable=False),
)

_STAYS = {
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
for _signed in (
    *(attendance_checkpoint, attendance_cosignature, attendance_timestamp),
    *(incident_event, incident_custody),
):
    for _dialect, _kept in _STAYS.items():
        for _statement in _kept:
            _ddl = DDL(_statement.format(_signed.name))  # type: ignore[no-untyped-call]
            event.listen(_signed, "after_create", _ddl.execute_if(dialect=_dialect))

# Segments of which parts were delivered, as long as these are not all of it. `of` is what they are parts of,
# `t` the instant of the last one, `spans` their bytes: pairs of first and end, 64 bits each.
attendance_part = Table(
    "attendance_part",
    metadata,
    Column("session", LargeBinary(16), primary_key=True),
    Column("of", LargeBinary(16), primary_key=True),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("password_id", BigInteger, nullable=False),
    Column("t", BigInteger, nullable=False),
    Column("spans", LargeBinary, nullable=False),
    Index("ix_attendance_part_password_id", "password_id"),
)

# What `attendance-v1` has made of a password's events on some streams, up to a number in the log, so that
# only new ones need be looked at; sealed with the password's key. `options` is a digest of which and how,
# `t` the instant of the newest event.
attendance_fold = Table(
    "attendance_fold",
    metadata,
    Column("password_id", BigInteger, primary_key=True, autoincrement=False),
    Column("options", LargeBinary(16), primary_key=True),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("log_id", BigInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("t", BigInteger, nullable=False),
    Column("state", LargeBinary, nullable=False),
)

# How far each worker's deliveries are stored: the number of its last batch, and until when (ms since
# 1970) all of what it had to tell is there. `over`: it has said that nothing more comes, or was given up;
# the row stays for a while, in case that a batch comes once more. `latest`: the greatest instant that its
# anchor had come to before that went back.
attendance_cursor = Table(
    "attendance_cursor",
    metadata,
    Column("worker", BigInteger, primary_key=True, autoincrement=False),
    Column("batch", BigInteger, nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("over", Boolean, nullable=False),
    Column("latest", BigInteger, nullable=False, server_default=text("0")),
)

# How each node has recorded attendance, by day (UTC, since 1970): what stands in front of it, whether its
# clock was synchronised all the time, and the most that it may have been wrong by. A node is a hash of its
# host's name; rows stay, as they are of no tenant and no viewer.
attendance_node = Table(
    "attendance_node",
    metadata,
    Column("node", LargeBinary(16), primary_key=True),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("proxy", String(16), nullable=False),
    Column("is_synchronised", Boolean, nullable=False),
    Column("clock_error_ms", BigInteger, nullable=False),
)

# What is attended: a programme over several streams and days. Windows and breaks are [[from, to], ...] in
# ms since 1970, `timezone` is the one that they were written in.
attendance_event = Table(
    "attendance_event",
    metadata,
    Column("id", _COUNTED, primary_key=True),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("name", String(63), nullable=False),
    Column("title", Text, nullable=False),
    Column("vnr", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("windows", JSON, nullable=False),
    Column("breaks", JSON, nullable=False),
    Column("rounding", String(16), nullable=False),
    Column("threshold_pct", Integer),
    Column("least_minutes", Integer),
    Column("seal_after_s", Integer, nullable=False),
    Column("lookahead_s", Integer),
    Column("bridge_ms", Integer),
    Column("credit_outage", Boolean, nullable=False, server_default=false()),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("tenant_id", "name"),
    sqlite_autoincrement=True,
)

# Which streams an event is over.
attendance_event_stream = Table(
    "attendance_event_stream",
    metadata,
    Column("event_id", BigInteger, ForeignKey("attendance_event.id"), primary_key=True),
    Column("stream_id", BigInteger, ForeignKey("stream.id"), primary_key=True),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Index("ix_attendance_event_stream_stream_id", "stream_id"),
)

# Sealed reports, each version as it was signed but for the passwords' names, itself sealed under a key of its
# own. `subject` says what of: an event, or a day of a stream. Triggers refuse to change one.
attendance_report = Table(
    "attendance_report",
    metadata,
    # Made by the application: it stands in what the seal authenticates.
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("subject", String(64), nullable=False),
    Column("event_id", BigInteger, ForeignKey("attendance_event.id")),
    Column("stream_id", BigInteger, ForeignKey("stream.id")),
    Column("version", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    # SHA-256 of the document, in hexadecimal.
    Column("digest", String(64), nullable=False),
    Column("made_at", BigInteger, nullable=False),
    Column("reference", LargeBinary(16), nullable=False),
    Column("sealed_document", LargeBinary, nullable=False),
    # Whether nobody had asked for it.
    Column("by_itself", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("subject", "version"),
    Index("ix_attendance_report_event_id", "event_id"),
    Index("ix_attendance_report_stream_id", "stream_id"),
)

# What a sealed report calls a password: its text and label of then, sealed under the password's own key, so
# that who erases it erases this.
attendance_report_name = Table(
    "attendance_report_name",
    metadata,
    # Made by the application: it stands in what the seal authenticates.
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("report_id", BigInteger, ForeignKey("attendance_report.id"), nullable=False),
    Column("password_id", BigInteger, nullable=False),
    Column("reference", LargeBinary(16), nullable=False),
    Column("sealed_name", LargeBinary, nullable=False),
    Index("ix_attendance_report_name_report_id", "report_id"),
    Index("ix_attendance_report_name_password_id", "password_id"),
)

# Which sealed reports are kept as they are until a time, whatever else is to be deleted, and why.
attendance_hold = Table(
    "attendance_hold",
    metadata,
    Column("subject", String(64), primary_key=True),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("until", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("made_at", BigInteger, nullable=False),
)

_NEVER_CHANGED: dict[str, tuple[str, ...]] = {
    "sqlite": (
        "CREATE TRIGGER attendance_report_is_not_changed BEFORE UPDATE ON attendance_report"
        " BEGIN SELECT RAISE(ABORT, 'a sealed report is never changed'); END",
        # INSERT OR REPLACE is no update.
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
for _dialect, _statements in _NEVER_CHANGED.items():
    for _statement in _statements:
        _ddl = DDL(_statement)  # type: ignore[no-untyped-call]
        event.listen(attendance_report, "after_create", _ddl.execute_if(dialect=_dialect))

# Passwords whose data is kept, and not used, since when and why.
restriction = Table(
    "restriction",
    metadata,
    Column("password_id", BigInteger, ForeignKey("password.id"), primary_key=True),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("reason", Text, nullable=False),
    Column("made_at", BigInteger, nullable=False),
)

# How far each password has come in a film that cannot be skipped ahead, as `pystream.acl.reach` has it.
attendance_reach = Table(
    "attendance_reach",
    metadata,
    Column("stream_id", BigInteger, ForeignKey("stream.id"), primary_key=True),
    Column("password_id", BigInteger, ForeignKey("password.id"), primary_key=True),
    Column("tenant_id", BigInteger, ForeignKey("tenant.id"), nullable=False),
    Column("media_ms", BigInteger, nullable=False),
    Column("played_at", BigInteger, nullable=False),
    Index("ix_attendance_reach_password_id", "password_id"),
    Index("ix_attendance_reach_played_at", "played_at"),
)
