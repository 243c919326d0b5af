"""The package for authorities: all that was recorded of an incident, and the proof of it.

It is a zip archive of text files, their SHA-256 sums as `sha256sum` writes them, and a signature
of those sums (Ed25519) by the node's key for incidents. All of it can be proven without this program:

    sha256sum -c SHA256SUMS
    openssl pkeyutl -verify -pubin -inkey key.pem -rawin -in SHA256SUMS -sigfile SHA256SUMS.sig
"""

from __future__ import annotations

import csv
import io
import zipfile
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from pystream.acl.incidents import (
    Contents,
    custody_digest,
    entry_of,
    events_of,
    moment,
)
from pystream.attendance.canonical import decode, encode
from pystream.attendance.notes import SigningKey, VerifierKey
from pystream.errors import MalformedDocument, NotProven

KEY_NAME: Final = "pystream/incidents"
"""What the node's key for incidents is called."""
FORMAT: Final = "pystream-incident-v1"
# What an archive of many events has, unpacked.
_LARGEST = 1 << 28

_README = """\
Attack on a video server: what was recorded, and how it is proven
Angriff auf einen Videoserver: was aufgezeichnet wurde, und wie es nachzuweisen ist

incident.json   what happened when; no addresses / was wann geschah; ohne Adressen
events.csv      sources, times (UTC) and counts / Quellen, Zeiten (UTC), Zahlen
events.jsonl    the same as it was sealed, each line with the SHA-256 of the one before
                dasselbe, wie es versiegelt war, jede Zeile mit dem SHA-256 der vorigen
                Times are those of its being noted, some seconds after it was done.
                Zeiten sind die, zu denen es vermerkt wurde, einige Sekunden danach.
custody.jsonl   who had it in hand / wer damit umging (chain of custody)
SHA256SUMS      the files' hashes / Prüfsummen der Dateien
SHA256SUMS.sig  their signature (Ed25519) / deren Signatur
key.pem, key.vkey   the key that has signed / der Schlüssel, der signiert hat

  sha256sum -c SHA256SUMS
  openssl pkeyutl -verify -pubin -inkey key.pem -rawin -in SHA256SUMS -sigfile SHA256SUMS.sig

Compare the key with the one that the operator has told you by another way.
Vergleichen Sie den Schlüssel mit dem, den der Betreiber auf anderem Weg genannt hat.

"authenticated: no": this source has answered nothing. Anybody can write any address into a SYN,
so it is no evidence against whoever has this address.
"authenticated: no": Diese Quelle hat nichts beantwortet. In ein SYN kann jeder jede Adresse
schreiben; gegen deren Inhaber beweist das nichts.
"""


def package(contents: Contents, key: SigningKey) -> bytes:
    """The archive."""
    facts = {
        "format": FORMAT,
        **contents.incident.facts(),
        "events_digest": sha256(contents.batches[-1]).hexdigest() if contents.batches else "",
        "custody_digest": contents.custody[-1].digest if contents.custody else "",
    }
    files = {
        "README.txt": _README.encode(),
        "incident.json": encode(facts) + b"\n",
        "events.csv": _csv(contents.batches),
        "events.jsonl": b"".join(each + b"\n" for each in contents.batches),
        "custody.jsonl": b"".join(
            encode({**entry_of(each), "digest": each.digest}) + b"\n" for each in contents.custody
        ),
        "key.pem": pem(key.verifier),
        "key.vkey": f"{key.verifier}\n".encode(),
    }
    sums = "".join(f"{sha256(data).hexdigest()}  {name}\n" for name, data in files.items()).encode()
    files |= {"SHA256SUMS": sums, "SHA256SUMS.sig": key.sign(sums)}
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def _csv(batches: Sequence[bytes]) -> bytes:
    events = [event for each in batches for event in events_of(each)]
    names = sorted({name for event in events for name in event.counts})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["begun", "ended", "source", "authenticated", *names, "done"])
    for event in events:
        counts = [event.counts.get(name, 0) for name in names]
        authenticated = "yes" if event.authenticated else "no"
        times = moment(event.begun), moment(event.ended)
        writer.writerow([*times, event.source, authenticated, *counts, event.done])
    return text.getvalue().encode()


