"""What is signed of attendance: keys, checkpoints, epochs; and receipts and exports, verified elsewhere."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from pystream._core import Frontier, check_consistency
from pystream.acl.store import notary as notaries
from pystream.acl.store import tables
from pystream.acl.store.attending import HOUR_MS
from pystream.acl.store.leaving import Leaving
from pystream.acl.store.notary import DAY_S, Notary
from pystream.acl.streams import Tenant
from pystream.attendance import checkpoint as checkpoints
from pystream.attendance import documents
from pystream.attendance.checkpoint import Checkpoint, Clock
from pystream.attendance.documents import Scope
from pystream.attendance.notes import SigningKey, VerifierKey
from pystream.attendance.options import Options
from pystream.attendance.purpose import VERSION
from pystream.attendance.replay import computed
from pystream.attendance.verification import NOT_AVAILABLE, RECOMPUTED, Verdict, verify
from pystream.errors import InvalidValue, MalformedDocument, NotFound, NotProven, StoreError
from pystream.server.checkpoints import Checkpoints
from pystream.server.clock import Anchor
from pystream.server.heads import Heads
from pystream.server.settings import Settings
from tests.test_attending import WHO, Hall, T
from tests.test_viewers import NOW

CLOCK = Clock(True, 7)


class House(Hall):
    """With who signs."""

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, url)
        self.notary = Notary(self.store.database, self.keys)
        self.told_of = 0

    def watch(self, viewer: int, count: int = 1, begin: int = 0) -> None:
        """So many segments, one behind the other."""
        self.told_of += 1
        told = self.told(*((viewer, T + 6000 * (begin + n)) for n in range(count)))
        assert self.keep(self.numbered(told)) == count

    def numbered(self, batch: Any) -> Any:
        return replace(batch, number=self.told_of)

    def key(self) -> VerifierKey:
        return self.notary.ensure_key(self.acme, NOW)

    def sign(self, now: int = NOW) -> Checkpoint:
        signed = self.notary.checkpoint(self.acme, CLOCK, now)
        checkpoint, _ = checkpoints.check(signed.note, [self.key()])
        assert (checkpoint.epoch, checkpoint.size, checkpoint.root) == (
            signed.epoch,
            signed.size,
            signed.root,
        )
        return checkpoint

    def receipt(self, viewer: int, scope: Scope | None = None) -> bytes:
        stream = self.store.stream("acme", "film")
        options = Options("file", timezone="Europe/Berlin")
        scope = scope or Scope(("film",))
        password = self.passwords[viewer]
        return self.notary.receipt(stream, password, options, scope, CLOCK, NOW)

    def export(self, epoch: int | None = None) -> bytes:
        signed = self.notary.signed_over(self.acme, epoch, CLOCK, NOW)
        return b"".join(self.notary.export(signed))

    def verified(
        self,
        document: bytes,
        export: bytes | None = None,
        *kept: str,
        others: Sequence[bytes] = (),
    ) -> Verdict:
        """By the public key and nothing else."""
        file = None if export is None else io.BytesIO(export)
        return verify(document, [self.key()], file, kept, [*map(io.BytesIO, others)])

    def report(self) -> bytes:
        """Of all that there is, sealed by the newest checkpoint."""
        stream, options = self.store.stream("acme", "film"), Options("file")
        rows = computed(self.attendance.events(self.keys, self.acme, stream.id), options)
        note = self.notary.checkpoint(self.acme, CLOCK, NOW).note
        key = self.notary.signing_key(self.acme)
        return documents.report(rows, options, Scope(("film",)), note, key)


@pytest.fixture
def house(tmp_path: Path, url: str) -> Iterator[House]:
    with closing(House(tmp_path, url)) as made:
        yield made


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[House]:
    """In SQLite, whose file can be brought back."""
    with closing(House(tmp_path, f"sqlite:///{tmp_path}/acl.db")) as made:
        yield made


def root_of(leaves: list[bytes]) -> bytes:
    frontier = Frontier()
    frontier.append(b"".join(leaves))
    return frontier.root()


# Keys


def test_a_tenant_has_one_key_which_is_sealed(house: House) -> None:
    assert house.notary.due(NOW) == []
    with pytest.raises(NotFound, match="no key to sign it with"):
        house.notary.checkpoint(house.acme, CLOCK, NOW)
    key = house.key()
    assert key.name == "acme/attendance" and house.key() == key
    assert Notary(house.store.database, house.keys).ensure_key(house.acme, NOW + 1) == key
    assert house.notary.ensure_key(house.other, NOW) != key
    with house.store.database.reading() as connection:
        found = connection.execute(select(tables.attendance_key)).mappings().all()
    assert {row["tenant_id"] for row in found} == {house.acme, house.other}
    (row,) = [row for row in found if row["tenant_id"] == house.acme]
    # A seed is 32 bytes, and what seals it 29.
    assert row["public"] == key.public and len(row["sealed_seed"]) == 61
    with pytest.raises(NotFound, match="no such tenant"):
        house.notary.ensure_key(99, NOW)
    assert house.keys.held(99)[1] == 0


def test_who_deletes_a_tenant_destroys_its_key(house: House) -> None:
    house.watch(0)
    house.key()
    house.sign()
    Leaving(house.store, house.keys).delete("acme", force=True, **WHO)
    assert house.keys.held(house.acme) == (0, 0) and house.notary.checkpoints(house.acme) == ()


# Checkpoints


def test_a_checkpoint_is_over_all_that_was_recorded(house: House) -> None:
    house.watch(0, 3)
    house.key()
    first = house.sign()
    assert (first.size, first.root) == (3, root_of(house.leaves()))
    assert first.origin == "acme/attendance/1" and first.previous is None
    assert (first.is_synchronised, first.clock_error_ms) == (True, 7)
    # As long as nothing is new it is the one.
    assert house.sign(NOW + 5) == first and len(house.notary.checkpoints(house.acme)) == 1
    house.watch(1, 700)
    second = house.sign()
    assert (second.size, second.root) == (703, root_of(house.leaves()))
    assert [each.size for each in house.notary.checkpoints(house.acme)] == [703, 3]
    assert house.notary.checkpoints(house.other) == ()


@pytest.mark.parametrize("step", [1, 255, 256, 1000])
def test_a_long_log_is_signed_step_by_step(house: House, step: int, monkeypatch: Any) -> None:
    """Each costs what is new: subtrees are those of the recursion, whatever the steps were."""
    monkeypatch.setattr(notaries, "_FOLDED_AT_ONCE", max(step, 100))
    house.key()
    sizes = []
    for count in (step, 1, 254, 256, 513):
        house.watch(0, count)
        checkpoint = house.sign()
        leaves = house.leaves()
        assert (checkpoint.size, checkpoint.root) == (len(leaves), root_of(leaves))
        sizes.append((checkpoint.size, checkpoint.root))
    with house.store.database.reading() as connection:
        rows = connection.execute(select(tables.attendance_subtree)).all()
        (log,) = connection.execute(select(tables.attendance_log.c.id)).scalars()
        tiles = notaries._tiles(connection, log, len(leaves))
        for old in sizes:
            proof = tiles.consistency(old[0], len(leaves))
            check_consistency(old, sizes[-1], proof)
    assert {(row.level, row.number, row.hash) for row in rows} == {
        (1, n, root_of(leaves[n * 256 : n * 256 + 256])) for n in range(len(leaves) // 256)
    }


def test_subtrees_of_subtrees(house: House) -> None:
    house.watch(0)
    house.key()
    house.sign()
    width = 256
    hashes = b"".join(bytes([n % 251]) * 32 for n in range(1, width * width + 300))
    with house.store.database.writing() as connection:
        log = connection.execute(select(tables.attendance_log)).mappings().one()
        row = {"log_id": log["id"], "first": 1, "tenant_id": house.acme, "hashes": hashes}
        connection.execute(insert(tables.attendance_leaf).values(row))
        connection.execute(update(tables.attendance_log).values(size=1 + len(hashes) // 32))
    checkpoint = house.sign()
    leaves = house.leaves()
    assert (checkpoint.size, checkpoint.root) == (width * width + 300, root_of(leaves))
    with house.store.database.reading() as connection:
        subtree = tables.attendance_subtree
        found = connection.execute(select(subtree).where(subtree.c.level == 2)).all()
        assert [(row.number, row.hash) for row in found] == [(0, root_of(leaves[: width**2]))]
        tiles = notaries._tiles(connection, log["id"], checkpoint.size)
        assert tiles.root(checkpoint.size) == checkpoint.root
    # What proves one event among all these.
    receipt = house.receipt(0)
    assert len(receipt) < 4096 and house.verified(receipt).events == 1


def test_what_was_signed_stays(house: House) -> None:
    house.watch(0)
    house.key()
    house.sign()
    with (
        pytest.raises(StoreError, match=r"what was signed stays|RaiseException"),
        house.store.database.writing() as connection,
    ):
        connection.execute(update(tables.attendance_checkpoint).values(size=9))


def test_the_house_signs_no_two_pasts(house: House) -> None:
    house.watch(0, 300)
    house.key()
    house.sign()
    with house.store.database.writing() as connection:
        row = connection.execute(select(tables.attendance_leaf)).mappings().first()
        assert row is not None
        forged = bytes(32) + row["hashes"][32:]
        connection.execute(update(tables.attendance_leaf).values(hashes=forged))
        connection.execute(delete(tables.attendance_subtree))
        connection.execute(update(tables.attendance_log).values(frontier=None))
    house.watch(1)
    with pytest.raises(StoreError, match="does not begin with what was signed of it"):
        house.sign()
    with house.store.database.writing() as connection:
        gone = tables.attendance_leaf.c.first >= 300
        connection.execute(delete(tables.attendance_leaf).where(gone))
    with pytest.raises(StoreError, match="hashes of a log of attendance are missing"):
        house.sign()


def test_a_log_is_signed_once_a_day(house: House, tmp_path: Path) -> None:
    now = float(NOW)
    fd = Anchor.create()
    heads = Heads(str(tmp_path))
    signing = Checkpoints(house.store, house.notary, Anchor(fd), Settings(), heads, lambda: now)

    def sizes() -> list[int]:
        signing.look()
        return [each.size for each in house.notary.checkpoints(house.acme)]

    assert sizes() == []
    house.watch(0)
    assert house.notary.due(NOW) == [house.acme]
    assert sizes() == [1]
    house.watch(0, begin=1)
    now += DAY_S - 1
    assert sizes() == [1]
    now += 1
    assert sizes() == [2, 1]
    now += DAY_S
    assert sizes() == [2, 1]
    # Of a tenant whose key is lost nothing is signed; others are not kept waiting.
    with house.store.database.reading() as connection:
        reference = connection.scalar(select(tables.attendance_key.c.reference))
        assert reference is not None
    house.keys.erase(house.acme, [reference], NOW)
    settings = {"attendance": True, "access": "personal"}
    house.store.set_tenant("other", {"attendance_purpose": VERSION}, **WHO)
    house.store.set_stream("other", "film", settings, **WHO)
    assert house.attendance.give_up({7: T + 1}, NOW) == 1
    assert sizes() == [2, 1]
    assert [each.size for each in house.notary.checkpoints(house.other)] == [1]


# Epochs


def test_a_restore_begins_an_epoch(house: House) -> None:
    house.watch(0, 5)
    house.key()
    first = house.sign(NOW)
    house.watch(0, 2, begin=5)
    begun = house.notary.begin_epoch(house.acme, CLOCK, NOW + 100, who="eva")
    # All that was there is signed before.
    assert [(e.epoch, e.size) for e in house.notary.checkpoints(house.acme)] == [
        (2, 1),
        (1, 7),
        (1, 5),
    ]
    last = house.notary.checkpoints(house.acme)[1]
    checkpoint, _ = checkpoints.check(begun.note, [house.key()])
    assert checkpoint.previous == (7, last.root) and checkpoint.origin == "acme/attendance/2"
    assert last.root != first.root
    (restored,) = [each for each in house.events() if each["kind"] == "restore"]
    assert restored["t1"] == (NOW + 100) * 1000 and restored["t0"] >= T + 6000 * 6
    house.watch(1, 1)
    assert house.sign().size == 2


def test_a_checkpoint_that_somebody_has_kept_is_the_last_one_known(house: House) -> None:
    house.watch(0, 5)
    house.key()
    known = Checkpoint("acme/attendance", 1, 9, b"k" * 32, True, 0)
    begun = house.notary.begin_epoch(house.acme, CLOCK, NOW, known, who="eva")
    assert checkpoints.check(begun.note, [house.key()])[0].previous == (9, b"k" * 32)


def test_where_the_log_is_another_one_no_more_of_it_is_signed(house: House) -> None:
    """Somebody has a checkpoint of it that it does not begin with: its successor names that one."""
    house.watch(0, 5)
    house.key()
    house.sign()
    house.watch(0, 4, begin=5)
    there = house.export()
    wrong = Checkpoint("acme/attendance", 1, 7, b"k" * 32, True, 0)
    begun = house.notary.begin_epoch(house.acme, CLOCK, NOW + 100, wrong, who="eva")
    assert checkpoints.check(begun.note, [house.key()])[0].previous == (7, b"k" * 32)
    # What the export has signed stays the last of it.
    sizes = [(e.epoch, e.size) for e in house.notary.checkpoints(house.acme)]
    assert sizes == [(2, 1), (1, 9), (1, 5)]
    house.watch(1)
    assert house.sign().size == 2
    right = checkpoints.check(documents.head(io.BytesIO(there).readline()), [house.key()])[0]
    again = house.notary.begin_epoch(house.acme, CLOCK, NOW + 200, right, who="eva")
    # That is of an earlier epoch: the one before is named.
    assert again.epoch == 3
    assert checkpoints.check(again.note, [house.key()])[0].previous == (
        2,
        house.notary.checkpoints(house.acme)[1].root,
    )


@pytest.mark.parametrize("is_known", [False, True], ids=["by the house", "by somebody"])
def test_a_log_that_was_forged_ends_with_what_was_signed_of_it(
    house: House, is_known: bool
) -> None:
    house.watch(0, 5)
    house.key()
    first = house.sign()
    house.watch(0, 3, begin=5)
    with house.store.database.writing() as connection:
        wanted = select(tables.attendance_leaf).order_by(tables.attendance_leaf.c.first)
        row = connection.execute(wanted).mappings().first()
        assert row is not None
        forged = update(tables.attendance_leaf).where(
            tables.attendance_leaf.c.first == row["first"]
        )
        connection.execute(forged.values(hashes=bytes(32) + row["hashes"][32:]))
        connection.execute(delete(tables.attendance_subtree))
        connection.execute(update(tables.attendance_log).values(frontier=None))
        if is_known:
            # As in a store that was brought back from before it was signed.
            connection.execute(delete(tables.attendance_checkpoint))
    known = first if is_known else None
    begun = house.notary.begin_epoch(house.acme, CLOCK, NOW + 100, known, who="eva")
    assert checkpoints.check(begun.note, [house.key()])[0].previous == (5, first.root)
    assert (begun.epoch, begun.size) == (2, 1)
    # Nothing of what it is now was signed.
    signed = [(each.epoch, each.size) for each in house.notary.checkpoints(house.acme)]
    assert signed == ([(2, 1)] if is_known else [(2, 1), (1, 5)])
    (restored,) = [each for each in house.events() if each["kind"] == "restore"]
    assert restored["t1"] == (NOW + 100) * 1000
    house.watch(1)
    assert house.sign().size == 2


def broken(*_: Any, **__: Any) -> None:
    raise StoreError("the disk is full")


def test_a_store_that_was_brought_back_is_noticed(
    alone: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its log goes on in another epoch, once, whatever the store had forgotten."""
    house, now = alone, NOW

    def look() -> list[tuple[int, int]]:
        heads = Heads(str(tmp_path))
        clock = Anchor(Anchor.create())
        Checkpoints(house.store, house.notary, clock, Settings(), heads, lambda: now).look()
        return [(each.epoch, each.size) for each in house.notary.checkpoints(house.acme)]

    def backup(name: str) -> None:
        house.store.database.copy_to(str(tmp_path / name))

    def restore(name: str) -> None:
        with (
            closing(sqlite3.connect(tmp_path / name)) as copy,
            closing(sqlite3.connect(str(house.store.database.path))) as live,
        ):
            copy.backup(live)

    for name in ("empty", "first", "second", "third"):
        (tmp_path / name).touch()
    backup("empty")
    house.watch(0, 5)
    assert look() == [(1, 5)] == look()
    backup("first")
    # Not signed yet, and yet it is known that there was more.
    house.watch(0, 2, begin=5)
    assert look() == [(1, 5)]
    restore("first")
    now += 60
    assert look() == [(2, 1), (1, 5)] == look()
    (restored,) = [each for each in house.events() if each["kind"] == "restore"]
    assert restored["t1"] == now * 1000
    backup("second")
    house.watch(1, 3)
    now += DAY_S
    assert look()[0] == (2, 4)
    fourth = house.notary.checkpoints(house.acme)[0]
    # Back to before the second epoch: it does not come again.
    restore("first")
    assert look() == [(3, 1), (1, 5)] == look()
    (begun, _) = house.notary.checkpoints(house.acme)
    parsed, _ = checkpoints.check(begun.note, [house.key()])
    assert parsed.previous == (4, fourth.root)
    # More was added since, before anybody looked: what was signed is missing all the same.
    backup("third")
    house.watch(1, 2)
    now += DAY_S
    assert look()[0] == (3, 3)
    restore("third")
    house.told_of += 10
    house.watch(1, 9)
    assert look()[0] == (4, 1) == look()[0]
    # One that cannot be gone on with is not signed, and what is known of it not forgotten.
    restore("first")
    with house.store.database.writing() as connection:
        connection.execute(update(tables.attendance_leaf).values(hashes=bytes(5 * 32)))
        connection.execute(update(tables.attendance_log).values(size=4))
    assert look() == look() == [(1, 5)]
    restore("first")
    house.watch(0, 2, begin=5)
    with monkeypatch.context() as patched:
        patched.setattr(house.notary, "begin_epoch", broken)
        now += DAY_S
        assert look() == [(1, 5)]
    assert look()[0] == (5, 1)
    # Back to before there was a log, as if nothing had ever been recorded.
    fifth = house.notary.checkpoints(house.acme)[0]
    restore("empty")
    house.told_of += 10
    assert look() == [(6, 1)] == look()
    (begun,) = house.notary.checkpoints(house.acme)
    assert checkpoints.check(begun.note, [house.key()])[0].previous == (1, fifth.root)
    assert [each["kind"] for each in house.events()] == ["restore"]
    house.watch(0, 2)
    now += DAY_S
    assert look() == [(6, 3), (6, 1)]
    # Of a tenant who was deleted, nothing is kept.
    Leaving(house.store, house.keys).delete("acme", force=True, **WHO)
    assert look() == [] and Heads(str(tmp_path)).read() == {}


