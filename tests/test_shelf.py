"""The shelf: descriptors of films, put by one process and taken by another."""

from __future__ import annotations

import gc
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import pytest
import trio

import pystream
from pystream.errors import MalformedMedia
from pystream.server import log, shelf
from pystream.server.origin import Film, Origin, Source
from pystream.server.shelf import Loans, Put, Shelf
from tests.test_sources import another_film, is_open, replaced, stream

trio_testing = pytest.importorskip("trio.testing")


class File:
    """A file that is open as long as this is."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(path.name.encode())
        self._number = os.open(path, os.O_RDONLY)

    def fileno(self) -> int:
        return self._number

    def __del__(self) -> None:
        os.close(self._number)


@asynccontextmanager
async def shelf_of(its: Shelf) -> AsyncIterator[Loans]:
    """A worker's side of it, which runs as it does itself."""
    listener = shelf.listen()
    loans = Loans(listener)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(its.run, listener)
        nursery.start_soon(loans.run)
        yield loans
        nursery.cancel_scope.cancel()
    os.close(listener)


async def on_shelf(loans: Loans, stream: int) -> dict[str, list[bytes]]:
    """What is in a stream's files, by version."""
    found = {}
    for film, files in await loans.take(stream):
        numbers = [each.take_over() for each in files]
        found[film.version] = [os.pread(number, 100, 0) for number in numbers]
        for number in numbers:
            os.close(number)
    return found


async def until(what: Callable[[], Awaitable[bool]]) -> None:
    with trio.fail_after(30):
        while not await what():
            await trio.lowlevel.checkpoint()


def put(loans: Loans, stream: int, version: str, *paths: Path) -> None:
    loans.put(Put(stream, version, b"about"), [File(path) for path in paths])


def test_what_is_put_there_is_taken_by_its_stream(tmp_path: Path) -> None:
    async def main() -> None:
        its = Shelf()
        async with shelf_of(its) as loans:
            put(loans, 1, "a", tmp_path / "low", tmp_path / "high")
            put(loans, 1, "b", tmp_path / "new")
            put(loans, 2, "a", tmp_path / "other")
            for path in tmp_path.iterdir():
                path.unlink()

            async def there() -> bool:
                return len(its.descriptors()) == 4

            await until(there)
            assert await on_shelf(loans, 1) == {"a": [b"low", b"high"], "b": [b"new"]}
            assert await on_shelf(loans, 2) == {"a": [b"other"]}
            assert await on_shelf(loans, 3) == {}
            # It is a loan: it is there for the next one.
            assert await on_shelf(loans, 2) == {"a": [b"other"]}

    trio.run(main)


def test_what_nobody_has_put_there_for_an_hour_is_closed(tmp_path: Path) -> None:
    now = 0.0

    async def main() -> None:
        nonlocal now
        its = Shelf(clock=lambda: now)
        async with shelf_of(its) as loans:

            async def is_there(version: str) -> bool:
                return version in await on_shelf(loans, 1)

            for version in ("a", "b"):
                put(loans, 1, version, tmp_path / version)
                await until(partial(is_there, version))
            now = 3000.0
            put(loans, 1, "b", tmp_path / "b")
            put(loans, 1, "c", tmp_path / "c")
            await until(partial(is_there, "c"))
            now = 3601.0
            clock.jump(61)

            async def gone() -> bool:
                gc.collect()
                return not is_open(tmp_path / "a") and not await is_there("a")

            await until(gone)
            assert set(await on_shelf(loans, 1)) == {"b", "c"}

    clock = trio_testing.MockClock()
    trio.run(main, clock=clock)


def test_room_is_made_for_what_was_put_there_last(tmp_path: Path) -> None:
    async def main() -> None:
        its = Shelf(most=5)
        async with shelf_of(its) as loans:
            for n in range(20):
                put(loans, n % 4, f"{n}", tmp_path / f"{n}", tmp_path / f"{n}+")

                async def there(n: int = n) -> bool:
                    return f"{n}" in await on_shelf(loans, n % 4)

                await until(there)
                assert len(its.descriptors()) <= 5
            assert await on_shelf(loans, 2) == {"18": [b"18", b"18+"]}
            assert await on_shelf(loans, 1) == {}

    trio.run(main)


def test_the_next_program_has_what_the_last_one_had(tmp_path: Path) -> None:
    async def main() -> None:
        first, second, third = Shelf(), Shelf(), Shelf()
        async with shelf_of(first) as loans:
            put(loans, 1, "a", tmp_path / "low", tmp_path / "high")

            async def there() -> bool:
                return len(first.descriptors()) == 2

            await until(there)
        second.take_over(first.left())
        assert second.descriptors() == first.descriptors()
        async with shelf_of(second) as loans:
            assert await on_shelf(loans, 1) == {"a": [b"low", b"high"]}
        # What another program has left in another way is no reason not to start.
        third.take_over(b"\xc1" + first.left())
        assert third.descriptors() == []
        for number in second.descriptors():
            os.close(number)

    trio.run(main)


