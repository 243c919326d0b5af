"""Passwords between the two stores: sealed on their way in, opened on their way to the tenant's people.

A password's record key is made first, and the password stored after: of a failure in between, a key
remains that opens nothing. It is erased, unless nobody knows whether the password is stored: where a
database says no more, or the process dies. Erased the other way round: first the key, and what is left of
the password is noise.

**One seal for text and label.** Setting up a cipher takes far longer than what it does to some dozens
of bytes, so both are sealed at once, the label behind a NUL, which no text has in it: a text alone is
one without a label. Labels of their own (`sealed_label`) are in rows from before that, and are opened.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from pystream.acl import passwords
from pystream.acl.passwords import PasswordSettings
from pystream.acl.sealing import Peppers, Place, seal, unseal
from pystream.acl.store.keystore import KeyStore, RecordKey
from pystream.acl.store.viewers import NewPassword, Replaced, Sealed, ViewerStore
from pystream.acl.viewers import Password, named_form, with_label, without_label
from pystream.errors import InvalidValue, NotFound, Outdated, Said

MOST_AT_ONCE: Final = 50_000
"""Passwords that are added in one transaction. In SQLite all others who write wait for it, some 5 s for so
many; who has waited for 10 s gives up."""

_PAGE = 5000
# Beside the label, which lies sealed.
_CHANGEABLE: Final = frozenset(("valid_from", "valid_until", "max_devices"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A password as the customer knows it. `text` and `label` are None where it was erased. `number`: its
    place in the order in which the tenant's were made, which a page of a list goes on behind; 0 in what is
    on no list."""

    password: Password
    text: str | None = field(repr=False)
    label: str | None = field(repr=False)
    number: int = 0

    @property
    def settings(self) -> PasswordSettings:
        password = self.password
        return PasswordSettings(
            label=self.label or "",
            valid_from=password.valid_from,
            valid_until=password.valid_until,
            max_devices=password.max_devices,
            is_test=password.is_test,
        )

    def state(self, now: int) -> str:
        """`erased`, `revoked`, `over`, `to come` or `valid`."""
        password = self.password
        if self.text is None:
            return "erased"
        if password.revoked_at is not None:
            return "revoked"
        if password.valid_until is not None and now >= password.valid_until:
            return "over"
        if password.valid_from is not None and now < password.valid_from:
            return "to come"
        return "valid"


