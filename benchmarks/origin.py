"""`python -m benchmarks.origin`: pystream's server beside nginx and nginx-vod-module.

Theory. Both servers of a row run at once, each with one worker, on the same processor; the load
comes from another one. They take turns (A B A B), the ratio is taken pair by pair, and what is
printed are medians. What is compared is processor time and not wall time: what all processes of a
server have used between two moments, over the requests or bytes that the load counted between them.
It changes little where others use the machine as well, and it does not matter which side waits for
which, as long as there is always something to do: so the share of the processor that each server
used is printed beside it.

All servers read from the page cache; files, playlists and segments are the same bytes on both sides
where nginx has files, and the same film at the same segment duration where it packages. A row whose
peer is missing says so.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urljoin, urlsplit

from benchmarks import inputs, servers
from benchmarks.load import Asking, ask, holding
from benchmarks.peers import cpu_name, note, show
from benchmarks.servers import Server, Unavailable, addresses, entrance
from pystream.acl.streams import StreamSettings
from pystream.rehearsal import watching
from pystream.rehearsal.players import first_variant

_FILMS = 40
_SEGMENTS = 100
_CACHE_BYTES = 1 << 30
_VIEWERS_CACHE_BYTES = 256 << 20
_SAMPLE_SECONDS = 0.2
_GB = 1e9
_MB = 1e6


@dataclass(frozen=True, slots=True)
class Turn:
    """One run of the load against one server: what the load found, and processor seconds."""

    load: dict[str, Any]
    cpu: float

    @property
    def busy(self) -> float:
        """The share of a processor that the server used."""
        return self.cpu / float(self.load["seconds"])

    @property
    def per_request(self) -> float:
        return self.cpu / max(1.0, float(self.load["requests"]))

    @property
    def per_gb(self) -> float:
        return self.cpu / max(1.0, float(self.load["bytes"])) * _GB


@dataclass(slots=True)
class Line:
    """A line of the table: `ours` and `theirs` with their units, `wanted` of the two."""

    what: str
    ours: str
    theirs: str = ""
    ratio: str = ""
    wanted: str = ""
    met: bool | None = None
    remark: str = ""
    turns: list[dict[str, Any]] = field(default_factory=list)

    def cells(self) -> list[str]:
        met = {True: "yes", False: "no", None: ""}[self.met]
        return [self.what, self.ours, self.theirs, self.ratio, self.wanted, met, self.remark]


class Bench:
    """What all rows of one call share."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.folder = folder

    def film(self, seconds: float, **changes: Any) -> StreamSettings:
        """The 8 Mbit/s film, encrypted, as fast as it can."""
        return self.stream(inputs.film(self.options.small), seconds, **changes)

    @staticmethod
    def stream(source: Path, seconds: float = 6, **changes: Any) -> StreamSettings:
        settings = {"encryption": "aes-128", "pace": None, **changes}
        return StreamSettings(
            sources=(str(source),), segment_duration_ms=round(seconds * 1000), **settings
        )

    @contextlib.contextmanager
    def both(
        self,
        streams: dict[str, StreamSettings],
        *,
        packaging: float | None = None,
        workers: int = 1,
        pinned: bool = True,
        cache: int = 0,
    ) -> Iterator[tuple[Server, Server | Unavailable, Path]]:
        """pystream and nginx, and the folder of nginx's files. With `packaging`, seconds a segment,
        nginx-vod-module has the streams' first sources."""
        cores = self.options.server_core if pinned else None
        root = Path(tempfile.mkdtemp(dir=self.folder))
        films = None
        if packaging is not None:
            films = root / "films"
            films.mkdir()
            for name, stream in streams.items():
                (films / f"{name}.mp4").symlink_to(stream.sources[0])
        with ExitStack() as stack:
            ours = stack.enter_context(
                servers.pystream(streams, self.folder, cores=cores, workers=workers, cache=cache)
            )
            theirs: Server | Unavailable
            try:
                theirs = stack.enter_context(
                    servers.nginx(
                        root,
                        self.folder,
                        films=films,
                        segment_seconds=packaging or 6,
                        cores=cores,
                        workers=workers,
                    )
                )
            except Unavailable as missing:
                theirs = missing
            yield ours, theirs, root
        shutil.rmtree(root)

    def turn(
        self, server: Server, urls: Sequence[str], *arguments: str, pinned: bool = True
    ) -> Turn:
        """One run of the load, on a processor of its own if `pinned`."""
        listed = self.folder / "urls.txt"
        listed.write_text("\n".join(urls) + "\n")
        command = ["taskset", "--cpu-list", self.options.client_core] if pinned else []
        command += [sys.executable, "-m", "benchmarks.load", f"@{listed}", "--json"]
        if "--seconds" not in arguments:
            command += ["--seconds", str(self.options.seconds)]
        before = server.cpu()
        done = subprocess.run(
            [*command, *arguments], cwd=inputs.ROOT, capture_output=True, text=True
        )
        cpu = server.cpu() - before
        try:
            load = json.loads(done.stdout)
        except ValueError:
            raise Unavailable(f"the load failed: {done.stderr.strip()[-200:]}") from None
        return Turn(load, cpu)

    def pairs(
        self,
        ours: tuple[Server, Sequence[str]],
        theirs: tuple[Server, Sequence[str]] | None,
        *arguments: str,
    ) -> tuple[list[Turn], list[Turn]]:
        """Turns of both, one after the other; a short one before is not counted."""
        found: tuple[list[Turn], list[Turn]] = ([], [])
        sides = [ours] if theirs is None else [ours, theirs]
        for server, urls in sides:
            self.turn(server, urls, *arguments, "--seconds", "0.5")
        for _ in range(self.options.turns):
            for turns, (server, urls) in zip(found, sides, strict=False):
                turns.append(self.turn(server, urls, *arguments))
        return found

    def export(self, root: Path, found: servers.Addresses, count: int = 0) -> list[str]:
        """Writes a playlist, the key and `count` segments to where nginx has its files; returns the
        segments' paths."""
        text = servers.get(found.playlist)[1]
        (root / "index.m3u8").write_bytes(text)
        (root / "index.m3u8.gz").write_bytes(gzip.compress(text, 6, mtime=0))
        if found.key:
            (root / "key").write_bytes(servers.get(found.key)[1])
        paths = []
        for n, url in enumerate(found.segments[:count]):
            (root / f"{n}.ts").write_bytes(servers.get(url)[1])
            paths.append(f"/{n}.ts")
        return paths


