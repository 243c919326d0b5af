"""What is asked of file systems, which may never answer.

Theory. A disk that dies, or a network that is gone, keeps who asks in the kernel, at times so that
not even SIGKILL ends the wait. So a worker's loop asks no file system for anything. Threads do, and
who wants to know waits for `seconds` at most. A thread that is not answered is left alone; nobody asks
the same once more meanwhile, and all who want to know are told at once.

What does not answer is a mount, mostly: all files on it, and no others. So each mount has a few
threads of its own. Those that were not answered in time are not counted among them, up to a number
at which nothing more is asked there until one comes back. To open and to plan a film takes a processor,
and the interpreter again and again, and has two threads apart: of many, one that holds the interpreter
would wait for a processor, and the loop for that one.

To see where a path leads takes the file systems on the way: before it was answered once, it is reckoned
to where it seems to lead, apart from those that were.
"""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar, cast

import trio

from pystream.errors import PystreamError, SourceError

_SECONDS = 8.0
"""Players wait some ten seconds for a first byte; told to come again, they do."""
_AT_ONCE = 8
_BUSY_AT_ONCE = 2
_STUCK = 16
_MOUNTS = "/proc/self/mountinfo"
_MOUNTS_TICKS = 10

T = TypeVar("T")
Paths = Sequence[str]


class NoAnswer(SourceError):
    """A file system does not answer. `retry_after`: seconds after which to try again."""

    retry_after = 5

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: the file system does not answer")


class _Question:
    """Something that a thread finds out. `begun`: when, on trio's clock; `wanted`: by how many; `busy`: it
    takes a processor for long."""

    __slots__ = (
        *("asked", "begun", "busy", "done", "error", "find_out", "found", "key", "token"),
        "wanted",
    )

    def __init__(
        self, key: Hashable, find_out: Callable[[], object], now: float, busy: bool
    ) -> None:
        self.key = key
        self.find_out = find_out
        self.busy = busy
        self.asked = now
        self.begun = float("inf")
        self.done = trio.Event()
        self.token = trio.lowlevel.current_trio_token()
        self.wanted = 0
        self.found: object = None
        self.error: BaseException | None = None

    def work(self) -> None:
        try:
            self.found = self.find_out()
        except (PystreamError, OSError) as error:
            # A traceback would keep what was opened.
            self.error = error.with_traceback(None)
        except BaseException as error:
            self.error = error
        del self.find_out


class _Place:
    """A mount, or several. `under_way`: what threads ask there now; `waiting`: what they will, by whether it
    takes a processor for long; `left`: what is to be let go."""

    __slots__ = ("leaving", "left", "under_way", "waiting")

    def __init__(self) -> None:
        self.waiting = {True: deque[_Question](), False: deque[_Question]()}
        self.under_way = set[_Question]()
        self.left: list[object] = []
        self.leaving = False


