"""People, their sessions in the console, and tokens, in the store.

Every statement names the tenant, or the digest of a secret that only its holder has. What people sign
in with is checked by `accounts`; here it is kept.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from pystream.acl.audit import Kind, check_who
from pystream.acl.passwords import problems_of_moment
from pystream.acl.people import Person, Right, Role, Token, check_leave, check_name
from pystream.acl.store import tables
from pystream.acl.store.audit import record
from pystream.acl.store.database import Database
from pystream.errors import Exists, InvalidValue, NotFound, Said, SignInError

# A session's last use is written down that often at most.
_SEEN_S = 60
_DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A person, and what signing in is checked against. `reference` and `sealed_totp` are of an
    authenticator; `totp_step` is the step whose code was used last; `password_until`: when a password
    that somebody else has seen stops letting its owner in to change it."""

    person: Person
    hash: str = field(repr=False)
    password_until: int | None
    reference: bytes | None
    sealed_totp: bytes | None
    totp_step: int


class PeopleStore:
    """The part of an opened store that is about who works for a tenant. Each method is one transaction;
    all raise `StoreError` as the store's own do, and `NotFound` for somebody or something that the
    tenant does not have."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # People

    def add(
        self,
        tenant_id: int,
        name: str,
        role: Role,
        hash: str,
        password_until: int | None,
        *,
        who: str,
        now: int,
    ) -> Person:
        """Raises `InvalidValue` for a name that none can have, and `Exists`."""
        check_name("person", name)
        check_who(who)
        row = {
            "id": secrets.randbelow(2**63 - 1) + 1,
            "tenant_id": tenant_id,
            "name": name,
            "role": role.value,
            "hash": hash,
            "password_until": password_until,
            "totp_on": False,
            "totp_step": 0,
            "created_at": now,
        }
        with self._database.writing() as connection:
            _check_tenant(connection, tenant_id)
            try:
                connection.execute(insert(tables.person).values(row))
            except IntegrityError:
                text = f"there is a person {name!r} already"
                raise Exists(Said("person-there", text, name=name)) from None
            what = {"person": (None, name), "role": (None, role.value)}
            record(connection, tenant_id, who, now, what)
            return _account(connection, tenant_id, name).person

    def listed(self, tenant_id: int) -> tuple[Person, ...]:
        """All people of a tenant, by name."""
        wanted = _PEOPLE.where(tables.person.c.tenant_id == tenant_id)
        with self._database.reading() as connection:
            rows = connection.execute(wanted.order_by(tables.person.c.name)).mappings()
            return tuple(map(_person, rows))

    def account(self, tenant_id: int, name: str) -> Account:
        with self._database.reading() as connection:
            return _account(connection, tenant_id, name)

    def find(self, tenant: str, name: str) -> Account | None:
        """Whoever has that name at the tenant of that name, if somebody has."""
        where = tables.tenant.c.name == tenant, tables.person.c.name == name
        with self._database.reading() as connection:
            row = connection.execute(_PEOPLE.where(*where)).mappings().one_or_none()
        return None if row is None else _as_account(row)

    def set_role(self, tenant_id: int, name: str, role: Role, *, who: str, now: int) -> Person:
        """Holds from the next thing on that the person asks for. The last admin stays one: raises
        `InvalidValue`. Leave that a support had is over."""
        check_who(who)
        with self._database.writing() as connection:
            _lock(connection, tenant_id)
            before = _account(connection, tenant_id, name).person
            if before.role is role:
                return before
            if before.role is Role.ADMIN:
                _check_other_admin(connection, before)
            _set(connection, before, role=role.value, let_in_until=None)
            what = {"person": (name, name), "role": (before.role.value, role.value)}
            record(connection, tenant_id, who, now, what)
            return _account(connection, tenant_id, name).person

    def let_in(self, tenant_id: int, name: str, seconds: int, *, who: str, now: int) -> Person:
        """Has a tenant's leave that a support comes in for a while; 0 ends it. Whoever may change people
        gives it, for the tenant: no command does. Raises `InvalidValue`."""
        check_who(who)
        if seconds:
            check_leave(seconds)
        until = now + seconds if seconds else None
        with self._database.writing() as connection:
            before = _account(connection, tenant_id, name).person
            if before.role is not Role.SUPPORT:
                text = f"{name!r} is no support: only one of these is let in for a time"
                raise InvalidValue(Said("no-support", text, name=name))
            _set(connection, before, let_in_until=until)
            if not seconds:
                _end_sessions(connection, before)
            what = {"person": (name, name), "let_in_until": (before.let_in_until, until)}
            record(connection, tenant_id, who, now, what)
            return _account(connection, tenant_id, name).person

    def set_hash(
        self,
        tenant_id: int,
        name: str,
        hash: str,
        password_until: int | None,
        *,
        who: str,
        now: int,
        keep: bytes = b"",
        checked: str | None = None,
    ) -> Person:
        """Changes a password; all sessions of the person end, save the one of the digest `keep`. Raises
        `SignInError` where `checked`, the hash of the password that was shown for it, is not that of the
        present one by now, as it takes a while to check."""
        check_who(who)
        with self._database.writing() as connection:
            person = _account(connection, tenant_id, name).person
            _check_stands(connection, person, checked)
            _set(connection, person, hash=hash, password_until=password_until)
            _end_sessions(connection, person, keep)
            record(
                connection, tenant_id, who, now, {"person": (name, name), "password": (None, True)}
            )
            return _account(connection, tenant_id, name).person

    def renew_hash(self, person: Person, old: str, hash: str) -> None:
        """The same password, hashed with newer parameters; where it was changed meanwhile, it stays so."""
        column = tables.person.c
        same = column.tenant_id == person.tenant_id, column.id == person.id, column.hash == old
        with self._database.writing() as connection:
            connection.execute(update(tables.person).where(*same).values(hash=hash))

    def remove(self, tenant_id: int, name: str, *, who: str, now: int) -> bytes | None:
        """Takes a person away, with sessions and codes; the name stays on record. The last admin stays:
        raises `InvalidValue`. Returns the reference of the key that is to be erased, if there is one."""
        check_who(who)
        with self._database.writing() as connection:
            _lock(connection, tenant_id)
            account = _account(connection, tenant_id, name)
            person = account.person
            if person.role is Role.ADMIN:
                _check_other_admin(connection, person)
            _end_sessions(connection, person)
            _delete_codes(connection, person)
            connection.execute(delete(tables.person).where(tables.person.c.id == person.id))
            what = {"person": (name, None), "role": (person.role.value, None)}
            record(connection, tenant_id, who, now, what)
            return account.reference

    # Authenticators

    def begin_totp(self, person: Person, reference: bytes, sealed: bytes) -> bool:
        """Keeps a secret that is asked for only when its owner has shown a code of it. False, and nothing
        is kept, where there is one in use."""
        column = tables.person.c
        idle = (
            update(tables.person)
            .where(column.id == person.id, column.tenant_id == person.tenant_id)
            .where(column.totp_on.is_(False))
            .values(reference=reference, sealed_totp=sealed)
        )
        with self._database.writing() as connection:
            return bool(connection.execute(idle).rowcount)

    def finish_totp(
        self,
        person: Person,
        reference: bytes | None,
        step: int,
        codes: Collection[bytes],
        *,
        who: str,
        now: int,
    ) -> bool:
        """From now on codes are asked for; `codes` are the digests of those for recovery, which take the
        place of all earlier ones. False, and nothing is kept, where they are asked for already, the secret
        that waits is not the one of the reference, or the step was used (RFC 6238 5.2)."""
        check_who(who)
        column = tables.person.c
        begun = (
            update(tables.person)
            .where(column.id == person.id, column.tenant_id == person.tenant_id)
            .where(column.totp_on.is_(False), column.reference == reference)
            .where(column.totp_step < step)
            .values(totp_on=True, totp_step=step)
        )
        with self._database.writing() as connection:
            if not connection.execute(begun).rowcount:
                return False
            _delete_codes(connection, person)
            about = {"person_id": person.id, "tenant_id": person.tenant_id}
            connection.execute(
                insert(tables.recovery_code), [{**about, "digest": each} for each in codes]
            )
            what = {"person": (person.name, person.name), "totp": (None, True)}
            record(connection, person.tenant_id, who, now, what)
            return True

    def remove_totp(
        self, person: Person, *, who: str, now: int, checked: str | None = None
    ) -> None:
        """Asks a person for no codes any more. `checked`: as of `set_hash`."""
        check_who(who)
        with self._database.writing() as connection:
            _check_stands(connection, person, checked)
            gone = {"reference": None, "sealed_totp": None, "totp_on": False}
            _set(connection, person, **gone)
            _delete_codes(connection, person)
            what = {"person": (person.name, person.name), "totp": (True, None)}
            record(connection, person.tenant_id, who, now, what)

    # Sessions

    def open_session(
        self,
        person: Person,
        digest: bytes,
        expires: int,
        now: int,
        *,
        checked: str | None = None,
        step: int | None = None,
        code: bytes | None = None,
    ) -> bool:
        """Signs somebody in, and uses up the step of an authenticator or the recovery code that was
        shown. False, and nothing is kept, where that had been used already; or, as it takes a while to
        check a password, where `checked` is not the hash of the present one by now, or codes are asked for
        that were not."""
        with self._database.writing() as connection:
            if checked is not None and not _stands(connection, person, checked):
                return False
            if step is not None and not _use_step(connection, person, step):
                return False
            if code is not None and not _use_code(connection, person, code):
                return False
            column = tables.console_session.c
            over = delete(tables.console_session).where(column.expires <= now)
            connection.execute(over)
            row = {
                "digest": digest,
                "tenant_id": person.tenant_id,
                "person_id": person.id,
                "seen_at": now,
                "expires": expires,
            }
            connection.execute(insert(tables.console_session).values(row))
            how = "recovery code" if code else "code" if step else "password"
            what = {"signed_in": (None, how)}
            record(
                connection, person.tenant_id, f"person:{person.name}", now, what, None, Kind.ACCESS
            )
            return True

    def record_failures(self, person: Person, count: int, now: int) -> None:
        """Puts on record that somebody has tried so often to sign in as a person, in vain. Of one who is not
        there any more, nothing."""
        column = tables.person.c
        where = column.tenant_id == person.tenant_id, column.id == person.id
        with self._database.writing() as connection:
            if connection.scalar(select(column.id).where(*where)) is not None:
                what = {"sign_ins_failed": (None, count)}
                who = f"person:{person.name}"
                record(connection, person.tenant_id, who, now, what, None, Kind.ACCESS)

    def session(self, digest: bytes, idle_s: int, now: int) -> Person | None:
        """Whose session that is, if it has neither ended nor been idle for too long."""
        column = tables.console_session.c
        wanted = (
            _PEOPLE.add_columns(column.seen_at)
            .join(tables.console_session, column.person_id == tables.person.c.id)
            .where(column.digest == digest, column.expires > now, column.seen_at > now - idle_s)
        )
        with self._database.reading() as connection:
            row = connection.execute(wanted).mappings().one_or_none()
        if row is None:
            return None
        if row["seen_at"] <= now - _SEEN_S:
            with self._database.writing() as connection:
                connection.execute(
                    update(tables.console_session)
                    .where(column.digest == digest)
                    .values(seen_at=now)
                )
        return _person(row)

    def end_session(self, digest: bytes, now: int) -> None:
        """One that is not there is no error."""
        column = tables.console_session.c
        with self._database.writing() as connection:
            connection.execute(delete(tables.console_session).where(column.digest == digest))

    def sessions(self, person: Person, idle_s: int, now: int) -> tuple[tuple[bytes, int], ...]:
        """The digests of somebody's sessions that go on, and when each was used last, to the minute;
        that first which was so latest."""
        column = tables.console_session.c
        wanted = (
            select(column.digest, column.seen_at)
            .where(column.person_id == person.id, column.tenant_id == person.tenant_id)
            .where(column.expires > now, column.seen_at > now - idle_s)
            .order_by(column.seen_at.desc(), column.digest)
        )
        with self._database.reading() as connection:
            return tuple((row.digest, row.seen_at) for row in connection.execute(wanted))

    def end_sessions(self, person: Person, *, who: str, now: int) -> None:
        """Signs somebody out everywhere."""
        check_who(who)
        with self._database.writing() as connection:
            _end_sessions(connection, person)
            what = {"person": (person.name, person.name), "sessions_ended": (None, True)}
            record(connection, person.tenant_id, who, now, what)

    # Tokens

    def add_token(
        self,
        tenant_id: int,
        name: str,
        digest: bytes,
        scopes: Collection[Right],
        expires: int | None,
        *,
        who: str,
        now: int,
    ) -> Token:
        """Raises `InvalidValue` for a name that none can have, and `Exists`."""
        check_name("token", name)
        check_who(who)
        if expires is not None and expires <= now:
            raise InvalidValue(Said("past", "this is not in the future", of="expires"))
        if wrong := list(problems_of_moment("expires", expires)):
            raise InvalidValue(*wrong)
        row = {
            "id": secrets.randbelow(2**63 - 1) + 1,
            "tenant_id": tenant_id,
            "name": name,
            "digest": digest,
            "scopes": sorted(each.value for each in scopes),
            "created_at": now,
            "expires": expires,
        }
        with self._database.writing() as connection:
            _check_tenant(connection, tenant_id)
            try:
                connection.execute(insert(tables.token).values(row))
            except IntegrityError:
                text = f"there is a token {name!r} already"
                raise Exists(Said("token-there", text, name=name)) from None
            what = {"token": (None, name), "scopes": (None, row["scopes"])}
            record(connection, tenant_id, who, now, what)
            return _tokens(connection, tables.token.c.id == row["id"])[0]

    def tokens(self, tenant_id: int) -> tuple[Token, ...]:
        """All tokens of a tenant, by name."""
        with self._database.reading() as connection:
            return _tokens(connection, tables.token.c.tenant_id == tenant_id)

    def revoke_token(self, tenant_id: int, name: str, *, who: str, now: int) -> None:
        """It lets nobody in any more."""
        check_who(who)
        column = tables.token.c
        with self._database.writing() as connection:
            gone = delete(tables.token).where(column.tenant_id == tenant_id, column.name == name)
            if not connection.execute(gone).rowcount:
                raise NotFound(Said("no-token", f"there is no token {name!r}", name=name))
            record(connection, tenant_id, who, now, {"token": (name, None)})

    def token(self, digest: bytes, now: int) -> Token | None:
        """The token of a digest, if it is not over. Notes the day."""
        column = tables.token.c
        with self._database.reading() as connection:
            found = _tokens(connection, column.digest == digest)
        if not found or (found[0].expires is not None and found[0].expires <= now):
            return None
        if found[0].used_on != now // _DAY_S:
            with self._database.writing() as connection:
                connection.execute(
                    update(tables.token)
                    .where(column.id == found[0].id)
                    .values(used_on=now // _DAY_S)
                )
        return found[0]


_PEOPLE = select(tables.person, tables.tenant.c.name.label("tenant")).join(
    tables.tenant, tables.tenant.c.id == tables.person.c.tenant_id
)


def _account(connection: Connection, tenant_id: int, name: str) -> Account:
    where = tables.person.c.tenant_id == tenant_id, tables.person.c.name == name
    row = connection.execute(_PEOPLE.where(*where)).mappings().one_or_none()
    if row is None:
        raise NotFound(Said("no-person", f"there is no person {name!r}", name=name))
    return _as_account(row)


def _as_account(row: RowMapping) -> Account:
    return Account(
        person=_person(row),
        hash=row["hash"],
        password_until=row["password_until"],
        reference=row["reference"],
        sealed_totp=row["sealed_totp"],
        totp_step=row["totp_step"],
    )


def _person(row: RowMapping) -> Person:
    return Person(
        id=row["id"],
        tenant_id=row["tenant_id"],
        tenant=row["tenant"],
        name=row["name"],
        role=Role(row["role"]),
        must_change=row["password_until"] is not None,
        has_totp=row["totp_on"],
        created_at=row["created_at"],
        let_in_until=row["let_in_until"],
    )


def _tokens(connection: Connection, *where: Any) -> tuple[Token, ...]:
    wanted = (
        select(tables.token, tables.tenant.c.name.label("tenant"))
        .join(tables.tenant, tables.tenant.c.id == tables.token.c.tenant_id)
        .where(*where)
        .order_by(tables.token.c.name)
    )
    return tuple(
        Token(
            id=row["id"],
            tenant_id=row["tenant_id"],
            tenant=row["tenant"],
            name=row["name"],
            scopes=frozenset(map(Right, row["scopes"])),
            created_at=row["created_at"],
            expires=row["expires"],
            used_on=row["used_on"],
        )
        for row in connection.execute(wanted).mappings()
    )


def _check_tenant(connection: Connection, tenant_id: int) -> None:
    column = tables.tenant.c.id
    if connection.execute(select(column).where(column == tenant_id)).first() is None:
        raise NotFound("there is no such tenant")


def _lock(connection: Connection, tenant_id: int) -> None:
    """Of two who take a right from each other, one waits; SQLite's transactions do so by themselves."""
    column = tables.tenant.c.id
    connection.execute(select(column).where(column == tenant_id).with_for_update())


