"""How pages of the console are made: templates, texts, and what every answer says beside its page."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache, partial
from hashlib import sha256
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from pystream.acl import sign_in
from pystream.acl.people import Actor, Right
from pystream.acl.streams import time_zone
from pystream.errors import InvalidValue, Said, StoreError
from pystream.server.office.console import sentences
from pystream.server.office.console.texts import LANGUAGES, TEXTS
from pystream.server.office.values import Reply, Request
from pystream.server.page import theme
from pystream.server.page.texts import language

if TYPE_CHECKING:
    from jinja2 import Environment

POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; media-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
LANGUAGE_COOKIE: Final = "pystream-language"
_HEADERS: Final = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Security-Policy", POLICY),
    ("Cache-Control", "no-store"),
    ("Vary", "Accept-Language, Cookie"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("X-Robots-Tag", "noindex"),
    # Without a referrer browsers would send forms from the origin `null`.
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), microphone=(), geolocation=(), display-capture=()"),
)
_FILES: Final = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


def page(
    request: Request,
    actor: Actor | None,
    template: str,
    status: int = 200,
    *headers: tuple[str, str],
    **values: Any,
) -> Reply:
    """An answer with a page of `templates`, in the language that was chosen, or the browser likes best.

    A template has `t` (the texts), `root` (the path before `/console/`), `asset(FILE)`, `csrf()` (a form's
    hidden field), `actor` and `may(RIGHT)`, `here` (the page's path), `back` (where to go on
    from), `number`, `size`, `when`, `until` and `day` (moments in the time zone `zone`, UTC where `values`
    have none), `tell(SENTENCE)` (what is wrong, in that language), and what `values` give it.
    """
    spoken = spoken_to(request)
    session = request.session

    def csrf() -> Any:
        token = "" if session is None else sign_in.csrf(session)
        from markupsafe import Markup

        return Markup('<input type="hidden" name="csrf" value="{}">').format(token)

    def may(right: str) -> bool:
        return actor is not None and Right(right) in actor.rights

    shapes = Shapes(spoken, values.get("zone", "UTC"))
    values = {"problem": None, "said": (), "done": None} | values
    body = (
        _environment()
        .get_template(template)
        .render(
            t=TEXTS[spoken],
            language=spoken,
            root=request.root,
            asset=lambda name: f"{request.root}/console/-/{_hashed()[name]}",
            csrf=csrf,
            actor=actor,
            may=may,
            here=request.path,
            # What is no page of its own is not gone back to.
            back=request.path if request.method == "GET" and status == 200 else "/console/",
            number=shapes.number,
            size=shapes.size,
            when=shapes.moment,
            day=shapes.day,
            until=shapes.until,
            tell=partial(sentences.tell, spoken),
            languages=LANGUAGES,
            **values,
        )
    )
    return Reply(status, [*_HEADERS, *headers], body.encode())


def file(name: str, kind: str, data: bytes) -> Reply:
    """A file that a browser saves under that name."""
    headers = [
        ("Content-Type", f"{kind}; charset=utf-8" if kind == "text/csv" else kind),
        ("Content-Disposition", f'attachment; filename="{name}"'),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
    ]
    return Reply(200, headers, data)


def sentences_of(error: InvalidValue | StoreError) -> tuple[str, ...]:
    return error.problems if isinstance(error, InvalidValue) else error.args[:1]


def about(name: str, problem: str) -> str:
    """What is wrong, and with which field of a form."""
    if isinstance(problem, Said):
        return Said(problem.key, problem, of=name, **problem.values)
    return f"{name}: {problem}"


def spoken_to(request: Request) -> str:
    """The language of whoever asks."""
    chosen = request.cookie(LANGUAGE_COOKIE)
    if chosen is not None and chosen in TEXTS:
        return chosen
    return language(request.fields.get("accept_language"))


class Shapes:
    """How numbers and times are written in a language."""

    def __init__(self, spoken: str, zone: str) -> None:
        self._is_german = spoken == "de"
        self._zone = time_zone(zone)

    def number(self, value: int) -> str:
        text = f"{value:,}"
        return text.replace(",", ".") if self._is_german else text

    def size(self, count: int) -> str:
        """Bytes, in powers of 1000."""
        value, unit = float(count), "B"
        for larger in ("kB", "MB", "GB", "TB"):
            if value < 999.5:
                break
            value, unit = value / 1000, larger
        text = f"{value:.0f}" if unit == "B" or value >= 99.5 else f"{value:.1f}"
        return f"{text.replace('.', ',') if self._is_german else text} {unit}"

    def moment(self, at: int) -> str:
        return f"{self.day(at)}, {datetime.fromtimestamp(at, self._zone):%H:%M}"

    def until(self, at: int) -> str:
        """A first moment that is too late: of a midnight, the day that ends there."""
        found = datetime.fromtimestamp(at, self._zone)
        return self.day(at - 1) if (found.hour, found.minute) == (0, 0) else self.moment(at)

    def day(self, at: int) -> str:
        found = datetime.fromtimestamp(at, self._zone)
        return f"{found:%d.%m.%Y}" if self._is_german else f"{found.day} {found:%b %Y}"


@lru_cache(1)
def _environment() -> Environment:
    # Loaded in the office alone; workers import the table of routes.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader(__package__ or "")
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


@lru_cache(1)
def assets() -> dict[str, tuple[str, bytes]]:
    """Type and bytes of the console's own files, by their names with a hash."""
    return {_hashed()[file]: (type, _read(file)) for file, type in _FILES.items()}


@lru_cache(1)
def _hashed() -> dict[str, str]:
    names = {}
    for file in _FILES:
        stem, _, suffix = file.rpartition(".")
        names[file] = f"{stem}-{sha256(_read(file)).hexdigest()[:12]}.{suffix}"
    return names


def _read(file: str) -> bytes:
    package = "pystream.server.page" if file == "icon.svg" else __package__
    data = (resources.files(package) / file).read_bytes()
    return theme() + data if file == "console.css" else data
