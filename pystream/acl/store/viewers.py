"""Passwords and sessions in the store: bulk in, one out, and what has to end.

Every method that is asked by a tenant's people names the tenant, and no statement leaves it out.
Sealed columns go in and come out as they are: who may open them holds the keys.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.exc import IntegrityError

from pystream.acl.entrances.verifiers import EXTERNAL, SIGNED
from pystream.acl.passwords import PasswordSettings, check
from pystream.acl.store import tables
from pystream.acl.store.answers import AnswerStore
from pystream.acl.store.attending import AttendanceStore
from pystream.acl.store.audit import record
from pystream.acl.store.database import Database, plan_anew, take_turn
from pystream.acl.store.dialects import inserting
from pystream.acl.store.prepared import Prepared, among, for_both, numbers
from pystream.acl.store.reaching import ReachStore
from pystream.acl.store.restricting import RestrictionStore
from pystream.acl.viewers import End, Ending, Password, Refusal, Session, Spent
from pystream.errors import Exists, InvalidValue, NotFound, Outdated, Said

# Bound variables of one statement: SQLite takes 32,766.
_AT_ONCE = 10_000

_FOUND = (
    *("id", "tenant_id", "pepper", "shared", "is_test", "named", "valid_from"),
    *("valid_until", "max_devices", "created_at", "revoked_at"),
)


@cache
def _find(count: int) -> Prepared:
    """Finds a password by so many look-ups, with all streams that it opens: in one go, so that the way is the
    same where there is none, and nobody is missed who is indexed anew meanwhile."""
    lookups: list[BindParameter[bytes]] = [bindparam(f"lookup_{at}") for at in range(count)]
    return for_both(
        select(*(tables.password.c[name] for name in _FOUND), tables.admission.c.stream_id)
        .outerjoin(tables.admission, tables.admission.c.password_id == tables.password.c.id)
        .where(
            tables.password.c.tenant_id == bindparam("tenant"),
            tables.password.c.lookup.in_(lookups),
        )
    )


# Whoever takes a password out of use waits until what is stored of it is there, and sees it.
_VALID = Prepared(
    lambda dialect: (
        select(tables.password.c.id)
        .where(among(dialect, tables.password.c.id, "ids"), tables.password.c.revoked_at.is_(None))
        .order_by(tables.password.c.id)
        .with_for_update(read=True, key_share=True)
    )
)
_ENDING = tables.ending.c
_ENDINGS = for_both(
    select(_ENDING.id, _ENDING.at, _ENDING.password_id, _ENDING.stream_id, _ENDING.reason)
    .where(_ENDING.id > bindparam("after"))
    .order_by(_ENDING.id)
)
_SESSION = (
    *("id", "tenant_id", "stream_id", "password_id", "opened_at", "expires", "idle_s", "notice"),
    "holder",
)
_OPEN = Prepared(
    lambda dialect: (
        inserting(dialect, tables.session)
        .values({each: bindparam(each) for each in _SESSION})
        .on_conflict_do_nothing()
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPassword:
    """A password to store. `reference`: of its key in the key store; `lookup`: 32 bytes, under the
    pepper of that generation; `otherwise`: those under the other peppers in use; the rest is as in
    `Password`."""

    id: int
    reference: bytes
    pepper: int
    lookup: bytes
    sealed_text: bytes
    shared: bool = False
    is_test: bool = False
    valid_from: int | None = None
    valid_until: int | None = None
    max_devices: int | None = None
    named: bool = False
    otherwise: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaced:
    """A password in whose place there is a `new` one, which opens these streams. `valid_until`: what it had
    when it was looked at."""

    id: int
    valid_until: int | None
    stream_ids: Collection[int]
    new: NewPassword


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A password and its sealed columns, as a tenant's own people list them, and its place in the order in
    which the tenant's were made."""

    password: Password
    number: int
    reference: bytes
    lookup: bytes
    text: bytes
    label: bytes | None


