"""Sources that change, go away or are broken, and settings that change, while somebody plays."""

from __future__ import annotations

import gc
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
import trio

import pystream
from pystream import _core
from pystream.acl.grants import DOWNLOAD
from pystream.acl.store import Store
from pystream.acl.streams import StreamSettings
from pystream.errors import GrantError, SourceError
from pystream.server.downloads import Downloads
from pystream.server.files import Files, NoAnswer
from pystream.server.origin import Origin, Source
from tests.copies import SERVE
from tests.test_serve import SAMPLE, Node, alive, fetch, node_in
from tests.test_server import MEDIA, Server, serving
from tests.waiting import everywhere, open_files, until

trio_testing = pytest.importorskip("trio.testing")


def over(film: Path, data: bytes) -> None:
    """Writes over a file in place: it is the same file afterwards."""
    with open(film, "r+b") as file:
        file.write(data)
        file.truncate()


def garbage(film: Path) -> None:
    size = film.stat().st_size
    over(film, random.Random(1).randbytes(size))


def another_film(film: Path) -> None:
    over(film, (MEDIA / "video_late.mp4").read_bytes())


def half(film: Path) -> None:
    os.truncate(film, film.stat().st_size // 2)


def stream(film: Path, **changes: Any) -> StreamSettings:
    shutil.copy(MEDIA / "plain.mp4", film)
    return StreamSettings(sources=(str(film),), segment_duration_ms=1000, **changes)


def later(server: Server, seconds: float = 1.1) -> None:
    """Moves a clock on that stands still: films are looked at once a second."""
    server.clock.jump(seconds)
    # Whoever wakes at that time does so in the turn in which the first is accepted, or before.
    assert server.get("/")[0] == server.get("/")[0] == 404


def media(server: Server, playlist: str) -> list[str]:
    return [urljoin(playlist, each.uri) for each in server.playlist(playlist).segments]


def set_stream(node: Node, **changes: Any) -> None:
    with Store.open(str(node.folder / "pystream.db")) as store:
        store.set_stream("acme", "film", changes, who="test", now=1)


# Files that do not answer.


@contextmanager
def silent(folder: Path, patch: pytest.MonkeyPatch) -> Iterator[threading.Semaphore]:
    """A file system that does not answer for as long as this lasts: it counts who asks."""
    asked, answers = threading.Semaphore(0), threading.Event()

    def waiting(ask: Callable[..., Any]) -> Callable[..., Any]:
        def asks(what: Any, *more: Any, **named: Any) -> Any:
            path = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else str(what)
            if path.startswith(str(folder)) and not answers.is_set():
                # The loop's thread would wait here for ever, too.
                asked.release()
                answers.wait()
            return ask(what, *more, **named)

        return asks

    with patch.context() as patched:
        for name in ("stat", "fstat"):
            patched.setattr(os, name, waiting(getattr(os, name)))
        patched.setattr(pystream, "open", waiting(pystream.open))
        try:
            yield asked
        finally:
            answers.set()


def ask_in_thread(server: Server, path: str) -> Callable[[], tuple[int, dict[str, str], bytes]]:
    """Asks for something; what is returned waits for the answer."""
    found: list[tuple[int, dict[str, str], bytes]] = []
    thread = threading.Thread(target=lambda: found.append(server.get(path)))
    thread.start()

    def answer() -> tuple[int, dict[str, str], bytes]:
        thread.join()
        return found[0]

    return answer


@pytest.fixture
def two_films(tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    folder = tmp_path / "network"
    folder.mkdir()
    streams = {
        "near": stream(tmp_path / "near.mp4"),
        "far": stream(folder / "film.mp4", download=True),
        "other": stream(folder / "other.mp4"),
    }
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"40 22 0:50 / {folder} rw - nfs4 nas:/films rw\n")
    origin = Origin(1 << 24, files=Files(mounts=str(mounts)))
    with serving(streams, clock=trio_testing.MockClock(), origin=origin) as server:
        yield server, folder


def test_a_film_on_storage_that_does_not_answer_stops_no_other(
    two_films: tuple[Server, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, folder = two_films
    (near,), (far,) = server.media("near"), server.media("far")
    segment = media(server, far)[0]
    new = server.master("other")
    # Nobody has asked for this one yet.
    later(server)
    grant = server.answers.grants.issue(2, bytes(16), int(time.time()), 3600, flags=DOWNLOAD)
    ways = [far, segment, server.master("far"), new, f"/t/{grant}/acme/far/download.mp4"]
    # Where a stream leads was asked for, which is so for a second.
    later(server)
    with silent(folder, monkeypatch) as asked:
        answers = [ask_in_thread(server, way) for way in ways]
        for _ in range(4):
            # The state of one film, of another, the paths and the download.
            assert asked.acquire(timeout=30)
        for _ in range(3):
            assert server.get(near)[0] == server.get(media(server, near)[0])[0] == 200
            later(server)
        later(server, 8)
        for answer in answers:
            status, headers, _ = answer()
            assert status == 503 and int(headers["retry-after"]) > 0
        # From now on it is known.
        assert [server.get(way)[0] for way in ways] == [503] * len(ways)
        assert server.get(near)[0] == 200
        later(server)
        assert [server.get(way)[0] for way in ways] == [503] * len(ways)
        # Nothing was asked twice.
        assert not asked.acquire(blocking=False)

    def are_back() -> bool:
        later(server)
        return [server.get(way)[0] for way in ways] == [200] * len(ways)

    until(are_back)


def test_a_film_whose_pictures_are_not_to_be_had_stops_no_other(
    two_films: tuple[Server, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, folder = two_films
    asked, answers = threading.Semaphore(0), threading.Event()
    plan = pystream.plan

    def waiting(inputs: list[pystream.Input], **named: Any) -> pystream.Presentation:
        if inputs[0].name.startswith(str(folder)):
            asked.release()
            answers.wait()
        return plan(inputs, **named)

    monkeypatch.setattr(pystream, "plan", waiting)
    try:
        answer = ask_in_thread(server, "/acme/far/master.m3u8")
        assert asked.acquire(timeout=30)
        (near,) = server.media("near")
        assert server.get(near)[0] == server.get(media(server, near)[0])[0] == 200
        later(server, 8)
        # The way in is no part of the film.
        status, headers, _ = answer()
        assert status == 302
        way = headers["location"]
        status, headers, _ = server.get(way)
        assert status == 503 and int(headers["retry-after"]) > 0
    finally:
        answers.set()

    def is_back() -> bool:
        later(server)
        return server.get(way)[0] == 200

    until(is_back)


def test_who_leaves_while_a_film_is_opened_is_gone(
    two_films: tuple[Server, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, folder = two_films
    with silent(folder, monkeypatch) as asked:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", server.port)) as peer:
                peer.sendall(b"GET /acme/far/master.m3u8 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert asked.acquire(timeout=30)
        until(lambda: server.connections.count >= 20)
        # Not because the time is over in which they might have had an answer.
        for _ in range(4):
            later(server)
        until(lambda: server.connections.count < 3)
    # Who only says that nothing more will come gets an answer, where it does not take long.
    with socket.create_connection(("127.0.0.1", server.port)) as peer:
        peer.sendall(b"GET /acme/far/master.m3u8 HTTP/1.1\r\nHost: x\r\n\r\n")
        peer.shutdown(socket.SHUT_WR)
        assert peer.makefile("rb").read().startswith(b"HTTP/1.1 302 ")


@contextmanager
def silent_node(folder: Path) -> Iterator[tuple[Node, Path]]:
    """A node with two films, of which one, `far`, lies where nobody who reads is answered while there is
    a file `silent` in the folder that comes with it."""
    source, mount, control = (folder / name for name in ("source", "mount", "control"))
    for each in (source, mount, control):
        each.mkdir()
    shutil.copy(SAMPLE, source / "film.mp4")
    script = Path(__file__).parent / "silent_files.py"
    words = ("unshare", "-m", sys.executable, "-P", script, source, mount, control)
    command = [str(word) for word in words]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine allows no mount")
    with node_in(folder) as node:
        node.settings("workers = 1\n")
        node.add_film()
        with Store.open(str(folder / "pystream.db")) as store:
            far = StreamSettings(
                sources=(str(mount / "film.mp4"),),
                segment_duration_ms=1000,
                encryption="none",
                pace=None,
                download=True,
            )
            store.add_stream("acme", "far", far, who="test", now=0)
            near = replace(far, sources=(str(SAMPLE),))
            store.set_stream("acme", "film", settings_changes(near), who="test", now=0)
        node.command = [*command, *SERVE]
        node.start()
        node.hear("READY=1")
        yield node, control


def settings_changes(settings: StreamSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in ("encryption", "pace", "download")}


@pytest.mark.slow
@pytest.mark.needs("unshare")
def test_a_film_that_is_not_read_in_time_delays_no_other(tmp_path: Path) -> None:
    with silent_node(tmp_path) as (node, control):
        near, far = node.film(), node.film("far")
        files = [node.get(f"/acme/{name}/download.mp4")[1]["location"] for name in ("film", "far")]
        ways = [far, files[1]]
        bytes_of = [node.get(way)[2] for way in (near, files[0])]
        assert [node.get(way)[2] for way in ways] == bytes_of
        workers = node.processes()["worker"]
        (control / "silent").touch()

        def ended(way: str) -> object:
            try:
                return node.get(way)[0]
            except (OSError, http.client.HTTPException):
                return "reset"

        # More than a store has threads; and then, when it is known not to answer.
        got = []
        for _ in range(2):
            with ThreadPoolExecutor(20) as pool:
                ends = [pool.submit(ended, ways[n % 2]) for n in range(20)]
                until((control / "asked").exists)
                while not all(end.done() for end in ends):
                    assert node.get(near)[2] == bytes_of[0]
                    got.append(near)
            assert {end.result() for end in ends} <= {"reset", 503}
        assert len(got) > 20
        (event,) = node.events("segment-failed")
        assert (
            event["reason"] == f"{tmp_path}/mount/film.mp4: the file system did not answer in time"
        )
        assert (control / "asked").stat().st_size < 30
        (control / "silent").unlink()
        until(lambda: [ended(way) for way in ways] == [200, 200])
        assert [node.get(way)[2] for way in ways] == bytes_of
        assert node.processes()["worker"] == workers and node.events("worker-hangs") == []
        assert node.stop() == 0


def test_each_mount_has_threads_of_its_own(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda rw\n"
        "40 22 0:50 / /mnt/a\\040disk rw shared:1 - nfs4 nas:/films rw\n"
    )
    answers = threading.Event()
    begun: list[str] = []
    told: list[str] = []

    def find_out(what: str, waits: bool) -> str:
        begun.append(what)
        if waits:
            answers.wait()
        return what

    async def ask(files: Files, path: str, waits: bool) -> None:
        try:
            found = await files.ask((path,), path, lambda: find_out(path, waits))
        except NoAnswer as error:
            assert path in str(error)
            found = "no answer"
        told.append(found)

    async def ask_many(files: Files, numbers: range) -> None:
        async with trio.open_nursery() as nursery:
            for n in numbers:
                nursery.start_soon(ask, files, f"/mnt/a disk/{n}", True)
            await trio_testing.wait_all_tasks_blocked()
            near, deadline = f"/films/{numbers[0]}", time.monotonic() + 30
            nursery.start_soon(ask, files, near, False)
            while near not in told:
                assert time.monotonic() < deadline
                await trio.lowlevel.checkpoint()
            clock.jump(8)

    async def main() -> None:
        files = Files(seconds=8, mounts=str(mounts))
        await ask_many(files, range(30))
        assert told == ["/films/0", *["no answer"] * 30]
        # As many more are asked beside those eight, and then no more.
        await ask_many(files, range(40, 60))
        assert told.count("no answer") == 50 and told[31] == "/films/40"
        await ask_many(files, range(60, 80))
        assert told.count("no answer") == 70 and told[-1] == "/films/60"
        while len(begun) < 3 + 16:
            await trio.lowlevel.checkpoint()
        answers.set()
        # Once they are back, all is as before.
        while told[-1] != "/mnt/a disk/80":
            await ask(files, "/mnt/a disk/80", False)
            await trio.lowlevel.checkpoint()
        assert len(begun) == 3 + 16 + 1

    clock = trio_testing.MockClock()
    trio.run(main, clock=clock)


def test_what_takes_the_interpreter_for_long_is_done_by_few_threads() -> None:
    ends = threading.Event()
    under_way: list[int] = []
    most = 0

    def find_out(n: int) -> None:
        nonlocal most
        under_way.append(n)
        most = max(most, len(under_way))
        ends.wait()
        under_way.remove(n)

    async def main() -> None:
        files = Files()
        async with trio.open_nursery() as nursery:
            for n in range(6):
                ask = partial(files.ask, ("/film",), n, partial(find_out, n), busy=True)
                nursery.start_soon(ask)
            await trio_testing.wait_all_tasks_blocked()
            # Whatever takes no time is asked beside them.
            for n in range(20):
                assert await files.ask(("/film",), "state", partial(abs, n)) == n
            ends.set()

    trio.run(main)
    assert most == 2 and not under_way


def test_who_asks_the_same_is_told_the_same(tmp_path: Path) -> None:
    answers = threading.Event()
    begun: list[int] = []
    told: list[object] = []

    def find_out() -> object:
        begun.append(1)
        answers.wait()
        return object()

    async def ask(files: Files) -> None:
        told.append(await files.ask((str(tmp_path),), "state", find_out))

    async def main() -> None:
        files = Files()
        with trio.CancelScope() as leaving:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, files)
                await trio_testing.wait_all_tasks_blocked()
                leaving.cancel()
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask, files)
            await trio_testing.wait_all_tasks_blocked()
            answers.set()

    trio.run(main)
    assert len(begun) == 1 and len(told) == 20 and len(set(map(id, told))) == 1


# What is kept open.


def copies(folder: Path, count: int) -> list[Source]:
    films = [folder / f"{n}.mp4" for n in range(count)]
    for film in films:
        stream(film)
    return [Source(n, (str(film),), "ts", 1, 0) for n, film in enumerate(films)]


@pytest.mark.parametrize("bound", ["bytes", "files"])
def test_films_are_kept_open_within_bounds(tmp_path: Path, bound: str) -> None:
    wanted = copies(tmp_path, 4)

    async def main() -> None:
        one = await Origin(1 << 24).film(wanted[0])
        films = Origin(2 * one.nbytes, 10) if bound == "bytes" else Origin(1 << 24, 2)
        versions = [(await films.film(each)).version for each in wanted[:2]]
        # The first one is asked for once more, so the second one has to go.
        assert films.version(0, versions[0]) and films.version(0, versions[0])
        versions.append((await films.film(wanted[2])).version)
        kept = [films.version(n, version) is not None for n, version in enumerate(versions)]
        assert kept == [True, False, True]
        assert films.nbytes == 2 * one.nbytes
        del one
        films.tick()
        closes(Path(wanted[1].paths[0]))
        assert is_open(Path(wanted[2].paths[0]))
        if bound == "bytes":
            # Playlists that are written later count.
            film = await films.film(wanted[2])
            before = film.nbytes
            await films.written(film, film.presentation.renditions[0])
            assert films.nbytes == film.nbytes > before
            assert films.version(0, versions[0]) is None and films.version(2, versions[2])

    trio.run(main)


def test_few_keys_of_a_film_are_kept_and_go_with_it(tmp_path: Path) -> None:
    asked: list[int] = []

    def keys(version: str, rendition: str, period: int) -> bytes:
        if version:
            asked.append(period)
        return period.to_bytes(16)

    source = Source(1, (str(MEDIA / "intra.mp4"),), "ts", 0.1, 1, "aes-128", keys=keys)

    async def main() -> None:
        (rendition,) = (await Origin(1 << 24).film(source)).presentation.renditions
        for n in (*range(8), *range(8)):
            _, _, secret = rendition.making(n)
            assert secret and secret[0] == n.to_bytes(16)
        assert asked == [*range(8)]
        # Of former periods no more than these.
        rendition.making(8)
        rendition.making(0)
        assert asked[8:] == [8, 0]
        (again,) = (await Origin(1 << 24).film(source)).presentation.renditions
        again.making(0)
        assert asked[8:] == [8, 0, 0]

    trio.run(main)


# Written over.


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("spoil", "status"), [(garbage, 503), (half, 503), (another_film, 404)])
def test_a_film_that_is_written_over_is_served_no_more(
    tmp_path: Path, spoil: Callable[[Path], None], status: int, shared: bool
) -> None:
    film = tmp_path / "film.mp4"
    more = {"cache": "shared", "pace": None, "encryption": "aes-128"} if shared else {}
    cache = _core.Cache(_core.Cache.create(1 << 20, 1), 0)
    clock = trio_testing.MockClock()
    with serving({"film": stream(film, **more)}, clock=clock, cache=cache) as server:
        (path,) = server.media("film")
        segments = media(server, path)
        assert segments[0].startswith("/s/" if shared else "/t/")
        # The first one is in the cache.
        assert [server.get(segments[0])[0] for _ in range(3)] == [200] * 3
        spoil(film)
        later(server)
        for each in (*segments, path):
            assert server.get(each)[0] == status


def test_what_was_made_of_garbage_is_gone_with_it(tmp_path: Path) -> None:
    """A file that is put back, down to its time, has its version again, and whoever has kept the
    addresses gets its bytes."""
    film = tmp_path / "film.mp4"
    cache = _core.Cache(_core.Cache.create(1 << 20, 1), 0)
    clock = trio_testing.MockClock()
    # Of MPEG-TS, nothing can be made of garbage.
    with serving({"film": stream(film, format="fmp4")}, clock=clock, cache=cache) as server:
        path = server.media("film")[0]
        urls = media(server, path)
        was, data = film.stat(), film.read_bytes()
        garbage(film)
        # Within the second, the film is still one. What is asked for again would be kept in the cache.
        for _ in range(3):
            with pytest.raises((ConnectionResetError, http.client.HTTPException)):
                server.get(urls[1])
        later(server)
        assert server.get(urls[1])[0] == 503
        over(film, data)
        os.utime(film, ns=(was.st_atime_ns, was.st_mtime_ns))
        later(server)
        assert server.media("film")[0].split("/")[5] == path.split("/")[5]
        twin = pystream.plan([pystream.open(film)], format="fmp4", segment_duration=1)
        assert server.get(urls[1])[2] == bytes(twin.renditions[0].segment(1))


def large(film: Path) -> StreamSettings:
    """A stream of one segment, of which not nearly all fits on the way to who does not read."""
    shutil.copy(SAMPLE, film)
    return StreamSettings(sources=(str(film),), segment_duration_ms=3_600_000, pace=None)


@contextmanager
def asking_slowly(server: Server, path: str, more: str = "") -> Iterator[http.client.HTTPResponse]:
    """The answer to who has read its head, and takes next to nothing else by itself."""
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.settimeout(60)
        peer.connect(("127.0.0.1", server.port))
        peer.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode())
        answer = http.client.HTTPResponse(peer)
        with closing(answer):
            answer.begin()
            yield answer


@pytest.mark.parametrize("part", [False, True])
@pytest.mark.parametrize("format", ["ts", "fmp4", "download"])
@pytest.mark.parametrize("encryption", ["none", "aes-128", "aes-128-per-viewer"])
def test_no_answer_is_half_of_one_film_and_half_of_another(
    tmp_path: Path, format: str, encryption: str, part: bool
) -> None:
    """What is written over the film could be made into a segment as well: it differs in one byte of
    its last sample."""
    film = tmp_path / "film.mp4"
    made = "ts" if format == "download" else format
    changed = SAMPLE.read_bytes()[:-9] + b"\xee" + SAMPLE.read_bytes()[-8:]
    settings = replace(large(film), encryption=encryption, format=made, download=True)
    with serving({"film": settings}) as server:
        path = media(server, server.media("film")[0])[0]
        if format == "download":
            path = server.entrance("film", "download.mp4")
        length = len(server.get(path)[2])
        wanted = f"Range: bytes=1-{length - 100}\r\n" if part else ""
        with asking_slowly(server, path, wanted) as answer:
            assert answer.status == (206 if part else 200)
            got = answer.read(1000)
            over(film, changed)
            # Reset, or cut off: nobody takes it for whole.
            with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
                got += answer.read()
        assert len(got) < length


def test_a_film_that_is_replaced_goes_on_for_who_gets_it(tmp_path: Path) -> None:
    film, new = tmp_path / "film.mp4", tmp_path / "new.mp4"
    shutil.copy(MEDIA / "plain.mp4", new)
    with serving({"film": replace(large(film), download=True)}) as server:
        segment = media(server, server.media("film")[0])[0]
        download = server.entrance("film", "download.mp4")
        before = [server.get(path)[2] for path in (segment, download)]
        with asking_slowly(server, segment) as first, asking_slowly(server, download) as second:
            os.replace(new, film)
            assert [first.read(), second.read()] == before


def test_a_picture_of_a_film_that_was_written_over_is_none(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    stream(film)
    (track, *_) = pystream.open(film).tracks
    assert bytes(track.frame(0))
    over(film, film.read_bytes())
    with pytest.raises(SourceError, match="written to"):
        track.frame(0)


def sources(film: Path) -> Source:
    return Source(1, (str(film),), "ts", 1, 0)


@pytest.mark.parametrize("in_place", [False, True])
def test_a_film_that_changes_while_it_is_opened_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_place: bool
) -> None:
    film, new = tmp_path / "film.mp4", tmp_path / "new.mp4"
    stream(film)
    shutil.copy(MEDIA / "video_late.mp4", new)
    times: list[str] = []

    def opened(path: str, name: str, *, opened: Callable[..., Any] = pystream.open) -> object:
        times.append(path)
        if len(times) > 1:
            return opened(path)
        if not in_place:
            os.replace(new, film)
            return opened(path)
        found = opened(path)
        another_film(film)
        return found

    monkeypatch.setattr(pystream, "open", opened)
    found = trio.run(Origin(1 << 24).film, sources(film))
    monkeypatch.undo()
    again = trio.run(Origin(1 << 24).film, sources(film))
    assert found.version == again.version
    assert found.multivariant.plain == again.multivariant.plain
    assert len(times) == 2


def test_a_film_that_is_being_written_is_not_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = tmp_path / "film.mp4"
    stream(film)

    def opened(path: str, name: str, *, opened: Callable[..., Any] = pystream.open) -> object:
        found = opened(path)
        with open(film, "ab") as file:
            file.write(b"\0\0\0\x08free")
        return found

    monkeypatch.setattr(pystream, "open", opened)
    with pytest.raises(SourceError, match="being written to"):
        trio.run(Origin(1 << 24).film, sources(film))


@pytest.mark.parametrize("swapped", ["film", "folder"])
def test_a_link_that_is_put_in_a_films_place_leads_to_no_film_of_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, swapped: str
) -> None:
    """Tenants may write into their folders after a stream was made."""
    other, own = (tmp_path / "films" / tenant / "talks" for tenant in ("other", "acme"))
    for folder in (other, own):
        folder.mkdir(parents=True)
    film, secret = own / "film.mp4", other / "film.mp4"
    streams = {"film": stream(film, download=True)}
    shutil.copy(MEDIA / "video_late.mp4", secret)
    away = own.with_name("away")
    clock = trio_testing.MockClock()
    with serving(streams, clock=clock, films=str(tmp_path / "films")) as server:
        master = server.master("film")
        download = server.entrance("film", "download.mp4")

        def asked() -> list[tuple[int, bytes]]:
            later(server)
            return [(status, body) for status, _, body in map(server.get, (master, download))]

        before = asked()
        assert [status for status, _ in before] == [200, 200]
        if swapped == "film":
            film.rename(own / "kept.mp4")
            film.symlink_to(secret)
        else:
            own.rename(away)
            own.symlink_to(other)
        assert [status for status, _ in asked()] == [503, 503]
        warned = (each for each in caplog.records if each.getMessage() == "film-unavailable")
        said = [vars(each)["fields"] for each in warned]
        error = f"{film}: a link on the way leads out of the tenant's folder of films"
        assert said == 2 * [{"stream": "acme/film", "error": error}]
        # One that stays within leads on.
        if swapped == "film":
            film.unlink()
            film.symlink_to("kept.mp4")
        else:
            own.unlink()
            own.symlink_to(away)
        assert asked() == before


def test_a_film_that_nothing_leads_to_is_named_as_its_stream_names_it(tmp_path: Path) -> None:
    film = tmp_path / "films" / "acme" / "film.mp4"
    film.mkdir(parents=True)
    source = replace(sources(film), films=str(tmp_path / "films"), tenant="acme")
    with pytest.raises(OSError, match=re.escape(str(film))):
        trio.run(Origin(1 << 24).film, source)


def is_open(film: Path) -> bool:
    """Whether this process holds the file, which a path need not lead to any more."""
    return any(what.removesuffix(" (deleted)") == str(film) for _, what in open_files(os.getpid()))


def closes(film: Path) -> None:
    """Waits for a thread to close a file."""
    until(lambda: gc.collect() >= 0 and not is_open(film))


def test_a_film_that_nobody_asks_for_is_closed(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    stream(film)
    films = Origin(1 << 24)
    version = trio.run(films.film, sources(film)).version
    film.unlink()
    for _ in range(3600):
        assert films.version(1, version)
        films.tick()
    for _ in range(3600):
        films.tick()
    assert is_open(film)
    films.tick()
    closes(film)


def test_a_download_that_nobody_asks_for_is_closed(tmp_path: Path) -> None:
    film, other = tmp_path / "film.mp4", tmp_path / "other.mp4"
    stream(film, download=True)
    stream(other)
    asked = Files()
    files = Downloads(files=asked)

    def tick() -> None:
        files.tick()
        asked.tick()

    async def both() -> None:
        await files.find(str(film))
        await files.find(str(other))

    trio.run(both)
    film.unlink()
    for _ in range(60):
        tick()
    assert is_open(film)
    trio.run(files.find, str(other))
    tick()
    closes(film)
    assert is_open(other)
    # What is found to be gone is closed, too.
    other.unlink()
    with pytest.raises(FileNotFoundError):
        trio.run(files.find, str(other))
    tick()
    closes(other)


def test_few_downloads_are_kept_open(tmp_path: Path) -> None:
    films = [tmp_path / f"{n}.mp4" for n in range(5)]
    asked = Files()
    files = Downloads(most=3, files=asked)
    for film in films:
        stream(film)
        trio.run(files.find, str(film))
    asked.tick()
    closes(films[0])
    closes(films[1])
    assert all(map(is_open, films[2:]))


def test_many_who_want_the_same_download_wait_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = tmp_path / "film.mp4"
    stream(film)
    files, parsed, found = Downloads(), [], set()

    def parsing(path: str, name: str, *, parse: Any = _core.Download) -> _core.Download:
        parsed.append(path)
        download: _core.Download = parse(path, name)
        return download

    async def one() -> None:
        found.add((await files.find(str(film))).etag)

    async def many() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(one)

    monkeypatch.setattr(_core, "Download", parsing)
    trio.run(many)
    assert (len(parsed), len(found)) == (1, 1)


def test_a_download_is_tagged_as_the_file_that_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, new = tmp_path / "film.mp4", tmp_path / "new.mp4"
    stream(film)
    shutil.copy(MEDIA / "video_late.mp4", new)
    size = new.stat().st_size

    def replaced(path: str, name: str, *, parse: Any = _core.Download) -> _core.Download:
        if new.exists():
            os.replace(new, film)
        download: _core.Download = parse(path, name)
        return download

    monkeypatch.setattr(_core, "Download", replaced)
    first = trio.run(Downloads().find, str(film))
    monkeypatch.undo()
    assert first.file.size == size
    assert first.etag == trio.run(Downloads().find, str(film)).etag


def test_a_server_closes_what_nobody_asks_for(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    streams = {"film": stream(film, download=True)}
    with serving(streams, clock=trio_testing.MockClock()) as server:
        grant = server.answers.grants.issue(1, bytes(16), int(time.time()), 3600, flags=DOWNLOAD)
        assert server.get(f"/t/{grant}/acme/film/download.mp4")[0] == 200
        assert is_open(film)
        for _ in range(62):
            later(server)
        closes(film)


def test_a_descriptor_is_that_of_a_file(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    stream(film)
    opened = pystream.open(film)
    descriptor = opened.movie.fileno()
    assert descriptor is not None and os.path.samestat(os.fstat(descriptor), film.stat())
    assert pystream.open(film.read_bytes()).movie.fileno() is None


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [garbage, half, another_film])
def test_all_workers_stop_to_serve_what_was_written_over(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    with node_in(tmp_path) as node:
        node.settings("workers = 2\n")
        node.add_film()
        film = tmp_path / "film.mp4"
        set_stream(node, sources=stream(film).sources)
        node.start()
        node.hear("READY=1")
        path = node.film()

        def statuses() -> set[int]:
            """Of many connections, so that each worker has some; 0: it was reset."""
            found = set()
            for _ in range(30):
                connection = http.client.HTTPConnection("127.0.0.1", node.port, timeout=120)
                with closing(connection):
                    try:
                        found.add(fetch(connection, path)[0])
                    except (OSError, http.client.HTTPException):
                        found.add(0)
            return found

        assert statuses() == {200}
        spoil(film)
        until(lambda: statuses() <= {404, 503})
        assert statuses() <= {404, 503}


# Replaced.


def replaced(film: Path) -> None:
    """Another file is where it was, and the old one nowhere."""
    os.replace(shutil.copy(MEDIA / "video_late.mp4", film.with_name("new")), film)


@pytest.mark.slow
def test_who_plays_a_replaced_film_goes_on_whatever_becomes_of_workers(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    with node_in(tmp_path) as node:
        node.settings("workers = 2\n")
        node.add_film()
        set_stream(node, sources=stream(film).sources, encryption="aes-128-per-viewer")
        node.start()
        node.hear("READY=1")
        path = node.film()
        urls = [path, urljoin(path, "index.m3u8")]
        before = [node.get(url)[2] for url in urls]
        replaced(film)

        def goes_on() -> None:
            """On many connections, so that each worker has some."""
            for _ in range(15):
                assert [node.get(url)[2] for url in urls] == before

        def statuses() -> set[int]:
            return {node.get(url)[0] for url in urls for _ in range(15)}

        def kill(pid: int) -> None:
            os.kill(pid, signal.SIGKILL)
            until(lambda: len(node.processes()["worker"] - {pid}) == 2)
            until(lambda: refused_nobody(node))

        goes_on()
        for pid in node.processes()["worker"]:
            kill(pid)
        goes_on()
        for _ in range(2):
            old = node.processes()["worker"]
            node.signal(signal.SIGUSR2)
            node.hear("READY=1")
            until(lambda old=old: not any(map(alive, old)))  # type: ignore[misc]
            goes_on()
        # The new one is another film, at another address.
        assert node.film().split("/")[5] != path.split("/")[5]
        # Nobody gets the old one who could not before: with no grant, or with one for another stream.
        grant = path.split("/")[2]
        assert node.get(path.replace(grant, grant[:-1] + "AB"[grant[-1] == "A"]))[0] == 403
        assert node.get(path.replace("/t/" + grant, "/s"))[0] == 404
        with Store.open(str(node.folder / "pystream.db")) as store:
            store.add_stream("acme", "other", stream(tmp_path / "b.mp4"), who="test", now=0)
        until(lambda: everywhere(lambda: node.get("/acme/other/master.m3u8")[0] == 302))
        other = node.get("/acme/other/master.m3u8")[1]["location"].split("/")[2]
        assert node.get(path.replace(grant, other))[0] == 403
        assert node.get(path.replace(grant, other).replace("/film/", "/other/"))[0] == 404
        # Nor anybody once it is protected otherwise.
        set_stream(node, encryption="aes-128")
        until(lambda: statuses() == {404})
        assert statuses() == {404}
        assert node.stop() == 0
        assert "Traceback" not in node.said() and node.events("bug") == []


def refused_nobody(node: Node) -> bool:
    """Whether each worker answers: what waits in the queue of one that starts is answered, too."""
    return all(node.get("/")[0] == 404 for _ in range(20))


# Broken ones.


def test_a_broken_film_is_opened_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = tmp_path / "film.mp4"
    opened: list[str] = []

    def opening(path: str, name: str, *, opening: Callable[..., Any] = pystream.open) -> object:
        opened.append(path)
        return opening(path)

    monkeypatch.setattr(pystream, "open", opening)
    streams = {"film": stream(film)}
    garbage(film)
    with serving(streams, clock=trio_testing.MockClock()) as server:
        master = server.master("film")
        for _ in range(5):
            assert [server.get(master)[0] for _ in range(3)] == [503] * 3
            assert server.get("/acme/film/session", "POST")[0] == 503
            later(server)
        assert len(opened) == 1
        stream(film)
        later(server)
        assert server.get(master)[0] == 200 and len(opened) == 2


def test_a_missing_film_is_looked_for_once_a_second(tmp_path: Path) -> None:
    film, away = tmp_path / "film.mp4", tmp_path / "away.mp4"
    streams = {"film": stream(film)}
    with serving(streams, clock=trio_testing.MockClock()) as server:
        master = server.master("film")
        assert server.get(master)[0] == 200
        film.rename(away)
        later(server)
        assert server.get(master)[0] == 503
        away.rename(film)
        # It is back, and nobody has looked.
        assert server.get(master)[0] == 503
        later(server)
        assert server.get(master)[0] == 200


def test_settings_that_name_another_film_are_tried_at_once(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    streams = {"film": StreamSettings(sources=("/nowhere/film.mp4",))}
    with serving(streams, clock=trio_testing.MockClock()) as server:
        master = server.master("film")
        assert server.get(master)[0] == 503
        change(server, sources=stream(film).sources)
        assert server.get(master)[0] == 200


def test_visitors_cannot_fill_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    gone = StreamSettings(sources=("/nowhere/film.mp4",), download=True)
    with serving({"film": gone, "other": gone}, clock=trio_testing.MockClock()) as server:
        master = server.master("film")
        download = server.entrance("film", "download.mp4")

        def ask() -> int:
            for _ in range(10):
                assert server.get(master)[0] == server.get(download)[0] == 503
                assert server.get("/acme/film/session", "POST")[0] == 503
                later(server)
            return [record.getMessage() for record in caplog.records].count("film-unavailable")

        # The film, and the download.
        assert ask() == 2
        server.get(server.master("other"))
        assert ask() == 3
        later(server, 60)
        assert ask() == 5


# Long ones.


def lasting(film: Path, hours: float) -> StreamSettings:
    """A stream whose film goes so slowly that it lasts so long."""
    data = bytearray((MEDIA / "ladder_180.mp4").read_bytes().replace(b"edts", b"free"))
    (track,) = pystream.open(bytes(data)).tracks
    # The one delta of all samples (ISO/IEC 14496-12 8.6.1.2).
    at = data.index(b"stts") + 16
    pictures = int.from_bytes(data[at - 4 : at])
    data[at : at + 4] = round(hours * 3600 * track.timescale / pictures).to_bytes(4)
    film.write_bytes(data)
    return StreamSettings(sources=(str(film),))


@pytest.mark.parametrize(("hours", "grant_hours"), [(1.5, 6), (14, 15), (300, 7 * 24)])
def test_who_begins_a_long_film_sees_its_end(
    tmp_path: Path, hours: float, grant_hours: int
) -> None:
    with serving({"film": lasting(tmp_path / "film.mp4", hours)}) as server:
        status, _, body = server.get("/acme/film/session", "POST")
        session = json.loads(body)
        assert status == 200 and session["duration"] == pytest.approx(hours * 3600, rel=0.001)
        expected = session["duration"] + 3600 if grant_hours == 15 else grant_hours * 3600
        assert session["expires"] - time.time() == pytest.approx(expected, abs=30)
        for master in (session["master"], server.master("film")):
            grant, now = master.split("/")[2], int(time.time())
            assert server.answers.grants.check(grant, 1, int(now + expected - 30))
            with pytest.raises(GrantError):
                server.answers.grants.check(grant, 1, int(now + expected + 30))


# Other settings.

SHARED = {"cache": "shared", "pace": None}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"encryption": "aes-128"}),
        ({}, {"encryption": "aes-128-per-viewer"}),
        ({"encryption": "aes-128"}, {}),
        ({"encryption": "aes-128-per-viewer"}, {"encryption": "aes-128"}),
        ({"encryption": "aes-128"}, {"encryption": "aes-128-per-viewer"}),
        (SHARED, {"encryption": "aes-128", **SHARED}),
        ({"encryption": "aes-128", **SHARED}, {"encryption": "aes-128"}),
        ({"encryption": "aes-128"}, {"encryption": "aes-128", **SHARED}),
    ],
)
def test_a_film_of_another_protection_is_gone_with_it(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any]
) -> None:
    """No address leads to other bytes than before, or to what is to be had no more."""
    film = tmp_path / "film.mp4"
    with serving({"film": stream(film, **before)}) as server:
        (path,) = server.media("film")
        segments = server.playlist(path).segments
        urls = [path, *(urljoin(path, each.uri) for each in segments)]
        urls += [urljoin(path, each.key.uri) for each in segments if each.key]
        assert {server.get(url)[0] for url in urls} == {200}
        change(server, title="another", rotate_every=None)
        assert {server.get(url)[0] for url in urls} == {200}
        change(server, **{"encryption": "none", "cache": "private", "pace": 2.0, **after})
        assert {server.get(url)[0] for url in urls} == {404}
        (now,) = server.media("film")
        assert now.split("/")[5] != path.split("/")[5]
        assert {server.get(url)[0] for url in urls} == {404}


def change(server: Server, **changes: Any) -> None:
    before = server.streams["film"]
    settings = replace(before.settings, **changes)
    server.streams["film"] = replace(before, settings=settings, revision=before.revision + 1)


@pytest.mark.slow
def test_the_address_of_a_clear_segment_ends_with_it(tmp_path: Path) -> None:
    with node_in(tmp_path) as node:
        node.settings("workers = 2\n")
        node.add_film()
        set_stream(node, encryption="none", cache="shared")
        node.start()
        node.hear("READY=1")
        path = node.film()
        assert path.startswith("/s/") and {node.get(path)[0] for _ in range(20)} == {200}
        set_stream(node, encryption="aes-128")
        until(lambda: everywhere(lambda: node.get(path)[0] == 404))
        assert {node.get(path)[0] for _ in range(20)} == {404}
