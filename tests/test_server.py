"""The server over real sockets: what it answers, and what it does to connections."""

from __future__ import annotations

import gc
import gzip
import http.client
import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import pytest
import trio
from Crypto.Cipher import AES
from Crypto.Util.Padding import unpad

import pystream
from pystream import _core
from pystream import playlist as playlists
from pystream.acl.grants import PICTURES, Grants
from pystream.acl.keys import Keyring
from pystream.acl.streams import Stream, StreamSettings
from pystream.server import http as protocol
from pystream.server.answers import Answer, Answers
from pystream.server.connections import Connections, Limits
from pystream.server.http import Fields, Request
from pystream.server.origin import Origin, Source
from tests.waiting import pause

trio_testing = pytest.importorskip("trio.testing")

MEDIA = Path(__file__).parent / "media"
NOW = 1_900_000_000


class Server:
    """A server in a thread of its own, on a port of its own."""

    def __init__(self, streams: dict[str, StreamSettings], **options: Any) -> None:
        self.streams = {
            name: Stream(
                id=number,
                tenant_id=1,
                tenant="acme",
                name=name,
                settings=settings,
                created_at=NOW,
                removed_at=None,
                revision=1,
            )
            for number, (name, settings) in enumerate(streams.items(), 1)
        }
        keyring = Keyring(bytes(range(32)))
        self.meter = _core.Meter(_core.Meter.create(1024))
        limits = options.pop("limits", Limits())
        self.clock = options.pop("clock", None)
        self.delivery = _core.Delivery(64 * 1024, 30_000, options.pop("cache", None))
        self.origin = options.pop("origin", None) or Origin(1 << 24)
        self.answers = Answers(
            lambda tenant, name: self.streams.get(name) if tenant == "acme" else None,
            Grants(*keyring.grant_keys(NOW)),
            keyring.content_key,
            self.origin,
            **options,
        )
        self.connections = Connections(self.answers.answer, self.delivery, self.meter, limits)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def get(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=named)
            answer = connection.getresponse()
            fields = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, fields, answer.read()
        finally:
            connection.close()

    def raw(self, data: bytes) -> bytes:
        """What comes back, up to the end of the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as peer:
            peer.sendall(data)
            return b"".join(iter(lambda: peer.recv(65536), b""))

    def master(self, name: str) -> str:
        return self.entrance(name, "master.m3u8")

    def entrance(self, name: str, to: str) -> str:
        """Where one who comes in is sent."""
        status, headers, _ = self.get(f"/acme/{name}/{to}")
        assert status == 302
        return headers["location"]

    def playlist(self, path: str) -> playlists.MediaPlaylist:
        status, _, body = self.get(path)
        assert status == 200, body
        parsed = playlists.parse(body.decode())
        assert isinstance(parsed, playlists.MediaPlaylist)
        return parsed

    def media(self, name: str) -> list[str]:
        """Paths of a stream's media playlists."""
        master = self.master(name)
        parsed = playlists.parse(self.get(master)[2].decode())
        assert isinstance(parsed, playlists.MultivariantPlaylist)
        found = [variant.uri for variant in parsed.variants]
        found += [rendition.uri for rendition in parsed.renditions if rendition.uri]
        return [urljoin(master, uri) for uri in found]


@contextmanager
def serving(streams: dict[str, StreamSettings], **options: Any) -> Iterator[Server]:
    trio = pytest.importorskip("trio")
    server = Server(streams, **options)
    started = threading.Event()
    ended: list[BaseException] = []
    stop: list[Any] = []

    async def main() -> None:
        with trio.CancelScope() as scope:
            token = trio.lowlevel.current_trio_token()
            stop.append(lambda: token.run_sync_soon(scope.cancel))
            async with trio.open_nursery() as nursery:
                await nursery.start(server.connections.run, [server.listener])
                nursery.start_soon(server.answers.watch)
                started.set()

    def run() -> None:
        try:
            trio.run(main, clock=server.clock)
        except BaseException as error:
            ended.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run)
    thread.start()
    started.wait(30)
    try:
        yield server
    finally:
        if stop:
            stop[0]()
        thread.join(30)
        server.listener.close()
    if ended:
        raise ended[0]