# Rows.


def compared(
    what: str,
    turns: tuple[list[Turn], list[Turn]],
    *,
    unit: str,
    value: Callable[[Turn], float],
    limit: float,
    at_least: bool = False,
    peer: str = "nginx",
    missing: Unavailable | None = None,
) -> Line:
    """A line of what one unit costs, or how many of it there are for a second (`at_least`)."""
    ours, theirs = turns
    sign = ">=" if at_least else "<="
    wanted = f"{sign} {limit:g} x {peer}"
    line = Line(what, _value(ours, value, unit), wanted=wanted)
    line.turns = [{"side": n, **asdict(turn)} for n, side in enumerate(turns) for turn in side]
    line.remark = _remark(ours, theirs)
    if not theirs:
        line.theirs = str(missing or "no peer")
        return line
    ratio = median(value(a) / value(b) for a, b in zip(ours, theirs, strict=True))
    line.theirs = _value(theirs, value, unit)
    line.ratio = f"{ratio:.2f}"
    line.met = ratio >= limit if at_least else ratio <= limit
    return line


def _value(turns: list[Turn], value: Callable[[Turn], float], unit: str) -> str:
    found = median(map(value, turns))
    return f"{found:,.0f} {unit}" if found >= 100 else f"{found:.3f} {unit}"


def _remark(ours: list[Turn], theirs: list[Turn]) -> str:
    shares = "/".join(f"{median(t.busy for t in side):.0%}" for side in (ours, theirs) if side)
    parts = [f"busy {shares}"]
    for name, side in (("pystream", ours), ("peer", theirs)):
        for kind in sorted({kind for turn in side for kind in turn.load["errors"]}):
            parts.append(f"{name}: {kind}")
    ciphers = {name for side in (ours, theirs) for turn in side for name in turn.load["ciphers"]}
    return "; ".join([*parts, *sorted(filter(None, ciphers))])


