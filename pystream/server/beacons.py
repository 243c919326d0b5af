"""What a player says of itself, and presence checks, where a stream wants them: they only narrow attendance.

A beacon says whether it plays, where, how fast, and whether the page is hidden. It is told to the writer as
deliveries are (`attending`), with the instant at which it came. A session may say one a second, a few at
once.

A player that sends CMCD of version 2 (CTA-5004-A) with its requests, in their query, has said it there, if it
says its state and its playhead. Version 1 has neither.

**Presence checks.** In each so many minutes of a session there is one moment that nobody can foresee: a
keyed hash of the session and of how many there were before. The first beacon of a playing film after it is
answered with the check; the page asks the viewer, and says who answers. Both go on record with that
moment, so whichever worker it was, it is one check; an answer later than two minutes after it is none. All
of that follows from the session and the clock: nothing is kept.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from hashlib import blake2b
from math import ceil
from typing import Annotated, Any, Final, Literal
from urllib.parse import parse_qs

import msgspec

from pystream import _core
from pystream.acl.streams import Stream
from pystream.attendance import evidence
from pystream.server.http import HttpError

LONGEST: Final = 2048
ANSWER_MS: Final = 120_000
# A check is told no later than that: whoever begins to play then is not asked in the last seconds.
_TOLD_MS = 30_000
_EMISSION_US = 1_000_000
_BURST_US = 8_000_000
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class Beat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A beacon, as attendance-v1 has it."""

    sn: _Count
    state: Literal["playing", "paused", "stalled", "seeking", "ended"]
    playhead_ms: _Count
    rate: Annotated[float, msgspec.Meta(ge=0.25, le=4)]
    hidden: bool


class Present(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The viewer has answered a check, by its name."""

    check: Annotated[str, msgspec.Meta(min_length=32, max_length=32)]


class Unheard(HttpError):
    """What was said is nothing that counts. `kind` is for the page."""

    kind: str

    def __init__(self, status: int, kind: str, reason: str, wait: int | None = None) -> None:
        super().__init__(status, reason, () if wait is None else (("Retry-After", str(wait)),))
        self.kind = kind


class Beacons:
    """A worker's. `table` limits rates; `secret` is what moments are made of, the same in all processes;
    `say` tells the writer: session, what it was, and when. `clock` gives ms since 1970, by the anchor, and
    `monotonic` microseconds."""

    def __init__(
        self,
        table: _core.Gcra,
        secret: bytes,
        sessions: _core.Sessions,
        say: Callable[[bytes, bytes, int], None],
        clock: Callable[[], int],
        monotonic: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000,
    ) -> None:
        self._table = table
        self._secret = secret
        self._sessions = sessions
        self._say = say
        self._clock = clock
        self._monotonic = monotonic

    def hear(self, stream: Stream, session: bytes, body: bytes) -> dict[str, Any] | None:
        """Takes what a page says, and says what it is to ask the viewer, if anything. Raises `Unheard`."""
        if len(body) > LONGEST:
            raise Unheard(413, "long", f"a beacon has {LONGEST} bytes at most")
        if wait := self._too_many(session):
            raise Unheard(429, "often", "one beacon a second is enough", ceil(wait / 1_000_000))
        heard = _heard(body)
        now = self._clock()
        moment = self._moment(stream, session, now)
        if isinstance(heard, Present):
            # Compared in constant time: whoever guesses learns nothing of it.
            if moment is None or not hmac.compare_digest(self._name(session, moment), heard.check):
                raise Unheard(409, "over", "there is no such check, or no longer")
            self._say(session, evidence.check(now - moment), moment)
            return None
        values = msgspec.structs.asdict(heard)
        self._say(session, evidence.beacon(values), now)
        if moment is None or heard.state != "playing" or now - moment > _TOLD_MS:
            return None
        self._say(session, evidence.check(None), moment)
        left = (moment + ANSWER_MS - now) // 1000
        return {"check": self._name(session, moment), "seconds": left}

    def note(self, session: bytes, query: str) -> None:
        """Takes what a request for a segment says beside it, if that is a beacon. What is more than one a
        second is left out."""
        values = of_cmcd(query)
        if values is not None and not self._too_many(session):
            self._say(session, evidence.beacon(values), self._clock())

    def _too_many(self, session: bytes) -> int:
        """Microseconds after which one more may be said."""
        key = b"beacon\0" + session
        return self._table.check(key, self._monotonic(), _EMISSION_US, _BURST_US)

    def _moment(self, stream: Stream, session: bytes, now: int) -> int | None:
        """Of the check that may be answered now."""
        minutes, found = stream.settings.check_minutes, self._sessions.get(session)
        if minutes is None or found is None:
            return None
        opened, length = found.opened * 1000, minutes * 60_000
        turn = (now - opened) // length
        if turn < 0:
            return None
        hashed = self._hash(session, b"moment", turn)
        moment = opened + turn * length + int.from_bytes(hashed) % (length - ANSWER_MS)
        return moment if moment <= now <= moment + ANSWER_MS else None

    def _name(self, session: bytes, moment: int) -> str:
        return self._hash(session, b"name", moment).hex()

    def _hash(self, session: bytes, use: bytes, number: int) -> bytes:
        data = use + b"\0" + session + number.to_bytes(8)
        return blake2b(data, digest_size=16, key=self._secret).digest()


# What is not playing yet, or no more, is none of it, whatever it is called.
_CMCD_STATES = {
    "p": "playing",
    "k": "seeking",
    "a": "paused",
    "w": "paused",
    "r": "stalled",
    "s": "stalled",
    "d": "stalled",
    "e": "ended",
    "f": "ended",
    "q": "ended",
}
_LONGEST_QUERY = 2048


def of_cmcd(query: str) -> dict[str, Any] | None:
    """A beacon's members by a request's query, or None where it says no such thing."""
    if "CMCD=" not in query or len(query) > _LONGEST_QUERY:
        return None
    try:
        said = parse_qs(query, max_num_fields=8).get("CMCD", [""])[0]
    except ValueError:
        return None
    pairs = (each.strip().partition("=") for each in said.split(","))
    # A key alone is true (RFC 8941 3.2).
    found = {key: value if mark else "?1" for key, mark, value in pairs}
    try:
        values = {
            "sn": int(found["sn"]),
            "state": _CMCD_STATES[found["sta"]],
            "playhead_ms": int(found["pt"]),
            "rate": float(found.get("pr", "1")),
            "hidden": found.get("bg", "?0") != "?0",
        }
        return msgspec.structs.asdict(msgspec.convert(values, Beat)) if found["v"] == "2" else None
    except (KeyError, ValueError):
        return None


def _heard(body: bytes) -> Beat | Present:
    """Raises `Unheard`."""
    try:
        found = msgspec.json.decode(body)
        if isinstance(found, dict) and "check" in found:
            return msgspec.convert(found, Present)
        return msgspec.convert(found, Beat)
    except (msgspec.DecodeError, RecursionError):
        text = "a beacon is a JSON object of sn, state, playhead_ms, rate and hidden; or of check"
        raise Unheard(400, "beacon", text) from None
