"""People between the two stores: their passwords hashed, the secrets of their authenticators sealed.

**Signing in** costs the same whatever is wrong: whoever is not there has a hash as well, and the code of
an authenticator is looked at before it matters. The answer is one, too (`SignInError`). What is right is
used up in the transaction that opens the session: of two who show one code, one comes in.

Nobody is locked out here: how often somebody may try is counted by whoever asks (`sign_in.Tries`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from pystream.acl import sign_in
from pystream.acl.passwords import generate
from pystream.acl.people import Person, Right, Role, Token, is_let_in
from pystream.acl.sealing import Place, seal, unseal
from pystream.acl.store.failures import Failures
from pystream.acl.store.keystore import KeyStore
from pystream.acl.store.people import Account, PeopleStore
from pystream.errors import InvalidValue, PystreamError, Said, SignInError


@dataclass(frozen=True, slots=True)
class Opened:
    """A session that has begun: whose, and the secret that its cookie carries."""

    person: Person
    secret: bytes = field(repr=False)


class Accounts:
    """What is done with people's secrets. `keys` is needed for authenticators alone. Methods raise
    `StoreError`, `SealError` and `MasterKeyError` as the two stores do."""

    def __init__(self, people: PeopleStore, keys: KeyStore | None = None) -> None:
        self._people = people
        self._keys = keys
        self.failures = Failures(people)

    # By others

    def add(
        self, tenant_id: int, name: str, role: Role, *, who: str, now: int
    ) -> tuple[Person, str]:
        """Adds a person, and returns a first password, which is shown once and has to be changed.

        Raises `InvalidValue` and `Exists`.
        """
        password = generate()
        hash, until = sign_in.hash_password(password), now + sign_in.FIRST_PASSWORD_S
        person = self._people.add(tenant_id, name, role, hash, until, who=who, now=now)
        return person, password

    def reset(self, tenant_id: int, name: str, *, who: str, now: int) -> tuple[Person, str]:
        """Gives a person a first password again, which ends all sessions. An authenticator stays."""
        password = generate()
        hash, until = sign_in.hash_password(password), now + sign_in.FIRST_PASSWORD_S
        return self._people.set_hash(tenant_id, name, hash, until, who=who, now=now), password

    def remove(self, tenant_id: int, name: str, *, who: str, now: int) -> None:
        """Takes a person away, and the key of an authenticator with it."""
        self._erase(tenant_id, self._people.remove(tenant_id, name, who=who, now=now), now)

    def remove_totp(self, tenant_id: int, name: str, *, who: str, now: int) -> None:
        """Asks a person for no codes any more: the authenticator was lost. To have none is no error."""
        self._remove_totp(self._people.account(tenant_id, name), who=who, now=now)

    def _remove_totp(
        self, account: Account, *, who: str, now: int, checked: str | None = None
    ) -> None:
        if account.reference is None:
            return
        person = account.person
        self._people.remove_totp(person, who=who, now=now, checked=checked)
        self._erase(person.tenant_id, account.reference, now)

    def _erase(self, tenant_id: int, reference: bytes | None, now: int) -> None:
        if reference is not None:
            self._key_store().erase(tenant_id, [reference], now, missing_ok=True)

    def add_token(
        self,
        tenant_id: int,
        name: str,
        scopes: Collection[Right],
        expires: int | None,
        *,
        who: str,
        now: int,
    ) -> tuple[Token, str]:
        """Adds a token, and returns its text, which is shown once. Raises `InvalidValue` and `Exists`."""
        text = sign_in.new_token()
        digest = sign_in.token_digest(text)
        assert digest is not None
        token = self._people.add_token(tenant_id, name, digest, scopes, expires, who=who, now=now)
        return token, text

    # By whoever it is

    def sign_in(
        self,
        tenant: str,
        name: str,
        password: str,
        code: str,
        now: int,
        may_try_code: Callable[[Person], bool] = lambda person: True,
    ) -> Opened:
        """Opens a session. `code` is of an authenticator, or for recovery; without either, it is "".
        `may_try_code` is asked of whoever knew the password and needs a code.

        Some 50 ms and 64 MiB. Raises `SignInError` for whatever is wrong; of somebody who is there, that
        is counted for the record (`failures`).
        """
        account = self._people.find(tenant, name)
        try:
            return self._signed_in(account, password, code, now, may_try_code)
        except SignInError:
            if account is not None:
                self.failures.count(account.person)
            raise

    def _signed_in(
        self,
        account: Account | None,
        password: str,
        code: str,
        now: int,
        may_try_code: Callable[[Person], bool],
    ) -> Opened:
        step, recovery = self._shown(account, code, now)
        right = sign_in.verify(account.hash if account else None, password)
        if account is None or not right or not _may_come_in(account, now):
            raise SignInError
        if account.person.has_totp and not may_try_code(account.person):
            raise SignInError
        if account.person.has_totp and step is None and recovery is None:
            raise SignInError
        secret = sign_in.new_session()
        opened = self._people.open_session(
            account.person,
            sign_in.digest(secret),
            now + sign_in.SESSION_LONGEST_S,
            now,
            checked=account.hash,
            step=step,
            code=recovery,
        )
        if not opened:
            raise SignInError
        if sign_in.is_outdated(account.hash):
            hash = sign_in.hash_password(password)
            self._people.renew_hash(account.person, account.hash, hash)
        return Opened(account.person, secret)

    def _shown(
        self, account: Account | None, code: str, now: int
    ) -> tuple[int | None, bytes | None]:
        """The step or the digest of a code, whichever it is."""
        secret = self._secret(account)
        if account is None or not account.person.has_totp:
            sign_in.step_of(secret, code, now, 0)
            return None, None
        step = sign_in.step_of(secret, code, now, account.totp_step)
        return step, sign_in.recovery_digest(code) if step is None else None

    def session(self, secret: bytes, now: int) -> Person | None:
        """Whose session that is, if it goes on."""
        person = self._people.session(sign_in.digest(secret), sign_in.SESSION_IDLE_S, now)
        return person if person is not None and is_let_in(person, now) else None

    def sign_out(self, secret: bytes, now: int) -> None:
        self._people.end_session(sign_in.digest(secret), now)

    def token(self, text: str, now: int) -> Token | None:
        """The token of a text, if it is not over."""
        digest = sign_in.token_digest(text)
        return None if digest is None else self._people.token(digest, now)

    def change_password(self, person: Person, old: str, new: str, secret: bytes, now: int) -> None:
        """Changes one's own password, which ends all sessions but the present one.

        Raises `SignInError` where the old one is wrong, or is not the present one any more when the new
        one was hashed, and `InvalidValue` for a new one that is none.
        """
        account = self._people.account(person.tenant_id, person.name)
        if not sign_in.verify(account.hash, old):
            raise SignInError
        sign_in.check_new_password(new, person.name, person.tenant)
        if sign_in.password_form(new) == sign_in.password_form(old):
            raise InvalidValue(Said("own-password-same", "this is the password that you had"))
        self._people.set_hash(
            person.tenant_id,
            person.name,
            sign_in.hash_password(new),
            None,
            who=f"person:{person.name}",
            now=now,
            keep=sign_in.digest(secret),
            checked=account.hash,
        )

    def begin_totp(self, person: Person, now: int) -> bytes:
        """A new secret, 20 bytes, for one's authenticator; codes are asked for after `finish_totp`.

        Raises `InvalidValue` where there is one in use: that has to be taken away first.
        """
        account = self._people.account(person.tenant_id, person.name)
        if account.person.has_totp:
            raise _totp_there()
        keys = self._key_store()
        (key,) = keys.add_record_keys(person.tenant_id, 1, now)
        secret = sign_in.new_totp_secret()
        try:
            sealed = seal(key.key, _place(person), secret)
            if not self._people.begin_totp(person, key.reference, sealed):
                raise _totp_there()
        except PystreamError:
            self._erase(person.tenant_id, key.reference, now)
            raise
        self._erase(person.tenant_id, account.reference, now)
        return secret

    def finish_totp(self, person: Person, code: str, now: int) -> tuple[str, ...]:
        """Has codes asked for from now on, since one was shown; returns those for recovery, which are
        shown once. Raises `SignInError` for a wrong one, and `InvalidValue` where codes are asked for
        already: whoever finds a session open shall not get fresh codes for recovery."""
        account = self._people.account(person.tenant_id, person.name)
        if account.person.has_totp:
            raise _totp_there()
        if account.sealed_totp is None:
            raise SignInError
        step = sign_in.step_of(self._secret(account), code, now, account.totp_step)
        if step is None:
            raise SignInError
        codes = sign_in.new_recovery_codes()
        digests = [digest for each in codes if (digest := sign_in.recovery_digest(each))]
        reference, who = account.reference, f"person:{person.name}"
        if not self._people.finish_totp(person, reference, step, digests, who=who, now=now):
            raise SignInError
        return codes

    def begun_totp(self, person: Person) -> bytes | None:
        """The secret of one's authenticator that waits for its first code; None where none does."""
        account = self._people.account(person.tenant_id, person.name)
        if account.person.has_totp or account.sealed_totp is None:
            return None
        return self._secret(account)

    def give_up_totp(self, person: Person, password: str, now: int) -> None:
        """Asks for no codes of one's own authenticator any more. Raises `SignInError` where the password
        is wrong: whoever finds a session open shall not be able to."""
        account = self._people.account(person.tenant_id, person.name)
        if not sign_in.verify(account.hash, password):
            raise SignInError
        self._remove_totp(account, who=f"person:{person.name}", now=now, checked=account.hash)

    def sessions(self, person: Person, secret: bytes, now: int) -> tuple[tuple[bool, int], ...]:
        """One's sessions: whether it is the present one, and when it was used last."""
        present = sign_in.digest(secret)
        found = self._people.sessions(person, sign_in.SESSION_IDLE_S, now)
        return tuple((digest == present, seen_at) for digest, seen_at in found)

    def sign_out_everywhere(self, person: Person, now: int) -> None:
        self._people.end_sessions(person, who=f"person:{person.name}", now=now)

    def _secret(self, account: Account | None) -> bytes:
        """The secret of an authenticator. Of whoever has none, it is looked for all the same; what is
        not there, or was erased, is one that no authenticator has."""
        reference = account.reference if account else None
        owner = account.person.tenant_id if account else 0
        found = self._key_store().record_keys(owner, [reference or bytes(16)])
        key = found.get(reference) if reference else None
        if account is None or key is None or account.sealed_totp is None:
            return sign_in.new_totp_secret()
        return unseal(key, _place(account.person), account.sealed_totp)

    def _key_store(self) -> KeyStore:
        if self._keys is None:
            raise ValueError("authenticators need the key store")
        return self._keys


def _totp_there() -> InvalidValue:
    return InvalidValue(Said("totp-there", "there is an authenticator already"))


def _may_come_in(account: Account, now: int) -> bool:
    until = account.password_until
    return is_let_in(account.person, now) and (until is None or now < until)


def _place(person: Person) -> Place:
    return Place(person.tenant_id, "person", person.id, "totp")