def _side(peer: Server | Unavailable, urls: Sequence[str]) -> tuple[Server, Sequence[str]] | None:
    return None if isinstance(peer, Unavailable) else (peer, urls)


def _missing(peer: Server | Unavailable) -> Unavailable | None:
    return peer if isinstance(peer, Unavailable) else None


def _rate(turn: Turn) -> float:
    return 1 / max(turn.per_request, 1e-9)


def playlists(bench: Bench) -> Iterator[Line]:
    """As browsers ask for it, with a grant and metered; and compressed."""
    film = bench.stream(inputs.feature(bench.options.small))
    with bench.both({"feature": film}) as (ours, theirs, root):
        found = addresses(entrance(ours, "feature"))
        bench.export(root, found)
        peer = _side(theirs, [_at(theirs, "/index.m3u8")])
        size = (root / "index.m3u8").stat().st_size / 1000
        packed = (root / "index.m3u8.gz").stat().st_size / 1000
        for title, options in (
            (f"playlist of a 90-minute film, {size:.1f} KB, 50 connections", ()),
            (f"the same, gzip, {packed:.1f} KB", ("--gzip",)),
        ):
            yield compared(
                title,
                bench.pairs((ours, [found.playlist]), peer, "--connections", "50", *options),
                unit="requests a CPU-second",
                value=_rate,
                limit=0.4,
                at_least=True,
                missing=_missing(theirs),
            )


def made(bench: Bench) -> Iterator[Line]:
    """No cache, TS, AES-128; the peer packages as well."""
    with bench.both({"film": bench.film(1.5)}, packaging=1.5) as (ours, theirs, _):
        urls = addresses(entrance(ours, "film")).segments[:_SEGMENTS]
        peer = _packaged(theirs, "film")
        yield compared(
            "TS segments of 1.5 MB, made and AES-128 per request, 50 connections",
            bench.pairs((ours, urls), peer, "--connections", "50"),
            unit="CPU-s/GB",
            value=lambda turn: turn.per_gb,
            limit=0.5,
            peer="nginx-vod",
            missing=_missing(theirs),
        )


def _packaged(peer: Server | Unavailable, film: str) -> tuple[Server, Sequence[str]] | None:
    if isinstance(peer, Unavailable):
        return None
    return peer, addresses(f"{peer.clear}/vod/{film}.mp4/index.m3u8").segments[:_SEGMENTS]


def from_cache(bench: Bench) -> Iterator[Line]:
    return _beside_files(bench, "the same segments from the shared cache", 1.1, cached=True)


def from_cache_tls(bench: Bench) -> Iterator[Line]:
    title = "the same from the shared cache over TLS"
    return _beside_files(bench, title, 0.7, cached=True, secure=True)


def made_tls(bench: Bench) -> Iterator[Line]:
    return _beside_files(bench, "made, AES-128 and TLS", 1.0, secure=True)


def _beside_files(
    bench: Bench, title: str, limit: float, *, cached: bool = False, secure: bool = False
) -> Iterator[Line]:
    """The same bytes from files of nginx's."""
    cache = _CACHE_BYTES if cached else 0
    with bench.both({"film": bench.film(1.5)}, cache=cache) as (ours, theirs, root):
        found = addresses(entrance(ours, "film"))
        paths = bench.export(root, found, _SEGMENTS)
        urls = [_secured(ours, url) if secure else url for url in found.segments[:_SEGMENTS]]
        if cached:
            # What several ask for is kept: so that it is, each is asked for twice more.
            for url in found.segments[:_SEGMENTS] * 2:
                servers.get(url)
        peer = _side(theirs, [_at(theirs, path, secure) for path in paths])
        yield compared(
            title,
            bench.pairs((ours, urls), peer, "--connections", "50"),
            unit="CPU-s/GB",
            value=lambda turn: turn.per_gb,
            limit=limit,
            peer="nginx TLS" if secure else "nginx",
            missing=_missing(theirs),
        )


def _at(peer: Server | Unavailable, path: str, secure: bool = False) -> str:
    if isinstance(peer, Unavailable):
        return ""
    return (peer.secure if secure else peer.clear) + path


def _secured(server: Server, url: str) -> str:
    return server.secure + urlsplit(url).path