def test_events_wait_for_the_next_epoch_of_a_log_that_was_brought_back(
    alone: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not without end; and it begins once, though nothing can be written beside the store."""
    house, now, passed = alone, NOW, 0.0

    def signing() -> Checkpoints:
        heads, clock = Heads(str(tmp_path)), Anchor(Anchor.create())
        return Checkpoints(
            house.store,
            house.notary,
            clock,
            Settings(),
            heads,
            lambda: now,
            monotonic=lambda: passed,
        )

    def logs() -> list[tuple[int, int]]:
        return [(each.epoch, each.size) for each in house.notary.checkpoints(house.acme)]

    house.watch(0, 5)
    with closing(sqlite3.connect(tmp_path / "backup")) as copy:
        before = signing()
        assert before.settle() and logs() == [(1, 5)]
        house.store.database.copy_to(str(tmp_path / "backup"))
        house.watch(0, 2, begin=5)
        now += DAY_S
        assert before.look() and logs()[0] == (1, 7)
        with closing(sqlite3.connect(str(house.store.database.path))) as live:
            copy.backup(live)
    now += 60
    after = signing()
    with monkeypatch.context() as patched:
        patched.setattr(house.notary, "begin_epoch", broken)
        assert not after.settle()
        passed += 600
        assert not after.settle()
        passed += 1
        assert after.settle() and logs() == [(1, 5)]
    with monkeypatch.context() as patched:
        patched.setattr(Heads, "write", broken)
        assert after.settle() and logs() == [(2, 1), (1, 5)]
        assert not after.look() and logs() == [(2, 1), (1, 5)]
    assert after.look() and logs() == [(2, 1), (1, 5)]


def test_where_the_key_is_lost_an_epoch_has_another_one(house: House) -> None:
    house.watch(0, 5)
    before = house.key()
    house.sign()
    with house.store.database.reading() as connection:
        reference = connection.scalar(select(tables.attendance_key.c.reference))
        assert reference is not None
    house.keys.erase(house.acme, [reference], NOW)
    with pytest.raises(NotFound, match="pystream attendance restored"):
        house.sign()
    begun = house.notary.begin_epoch(house.acme, CLOCK, NOW + 1, who="eva")
    after = house.key()
    assert after != before and after.name == before.name
    checkpoints.check(begun.note, [after])
    assert house.sign().previous is not None
    with pytest.raises(NotFound, match="nothing was recorded"):
        house.notary.begin_epoch(house.other, CLOCK, NOW, who="eva")


# Receipts and exports


def evening(house: House) -> None:
    """Two viewers, an hour that is sealed, another one that is not, and an outage."""
    house.watch(0, 610)
    house.watch(1, 100, begin=550)
    house.attendance.give_up({7: T + 600_000}, NOW)
    assert house.attendance.seal(house.keys, T + HOUR_MS, NOW) > 0
    assert house.open_rows() > 0
    house.key()


def test_receipts_and_the_log_verify_by_the_public_key_alone(house: House) -> None:
    evening(house)
    export = house.export()
    assert export.count(b"\n") == 1 + 711
    for viewer, count in ((0, 610), (1, 100)):
        receipt = house.receipt(viewer)
        verdict = house.verified(receipt)
        assert (verdict.proofs, verdict.events) == ([RECOMPUTED], count + 1)
        assert verdict.document.rows[0]["access_ms"] == count * 6000
        assert house.verified(receipt, export).leaves == 711
        document = json.loads(receipt)
        document["events"][5]["event"]["t"] += 1
        with pytest.raises((NotProven, MalformedDocument)):
            house.verified(json.dumps(document).encode())
    forged = export.replace(b'"rendition":"v1"', b'"rendition":"v2"', 1)
    with pytest.raises(NotProven, match="not those of a checkpoint"):
        house.verified(house.receipt(0), forged)
    short = export.splitlines(keepends=True)
    with pytest.raises(NotProven, match="of the 711 leaves"):
        house.verified(house.receipt(0), b"".join(short[:-1]))
    with pytest.raises(NotFound, match="nothing is known"):
        house.notary.receipt(
            house.store.stream("acme", "film"), 99, Options("file"), Scope(("film",)), CLOCK, NOW
        )


def test_an_erased_password_leaves_everything_else_valid(house: House) -> None:
    evening(house)
    receipts = [house.receipt(viewer) for viewer in (0, 1)]
    (note,) = [each.note for each in house.notary.checkpoints(house.acme)]
    house.issuer.erase(house.acme, [house.passwords[0]], **WHO)
    house.watch(1, 2, begin=700)
    export = house.export()
    assert export.count(b'{"leaf":') == 610 and export.count(b"\n") == 1 + 713
    assert house.verified(receipts[1], export, note).proofs == [RECOMPUTED]
    assert house.verified(house.receipt(1), export, note).gone == 610
    # The one that the viewer has kept is still one.
    assert house.verified(receipts[0]).proofs == [RECOMPUTED]
    assert NOT_AVAILABLE not in house.verified(receipts[0], export).proofs
    with pytest.raises(NotFound, match="not any more"):
        house.receipt(0)


def test_what_is_recorded_meanwhile_is_behind_the_checkpoint(house: House) -> None:
    evening(house)
    house.sign()
    (signed,) = house.notary.checkpoints(house.acme)
    before = sorted(house.notary._held(signed))
    assert [place for place, *_ in before] == list(range(711))
    house.watch(1, 3, begin=20)
    house.attendance.give_up({7: T + 700_000}, NOW)
    for _ in range(2):
        assert sorted(house.notary._held(signed)) == before
        house.attendance.seal(house.keys, T + 9 * HOUR_MS, NOW)


def test_an_export_opens_of_what_is_sealed_what_overlaps_alone(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    for hour in range(6):
        house.watch(0, 10, begin=600 * hour)
    # Told late, and so sealed with what was told an hour before.
    house.watch(0, 5, begin=20)
    house.attendance.seal(house.keys, T + 9 * HOUR_MS, NOW)
    house.key()
    monkeypatch.setattr(notaries, "_OPENED_AT_ONCE", 1)
    opened = list[bytes]()
    of_keys = house.keys.record_keys

    def counted(tenant_id: int, references: Sequence[bytes]) -> dict[bytes, bytes]:
        opened.extend(references)
        return of_keys(tenant_id, references)

    signed = house.notary.signed_over(house.acme, None, CLOCK, NOW)
    monkeypatch.setattr(house.keys, "record_keys", counted)
    lines = house.notary.export(signed)
    next(lines)
    for hour in range(6):
        for _ in range(10):
            assert b'"event":' in next(lines)
        assert len(opened) <= hour + 2
    assert len(list(lines)) == 5 and len(opened) == 6
    monkeypatch.undo()
    assert house.verified(house.report(), house.export()).gone == 0
    # One from before the first number was written down is opened first.
    with house.store.database.writing() as connection:
        connection.execute(update(tables.attendance_sealed).values(first=0))
    assert house.verified(house.report(), house.export()).gone == 0


def test_a_receipt_of_a_day_has_its_events_alone(house: House) -> None:
    evening(house)
    begin = T + 600 * 6000
    receipt = house.receipt(0, Scope(("film",), begin, begin + 3_000_000))
    verdict = house.verified(receipt, house.export())
    # The outage was before.
    assert verdict.events == 10 and verdict.document.rows[0]["access_ms"] == 60_000


def test_a_report_that_rests_on_two_epochs_is_proven_by_an_export_of_each(house: House) -> None:
    evening(house)
    kept = house.sign()
    house.notary.begin_epoch(house.acme, CLOCK, NOW + 60, kept, who="eva")
    house.watch(0, 50, begin=700)
    report = house.report()
    first, second = house.export(1), house.export(2)
    assert house.export() == second and first.count(b"\n") == 1 + 711
    for export, others in ((second, [first]), (first, [second])):
        verdict = house.verified(report, export, others=others)
        assert set(verdict.proofs) == {RECOMPUTED} and verdict.checkpoint.epoch == 2
    (note,) = [each.note for each in house.notary.checkpoints(house.acme) if each.epoch == 1]
    assert house.verified(report, second, note, others=[first]).gone == 0
    for wrong in ([second], [second, second], [first], [first, first], [second, first, first]):
        with pytest.raises(NotProven):
            house.verified(report, wrong[0], others=wrong[1:])
    forged = first.replace(b'"rendition":"v1"', b'"rendition":"v2"', 1)
    with pytest.raises(NotProven, match="not those of a checkpoint"):
        house.verified(report, second, others=[forged])
    with pytest.raises(NotProven, match="of the 711 leaves"):
        house.verified(report, second, others=[b"".join(first.splitlines(keepends=True)[:-1])])
    # What is erased in either is told.
    house.issuer.erase(house.acme, [house.passwords[1]], **WHO)
    verdict = house.verified(report, house.export(2), others=[house.export(1)])
    assert sorted(set(verdict.proofs)) == [NOT_AVAILABLE, RECOMPUTED] and verdict.gone == 100
    with pytest.raises(NotFound, match="epoch 3"):
        house.export(3)


# Cosigners


def test_a_tenant_cosigns_what_is_its_own(house: House) -> None:
    house.watch(0)
    house.key()
    house.sign()
    (signed,) = house.notary.checkpoints(house.acme)
    office = SigningKey.generate("acme.example/office", cosigns=True)
    cosigned = checkpoints.cosigned(signed.note, office, NOW + 5)

    def acme() -> Tenant:
        return house.store.tenant("acme")

    with pytest.raises(InvalidValue, match="has no cosigner yet"):
        house.notary.cosign(acme(), cosigned, NOW)
    for wrong in ("x", str(house.key())):
        with pytest.raises(InvalidValue, match="public key of a cosigner"):
            house.store.set_tenant("acme", {"checkpoint_cosigner": wrong}, **WHO)
    house.store.set_tenant("acme", {"checkpoint_cosigner": str(office.verifier)}, **WHO)
    with pytest.raises(NotProven, match="has not cosigned this"):
        house.notary.cosign(acme(), signed.note, NOW)
    forged = cosigned.replace("\nepoch 1\n", "\nepoch 2\n")
    with pytest.raises(NotProven, match="has not signed this"):
        house.notary.cosign(acme(), forged, NOW)
    # Well signed, but of something that the house never was.
    fork = Checkpoint("acme/attendance", 1, 1, bytes(32), True, 7).signed(office)
    with pytest.raises(NotFound, match="no checkpoint of acme's log"):
        house.notary.cosign(acme(), fork, NOW)
    done = house.notary.cosign(acme(), cosigned, NOW)
    assert done.note == cosigned and done.cosigners == (office.verifier,)
    # The first word stands.
    again = checkpoints.cosigned(signed.note, office, NOW + 99)
    assert house.notary.cosign(acme(), again, NOW).note == cosigned
    _, (cosigner,) = checkpoints.check(done.note, [house.key(), office.verifier])
    assert cosigner.seconds == NOW + 5
    assert house.notary.checkpoint(house.acme, CLOCK, NOW + 9).note == cosigned
