"""The code with which a site shows a stream's page in a frame.

A card's code has the password in the fragment, which browsers keep to themselves (RFC 3986 3.5), and so to
the page that was opened: a frame in it sees its own address alone. So the code has a script that takes
the fragment out of that page's address and puts it behind the frame's. It never leaves the browser.
"""

from __future__ import annotations

from html import escape

from pystream.acl.streams import Stream
from pystream.server.office.values import Request

_BY_FRAGMENT = ("personal", "shared", "external")
# What cards and tokens have there, and no place of the page that the fragment names. Another frame takes the
# place of the first one: where one is sent elsewhere while under way, browsers may forget the new address.
_HAND_ON = (
    "<script>(function (frame, given) {"
    "if (frame && /^#(token=)?[\\w.~%-]+$/.test(given) && !document.getElementById(given.slice(1)))"
    ' { history.replaceState(history.state, "", location.pathname + location.search);'
    " const carried = frame.cloneNode(); carried.src += given; frame.replaceWith(carried); } })"
    "(document.currentScript.previousElementSibling, location.hash)</script>"
)


def page_url(request: Request, tenant: str, stream: str) -> str:
    """The address of a stream's page, as whoever asks reaches this server."""
    scheme = "https" if request.asked.secure else "http"
    return f"{scheme}://{request.fields.get('host', '')}{request.root}/{tenant}/{stream}/"


def code(url: str, stream: Stream) -> str:
    """HTML of a frame that is as wide as there is room, in 16:9. What the page may do, it may do there:
    play by itself, fill the screen (said once, as browsers complain of two attributes that say it), lie above
    other windows. Where a fragment opens the stream, a script hands it on."""
    settings = stream.settings
    frame = (
        f'<iframe src="{escape(url)}" title="{escape(settings.title or stream.name)}"'
        ' style="width: 100%; aspect-ratio: 16 / 9; border: 0" allowfullscreen'
        ' allow="autoplay; picture-in-picture; encrypted-media"></iframe>'
    )
    return f"{frame}{_HAND_ON}" if settings.access in _BY_FRAGMENT else frame