def handshakes(bench: Bench) -> Iterator[Line]:
    """A connection for each request, of 16 bytes; then with tickets, over two workers."""
    streams = {"film": bench.film(6)}
    for title, workers, options in (
        ("TLS handshakes, each with a request for a key", 1, ()),
        ("the same, resumed, two workers", 2, ("--resume",)),
    ):
        with bench.both(streams, workers=workers) as (ours, theirs, root):
            found = addresses(entrance(ours, "film"))
            bench.export(root, found)
            turns = bench.pairs(
                (ours, [_secured(ours, found.key or "")]),
                _side(theirs, [_at(theirs, "/key", True)]),
                *("--connections", "16", "--fresh", *options),
            )
            line = compared(
                title,
                turns,
                unit="a CPU-second",
                value=_rate,
                limit=0.5,
                at_least=True,
                missing=_missing(theirs),
            )
            if options:
                shares = [
                    sum(t.load["resumed"] for t in side)
                    / max(1, sum(t.load["handshakes"] for t in side))
                    for side in turns
                    if side
                ]
                line.remark = f"resumed {'/'.join(f'{s:.1%}' for s in shares)}; {line.remark}"
            yield line


def first_byte(bench: Bench) -> Iterator[Line]:
    """One viewer alone, who asks for segments that have to be made."""
    with bench.both({"film": bench.film(1.5)}, packaging=1.5) as (ours, theirs, _):
        urls = addresses(entrance(ours, "film")).segments[:_SEGMENTS]
        peer = _packaged(theirs, "film")
        turns = bench.pairs((ours, urls), peer, "--connections", "1")
        line = Line("first byte of a made segment, one viewer, p50/p99", "")
        line.wanted = "<= 0.6/3 ms"
        line.turns = [{"side": n, **asdict(turn)} for n, side in enumerate(turns) for turn in side]
        line.remark = _remark(*turns)
        p50, p99 = (median(t.load["first_byte"][p] * 1e3 for t in turns[0]) for p in ("p50", "p99"))
        line.ours = f"{p50:.2f}/{p99:.2f} ms"
        line.met = p50 <= 0.6 and p99 <= 3
        if turns[1]:
            theirs_p = (
                median(t.load["first_byte"][p] * 1e3 for t in turns[1]) for p in ("p50", "p99")
            )
            line.theirs = "/".join(f"{value:.2f}" for value in theirs_p) + " ms"
        else:
            line.theirs = str(theirs)
        yield line


def viewers_spread(bench: Bench) -> Iterator[Line]:
    return _viewers(bench, "spread over the film")


def viewers_together(bench: Bench) -> Iterator[Line]:
    return _viewers(bench, "all at once", "--together")


def _viewers(bench: Bench, how: str, *arguments: str) -> Iterator[Line]:
    """Two workers on all processors, which the load shares with them."""
    options = bench.options
    line = Line(f"{options.viewers:,} viewers at 4 Mbit/s, {how}", "")
    line.wanted = "none late, RSS <= 300 MB, TCP <= 400 MB, lag <= 10 ms"
    arguments += ("--viewers", str(options.viewers), "--seconds", str(options.play_seconds))
    film = bench.stream(inputs.feature(options.small), pace=2.0)
    found, lag = [], None
    with bench.both(
        {"feature": film}, packaging=6, workers=2, pinned=False, cache=_VIEWERS_CACHE_BYTES
    ) as (ours, theirs, _):
        sides: list[tuple[Server, str]] = [(ours, entrance(ours, "feature"))]
        if isinstance(theirs, Unavailable):
            line.theirs = str(theirs)
        else:
            sides.append((theirs, f"{theirs.clear}/vod/feature.mp4/index.m3u8"))
        before = servers.lags(ours)
        for server, url in sides:
            with sampled(server) as memory:
                turn = bench.turn(server, [url], *arguments, pinned=False)
            found.append((turn, memory))
            if server is ours:
                lag = _percentile(before, servers.lags(ours), 0.99)
    line.ours, *rest = (_played(turn, memory) for turn, memory in found)
    line.ours += ", lag unknown" if lag is None else f", lag p99 <= {lag * 1e3:g} ms"
    line.theirs = rest[0] if rest else line.theirs
    line.turns = [{"side": n, **asdict(turn), **memory} for n, (turn, memory) in enumerate(found)]
    turn, memory = found[0]
    line.remark = _remark([turn], [turn for turn, _ in found[1:]])
    line.remark += f"; load {turn.load['own_cpu'] / turn.load['seconds']:.0%}"
    line.met = bool(
        not turn.load["late"]
        and not turn.load["errors"]
        and memory["rss"] <= 300 * _MB
        and memory["tcp"] <= 400 * _MB
        and lag is not None
        and lag <= 0.01
    )
    yield line


