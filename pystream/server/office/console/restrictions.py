"""What is known of a password is kept, and nobody uses it: said of one password, and ended again."""

from __future__ import annotations

from typing import Any

from pystream.acl.people import Actor
from pystream.errors import InvalidValue, NotFound, Said
from pystream.server.office import console
from pystream.server.office.console import pages
from pystream.server.office.console.reports import path_of
from pystream.server.office.values import Office, Reply, Request, is_id


def page(office: Office, actor: Actor, request: Request) -> Reply:
    return _page(office, actor, request, _id(request), done=request.query.get("done"))


def change(office: Office, actor: Actor, request: Request) -> Reply:
    """Restricts, or lifts that. Raises `NotFound`."""
    form, id = request.form, _id(request)
    restrictions = office.store.viewers.restrictions
    by: dict[str, Any] = {"who": actor.who, "now": office.now()}
    if "lift" in form:
        restrictions.lift(actor.tenant_id, id, **by)
        done = "done_lift"
    else:
        reason = form.get("reason", "").strip()
        try:
            restrictions.restrict(actor.tenant_id, id, reason, **by)
        except InvalidValue as error:
            return _page(office, actor, request, id, 422, reason, said=error.problems)
        done = "done_restrict"
    to = path_of(request, f"passwords/{id}/restriction", {"done": done})
    return console.to(request, to.removeprefix(request.root))


def _page(
    office: Office,
    actor: Actor,
    request: Request,
    id: int,
    status: int = 200,
    reason: str | None = None,
    **values: Any,
) -> Reply:
    if id not in office.store.viewers.known(actor.tenant_id, [id]):
        raise NotFound(Said("no-password", "there is no such password"))
    held = office.store.viewers.restrictions.listed(actor.tenant_id).get(id)
    if reason is None:
        reason = "" if held is None else held.reason
    values |= {
        "id": id,
        "held": held,
        "reason": reason,
        "zone": office.store.tenant(actor.tenant).settings.timezone,
    }
    return pages.page(request, actor, "restriction.html", status, **values)


def _id(request: Request) -> int:
    """Raises `NotFound` for what is no number."""
    text = request.place["password"]
    if not is_id(text):
        raise NotFound(Said("no-password", "there is no such password"))
    return int(text)