def settings(*names: str, **changes: Any) -> StreamSettings:
    return StreamSettings(sources=tuple(str(MEDIA / name) for name in names), **changes)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    streams = {
        "clear": settings("plain.mp4", segment_duration_ms=1000),
        "sealed": settings(
            "plain.mp4", segment_duration_ms=1000, encryption="aes-128", rotate_every=2
        ),
        "many": settings(
            "intra.mp4", segment_duration_ms=100, encryption="aes-128", rotate_every=1
        ),
        "fragments": settings(
            "plain.mp4", segment_duration_ms=1000, encryption="aes-128", format="fmp4"
        ),
        "shared": settings("plain.mp4", encryption="aes-128", cache="shared", pace=None),
        "sited": settings("plain.mp4", origins=("https://clinic.example",)),
        "gone": StreamSettings(sources=("/nowhere/film.mp4",)),
    }
    with serving(streams) as running:
        yield running


def decrypt(data: bytes, key: bytes, iv: bytes) -> bytes:
    return unpad(AES.new(key, AES.MODE_CBC, iv).decrypt(data), 16)


def planned(name: str, format: str = "ts") -> pystream.Presentation:
    return pystream.plan([pystream.open(MEDIA / name)], format=format, segment_duration=1)


def test_clear_segments_are_what_the_library_makes(server: Server) -> None:
    (path,) = server.media("clear")
    (rendition,) = planned("plain.mp4").renditions
    listed = server.playlist(path)
    assert [segment.duration_us for segment in listed.segments] == list(rendition.durations_us)
    for n, segment in enumerate(listed.segments):
        status, headers, body = server.get(urljoin(path, segment.uri))
        assert status == 200 and headers["content-type"] == "video/mp2t"
        assert body == bytes(rendition.segment(n))


@pytest.mark.parametrize("name", ["sealed", "fragments"])
def test_pain_47_credential_in_every_uri(server: Server, name: str) -> None:
    """Master, media playlists, maps, keys and segments, by relative URIs alone, decrypt to the clear twin."""
    format = "ts" if name == "sealed" else "fmp4"
    twins = planned("plain.mp4", format).renditions
    for path, twin in zip(server.media(name), twins, strict=True):
        listed = server.playlist(path)
        for n, segment in enumerate(listed.segments):
            assert segment.key is not None
            status, headers, key = server.get(urljoin(path, segment.key.uri))
            assert (status, len(key)) == (200, 16)
            # Pain 43: a player may ask for the key at each segment.
            assert headers["cache-control"].startswith("private, max-age=")
            _, _, body = server.get(urljoin(path, segment.uri))
            iv = segment.key.iv or n.to_bytes(16)
            assert decrypt(body, key, iv) == bytes(twin.segment(n))
        if format == "fmp4":
            mapped = listed.segments[0].map
            assert mapped is not None and mapped.key is not None and mapped.key.iv is not None
            _, _, body = server.get(urljoin(path, mapped.uri))
            _, _, key = server.get(urljoin(path, mapped.key.uri))
            assert decrypt(body, key, mapped.key.iv) == twin.inits()[0]


