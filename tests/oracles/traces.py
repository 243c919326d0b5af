"""Traces of a secret in bytes: as it is, encoded, or hashed without a key; and bytes out of their wrappings.

A secret has several forms, which all are looked for (a password with and without its hyphens, an
address as text and packed). Text is found in any case of its letters.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import ipaddress
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from urllib.parse import quote

import pypdfium2

_DEEPEST = 4
_HASHES = ("md5", "sha1", "sha256", "sha512", "blake2b", "blake2s")
_BLAKE2B_LENGTHS = (8, 12, 16, 20, 32)


@dataclass(frozen=True)
class Secret:
    """What must not be anywhere. `forms`: texts or bytes that stand for it."""

    name: str
    forms: tuple[str | bytes, ...]

    def traces(self, data: bytes, folded: bytes) -> Iterator[str]:
        """How it is encoded in data; `folded` is that in small letters."""
        for name, is_exact, needles in _needles(self.forms):
            if any(map((data if is_exact else folded).__contains__, needles)):
                yield name


@cache
def _needles(forms: tuple[str | bytes, ...]) -> tuple[tuple[str, bool, tuple[bytes, ...]], ...]:
    """What traces look like, by how they are encoded; whether letters count as they are."""
    found: dict[str, set[bytes]] = {}
    for form in forms:
        texts = {form, form.lower(), form.upper()} if isinstance(form, str) else {form}
        for text in texts:
            plain = text.encode() if isinstance(text, str) else text
            for name, needle in _encoded(plain, text):
                found.setdefault(name, set()).add(needle if _is_exact(name) else needle.lower())
    return tuple((name, _is_exact(name), tuple(needles)) for name, needles in found.items())


def _is_exact(name: str) -> bool:
    return name.startswith("base64") or name.endswith("raw")


def address(text: str) -> tuple[str | bytes, ...]:
    """The forms of an address."""
    found = ipaddress.ip_address(text)
    forms: list[str | bytes] = [text, found.exploded, found.packed.hex(), str(int(found))]
    if found.version == 6:
        # Four bytes alone turn up by chance.
        forms.append(found.packed)
    return tuple(dict.fromkeys(forms))


def password(text: str) -> tuple[str, ...]:
    """The forms of a password as it was made: in groups, without hyphens, with blanks."""
    return (text, text.replace("-", ""), text.replace("-", " "))


def traces(data: bytes, secrets: Iterator[Secret] | list[Secret]) -> Iterator[tuple[str, str]]:
    """The names of secrets that data holds, each with the name of the encoding."""
    folded = data.lower()
    for secret in secrets:
        yield from ((secret.name, name) for name in secret.traces(data, folded))


def _encoded(plain: bytes, form: str | bytes) -> Iterator[tuple[str, bytes]]:
    if isinstance(form, str):
        yield "utf-8", plain
        yield "utf-16", form.encode("utf-16-le")
        yield "utf-16", form.encode("utf-16-be")
        yield from (("escaped", spelt.encode()) for spelt in _escaped(form))
        yield "percent", quote(form, safe="").encode()
        yield "percent", "".join(f"%{byte:02x}" for byte in plain).encode()
    else:
        yield "bytes raw", plain
    yield "hex", plain.hex().encode()
    yield from _in_base64("base64", plain)
    for name, digest in _digests(plain):
        yield f"{name} raw", digest
        yield name, digest.hex().encode()
        # At the begin of what it is in, as digests are.
        for spell in (base64.b64encode, base64.urlsafe_b64encode):
            yield f"base64 of {name}", spell(digest).rstrip(b"=")


def _escaped(text: str) -> Iterator[str]:
    """As JSON, CSV (RFC 4180), XML, HTML and Markdown have it."""
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]
    yield text.replace('"', '""')
    yield escape(text)
    yield escape(text, quote=False)
    yield re.sub(r"([\\`*_{}<>#|~])", r"\\\1", text)


def _in_base64(name: str, plain: bytes) -> Iterator[tuple[str, bytes]]:
    """RFC 4648 4 and 5: where the text begins in a group of three bytes, whatever stands beside it."""
    for before in range(3):
        whole = base64.b64encode(bytes(before) + plain)
        first = -(-before * 8 // 6)
        last = (before + len(plain)) * 8 // 6
        for each in (whole, whole.translate(bytes.maketrans(b"+/", b"-_"))):
            yield f"{name} {before}", each[first:last]


def _digests(plain: bytes) -> Iterator[tuple[str, bytes]]:
    for name in _HASHES:
        yield name, hashlib.new(name, plain).digest()
    for length in _BLAKE2B_LENGTHS:
        yield "blake2b", hashlib.blake2b(plain, digest_size=length).digest()


# Wrappings


def layers(data: bytes, depth: int = 0) -> Iterator[bytes]:
    """Data, and all that is wrapped in it: members of zip archives, gzip, streams of PDFs."""
    yield data
    if depth == _DEEPEST:
        return
    for inner in _inside(data):
        yield from layers(inner, depth + 1)


def _inside(data: bytes) -> Iterator[bytes]:
    if data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                yield archive.read(member)
    if data[:2] == b"\x1f\x8b":
        with suppress(OSError, EOFError, zlib.error):
            yield gzip.decompress(data)
    if data[:5] == b"%PDF-":
        yield from _pdf_streams(data)
        with suppress(pypdfium2.PdfiumError):
            yield _pdf_text(data)


def _pdf_text(data: bytes) -> bytes:
    """What people read: typefaces have numbers of their own for signs."""
    document = pypdfium2.PdfDocument(data)
    try:
        pages = [page.get_textpage().get_text_bounded() for page in document]
    finally:
        document.close()
    return "\n".join(pages).encode()


def _pdf_streams(data: bytes) -> Iterator[bytes]:
    """ISO 32000-1 7.3.8, with the filters FlateDecode and ASCII85Decode before it."""
    for match in re.finditer(rb"stream\r?\n(.*?)\r?\n?endstream", data, re.DOTALL):
        packed = match[1]
        with suppress(ValueError):
            if packed.rstrip().endswith(b"~>"):
                packed = base64.a85decode(b"<~" + packed.strip(), adobe=True)
        with suppress(zlib.error):
            yield zlib.decompress(packed)


def in_files(folder: Path, secrets: list[Secret]) -> Iterator[tuple[str, str, str]]:
    """(file, secret, encoding) of every trace in a folder's files."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = str(path.relative_to(folder))
            seen = set()
            for data in (name.encode(), *layers(path.read_bytes())):
                seen |= set(traces(data, secrets))
            yield from ((name, *each) for each in sorted(seen))
