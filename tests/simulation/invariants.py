"""What holds after every schedule, whatever befell the house."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from sqlalchemy import select

from pystream.acl.sealing import Place, unseal
from pystream.acl.store import tables
from pystream.acl.store.attending import AttendanceStore
from pystream.acl.store.notary import Notary
from pystream.attendance import checkpoint as checkpoints
from pystream.attendance import evidence
from pystream.attendance.checkpoint import Checkpoint
from pystream.attendance.documents import Scope
from pystream.attendance.replay import computed
from pystream.attendance.verification import verify
from pystream.errors import NotFound
from pystream.server.clock import STEP_MS
from tests.simulation.world import Finding, Watched, Worker, World

# What is handed over is acknowledged later, and told half a second after that, when its worker is gone.
_LATE_MS = 2100
# When an acknowledged delivery is stored, where the writer is well; and what it is well in spite of.
_TOLD_S = 0.55
_WRITER_IS_WELL = {"kill worker", "stop worker", "rows", "sign", "erase", "step"}
# What breaks lines ends in the one, what a disk does that is not well in the other.
_OF_LINES, _OF_DISKS = "OSError", "StoreError"
_DISK_IS_ILL = {"power", "crash", "crash all", "full", "failing", "lying", "backup"}


@dataclass
class _Log:
    """An epoch."""

    id: int
    epoch: int
    size: int
    previous: tuple[int, bytes] | None
    leaves: bytes = b""
    events: dict[int, str] = field(default_factory=dict)

    def root(self, size: int) -> bytes:
        return root(self.leaves[: 32 * size])


def root(leaves: bytes) -> bytes:
    """RFC 9162, 2.1.1."""
    count = len(leaves) // 32
    if count == 0:
        return sha256().digest()
    if count == 1:
        return leaves
    half = 1
    while 2 * half < count:
        half *= 2
    left, right = root(leaves[: 32 * half]), root(leaves[32 * half :])
    return sha256(b"\1" + left + right).digest()


def demand(holds: bool, sentence: str, *about: object) -> None:
    if not holds:
        raise Finding(" ".join((sentence, *map(str, about))))


def _place(event: dict[str, Any]) -> tuple[str, str, int]:
    """Which of its session it is: a segment by where it begins, a beacon by its number."""
    return event["session"], event["kind"], event["m0" if event["kind"] == "segment" else "sn"]


def check(world: World) -> None:
    """Raises `Finding`."""
    _Look(world).at_all()


class _Look:
    def __init__(self, world: World) -> None:
        self.world = world
        hall = world.house.hall
        self.tenant, self.stream = hall.acme, hall.ids["acme/film"]
        self.database, self.keys = hall.store.database, world.keys()
        self.logs = self._logs()
        texts = [log.events[n] for log in self.logs for n in sorted(log.events)]
        self.texts = texts
        self.events: list[dict[str, Any]] = [json.loads(text) for text in texts]
        self.erased = {str(hall.passwords[viewer]) for viewer in world.erased}

    def at_all(self) -> None:
        self.errors()
        self.recorded()
        self.incidents()
        self.signed()
        self.rows()
        if self.world.seed % 16 == 0:
            self.proven()
        for log in self.logs:
            self.world.note("epoch", log.epoch, log.size, log.root(log.size).hex())

    # The log

    def _logs(self) -> list[_Log]:
        with self.database.reading() as connection:
            found = connection.execute(
                select(tables.attendance_log)
                .where(tables.attendance_log.c.tenant_id == self.tenant)
                .order_by(tables.attendance_log.c.id)
            ).all()
            leaf = tables.attendance_leaf
            leaves = connection.execute(select(leaf).order_by(leaf.c.log_id, leaf.c.first)).all()
            rows = [
                *connection.execute(select(tables.attendance_journal)),
                *connection.execute(select(tables.attendance_incident)),
            ]
            sealed = connection.execute(select(tables.attendance_sealed)).all()
        logs = {
            row.id: _Log(
                row.id,
                row.epoch,
                row.size,
                None if row.previous_size is None else (row.previous_size, row.previous_root),
            )
            for row in found
        }
        for row in leaves:
            log = logs[row.log_id]
            demand(32 * row.first == len(log.leaves), "leaves are missing or twice:", row.first)
            log.leaves += row.hashes
        salts = set[bytes]()
        every = [(row.log_id, row.number, row.salt, row.event) for row in rows]
        there = self.keys.record_keys(self.tenant, [row.reference for row in sealed])
        for row in sealed:
            if row.reference in there:
                place = Place(self.tenant, "attendance_sealed", row.id, "events")
                text = unseal(there[row.reference], place, row.sealed_events)
                lines = list(evidence.unpacked(text))
                demand(lines[-1][0] == row.last, "a sealed row ends elsewhere:", row.last)
                every += [(row.log_id, *line) for line in lines]
        for log_id, number, salt, event in every:
            log = logs[log_id]
            demand(number not in log.events, "a number is there twice:", number)
            log.events[number] = event
            salts.add(salt)
            hash = sha256(b"\0" + salt + event.encode()).digest()
            is_hash = log.leaves[32 * number : 32 * number + 32] == hash
            demand(is_hash, "a leaf is not the hash of its event:", event)
        demand(len(salts) == len(every), "a salt is there twice")
        for log in logs.values():
            demand(len(log.leaves) == 32 * log.size, "a log has another size:", log.size)
            if not self.world.erased:
                demand(
                    len(log.events) == log.size, "events are missing:", log.size - len(log.events)
                )
        return list(logs.values())

    # What was delivered

    def recorded(self) -> None:
        there = Counter(_place(each) for each in self.events if "session" in each)
        by_place = {_place(each): each for each in self.events if "session" in each}
        for watched in self.world.watched:
            event = watched.event
            place = _place(event)
            count = there.pop(place, 0)
            demand(count < 2, "it is on record twice:", event)
            if count:
                t = max(each.t for each in watched.parts)
                found, wanted = by_place[place], event | {"t": t}
                demand(found == wanted, "it is otherwise on record:", found, wanted)
                is_whole = all(each.number is not None for each in watched.parts)
                demand(is_whole, "nobody got all of this:", event)
                is_erased = watched.viewer in self.world.erased_well
                demand(not is_erased or self.world.has_forgotten, "it was erased:", event)
            elif event["key"] not in self.erased:
                self._lost(watched)
        demand(not there, "nobody got this:", *there)

    def _lost(self, watched: Watched) -> None:
        """It is not on record; may it be, and is that told?"""
        for part in watched.parts:
            worker, number = part.worker, part.number
            is_given_up = number in worker.teller.given_up
            is_stored = number is not None and number <= worker.stored and not is_given_up
            if is_stored:
                continue
            if number is None and worker.ended_well:
                # Its peer had not acknowledged it when the worker closed the connection.
                return
            is_gone = worker.died is not None or is_given_up or not worker.ended_well
            demand(is_gone, "it is lost with nobody:", watched.event)
            if self.world.befell <= _WRITER_IS_WELL and worker.died is not None:
                known = part.acknowledged
                is_late = known is None or worker.died - known < _TOLD_S
                demand(is_late, "more is lost than what was about to be told:", watched.event)
            # What was not told yet would have been by the anchor as it was in the end.
            self._flagged(watched, part.at + worker.offset if number is None else part.t, worker)
            return
        demand(self.world.may_have_forgotten, "it was stored, and is not there:", watched.event)
        self._flagged(watched, watched.parts[0].t, watched.parts[0].worker)

    def _flagged(self, watched: Watched, t: int, worker: Worker) -> None:
        for each in self.events:
            if each["kind"] in ("outage", "restore"):
                t0, t1 = each["t0"], each["t1"]
                if t0 <= t + _LATE_MS and t < t1 + _LATE_MS:
                    return
        if self._is_excused(worker):
            return
        raise Finding(f"it is lost, and nobody is told: {watched.event} at {t}")

    def _is_excused(self, worker: Worker) -> bool:
        """Whose first word was lost with the machine, nobody knows of; nor what a backup, or a disk that
        lies, has forgotten since the heads beside it were written. And after a restore nobody knows that the
        clock had been ahead."""
        world = self.world
        is_unknown = worker.stored == 0 and world.has_lost_power
        was_ahead = any(ms < 0 for _, ms in world.steps)
        is_told = bool(world.restored) and world.restored == world.forgotten and not was_ahead
        return is_unknown or (world.has_forgotten and not is_told)

    # What befell

    def incidents(self) -> None:
        world = self.world
        kinds = Counter(each["kind"] for each in self.events if "key" not in each)
        is_broken = any(
            each.died is not None or each.teller.given_up or not each.ended_well
            for each in world.workers
        )
        demand(is_broken or not kinds["outage"], "an outage is told, and nothing was out")
        demand(world.may_have_forgotten or not kinds["restore"], "nothing was restored")
        demand(kinds["restore"] >= bool(world.forgotten), "a restore is not told")
        told = [each for each in self.events if each["kind"] == "clock"]
        for _, ms in world.steps:
            if abs(ms) > STEP_MS and len(world.steps) == 1 and world.boots == 1:
                demand(all(each["step_ms"] == ms for each in told), "a step is otherwise told:", ms)
        demand(bool(world.steps) or not told, "a step is told that was none")
        if len(world.steps) == 1 and not told and not world.has_forgotten:
            self._unseen(*world.steps[0])

    def _unseen(self, at: float, ms: int) -> None:
        """A step that is not on record was one when nobody watched, or was none: no session has events on
        both sides of it. What a worker had not told when it died is no event, and lies in its outage."""
        if abs(ms) <= STEP_MS:
            return
        world = self.world
        places = {_place(each) for each in self.events if "session" in each}
        seen = dict[tuple[Worker, str], set[bool]]()
        for watched in world.watched:
            (worker, moment), *more = ((each.worker, each.moment) for each in watched.parts)
            is_known = not more and _place(watched.event) in places
            if is_known and abs(moment - at) < 1.5:
                seen.setdefault((worker, watched.event["session"]), set()).add(moment > at)
        demand(all(len(each) < 2 for each in seen.values()), "a step is not on record:", ms)

    # What was signed

    def signed(self) -> None:
        world, roots = self.world, dict[tuple[int, int], bytes]()
        with self.database.reading() as connection:
            table = tables.attendance_checkpoint
            notes = list(connection.scalars(select(table.c.note).order_by(table.c.id)))
        # Of what the console hands out, the heads beside the store hear a moment later: a store that is
        # brought back within that may have forgotten it.
        said = [each.note for each in world.said if each.by == "site" or not world.has_forgotten]
        for note in dict.fromkeys([*notes, *said]):
            made = self._checked(note)
            known = roots.setdefault((made.epoch, made.size), made.root)
            demand(known == made.root, "two roots are signed of", made.epoch, made.size)
        by_epoch = {log.epoch: log for log in self.logs}
        for (epoch, size), signed in roots.items():
            log = by_epoch.get(epoch)
            if log is not None and log.size >= size:
                demand(log.root(size) == signed, "another past is signed of", epoch, size)
                continue
            successor = by_epoch.get(epoch + 1)
            demand(successor is not None, "what was signed is not there:", epoch, size)
            assert successor is not None and successor.previous is not None
            demand(successor.previous[0] >= size, "a successor does not name", epoch, size)
        for log in self.logs:
            if log.epoch > 1:
                kinds = {each["kind"] for each in map(json.loads, log.events.values())}
                demand("restore" in kinds, "an epoch tells of no restore:", log.epoch)

    def _checked(self, note: str) -> Checkpoint:
        made, _ = checkpoints.check(note, [self.world.house.key])
        return made

    # What is computed

    def rows(self) -> None:
        store = AttendanceStore(self.database)
        now = store.rows(self.keys, self.tenant, [self.stream], self.world.options)
        texts = [
            text
            for text, each in zip(self.texts, self.events, strict=True)
            if each.get("stream") in (None, "film")
        ]
        whole = computed(texts, self.world.options)
        demand(now == whole, "rows are not those of a replay:", now, whole)
        if self.world.seed % 4 == 0:
            again = store.rows(self.keys, self.tenant, [self.stream], self.world.options)
            demand(again == whole, "rows change when one looks again")
            told = list(store.events(self.keys, self.tenant, self.stream))
            demand(sorted(told) == sorted(texts), "an evidence file has other events")
        self.world.note("rows", json.dumps(whole, sort_keys=True))

    def proven(self) -> None:
        """What leaves the house is proven elsewhere, by the public key."""
        world, hall = self.world, self.world.house.hall
        notary, clock = Notary(self.database, self.keys), world.anchor.state()
        about = (
            hall.store.stream("acme", "film"),
            hall.passwords[1],
            world.options,
            Scope(("film",)),
        )
        try:
            receipt = notary.receipt(*about, clock, int(world.seconds()))
        except NotFound:
            # The log of this epoch has nothing of it.
            return
        signed = notary.checkpoint(self.tenant, clock, int(world.seconds()))
        export = b"".join(notary.export(signed))
        verify(receipt, [world.house.key], io.BytesIO(export))

    def errors(self) -> None:
        is_ill = self.world.befell & _DISK_IS_ILL
        expected = (_OF_LINES, _OF_DISKS) if is_ill else (_OF_LINES,)
        for each in self.world.errors:
            name = each.split()[1].rstrip(":")
            demand(name in expected, "an error that nobody expects:", each)
