"""Requests that may be sent again: Idempotency-Key (draft-ietf-httpapi-idempotency-key-header).

Whoever got no answer sends the request again with the same key, and gets the answer of the first time,
for 24 hours. There is no row for what is under way, which a crash would leave behind: what a request does
and the row that keeps its answer are one transaction of the store. So after a crash there are both, or
neither, and the request is carried out now. Two at a time are told apart in memory; where there are two
offices, of two nodes or while one takes over, the row is one's alone and undoes what the other did.

Where a request cannot be one transaction (erasing reaches into the key store), it is one that may be
carried out twice, and its answer is kept after.

A key is of one token's. Its text is not stored, only a keyed hash; nor is the request, of which there is
an HMAC under the record key that the answer is sealed with.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from threading import Lock
from typing import Final

from pystream.acl.keys import Keyring
from pystream.acl.sealing import Place, seal, unseal
from pystream.acl.store import Store
from pystream.acl.store.answers import KeptAnswer
from pystream.acl.store.keystore import KeyStore
from pystream.errors import Exists, PystreamError
from pystream.server import log
from pystream.server.office.problems import Error, Refusal

KEPT_S: Final = 86_400
_TIDY_S = 60
# RFC 8941 3.3.3: a string, which the draft's grammar has, or what most clients send, without quotes.
KEY_PATTERN: Final = r'^("[\x20\x21\x23-\x5b\x5d-\x7e]{1,255}"|[\x21\x23-\x5b\x5d-\x7e]{1,255})$'
_KEY = re.compile(KEY_PATTERN)


def key_of(field: str) -> str:
    """The key that the field has. Raises `Refusal`."""
    found = _KEY.fullmatch(field)
    if found is None:
        detail = "1 to 255 visible ASCII characters without quotes or backslashes are wanted"
        error = Error(detail=detail, header="Idempotency-Key")
        raise Refusal("malformed", f"Idempotency-Key: {detail}", [error])
    return found[0].strip('"')


class Once:
    """Usable from several threads."""

    def __init__(self, store: Store, keys: KeyStore) -> None:
        self._store = store
        self._answers = store.viewers.answers
        self._keys = keys
        self._under_way: set[bytes] = set()
        self._lock = Lock()
        self._tidied = 0

    def answer(
        self,
        tenant_id: int,
        token_id: int,
        key: str,
        asked: bytes,
        carry_out: Callable[[], bytes],
        *,
        whole: bool,
        now: int,
    ) -> tuple[bytes, bool]:
        """The answer to a request, and whether it is that of an earlier time.

        `asked` is all of the request that matters. `carry_out` does it, in one transaction with what is
        kept if `whole`; what it raises is raised, and nothing is kept. Raises `Refusal`.
        """
        who = token_id.to_bytes(8)
        digest = self._keyring.answer_digest(tenant_id.to_bytes(8), who, key.encode())
        with self._alone(digest):
            kept = self._answers.find(tenant_id, digest, now)
            if kept is not None:
                return self._again(tenant_id, kept, asked), True
            made = self._first(tenant_id, digest, asked, carry_out, whole, now)
        self._tidy(now)
        return made, False

    @cached_property
    def _keyring(self) -> Keyring:
        return Keyring(self._keys.root())

    @contextmanager
    def _alone(self, digest: bytes) -> Iterator[None]:
        with self._lock:
            if digest in self._under_way:
                raise _under_way()
            self._under_way.add(digest)
        try:
            yield
        finally:
            with self._lock:
                self._under_way.discard(digest)

    def _again(self, tenant_id: int, kept: KeptAnswer, asked: bytes) -> bytes:
        found = self._keys.record_keys(tenant_id, [kept.reference])
        if kept.reference not in found:
            raise Refusal(
                "answer-erased", "this was carried out before, and its answer was erased since"
            )
        key = found[kept.reference]
        if not hmac.compare_digest(_fingerprint(key, asked), kept.fingerprint):
            detail = "this key came with another request before"
            raise Refusal("key-reused", detail, [Error(detail=detail, header="Idempotency-Key")])
        return unseal(key, _place(tenant_id, kept.digest), kept.sealed)

    def _first(
        self,
        tenant_id: int,
        digest: bytes,
        asked: bytes,
        carry_out: Callable[[], bytes],
        whole: bool,
        now: int,
    ) -> bytes:
        reference = None
        try:
            with self._store.together() if whole else nullcontext():
                made = carry_out()
                (key,) = self._keys.add_record_keys(tenant_id, 1, now)
                reference = key.reference
                kept = KeptAnswer(
                    digest=digest,
                    reference=reference,
                    fingerprint=_fingerprint(key.key, asked),
                    sealed=seal(key.key, _place(tenant_id, digest), made),
                    expires=now + KEPT_S,
                )
                self._answers.keep(tenant_id, kept, now)
        except Exception as error:
            if reference is None:
                raise
            self._keys.erase(tenant_id, [reference], now)
            if isinstance(error, Exists):
                raise _under_way() from None
            raise
        return made

    def _tidy(self, now: int) -> None:
        """Erases what is over, keys first, now and then."""
        with self._lock:
            if now < self._tidied + _TIDY_S:
                return
            self._tidied = now
        try:
            for tenant_id, references in self._answers.expired(now).items():
                self._keys.erase(tenant_id, references, now, missing_ok=True)
                self._answers.forget(tenant_id, references)
        except PystreamError as error:
            # Whoever asked has an answer all the same.
            log.warning("answers-not-tidied", **log.fault(error))


def _under_way() -> Refusal:
    return Refusal(
        "under-way", "a request with this key is under way", headers=(("Retry-After", "1"),)
    )


def _fingerprint(key: bytes, asked: bytes) -> bytes:
    return hmac.digest(key, b"pystream asked 1" + asked, "sha256")


def _place(tenant_id: int, digest: bytes) -> Place:
    return Place(tenant_id, "kept_answer", digest, "sealed")