def _percentile(
    before: dict[float, float], after: dict[float, float], share: float
) -> float | None:
    """The bound of a cumulative histogram below which such a share of what came since lies."""
    counts = {bound: count - before.get(bound, 0.0) for bound, count in sorted(after.items())}
    total = max(counts.values(), default=0.0)
    return next(
        (bound for bound, count in counts.items() if total and count >= share * total), None
    )


def _played(turn: Turn, memory: dict[str, int]) -> str:
    load = turn.load
    begun = f"{load['start']['p99']:.1f} s" if load["start"] else "never"
    return (
        f"{load['late']} late, start p99 {begun}, "
        f"{load['bytes'] * 8 / load['seconds'] / 1e9:.2f} Gbit/s, {turn.per_gb:.2f} CPU-s/GB, "
        f"RSS {memory['rss'] / _MB:.0f} MB, TCP {memory['tcp'] / _MB:.0f} MB"
    )


@contextlib.contextmanager
def sampled(server: Server) -> Iterator[dict[str, int]]:
    """The most memory that a server's workers, and the kernel's sockets, have held meanwhile."""
    most = {"rss": 0, "tcp": 0}
    done = threading.Event()

    def sample() -> None:
        while not done.wait(_SAMPLE_SECONDS):
            most["rss"] = max(most["rss"], server.rss())
            most["tcp"] = max(most["tcp"], watching.tcp_memory())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield most
    finally:
        done.set()
        thread.join()


def half_day(bench: Bench) -> Iterator[Line]:
    """Streams of one film each count as films of their own, so each is opened anew: by the first request
    for it, which gives a grant."""
    film = bench.stream(inputs.half_day(bench.options.small))
    names = [f"film{n}" for n in range(1 + bench.options.turns)]
    with bench.both(dict.fromkeys(names, film), packaging=6) as (ours, theirs, _):
        own, peers, opened = [], [], []
        for name in names[1:]:
            begin = time.perf_counter()
            master = servers.granted(ours, name)
            opened.append((time.perf_counter() - begin) * 1e3)
            variant = first_variant(servers.get(master)[1]) or ""
            own.append(_first_and_after(urljoin(master, variant)))
            if not isinstance(theirs, Unavailable):
                peers.append(_first_and_after(f"{theirs.clear}/vod/{name}.mp4/index.m3u8"))
        first, after = (median(column) for column in zip(*own, strict=True))
        line = Line(
            "playlist of a 12-hour film, first/after",
            f"{first:.1f}/{after:.2f} ms, {median(opened):.0f} ms before it to open the film",
        )
        line.wanted = "<= 30/3 ms"
        line.met = first <= 30 and after <= 3
        line.remark = "the peer opens the film for its first one"
        if peers:
            times = (median(column) for column in zip(*peers, strict=True))
            line.theirs = "/".join(f"{time:.2f}" for time in times) + " ms"
        else:
            line.theirs = str(theirs)
        yield line


def _first_and_after(url: str) -> tuple[float, float]:
    """Milliseconds of the first response, and the median of some after it."""
    tally = ask([url], Asking(1, 60.0, requests=20))
    if tally.errors:
        raise Unavailable(f"{url}: {dict(tally.errors)}")
    first, *after = (seconds * 1e3 for seconds in tally.wholes)
    return first, median(after)


