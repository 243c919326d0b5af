"""How pages of the console are made: templates, texts, and what every answer says beside its page."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from pystream.acl import sign_in
from pystream.acl.people import Actor, Right
from pystream.server.office.console.texts import TEXTS
from pystream.server.office.values import Reply, Request
from pystream.server.page.texts import language

if TYPE_CHECKING:
    from jinja2 import Environment

POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; font-src 'self';"
    " connect-src 'self'; media-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
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
    """An answer with a page of `templates`, in the language that the browser likes best.

    A template has `t` (the texts), `root` (the path before `/console/`), `asset(FILE)`, `csrf()` (a form's
    hidden field), `actor` and `may(RIGHT)`, and what `values` give it.
    """
    spoken = language(request.fields.get("accept_language"))
    texts = TEXTS[spoken]
    session = request.session

    def csrf() -> Any:
        token = "" if session is None else sign_in.csrf(session)
        from markupsafe import Markup

        return Markup('<input type="hidden" name="csrf" value="{}">').format(token)

    def may(right: str) -> bool:
        return actor is not None and Right(right) in actor.rights

    body = (
        _environment()
        .get_template(template)
        .render(
            t=texts,
            language=spoken,
            root=request.root,
            asset=lambda name: f"{request.root}/console/-/{_hashed()[name]}",
            csrf=csrf,
            actor=actor,
            may=may,
            **values,
        )
    )
    return Reply(status, [*_HEADERS, *headers], body.encode())


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
    return (resources.files(package) / file).read_bytes()