class Issuer:
    """Issues and shows a tenant's passwords. Methods raise `StoreError`, `SealError` and
    `MasterKeyError` as the two stores do."""

    def __init__(self, viewers: ViewerStore, keys: KeyStore) -> None:
        self._viewers = viewers
        self._keys = keys

    def add(
        self,
        tenant_id: int,
        stream_ids: Collection[int],
        entries: Sequence[tuple[str, PasswordSettings]],
        *,
        who: str,
        now: int,
        shared: bool = False,
    ) -> tuple[int, ...]:
        """Adds passwords, all or none, and returns their ids.

        Raises `InvalidValue` for a text that cannot be a password, wrong settings, or too many; `Exists`
        where the tenant has one of them; `NotFound` for a stream that is not the tenant's.
        """
        with self._made(tenant_id, entries, [shared] * len(entries), now) as made:
            self._viewers.add_passwords(tenant_id, stream_ids, made, who=who, now=now)
        return tuple(each.id for each in made)

    @contextmanager
    def _made(
        self,
        tenant_id: int,
        entries: Sequence[tuple[str, PasswordSettings]],
        shared: Sequence[bool],
        now: int,
    ) -> Iterator[list[NewPassword]]:
        """Passwords that are stored in the block, or in a transaction of several steps that it is one of."""
        check_count(len(entries))
        forms = [passwords.importable(text) for text, _ in entries]
        for _, settings in entries:
            passwords.check(settings)
        peppers = self._keys.peppers()
        keys = self._keys.add_record_keys(tenant_id, len(entries), now)
        made = [
            _sealed(tenant_id, text, form.encode(), settings, key, peppers, shared=one_for_all)
            for (text, settings), form, key, one_for_all in zip(
                entries, forms, keys, shared, strict=True
            )
        ]
        with self._viewers.undoing(lambda: self._unmake(tenant_id, made, now)):
            yield made
        self._follow_pepper(tenant_id, made)

    def _unmake(self, tenant_id: int, made: Sequence[NewPassword], now: int) -> None:
        references = {each.id: each.reference for each in made}
        self._keys.unmake(
            tenant_id,
            references.values(),
            lambda: self._viewers.references(tenant_id, references),
            now,
        )

    def _follow_pepper(self, tenant_id: int, made: Sequence[NewPassword]) -> None:
        """Indexes anew what was stored just now, where the pepper was changed since it was indexed: whoever
        changed it may have been done before this was stored, and has not seen it then."""
        peppers = self._keys.peppers()
        old = [each for each in made if each.pepper != peppers.newest.generation]
        for first in range(0, len(old), _PAGE):
            some = old[first : first + _PAGE]
            page = self._viewers.passwords(
                tenant_id, ids=[each.id for each in some], most=_PAGE, named=some[0].named
            )
            self._reindex(peppers, page)

    def listed(
        self, tenant_id: int, stream_id: int | None = None, *, named: bool = False
    ) -> Iterator[Shown]:
        """A tenant's passwords, all or those that open a stream, in the order in which they were made; with
        `named`, the viewers whom its links and tokens name."""
        after = 0
        while page := self._viewers.passwords(
            tenant_id, stream_id, after=after, most=_PAGE, named=named
        ):
            yield from self._shown(tenant_id, page)
            after = page[-1].number

    def page(
        self, tenant_id: int, stream_id: int | None = None, *, after: int = 0, most: int = _PAGE
    ) -> list[Shown]:
        """A page of these, behind the number `after`."""
        found = self._viewers.passwords(tenant_id, stream_id, after=after, most=most)
        return list(self._shown(tenant_id, found))

    def made(
        self, tenant_id: int, stream_id: int, at: int, most: int, *, after: int = 0
    ) -> list[Shown]:
        """A page of the passwords of a stream that were added in that second, behind the number `after`."""
        found = self._viewers.passwords(tenant_id, stream_id, after=after, most=most, made_at=at)
        return list(self._shown(tenant_id, found))

    def shown(self, tenant_id: int, ids: Collection[int], *, named: bool = False) -> list[Shown]:
        """Passwords of a tenant by their ids; those that it has, in the order in which they were made. With
        `named`, its named viewers."""
        wanted, found = sorted(set(ids)), list[Shown]()
        for first in range(0, len(wanted), _PAGE):
            some = wanted[first : first + _PAGE]
            found += self._shown(
                tenant_id,
                self._viewers.passwords(tenant_id, ids=some, most=_PAGE, named=named),
            )
        return sorted(found, key=lambda each: each.number)

    def _shown(self, tenant_id: int, page: Sequence[Sealed]) -> Iterator[Shown]:
        keys = self._keys.record_keys(tenant_id, [each.reference for each in page])
        for each in page:
            text, label = _opened(keys.get(each.reference), each)
            yield Shown(password=each.password, text=text, label=label, number=each.number)

    def find(self, tenant_id: int, text: str) -> Password | None:
        """The password of that text. Raises `InvalidValue` for one that cannot be."""
        indexes = self._keys.peppers().indexes(tenant_id, passwords.canonical(text).encode())
        return self._viewers.find(tenant_id, [index for _, index in indexes])

    def there(self, tenant_id: int, texts: Sequence[str]) -> list[int]:
        """The places of those that the tenant has already. Raises `InvalidValue` as `find` does."""
        peppers = self._keys.peppers()
        lookups = [
            [index for _, index in peppers.indexes(tenant_id, passwords.canonical(text).encode())]
            for text in texts
        ]
        found = self._viewers.there(tenant_id, [one for each in lookups for one in each])
        return [place for place, each in enumerate(lookups) if not found.isdisjoint(each)]

    def find_named(self, tenant_id: int, viewer: str) -> Password | None:
        """The viewer whom links or tokens call by that name, once one has come in."""
        return self._found_named(tenant_id, viewer, self._keys.peppers())

    def named(self, tenant_id: int, viewers: Collection[str], now: int) -> dict[str, Password]:
        """The viewers of these names, added where they are new."""
        peppers = self._keys.peppers()
        found = {name: self._found_named(tenant_id, name, peppers) for name in set(viewers)}
        new = sorted(name for name, password in found.items() if password is None)
        if new:
            self._add_named(tenant_id, new, peppers, now)
            peppers = self._keys.peppers()
            found |= {name: self._found_named(tenant_id, name, peppers) for name in new}
        return {name: password for name, password in found.items() if password is not None}

    def _found_named(self, tenant_id: int, name: str, peppers: Peppers) -> Password | None:
        indexes = peppers.indexes(tenant_id, named_form(name))
        return self._viewers.find(tenant_id, [index for _, index in indexes])

    def _add_named(self, tenant_id: int, names: Sequence[str], peppers: Peppers, now: int) -> None:
        keys = self._keys.add_record_keys(tenant_id, len(names), now)
        made = [
            _sealed(tenant_id, name, named_form(name), PasswordSettings(), key, peppers, named=True)
            for name, key in zip(names, keys, strict=True)
        ]
        with self._viewers.undoing(lambda: self._unmake(tenant_id, made, now)):
            added = self._viewers.add_named(tenant_id, made, now)
        useless = [key.reference for key in keys if key.reference not in added]
        if useless:
            self._keys.erase(tenant_id, useless, now)
        self._follow_pepper(tenant_id, [each for each in made if each.reference in added])

    def change(
        self,
        tenant_id: int,
        ids: Collection[int],
        changes: Mapping[str, Any],
        *,
        who: str,
        now: int,
    ) -> None:
        """Changes some of passwords' label, validity and devices, by their names in `PasswordSettings`:
        of all of them, or of none. Who is in stays in; whoever comes in next does so by what it is then.

        Raises `NotFound`, and `InvalidValue` for what cannot be: a new end that is over (to revoke it
        says so), or anything of a password that was erased.
        """
        passwords.check(PasswordSettings(label=changes.get("label") or ""))
        wanted, columns = sorted(set(ids)), dict[int, dict[str, Any]]()
        # All is sealed before the first is stored: nobody waits for that.
        for first in range(0, len(wanted), _PAGE):
            some = wanted[first : first + _PAGE]
            page = self._viewers.passwords(tenant_id, ids=some, most=_PAGE)
            if len(page) < len(some):
                raise NotFound(Said("no-password", "there is no such password"))
            keys = self._keys.record_keys(tenant_id, [each.reference for each in page])
            for each in page:
                key = keys.get(each.reference)
                columns[each.password.id] = _changed(each, key, changes, now)
        self._viewers.set_passwords(tenant_id, columns, who=who, now=now)

    def rotate(
        self,
        tenant_id: int,
        opened: Mapping[int, Collection[int]],
        *,
        grace_s: int,
        who: str,
        now: int,
    ) -> list[tuple[int, str]]:
        """Makes new passwords in the places of others, with the same label, validity and devices each;
        returns their ids and texts in the order of the old ones. `opened`: the streams that they open, by the
        ids of these. The old ones let in for `grace_s` more, and their sessions go on; for 0, they are
        revoked. All of it happens, or nothing.

        Raises `NotFound`, and `InvalidValue` where one lets nobody in any more, or somebody was faster.
        """
        found = {each.password.id: each for each in self.shown(tenant_id, opened)}
        if len(found) < len(opened):
            raise NotFound(Said("no-password", "there is no such password"))
        old = [found[id] for id in opened]
        text = "the password lets nobody in any more: make a new one instead"
        over = InvalidValue(Said("password-over", text))
        if any(each.state(now) not in ("valid", "to come") for each in old):
            raise over
        entries = [(passwords.generate(), each.settings) for each in old]
        shared = [each.password.shared for each in old]
        until = now + grace_s if grace_s else None
        with self._made(tenant_id, entries, shared, now) as made:
            replaced = [
                Replaced(
                    id=each.password.id,
                    valid_until=each.password.valid_until,
                    stream_ids=opened[each.password.id],
                    new=new,
                )
                for each, new in zip(old, made, strict=True)
            ]
            try:
                self._viewers.replace(tenant_id, replaced, until, who=who, now=now)
            except Outdated:
                raise over from None
        return [(new.id, text) for new, (text, _) in zip(made, entries, strict=True)]

    def erase(self, tenant_id: int, ids: Collection[int], *, who: str, now: int) -> int:
        """Revokes passwords and destroys what their texts and labels were sealed with, also in sealed
        reports; returns how many there were. Their rows stay, of which nothing can be read. What the API
        keeps of its answers may hold them: nobody reads these again either, nor what is known of who has
        watched with them, and when. Raises `InvalidValue`, and erases none, where a report that is held names
        one, or its data is restricted."""
        ids = self._viewers.known(tenant_id, ids)
        references = self._viewers.references(tenant_id, ids)
        if not references:
            return 0
        self._viewers.give_up(tenant_id, ids, who=who, now=now)
        answers = self._viewers.answers.references(tenant_id)
        attendance = self._viewers.attendance
        self._keys.erase(tenant_id, [*references, *answers], now, missing_ok=True)
        # What comes of theirs from here on is not sealed any more.
        attendance.forget_open(tenant_id, ids)
        self._viewers.reach.forget(tenant_id, ids)
        sealed = attendance.references(tenant_id, ids)
        self._keys.erase(tenant_id, sealed, now, missing_ok=True)
        attendance.forget_sealed(tenant_id, sealed)
        self._viewers.forget_sessions(tenant_id, ids)
        self._viewers.forget_lookups(tenant_id, ids, who=who, now=now)
        return len(references)

    def erased(self, tenant_id: int, stream_ids: Collection[int], since: int, until: int) -> int:
        """How many passwords and named viewers of these streams were erased that may have been valid between
        two times."""
        references = self._viewers.ended(tenant_id, stream_ids, since, until)
        there = 0
        for first in range(0, len(references), _PAGE):
            there += len(self._keys.record_keys(tenant_id, references[first : first + _PAGE]))
        return len(references) - there

    def reindex(
        self, peppers: Peppers, most: int = _PAGE, *, twice: Callable[[int], None] = lambda id: None
    ) -> int:
        """Indexes passwords anew whose index is not of the newest pepper, as many as that at most;
        returns how many. For `KeyStore.rotate_pepper`. `twice` is told the id of one that is there
        already under the newest pepper: nobody finds the older one of the two any more."""
        page = self._viewers.indexed_otherwise([peppers.newest.generation], most)
        self._reindex(peppers, page, twice)
        return len(page)

    def reindex_lost(self, *, twice: Callable[[int], None] = lambda id: None) -> int:
        """Indexes passwords anew that nobody finds, as their pepper is not in the key store: one of the two
        stores was brought back from before a rotation, or after it. Returns how many. `twice` is told as
        in `reindex`."""
        count = 0
        while True:
            peppers = self._keys.peppers()
            there = [each.generation for each in peppers.active]
            page = self._viewers.indexed_otherwise(there, _PAGE)
            if not page:
                return count
            self._reindex(peppers, page, twice)
            count += len(page)

    def _reindex(
        self,
        peppers: Peppers,
        page: Sequence[Sealed],
        twice: Callable[[int], None] = lambda id: None,
    ) -> None:
        for tenant_id, some in _by_tenant(page):
            keys = self._keys.record_keys(tenant_id, [each.reference for each in some])
            changed: list[tuple[Sealed, bytes]] = []
            for each in some:
                text, _ = _opened(keys.get(each.reference), each)
                # Of an erased one, nobody finds the index again.
                form = _form(each.password, text) if text else secrets.token_bytes(32)
                changed.append((each, peppers.newest.index(tenant_id, form)))
            for id in self._viewers.reindex(tenant_id, peppers.newest.generation, changed):
                twice(id)