@pytest.mark.parametrize(
    "packet", [b"", b"\xff" * 100, b"\x91\x02", b"\x93\x01\x01\xa1\xff", b"x" * 130_000]
)
def test_nothing_that_comes_ends_it(tmp_path: Path, packet: bytes) -> None:
    path = tmp_path / "film"

    async def main() -> None:
        its = Shelf()
        listener = shelf.listen()
        with socket.socket(fileno=os.dup(listener)) as named:
            name = named.getsockname()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(its.run, listener)
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
                peer.connect(name)
                held = File(path)
                socket.send_fds(peer, [packet], [held.fileno()])
                del held
            loans = Loans(listener)
            assert await on_shelf(loans, 1) == {}

            async def closed() -> bool:
                gc.collect()
                return not is_open(path)

            await until(closed)
            nursery.cancel_scope.cancel()
        os.close(listener)
        assert its.descriptors() == []

    trio.run(main)


def test_who_makes_versions_up_asks_the_shelf_once_a_second(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    stream(film)
    source = Source(1, (str(film),), "ts", 1.0, 0)

    async def main() -> None:
        async with shelf_of(Shelf()) as loans:
            films = Origin(1 << 24, loans=loans)
            asked = 0
            for second in range(3):
                for n in range(100):
                    if films.may_be_on_shelf(1, f"{second} {n}"):
                        await films.recall(source, f"{second} {n}")
                        asked += 1
                films.tick()
            assert asked == 3

    trio.run(main)


def test_that_a_film_was_replaced_is_told_once_for_all_workers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    film = tmp_path / "film.mp4"
    stream(film)
    source = Source(1, (str(film),), "ts", 1.0, 0, name="acme/film")
    log.setup("json")

    async def main() -> None:
        its = Shelf()
        told: list[tuple[str, str]] = []
        marks = count()

        async def opened(by: list[Origin], source: Source) -> None:
            """Returns when the shelf has heard of all of it: what is put there later is there."""
            for origin in by:
                origin.tick()
                await origin.film(source)
                for mark in ("1", "2"):
                    name = f"{next(marks)}{mark}"

                    async def there(name: str = name) -> bool:
                        return name in await on_shelf(loans, 2)

                    put(loans, 2, name, tmp_path / "mark")
                    await until(there)
            events = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
            assert str(tmp_path) not in str(events)
            told.extend((each["event"], each["stream"]) for each in events)

        async with shelf_of(its) as loans:
            workers = [Origin(1 << 24, loans=loans) for _ in range(3)]
            await opened(workers[:2], source)
            assert told == []
            replaced(film)
            # One that never had the old one says nothing, and is believed by nobody.
            await opened([workers[2], *workers[:2]], source)
            assert told == [("film-replaced", "acme/film")]
            another_film(film)
            for origin in workers:
                # Who plays it finds that out, and has none then.
                await origin.look(await origin.film(source))
            await opened(workers, source)
            assert told == 2 * [("film-replaced", "acme/film")]
            # Other settings are no other film.
            await opened(workers, replace(source, segment_duration=2.0))
            assert len(told) == 2

    trio.run(main)


async def recalled(films: Origin, source: Source, version: str) -> Film | None:
    if films.may_be_on_shelf(1, version):
        await films.recall(source, version)
    return films.version(1, version)


def test_a_film_is_recalled_as_it_was(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    stream(film)
    source = Source(1, (str(film),), "ts", 1.0, 0)

    async def main() -> None:
        its = Shelf()
        async with shelf_of(its) as loans:
            first = await Origin(1 << 24, loans=loans).film(source)
            segments = [bytes(r.segment(0)) for r in first.renditions.values()]

            async def there() -> bool:
                return len(its.descriptors()) == 1

            await until(there)
            other = Origin(1 << 24, loans=loans)
            # As it is now, it is what the path leads to: no second one is opened for that.
            again = await recalled(other, source, first.version)
            assert again is not None and await other.film(source) is again
            replaced(film)
            for origin in (other, Origin(1 << 24, loans=loans)):
                found = await recalled(origin, source, first.version)
                assert found is not None and found.multivariant.plain == first.multivariant.plain
                assert [bytes(r.segment(0)) for r in found.renditions.values()] == segments
                origin.tick()
                assert (await origin.film(source)).version != first.version
                assert origin.version(1, first.version) is found
            # One that has another protection now is nobody's any more.
            for protected in (
                replace(source, encryption="aes-128"),
                replace(source, place="acme/film"),
            ):
                films = Origin(1 << 24, loans=loans)
                assert await recalled(films, protected, first.version) is None

    trio.run(main)


def test_a_film_that_was_written_over_is_not_recalled(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    stream(film)
    source = Source(1, (str(film),), "ts", 1.0, 0)

    async def main() -> None:
        its = Shelf()
        async with shelf_of(its) as loans:
            version = (await Origin(1 << 24, loans=loans).film(source)).version

            async def there() -> bool:
                return len(its.descriptors()) == 1

            await until(there)
            another_film(film)
            assert await recalled(Origin(1 << 24, loans=loans), source, version) is None

    trio.run(main)


def test_a_descriptor_is_opened_and_closed_with_the_input(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    stream(film)
    twin = pystream.open(film)
    number = os.open(film, os.O_RDONLY)
    film.unlink()
    opened = pystream.open(number, "a film")
    assert opened.movie.fileno() == number and len(opened.tracks) == len(twin.tracks)
    del opened
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    with open(tmp_path / "none.mp4", "wb+") as file:
        file.write(b"none at all")
        number = os.open(file.name, os.O_RDONLY)
    with pytest.raises(MalformedMedia, match="a film"):
        pystream.open(number, "a film")
    with pytest.raises(IsADirectoryError):
        pystream.open(os.open(tmp_path, os.O_RDONLY))
    with pytest.raises(ValueError, match="no file descriptor"):
        pystream.open(-1)