def test_rotation_has_a_key_for_each_period(server: Server) -> None:
    (path,) = server.media("sealed")
    keys = [segment.key for segment in server.playlist(path).segments]
    uris = [key.uri for key in keys if key is not None]
    assert len(uris) == len(keys) and len(set(uris)) == -(-len(uris) // 2)
    assert len({server.get(urljoin(path, uri))[2] for uri in set(uris)}) == len(set(uris))
    # A key has one name, and what is no period has none.
    name = uris[0].split("/")[-1].removesuffix("0.key")
    for other in (
        f"{len(uris)}.key",
        "00.key",
        "-1.key",
        "+1.key",
        "\u0661.key",
        ".key",
        "0",
        f"{10**30}.key",
    ):
        uri = urljoin(path, f"key/{name}{quote(other)}")
        assert server.get(uri)[0] == 404, other


@pytest.mark.parametrize(
    ("asked", "cut"),
    [("bytes=0-1", (0, 2)), ("bytes=5000-70000", (5000, 70001)), ("bytes=-7", (-7, None))],
)
@pytest.mark.parametrize("name", ["clear", "sealed"])
def test_pain_71_ranges(server: Server, name: str, asked: str, cut: tuple[int, int | None]) -> None:
    (path,) = server.media(name)
    uri = urljoin(path, server.playlist(path).segments[0].uri)
    status, headers, whole = server.get(uri)
    assert status == 200 and headers["accept-ranges"] == "bytes"
    status, headers, part = server.get(uri, Range=asked)
    assert (status, part) == (206, whole[slice(*cut)])
    assert headers["content-range"].endswith(f"/{len(whole)}")
    assert server.get(uri, Range=asked, If_Range='"other"')[2] == whole
    assert server.get(uri, Range=asked, If_Range=headers["etag"])[0] == 206
    status, headers, body = server.get(uri, "HEAD")
    assert (status, headers["content-length"], body) == (200, str(len(whole)), b"")
    # RFC 9110 14.2: ranges are GET's, and HEAD's length is that of the whole.
    for each in (asked, f"bytes={len(whole)}-"):
        status, headers, _ = server.get(uri, "HEAD", Range=each)
        assert (status, headers["content-length"]) == (200, str(len(whole)))
        assert "content-range" not in headers
    status, headers, _ = server.get(uri, Range=f"bytes={len(whole)}-")
    assert (status, headers["content-range"]) == (416, f"bytes */{len(whole)}")


def test_playlists_are_compressed_and_conditional(server: Server) -> None:
    """RFC 9110 8.8.3.3: strong tags differ where bytes do."""
    path = server.media("many")[0]
    _, plain, text = server.get(path)
    status, packed, gzipped = server.get(path, Accept_Encoding="gzip")
    assert plain["vary"] == packed["vary"] == "Accept-Encoding"
    assert "content-encoding" not in plain and packed["content-encoding"] == "gzip"
    assert status == 200 and gzip.decompress(gzipped) == text
    assert plain["etag"] != packed["etag"] and "W/" not in plain["etag"] + packed["etag"]
    for coding, own, other in (("", plain, packed), ("gzip", packed, plain)):
        for tag, expected in ((own["etag"], 304), (other["etag"], 200)):
            status, headers, body = server.get(path, Accept_Encoding=coding, If_None_Match=tag)
            assert (status, headers["etag"]) == (expected, own["etag"])
            assert (body == b"") == (expected == 304)


def test_pain_70_cache_headers(server: Server) -> None:
    (path,) = server.media("clear")
    segment = urljoin(path, server.playlist(path).segments[0].uri)
    for each in (server.master("clear"), path, segment):
        assert server.get(each)[1]["cache-control"] == "private, no-store"


def dateless(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, dict[str, str], bytes]:
    return answer[0], {k: v for k, v in answer[1].items() if k != "date"}, answer[2]


def test_a_head_is_answered_as_a_get_without_its_body(server: Server) -> None:
    """RFC 9110 9.3.2."""
    master = server.master("clear")
    (path,) = server.media("clear")
    segment = urljoin(path, server.playlist(path).segments[0].uri)
    for url in (master, path, segment, "/acme/clear/", "/acme/nothing/master.m3u8"):
        for more in ({}, {"Accept_Encoding": "gzip"}, {"Origin": "https://a.example"}):
            (status, fields, body), (again, headers, nothing) = (
                dateless(server.get(url, method, **more)) for method in ("GET", "HEAD")
            )
            assert (status, fields, b"") == (again, headers, nothing) and body, url
    # Of an address that everybody has, each gets a grant of its own.
    one, other = (server.get("/acme/clear/master.m3u8", method) for method in ("GET", "HEAD"))
    assert one[0] == other[0] == 302 and set(one[1]) == set(other[1])
    assert len(one[1]["location"]) == len(other[1]["location"])
    assert server.get(other[1]["location"])[0] == 200


def test_pain_55_cors_names_the_origin_that_may(server: Server) -> None:
    master = server.master("sited")
    _, headers, _ = server.get(master, Origin="https://clinic.example")
    assert headers["access-control-allow-origin"] == "https://clinic.example"
    assert "Origin" in headers["vary"]
    _, headers, _ = server.get(master, Origin="https://other.example")
    assert "access-control-allow-origin" not in headers
    status, headers, _ = server.get(
        master, "OPTIONS", Origin="https://clinic.example", Access_Control_Request_Headers="range"
    )
    may = headers["access-control-allow-headers"].split(", ")
    # What players say of themselves in headers, where they do (CTA-5004): or they play nothing.
    said = ["CMCD-Object", "CMCD-Request", "CMCD-Session", "CMCD-Status"]
    assert status == 204 and {"Range", "Content-Type", *said} == {*may}
    assert "access-control-allow-credentials" not in headers
    assert "access-control-expose-headers" not in headers
    # Why something cannot be had is for players on other sites, too.
    forged = master.split("/")
    forged[2] = forged[2][:-8] + "AAAAAAAA"
    for path, why in ((master.replace(".m3u8", "/v0/0.ts"), 404), ("/".join(forged), 403)):
        status, headers, _ = server.get(path, Origin="https://clinic.example")
        assert status == why
        assert headers["access-control-allow-origin"] == "https://clinic.example"
        _, headers, _ = server.get(path, Origin="https://other.example")
        assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("name", ["clear", "sealed"])
def test_a_grant_opens_its_stream_alone(server: Server, name: str) -> None:
    (path,) = server.media(name)
    other = "sealed" if name == "clear" else "clear"
    assert server.get(path.replace(f"/{name}/", f"/{other}/"))[0] == 403
    grant = path.split("/")[2]
    for wrong in ("x", grant[:-1], grant[:10] + ("A" if grant[10] != "A" else "B") + grant[11:]):
        status, _, body = server.get(path.replace(grant, wrong))
        assert (status, body) == (403, b"this link is not valid, or no longer\n")


def test_media_without_a_grant_only_where_that_was_asked_for(server: Server) -> None:
    for name, expected in (("clear", 404), ("sealed", 404), ("shared", 200)):
        (path,) = server.media(name)
        uri = urljoin(path, server.playlist(path).segments[0].uri)
        bare = uri if name == "shared" else "/s/" + uri.split("/", 3)[3]
        assert bare.startswith("/s/") and server.get(bare)[0] == expected
        assert server.get(bare.rsplit("/", 1)[0] + "/key/v0-0.key")[0] == 404


def test_a_session_is_an_address_and_its_end(server: Server) -> None:
    status, headers, body = server.get("/acme/clear/session", "POST")
    assert status == 200 and headers["content-type"] == "application/json"
    session = json.loads(body)
    assert server.get(session["master"])[0] == 200
    assert server.get("/acme/clear/session")[0] == 405


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 404),
        ("/acme/nothing/master.m3u8", 404),
        ("/other/clear/master.m3u8", 404),
        ("/acme/gone/master.m3u8", 302),
        ("/acme/../acme/clear/master.m3u8", 400),
        ("/acme/clear%2fmaster.m3u8", 400),
        ("/acme/clear/%00", 400),
        ("//acme/clear/master.m3u8", 400),
    ],
)
def test_other_paths(server: Server, path: str, status: int) -> None:
    assert server.get(path)[0] == status


