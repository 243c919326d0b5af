"""What is signed of attendance, and what leaves the house with it: checkpoints, receipts and exports.

**A key.** Each tenant's logs are signed with a key of its own (Ed25519), which is sealed as all else that is
erased by itself: whoever deletes a tenant destroys it, and the public one goes into the tenant's export.

**A checkpoint** says how many leaves a log had, and what root. Subtrees are made of those that are new since
the one before, some thousand in a transaction, so that whoever stores evidence does not wait; the last of
these signs. A log is signed only if it begins with what was signed of it before: whatever has become of the
database, the house does not sign two pasts.

**A restore** brings an earlier log back, which would grow otherwise than the one that the tenant has
checkpoints of. So it begins another log, of the next epoch, whose checkpoints name the last size and root
that are known of the one before; its first leaf is the event that evidence may be missing. Before that all is
signed that is there of the earlier log, unless that is another one than the house has signed, or somebody has
a checkpoint of: then no more of it is, and its successor names what was signed.

Receipts and exports are computed from the store as it is, and signed for the newest checkpoint.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush, merge
from typing import Any, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Table,
    func,
    insert,
    select,
    update,
)

from pystream._core import Evidence, Frontier
from pystream.acl.audit import check_who
from pystream.acl.sealing import Place, seal, unseal
from pystream.acl.store import tables
from pystream.acl.store.attending import Log
from pystream.acl.store.audit import record
from pystream.acl.store.database import Database, take_turn
from pystream.acl.store.keystore import KeyStore
from pystream.acl.store.opened import opened
from pystream.acl.store.restricting import is_restricted
from pystream.acl.streams import Stream, Tenant
from pystream.attendance import documents, evidence, notes
from pystream.attendance.checkpoint import Checkpoint, Clock
from pystream.attendance.documents import Leaf, Scope
from pystream.attendance.notes import SigningKey, VerifierKey
from pystream.attendance.options import Options
from pystream.attendance.tiles import HASH, WIDTH, Tiles, tops
from pystream.errors import InvalidValue, NotFound, NotProven, Said, StoreError

DAY_S = 86_400
# Leaves that subtrees are made of in one transaction, and sealed rows whose keys are asked for at once.
_FOLDED_AT_ONCE = 1 << 16
# Of passwords and hours.
_OPENED_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint of a tenant's log. `at` is in Unix seconds; `note` has all signatures, and `bare` that of
    the log alone; `stamped_at` is the time in a time stamp of the latter."""

    id: int
    tenant_id: int
    log_id: int
    epoch: int
    size: int
    root: bytes
    at: int
    note: str
    bare: str
    cosigners: tuple[VerifierKey, ...]
    stamped_at: int | None


Root: TypeAlias = tuple[int, int, bytes]
_Held: TypeAlias = tuple[int, bytes, str]
"""An epoch, a size of its log, and its root then."""


@dataclass(frozen=True, slots=True)
class Head:
    """How far a log is: its epoch and size, and what was signed last."""

    epoch: int
    size: int
    signed: Root | None


