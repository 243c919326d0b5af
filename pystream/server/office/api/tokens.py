"""Tokens of programs: `/api/v1/tokens`."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated

from msgspec import Meta, Struct

from pystream.acl.people import SCOPES, Right, Token, check_made_by, scopes_of
from pystream.server.office.api.operations import (
    Call,
    Given,
    Moment,
    NoQuery,
    at,
    moment,
    operation,
    seconds,
)

_DAY_S = 86_400

TokenName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9._@+-]{0,63}$",
        description="1 to 64 small letters, digits and . _ @ + -, with a letter or a digit first.",
        examples=["website"],
    ),
]
Scope = Annotated[str, Meta(extra_json_schema={"enum": sorted(SCOPES)})]
Scopes = Annotated[
    list[Scope],
    Meta(min_length=1, max_length=len(Right), description="What a program may do that shows it."),
]


class TokenView(Struct, kw_only=True):
    """A token, without its text. `used_on` is the day of its last use."""

    name: TokenName
    scopes: Scopes
    created_at: Moment
    expires: Moment | None
    used_on: date | None


class TokenList(Struct, kw_only=True):
    """All tokens, by name. There are few: this has no pages."""

    items: list[TokenView]


class NewToken(Struct, kw_only=True, forbid_unknown_fields=True):
    """A token to be made."""

    name: TokenName
    scopes: Scopes
    expires: Annotated[
        Moment | None,
        Meta(description="The first moment at which it is over; null: until it is revoked."),
    ] = None


class TokenMade(TokenView, kw_only=True):
    """A token with its text, which is shown this once."""

    token: Annotated[str, Meta(examples=["pst_..."])]


@operation(gives=TokenList)
def listed(call: Call[NoQuery, None]) -> Given:
    """List tokens.

    All of the tenant, by name, without their texts.
    """
    tokens = call.office.store.people.tokens(call.tenant_id)
    return Given(TokenList(items=[_view(each) for each in tokens]))


@operation(
    body=NewToken,
    gives=TokenMade,
    status=201,
    once="whole",
    problems=("exists",),
    example={"name": "website", "scopes": ["passwords:change"], "expires": "2031-12-31T23:00:00Z"},
)
def create(call: Call[NoQuery, NewToken]) -> Given:
    """Make a token.

    Its text is shown this once. It may no more than the token that makes it, makes no tokens itself, and does
    not outlive it: what somebody took back would go on under another name.
    """
    maker, scopes = call.actor.token, scopes_of(call.body.scopes)
    expires = seconds(call.body.expires)
    assert maker is not None
    check_made_by(maker, scopes, expires)
    token, text = call.office.accounts.add_token(
        call.tenant_id, call.body.name, scopes, expires, who=call.who, now=call.now
    )
    view = _view(token)
    made = TokenMade(
        name=view.name,
        scopes=view.scopes,
        created_at=view.created_at,
        expires=view.expires,
        used_on=view.used_on,
        token=text,
    )
    return Given(made, 201)


@operation(status=204, problems=("not-found",))
def revoke(call: Call[NoQuery, None]) -> Given:
    """Revoke a token.

    It lets nobody in any more; so does the token that is shown, if it is the one.
    """
    people = call.office.store.people
    people.revoke_token(call.tenant_id, call.place["name"], who=call.who, now=call.now)
    return Given(status=204)


def _view(token: Token) -> TokenView:
    day = token.used_on
    return TokenView(
        name=token.name,
        scopes=sorted(token.scopes),
        created_at=at(token.created_at),
        expires=moment(token.expires),
        used_on=None if day is None else datetime.fromtimestamp(day * _DAY_S, UTC).date(),
    )