class ViewerStore:
    """The part of an opened store that is about viewers. Each method is one transaction; all raise
    `StoreError` as the store's own do. `answers` are those in which passwords are kept for a while,
    `attendance` is what viewers got, `reach` how far they have come, and `restrictions` whose data is not
    used."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.answers = AnswerStore(database)
        self.attendance = AttendanceStore(database)
        self.reach = ReachStore(database)
        self.restrictions = RestrictionStore(database)

    def undoing(self, undo: Callable[[], None]) -> AbstractContextManager[None]:
        """`undo` is called where what the block writes is not kept, as of `Database.undoing`."""
        return self._database.undoing(undo)

    # Passwords

    def add_passwords(
        self,
        tenant_id: int,
        stream_ids: Collection[int],
        passwords: Sequence[NewPassword],
        *,
        who: str,
        now: int,
    ) -> None:
        """Adds passwords that open some of a tenant's streams.

        Raises `Exists` where the tenant has one of them already, and `NotFound` for a stream that is
        not the tenant's; nothing is added then.
        """
        numbers = self._numbers(tenant_id, len(passwords))
        numbered = list(zip(numbers, passwords, strict=True))
        with self._database.writing() as connection:
            _check_streams(connection, tenant_id, stream_ids)
            if _indexed_otherwise(connection, tenant_id, passwords):
                raise _there_already()
            for some in _slices(numbered):
                rows = [_row(tenant_id, number, each, now) for number, each in some]
                try:
                    connection.execute(insert(tables.password), rows)
                except IntegrityError:
                    raise _there_already() from None
            opened = [
                {
                    "stream_id": stream_id,
                    "password_id": each.id,
                    "tenant_id": tenant_id,
                    "number": number,
                }
                for stream_id in sorted(stream_ids)
                for number, each in numbered
            ]
            for some in _slices(opened):
                connection.execute(insert(tables.admission), list(some))
            what: Mapping[str, Any] = {"passwords_added": (None, len(passwords))}
            for stream_id in sorted(stream_ids):
                record(connection, tenant_id, who, now, what, stream_id)

    def add_named(
        self, tenant_id: int, viewers: Sequence[NewPassword], now: int
    ) -> frozenset[bytes]:
        """Adds viewers whom the customer's links or tokens name, but those that are there already, as
        another node may have been faster; returns the references of those that it added."""
        numbers = self._numbers(tenant_id, len(viewers))
        with self._database.writing() as connection:
            there = _indexed_otherwise(connection, tenant_id, viewers)
            rows = [
                _row(tenant_id, number, each, now)
                for number, each in zip(numbers, viewers, strict=True)
                if there.isdisjoint(each.otherwise)
            ]
            if rows:
                connection.execute(_unless_there(connection, tables.password), rows)
            column = tables.password.c
            added = select(column.reference).where(
                column.tenant_id == tenant_id, column.reference.in_([r["reference"] for r in rows])
            )
            return frozenset(connection.scalars(added))

    def _numbers(self, tenant_id: int, count: int) -> Sequence[int]:
        """Numbers for that many passwords, behind those of all that were made before. They are taken at
        once, whether or not the passwords are stored then: so nobody waits for somebody else's long list."""
        made, owner = tables.tenant.c.passwords_made, tables.tenant.c.id == tenant_id
        more = update(tables.tenant).where(owner).values(passwords_made=made + count)
        with self._database.writing() as connection:
            last = connection.scalar(more.returning(made))
        if last is None:
            raise NotFound("there is no such tenant any more")
        return range(last - count + 1, last + 1)

    def find(self, tenant_id: int, lookups: Collection[bytes]) -> Password | None:
        """The tenant's password with one of these look-ups, those of all peppers in use. While one is
        exchanged there may be two of the same text: then the one that stays, of the newest pepper."""
        asked = {f"lookup_{at}": lookup for at, lookup in enumerate(lookups)}
        with self._database.asking() as connection:
            rows = _find(len(asked)).rows(connection, {"tenant": tenant_id, **asked})
        if not rows:
            return None
        found = [dict(zip(_FOUND, row, strict=False)) for row in rows]
        newest = max(found, key=itemgetter("pepper"))
        streams = {row[-1] for row in rows if row[0] == newest["id"]} - {None}
        return _password(newest, streams)

    def there(self, tenant_id: int, lookups: Sequence[bytes]) -> set[bytes]:
        """Which of these look-ups are a password's of the tenant."""
        with self._database.reading() as connection:
            return _there(connection, tenant_id, lookups)

    def passwords(
        self,
        tenant_id: int,
        stream_id: int | None = None,
        *,
        after: int = 0,
        most: int = 1000,
        named: bool = False,
        ids: Collection[int] | None = None,
        made_at: int | None = None,
    ) -> tuple[Sealed, ...]:
        """A page of a tenant's passwords, those of one stream or all, in the order in which they were
        made, behind the number `after`; with `named`, of the viewers whom links or tokens name instead.
        Of `ids`, at most some thousands, those that are the tenant's; with `made_at`, those that were
        added in that second."""
        column, number = tables.password.c, tables.password.c.number
        owner: ColumnElement[int] = column.tenant_id
        wanted = select(tables.password).where(column.named == named)
        if ids is not None:
            wanted = wanted.where(column.id.in_(sorted(ids)))
            # SQLite knows nothing of how many there are, and would go through all of the tenant.
            owner = owner + 0
        wanted = wanted.where(owner == tenant_id)
        if made_at is not None:
            wanted = wanted.where(column.created_at == made_at)
        if stream_id is not None:
            opened = tables.admission.c
            wanted = wanted.join(tables.admission, opened.password_id == column.id)
            wanted = wanted.where(opened.stream_id == stream_id, opened.tenant_id == tenant_id)
            if made_at is None:
                number = opened.number
        wanted = wanted.where(number > after).order_by(number).limit(most)
        with self._database.reading() as connection:
            return tuple(_passwords(connection, wanted))

    def revoke(self, tenant_id: int, ids: Collection[int], *, who: str, now: int) -> int:
        """Revokes passwords; their sessions end. Returns how many were not revoked before."""
        column = tables.password.c
        with self._database.writing() as connection:
            take_turn(connection)
            fresh = sorted(
                each
                for some in _slices(sorted(set(ids)))
                for each in connection.scalars(
                    select(column.id).where(
                        column.tenant_id == tenant_id,
                        column.id.in_(some),
                        column.revoked_at.is_(None),
                    )
                )
            )
            if not fresh:
                return 0
            for some in _slices(fresh):
                connection.execute(
                    update(tables.password)
                    .where(column.tenant_id == tenant_id, column.id.in_(some))
                    .values(revoked_at=now)
                )
            about: dict[str, Any] = {"at": now, "tenant_id": tenant_id, "reason": End.REVOKED}
            rows = [{**about, "password_id": each} for each in fresh]
            connection.execute(insert(tables.ending), rows)
            record(connection, tenant_id, who, now, {"passwords_revoked": (None, len(fresh))})
            return len(fresh)

    def has_entrance(self, tenant_id: int, stream_id: int, access: str, now: int) -> bool:
        """Whether something opens a stream of that access, now or later: a password of its kind, or a
        verifier."""
        password, opened, verifier = tables.password.c, tables.admission.c, tables.verifier.c
        if access in ("signed", "external"):
            kinds = SIGNED if access == "signed" else EXTERNAL
            wanted = select(verifier.id).where(
                verifier.tenant_id == tenant_id,
                verifier.kind.in_(kinds),
                or_(verifier.stream_id == stream_id, verifier.stream_id.is_(None)),
                verifier.revoked_at.is_(None),
            )
        else:
            wanted = (
                select(password.id)
                .join(tables.admission, opened.password_id == password.id)
                .where(opened.stream_id == stream_id, opened.tenant_id == tenant_id)
                .where(password.shared == (access == "shared"), password.revoked_at.is_(None))
                .where(or_(password.valid_until.is_(None), password.valid_until > now))
            )
        with self._database.reading() as connection:
            return connection.scalar(wanted.limit(1)) is not None

    def give_up(self, tenant_id: int, ids: Collection[int], *, who: str, now: int) -> None:
        """Revokes passwords that are to be erased, and has nobody restrict their data any more. One that was
        given up before stays so, and is not asked about again: so erasing goes on where it was interrupted.

        Raises `InvalidValue`, and changes nothing, where a report that is held names one, or its data is
        restricted. Whoever holds or restricts meanwhile has done so, or comes too late."""
        password = tables.password.c
        with self._database.together():
            with self._database.writing() as connection:
                take_turn(connection)
                given_up = {
                    id
                    for some in _slices(sorted(set(ids)))
                    for id in connection.scalars(
                        select(password.id).where(
                            password.tenant_id == tenant_id,
                            password.id.in_(some),
                            password.erased_at.is_not(None),
                        )
                    )
                }
                others = sorted(set(ids) - given_up)
                self._check_not_held(tenant_id, others, now)
                self.restrictions.check_none(tenant_id, others)
                for some in _slices(others):
                    connection.execute(
                        update(tables.password)
                        .where(password.tenant_id == tenant_id, password.id.in_(some))
                        .values(erased_at=now)
                    )
            self.revoke(tenant_id, ids, who=who, now=now)

    def _check_not_held(self, tenant_id: int, ids: Collection[int], now: int) -> None:
        """Raises `InvalidValue` where a report that is held names one of these passwords."""
        name, report, hold = (
            tables.attendance_report_name.c,
            tables.attendance_report,
            tables.attendance_hold,
        )
        wanted = (
            select(hold.c.until, hold.c.reason)
            .join(report, report.c.subject == hold.c.subject)
            .join(tables.attendance_report_name, name.report_id == report.c.id)
            .where(name.tenant_id == tenant_id, hold.c.until > now)
            .order_by(hold.c.until.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            for some in _slices(sorted(set(ids))):
                held = connection.execute(wanted.where(name.password_id.in_(some))).one_or_none()
                if held is not None:
                    day = f"{datetime.fromtimestamp(held.until, UTC):%Y-%m-%d}"
                    text = (
                        "a sealed report that is held names one of these passwords, so nothing is"
                        f" erased before {day}: {held.reason}"
                    )
                    said = Said("report-held", text, until=day, reason=held.reason)
                    raise InvalidValue(said)

    def known(self, tenant_id: int, ids: Collection[int]) -> frozenset[int]:
        """Which of the ids are of this tenant's passwords, revoked or not, or of those that are gone and that
        a sealed report names."""
        with self._database.reading() as connection:
            return frozenset(id for id, _ in _references(connection, tenant_id, ids))

    def replace(
        self,
        tenant_id: int,
        replaced: Sequence[Replaced],
        until: int | None,
        *,
        who: str,
        now: int,
    ) -> None:
        """Has new passwords take the places of others, which let in until a time, or not any more for None:
        of all of them, or of none. Raises `Outdated` where one of these was replaced or revoked meanwhile, or
        is not there, and as `add_passwords` does."""
        with self._database.together():
            if until is None:
                ids = [each.id for each in replaced]
                if self.revoke(tenant_id, ids, who=who, now=now) < len(ids):
                    raise Outdated("one of these passwords was revoked meanwhile")
            else:
                self._let_out(tenant_id, replaced, until, who, now)
            by_streams = defaultdict[tuple[int, ...], list[NewPassword]](list)
            for each in replaced:
                by_streams[tuple(sorted(each.stream_ids))].append(each.new)
            for stream_ids, new in by_streams.items():
                self.add_passwords(tenant_id, stream_ids, new, who=who, now=now)

    def _let_out(
        self, tenant_id: int, replaced: Sequence[Replaced], until: int, who: str, now: int
    ) -> None:
        """Each of these lets in until a time at most. It ends a second sooner in any case: so of two who
        replace it at once, the second one finds it changed."""
        column = tables.password.c
        with self._database.writing() as connection:
            take_turn(connection)
            for each in replaced:
                seen = each.valid_until
                end = until if seen is None else min(until, seen - 1)
                same = column.revoked_at.is_(None), column.valid_until.is_not_distinct_from(seen)
                ends = update(tables.password).where(
                    column.tenant_id == tenant_id, column.id == each.id, *same
                )
                if not connection.execute(ends.values(valid_until=end)).rowcount:
                    raise Outdated("one of these passwords was changed meanwhile")
                record(connection, tenant_id, who, now, {"password_valid_until": (seen, end)})

    def set_passwords(
        self, tenant_id: int, changes: Mapping[int, Mapping[str, Any]], *, who: str, now: int
    ) -> None:
        """Changes some of passwords' `sealed_text` and `sealed_label`, in which their texts stay,
        `valid_from`, `valid_until` and `max_devices`, by their ids.

        What is on record of a label is that there is another one. Raises `NotFound`, and `InvalidValue`
        for validity or devices that cannot be, together with what stays; nothing is changed then.
        """
        with self._database.writing() as connection:
            for id, columns in sorted(changes.items()):
                _set_password(connection, tenant_id, id, columns, who, now)

    def references(self, tenant_id: int, ids: Collection[int]) -> tuple[bytes, ...]:
        """Of the keys in the key store of those passwords that are this tenant's, and of those that are gone
        and that a sealed report names."""
        with self._database.reading() as connection:
            found = list(_references(connection, tenant_id, ids))
        return tuple(dict.fromkeys(reference for _, reference in found))

    def forget_sessions(self, tenant_id: int, ids: Collection[int]) -> None:
        """Deletes the sessions of a tenant's passwords, which have to be revoked."""
        session = tables.session.c
        with self._database.writing() as connection:
            for some in _slices(sorted(set(ids))):
                these = session.tenant_id == tenant_id, session.password_id.in_(some)
                connection.execute(delete(tables.session).where(*these))

    def ended(
        self, tenant_id: int, stream_ids: Collection[int], since: int, until: int
    ) -> tuple[bytes, ...]:
        """The references of a tenant's passwords and named viewers that open one of these streams, or have
        come in there, and were revoked, but not before one time, and added before another."""
        column, opened, session = tables.password.c, tables.admission.c, tables.session.c
        ids = sorted(stream_ids)
        opens = select(opened.password_id).where(
            opened.password_id == column.id, opened.stream_id.in_(ids)
        )
        came_in = select(session.id).where(
            session.password_id == column.id, session.stream_id.in_(ids)
        )
        wanted = select(column.reference).where(
            column.tenant_id == tenant_id,
            column.shared.is_(False),
            column.revoked_at >= since,
            column.created_at < until,
            opens.exists() | came_in.exists(),
        )
        with self._database.reading() as connection:
            return tuple(connection.scalars(wanted.order_by(column.id)))

    def forget_lookups(self, tenant_id: int, ids: Collection[int], *, who: str, now: int) -> None:
        """Makes passwords impossible to find: the last that could tell one from another is gone."""
        column = tables.password.c
        with self._database.writing() as connection:
            for some in _slices(sorted(set(ids))):
                connection.execute(
                    update(tables.password)
                    .where(column.tenant_id == tenant_id, column.id == bindparam("gone"))
                    .values(lookup=bindparam("noise")),
                    [{"gone": id, "noise": secrets.token_bytes(32)} for id in some],
                )
            record(connection, tenant_id, who, now, {"passwords_erased": (None, len(ids))})

    def indexed_otherwise(self, peppers: Collection[int], most: int) -> tuple[Sealed, ...]:
        """Passwords of all tenants whose look-up is of none of these peppers."""
        pepper, ordered = tables.password.c.pepper, sorted(peppers)
        # Ranges, as an index finds nothing by what is not equal. Each is asked for by itself, in its order:
        # of a million that came just now PostgreSQL has no statistics, and would look at each of them.
        ranges = (
            pepper < ordered[0],
            *(and_(pepper > low, pepper < high) for low, high in pairwise(ordered)),
            pepper > ordered[-1],
        )
        found: list[Sealed] = []
        with self._database.reading() as connection:
            for outside in ranges:
                wanted = select(tables.password).where(outside).order_by(pepper)
                found += _passwords(connection, wanted.limit(most - len(found)))
        return tuple(found)

    def reindex(
        self, tenant_id: int, pepper: int, changed: Collection[tuple[Sealed, bytes]]
    ) -> frozenset[int]:
        """Gives a tenant's passwords look-ups of that pepper, unless they have others by now than those
        with which they were read: whoever was erased meanwhile is found by nobody. Returns the ids of those
        that are there twice, as one was added by who did not know of this pepper yet: these get noise."""
        twice = set[int]()
        rows: list[dict[str, Any]] = []
        with self._database.writing() as connection:
            take_turn(connection)
            found = _locked_lookups(
                connection, tenant_id, [each.password.id for each, _ in changed]
            )
            there = _there(connection, tenant_id, [lookup for _, lookup in changed])
            for each, lookup in changed:
                id = each.password.id
                if found.get(id) != each.lookup:
                    continue
                if lookup in there:
                    twice.add(id)
                row = {"this": id, "index": secrets.token_bytes(32) if id in twice else lookup}
                rows.append(row)
                there.add(lookup)
            if rows:
                column = tables.password.c
                connection.execute(
                    update(tables.password)
                    .where(column.tenant_id == tenant_id, column.id == bindparam("this"))
                    .values(pepper=pepper, lookup=bindparam("index")),
                    rows,
                )
        return frozenset(twice)

    def end_sessions(self, tenant_id: int, stream_id: int, *, who: str, now: int) -> None:
        """Ends all sessions of a stream: whoever watches has to come in anew. Raises `NotFound`."""
        with self._database.writing() as connection:
            take_turn(connection)
            _check_streams(connection, tenant_id, {stream_id})
            row = {"at": now, "tenant_id": tenant_id, "stream_id": stream_id}
            connection.execute(insert(tables.ending).values(**row, reason=End.CLOSED))
            what: Mapping[str, Any] = {"sessions_ended": (None, True)}
            record(connection, tenant_id, who, now, what, stream_id)

    def end_sessions_of(self, tenant_id: int, password_id: int, *, who: str, now: int) -> None:
        """Ends all sessions of a password, which goes on letting in. Raises `NotFound`."""
        column = tables.password.c
        where = column.tenant_id == tenant_id, column.id == password_id
        with self._database.writing() as connection:
            take_turn(connection)
            if connection.execute(select(column.id).where(*where)).first() is None:
                raise NotFound(Said("no-password", "there is no such password"))
            row = {"at": now, "tenant_id": tenant_id, "password_id": password_id}
            connection.execute(insert(tables.ending).values(**row, reason=End.CLOSED))
            what: Mapping[str, Any] = {"sessions_of_password_ended": (None, True)}
            record(connection, tenant_id, who, now, what)

    # Sessions, by the writer alone

    def keep(
        self,
        opened: Collection[Session],
        ended: Mapping[bytes, End],
        now: int,
        spent: Collection[Spent] = (),
    ) -> dict[bytes, Refusal]:
        """Stores what happened since the last time. A session that is there is left as it is, so what
        is said twice is kept once. Returns the sessions that are not kept: `SPENT`, whose token somebody
        else has spent, on another node; `REVOKED`, whose password is not there any more. One that is
        revoked later than that has its ending behind those that could be read before."""
        column = tables.session.c
        with self._database.writing() as connection:
            plan_anew(connection)
            lost = _without_password(connection, opened) | _spend(connection, spent)
            rows = [_session_row(each) for each in opened if each.id not in lost]
            if rows:
                _OPEN.run(connection, rows)
            if ended:
                connection.execute(
                    update(tables.session)
                    .where(column.id == bindparam("gone"), column.ended_at.is_(None))
                    .values(ended_at=now, end_reason=bindparam("why")),
                    [{"gone": id, "why": int(reason)} for id, reason in ended.items()],
                )
        return lost

    def spent(self, tokens: Collection[tuple[int, bytes]]) -> dict[tuple[int, bytes], bytes]:
        """Of tokens, by tenant and keyed hash, those that were spent, and for which session."""
        with self._database.reading() as connection:
            return _spent(connection, tokens)

    def forget_spent(self, now: int) -> None:
        """Deletes tokens that could not be shown again anyway."""
        with self._database.writing() as connection:
            connection.execute(delete(tables.spent).where(tables.spent.c.expires <= now))

    def sessions(self, now: int) -> tuple[Session, ...]:
        """All that have neither ended nor expired, the oldest first."""
        column = tables.session.c
        wanted = (
            select(tables.session)
            .where(column.expires > now, column.ended_at.is_(None))
            .order_by(column.opened_at, column.id)
        )
        with self._database.reading() as connection:
            return tuple(
                Session(
                    id=row["id"],
                    tenant_id=row["tenant_id"],
                    stream_id=row["stream_id"],
                    password_id=row["password_id"],
                    opened_at=row["opened_at"],
                    expires=row["expires"],
                    idle_s=row["idle_s"],
                    notice=row["notice"],
                    holder=row["holder"],
                )
                for row in connection.execute(wanted).mappings()
            )

    def endings(self, after: int) -> tuple[Ending, ...]:
        """What is to end, behind the ending `after`."""
        with self._database.asking() as connection:
            found = _ENDINGS.rows(connection, {"after": after})
        return tuple(
            Ending(id=id, at=at, password_id=password, stream_id=stream, reason=End(reason))
            for id, at, password, stream, reason in found
        )


def _set_password(
    connection: Connection,
    tenant_id: int,
    id: int,
    changes: Mapping[str, Any],
    who: str,
    now: int,
) -> None:
    column = tables.password.c
    where = column.tenant_id == tenant_id, column.id == id
    wanted = select(column.valid_from, column.valid_until, column.max_devices)
    found = connection.execute(wanted.where(*where).with_for_update()).mappings().first()
    if found is None:
        raise NotFound(Said("no-password", "there is no such password"))
    rules = {name: changes.get(name, value) for name, value in found.items()}
    check(PasswordSettings(**rules))
    what: dict[str, Any] = {
        f"password_{name}": (found[name], value)
        for name, value in rules.items()
        if value != found[name]
    }
    if "sealed_text" in changes:
        what["password_label_changed"] = (None, True)
    if what:
        connection.execute(update(tables.password).where(*where).values(**changes))
        record(connection, tenant_id, who, now, what)


def _references(
    connection: Connection, tenant_id: int, ids: Collection[int]
) -> Iterator[tuple[int, bytes]]:
    """Passwords and their keys' references, some of them twice."""
    password, name = tables.password.c, tables.attendance_report_name.c
    for some in _slices(sorted(set(ids))):
        for id, of_tenant, reference in (
            (password.id, password.tenant_id, password.reference),
            (name.password_id, name.tenant_id, name.reference),
        ):
            wanted = select(id, reference).where(of_tenant == tenant_id, id.in_(some))
            yield from map(tuple, connection.execute(wanted.distinct()))


def _there_already() -> Exists:
    text = "at least one of these passwords is there already; none of them was added"
    return Exists(Said("passwords-there", text))


def _indexed_otherwise(
    connection: Connection, tenant_id: int, passwords: Collection[NewPassword]
) -> set[bytes]:
    """Look-ups under other peppers that the tenant has already: of those under the newest one, the
    database itself sees to it that there are no two."""
    return _there(connection, tenant_id, [one for each in passwords for one in each.otherwise])


def _there(connection: Connection, tenant_id: int, lookups: Sequence[bytes]) -> set[bytes]:
    column = tables.password.c
    return {
        each
        for some in _slices(lookups)
        for each in connection.scalars(
            select(column.lookup).where(column.tenant_id == tenant_id, column.lookup.in_(some))
        )
    }


def _locked_lookups(connection: Connection, tenant_id: int, ids: Sequence[int]) -> dict[int, bytes]:
    """What passwords are found by, which nobody else changes for the rest of the transaction."""
    column = tables.password.c
    found: dict[int, bytes] = {}
    for some in _slices(sorted(ids)):
        wanted = select(column.id, column.lookup).where(
            column.tenant_id == tenant_id, column.id.in_(some)
        )
        for row in connection.execute(wanted.order_by(column.id).with_for_update()):
            found[row.id] = row.lookup
    return found


def _row(tenant_id: int, number: int, password: NewPassword, now: int) -> dict[str, Any]:
    return {
        "id": password.id,
        "tenant_id": tenant_id,
        "number": number,
        "reference": password.reference,
        "pepper": password.pepper,
        "lookup": password.lookup,
        "sealed_text": password.sealed_text,
        "shared": password.shared,
        "is_test": password.is_test,
        "valid_from": password.valid_from,
        "valid_until": password.valid_until,
        "max_devices": password.max_devices,
        "created_at": now,
        "named": password.named,
    }


def _session_row(session: Session) -> dict[str, Any]:
    return {name: getattr(session, name) for name in _SESSION}


def _unless_there(connection: Connection, table: Table) -> Any:
    """Inserts rows, and leaves those as they are that are there already."""
    return inserting(connection.dialect.name, table).on_conflict_do_nothing()


def _without_password(connection: Connection, opened: Collection[Session]) -> dict[bytes, Refusal]:
    """The sessions whose password was revoked, or deleted."""
    asked = {each.password_id for each in opened if each.password_id is not None}
    ids = numbers(connection, sorted(asked))
    valid = {id for (id,) in _VALID.rows(connection, {"ids": ids})} if asked else asked
    return {each.id: Refusal.REVOKED for each in opened if each.password_id in asked - valid}


def _spend(connection: Connection, spent: Collection[Spent]) -> dict[bytes, Refusal]:
    """Notes tokens as spent; returns the sessions of those that were."""
    if not spent:
        return {}
    rows = [
        {
            "tenant_id": each.tenant_id,
            "token": each.token,
            "session": each.session,
            "expires": each.expires,
        }
        for each in spent
    ]
    # Waits for whoever is about to spend the same one.
    connection.execute(_unless_there(connection, tables.spent), rows)
    found = _spent(connection, [(each.tenant_id, each.token) for each in spent])
    won = ((each, found[each.tenant_id, each.token]) for each in spent)
    return {each.session: Refusal.SPENT for each, winner in won if winner != each.session}


def _spent(
    connection: Connection, tokens: Iterable[tuple[int, bytes]]
) -> dict[tuple[int, bytes], bytes]:
    column = tables.spent.c
    return {
        (row.tenant_id, row.token): row.session
        for some in _slices(list(tokens))
        for row in connection.execute(
            select(tables.spent).where(tuple_(column.tenant_id, column.token).in_(some))
        )
    }


def _passwords(connection: Connection, wanted: Select[Any]) -> Iterator[Sealed]:
    rows = connection.execute(wanted).mappings().all()
    streams = _streams_of(connection, [row["id"] for row in rows])
    for row in rows:
        password = _password(row, streams[row["id"]])
        yield Sealed(
            password=password,
            number=row["number"],
            reference=row["reference"],
            lookup=row["lookup"],
            text=row["sealed_text"],
            label=row["sealed_label"],
        )


def _streams_of(connection: Connection, ids: Sequence[int]) -> dict[int, set[int]]:
    """The streams that passwords open, by their ids."""
    streams: dict[int, set[int]] = {id: set() for id in ids}
    opened = tables.admission.c
    for some in _slices(ids):
        wanted = select(opened.password_id, opened.stream_id).where(opened.password_id.in_(some))
        for each in connection.execute(wanted):
            streams[each.password_id].add(each.stream_id)
    return streams


def _password(row: Mapping[str, Any] | RowMapping, streams: Collection[int]) -> Password:
    return Password(
        id=row["id"],
        tenant_id=row["tenant_id"],
        streams=frozenset(streams),
        shared=bool(row["shared"]),
        is_test=bool(row["is_test"]),
        valid_from=row["valid_from"],
        valid_until=row["valid_until"],
        max_devices=row["max_devices"],
        created_at=row["created_at"],
        revoked_at=row["revoked_at"],
        named=bool(row["named"]),
    )


def _check_streams(connection: Connection, tenant_id: int, stream_ids: Collection[int]) -> None:
    column = tables.stream.c
    known = connection.scalars(
        select(column.id).where(
            column.tenant_id == tenant_id,
            column.id.in_(stream_ids),
            column.removed_at.is_(None),
        )
    )
    if set(stream_ids) - set(known):
        text = "one of these streams is not there, or not this tenant's"
        raise NotFound(Said("no-streams", text))


def _slices(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(values), _AT_ONCE):
        yield values[first : first + _AT_ONCE]
