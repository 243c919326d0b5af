"""Whether a report or a receipt is true, by nothing but public keys, and of a report by the exported log.

What is believed is only what trusted keys have signed. An event counts only as a leaf below a root that they
have signed, and rows only as far as they follow from such events by the same fold as everywhere.

Erased are all events of a key, and those of a report expire together. So where leaves are gone, a row whose
key has no event left is not available; a row whose key has some has to follow from these.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pystream._core import Evidence, Frontier, check_inclusion, leaf_hashes
from pystream.attendance import checkpoint as checkpoints
from pystream.attendance import documents
from pystream.attendance.canonical import encode
from pystream.attendance.options import zones_version
from pystream.attendance.policies import digest
from pystream.errors import MalformedDocument, NotProven

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, BinaryIO

    from pystream.attendance.checkpoint import Checkpoint
    from pystream.attendance.documents import Document, Proven
    from pystream.attendance.notes import Signer, VerifierKey

SIGNED, RECOMPUTED, NOT_AVAILABLE = "signed", "recomputed", "not available"
# Names in an evidence file may be of any length, and yet nobody has some of this one.
_LONGEST_LINE = 1 << 20
_PART = 1 << 20


@dataclass(frozen=True, slots=True)
class Verdict:
    """What has been proven.

    `proofs` says of each row what it rests on; `events` are those that were computed from. `leaves` are those
    of the log up to the checkpoint, None without an export, and `gone` those of them that are not available.
    """

    document: Document
    signer: VerifierKey
    checkpoint: Checkpoint
    cosigners: list[Signer]
    proofs: list[str]
    events: int
    leaves: int | None
    gone: int


def verify(
    text: bytes,
    keys: Sequence[VerifierKey],
    export: BinaryIO | None = None,
    kept: Sequence[str] = (),
    others: Sequence[BinaryIO] = (),
) -> Verdict:
    """Verifies a report or a receipt, and where an export is given, its rows by that. `kept` are notes of
    checkpoints of the same log, which has to contain them; `others` exports of its earlier epochs, where a
    backup was brought back meanwhile, all of whose leaves count.

    Raises `MalformedDocument`, and `NotProven` where something does not follow; `ValueError` for checkpoints
    to look for, and no export to do it in.
    """
    if kept and export is None:
        raise ValueError("checkpoints are looked for in an export")
    document = documents.parse(text)
    signer = _signer(document, keys)
    checkpoint, cosigners = checkpoints.check(document.checkpoint, keys)
    if checkpoint.name != signer.name:
        raise NotProven("the checkpoint is of a log whose key has not signed this")
    about = document.about
    if "policy_hash" in about:
        counted = digest(str(about.get("definition")), document.options, about.get("policy"))
        if about["policy_hash"] != counted:
            raise NotProven("it is counted by another policy than its hash is of")
    roots = [checkpoint, *(checkpoints.check(note, keys)[0] for note in kept)]
    proofs, events, leaves, gone = [SIGNED] * len(document.rows), 0, None, 0
    if document.receipt is not None:
        evidence, events = _of_receipt(document, document.receipt, checkpoint)
        proofs = _compared(document, evidence, gone=0)
    if export is not None:
        log = _read(document, roots, [export, *others], keys)
        leaves, gone = checkpoint.size, log.gone
        again = _compared(document, log.evidence, log.gone)
        if document.receipt is None:
            proofs, events = again, log.taken
        # What is erased in the log by now is still in the receipt.
        elif NOT_AVAILABLE not in again and log.taken != events:
            raise NotProven("the receipt has not all events that the log has of its key")
    return Verdict(document, signer, checkpoint, cosigners, proofs, events, leaves, gone)


def _signer(document: Document, keys: Sequence[VerifierKey]) -> VerifierKey:
    for key in keys:
        if (key.name, key.id.hex()) == document.signer and not key.cosigns:
            key.check(document.signed, document.signature)
            return key
    raise NotProven("this is signed by no key that is trusted")


def _of_receipt(
    document: Document, receipt: Proven, checkpoint: Checkpoint
) -> tuple[Evidence, int]:
    leaves = leaf_hashes(receipt.salts, receipt.events)
    if receipt.places:
        if len(receipt.proof) % 32:
            raise MalformedDocument("proof: these are no hashes")
        check_inclusion(checkpoint.size, checkpoint.root, receipt.places, leaves, receipt.proof)
    evidence, scope = Evidence(), document.scope
    streams = None if scope.streams is None else frozenset(scope.streams)
    taken = evidence.select(
        b"\n".join(receipt.events), receipt.key, streams, scope.begin, scope.end
    )
    if taken != len(receipt.events):
        raise NotProven("the receipt has events of another key, or that it is not about")
    return evidence, taken


def _compared(document: Document, evidence: Evidence, gone: int) -> list[str]:
    """What is proven of each row by the evidence."""
    ledger = document.options.ledger()
    ledger.take(evidence)
    made = ledger.rows()
    left = {row["key"] for row in made}
    follow = {_cell(row): encode(row) for row in made if document.scope.has(row)}
    proofs = []
    for number, row in enumerate(document.rows, 1):
        mine = follow.pop(_cell(row), None)
        if mine is not None and mine == encode(row):
            proofs.append(RECOMPUTED)
        elif mine is None and gone and row["key"] not in left:
            proofs.append(NOT_AVAILABLE)
        else:
            raise NotProven(
                f"row {number} does not follow from the evidence{_other_zones(document)}"
            )
    if follow:
        raise NotProven(
            f"{len(follow)} rows that follow from the evidence are missing{_other_zones(document)}"
        )
    return proofs


def _cell(row: dict[str, Any]) -> tuple[str, str | None, str | None]:
    return row["key"], row["stream"], row["day"]


def _other_zones(document: Document) -> str:
    here = zones_version()
    return (
        ""
        if document.tzdata == here
        else f" (it has time zones of {document.tzdata}, here are {here})"
    )


class _Found:
    """What exports have of a document."""

    def __init__(self) -> None:
        self.evidence = Evidence()
        # Events of the document that are there, and leaves that count and are not.
        self.taken = 0
        self.gone = 0


def _read(
    document: Document,
    roots: Sequence[Checkpoint],
    exports: Sequence[BinaryIO],
    keys: Sequence[VerifierKey],
) -> _Found:
    """All of them; the first of the roots is the document's own. Raises `MalformedDocument` and
    `NotProven`."""
    own = roots[0]
    logs: dict[int, tuple[Checkpoint, BinaryIO]] = {}
    for export in exports:
        whole, _ = checkpoints.check(documents.head(export.readline(_LONGEST_LINE)), keys)
        if whole.name != own.name or whole.epoch > own.epoch:
            raise NotProven("a checkpoint is of another log")
        if whole.epoch in logs:
            raise NotProven(f"two exports are of epoch {whole.epoch} of the log")
        logs[whole.epoch] = whole, export
    every = list(roots)
    for whole, _ in logs.values():
        # What is known of an epoch may lie behind what a backup of it had.
        if whole.previous is not None and whole.epoch - 1 in logs:
            size, root = whole.previous
            before, _ = logs[whole.epoch - 1]
            every += [replace(before, size=size, root=root)] if size <= before.size else []
    if any(each.name != own.name or each.epoch not in logs for each in every):
        raise NotProven("a checkpoint is of another log")
    found = _Found()
    for epoch, (whole, export) in sorted(logs.items()):
        mine = [each for each in every if each.epoch == epoch]
        size = own.size if epoch == own.epoch else whole.size
        _Log(document, found, size, [*mine, whole]).read(export, whole)
    return found


class _Log:
    """An export, read once: every root that has been signed has to be there at its size. What lies behind
    `size` does not count."""

    def __init__(
        self, document: Document, found: _Found, size: int, roots: Sequence[Checkpoint]
    ) -> None:
        self._document = document
        self._found = found
        self._size = size
        self._roots = sorted(roots, key=lambda each: each.size)
        self._frontier = Frontier()

    def read(self, file: BinaryIO, whole: Checkpoint) -> None:
        """All that comes behind its first line."""
        for each in self._roots:
            if each.size > whole.size:
                raise NotProven(f"the export ends before a checkpoint of {each.size} leaves")
        before = 1
        while part := self._part(file, before):
            lines = documents.lines(part, before)
            count = len(lines.leaves) // 32
            before += count
            if before - 1 > whole.size:
                raise NotProven(
                    f"the export has more than the {whole.size} leaves of its checkpoint"
                )
            self._take(lines, count)
        if self._frontier.size < whole.size:
            raise NotProven(
                f"the export has {self._frontier.size} of the {whole.size} leaves of its checkpoint"
            )
        self._check_roots()

    def _part(self, file: BinaryIO, before: int) -> bytes:
        part = file.read(_PART)
        if part and not part.endswith(b"\n"):
            part += file.readline(_LONGEST_LINE)
        if len(part) > _PART and not part.endswith(b"\n"):
            number = before + part.count(b"\n") + 1
            raise MalformedDocument(f"line {number}: the line has no end, or is too long")
        return part

    def _take(self, lines: documents.Lines, count: int) -> None:
        first, size, scope = self._frontier.size, self._size, self._document.scope
        below = sum(1 for place in lines.places if first + place < size)
        self._found.gone += max(0, min(count, size - first)) - below
        receipt = self._document.receipt
        streams = None if scope.streams is None else frozenset(scope.streams)
        self._found.taken += self._found.evidence.select(
            b"\n".join(lines.events[:below]),
            None if receipt is None else receipt.key,
            streams,
            scope.begin,
            scope.end,
        )
        at = 0
        while at < count:
            self._check_roots()
            end = min([count, *(each.size - first for each in self._roots)])
            self._frontier.append(lines.leaves[32 * at : 32 * end])
            at = end

    def _check_roots(self) -> None:
        """Those at the size that has been reached."""
        while self._roots and self._roots[0].size == self._frontier.size:
            if self._roots.pop(0).root != self._frontier.root():
                raise NotProven(
                    f"the first {self._frontier.size} leaves of the export are not those of a checkpoint"
                )