def opening(bench: Bench) -> Iterator[Line]:
    """As after a start: a worker knows none of the films that all at once are asked for."""
    films = {"half day": inputs.half_day, "90 minutes": inputs.feature}
    for what, film in films.items():
        source = film(bench.options.small)
        names = [f"film{n}" for n in range(_FILMS)]
        found: list[float | None] = []
        lasted: list[float] = []
        for _ in range(bench.options.turns):
            stream = bench.stream(source)
            with bench.both(dict.fromkeys(names, stream), pinned=False) as (ours, *_):
                masters = [servers.granted(ours, name) for name in names]
                before, begin = servers.lags(ours), time.perf_counter()
                with ThreadPoolExecutor(_FILMS) as threads:
                    lines = [*threads.map(lambda url: servers.get(url)[1], masters)]
                lasted.append(time.perf_counter() - begin)
                if not all(lines):
                    raise Unavailable(f"{source}: not all of {_FILMS} films could be opened")
                after = servers.lags(ours)
                found += [_percentile(before, after, share) for share in (0.99, 1)]
        p99, most = (
            max(lag for lag in side if lag is not None) * 1e3 for side in (found[::2], found[1::2])
        )
        line = Line(f"{_FILMS} films of {what} opened at once, lag p99/max", "")
        line.ours = f"<= {p99:g}/{most:g} ms, all open after {median(lasted):.1f} s"
        line.wanted = "<= 10/20 ms"
        line.met = p99 <= 10 and most <= 20
        line.remark = "the worst of the turns; classes of /metrics"
        yield line


def idle(bench: Bench) -> Iterator[Line]:
    """Keep-alive connections that have asked once."""
    streams = {"film": bench.film(6)}
    count = bench.options.idle
    for secure, most in ((False, 120), (True, 300)):
        title = f"{count:,} idle connections{', TLS' if secure else ''}"
        with bench.both(streams) as (ours, theirs, root):
            found = addresses(entrance(ours, "film"))
            bench.export(root, found)
            key = _secured(ours, found.key or "") if secure else found.key or ""
            held, grown = _held(ours, key, count)
            line = Line(title, f"{held / _MB:.0f} MB (+{grown / _MB:.0f})")
            line.wanted = f"<= {most} MB"
            line.met = held <= most * _MB
            if isinstance(theirs, Unavailable):
                line.theirs = str(theirs)
            else:
                held, grown = _held(theirs, _at(theirs, "/key", secure), count)
                line.theirs = f"{held / _MB:.0f} MB (+{grown / _MB:.0f})"
            yield line


def _held(server: Server, url: str, count: int) -> tuple[int, int]:
    """RSS of a server's workers with so many connections, and what of it is theirs."""
    before = server.rss()
    with holding(url, count) as opened:
        if opened < count:
            raise Unavailable(f"{server.name}: only {opened} of {count} connections stayed open")
        held = server.rss()
    return held, held - before


