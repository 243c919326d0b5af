"""What handlers get and give: the office, a request, a reply."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from pystream import _core
from pystream.acl.disclosure import Practice
from pystream.acl.entrances.verifiers import cookie
from pystream.acl.keys import Keyring
from pystream.acl.people import Actor
from pystream.acl.retention import Rules
from pystream.acl.store import Store
from pystream.acl.store.accounts import Accounts
from pystream.acl.store.issuing import Issuer
from pystream.acl.store.keystore import KeyStore
from pystream.errors import Said
from pystream.server.http import HttpError
from pystream.server.office.forms import File, multipart
from pystream.server.office.once import Once
from pystream.server.office.quotas import Quotas
from pystream.server.office.tries import Tries
from pystream.server.settings import Outgoing

FIELDS: Final = (
    *("accept", "accept_language", "authorization", "content_type", "cookie", "host"),
    *("idempotency_key", "if_match", "if_none_match", "origin"),
)
"""The header fields of a request that come along, as `http.Fields` names them."""
_MOST_FIELDS = 200


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """A request as it crosses the line. `path` is without the settings' prefix, which is `root`. `local`:
    it was sent on this machine, to this machine. `network`: the prefix of the sender's address, for
    counting tries."""

    method: str
    path: str
    query: str
    fields: dict[str, str]
    body: bytes
    secure: bool
    local: bool
    network: bytes
    root: str


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """An answer. Content-Length is added on its way."""

    status: int
    headers: list[tuple[str, str]] = []
    body: bytes = b""


class Request:
    """What handlers get of a request. `place` has what stood in the path where the route has names in
    braces, `session` the secret of the console's session, if there is one, `actor` who asks. `said`: header
    fields that go with the answer, whatever it is."""

    __slots__ = (
        *("_form", "actor", "asked", "fields", "files", "method", "path", "place", "root", "said"),
        "session",
    )

    def __init__(self, asked: Asked, place: Mapping[str, str]) -> None:
        self.asked = asked
        self.method = asked.method
        self.path = asked.path
        self.root = asked.root
        self.fields = asked.fields
        self.place = place
        self.session: bytes | None = None
        self.actor: Actor | None = None
        self.said: list[tuple[str, str]] = []
        self.files: dict[str, File] = {}
        self._form: dict[str, str] | None = None

    def __repr__(self) -> str:
        # Queries, fields and bodies hold what is nobody's affair.
        return f"<Request {self.method}>"

    @property
    def query(self) -> dict[str, str]:
        """The query's fields. Raises `HttpError` where one comes twice."""
        return _once(self.asked.query)

    @property
    def form(self) -> dict[str, str]:
        """The fields of a form, `application/x-www-form-urlencoded` or `multipart/form-data`, whose
        files are `files` then. Raises `HttpError`."""
        if self._form is None:
            kind = (self.fields.get("content_type") or "").strip()
            if kind.partition(";")[0].strip().lower() == "multipart/form-data":
                self._form, self.files = multipart(kind, self.asked.body)
            else:
                self._form = _once(self._text())
        return self._form

    def json(self) -> Any:
        """The body as JSON. Raises `HttpError`."""
        kind = (self.fields.get("content_type") or "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise HttpError(415, "a body of the type application/json is wanted")
        try:
            return json.loads(self.asked.body)
        except (ValueError, RecursionError):
            raise HttpError(400, "the body is no JSON") from None

    def cookie(self, name: str) -> str | None:
        return cookie(self.fields.get("cookie") or "", name)

    def _text(self) -> str:
        try:
            return self.asked.body.decode()
        except UnicodeDecodeError:
            raise HttpError(400, Said("malformed", "the body is not UTF-8")) from None


def is_id(text: str) -> bool:
    """Whether a text is the number of something: ids are random, and of 63 bits."""
    return text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) < 2**63


def _once(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            text, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict"
        )
    except ValueError:
        reason = "the fields of a form or a query are malformed, or too many"
        raise HttpError(400, Said("malformed", reason)) from None
    found = dict(pairs)
    if len(found) < len(pairs):
        raise HttpError(400, Said("malformed", "a field of the form or the query comes twice"))
    return found


@dataclass(frozen=True, slots=True)
class Office:
    """What the office has open. `clock` gives Unix seconds, and `monotonic` those since the machine's start,
    by which tries and requests are counted. `films`: the folder in which each tenant has
    one of its name with films that its people and programs may make streams of. `practice` gives what
    of the node's settings says what it keeps. `viewers` gives how many watch each stream now, by its number;
    none is not in it. `knows_countries`: whether the node can look up any. `outgoing`: what it may call."""

    store: Store
    keys: KeyStore
    accounts: Accounts
    issuer: Issuer
    once: Once
    quotas: Quotas
    # By tenant, name and network: others' tries elsewhere keep nobody out. And by network alone.
    tries: Tries
    tries_of_network: Tries
    # By person, wherever from: who knows a password and has many addresses tries no million codes.
    tries_of_code: Tries
    films: str | None = None
    practice: Callable[[], Practice] = lambda: Practice(Rules())
    clock: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    viewers: Callable[[], Mapping[int, int]] = dict
    knows_countries: Callable[[], bool] = lambda: True
    outgoing: Callable[[], Outgoing] = Outgoing

    @classmethod
    def of(
        cls,
        store: Store,
        keys: KeyStore,
        clock: Callable[[], float] = time.time,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        films: str | None = None,
        requests_per_minute: int = 600,
        practice: Callable[[], Practice] = lambda: Practice(Rules()),
        viewers: Callable[[], Mapping[int, int]] = dict,
        knows_countries: Callable[[], bool] = lambda: True,
        outgoing: Callable[[], Outgoing] = Outgoing,
        tries: int | None = None,
    ) -> Office:
        """`tries`: the descriptor of the table of tries, which is taken over; without one, they are this
        office's alone."""
        accounts, issuer = Accounts(store.people, keys), Issuer(store.viewers, keys)
        once, quotas = Once(store, keys), Quotas(requests_per_minute)
        if tries is None:
            table = _core.Gcra(_core.Gcra.create(1 << 16), secrets.token_bytes(16))
        else:
            table = _core.Gcra(tries, Keyring(keys.root()).table_secret())
        return cls(
            store=store,
            keys=keys,
            accounts=accounts,
            issuer=issuer,
            once=once,
            quotas=quotas,
            tries=Tries(table, "name", 10, 60.0, monotonic),
            tries_of_network=Tries(table, "network", 60, 3.0, monotonic),
            tries_of_code=Tries(table, "code", 10, 600.0, monotonic),
            films=films,
            practice=practice,
            clock=clock,
            monotonic=monotonic,
            viewers=viewers,
            knows_countries=knows_countries,
            outgoing=outgoing,
        )

    def now(self) -> int:
        return int(self.clock())