# RFC 8410 10.1: SubjectPublicKeyInfo of Ed25519, before the 32 bytes of the key.
_SPKI = bytes.fromhex("302a300506032b6570032100")


def pem(key: VerifierKey) -> bytes:
    """A public key as openssl reads it."""
    encoded = b64encode(_SPKI + key.public).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{encoded}\n-----END PUBLIC KEY-----\n".encode()


@dataclass(frozen=True, slots=True)
class Proven:
    """What a package says that was found to be as it was signed."""

    facts: Mapping[str, Any]
    events: int
    entries: int


def verify(data: bytes, keys: Sequence[VerifierKey]) -> Proven:
    """Raises `MalformedDocument` for what is no package, and `NotProven` for one that was changed, or that
    none of the keys has signed."""
    files = _unpacked(data)
    sums = files.get("SHA256SUMS", b"")
    _check_signature(sums, files.get("SHA256SUMS.sig", b""), keys)
    listed = dict(_sums(sums))
    there = set(files) - {"SHA256SUMS", "SHA256SUMS.sig"}
    if there != set(listed):
        raise NotProven("the files are not those that were signed")
    for name, digest in listed.items():
        if sha256(files[name]).hexdigest() != digest:
            raise NotProven(f"{name} is not what was signed")
    try:
        facts = decode(files["incident.json"])
        batches = files["events.jsonl"].splitlines()
        entries = [decode(line) for line in files["custody.jsonl"].splitlines()]
        _check_batches(batches, facts["events_digest"])
        _check_custody(entries, facts["custody_digest"])
        count = sum(len(events_of(each)) for each in batches)
    except (KeyError, TypeError, AttributeError):
        raise MalformedDocument("this is no package of an incident") from None
    return Proven(facts, count, len(entries))


def _unpacked(data: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            listed = archive.infolist()
            if sum(each.file_size for each in listed) > _LARGEST:
                raise MalformedDocument("this is larger than a package of an incident")
            if len(data) != _length(data, archive) or len(archive.NameToInfo) != len(listed):
                raise MalformedDocument("this has more in it than the files of a package")
            return {each.filename: archive.read(each) for each in listed}
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        RuntimeError,
        EOFError,
        ValueError,
        IndexError,
    ):
        raise MalformedDocument("this is no package of an incident") from None


def _length(data: bytes, archive: zipfile.ZipFile) -> int:
    """Of an archive that has its files and nothing before, between or behind them: local headers with names
    and extra fields, what is compressed, the directory, and its end (APPNOTE 4.3.7, 4.3.12, 4.3.16)."""
    length = 22
    for each in archive.infolist():
        at = each.header_offset
        named = int.from_bytes(data[at + 26 : at + 28], "little")
        extra = int.from_bytes(data[at + 28 : at + 30], "little")
        length += 30 + named + extra + each.compress_size
        length += 46 + len(each.filename.encode()) + len(each.extra)
    return length


def _check_signature(sums: bytes, signature: bytes, keys: Sequence[VerifierKey]) -> None:
    for key in keys:
        try:
            key.check(sums, signature)
        except NotProven:
            continue
        return
    raise NotProven("none of these keys has signed it")


def _sums(text: bytes) -> Iterable[tuple[str, str]]:
    for line in text.decode("utf-8", "replace").splitlines():
        digest, _, name = line.partition("  ")
        yield name, digest


def _check_batches(batches: Sequence[bytes], last: str) -> None:
    previous = ""
    for number, text in enumerate(batches, 1):
        if decode(text)["previous"] != previous:
            raise NotProven(f"line {number} of events.jsonl does not follow the one before it")
        previous = sha256(text).hexdigest()
    if previous != last:
        raise NotProven("events.jsonl does not end as it did")


def _check_custody(entries: Sequence[Mapping[str, Any]], last: str) -> None:
    previous = ""
    for entry in entries:
        bare = {name: value for name, value in entry.items() if name != "digest"}
        if custody_digest(bare, previous) != entry["digest"]:
            raise NotProven(f"entry {entry['number']} of custody.jsonl is not what was written")
        previous = entry["digest"]
    if previous != last:
        raise NotProven("custody.jsonl does not end as it did")
