"""A tenant's own people and its API tokens: who they are, and what each may.

One table, `RIGHTS`, says which right each role has. A token has rights of its own, its scopes. Whatever
is asked for names one right; nobody looks at a role.

**Who works for whom.** Everybody belongs to one tenant, also those who come from the operator. The role
`operator` is of whoever runs the node: streams and sums, and neither passwords nor labels nor reports.
To look into these, the operator has somebody of the tenant let in `support`: for a time, by a person
who may change people, and until then a `support` has no rights at all. (Who has the machine has all of
it: roles bind those who come by console and API.)

Names are the tenant's choice. None has to be a person's, and no address is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pystream.errors import InvalidValue, Said

SUPPORT_LONGEST_S: Final = 14 * 86_400
"""For so long a tenant can let a support in at most."""
MOST_NAME_CHARACTERS: Final = 64


class Right(StrEnum):
    """What somebody may do. The values are scopes of tokens: they never change."""

    STREAMS_READ = "streams:read"
    STREAMS_CHANGE = "streams:change"
    PASSWORDS_READ = "passwords:read"
    PASSWORDS_CHANGE = "passwords:change"
    PASSWORDS_ERASE = "passwords:erase"
    TRAFFIC_READ = "traffic:read"
    EVENTS_READ = "events:read"
    EVENTS_CHANGE = "events:change"
    REPORTS_READ = "reports:read"
    REPORTS_SEAL = "reports:seal"
    REPORTS_HOLD = "reports:hold"
    EVIDENCE_READ = "evidence:read"
    AUDIT_READ = "audit:read"
    TENANT_CHANGE = "tenant:change"
    PEOPLE_CHANGE = "people:change"
    TOKENS_CHANGE = "tokens:change"


class Role(StrEnum):
    """What a person is to a tenant. The values are the store's: they never change."""

    ADMIN = "tenant-admin"
    EDITOR = "tenant-editor"
    REPORTER = "tenant-reporter"
    DPO = "dpo"
    AUDITOR = "auditor"
    OPERATOR = "operator"
    SUPPORT = "support"


RIGHTS: Final[Mapping[Role, frozenset[Right]]] = {
    Role.ADMIN: frozenset(Right),
    Role.EDITOR: frozenset(
        (
            *(Right.STREAMS_READ, Right.STREAMS_CHANGE, Right.TRAFFIC_READ),
            *(Right.PASSWORDS_READ, Right.PASSWORDS_CHANGE),
            *(Right.EVENTS_READ, Right.EVENTS_CHANGE),
        )
    ),
    Role.REPORTER: frozenset(
        (
            *(Right.STREAMS_READ, Right.PASSWORDS_READ, Right.TRAFFIC_READ),
            *(Right.EVENTS_READ, Right.REPORTS_READ, Right.EVIDENCE_READ),
        )
    ),
    Role.DPO: frozenset(
        (
            *(Right.STREAMS_READ, Right.PASSWORDS_READ, Right.PASSWORDS_ERASE),
            *(Right.REPORTS_HOLD, Right.AUDIT_READ),
        )
    ),
    # Whether a report is true is proven by the log and its checkpoints, which call a password by its number.
    Role.AUDITOR: frozenset(
        (Right.STREAMS_READ, Right.TRAFFIC_READ, Right.AUDIT_READ, Right.EVIDENCE_READ)
    ),
    Role.OPERATOR: frozenset((Right.STREAMS_READ, Right.STREAMS_CHANGE, Right.TRAFFIC_READ)),
    Role.SUPPORT: frozenset(
        (
            *(Right.STREAMS_READ, Right.PASSWORDS_READ, Right.TRAFFIC_READ),
            *(Right.AUDIT_READ, Right.EVENTS_READ),
        )
    ),
}

# People have passwords and authenticators, which no program gives them.
SCOPES: Final = frozenset(Right) - {Right.PEOPLE_CHANGE}

