"""Reports of attendance: what an organiser certifies with.

A report is of an event, united over its streams, or of a stream and its days. Either way it is rows of the
one ledger, what they were computed with, and `about`: what else it is to be read with, the passwords among
it, since the ledger knows only their numbers. A provisional report is of the moment it was made. A sealed one
is the signed document (`pystream.attendance.documents`), which has all of these too, so both are shown by the
same code, and wherever the document is: only `making` and `paper` need what a server has.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from typing import Any

from pystream.attendance import documents
from pystream.attendance.checkpoint import Checkpoint
from pystream.attendance.documents import Document, Scope
from pystream.attendance.nodes import PROXIES
from pystream.attendance.notes import parse as parse_note
from pystream.attendance.options import Options
from pystream.attendance.policies import ROUNDINGS
from pystream.errors import Incomplete, MalformedDocument


@dataclass(frozen=True, slots=True)
class Line:
    """What a report says of a password: the row that counts, of the programme or of a civil day. `online_ms`
    is all access on the report's days, outside of the programme too; of what is watched by then, `spans`."""

    key: str
    password: str | None
    label: str
    is_test: bool
    row: dict[str, Any]
    online_ms: int
    spans: list[list[int]]
    certified: bool | None
    points: str | None

    @property
    def name(self) -> str:
        """Whom it is about: the password, or its number where it was erased."""
        return self.password if self.password is not None else f"#{self.key}"


@dataclass(frozen=True, slots=True)
class Report:
    """A report, provisional or sealed. `document`: as it was signed, as long as it can be put together."""

    rows: list[dict[str, Any]]
    options: Options
    scope: Scope
    about: dict[str, Any]
    tzdata: str
    checkpoint: Checkpoint | None = None
    document: bytes | None = None

    @property
    def version(self) -> int | None:
        number = self.about["version"]
        return None if number is None else int(number)

    @property
    def is_of_event(self) -> bool:
        return bool(self.about["kind"] == "event")

    def lines(self) -> list[Line]:
        """One for each password, or, of a stream, for each password and day; by password."""
        passwords, awards = self.about["passwords"], self.about["awards"]
        # Access sums over days, what is certifiable does not.
        daily: dict[str, list[dict[str, Any]]] = {}
        for row in self.rows:
            if self.is_of_event and row["stream"] is None and row["day"] is not None:
                daily.setdefault(row["key"], []).append(row)
        found = []
        for row in self.rows:
            if self.is_of_event and (row["stream"] is not None or row["day"] is not None):
                continue
            known = passwords.get(row["key"], {})
            worth = awards.get(row["key"], {})
            these = daily.get(row["key"], []) if self.is_of_event else [row]
            found.append(
                Line(
                    row["key"],
                    known.get("password"),
                    known.get("label", ""),
                    known.get("test", False),
                    row,
                    sum(each["access_ms"] for each in these),
                    [list(span) for each in these for span in each["intervals"]],
                    worth.get("certified"),
                    worth.get("points"),
                )
            )
        return sorted(found, key=lambda line: (line.name, line.key, line.row["day"] or ""))

    def without(self, keys: Collection[str]) -> Report:
        """The same without what it says of some passwords, whose data nobody may use."""
        gone = {row["key"] for row in self.rows} & set(keys)
        if not gone:
            return self
        about = self.about | {
            "awards": {
                key: worth for key, worth in self.about["awards"].items() if key not in gone
            },
            "passwords": {
                key: known for key, known in self.about["passwords"].items() if key not in gone
            },
            "restricted": self.about.get("restricted", 0) + len(gone),
        }
        rows = [row for row in self.rows if row["key"] not in gone]
        return replace(self, rows=rows, about=about, document=None)

    def json(self) -> bytes:
        """The document that `verify` reads; a provisional one has no signature, and says that it is none.
        Raises `Incomplete` for a sealed one with passwords that were erased since, or are restricted."""
        if self.document is not None:
            return self.document
        if self.version is not None:
            raise Incomplete(
                f"passwords of version {self.version} were erased since it was sealed, or their data is"
                " restricted, so there is no more of it than the other formats show; a file that was written"
                " before can be verified as ever"
            )
        return documents.provisional(self.rows, self.options, self.scope, self.about)


def of_document(text: bytes) -> Report:
    """A report as it was signed, or a provisional one as it was printed. Nothing of it is proven by that.
    Raises `MalformedDocument`."""
    if documents.is_provisional(text):
        said = documents.parse_provisional(text)
        checkpoint, document = None, None
    else:
        read: Document = documents.parse(text)
        if read.receipt is not None:
            raise MalformedDocument("this is a receipt, and no report")
        said = documents.Unsigned(read.rows, read.options, read.scope, read.tzdata, read.about)
        checkpoint, document = Checkpoint.parse(parse_note(read.checkpoint)[0]), text
    _check(said.about, is_signed=document is not None)
    if said.options.verified and any(row["verified_ms"] is None for row in said.rows):
        raise MalformedDocument("rows: they do not say what players have said")
    return Report(
        said.rows, said.options, said.scope, said.about, said.tzdata, checkpoint, document
    )


def _check(about: dict[str, Any], *, is_signed: bool) -> None:
    """Raises `MalformedDocument` for what `making` never writes."""
    try:
        texts = [about[name] for name in _TEXTS]
        texts += [text for each in about["streams"].items() for text in each]
        for known in about["passwords"].values():
            texts += [known["label"], known["password"] or ""]
            if not isinstance(known["test"], bool):
                raise ValueError
        for worth in about["awards"].values():
            if not isinstance(worth["certified"], bool):
                raise ValueError
            Fraction(worth["points"] or "0")
        policy = about["policy"]
        if policy is not None:
            counts = [policy["threshold_pct"] or 0, policy["least_minutes"] or 0]
            if policy["rounding"] not in ROUNDINGS or about["programme_ms"] < 1000:
                raise ValueError
            texts += [str(int(each)) for each in counts]
        is_sound = all(isinstance(text, str) for text in texts)
        datetime.fromisoformat(about["made_at"])
        if not is_sound or about["kind"] not in ("event", "stream"):
            raise ValueError
        for each in about.get("nodes", []):
            if each["proxy"] not in PROXIES or not isinstance(each["clock_synchronised"], bool):
                raise ValueError
            if type(each["clock_error_ms"]) is not int:
                raise ValueError
        if not isinstance(about.get("policy_hash", ""), str):
            raise ValueError
        for gone in (about.get("erased", 0), about.get("restricted", 0)):
            if type(gone) is not int or gone < 0:
                raise ValueError
        # Nobody gives a number to what is not signed.
        version = about["version"]
        if (version is not None) is not is_signed or (is_signed and type(version) is not int):
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError, ZeroDivisionError):
        raise MalformedDocument("about: this is no report of pystream's") from None


_TEXTS = "definition kind made_at name organiser pause_visible reason tenant title vnr".split()
