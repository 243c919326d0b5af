"""A log of attendance for tests, and what leaves the house of it: reports, receipts, exports."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pystream._core import Evidence, LeafHashes, canonical_events, leaf_hashes
from pystream.attendance import checkpoint as checkpoints
from pystream.attendance import documents
from pystream.attendance.checkpoint import Checkpoint
from pystream.attendance.documents import Leaf, Scope
from pystream.attendance.notes import SigningKey
from pystream.attendance.options import Options
from tests.evidence import BERLIN, at, live
from tests.oracles.attendance import Event, lines

KEY = SigningKey("example.org/acme", bytes(32))
OFFICE = SigningKey("acme.example/office", bytes([1]) * 32, cosigns=True)
TRUSTED = (KEY.verifier, OFFICE.verifier)
SIX, SEVEN = at("18:00"), at("19:00")
OPTIONS = Options("live", timezone=BERLIN, windows=((at("18:10"), at("18:50")),), union=True)


@dataclass
class Log:
    """A log, and what its holder can make of it, whatever it has done to the leaves."""

    leaves: list[Leaf]
    options: Options = OPTIONS
    scope: Scope = field(default_factory=Scope)
    key: SigningKey = KEY
    epoch: int = 1

    @classmethod
    def of(cls, events: Sequence[Event], **others: Any) -> Log:
        return cls(leaves(events), **others)

    def hashes(self) -> LeafHashes:
        made = LeafHashes()
        made.append(b"".join(leaf.hash for leaf in self.leaves))
        return made

    def checkpoint(self, size: int | None = None) -> str:
        size = len(self.leaves) if size is None else size
        root = self.hashes().root(size)
        return Checkpoint(self.key.name, self.epoch, size, root, True, 12).signed(self.key)

    def cosigned(self, size: int | None = None) -> str:
        return checkpoints.cosigned(self.checkpoint(size), OFFICE, SIX // 1000)

    def rows(self) -> list[dict[str, Any]]:
        evidence = Evidence()
        streams = None if self.scope.streams is None else set(self.scope.streams)
        events = b"\n".join(leaf.event for leaf in self.leaves if leaf.event is not None)
        evidence.select(events, None, streams, self.scope.begin, self.scope.end)
        ledger = self.options.ledger()
        ledger.take(evidence)
        return [row for row in ledger.rows() if self.scope.has(row)]

    def report(self, checkpoint: str | None = None, rows: Any = None) -> bytes:
        rows = self.rows() if rows is None else rows
        note = self.checkpoint() if checkpoint is None else checkpoint
        return documents.report(rows, self.options, self.scope, note, self.key, {"title": "Kurs"})

    def receipt(self, of: str, checkpoint: str | None = None) -> bytes:
        held = [
            (place, leaf)
            for place, leaf in enumerate(self.leaves)
            if leaf.event is not None
            and (b'"key":"%s"' % of.encode() in leaf.event or b'"key":' not in leaf.event)
        ]
        rows = [row for row in self.rows() if row["key"] == of]
        note = self.checkpoint() if checkpoint is None else checkpoint
        return documents.receipt(
            of, held, self.hashes(), rows, self.options, self.scope, note, self.key
        )

    def export(self, checkpoint: str | None = None) -> bytes:
        note = self.checkpoint() if checkpoint is None else checkpoint
        return b"".join(documents.export(note, self.leaves))

    def erase(self, of: str) -> Log:
        """The same without what was recorded of a key; its hashes remain."""
        name = b'"key":"%s"' % of.encode()
        left = [
            Leaf(leaf.hash, None, None) if leaf.event is not None and name in leaf.event else leaf
            for leaf in self.leaves
        ]
        return Log(left, self.options, self.scope, self.key, self.epoch)


def leaves(events: Sequence[Event]) -> list[Leaf]:
    spelt = canonical_events(lines(events))
    salts = os.urandom(16 * len(spelt))
    hashes = leaf_hashes(salts, spelt)
    return [
        Leaf(hashes[32 * n : 32 * n + 32], salts[16 * n : 16 * n + 16], event)
        for n, event in enumerate(spelt)
    ]


def viewers(keys: str = "ABC", begin: int = SIX, end: int = SEVEN) -> list[Event]:
    """Each key watches, as a server records it, and a stream was down for a while."""
    events = [event for n, key in enumerate(keys) for event in live(begin + n * 500, end, key=key)]
    events.append({"kind": "outage", "t0": begin + 60_000, "t1": begin + 90_000, "stream": "Y"})
    return sorted(events, key=lambda event: event["t1"] if "t1" in event else event["t"])
