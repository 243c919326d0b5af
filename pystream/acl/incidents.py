"""Attacks as they are kept: what an incident is, and what there is of its sources.

An incident is opened by the node that is attacked, and closed by it. Of sources that take part in it, and of
nobody else, it has addresses, times and counts: **events**, in batches that are sealed under a key of the
incident's own. Whoever destroys that key has shredded them, in all backups of the store as well.

**Hashes.** A batch is JSON in one spelling (RFC 8785) with the digest of the batch before it and 32 random
bytes: without these, whoever has the digest alone could try all addresses. The record of who has had the
incident in hand (its **custody**) is a chain of the same make, without addresses, and stays when the events
are gone.

Sources of SYNs have answered nothing: anybody can write any address into a SYN. They are marked as not
`authenticated` wherever they are told of, and none of them is ever banned.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

from pystream.acl.retention import DAY_S
from pystream.attendance.canonical import decode, encode

LONGEST_S: Final = 86_400
"""An incident lasts a day at most: what goes on is another one. So its oldest event is at most a day older
than its newest when their key is destroyed."""
_SALT_LENGTH = 32


class Kind(StrEnum):
    """What is attacked, and how."""

    SYN = "syn"
    FLOOD = "flood"
    PASSWORDS = "passwords"
    KEYS = "keys"
    SCRAPING = "scraping"
    PROBING = "probing"
    SLOW = "slow"


class Scope(StrEnum):
    """What a rule was broken by: one source, or all together, none of which alone does."""

    SOURCE = "source"
    NODE = "node"


@dataclass(frozen=True, slots=True)
class Event:
    """What a source did within some seconds. `authenticated`: it has shaken hands. `done`: what was done
    about it then, as `limited` or `banned for 60 s`. Times are Unix seconds."""

    source: str
    authenticated: bool
    begun: int
    ended: int
    counts: Mapping[str, int]
    done: str = ""

    def facts(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "authenticated": self.authenticated,
            "begun": self.begun,
            "ended": self.ended,
            "counts": dict(self.counts),
            "done": self.done,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Why the events are kept, until when, and by whom it was asked for and confirmed (None: not yet): it
    holds from then on, and never by one person alone. No `until`: that it ends at once is asked for."""

    until: int | None
    reason: str
    by: str
    confirmed_by: str | None

    def holds(self, now: int) -> bool:
        return self.confirmed_by is not None and self.until is not None and self.until > now

    def facts(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "until": None if self.until is None else moment(self.until),
            "reason": self.reason,
            "by": self.by,
            "confirmed_by": self.confirmed_by,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """What is known of an attack without its sources. `rule` says what was broken; `dry_run`: nothing was
    done about it. There are `events` of so many `sources`; `left_out` were too many. `hold` was confirmed,
    and `asked` is another one, which waits for that. Times are Unix seconds."""

    id: int
    kind: Kind
    rule: str
    scope: Scope
    dry_run: bool
    opened_at: int
    last_at: int
    closed_at: int | None
    shredded_at: int | None
    sources: int
    events: int
    left_out: int
    hold: Hold | None
    asked: Hold | None

    def kept_until(self, days: int) -> int | None:
        """When its events are destroyed, where they are kept for so many days; None: they are already."""
        if self.shredded_at is not None:
            return None
        held = self.hold.until if self.hold is not None and self.hold.confirmed_by else None
        return max(self.opened_at + days * DAY_S, held or 0)

    def facts(self) -> dict[str, Any]:
        """As JSON has it, times in RFC 3339."""
        return {
            "id": self.id,
            "kind": str(self.kind),
            "rule": self.rule,
            "scope": str(self.scope),
            "authenticated": self.kind is not Kind.SYN,
            "dry_run": self.dry_run,
            "opened_at": moment(self.opened_at),
            "last_at": moment(self.last_at),
            "closed_at": None if self.closed_at is None else moment(self.closed_at),
            "shredded_at": None if self.shredded_at is None else moment(self.shredded_at),
            "sources": self.sources,
            "events": self.events,
            "left_out": self.left_out,
            "hold": self.hold and self.hold.facts(),
            "asked": self.asked and self.asked.facts(),
        }


@dataclass(frozen=True, slots=True)
class Custody:
    """An entry of the record of who has had an incident in hand."""

    number: int
    at: int
    who: str
    action: str
    detail: str
    digest: str


@dataclass(frozen=True, slots=True)
class Contents:
    """All that is known of an incident."""

    incident: Incident
    batches: Sequence[bytes]
    custody: Sequence[Custody]


def moment(seconds: int) -> str:
    """Unix seconds as RFC 3339 has a time."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# Chains


def batch(events: Iterable[Event], previous: str) -> tuple[bytes, str]:
    """What is sealed of some events, and its digest; `previous` is that of the batch before, or empty."""
    facts = [event.facts() for event in events]
    salt = secrets.token_hex(_SALT_LENGTH)
    text = encode({"events": facts, "previous": previous, "salt": salt})
    return text, sha256(text).hexdigest()


def events_of(text: bytes) -> list[Event]:
    """Those of a batch."""
    return [Event(**each) for each in decode(text)["events"]]


def custody_digest(entry: Mapping[str, Any], previous: str) -> str:
    """Of an entry without a digest."""
    return sha256(encode({**entry, "previous": previous})).hexdigest()


def entry_of(custody: Custody) -> dict[str, Any]:
    """An entry without its digest."""
    return {
        "number": custody.number,
        "at": custody.at,
        "who": custody.who,
        "action": custody.action,
        "detail": custody.detail,
    }