class Notary:
    """The part of two opened stores that signs what is known of attendance. Methods raise `StoreError`,
    `SealError` and `MasterKeyError` as the stores do."""

    def __init__(self, database: Database, keys: KeyStore) -> None:
        self._database = database
        self._keys = keys

    # Keys

    def ensure_key(self, tenant_id: int, now: int) -> VerifierKey:
        """What a tenant's logs are verified with; it is made with the first call. Raises `NotFound` for a
        tenant that is none."""
        with self._database.reading() as connection:
            found = _newest_key(connection, tenant_id)
        return _verifier(found) if found is not None else self._make_key(tenant_id, now)

    def _make_key(self, tenant_id: int, now: int, *, anew: bool = False) -> VerifierKey:
        (sealing,) = self._keys.add_record_keys(tenant_id, 1, now)
        is_used = False
        try:
            with self._database.writing() as connection:
                take_turn(connection)
                # Another node may have been here.
                found = None if anew else _newest_key(connection, tenant_id)
                if found is not None:
                    return _verifier(found)
                wanted = select(tables.tenant.c.name).where(tables.tenant.c.id == tenant_id)
                name = connection.scalar(wanted)
                if name is None:
                    raise NotFound("there is no such tenant")
                key = SigningKey.generate(f"{name}/attendance")
                id = secrets.randbelow(2**63 - 1) + 1
                row = {
                    "id": id,
                    "tenant_id": tenant_id,
                    "name": key.name,
                    "public": key.verifier.public,
                    "reference": sealing.reference,
                    "sealed_seed": seal(sealing.key, _place(tenant_id, id), key.seed),
                    "made_at": now,
                }
                connection.execute(insert(tables.attendance_key).values(row))
                is_used = True
                return key.verifier
        finally:
            if not is_used:
                self._keys.erase(tenant_id, [sealing.reference], now)

    def public_key(self, tenant: Tenant, now: int) -> VerifierKey:
        """The same for whoever asks for it. Raises `NotFound` where nothing is recorded of that tenant."""
        if not tenant.settings.attendance_purpose and not self.checkpoints(tenant.id):
            text = (
                f"{tenant.name} has not accepted yet what attendance is recorded for (pystream attendance"
                " purpose), so there is no key"
            )
            raise NotFound(Said("no-purpose", text))
        return self.ensure_key(tenant.id, now)

    def signing_key(self, tenant_id: int) -> SigningKey:
        """What a tenant's logs and documents are signed with. Raises `NotFound` where there is none, or
        none any more."""
        with self._database.reading() as connection:
            row = _newest_key(connection, tenant_id)
        if row is None:
            text = "nothing was recorded yet of attendance: there is no key to sign it with"
            raise NotFound(Said("nothing-recorded", text))
        reference = row["reference"]
        key = self._keys.record_keys(tenant_id, [reference]).get(reference)
        if key is None:
            text = (
                "the key is lost that the log of attendance was signed with: begin a new epoch (pystream"
                " attendance restored)"
            )
            raise NotFound(Said("key-lost", text))
        return SigningKey(
            row["name"], unseal(key, _place(tenant_id, row["id"]), row["sealed_seed"])
        )

    # Checkpoints

    def due(self, now: int) -> list[int]:
        """The tenants whose log has no key yet, or no checkpoint, or has grown since one that is a day
        old."""
        log, newest = tables.attendance_log.c, _newest_checkpoints().subquery()
        key = select(tables.attendance_key.c.id).where(
            tables.attendance_key.c.tenant_id == log.tenant_id
        )
        is_due = (
            ~key.exists()
            | newest.c.log_id.is_(None)
            | ((newest.c.size < log.size) & (newest.c.at <= now - DAY_S))
        )
        wanted = (
            select(log.tenant_id)
            .outerjoin(newest, newest.c.log_id == log.id)
            .where(log.id.in_(_newest_logs()), is_due)
        )
        with self._database.reading() as connection:
            return sorted(connection.scalars(wanted))

    def checkpoint(self, tenant_id: int, clock: Clock, now: int) -> Signed:
        """The newest of a tenant's log, over all that it has now: it is made where there is none. Raises
        `NotFound` where nothing was recorded yet."""
        return self._checkpoint(tenant_id, clock, now, None)

    def _checkpoint(
        self, tenant_id: int, clock: Clock, now: int, known: Checkpoint | None
    ) -> Signed:
        """The same of a log that begins with what is `known` of it."""
        key = self.signing_key(tenant_id)
        while True:
            with self._database.writing() as connection:
                take_turn(connection)
                made = _signed(connection, tenant_id, key, clock, now, known)
            if made is not None:
                return made

    def checkpoints(self, tenant_id: int) -> tuple[Signed, ...]:
        """All of a tenant's, the newest first."""
        with self._database.reading() as connection:
            return _checkpoints(connection, tenant_id)

    def undelivered(self) -> list[tuple[str, Signed]]:
        """The newest checkpoint of each tenant who wants them sent, by the tenant's name, if it was not."""
        return self._newest_without(
            tables.attendance_delivery, tables.tenant.c.checkpoint_url != ""
        )

    def unmailed(self) -> list[tuple[str, Signed]]:
        """The newest checkpoint of each tenant who wants them by mail, by the tenant's name, if it was not
        sent."""
        return self._newest_without(tables.attendance_mailed, tables.tenant.c.checkpoint_mail != "")

    def unstamped(self) -> list[tuple[str, Signed]]:
        """The newest checkpoint of each tenant, by the tenant's name, if it has no time stamp."""
        return self._newest_without(tables.attendance_timestamp)

    def _newest_without(
        self, table: Table, *where: ColumnElement[bool]
    ) -> list[tuple[str, Signed]]:
        tenant, checkpoint = tables.tenant.c, tables.attendance_checkpoint.c
        newest = select(func.max(checkpoint.id)).group_by(checkpoint.tenant_id)
        wanted = (
            select(tenant.name, tenant.id, checkpoint.log_id)
            .join(tables.tenant, tenant.id == checkpoint.tenant_id)
            .where(checkpoint.id.in_(newest), checkpoint.id.not_in(select(table.c.checkpoint_id)))
            .where(*where)
            .order_by(tenant.name)
        )
        with self._database.reading() as connection:
            return [
                (row.name, _checkpoints(connection, row.id, row.log_id)[0])
                for row in connection.execute(wanted).all()
            ]

    def delivered(self, tenant_id: int, checkpoint_id: int, now: int) -> None:
        """A tenant's site has taken a checkpoint. Raises `NotFound` for one of another tenant."""
        self._add(tables.attendance_delivery, tenant_id, checkpoint_id, {"at": now})

    def mailed(self, tenant_id: int, checkpoint_id: int, now: int) -> None:
        """The mail server has taken a checkpoint. Raises `NotFound` as `delivered` does."""
        self._add(tables.attendance_mailed, tenant_id, checkpoint_id, {"at": now})

    def stamped(self, tenant_id: int, checkpoint_id: int, at: int, answer: bytes) -> None:
        """An authority has answered, with that time in it. Raises `NotFound` as `delivered` does."""
        what = {"at": at, "answer": answer}
        self._add(tables.attendance_timestamp, tenant_id, checkpoint_id, what)

    def _add(
        self, table: Table, tenant_id: int, checkpoint_id: int, what: Mapping[str, Any]
    ) -> None:
        checkpoint = tables.attendance_checkpoint.c
        with self._database.writing() as connection:
            take_turn(connection)
            of_tenant = checkpoint.id == checkpoint_id, checkpoint.tenant_id == tenant_id
            if connection.scalar(select(checkpoint.id).where(*of_tenant)) is None:
                raise NotFound("there is no such checkpoint")
            row = {"checkpoint_id": checkpoint_id, "tenant_id": tenant_id, **what}
            # Another node may have been first.
            there = table.c.checkpoint_id == checkpoint_id
            if connection.scalar(select(table.c.at).where(there)) is None:
                connection.execute(insert(table).values(row))

    def timestamp(self, tenant_id: int) -> tuple[str, bytes]:
        """The newest checkpoint that an authority has stamped, as the log signed it, and the answer. Raises
        `NotFound` where there is none."""
        checkpoint, stamp = tables.attendance_checkpoint.c, tables.attendance_timestamp.c
        wanted = (
            select(checkpoint.note, stamp.answer)
            .join(tables.attendance_timestamp, stamp.checkpoint_id == checkpoint.id)
            .where(checkpoint.tenant_id == tenant_id)
            .order_by(checkpoint.id.desc())
        )
        with self._database.reading() as connection:
            found = connection.execute(wanted.limit(1)).one_or_none()
        if found is None:
            text = "no checkpoint has a time stamp (the setting attendance.timestamp_url)"
            raise NotFound(Said("no-stamp", text))
        return found.note, found.answer

    def cosign(self, tenant: Tenant, note: str, now: int) -> Signed:
        """Keeps what the tenant's cosigner has put below a checkpoint; returns that with it.

        Raises `InvalidValue` where the tenant has no cosigner, `NotFound` for a checkpoint that is none of
        the tenant's, `MalformedDocument` and `NotProven` where its cosigner has not signed it.
        """
        if not tenant.settings.checkpoint_cosigner:
            text = f"{tenant.name} has no cosigner yet (pystream tenant set --checkpoint-cosigner)"
            raise InvalidValue(Said("no-cosigner", text))
        cosigner = VerifierKey.parse(tenant.settings.checkpoint_cosigner)
        text, signers = notes.check(note, [cosigner])
        if not signers:
            raise NotProven(f"{cosigner.name} has not cosigned this")
        _, signatures = notes.parse(note)
        (line, *_) = (
            each.line for each in signatures if (each.name, each.id) == (cosigner.name, cosigner.id)
        )
        with self._database.writing() as connection:
            take_turn(connection)
            known = {
                notes.parse(each.note)[0]: each for each in _checkpoints(connection, tenant.id)
            }
            if text not in known:
                text = f"this is no checkpoint of {tenant.name}'s log"
                raise NotFound(Said("no-checkpoint", text))
            of = known[text]
            # The first word of a cosigner stands.
            if cosigner not in of.cosigners:
                row = {
                    "checkpoint_id": of.id,
                    "signer": str(cosigner),
                    "tenant_id": tenant.id,
                    "at": signers[0].seconds,
                    "line": line,
                }
                connection.execute(insert(tables.attendance_cosignature).values(row))
            return next(e for e in _checkpoints(connection, tenant.id) if e.id == of.id)

    def begin_epoch(
        self, tenant_id: int, clock: Clock, now: int, known: Checkpoint | None = None, *, who: str
    ) -> Signed:
        """After a restore: another log, and the first checkpoint of it. `known` is the last one that
        somebody has of the log before, where that knows more than the store, in which there may be no log
        any more. Raises `NotFound` where nothing was recorded."""
        check_who(who)
        last: Root = 0, 0, b""
        before, there = None, self.heads([tenant_id])[tenant_id].epoch
        is_another = False
        if known is None or there:
            try:
                before = self._last_of(tenant_id, clock, now, known)
            except _Forked:
                is_another = True
                before = next(iter(self.checkpoints(tenant_id)), None)
            if before is not None:
                last = before.epoch, before.size, before.root
        # Of epochs that the store has forgotten none comes again.
        if known is not None and (is_another or (known.epoch, known.size) > last[:2]):
            last = known.epoch, known.size, known.root
        epoch, size, root = last
        with self._database.writing() as connection:
            take_turn(connection)
            row = {
                "tenant_id": tenant_id,
                "size": 0,
                "begun_at": now,
                "epoch": max(epoch, there) + 1,
                "previous_size": size,
                "previous_root": root,
            }
            since = _last_known(
                connection, tenant_id, before.log_id if before is not None else None, now
            )
            connection.execute(insert(tables.attendance_log).values(row))
            log = Log.of(connection, tenant_id, now)
            until = max(now * 1000, since + 1)
            log.add_incidents([(since, evidence.restore(since, until))])
            log.finish()
            record(connection, tenant_id, who, now, {"attendance_restored": (None, row["epoch"])})
        return self.checkpoint(tenant_id, clock, now)

    def _last_of(self, tenant_id: int, clock: Clock, now: int, known: Checkpoint | None) -> Signed:
        """A checkpoint over all that is there of the log that a restore has brought back. Where its key
        is not there any more, it is signed with a new one. Raises `_Forked`."""
        try:
            return self._checkpoint(tenant_id, clock, now, known)
        except NotFound:
            with self._database.reading() as connection:
                if _newest_key(connection, tenant_id) is None:
                    raise
            self._make_key(tenant_id, now, anew=True)
            return self._checkpoint(tenant_id, clock, now, known)

    def heads(self, also: Collection[int] = ()) -> dict[int, Head]:
        """How far each tenant's log is, by the tenant's number; and that of those who are named `also`, if
        they are tenants: of epoch 0, where there is none."""
        log, checkpoint = tables.attendance_log.c, tables.attendance_checkpoint.c
        newest = select(func.max(checkpoint.id)).group_by(checkpoint.tenant_id)
        logs = select(log.tenant_id, log.epoch, log.size).where(log.id.in_(_newest_logs()))
        signed = _roots().where(checkpoint.id.in_(newest))
        named = select(tables.tenant.c.id).where(tables.tenant.c.id.in_(sorted(also)))
        with self._database.reading() as connection:
            none = dict.fromkeys(connection.scalars(named) if also else (), Head(0, 0, None))
            last = {
                tenant_id: (epoch, size, root)
                for tenant_id, epoch, size, root in connection.execute(signed).all()
            }
            return none | {
                row.tenant_id: Head(row.epoch, row.size, last.get(row.tenant_id))
                for row in connection.execute(logs)
            }

    def has_signed(self, tenant_id: int, root: Root) -> bool:
        """Whether the store has a tenant's checkpoint of that epoch, size and root."""
        of_tenant = tables.attendance_checkpoint.c.tenant_id == tenant_id
        with self._database.reading() as connection:
            found = connection.execute(_roots().where(of_tenant)).all()
        return root in {(epoch, size, root) for _, epoch, size, root in found}

    # What leaves the house

    def signed_over(self, tenant_id: int, epoch: int | None, clock: Clock, now: int) -> Signed:
        """A checkpoint over all of a log: of now, or of one of an earlier epoch the last. Raises `NotFound`
        as `checkpoint` does, and where there is no such epoch."""
        newest = self.checkpoint(tenant_id, clock, now)
        if epoch is None or epoch == newest.epoch:
            return newest
        found = [each for each in self.checkpoints(tenant_id) if each.epoch == epoch]
        if not found:
            raise NotFound(
                f"there is no epoch {epoch} of this log; it is in its epoch {newest.epoch}"
            )
        return found[0]

    def export(self, signed: Signed) -> Iterator[bytes]:
        """The lines of a log, whole, up to a checkpoint of it."""
        return documents.export(signed.note, self._leaves(signed))

    def receipt(
        self,
        stream: Stream,
        password_id: int,
        options: Options,
        scope: Scope,
        clock: Clock,
        now: int,
    ) -> bytes:
        """What is known of how long a password has watched a stream, with proof. Raises `NotFound` where
        nothing is."""
        signed = self.checkpoint(stream.tenant_id, clock, now)
        key = str(password_id)
        streams = frozenset(scope.streams or ())
        everything, held, is_seen = Evidence(), [], False
        for place, salt, event in self._held(signed, stream.id, password_id):
            spelt = event.encode()
            if everything.select(spelt, key, streams, scope.begin, scope.end):
                held.append((place, Leaf(b"", salt, spelt)))
                is_seen = is_seen or '"key":' in event
        if not is_seen:
            text = (
                f"nothing is known of what password {password_id} has watched of"
                f" {stream.tenant}/{stream.name} then, or not any more"
            )
            raise NotFound(Said("no-receipt", text))
        ledger = options.ledger()
        ledger.take(everything)
        rows = [row for row in ledger.rows() if scope.has(row)]
        with self._database.reading() as connection:
            return documents.receipt(
                key,
                held,
                _tiles(connection, signed.log_id, signed.size),
                rows,
                options,
                scope,
                signed.note,
                self.signing_key(stream.tenant_id),
            )

    def _leaves(self, signed: Signed) -> Iterator[Leaf]:
        held = self._held(signed)
        there = next(held, None)
        for first in range(0, signed.size, _FOLDED_AT_ONCE):
            last = min(first + _FOLDED_AT_ONCE, signed.size)
            with self._database.reading() as connection:
                hashes = _hashes(connection, signed.log_id, 0, first, last)
            for number in range(first, last):
                at = (number - first) * HASH
                leaf = Leaf(hashes[at : at + HASH], None, None)
                if there is not None and there[0] == number:
                    leaf = leaf._replace(salt=there[1], event=there[2].encode())
                    there = next(held, None)
                yield leaf

    def _held(
        self, signed: Signed, stream_id: int | None = None, password_id: int | None = None
    ) -> Iterator[_Held]:
        """Places, salts and events below a checkpoint that are neither erased nor expired, in their order:
        all that is not restricted, or of one viewer and of nobody."""
        journal, sealed, incident = (
            tables.attendance_journal,
            tables.attendance_sealed,
            tables.attendance_incident,
        )

        def below(table: Table) -> Select[int, bytes, str]:
            column = table.c
            wanted = select(column.number, column.salt, column.event)
            return wanted.where(column.log_id == signed.log_id, column.number < signed.size)

        open_ = below(journal)
        closed = select(sealed.c.id, sealed.c.first)
        closed = closed.where(sealed.c.log_id == signed.log_id, sealed.c.first < signed.size)
        if stream_id is not None and password_id is not None:
            open_ = open_.where(tables.in_shards([password_id]))
            of_stream = journal.c.stream_id == stream_id, sealed.c.stream_id == stream_id
            of_password = journal.c.password_id == password_id, sealed.c.password_id == password_id
            open_ = open_.where(of_stream[0], of_password[0])
            closed = closed.where(of_stream[1], of_password[1])
        else:
            open_ = open_.where(~is_restricted(journal.c.password_id))
            closed = closed.where(~is_restricted(sealed.c.password_id))
        # What is sealed from here on is seen as it was, and of what is sealed already the names suffice: it
        # is read when its turn has come, and may be erased by then.
        with self._database.reading() as connection:
            befell = connection.execute(below(incident).order_by(incident.c.number)).all()
            rows = connection.execute(open_.order_by(journal.c.number)).all()
            places = connection.execute(closed.order_by(sealed.c.first, sealed.c.id)).all()
        yield from merge(
            ((row.number, row.salt, row.event) for row in befell),
            ((row.number, row.salt, row.event) for row in rows),
            self._unsealed(signed, [(row.id, row.first) for row in places]),
        )

    def _unsealed(self, signed: Signed, places: Sequence[tuple[int, int]]) -> Iterator[_Held]:
        """What is sealed in some places, each with the first number that is in it, ascending: opened are
        those alone that overlap."""
        waiting: list[tuple[int, int, _Held, Iterator[_Held]]] = []

        def push(id: int, lines: Iterator[_Held]) -> None:
            line = next(lines, None)
            if line is not None and line[0] < signed.size:
                heappush(waiting, (line[0], id, line, lines))

        def until(number: int) -> Iterator[_Held]:
            while waiting and waiting[0][0] < number:
                _, id, line, lines = heappop(waiting)
                yield line
                push(id, lines)

        for begin in range(0, len(places), _OPENED_AT_ONCE):
            page = places[begin : begin + _OPENED_AT_ONCE]
            yield from until(page[0][1])
            for id, text in self._texts(signed.tenant_id, [id for id, _ in page]):
                push(id, evidence.unpacked(text))
        yield from until(signed.size)

    def _texts(self, tenant_id: int, ids: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """Of those that are not erased."""
        sealed = tables.attendance_sealed.c
        wanted = select(sealed.id, sealed.reference, sealed.sealed_events)
        with self._database.reading() as connection:
            rows = connection.execute(wanted.where(sealed.id.in_(ids))).all()
        yield from ((row.id, text) for row, text in opened(self._keys, tenant_id, rows))


# Keys


def _newest_key(connection: Connection, tenant_id: int) -> RowMapping | None:
    key = tables.attendance_key
    wanted = select(key).where(key.c.tenant_id == tenant_id)
    newest = wanted.order_by(key.c.made_at.desc(), key.c.id).limit(1)
    return connection.execute(newest).mappings().one_or_none()


def _verifier(row: RowMapping) -> VerifierKey:
    return VerifierKey(row["name"], row["public"])


def _place(tenant_id: int, id: int) -> Place:
    return Place(tenant_id, "attendance_key", id, "seed")


# Checkpoints


def _newest_logs() -> Select[int]:
    log = tables.attendance_log.c
    return select(func.max(log.id)).group_by(log.tenant_id)


def _newest_checkpoints() -> Select[int, int, int]:
    """Of each log."""
    checkpoint = tables.attendance_checkpoint.c
    newest = select(func.max(checkpoint.id)).group_by(checkpoint.log_id)
    return select(checkpoint.log_id, checkpoint.size, checkpoint.at).where(
        checkpoint.id.in_(newest)
    )


def _roots() -> Select[int, int, int, bytes]:
    """What was signed, each behind its tenant."""
    log, checkpoint = tables.attendance_log.c, tables.attendance_checkpoint.c
    return select(checkpoint.tenant_id, log.epoch, checkpoint.size, checkpoint.root).join(
        tables.attendance_log, log.id == checkpoint.log_id
    )


class _Forked(StoreError):
    """A log does not begin with what is known of it."""


def _signed(
    connection: Connection,
    tenant_id: int,
    key: SigningKey,
    clock: Clock,
    now: int,
    known: Checkpoint | None,
) -> Signed | None:
    """None where there are more leaves that subtrees are to be made of. Raises `_Forked`."""
    table = tables.attendance_log
    wanted = select(table).where(table.c.tenant_id == tenant_id).order_by(table.c.id.desc())
    log = connection.execute(wanted.limit(1)).mappings().one_or_none()
    if log is None:
        text = "nothing was recorded yet of attendance"
        raise NotFound(Said("nothing-recorded", text))
    last = next(iter(_checkpoints(connection, tenant_id, log["id"])), None)
    is_comparable = (
        known is not None and known.epoch == log["epoch"] and 0 < known.size <= log["size"]
    )
    if last is not None and last.size == log["size"] and not is_comparable:
        return last
    frontier = _folded(connection, log)
    if frontier.size < log["size"]:
        return None
    signed = [] if last is None else [(last.size, last.root)]
    if known is not None and is_comparable:
        signed.append((known.size, known.root))
    for size, root in signed:
        if _tiles(connection, log["id"], size).root(size) != root:
            raise _Forked(
                f"the log of tenant {tenant_id} does not begin with what was signed of it: it is signed"
                " no more. Bring a backup back whose log does, or have none, and begin a new epoch"
                " (pystream attendance restored)"
            )
    if last is not None and last.size == log["size"]:
        return last
    previous = None
    if log["previous_size"] is not None:
        previous = log["previous_size"], log["previous_root"]
    made = Checkpoint(
        key.name,
        log["epoch"],
        frontier.size,
        frontier.root(),
        clock.is_synchronised,
        clock.error_ms,
        previous,
    )
    row = {
        "tenant_id": tenant_id,
        "log_id": log["id"],
        "size": made.size,
        "root": made.root,
        "at": now,
        "note": made.signed(key),
    }
    connection.execute(insert(tables.attendance_checkpoint).values(row))
    return _checkpoints(connection, tenant_id, log["id"])[0]


def _checkpoints(
    connection: Connection, tenant_id: int, log_id: int | None = None
) -> tuple[Signed, ...]:
    """The newest first; of a log, the newest alone."""
    checkpoint, log = tables.attendance_checkpoint, tables.attendance_log
    cosigned, stamp = tables.attendance_cosignature, tables.attendance_timestamp
    wanted = (
        select(checkpoint, log.c.epoch, stamp.c.at.label("stamped_at"))
        .join(log, log.c.id == checkpoint.c.log_id)
        .outerjoin(stamp, stamp.c.checkpoint_id == checkpoint.c.id)
        .where(checkpoint.c.tenant_id == tenant_id)
        .order_by(checkpoint.c.id.desc())
    )
    others = select(cosigned).where(cosigned.c.tenant_id == tenant_id)
    if log_id is not None:
        wanted = wanted.where(checkpoint.c.log_id == log_id).limit(1)
    rows = connection.execute(wanted).mappings().all()
    if len(rows) == 1:
        others = others.where(cosigned.c.checkpoint_id == rows[0]["id"])
    lines: dict[int, list[RowMapping]] = {}
    for row in connection.execute(others.order_by(cosigned.c.at, cosigned.c.signer)).mappings():
        lines.setdefault(row["checkpoint_id"], []).append(row)
    return tuple(
        Signed(
            row["id"],
            tenant_id,
            row["log_id"],
            row["epoch"],
            row["size"],
            row["root"],
            row["at"],
            row["note"] + "".join(each["line"] for each in lines.get(row["id"], ())),
            row["note"],
            tuple(VerifierKey.parse(each["signer"]) for each in lines.get(row["id"], ())),
            row["stamped_at"],
        )
        for row in rows
    )


def _last_known(connection: Connection, tenant_id: int, log_id: int | None, now: int) -> int:
    """The last instant, in ms, of which a log that was brought back knows that somebody has recorded. Where
    no log is there: of which the store knows that."""
    log, cursor, journal, incident, checkpoint = (
        tables.attendance_log.c,
        tables.attendance_cursor.c,
        tables.attendance_journal.c,
        tables.attendance_incident.c,
        tables.attendance_checkpoint.c,
    )
    earlier = checkpoint.log_id == log_id, checkpoint.at < now
    found = [
        connection.scalar(wanted)
        for wanted in (
            select(func.max(cursor.until)),
            select(func.max(journal.t)).where(journal.log_id == log_id),
            select(func.max(incident.t)).where(incident.log_id == log_id),
            select(func.max(checkpoint.at) * 1000).where(*earlier),
            select(log.begun_at * 1000).where(log.id == log_id),
            select(tables.tenant.c.created_at * 1000).where(tables.tenant.c.id == tenant_id),
        )
    ]
    return max(int(each) for each in found if each is not None)


# Subtrees


def _folded(connection: Connection, log: RowMapping) -> Frontier:
    """The log's end, after subtrees were made of the next leaves."""
    frontier = Frontier.load(log["frontier"]) if log["frontier"] else Frontier()
    first, last = frontier.size, min(log["size"], frontier.size + _FOLDED_AT_ONCE)
    if first == last:
        return frontier
    frontier.append(_hashes(connection, log["id"], 0, first, last))
    for level in range(1, 9):
        first, last = first // WIDTH, last // WIDTH
        if first == last:
            break
        below = _hashes(connection, log["id"], level - 1, first * WIDTH, last * WIDTH)
        about = {"log_id": log["id"], "tenant_id": log["tenant_id"], "level": level}
        rows = [
            about | {"number": number, "hash": hash}
            for number, hash in enumerate(tops(below), first)
        ]
        connection.execute(insert(tables.attendance_subtree), rows)
    table = tables.attendance_log
    grown = update(table).where(table.c.id == log["id"]).values(frontier=frontier.store())
    connection.execute(grown)
    return frontier


def _tiles(connection: Connection, log_id: int, size: int) -> Tiles:
    return Tiles(
        lambda level, first, last: _hashes(connection, log_id, level, first, last),
        size,
    )


def _hashes(connection: Connection, log_id: int, level: int, first: int, last: int) -> bytes:
    """Of a level, from one number to before another."""
    leaf, subtree = tables.attendance_leaf.c, tables.attendance_subtree.c
    if level:
        wanted = select(subtree.hash).where(
            subtree.log_id == log_id,
            subtree.level == level,
            subtree.number >= first,
            subtree.number < last,
        )
        found = b"".join(connection.scalars(wanted.order_by(subtree.number)))
    else:
        of_log = leaf.log_id == log_id
        begin = connection.scalar(select(func.max(leaf.first)).where(of_log, leaf.first <= first))
        wanted = select(leaf.hashes).where(of_log, leaf.first >= (begin or 0), leaf.first < last)
        rows = b"".join(connection.scalars(wanted.order_by(leaf.first)))
        at = (first - (begin or 0)) * HASH
        found = rows[at : at + (last - first) * HASH]
    if len(found) != (last - first) * HASH:
        raise StoreError(f"hashes of a log of attendance are missing between {first} and {last}")
    return found
