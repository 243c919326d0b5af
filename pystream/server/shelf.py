"""The shelf: open files of films, which the supervisor keeps, so that no worker's end is theirs.

Theory. A file that was replaced by a rename is nowhere but in the descriptors of who has it open. So
that whoever plays the old film goes on with it whatever becomes of workers, each worker puts a film's
descriptors on the shelf when it has opened it (SCM_RIGHTS, unix(7)), and again from time to time while
somebody asks for it. A worker that is asked for a version that it does not have takes it from there:
a new one, one that never had it, one of the next program, to which the supervisor leaves the shelf
with its other descriptors.

Since it hears from all workers, it is also who says, once for all of them, that a film was replaced.

The shelf opens no door: it is asked by workers, for a request that might have had the film from
another worker just so, and its grant was looked at before. What lies there is closed when it was not
put there for an hour, or when others need the room.

The socket has a random name in the abstract namespace, and is kept by the supervisor. Each matter is
a connection: a request, with descriptors or answered by what has them, in MessagePack, a packet each.
Whoever asks while the program is being replaced waits in the socket's queue.
"""

from __future__ import annotations

import array
import os
import resource
import secrets
import socket
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Protocol

import msgspec
import trio

from pystream.server import log
from pystream.server.desk import is_ours

_BACKLOG = 1024
# unix(7): SCM_MAX_FD.
_FILES_OF_A_FILM = 253
_LONGEST_PACKET = 128 * 1024
_MOST = 4096
_KEPT_SECONDS = 3600.0
_SWEEP_SECONDS = 60.0
_PATIENCE_SECONDS = 8.0
_RETRY_SECONDS = 0.05


