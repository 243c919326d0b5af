"""A tenant's folder of films on the server (`[console] films`), of which its people and programs make
streams, and what these call them: by their paths in it.

Another tenant's films, and all else of the server's, lie beyond that folder: neither dots nor a symbolic
link lead there, now or later (`folders`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack

from pystream.acl.streams import StreamSettings
from pystream.errors import PystreamError
from pystream.server.folders import folder_of, held
from pystream.server.office.values import Office

_MOST = 1000


def folder(office: Office, tenant: str) -> str | None:
    """None where the operator has set none: then the operator adds streams."""
    if office.films is None:
        return None
    return folder_of(office.films, tenant)


def path(office: Office, tenant: str, name: str) -> str | None:
    """Where a film lies; None where there is none of that name."""
    there = folder(office, tenant)
    if there is None or not name.isprintable():
        return None
    found = os.path.realpath(os.path.join(there, name))
    return found if found.startswith(there + "/") and os.path.isfile(found) else None


def names(office: Office, tenant: str, sources: Sequence[str]) -> list[str] | None:
    """What the tenant calls these; None where one lies elsewhere."""
    there = folder(office, tenant)
    if there is None or not all(each.startswith(there + "/") for each in sources):
        return None
    return [each.removeprefix(there + "/") for each in sources]


def listed(office: Office, tenant: str) -> list[str]:
    """All MP4 files that are there, by name; the first thousand of very many."""
    there = folder(office, tenant)
    if there is None:
        return []
    found = [
        os.path.relpath(os.path.join(place, name), there)
        for place, _, files in os.walk(there)
        for name in files
        if name.lower().endswith((".mp4", ".m4v", ".m4a", ".mov"))
    ]
    return [each for each in sorted(found)[:_MOST] if path(office, tenant, each) is not None]


def unpackable(
    office: Office, tenant: str, settings: StreamSettings, called: Sequence[str]
) -> str | None:
    """Why no stream can be made of these films, which are `called` so; None where one can be."""
    import pystream

    try:
        with ExitStack() as stack:
            places = [
                stack.enter_context(held(source, office.films or "", tenant))
                for source in settings.sources
            ]
            pystream.plan(
                list(map(pystream.open, places, settings.sources)),
                format=settings.format,
                segment_duration=settings.segment_duration_ms / 1000,
            )
    except (PystreamError, OSError) as error:
        said = str(error)
        for source, name in zip(settings.sources, called, strict=False):
            said = said.replace(source, name)
        return said
    return None