def test_a_source_that_is_missing_is_no_viewers_fault(server: Server) -> None:
    status, _, body = server.get(server.master("gone"))
    assert (status, body) == (503, b"this film cannot be shown at present\n")


def test_requests_in_a_row_are_answered_in_order(server: Server) -> None:
    (path,) = server.media("clear")
    uri = urljoin(path, server.playlist(path).segments[0].uri)
    whole = server.get(uri)[2]
    one = f"GET {uri} HTTP/1.1\r\nHost: x\r\n\r\n"
    last = f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answers = server.raw((one + one + last).encode())
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 3
    assert answers.count(whole) == 2 and answers.endswith(b"#EXT-X-ENDLIST\n")


def test_who_speaks_http_1_0_is_told_that_the_connection_stays(server: Server) -> None:
    """RFC 9112 9.3: without it, such a client would wait for the end."""
    (path,) = server.media("clear")
    segment = urljoin(path, server.playlist(path).segments[0].uri)
    paths = (path, segment, "/acme/clear/master.m3u8", "/acme/nothing/")
    stays = [f"GET {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" for path in paths]
    last = f"GET {path} HTTP/1.0\r\n\r\n"
    answers = server.raw("".join([*stays, last]).encode())
    assert answers.count(b"HTTP/1.1 ") == 5
    assert answers.count(b"\r\nConnection: keep-alive\r\n") == 4
    assert answers.count(b"\r\nConnection: close\r\n") == 1
    # To the others it goes without saying.
    assert "connection" not in server.get(path)[1]