class Put(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A film, whose descriptors come with it. `about` is for workers: what else they need to open it.
    `replaced`: the stream's name, where a worker has just seen it take another's place."""

    stream: int
    version: str
    about: bytes
    replaced: str = ""


class Take(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Asks for all films of a stream, each of which is answered by `Put`, and then `End`."""

    stream: int


class End(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """There is nothing more."""


_ENCODER = msgspec.msgpack.Encoder()
_ASKED = msgspec.msgpack.Decoder(Put | Take)
_ANSWERED = msgspec.msgpack.Decoder(Put | End)


class _Left(msgspec.Struct, array_like=True):
    """A film as it is left to the next program. `at`: CLOCK_MONOTONIC, which goes on."""

    film: Put
    files: list[int]
    at: float


_LEFT = msgspec.msgpack.Decoder(list[_Left])


class HasDescriptor(Protocol):
    """Something that keeps a file open."""

    def fileno(self) -> int | None: ...


class Descriptor:
    """One that came with a packet; closed with this, unless somebody has taken it over."""

    def __init__(self, number: int) -> None:
        self._number = number

    def take_over(self) -> int:
        number, self._number = self._number, -1
        return number

    def __del__(self) -> None:
        if self._number >= 0:
            os.close(self._number)


def listen() -> int:
    """A socket for the shelf, which the supervisor keeps."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(b"\0pystream-shelf-" + secrets.token_hex(16).encode())
    listener.listen(_BACKLOG)
    return listener.detach()


class Shelf:
    """The supervisor's side: at most `most` descriptors, and a quarter of what the process may have."""

    def __init__(self, most: int = _MOST, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        # What was put there last is at the end.
        self._films: OrderedDict[tuple[int, str], _Left] = OrderedDict()
        # Which version of a stream was told of as new: each worker finds out for itself.
        self._told: dict[int, str] = {}

    async def run(self, listener: int) -> None:
        """Serves workers until it is cancelled."""
        its = trio.socket.fromfd(listener, socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            await self._serve(its)

    async def _serve(self, its: trio.socket.SocketType) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._sweep)
            while True:
                try:
                    peer, _ = await its.accept()
                except OSError as error:
                    log.warning("shelf-line-broken", **log.fault(error))
                    await trio.sleep(_RETRY_SECONDS)
                else:
                    nursery.start_soon(self._talk, peer)

    def descriptors(self) -> list[int]:
        return [number for left in self._films.values() for number in left.files]

    def left(self) -> bytes:
        """All that there is, for the next program, which has the descriptors by the same numbers."""
        return _ENCODER.encode(list(self._films.values()))

    def take_over(self, left: bytes) -> None:
        """What an earlier program has left. Of what this one cannot read, nothing is kept."""
        try:
            found = _LEFT.decode(left)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.warning("shelf-not-taken-over", **log.fault(error))
            return
        for each in found:
            self._films[each.film.stream, each.film.version] = each

    async def _talk(self, peer: trio.socket.SocketType) -> None:
        with peer, trio.move_on_after(_PATIENCE_SECONDS):
            if not is_ours(peer._sock):  # type: ignore[attr-defined]
                return
            try:
                packet, files = await _receive(peer)
                asked = _ASKED.decode(packet)
                if isinstance(asked, Put):
                    self._tell(asked)
                    self._put(asked, files)
                    return
                for (stream, _), each in list(self._films.items()):
                    if stream == asked.stream:
                        await _send(peer, each.film, each.files)
                await _send(peer, End(), [])
            except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
                # A worker that was killed, or another program's: neither ends the shelf.
                log.warning("shelf-line-broken", **log.fault(error))

    def _tell(self, film: Put) -> None:
        if film.replaced and self._told.get(film.stream) != film.version:
            self._told[film.stream] = film.version
            log.info("film-replaced", stream=film.replaced)

    def _put(self, film: Put, files: list[Descriptor]) -> None:
        key = film.stream, film.version
        known = self._films.pop(key, None)
        if known is not None and len(known.files) == len(files):
            known.at = self._clock()
            self._films[key] = known
            _let_go(files)
            return
        if known is not None:
            _let_go(map(Descriptor, known.files))
        if files:
            self._films[key] = _Left(film, [each.take_over() for each in files], self._clock())
        self._make_room()

    def _make_room(self) -> None:
        most = min(self._most, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
        while len(self.descriptors()) > most:
            self._drop(next(iter(self._films)))

    async def _sweep(self) -> None:
        while True:
            await trio.sleep(_SWEEP_SECONDS)
            before = self._clock() - _KEPT_SECONDS
            for key in [key for key, each in self._films.items() if each.at <= before]:
                self._drop(key)

    def _drop(self, key: tuple[int, str]) -> None:
        _let_go(map(Descriptor, self._films.pop(key).files))


def _let_go(files: Iterable[Descriptor]) -> None:
    """Closes them in a thread: a network file system may be told of it, and not answer."""
    held = list(files)
    trio.lowlevel.start_thread_soon(held.clear, lambda _: None)


class Loans:
    """A worker's side. `run` has to be running for what is put there to arrive."""

    def __init__(self, listener: int) -> None:
        with socket.socket(fileno=os.dup(listener)) as named:
            self._name = named.getsockname()
        self._putting: dict[tuple[int, str], tuple[Put, Sequence[HasDescriptor]]] = {}
        self._work = trio.Event()

    def put(self, film: Put, files: Sequence[HasDescriptor]) -> None:
        """Puts a film on the shelf, soon, or says that it is still wanted there."""
        if 0 < len(files) <= _FILES_OF_A_FILM:
            self._putting[film.stream, film.version] = film, files
            self._work.set()

    async def run(self) -> None:
        """Puts what is to be put until it is cancelled."""
        while True:
            await self._work.wait()
            self._work = trio.Event()
            while self._putting:
                film, files = self._putting.pop(next(iter(self._putting)))
                try:
                    with trio.move_on_after(_PATIENCE_SECONDS):
                        async with _connected(self._name) as peer:
                            # They are open as long as what has them is held here.
                            numbers = [each.fileno() for each in files]
                            await _send(peer, film, [n for n in numbers if n is not None])
                except OSError as error:
                    log.warning("film-not-kept", **log.fault(error))

    async def take(self, stream: int) -> list[tuple[Put, list[Descriptor]]]:
        """All films of a stream that are on the shelf; none where it does not answer in some seconds."""
        with trio.move_on_after(_PATIENCE_SECONDS):
            while True:
                with suppress(OSError, msgspec.DecodeError):
                    return await self._taken(stream)
                # It was broken off: the program is being replaced.
                await trio.sleep(_RETRY_SECONDS)
        return []

    async def _taken(self, stream: int) -> list[tuple[Put, list[Descriptor]]]:
        found: list[tuple[Put, list[Descriptor]]] = []
        async with _connected(self._name) as peer:
            await _send(peer, Take(stream), [])
            while True:
                packet, files = await _receive(peer)
                answered = _ANSWERED.decode(packet)
                if isinstance(answered, End):
                    return found
                found.append((answered, files))


@asynccontextmanager
async def _connected(name: bytes) -> AsyncIterator[trio.socket.SocketType]:
    """A connection to the socket of a name, whose other end is ours. Raises `OSError`."""
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as peer:
        await peer.connect(name)
        if not is_ours(peer._sock):  # type: ignore[attr-defined]
            raise OSError("the shelf is another user's")
        yield peer


async def _send(peer: trio.socket.SocketType, message: Put | Take | End, files: list[int]) -> None:
    """Raises `OSError`."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
    await peer.sendmsg([_ENCODER.encode(message)], rights)


async def _receive(peer: trio.socket.SocketType) -> tuple[bytes, list[Descriptor]]:
    """A packet, and the descriptors that came with it. Raises `OSError`, also at the end."""
    numbers = array.array("i")
    room = socket.CMSG_SPACE(_FILES_OF_A_FILM * numbers.itemsize)
    packet, rights, flags, _ = await peer.recvmsg(_LONGEST_PACKET, room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in rights:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
    files = [Descriptor(number) for number in numbers]
    if not packet or flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        _let_go(files)
        raise ConnectionResetError("the other end of the shelf's line is gone, or says too much")
    return packet, files
