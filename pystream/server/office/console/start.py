"""The start page: a tenant's streams."""

from __future__ import annotations

from pystream.acl.people import Actor, Right
from pystream.server.office import console
from pystream.server.office.console import pages
from pystream.server.office.values import Office, Reply, Request


def unslashed(office: Office, actor: Actor, request: Request) -> Reply:
    return console.to(request, "/console/")


def page(office: Office, actor: Actor, request: Request) -> Reply:
    """Whoever may not read streams is shown none."""
    may = Right.STREAMS_READ in actor.rights
    streams = office.store.streams(actor.tenant) if may else ()
    return pages.page(request, actor, "start.html", streams=streams)
