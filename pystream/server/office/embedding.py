"""The code with which a site shows a stream's page in a frame."""

from __future__ import annotations

from html import escape

from pystream.server.office.values import Request


def page_url(request: Request, tenant: str, stream: str) -> str:
    """The address of a stream's page, as whoever asks reaches this server."""
    scheme = "https" if request.asked.secure else "http"
    return f"{scheme}://{request.fields.get('host', '')}{request.root}/{tenant}/{stream}/"


def code(url: str, title: str) -> str:
    """HTML of a frame that is as wide as there is room, in 16:9. What the page may do, it may do there:
    play by itself, fill the screen, lie above other windows."""
    return (
        f'<iframe src="{escape(url)}" title="{escape(title)}"'
        ' style="width: 100%; aspect-ratio: 16 / 9; border: 0" allowfullscreen'
        ' allow="autoplay; fullscreen; picture-in-picture; encrypted-media"></iframe>'
    )
