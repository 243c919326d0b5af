"""Who may watch a stream that is not open: passwords, the sessions made with them, and their ends.

Nobody here is a person. A password is known by the customer's hand-out only: the store finds it by a
keyed hash, and holds its text sealed. A session is a random number; it is made with the first
request that is let in, and is all that a grant carries.

**How many watch with one password.** A session that has asked for something in the last `grace`
seconds is *active*: a player asks every few seconds. It is not, from when its page says that it is
left until it asks again: so a page that comes back goes on, and who says that for others (it takes
their grant) ends nothing. Of one holder, at most as many sessions as the password has devices are
open. Where one more comes, those that are not active give way first, the one seen longest ago before
the others: somebody paused for an hour and another device took over. If all are active, `reject_new`
refuses the newcomer and `kick_oldest` ends the session opened first. So whoever lost a session by a
crash is locked out for no longer than the grace, and whoever says which session the new one replaces
(a page that was loaded again) not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from hashlib import sha256
from typing import Final

DEVICE_MODES: Final = ("reject_new", "kick_oldest")
# Players fetch a segment ahead of time, and then nothing until the next one is wanted.
GRACE_SEGMENTS: Final = 3
GRACE_LEAST_S: Final = 15


class End(IntEnum):
    """Why a session ended. The numbers are the session table's and the store's: they never change."""

    EXPIRED = 2
    IDLE = 3
    REVOKED = 4
    KICKED = 5
    CLOSED = 6
    STREAM_CLOSED = 7


class Refusal(StrEnum):
    """Why nobody is let in with a password. Unknown, expired, early and revoked ones are not told
    apart to whoever tries: all are `PASSWORD`. Of links and tokens, which prove who made them, it is
    told: `REVOKED` is the viewer whom it names, `SPENT` what was good for once."""

    PASSWORD = "password"
    DEVICES = "devices"
    REVOKED = "revoked"
    SPENT = "spent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Password:
    """A password, without its text. `streams`: the ids of those that it opens. `shared`: one for all
    viewers of a stream, else one viewer's own. `is_test`: an access for whoever examines the event,
    outside all sums of viewers. `named`: nobody types it; it is a viewer whom the customer's links or
    tokens name, and opens nothing by itself. Times are Unix seconds; `valid_until` is the first one at
    which it is over."""

    id: int
    tenant_id: int
    streams: frozenset[int]
    shared: bool
    is_test: bool
    valid_from: int | None
    valid_until: int | None
    max_devices: int | None
    created_at: int
    revoked_at: int | None
    named: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One viewer's admission to one stream. `id`: 16 random bytes. `password_id`: with which it was
    opened, if with one. `holder`: whom devices are counted for, where that is no password: a number
    that was made of a link, from 1 to 2^63 - 1. `expires`: its hard end. `idle_s`: seconds without a
    request after which it ends, None for never. `notice`: the version of the tenant's notice that was
    shown before."""

    id: bytes
    tenant_id: int
    stream_id: int
    password_id: int | None
    opened_at: int
    expires: int
    idle_s: int | None
    notice: str | None = None
    holder: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """A token that was good for once: a keyed hash of 16 bytes, the session that it was spent for, and
    when it could not be shown again anyway."""

    tenant_id: int
    token: bytes
    session: bytes
    expires: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Sessions are to end: those of a password, of a stream, or one of both, that were opened by
    `at`. Endings are numbered in the order in which they were stored."""

    id: int
    at: int
    password_id: int | None
    stream_id: int | None
    reason: End


@dataclass(frozen=True, slots=True)
class Seen:
    """An open session of a holder, and when it last asked for something."""

    id: bytes
    opened_at: int
    last_seen: int


def opens(password: Password | None, access: str, stream_id: int, now: int) -> bool:
    """Whether a password, or None for one that nobody has, opens a stream with this access now.

    What is wrong is not told, and all of it is looked at whatever the first finding: the answer
    takes the same way for unknown, expired and revoked.
    """
    asked = password if password is not None else _NOBODYS
    return all(
        [
            password is not None,
            stream_id in asked.streams,
            asked.shared == (access == "shared"),
            not asked.named,
            asked.revoked_at is None,
            asked.valid_from is None or asked.valid_from <= now,
            asked.valid_until is None or now < asked.valid_until,
        ]
    )


_NOBODYS = Password(
    id=0,
    tenant_id=0,
    streams=frozenset(),
    shared=False,
    is_test=False,
    valid_from=0,
    valid_until=0,
    max_devices=1,
    created_at=0,
    revoked_at=0,
)


def named_form(viewer: str) -> bytes:
    """What the name of a viewer in links and tokens is indexed by: no password has a zero in it."""
    return b"viewer\0" + viewer.encode()


def with_label(text: str, label: str) -> str:
    """A password's text and label as they are sealed together: no text has a zero in it either."""
    return f"{text}\0{label}" if label else text


def without_label(sealed: str) -> tuple[str, str]:
    text, _, label = sealed.partition("\0")
    return text, label


def notice_version(notice: str) -> str | None:
    """What names a text of a notice, for good: 16 hexadecimal digits of its SHA-256; None for none."""
    return sha256(notice.encode()).hexdigest()[:16] if notice else None


def grace_s(segment_duration_ms: int) -> int:
    """Seconds after which a session that asks for nothing is no longer active."""
    return max(GRACE_LEAST_S, -(-GRACE_SEGMENTS * segment_duration_ms // 1000))


def giving_way(
    sessions: Iterable[Seen], devices: int | None, mode: str, grace: int, now: int
) -> tuple[bytes, ...] | None:
    """The sessions of a holder that end so that one more may be opened; None where it is refused.

    `sessions` come in the order in which they were opened, as times of the same second do not tell.
    `devices`: how many may be open at a time, None for any number; `mode`: one of `DEVICE_MODES`.
    """
    if devices is None:
        return ()
    there = list(sessions)
    excess = len(there) + 1 - devices
    if excess <= 0:
        return ()
    order = [*_idle_first(there, grace, now)]
    idle = sum(1 for each in there if each.last_seen < now - grace)
    if excess > idle and mode == "reject_new":
        return None
    return tuple(each.id for each in order[:excess])


def wait_s(sessions: Iterable[Seen], devices: int, grace: int, now: int) -> int:
    """Seconds until one more, which is refused now, may be opened beside these, if those that have to give
    way ask for nothing meanwhile."""
    last_to_give_way = sorted(each.last_seen for each in sessions)[-devices]
    return max(1, last_to_give_way + grace + 1 - now)


def _idle_first(sessions: list[Seen], grace: int, now: int) -> Iterator[Seen]:
    def is_idle(each: Seen) -> bool:
        return each.last_seen < now - grace

    yield from sorted(filter(is_idle, sessions), key=lambda each: each.last_seen)
    active = (each for each in sessions if not is_idle(each))
    yield from sorted(active, key=lambda each: each.opened_at)
