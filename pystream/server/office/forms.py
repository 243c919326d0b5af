"""Forms with files: `multipart/form-data` (RFC 7578), as browsers send it.

Narrow where others are lenient: a boundary stands at the beginning of a line, each part has one
Content-Disposition with a name, no field comes twice, and nothing is nested.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from pystream.errors import Said
from pystream.server.http import HttpError

_MOST_PARTS = 50
_MOST_HEAD = 2048
# RFC 2046 5.1.1
_BOUNDARY = re.compile(
    r"""(?i);[ \t]*boundary=(?:"([^"\\]{1,70})"|([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,70}))"""
)
# HTML, "multipart/form-data encoding algorithm": what would end the quotes is percent-encoded.
_DISPOSITION = re.compile(
    rb'(?i)content-disposition:[ \t]*form-data;[ \t]*name="([^"]*)"(?:;[ \t]*filename="([^"]*)")?[ \t]*'
)


class File(NamedTuple):
    """A file of a form. The name is the sender's word."""

    name: str
    data: bytes


def multipart(kind: str, body: bytes) -> tuple[dict[str, str], dict[str, File]]:
    """The fields and the files of a form. `kind` is its Content-Type. Raises `HttpError`."""
    found = _BOUNDARY.search(kind)
    if found is None:
        raise _malformed()
    mark = b"\r\n--" + (found[1] or found[2]).encode("latin-1")
    pieces = (b"\r\n" + body).split(mark, _MOST_PARTS + 2)
    if len(pieces) < 2 or pieces[0].strip() or not pieces[-1].startswith(b"--"):
        raise _malformed()
    fields: dict[str, str] = {}
    files: dict[str, File] = {}
    for piece in pieces[1:-1]:
        name, file, data = _part(piece)
        if name in fields or name in files:
            reason = "a field of the form or the query comes twice"
            raise HttpError(400, Said("malformed", reason))
        if file is None:
            fields[name] = _utf8(data)
        else:
            files[name] = File(file, data)
    return fields, files


def _part(piece: bytes) -> tuple[str, str | None, bytes]:
    head, gap, data = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    if not gap or not piece.startswith(b"\r\n") or len(head) > _MOST_HEAD:
        raise _malformed()
    said = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-disposition")]
    match = _DISPOSITION.fullmatch(said[0]) if len(said) == 1 else None
    if match is None:
        raise _malformed()
    return _utf8(match[1]), None if match[2] is None else _utf8(match[2]), data


def _malformed() -> HttpError:
    reason = "the form is no multipart/form-data as browsers send it (RFC 7578)"
    return HttpError(400, Said("malformed", reason))


def _utf8(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise HttpError(400, Said("malformed", "the form is not UTF-8")) from None