def unknown(bench: Bench) -> Iterator[Line]:
    """Each another path of another tenant that is not there: none may be remembered."""
    count = bench.options.unknown
    with bench.both({"film": bench.film(6)}) as (ours, *_):
        # What is made once, such as buffers, is there after some.
        _ask_for_nothing(ours, count // 50)
        before = ours.rss()
        seconds = _ask_for_nothing(ours, count)
        grown = ours.rss() - before
    line = Line(f"{count:,} unknown paths", f"+{grown / _MB:.1f} MB, {count / seconds:,.0f}/s")
    line.wanted = "<= +5 MB"
    line.met = grown <= 5 * _MB
    yield line


def _ask_for_nothing(server: Server, count: int) -> float:
    """Seconds that so many 404 take, on one connection."""
    address = urlsplit(server.clear)
    group = 16
    begin = time.perf_counter()
    with socket.create_connection((address.hostname, address.port)) as peer:
        peer.settimeout(60)
        for _ in range(0, count, group):
            paths = [secrets.token_hex(16) for _ in range(group)]
            head = f"Host: {address.netloc}"
            requests = [f"GET /{path[:8]}/{path}/ HTTP/1.1\r\n{head}\r\n\r\n" for path in paths]
            peer.sendall("".join(requests).encode())
            answered = b""
            while answered.count(b"HTTP/1.1 404 ") < group or not _is_whole(answered):
                piece = peer.recv(1 << 16)
                if not piece:
                    raise Unavailable(f"{server.name}: hung up on who asks for what is not there")
                answered += piece
    return time.perf_counter() - begin


def _is_whole(answers: bytes) -> bool:
    """Whether the last one has come to its end."""
    head, _, body = answers[answers.rindex(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")
    found = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
    return found is not None and len(body) == int(found[1])


Rows = dict[str, Callable[[Bench], Iterator[Line]]]

ROWS: Rows = {
    "playlist": playlists,
    "made": made,
    "cache": from_cache,
    "cache-tls": from_cache_tls,
    "made-tls": made_tls,
    "handshakes": handshakes,
    "first-byte": first_byte,
    "spread": viewers_spread,
    "together": viewers_together,
    "half-day": half_day,
    "opening": opening,
    "idle": idle,
    "unknown": unknown,
}
_HEAD = ["", "pystream", "peer", "ratio", "wanted", "met", ""]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns 1 where a row could not be measured."""
    return measure(ROWS, _parser().parse_args(arguments), _HEAD)


def measure(rows: Rows, options: argparse.Namespace, head: list[str]) -> int:
    """Measures and prints what `parser` was asked for; returns 1 where a row could not be measured, and
    2 where one is none."""
    if strange := [name for name in options.rows if name not in rows]:
        note(f"no such row: {', '.join(strange)}. There are {', '.join(rows)}")
        return 2
    # So that servers end and folders go as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    lines: list[Line] = []
    failed = False
    with tempfile.TemporaryDirectory(prefix="pystream-bench-", dir=options.output) as folder:
        bench = Bench(options, Path(folder))
        for name in options.rows or rows:
            note(name)
            try:
                lines += rows[name](bench)
            except Unavailable as missing:
                lines.append(Line(name, f"not measured: {missing}"))
                failed = True
    print(f"{cpu_name()}; turns of {options.seconds:g} s\n")
    show([line.cells() for line in lines], head, options.markdown)
    if options.json:
        found = {"machine": cpu_name(), "lines": [asdict(line) for line in lines]}
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n")
    return int(failed)


def parser(module: str, doc: str | None, epilog: str) -> argparse.ArgumentParser:
    """What is asked of each of these benchmarks."""
    asked = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=doc.split("\n", 1)[1] if doc else None,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = asked.add_argument
    add("rows", nargs="*", metavar="ROW", help="which rows (default: all)")
    add("--turns", type=int, default=3, metavar="N", help="of each side (default: 3)")
    add("--seconds", type=float, default=4, metavar="S", help="of each turn (default: 4)")
    add("--server-core", default="1", metavar="LIST", help="processors of servers (default: 1)")
    add("--client-core", default="0", metavar="LIST", help="processors of the load (default: 0)")
    add("--small", action="store_true", help="on the project's own clip, to try it out")
    add(
        "--output",
        default=tempfile.gettempdir(),
        metavar="DIR",
        help="for what is written meanwhile",
    )
    add("--markdown", action="store_true", help="print a Markdown table")
    add("--json", metavar="FILE", help="write everything measured, turn by turn")
    return asked


def _parser() -> argparse.ArgumentParser:
    asked = parser("benchmarks.origin", __doc__, _EPILOG)
    add = asked.add_argument
    add("--viewers", type=int, default=1000, metavar="N", help="who play (default: 1000)")
    add("--play-seconds", type=float, default=60, metavar="S", help="for so long (default: 60)")
    add("--idle", type=int, default=10_000, metavar="N", help="idle connections (default: 10000)")
    add("--unknown", type=int, default=1_000_000, metavar="N", help="paths (default: 1000000)")
    return asked


_EPILOG = f"""\
rows:
  {" ".join(ROWS)}

columns:
  per CPU-second and CPU-s/GB count the processor time of all processes of a server; medians over the
  turns, the ratio pair by pair. busy: how much of a processor each server used meanwhile; where that
  is little, the load was too weak to say much. MB of memory are resident bytes of all workers.

environment:
  PYSTREAM_BENCH_CACHE    where inputs are kept (default: pystream-bench in $TMPDIR)
  PYSTREAM_BENCH_NGINX    nginx, where it is not on the PATH
  PYSTREAM_BENCH_VOD      nginx-vod-module's .so; how to build it: python -c 'help("benchmarks.servers")'

The inputs are made once, by an ffmpeg with libx264, and take 5 GB.
"""


if __name__ == "__main__":
    sys.exit(main())