# What a line of an audit log, an address and a terminal show as it is.
_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who works for a tenant. `must_change`: the password is one that somebody else has seen.
    `has_totp`: a code of an authenticator is asked for as well. `let_in_until`: of a support, when the
    tenant's leave ends; None where there is none. Times are Unix seconds."""

    id: int
    tenant_id: int
    tenant: str
    name: str
    role: Role
    must_change: bool
    has_totp: bool
    created_at: int
    let_in_until: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What lets a program in, without its text. `expires`: the first second at which it is over; None:
    never. `used_on`: the last day of its use, in days since 1970: when it was to the minute is nobody's
    affair."""

    id: int
    tenant_id: int
    tenant: str
    name: str
    scopes: frozenset[Right]
    created_at: int
    expires: int | None
    used_on: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Whoever asks, as far as it matters: for which tenant, under which name on record, with which
    rights. Exactly one of `person` and `token` is there."""

    tenant_id: int
    tenant: str
    who: str
    rights: frozenset[Right]
    person: Person | None = None
    token: Token | None = None


def of_person(person: Person, now: int) -> Actor:
    """A person who has signed in."""
    return Actor(
        tenant_id=person.tenant_id,
        tenant=person.tenant,
        who=f"person:{person.name}",
        rights=rights_of(person, now),
        person=person,
    )


def of_token(token: Token) -> Actor:
    """A program that has shown a token which is not over."""
    return Actor(
        tenant_id=token.tenant_id,
        tenant=token.tenant,
        who=f"token:{token.name}",
        rights=token.scopes,
        token=token,
    )


def rights_of(person: Person, now: int) -> frozenset[Right]:
    """What a person may now."""
    if person.role is Role.SUPPORT and not is_let_in(person, now):
        return frozenset()
    return RIGHTS[person.role]


def is_let_in(person: Person, now: int) -> bool:
    """Whether a person may sign in at all: a support needs the tenant's leave."""
    if person.role is not Role.SUPPORT:
        return True
    return person.let_in_until is not None and now < person.let_in_until


def check_leave(seconds: int) -> None:
    """Raises `InvalidValue` where no support can be let in for so long."""
    if not 60 <= seconds <= SUPPORT_LONGEST_S:
        raise InvalidValue(
            Said(
                "leave",
                f"a support is let in for 60 to {SUPPORT_LONGEST_S} seconds, which is"
                f" {SUPPORT_LONGEST_S // 86_400} days",
                days=SUPPORT_LONGEST_S // 86_400,
            )
        )


def check_made_by(maker: Token, scopes: frozenset[Right], expires: int | None) -> None:
    """Raises `InvalidValue` where a token makes another that may more or lives longer than itself: what
    was taken back or is over would go on under another name. Nor does it make one that makes more."""
    more = sorted(scopes - (maker.scopes - {Right.TOKENS_CHANGE}))
    if more:
        raise InvalidValue(
            f"scopes: a token gives others what it may itself, save {Right.TOKENS_CHANGE}:"
            f" not {', '.join(more)}"
        )
    if maker.expires is not None and (expires is None or expires > maker.expires):
        raise InvalidValue("expires: a token makes none that outlives it")


def check_name(what: str, name: str) -> None:
    """Raises `InvalidValue` where no person or token (`what`) can have that name."""
    if not _NAME.fullmatch(name):
        raise InvalidValue(
            Said(
                "name",
                f"this is no name of a {what}: 1 to {MOST_NAME_CHARACTERS} small letters, digits and"
                " . _ @ + - are, with a letter or a digit first",
                most=MOST_NAME_CHARACTERS,
            )
        )


def role_of(text: str) -> Role:
    """Raises `InvalidValue`."""
    try:
        return Role(text)
    except ValueError:
        known = f"one of {', '.join(Role)} is wanted"
        raise InvalidValue(Said("one-of", known, of="role", value=text)) from None


def scopes_of(texts: Iterable[str]) -> frozenset[Right]:
    """Raises `InvalidValue` for what is no scope, and where there is none at all."""
    wanted = set(texts)
    wrong = sorted(wanted - set(SCOPES))
    if wrong or not wanted:
        known = ", ".join(sorted(SCOPES))
        raise InvalidValue(Said("scopes", f"one or several of {known} are wanted", of="scopes"))
    return frozenset(map(Right, wanted))