def check_count(count: int) -> None:
    """Raises `InvalidValue` for more than are added in one transaction."""
    if count > MOST_AT_ONCE:
        text = f"{count:,} are too many: at most {MOST_AT_ONCE:,} passwords are added at once; divide them"
        raise InvalidValue(Said("passwords-many", text, count=count, most=MOST_AT_ONCE))


def _sealed(
    tenant_id: int,
    text: str,
    form: bytes,
    settings: PasswordSettings,
    key: RecordKey,
    peppers: Peppers,
    *,
    shared: bool = False,
    named: bool = False,
) -> NewPassword:
    id = secrets.randbelow(2**63 - 1) + 1
    (_, lookup), *others = peppers.indexes(tenant_id, form)
    return NewPassword(
        id=id,
        reference=key.reference,
        pepper=peppers.newest.generation,
        lookup=lookup,
        otherwise=tuple(index for _, index in others),
        sealed_text=_sealed_text(tenant_id, id, key.key, text, settings.label),
        shared=shared,
        is_test=settings.is_test,
        valid_from=settings.valid_from,
        valid_until=settings.valid_until,
        max_devices=settings.max_devices,
        named=named,
    )


def _sealed_text(tenant_id: int, id: int, key: bytes, text: str, label: str) -> bytes:
    plain = with_label(text, label).encode()
    return seal(key, Place(tenant_id, "password", id, "text"), plain)


