"""The table of sessions, as its writer and the workers have it: one descriptor, several processes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystream import _core
from pystream._core import Session, Sessions
from pystream.errors import TableFull

NOW = 1_800_000_000
REASONS = [
    Sessions.EXPIRED,
    Sessions.IDLE,
    Sessions.REVOKED,
    Sessions.KICKED,
    Sessions.CLOSED,
    Sessions.STREAM_CLOSED,
]
VIEWER = bytes(range(16))


def table(capacity: int = 8) -> Sessions:
    return Sessions(Sessions.create(capacity))


def admit(sessions: Sessions, number: int, *, stream: int = 7, holder: int = 1) -> bytes:
    viewer = number.to_bytes(16, "big")
    sessions.open(viewer, stream, NOW, expires=NOW + 7200, idle_s=1800, holder=holder)
    return viewer


def test_a_session_from_its_opening_to_its_hard_end() -> None:
    sessions = table()
    assert sessions.check(VIEWER, 7, NOW) == Sessions.UNKNOWN
    sessions.open(VIEWER, 7, NOW, expires=NOW + 7200, idle_s=1800, holder=2**64 - 1)
    assert sessions.check(VIEWER, 7, NOW + 60) == Sessions.OPEN
    assert sessions.check(VIEWER, 8, NOW + 90) == Sessions.UNKNOWN
    found = sessions.get(VIEWER)
    assert found is not None
    assert (found.id, found.stream, found.holder) == (VIEWER, 7, 2**64 - 1)
    assert (found.opened, found.last_seen) == (NOW, NOW + 60)
    assert (found.expires, found.idle_s, found.standing) == (NOW + 7200, 1800, Sessions.OPEN)
    # Paused for 30 minutes, it plays on; for more, it is over.
    assert sessions.check(VIEWER, 7, NOW + 60 + 1800) == Sessions.OPEN
    assert sessions.check(VIEWER, 7, NOW + 60 + 3601) == Sessions.IDLE
    assert sessions.check(VIEWER, 7, NOW + 60 + 1800) == Sessions.IDLE
    assert sessions.sweep(NOW + 7199) == 0
    assert sessions.sweep(NOW + 7200) == 1
    assert sessions.check(VIEWER, 7, NOW + 60) == Sessions.UNKNOWN


@pytest.mark.parametrize("reason", REASONS)
def test_an_end_holds_until_the_session_is_forgotten(reason: int) -> None:
    sessions = table()
    viewer = admit(sessions, 1)
    assert sessions.end(viewer, reason)
    assert not sessions.end(viewer, Sessions.CLOSED), "it has ended"
    assert sessions.check(viewer, 7, NOW) == reason
    assert sessions.check(viewer, 7, 0) == reason
    assert sessions.forget(viewer)
    assert not sessions.forget(viewer)
    assert not sessions.end(viewer, reason)
    assert sessions.check(viewer, 7, NOW) == Sessions.UNKNOWN


def test_all_sessions_of_a_password_or_a_stream_end_at_once() -> None:
    sessions = table()
    for number in range(6):
        admit(sessions, number, stream=number % 2, holder=number % 3)
    assert sessions.end_holder(2, Sessions.REVOKED) == 2
    assert sessions.end_stream(1, Sessions.STREAM_CLOSED) == 2
    standing = {entry.id[15]: entry.standing for entry in sessions.entries()}
    revoked, closed = Sessions.REVOKED, Sessions.STREAM_CLOSED
    assert standing == {
        0: Sessions.OPEN,
        1: closed,
        2: revoked,
        3: closed,
        4: Sessions.OPEN,
        5: revoked,
    }
    assert sessions.gauges() == (2, 4, 6, 0)
    assert len(sessions) == 6


def test_a_full_table_says_so_and_forgets_what_is_past() -> None:
    sessions = table(3)
    for number in range(3):
        admit(sessions, number)
    with pytest.raises(TableFull, match="made for 3 sessions"):
        admit(sessions, 3)
    with pytest.raises(ValueError, match="of this id already"):
        admit(sessions, 2)
    sessions.open(b"the next viewer.", 7, NOW + 7200, expires=NOW + 9000, idle_s=0, holder=1)
    assert (len(sessions), sessions.capacity) == (1, 3)
    assert sessions.gauges() == (1, 0, 4, 1)


@given(st.binary(max_size=40))
def test_an_id_has_16_bytes(viewer: bytes) -> None:
    sessions = table()
    if len(viewer) == 16:
        sessions.open(viewer, 7, NOW, expires=NOW + 1, idle_s=0, holder=1)
        assert sessions.check(viewer, 7, NOW) == Sessions.OPEN
        assert [entry.id for entry in sessions.entries()] == [viewer]
        return
    calls: list[Callable[[], object]] = [
        lambda: sessions.check(viewer, 7, NOW),
        lambda: sessions.open(viewer, 7, NOW, expires=NOW + 1, idle_s=0, holder=1),
        lambda: sessions.get(viewer),
        lambda: sessions.end(viewer, Sessions.CLOSED),
        lambda: sessions.forget(viewer),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="has 16 bytes"):
            call()


def test_what_is_no_reason_no_time_and_no_table_is_refused() -> None:
    sessions = table()
    viewer = admit(sessions, 1)
    for reason in (Sessions.UNKNOWN, Sessions.OPEN, 8, 255):
        with pytest.raises(ValueError, match="no reason"):
            sessions.end(viewer, reason)
        with pytest.raises(ValueError, match="no reason"):
            sessions.end_holder(1, reason)
        with pytest.raises(ValueError, match="no reason"):
            sessions.end_stream(7, reason)
    with pytest.raises(OverflowError):
        sessions.check(viewer, 7, -1)
    with pytest.raises(ValueError, match="1 to 16,777,216"):
        Sessions.create(0)
    with pytest.raises(ValueError, match="no file descriptor"):
        Sessions(-1)
    with pytest.raises(ValueError, match="session table is something else"):
        Sessions(_core.Meter.create(8))
    assert sessions.check(viewer, 7, NOW) == Sessions.OPEN
    # The year 2106 has come.
    assert sessions.check(viewer, 7, 2**40) == Sessions.EXPIRED


def test_a_session_shows_no_id() -> None:
    sessions = table()
    sessions.open(b"sixteen letters.", 7, NOW, expires=NOW + 1, idle_s=0, holder=1)
    assert "letters" not in repr(sessions.entries()) + repr(sessions)


# What a child does at each line of its input: a call of the table, whose answer it prints.
CHILD = """
import sys
from pystream._core import Sessions
sessions = Sessions(int(sys.argv[1]))
for line in sys.stdin:
    print(eval(line), flush=True)