class Files:
    """The threads of one process that ask file systems. `tick` has to be called once a second.
    `mounts`: a file as the kernel writes it that says what is mounted where."""

    def __init__(self, seconds: float = _SECONDS, mounts: str = _MOUNTS) -> None:
        self._seconds = seconds
        self._mounts_file = mounts
        self._questions: dict[Hashable, _Question] = {}
        self._places: dict[tuple[bool, tuple[str, ...]], _Place] = {}
        self._leads_to: dict[str, str] = {}
        self._ticks = 0
        self._read_mounts()

    async def ask(
        self, paths: Paths, key: Hashable, find_out: Callable[[], T], *, busy: bool = False
    ) -> T:
        """What `find_out` gives, which looks at these files, and takes a processor for long where it is
        `busy`; whoever asks with the same key before it is known gets the same. Raises what it does, and
        `NoAnswer`."""
        place = self._place(paths)
        now = trio.current_time()
        if len(self._stuck(place, now)) >= _STUCK:
            raise NoAnswer(paths[0])
        question = self._questions.get(key)
        if question is None:
            question = _Question(key, partial(self._learning, paths, find_out), now, busy)
            self._questions[key] = question
            place.waiting[busy].append(question)
        question.wanted += 1
        self._begin(place, now)
        try:
            with trio.CancelScope(deadline=question.asked + self._seconds):
                await question.done.wait()
        finally:
            question.wanted -= 1
        if not question.done.is_set():
            raise NoAnswer(paths[0])
        if question.error is not None:
            raise question.error
        return cast(T, question.found)

    def leave(self, paths: Paths, thing: object) -> None:
        """Lets go of something that keeps these files open. To close one is to ask, too: at the next
        tick, when whoever is still at it has finished, a thread does."""
        self._place(paths).left.append(thing)

    def tick(self) -> None:
        """Goes on with what waits behind those that were not answered."""
        self._ticks += 1
        if self._ticks % _MOUNTS_TICKS == 0:
            trio.lowlevel.start_thread_soon(self._read_mounts, lambda _: None)
        for place in self._places.values():
            if place.left and not place.leaving:
                self._let_go(place)
            if any(place.waiting.values()):
                self._begin(place, trio.current_time())

    # Threads.

    def _begin(self, place: _Place, now: float) -> None:
        """Has as many threads ask as may."""
        stuck = self._stuck(place, now)
        if len(stuck) >= _STUCK:
            return
        asking = Counter(each.busy for each in place.under_way.difference(stuck))
        for busy, most in ((True, _BUSY_AT_ONCE), (False, _AT_ONCE)):
            self._begin_some(place, place.waiting[busy], most - asking[busy], now)

    def _begin_some(self, place: _Place, waiting: deque[_Question], most: int, now: float) -> None:
        while waiting and most > 0:
            question = waiting.popleft()
            if not question.wanted:
                del self._questions[question.key]
                continue
            most -= 1
            question.begun = now
            place.under_way.add(question)

            def tell(_: object, question: _Question = question) -> None:
                # Where the run is over, nobody is there any more who could want to know.
                with suppress(trio.RunFinishedError):
                    question.token.run_sync_soon(self._take, place, question)

            trio.lowlevel.start_thread_soon(question.work, tell)

    def _take(self, place: _Place, question: _Question) -> None:
        del self._questions[question.key]
        place.under_way.discard(question)
        question.done.set()
        if not question.wanted:
            # What was opened for nobody is closed, but not here.
            place.left.append(question.found)
        self._begin(place, trio.current_time())

    def _stuck(self, place: _Place, now: float) -> list[_Question]:
        return [each for each in place.under_way if now - each.begun >= self._seconds]

    @staticmethod
    def _let_go(place: _Place) -> None:
        left, place.left, place.leaving = place.left, [], True

        def gone(_: object) -> None:
            place.leaving = False

        trio.lowlevel.start_thread_soon(left.clear, gone)

    # Where files lie.

    def _place(self, paths: Paths) -> _Place:
        known = all(path in self._leads_to for path in paths)
        mounts = sorted({self._mount(self._leads_to.get(path, path)) for path in paths})
        return self._places.setdefault((known, tuple(mounts)), _Place())

    def _mount(self, path: str) -> str:
        return next((each for each in self._mounts if f"{path}/".startswith(each)), "/")

    def _learning(self, paths: Paths, find_out: Callable[[], T]) -> T:
        try:
            return find_out()
        finally:
            for path in paths:
                if path not in self._leads_to:
                    self._leads_to[path] = os.path.realpath(path)

    def _read_mounts(self) -> None:
        """proc_pid_mountinfo(5): the fifth field is where it is mounted, with blanks in octal."""
        try:
            with open(self._mounts_file, encoding="utf-8", errors="surrogateescape") as file:
                found = {_unescaped(line.split(" ")[4]).rstrip("/") + "/" for line in file}
        except OSError:
            found = {"/"}
        self._mounts = sorted(found, key=len, reverse=True)


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)