def _changed(
    sealed: Sealed, key: bytes | None, changes: Mapping[str, Any], now: int
) -> dict[str, Any]:
    """The columns of a password that are another thing then."""
    old = sealed.password
    if key is None:
        text = "the password was erased, and there is nothing of it to change"
        raise InvalidValue(Said("password-erased", text))
    until = changes.get("valid_until")
    if until is not None and until != old.valid_until and until <= now:
        raise InvalidValue(passwords.OVER)
    columns = {name: value for name, value in changes.items() if name in _CHANGEABLE}
    if "label" in changes:
        whole, before = _opened(key, sealed)
        label = changes["label"] or ""
        if whole is not None and label != before:
            columns["sealed_text"] = _sealed_text(old.tenant_id, old.id, key, whole, label)
            columns["sealed_label"] = None
    return columns


def _form(password: Password, text: str) -> bytes:
    return named_form(text) if password.named else passwords.canonical(text).encode()


def _opened(key: bytes | None, sealed: Sealed) -> tuple[str | None, str | None]:
    """Text and label; neither where there is no key any more."""
    if key is None:
        return None, None

    def opened(column: str, value: bytes) -> str:
        place = Place(sealed.password.tenant_id, "password", sealed.password.id, column)
        return unseal(key, place, value).decode()

    text, label = without_label(opened("text", sealed.text))
    return text, label if sealed.label is None else opened("label", sealed.label)


def _by_tenant(page: Iterable[Sealed]) -> Iterator[tuple[int, list[Sealed]]]:
    tenants: dict[int, list[Sealed]] = {}
    for each in page:
        tenants.setdefault(each.password.tenant_id, []).append(each)
    yield from tenants.items()