"""

# Opens, ends and forgets for ever, and tells the number of each session when it is done with it.
WRITER = """
import sys
from pystream._core import Sessions
sessions, life = Sessions(int(sys.argv[1])), int(sys.argv[2])
id_of = lambda number: (life << 64 | number).to_bytes(16, "big")
for number in range(100, 1 << 30):
    sessions.open(id_of(number), number, 1_800_000_000, expires=1_800_000_000 + number, idle_s=0,
        holder=life << 32 | number)
    sessions.end(id_of(number - 3), Sessions.REVOKED)
    sessions.forget(id_of(number - 9))
    print(number, flush=True)
"""


@contextmanager
def child(program: str, sessions: int, *words: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(sessions), *map(str, words)],
        pass_fds=[sessions],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def ask(worker: subprocess.Popen[str], call: str) -> str:
    assert worker.stdin is not None and worker.stdout is not None
    print(call, file=worker.stdin, flush=True)
    return worker.stdout.readline().rstrip()


@pytest.mark.slow
def test_a_revocation_holds_in_other_processes_from_the_next_look_on() -> None:
    fd = Sessions.create(8)
    writer = Sessions(os.dup(fd))
    viewer = admit(writer, 1)
    with child(CHILD, fd) as one, child(CHILD, fd) as other:
        for second, worker in enumerate((one, other), 1):
            look = f"sessions.check({viewer!r}, 7, {NOW + second})"
            assert ask(worker, look) == str(Sessions.OPEN)
            seen = writer.get(viewer)
            assert seen is not None and seen.last_seen == NOW + second
        writer.end(viewer, Sessions.REVOKED)
        for worker in (one, other):
            look = f"sessions.check({viewer!r}, 7, {NOW + 9})"
            assert ask(worker, look) == str(Sessions.REVOKED)
    os.close(fd)


@pytest.mark.slow
def test_a_writer_s_successor_finds_each_session_whole() -> None:
    fd = Sessions.create(16)
    successor = Sessions(os.dup(fd))
    chance = random.Random(1)
    for life in range(1, 7):
        with child(WRITER, fd, life) as writer:
            assert writer.stdout is not None
            told = [int(writer.stdout.readline()) for _ in range(chance.randrange(1, 400))]
            # It goes on as it is killed: what it tells in the meantime was done, too.
            writer.send_signal(signal.SIGKILL)
            told += map(int, writer.stdout.read().split())
            assert writer.wait() == -signal.SIGKILL
        last = told[-1]
        found = {int.from_bytes(entry.id[8:], "big"): entry for entry in successor.entries()}
        for number, entry in found.items():
            assert_whole(entry, life, number)
        # The next one may have been begun.
        assert {*range(max(100, last - 7), last + 1)} <= {*found}
        assert {*found} <= {*range(max(100, last - 8), last + 2)}
        for number in range(100, last + 1):
            if number in found and number != last - 2:
                ended = number <= last - 3
                expected = Sessions.REVOKED if ended else Sessions.OPEN
                assert found[number].standing == expected, (number, last)
        assert successor.end_stream(last, Sessions.CLOSED) == 1, "it has the lock of the dead"
        assert all(successor.forget(entry.id) for entry in found.values())
        assert len(successor) == 0
    os.close(fd)


def assert_whole(entry: Session, life: int, number: int) -> None:
    assert entry.id == (life << 64 | number).to_bytes(16, "big")
    assert (entry.stream, entry.expires) == (number, NOW + number)
    assert (entry.holder, entry.opened, entry.last_seen) == (life << 32 | number, NOW, NOW)