def _check_other_admin(connection: Connection, person: Person) -> None:
    column = tables.person.c
    others = select(column.id).where(
        column.tenant_id == person.tenant_id,
        column.role == Role.ADMIN.value,
        column.id != person.id,
    )
    if connection.execute(others).first() is None:
        text = f"{person.name!r} is the last tenant-admin: name another one first"
        raise InvalidValue(Said("last-admin", text, name=person.name))


def _set(connection: Connection, person: Person, **values: Any) -> None:
    column = tables.person.c
    where = column.tenant_id == person.tenant_id, column.id == person.id
    if not connection.execute(update(tables.person).where(*where).values(**values)).rowcount:
        text = f"there is no person {person.name!r}"
        raise NotFound(Said("no-person", text, name=person.name))


def _end_sessions(connection: Connection, person: Person, keep: bytes = b"") -> None:
    column = tables.console_session.c
    theirs = column.tenant_id == person.tenant_id, column.person_id == person.id
    connection.execute(delete(tables.console_session).where(*theirs, column.digest != keep))


def _delete_codes(connection: Connection, person: Person) -> None:
    column = tables.recovery_code.c
    connection.execute(delete(tables.recovery_code).where(column.person_id == person.id))


def _stands(connection: Connection, person: Person, hash: str) -> bool:
    column = tables.person.c
    # What changes the row meanwhile waits, and ends the session with the others.
    row = select(column.hash, column.totp_on).where(column.id == person.id).with_for_update()
    return connection.execute(row).one_or_none() == (hash, person.has_totp)


def _check_stands(connection: Connection, person: Person, checked: str | None) -> None:
    if checked is not None and not _stands(connection, person, checked):
        raise SignInError


def _use_step(connection: Connection, person: Person, step: int) -> bool:
    column = tables.person.c
    used = update(tables.person).where(column.id == person.id, column.totp_step < step)
    return bool(connection.execute(used.values(totp_step=step)).rowcount)


def _use_code(connection: Connection, person: Person, code: bytes) -> bool:
    column = tables.recovery_code.c
    used = delete(tables.recovery_code).where(column.person_id == person.id, column.digest == code)
    return bool(connection.execute(used).rowcount)
