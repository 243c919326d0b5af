"""Bugs that somebody might make, each of which schedules have to find.

Each is what it says, put into the real code for the time of a schedule. `python -m tests.simulation --bugs`
looks for seeds that find them, which a test names.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import trio
from sqlalchemy import delete, select, update

from pystream._core import leaf_hashes as hashes
from pystream.acl.store import attending as storing
from pystream.acl.store import database, folds, notary, parts, tables
from pystream.acl.store.attending import AttendanceStore, Log
from pystream.attendance import evidence
from pystream.server import attending
from pystream.server import heads as beside
from pystream.server.attending import Recorder, Stored, Teller
from pystream.server.checkpoints import Checkpoints
from pystream.server.clock import Anchor
from pystream.server.desk import framed
from pystream.server.heads import Heads
from pystream.server.roll import Roll

Patches = list[tuple[Any, str, Any]]

BUGS: dict[str, Callable[[], Patches]] = {}


def bug(make: Callable[[], Patches]) -> Callable[[], Patches]:
    BUGS[make.__name__.replace("_", " ")] = make
    return make


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """The bug of that name, if any, is in the code."""
    with ExitStack() as stack:
        for target, attribute, value in BUGS[name]() if name is not None else ():
            stack.enter_context(patch.object(target, attribute, value))
        yield


# Storing


@bug
def a_batch_that_comes_again_is_stored_again() -> Patches:
    def unread(connection: Any, batches: Any, begun: Any) -> Any:
        return sorted(batches, key=lambda each: (each.worker, each.number)), []

    return [(storing, "_unread", unread)]


@bug
def how_far_a_worker_has_told_is_not_noted() -> Patches:
    return [(storing, "_note", lambda *_: None)]


@bug
def how_far_a_worker_has_told_is_noted_in_a_transaction_of_its_own() -> Patches:
    keep, note = AttendanceStore.keep, storing._note

    def kept(self: Any, keys: Any, batches: Any, *others: Any, **more: Any) -> Any:
        with patch.object(storing, "_note", lambda *_: None):
            found = keep(self, keys, batches, *others, **more)
        with self._database.writing() as connection:
            note(connection, sorted(batches, key=lambda each: each.number))
        return found

    return [(AttendanceStore, "keep", kept)]


@bug
def a_batch_is_said_to_be_stored_before_it_is() -> Patches:
    flush = Recorder.flush

    async def flushed(self: Any) -> None:
        for batch, stream, lock in self._waiting:
            async with lock:
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await stream.send_all(framed(attending._ENCODER.encode(Stored(batch.number))))
        await flush(self)

    return [(Recorder, "flush", flushed)]


@bug
def what_could_not_be_stored_is_forgotten() -> Patches:
    keep = Recorder._keep

    def kept(self: Any, batches: Any) -> None:
        try:
            keep(self, batches)
        except Exception:
            return

    return [(Recorder, "_keep", kept)]


@bug
def what_waits_is_forgotten_when_a_line_breaks() -> Patches:
    talk = Teller._talk

    async def talked(self: Any) -> None:
        await talk(self)
        self._waiting.clear()

    return [(Teller, "_talk", talked)]


@bug
def nothing_is_synced() -> Patches:
    return [(database, "_PRAGMAS", ("synchronous=OFF", "foreign_keys=ON"))]


@bug
def a_segment_counts_without_what_is_in_its_middle() -> Patches:
    def united(spans: Any) -> Any:
        return [(min(first for first, _ in spans), max(end for _, end in spans))]

    return [(parts, "united", united)]


@bug
def each_part_counts_as_a_segment() -> Patches:
    return [(parts, "completed", lambda connection, told: iter(told))]


# What befalls


@bug
def the_dead_are_buried_without_a_word() -> Patches:
    def give_up(self: Any, ends: Mapping[int, int], now: int) -> int:
        cursor = tables.attendance_cursor
        with self._database.writing() as connection:
            dead = update(cursor).where(cursor.c.worker.in_(sorted(ends)))
            connection.execute(dead.values(over=True))
        return len(ends)

    return [(AttendanceStore, "give_up", give_up)]


@bug
def nobody_is_on_the_roll() -> Patches:
    return [(Roll, "enter", lambda *_: None)]


@bug
def what_a_worker_had_to_give_up_is_no_outage() -> Patches:
    unread = storing._unread
    return [(storing, "_unread", lambda *given: (unread(*given)[0], []))]


@bug
def who_has_given_up_all_so_far_is_as_one_that_begins() -> Patches:
    unread = storing._unread

    def unread_(connection: Any, batches: Any, begun: Any) -> Any:
        return unread(connection, batches, {})

    return [(storing, "_unread", unread_)]


@bug
def who_has_a_line_may_be_dead() -> Patches:
    look = Recorder._look_for_the_dead

    def looked(self: Any, cursors: Any) -> None:
        with patch.object(self, "_lines", {}):
            look(self, cursors)

    return [(Recorder, "_look_for_the_dead", looked)]


@bug
def a_step_of_the_clock_is_not_on_record() -> Patches:
    return [(Anchor, "step", lambda self: 0)]


@bug
def the_anchor_follows_the_clock() -> Patches:
    def look(self: Any, *, is_watched: bool) -> None:
        self._anchor.make()

    return [(Recorder, "_look_at_the_clock", look)]


# The log


@bug
def leaves_are_in_another_order_than_events() -> Patches:
    def leaf_hashes(salts: bytes, events: Sequence[bytes]) -> bytes:
        made = hashes(salts, events)
        return b"".join(made[at : at + 32] for at in range(len(made) - 32, -1, -32))

    return [(storing, "leaf_hashes", leaf_hashes)]


@bug
def all_leaves_have_one_salt() -> Patches:
    salt = SimpleNamespace(token_bytes=lambda count: bytes(count), randbelow=secrets.randbelow)
    return [(storing, "secrets", salt)]


@bug
def the_size_of_a_log_is_remembered_whatever_becomes_of_it() -> Patches:
    of, finish = Log.of.__func__, Log.finish  # type: ignore[attr-defined]
    sizes: dict[int, int] = {}

    def opened(cls: Any, connection: Any, tenant_id: int, now: int) -> Any:
        log = of(cls, connection, tenant_id, now)
        log._first = log._size = sizes.get(log._id, log._size)
        return log

    def finished(self: Any) -> None:
        sizes[self._id] = self._size
        finish(self)

    return [(Log, "of", classmethod(opened)), (Log, "finish", finished)]


@bug
def sealing_clears_more_than_it_has_sealed() -> Patches:
    def clear(connection: Any, groups: Any) -> None:
        journal = tables.attendance_journal
        for group in groups:
            of = journal.c.stream_id == group.stream_id, journal.c.password_id == group.password_id
            connection.execute(delete(journal).where(*of))

    return [(storing, "_clear", clear)]


@bug
def keys_of_what_was_sealed_are_destroyed() -> Patches:
    seal = AttendanceStore._seal

    def sealed(self: Any, keys: Any, tenant_id: int, groups: Any, now: int) -> int:
        count = seal(self, keys, tenant_id, groups, now)
        column = tables.attendance_sealed.c
        with self._database.reading() as connection:
            made = set(connection.scalars(select(column.reference)))
        keys.erase(tenant_id, made, now, missing_ok=True)
        return count

    return [(AttendanceStore, "_seal", sealed)]


@bug
def what_was_erased_stays_in_the_journal() -> Patches:
    return [(AttendanceStore, "forget_open", lambda *_: None)]


# Signing, and what is known of it beside the store


@bug
def heads_are_not_looked_at() -> Patches:
    return [(Checkpoints, "_is_lost", lambda *_: False)]


@bug
def events_go_into_a_log_that_is_to_become_another() -> Patches:
    return [(Checkpoints, "settle", lambda self: True)]


@bug
def heads_of_logs_that_are_gone_are_not_looked_at() -> Patches:
    is_lost = Checkpoints._is_lost
    return [
        (Checkpoints, "_is_lost", lambda self, *given: given[2].epoch and is_lost(self, *given))
    ]


@bug
def a_checkpoint_is_sent_though_the_heads_could_not_be_written() -> Patches:
    deliver = Checkpoints.deliver

    async def delivered(self: Any) -> None:
        self._kept = self._notary.heads()
        await deliver(self)

    return [(Checkpoints, "deliver", delivered)]


@bug
def a_checkpoint_is_sent_that_was_signed_after_the_heads_were_written() -> Patches:
    return [(Checkpoints, "_is_kept", lambda self, signed: signed.tenant_id in self._kept)]


def _heads_that_sync(*what: str) -> Patches:
    def write(self: Any, now: Mapping[int, Any], kept: Mapping[int, Any]) -> None:
        text = json.dumps({id: beside._facts(each) for id, each in sorted({**now, **kept}.items())})
        unfinished, system = f"{self._path}.unfinished", vars(beside)["os"]
        fd = system.open(unfinished, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if "file" in what:
                system.fsync(file.fileno())
        system.rename(unfinished, self._path)
        folder = system.open(os.path.dirname(self._path), os.O_RDONLY)
        if "folder" in what:
            system.fsync(folder)
        system.close(folder)

    return [(Heads, "write", write)]


@bug
def heads_are_renamed_before_they_are_on_the_disk() -> Patches:
    return _heads_that_sync("folder")


@bug
def the_folder_of_heads_is_not_synced() -> Patches:
    return _heads_that_sync("file")


@bug
def an_epoch_does_not_name_the_one_before() -> Patches:
    begin = notary.Notary.begin_epoch

    def begun(
        self: Any, tenant_id: int, clock: Any, now: int, known: Any = None, **who: Any
    ) -> Any:
        return begin(self, tenant_id, clock, now, None, **who)

    return [(notary.Notary, "begin_epoch", begun)]


@bug
def a_restore_is_told_as_a_moment() -> Patches:
    restore = evidence.restore
    return [(evidence, "restore", lambda since, until: restore(until - 1, until))]


# What is computed as events come


@bug
def a_fold_forgets_what_waits() -> Patches:
    pack = folds._Fold.pack

    def packed(self: Any) -> bytes:
        with patch.object(self, "waiting", []):
            return pack(self)

    return [(folds._Fold, "pack", packed)]


@bug
def a_fold_reads_on_one_event_too_late() -> Patches:
    take = folds._Fold.take

    def taken(self: Any, *given: Any) -> bool:
        found = take(self, *given)
        log, number = self.end
        self.end = log, number + 1
        return found

    return [(folds._Fold, "take", taken)]


@bug
def what_comes_too_late_for_a_fold_is_left_out() -> Patches:
    take = folds._take

    def taken(ledger: Any, events: Any, span: Any) -> None:
        for event in events:
            try:
                take(ledger, [event], span)
            except ValueError:
                continue

    return [(folds, "_take", taken)]
