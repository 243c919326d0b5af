"""The player page: its HTML, its own files, and what a browser may do with it.

Everything comes from this server and lies under names that hold a hash of what they name, so caches
keep it for good, and a new release meets no old file. Nothing in it is inline, so the policy needs no
exception: what an attacker gets into the page as text stays text.
"""

from __future__ import annotations

import gzip
import html
import json
from collections.abc import Mapping
from hashlib import sha256
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, NamedTuple

from pystream.acl.viewers import notice_version
from pystream.attendance.purpose import in_language
from pystream.server.page.texts import REFUSALS, TEXTS, TO_FILM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pystream.packager.presentation import Presentation, Rendition
    from pystream.server.http import HttpError

_SCRIPT = "text/javascript; charset=utf-8"
# Each file after those that it imports.
_FILES = {
    "icon.svg": "image/svg+xml",
    "page.css": "text/css; charset=utf-8",
    "session.js": _SCRIPT,
    "entry.js": _SCRIPT,
    "playback.js": _SCRIPT,
    "stills.js": _SCRIPT,
    "memory.js": _SCRIPT,
    "menu.js": _SCRIPT,
    "keyboard.js": _SCRIPT,
    "controls.js": _SCRIPT,
    "beacons.js": _SCRIPT,
    "count.js": _SCRIPT,
    "page.js": _SCRIPT,
}
# Of hls.js, which the build puts here.
_FETCHED = {"hls.min.js": _SCRIPT, "hls.worker.js": _SCRIPT}
_TEMPLATES = ("page.html", "refusal.html")
_POSTER_HEIGHT = 720
_PREVIEW_HEIGHT = 180
STILL_MS = 5000
"""Pictures are shown at multiples of this. They are clear whatever the film is, so they are no film."""
_POSTER_MS = 30_000
"""The large ones are of the begin alone."""
_POSTER_PART = 0.1

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    # Media Source Extensions play from an object URL.
    " media-src 'self' blob:; worker-src 'self'; base-uri 'none'; form-action 'none'"
)
_REFUSAL_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'"
)
_HEADERS = (
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Robots-Tag", "noindex"),
    (
        "Permissions-Policy",
        "autoplay=(self), fullscreen=(self), picture-in-picture=(self), camera=(), microphone=(),"
        " geolocation=(), display-capture=(), payment=(), usb=()",
    ),
)


class Asset(NamedTuple):
    """One of the page's own files; `gzipped` is the same, compressed."""

    type: str
    data: bytes
    gzipped: bytes


class Page:
    """The page of any stream, and what a window shows where there is none. `assets` are their files by
    name, under `/s/-/`, and `icon` the one of them that browsers ask for without being told."""

    def __init__(
        self, template: str, refusal: str, assets: Mapping[str, Asset], names: Mapping[str, str]
    ) -> None:
        self.assets = assets
        self.icon = assets[names["icon.svg"]]
        self._template = Template(template)
        self._refusal = Template(refusal)
        self._names = names

    def html(
        self,
        title: str,
        language: str,
        notice: str = "",
        *,
        way: str = "open",
        query: str = "",
        framed: bool = False,
        opens_at: int | None = None,
    ) -> bytes:
        """The document. Its addresses are relative to `/{tenant}/{stream}/`. `notice`: what the tenant tells
        viewers before anything is recorded, which may be nothing. `way`: the stream's access; `query`: the
        link that it was opened with. `framed`: nobody is let in but in a frame of another site; `opens_at`:
        nor before that time, which is to come."""
        texts = TEXTS[language]
        values = {f"t_{name}": html.escape(text) for name, text in texts.items()}
        values |= {_PLACES[file]: f"../../s/-/{name}" for file, name in self._names.items()}
        paragraphs = _paragraphs(in_language(notice, language))
        values["entry"] = _entry(paragraphs, notice_version(notice) or "", way, texts)
        values["notice"] = paragraphs
        values |= {"language": language, "title": html.escape(title), "way": way}
        values["bars"] = " data-framed" if framed else ""
        values["bars"] += "" if opens_at is None else f' data-opens="{opens_at}"'
        values["master"] = html.escape(f"master.m3u8?{query}" if query else "master.m3u8")
        # A "<" could end the element that holds it.
        values["texts"] = json.dumps(texts).replace("<", "\\u003c")
        return self._template.substitute(values).encode()

    def refusal(self, error: HttpError, language: str, root: str, film: str | None) -> bytes:
        """The document for a window that gets no film. `root` is the way from its address to `/`, and
        `film` from there to the page of the film that it is about."""
        kind = _KINDS.get(error.status, "unknown")
        texts = REFUSALS[language]
        title, text = texts.get(error.kind or "", texts[kind])
        values = {_PLACES[file]: f"{root}s/-/{name}" for file, name in self._names.items()}
        values |= {"language": language, "title": title, "text": text}
        # Reasons are in English, and say once more what has a text of its own.
        adds = language == "en" and error.kind not in texts
        values["reason"] = (
            f"{error.status}: {html.escape(error.reason)}" if adds else f"{error.status}"
        )
        href, label = f"{root}{film}", TO_FILM[language]
        if kind == "busy":
            # The same address.
            href, label = "", TEXTS[language]["again"]
        way = f'<p><a class="go" href="{html.escape(href)}">{label}</a></p>\n'
        values["way"] = way if kind == "busy" or film is not None else ""
        return self._refusal.substitute(values).encode()


