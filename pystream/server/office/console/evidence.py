"""The log of attendance, and what proves it: the public key, checkpoints, and the log itself."""

from __future__ import annotations

from typing import Any

from pystream.acl.people import Actor
from pystream.errors import NotFound
from pystream.server.clock import kernel
from pystream.server.office import console, reporting
from pystream.server.office.console import pages
from pystream.server.office.values import Office, Reply, Request

_SHOWN = 100


def page(office: Office, actor: Actor, request: Request) -> Reply:
    return _page(office, actor, request, done=request.query.get("done"))


def sign(office: Office, actor: Actor, request: Request) -> Reply:
    """Signs a checkpoint of now."""
    try:
        reporting.notary(office).checkpoint(actor.tenant_id, kernel(), office.now())
    except NotFound as error:
        return _page(office, actor, request, 404, said=error.args[:1])
    return console.to(request, "/console/evidence?done=done_sign")


def log(office: Office, actor: Actor, request: Request) -> Reply:
    return pages.file("log.jsonl", "application/jsonl", reporting.log(office, actor))


def _page(
    office: Office, actor: Actor, request: Request, status: int = 200, **values: Any
) -> Reply:
    notary, tenant = reporting.notary(office), office.store.tenant(actor.tenant)
    found = notary.checkpoints(actor.tenant_id)
    try:
        key = str(notary.public_key(tenant, office.now()))
    except NotFound:
        key = ""
    values |= {
        "key": key,
        "checkpoints": found[:_SHOWN],
        "zone": tenant.settings.timezone,
    }
    return pages.page(request, actor, "evidence.html", status, **values)