def test_what_cannot_be_understood_is_answered_and_closed(server: Server) -> None:
    assert server.raw(b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert server.raw(b"\x16\x03\x01\x02\x00\x01\x00").startswith(b"HTTP/1.1 400 ")


def test_a_peer_that_dawdles_is_sent_away() -> None:
    with serving({"clear": settings("plain.mp4")}, limits=Limits(head=0.05, idle=0.05)) as server:
        assert server.raw(b"GET / HTTP/1.1\r\nHost:") == b""
        assert server.raw(b"") == b""


def test_pain_44_a_replaced_film_has_other_addresses(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    shutil.copy(MEDIA / "plain.mp4", film)
    streams = {"film": StreamSettings(sources=(str(film),), segment_duration_ms=1000)}
    with serving(streams, clock=trio_testing.MockClock()) as server:
        (path,) = server.media("film")
        before = server.playlist(path).segments[0].uri
        first = server.get(urljoin(path, before))[2]
        os.replace(shutil.copy(MEDIA / "video_late.mp4", tmp_path / "new"), film)
        # The file is looked at once a second; whoever wakes then does so in the turn in which the first
        # is accepted, or before.
        server.clock.jump(1.1)
        assert server.get("/")[0] == server.get("/")[0] == 404
        (after,) = server.media("film")
        assert after != path
        # Who plays the old one goes on, and is told of no segment of the new one.
        assert server.get(urljoin(path, before))[2] == first
        assert server.playlist(path) != server.playlist(after)
        gone = path.split("/")
        gone[5] = "a" * len(gone[5])
        assert server.get("/".join(gone))[0] == 404


def test_pain_44_media_of_other_keys_has_other_addresses() -> None:
    """As of a store and a master key that were made anew, with the same numbers."""

    def version(encryption: str, keys: Any) -> str:
        source = Source(1, (str(MEDIA / "plain.mp4"),), "ts", 2, 0, encryption, keys=keys)
        return trio.run(Origin(1 << 24).film, source).version

    rings = [Keyring(bytes([n]) * 32) for n in (1, 1, 2)]
    first, same, other = (version("aes-128", partial(ring.content_key, 1)) for ring in rings)
    assert first == same != other
    assert len({version("none", None) for _ in rings} | {first, other}) == 3


def test_many_who_want_the_same_film_at_once_wait_for_one_and_go_on_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[str] = []

    def counting(name: str, do: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            made.append(name)
            return do(*arguments)

        return counted

    monkeypatch.setattr(pystream, "open", counting("film", pystream.open))
    monkeypatch.setattr(gzip, "compress", counting("playlist", gzip.compress))
    source = Source(1, (str(MEDIA / "plain.mp4"),), "ts", 2, 0)
    films = Origin(1 << 24)
    served: list[object] = []
    # In between, whoever wants something else gets his turn.
    order: list[str] = []

    async def viewer() -> None:
        film = await films.film(source)
        order.append("viewer")
        served.append(film)
        served.append(await films.written(film, film.presentation.renditions[0]))
        order.append("viewer")

    async def others() -> None:
        while True:
            await trio.lowlevel.checkpoint()
            order.append("others")

    async def all_of_them() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(others)
            async with trio.open_nursery() as viewers:
                for _ in range(100):
                    viewers.start_soon(viewer)
            nursery.cancel_scope.cancel()

    trio.run(all_of_them)
    assert made.count("film") == 1 and made.count("playlist") <= 1
    assert len(served) == 200 and len({id(each) for each in served}) == 2
    together = [len(run.split()) for run in " ".join(order).split("others")]
    # One of those who wait for the film, and one of those who wait for the playlist.
    assert max(together) <= 4


def test_a_film_that_is_cut_while_it_plays_is_never_a_whole_answer(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    shutil.copy(MEDIA / "plain.mp4", film)
    with serving({"film": StreamSettings(sources=(str(film),))}) as server:
        (path,) = server.media("film")
        uri = urljoin(path, server.playlist(path).segments[-1].uri)
        os.truncate(film, film.stat().st_size // 2)
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            server.get(uri)


def test_what_is_sent_is_metered(server: Server) -> None:
    with serving({"clear": settings("plain.mp4", segment_duration_ms=1000)}) as server:
        (path,) = server.media("clear")
        uri = urljoin(path, server.playlist(path).segments[0].uri)
        close = "HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        got = len(server.raw(f"GET {uri} {close}".encode()))
        deadline = time.monotonic() + 30
        # It is booked when the peer's end of the connection is seen.
        while (rows := {row[2]: row[4] for row in server.meter.rows()})[2] != (1, got, 0):
            assert time.monotonic() < deadline, rows
            pause()
        assert rows[1][0] == 2


def test_what_a_tenants_own_people_look_at_is_not_metered() -> None:
    with serving({"clear": settings("plain.mp4", segment_duration_ms=1000)}) as server:
        session = json.loads(server.get("/acme/clear/session", "POST")[2])
        grants = Grants(*Keyring(bytes(range(32))).grant_keys(NOW))
        looked = grants.issue(1, bytes(16), int(time.time()), 600, flags=PICTURES)
        close = "HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        own = server.raw(f"GET /t/{looked}/acme/clear/frame.mp4 {close}\r\n".encode())
        assert own.startswith(b"HTTP/1.1 200 ")
        picture = session["frames"]["preview"] + "0.mp4"
        viewers = server.raw(f"GET {picture} {close}Range: bytes=0-99\r\n\r\n".encode())
        deadline = time.monotonic() + 30
        # Of who was asked first, it would have been booked first.
        while {row[2]: row[4] for row in server.meter.rows()} != {2: (1, len(viewers), 0)}:
            assert time.monotonic() < deadline
            pause()


@pytest.mark.slow
def test_what_is_sent_is_metered_while_the_connection_lasts() -> None:
    """Whoever is killed has booked all but the last second: of answers under way, and of idle
    connections."""
    film = StreamSettings(sources=(str(MEDIA.parents[1] / "pystream/cli/sample.mp4"),))
    with serving({"film": film}) as server, socket.socket() as peer:
        (path,) = server.media("film")
        uri = urljoin(path, server.playlist(path).segments[0].uri)

        def booked(enough: Callable[[int], bool]) -> None:
            deadline = time.monotonic() + 30
            while not enough({row[2]: row[4] for row in server.meter.rows()}[2][1]):
                assert time.monotonic() < deadline
                pause()

        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect(("127.0.0.1", server.port))
        peer.settimeout(30)
        peer.sendall(f"GET {uri} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        got = peer.recv(1000)
        booked(lambda count: count > 0)
        head, _, _ = got.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        assert length is not None
        whole = len(head) + 4 + int(length[1])
        booked(lambda count: count < whole)
        while len(got) < whole:
            got += peer.recv(65536)
        booked(lambda count: count == whole)


def test_a_prefix_is_taken_off() -> None:
    with serving({"clear": settings("plain.mp4")}, prefix="/video") as server:
        status, headers, _ = server.get("/video/acme/clear/master.m3u8")
        assert status == 302 and headers["location"].startswith("/video/t/")
        assert server.get(headers["location"])[0] == 200
        assert server.get("/acme/clear/master.m3u8")[0] == 404


def test_addresses_are_of_this_server_alone(server: Server) -> None:
    """Relative URIs only (pain 73)."""
    for path in (server.master("clear"), *server.media("clear")):
        text = server.get(path)[2].decode()
        uris = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert all(not urlsplit(uri).scheme and not uri.startswith("/") for uri in uris)


@pytest.mark.slow
def test_paths_that_mean_nothing_leave_nothing_behind() -> None:
    """As a million of them may leave 5 MB, these may leave one."""
    sealed = settings("plain.mp4", encryption="aes-128", rotate_every=2)
    # While the clock stands, all that is known of films is known.
    with serving({"sealed": sealed}, clock=trio_testing.MockClock()) as server:
        (path,) = server.media("sealed")
        assert server.get(path)[0] == 200
        folder, grant = path.rpartition("/")[0], path.split("/")[2]
        forms = (
            "/nobody{}/film/master.m3u8",
            "/acme/film{}/session",
            "/{}/x/y/z",
            "/s/-/{}.js",
            # Of the right length: what differs is the tag.
            path.replace(grant, grant[:-6] + "{:06x}"),
            f"/t/{grant}/acme/sealed/{{:016x}}/v0/0.ts",
            folder + "/{}.ts",
            folder + "/key/{}.key",
        )

        def ask(numbers: range) -> None:
            for n in numbers:
                request = Request("GET", forms[n % len(forms)].format(n + 1000))
                answer = server.answers.answer(request)
                assert isinstance(answer, Answer) and answer.status in (403, 404)
                protocol.head(answer.status, answer.headers)

        ask(range(20_000))
        before = rss()
        ask(range(20_000, 220_000))
        assert rss() < before + 1_000_000


def test_sites_without_number_leave_nothing_behind() -> None:
    film = settings("plain.mp4", origins=("*",))
    with serving({"film": film}, clock=trio_testing.MockClock()) as server:
        master, (path,) = server.master("film"), server.media("film")
        assert server.get(path)[0] == 200

        def ask(numbers: range) -> None:
            for n in numbers:
                site = f"https://{n}.{'x' * 200}.example"
                request = Request("GET", (master, path)[n % 2], fields=Fields({b"origin": site}))
                answer = server.answers.answer(request)
                assert isinstance(answer, Answer)
                assert ("Access-Control-Allow-Origin", site) in answer.headers

        ask(range(1_000))
        before = rss()
        ask(range(1_000, 21_000))
        assert rss() < before + 1_000_000


def rss() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