_KINDS = {401: "denied", 403: "denied", 404: "gone", 410: "gone", 429: "busy", 503: "busy"}


def _entry(paragraphs: str, version: str, way: str, texts: Mapping[str, str]) -> str:
    """What stands before the film: the notice of that version, and a field where a password is typed; where a
    link or a token opens it, the notice alone, which may still come while the page is open."""
    if way == "open":
        return ""
    say = {name: html.escape(text) for name, text in texts.items()}
    asked = _field(say) if way in ("shared", "personal") else _onward(say)
    return f"""\
<form id="entry" class="entry" autocomplete="off" data-notice="{version}" hidden>
<div id="notice" class="notice"{"" if version else " hidden"}>{paragraphs}</div>
<p id="entry-problem" class="problem" role="alert" hidden></p>
{asked}</form>
"""


def _paragraphs(notice: str) -> str:
    parts = (html.escape(part.strip()) for part in notice.split("\n\n") if part.strip())
    return "".join(f"<p>{part}</p>\n" for part in parts)


def _onward(say: Mapping[str, str]) -> str:
    return f'<button type="submit" aria-describedby="notice">{say["entry_on"]}</button>\n'


def _field(say: Mapping[str, str]) -> str:
    """Whoever types from paper wants to see what is typed."""
    return f"""\
<label for="password">{say["entry_label"]}</label>
<div class="field">
<input id="password" name="password" type="text" required maxlength="200" autocapitalize="characters"
 autocorrect="off" spellcheck="false" enterkeyhint="go" aria-describedby="entry-problem entry-hint">
<button type="submit">{say["entry_go"]}</button>
</div>
<p id="entry-hint" class="hint">{say["entry_hint"]}</p>
"""


_PLACES = {
    "icon.svg": "icon",
    "page.css": "style",
    "page.js": "script",
    "hls.min.js": "hls",
    "hls.worker.js": "worker",
}


def load() -> Page:
    """Reads the page's files. Raises `FileNotFoundError` where the build left out hls.js."""
    folder = resources.files(__package__)
    names: dict[str, str] = {}
    assets = {}
    for file, type in {**_FILES, **_FETCHED}.items():
        data = _with_hashed_imports((folder / file).read_bytes(), names)
        if file == "page.css":
            data = theme() + data
        stem, _, suffix = file.rpartition(".")
        names[file] = f"{stem}-{sha256(data).hexdigest()[:12]}.{suffix}"
        assets[names[file]] = Asset(type, data, gzip.compress(data, 9, mtime=0))
    kept = {file: name for file, name in names.items() if file in _PLACES}
    template, refusal = ((folder / name).read_text("utf-8") for name in _TEMPLATES)
    return Page(template, refusal, assets, kept)


def theme() -> bytes:
    """What stands before a style: the colours of light and dark, and the typeface."""
    return (resources.files(__package__) / "theme.css").read_bytes()


def _with_hashed_imports(data: bytes, names: Mapping[str, str]) -> bytes:
    for file, name in names.items():
        data = data.replace(f'from "./{file}"'.encode(), f'from "./{name}"'.encode())
    return data


def headers(embed_origins: Sequence[str], *, refusal: bool = False) -> list[tuple[str, str]]:
    """What the page's answer says beside the page, or that of a `refusal`. `embed_origins`: who may
    show it in a frame."""
    ancestors = " ".join(embed_origins) or "'none'"
    policy = _REFUSAL_POLICY if refusal else POLICY
    return [*_HEADERS, ("Content-Security-Policy", f"{policy}; frame-ancestors {ancestors}")]


def stills(presentation: Presentation) -> dict[str, Rendition]:
    """The renditions whose key frames do for a poster and for previews; none without pictures."""
    videos = [rendition for rendition in presentation.renditions if rendition.kind == "video"]
    if not videos:
        return {}
    return {
        "poster": _fitting(videos, _POSTER_HEIGHT),
        "preview": _fitting(videos, _PREVIEW_HEIGHT),
    }


def poster_ms(presentation: Presentation) -> int:
    """Where the player takes its poster from."""
    ms = min(float(presentation.duration) * 1000 * _POSTER_PART, _POSTER_MS)
    return round(ms / STILL_MS) * STILL_MS


def shows(presentation: Presentation, rendition: Rendition, ms: int) -> bool:
    """Whether there is a picture of `rendition` at `ms` milliseconds."""
    if ms % STILL_MS:
        return False
    found = stills(presentation)
    if rendition is found.get("preview"):
        return True
    return rendition is found.get("poster") and ms <= _POSTER_MS


def _fitting(videos: Sequence[Rendition], height: int) -> Rendition:
    """The smallest picture that has so many lines, or the largest one."""
    by_height = sorted(videos, key=lambda video: (video.resolution or (0, 0))[1])
    enough = (video for video in by_height if (video.resolution or (0, 0))[1] >= height)
    return next(enough, by_height[-1])
