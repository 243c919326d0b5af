"""Streams: `/api/v1/streams`."""

from __future__ import annotations

from typing import Any

from pystream.acl.people import Actor
from pystream.acl.streams import Stream
from pystream.server.office import api
from pystream.server.office.values import Office, Reply, Request


def listed(office: Office, actor: Actor, request: Request) -> Reply:
    """A page of the tenant's streams, by name."""
    after, most = api.paging(request)
    streams = [each for each in office.store.streams(actor.tenant) if each.name > after]
    following = streams[most - 1].name if len(streams) > most else None
    return api.page([facts(each) for each in streams[:most]], following)


def shown(office: Office, actor: Actor, request: Request) -> Reply:
    """One stream."""
    return api.reply(facts(office.store.stream(actor.tenant, request.place["stream"])))


def facts(stream: Stream) -> dict[str, Any]:
    """A stream as the API tells of it. Where its files lie is the operator's affair."""
    settings = stream.settings
    return {
        "name": stream.name,
        "title": settings.title,
        "path": f"/{stream.tenant}/{stream.name}/",
        "access": settings.access,
        "encryption": settings.encryption,
        "format": settings.format,
        "download": settings.download,
        "max_viewers": settings.max_viewers,
        "max_devices": settings.max_devices,
        "device_mode": settings.device_mode,
        "session_s": settings.session_s,
        "idle_s": settings.idle_s,
        "origins": list(settings.origins),
        "embed_origins": list(settings.embed_origins),
        "created_at": api.moment(stream.created_at),
    }
