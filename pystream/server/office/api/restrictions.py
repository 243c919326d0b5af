"""Passwords whose data is restricted: `/api/v1/passwords/restricted` and `.../{password}/restriction`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from pystream.acl.store.restricting import Restriction
from pystream.server.office.api.operations import (
    Call,
    Given,
    Moment,
    NoQuery,
    at,
    number,
    operation,
)
from pystream.server.office.api.passwords import Id
from pystream.server.office.problems import Refusal


class RestrictionView(Struct, kw_only=True):
    """Why the data of a password is kept and not used, and since when."""

    reason: str
    since: Moment


class Restricted(RestrictionView, kw_only=True):
    """The same with the password's id."""

    id: Id


class RestrictedList(Struct, kw_only=True):
    """All of the tenant, the latest first. There are few: this has no pages."""

    items: list[Restricted]


class Restricting(Struct, kw_only=True, forbid_unknown_fields=True):
    """What is to be on record of it."""

    reason: Annotated[str, Meta(min_length=1, max_length=500, description="Whose wish, and why.")]


@operation(gives=RestrictedList)
def listed(call: Call[NoQuery, None]) -> Given:
    """List the passwords whose data is restricted."""
    found = call.office.store.viewers.restrictions.listed(call.tenant_id)
    return Given(
        RestrictedList(
            items=[
                Restricted(id=str(id), reason=each.reason, since=at(each.made_at))
                for id, each in found.items()
            ]
        )
    )


@operation(gives=RestrictionView, problems=("not-found",))
def shown(call: Call[NoQuery, None]) -> Given:
    """Read why the data of a password is restricted.

    404 where it is not.
    """
    found = call.office.store.viewers.restrictions.listed(call.tenant_id)
    restriction = found.get(number(call.place["password"]))
    if restriction is None:
        raise Refusal("not-found", "the data of this password is not restricted")
    return Given(_view(restriction))


@operation(
    body=Restricting,
    gives=RestrictionView,
    problems=("not-found",),
    example={"reason": "says that the evening is wrong"},
)
def restrict(call: Call[NoQuery, Restricting]) -> Given:
    """Restrict the data of a password.

    It is kept, whatever is old, and can neither be erased nor used (Art. 18 GDPR): it is in no receipt or
    export of attendance and in no report, which says how many it leaves out; sealed reports from before are
    shown without it. Whoever holds the password watches on. Where it is restricted already, the reason is
    another then.
    """
    id = number(call.place["password"])
    restrictions = call.office.store.viewers.restrictions
    made = restrictions.restrict(call.tenant_id, id, call.body.reason, who=call.who, now=call.now)
    return Given(_view(made))


@operation(status=204, problems=("not-found",))
def lift(call: Call[NoQuery, None]) -> Given:
    """Restrict the data of a password no more.

    All that was kept is used as before.
    """
    id = number(call.place["password"])
    call.office.store.viewers.restrictions.lift(call.tenant_id, id, who=call.who, now=call.now)
    return Given(status=204)


def _view(restriction: Restriction) -> RestrictionView:
    return RestrictionView(reason=restriction.reason, since=at(restriction.made_at))
