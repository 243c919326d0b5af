"""How bodies leave the server: shared makings, held segments, downloads, keys of one's own, caches."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import urljoin

import pytest
from Crypto.Cipher import AES

from pystream import _core
from pystream.acl.streams import StreamSettings, problems
from pystream.server.pace import Pace
from tests.test_serve import SAMPLE, node_in
from tests.test_server import MEDIA, Server, decrypt, planned, serving, settings
from tests.waiting import pause, until

CLIPS = ("plain.mp4", "moov_last.mp4", "co64.mp4", "fragmented.mp4")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    streams = {
        "sealed": settings("plain.mp4", segment_duration_ms=1000, encryption="aes-128"),
        "own": settings("plain.mp4", segment_duration_ms=1000, encryption="aes-128-per-viewer"),
        "own-fmp4": settings(
            "plain.mp4",
            segment_duration_ms=1000,
            encryption="aes-128-per-viewer",
            format="fmp4",
            rotate_every=2,
        ),
        "shared": settings("plain.mp4", encryption="aes-128", cache="shared", pace=None),
        "open": settings("plain.mp4", cache="shared", pace=None, format="fmp4"),
        "off": settings("plain.mp4"),
        **{
            name.split(".")[0].replace("_", "-"): settings(
                name, download=True, title='Grüße: "100 %"/2'
            )
            for name in CLIPS
        },
    }
    with serving(streams, cache=_core.Cache(_core.Cache.create(1 << 20, 1), 0)) as running:
        yield running


def segment_urls(server: Server, name: str) -> list[str]:
    (path,) = server.media(name)
    return [urljoin(path, segment.uri) for segment in server.playlist(path).segments]


# Makings.


def test_viewers_of_one_segment_share_its_making(server: Server) -> None:
    (url, *others) = segment_urls(server, "sealed")
    grants = [server.master("sealed").split("/")[2] for _ in range(12)]
    urls = [url.replace(url.split("/")[2], grant) for grant in grants]
    before = server.delivery.makings()
    with ThreadPoolExecutor(12) as pool:
        bodies = {answer[2] for answer in pool.map(server.get, urls)}
    (body,) = bodies
    # The first may be on its way alone before a second one asks.
    assert server.delivery.makings() - before <= 2
    assert server.get(url, Range="bytes=100-1099")[2] == body[100:1100]
    assert server.delivery.makings() - before <= 2
    server.get(others[0])
    assert server.delivery.makings() - before <= 3


@pytest.mark.needs("openssl")
def test_a_cached_segment_over_tls_is_the_same(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost"
    )
    made = subprocess.run(
        [
            *command.split(),
            "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout",
            key,
            "-out",
            certificate,
        ],
        capture_output=True,
    )
    assert made.returncode == 0, made.stderr
    pair = (str(certificate), certificate.read_bytes(), str(key), key.read_bytes())
    tls = _core.Tls([pair], bytes(32))
    delivery = _core.Delivery(64 * 1024, 30_000, _core.Cache(_core.Cache.create(1 << 20, 1), 0))
    meter = _core.Meter(_core.Meter.create(64))
    (rendition,) = planned("plain.mp4").renditions
    expected = bytes(rendition.segment(0))
    context = ssl.create_default_context(cafile=str(certificate))
    for _ in range(3):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.settimeout(30)
        line = _core.Line(ours.detach(), meter, tls)
        with ThreadPoolExecutor(1) as pool:
            wrapping = pool.submit(context.wrap_socket, theirs, server_hostname="localhost")
            while not wrapping.done():
                line.receive()
            # Its last message of the handshake is there by now.
            line.receive()
            delivery.segment(
                1, line, b"head", *rendition.making(0), (0, len(expected)), None, b"k" * 16
            )
            with wrapping.result() as peer:
                got = b""
                while len(got) < 4 + len(expected):
                    got += peer.recv(65536)
        assert got == b"head" + expected
        while not delivery.outcomes():
            pass
    assert delivery.makings() == 2


def test_viewers_who_read_nothing_cost_a_window_each() -> None:
    """128 KB a connection in user space at most; of what comes from the cache, nothing. In the kernel,
    128 KB that cannot be sent yet, beside what the peer has room for, and 1 MB of the first 64."""
    count, sample = 150, str(SAMPLE)
    streams = {
        name: StreamSettings(
            sources=(sample,), segment_duration_ms=3_600_000, encryption=encryption, pace=None
        )
        for name, encryption in (("own", "aes-128-per-viewer"), ("same", "aes-128"))
    }
    cache = _core.Cache(_core.Cache.create(16 << 20, 1), 0)
    with serving(streams, cache=cache) as server, ExitStack() as stack:
        cases = [("own", 64 << 10, 128 << 10), ("same", 0, 16 << 10)]
        for turn, (name, window, most) in enumerate(cases):
            url = segment_urls(server, name)[0]
            # What it takes once, it has now; and what may come from the cache lies there.
            assert [server.get(url)[0] for _ in range(2)] == [200] * 2
            until_under_way(server, turn * count)
            before = resident(), server.delivery.counters()[1]
            for _ in range(count):
                peer = stack.enter_context(socket.socket())
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
                peer.connect(("127.0.0.1", server.port))
                peer.sendall(f"GET {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            until_under_way(server, (turn + 1) * count)
            # A segment goes through the same rounds, so by its end each of these has had its turn.
            assert server.get(segment_urls(server, "same")[0])[0] == 200
            held = server.delivery.counters()[1] - before[1]
            assert count * window // 4 <= held <= count * window, name
            assert resident() - before[0] <= count * most + (4 << 20), name
        unacknowledged = sorted(unacknowledged_from(server.port))
        assert unacknowledged[-1] <= (1024 + 64) << 10
        assert unacknowledged[-65] <= (128 + 64) << 10


def until_under_way(server: Server, wanted: int) -> None:
    """Waits for a number of answers that have begun and not ended."""
    until(lambda: server.delivery.counters()[0] == wanted)


def unacknowledged_from(port: int) -> list[int]:
    """Bytes that the kernel holds for each connection of a port (proc(5): tx_queue)."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [int(row[4].partition(":")[0], 16) for row in rows if row[1].endswith(f":{port:04X}")]


def resident() -> int:
    """Bytes of this process that are in memory and its own."""
    with open("/proc/self/status", "rb") as file:
        (found,) = (line for line in file if line.startswith(b"RssAnon:"))
    return int(found.split()[1]) * 1024


# Pace.


def paced(**changes: object) -> dict[str, StreamSettings]:
    return {"film": settings("plain.mp4", segment_duration_ms=2000, **changes)}


def frozen_pace() -> Pace:
    return Pace(_core.Gcra(_core.Gcra.create(1 << 16), bytes(16)), lambda: 1_000_000)


def test_who_asks_for_more_than_is_due_is_held_and_then_told_when_to_come_again() -> None:
    trio_testing = pytest.importorskip("trio.testing")
    # A clock that stands still for the film, and runs for those who wait.
    site, clock = "https://clinic.example", trio_testing.MockClock(rate=50)
    with serving(paced(origins=(site,)), pace=frozen_pace(), clock=clock) as server:
        (url, *_) = segment_urls(server, "film")
        # Two seconds each: a minute ahead, and the slack for one who begins again and again.
        assert [server.get(url)[0] for _ in range(30 + 60)] == [200] * 90
        status, headers, body = server.get(url, Origin=site)
        assert (status, body) == (503, b"this part of the film is not due yet\n")
        assert int(headers["retry-after"]) >= 1
        assert headers["access-control-allow-origin"] == site
        assert server.get(url, "HEAD")[0] == 200
        # Another grant is none the worse for it.
        assert server.get(segment_urls(server, "film")[0])[0] == 200


def test_a_part_of_a_segment_costs_its_part() -> None:
    trio_testing = pytest.importorskip("trio.testing")
    with serving(paced(), pace=frozen_pace(), clock=trio_testing.MockClock(rate=50)) as server:
        (url, *_) = segment_urls(server, "film")
        size = int(server.get(url, "HEAD")[1]["content-length"])
        half = f"bytes=0-{size // 2 - 1}"
        assert {server.get(url, Range=half)[0] for _ in range(2 * (30 + 60))} == {206}
        # Half a byte less than half of it, perhaps.
        assert 503 in [server.get(url, Range=half)[0] for _ in range(2)]
        # The last byte costs as much as all of them, which have to be made for it.
        (other, *_) = segment_urls(server, "film")
        last = [server.get(other, Range="bytes=-1")[0] for _ in range(30 + 60 + 1)]
        assert last == [206] * 90 + [503]


def test_a_segment_that_is_held_goes_when_it_is_due() -> None:
    trio_testing = pytest.importorskip("trio.testing")
    clock = trio_testing.MockClock(rate=50)
    table = _core.Gcra(_core.Gcra.create(1 << 16), bytes(16))
    pace = Pace(table, lambda: round(clock.current_time() * 1_000_000))
    with serving(paced(), pace=pace, clock=clock) as server:
        urls = segment_urls(server, "film")
        begin = clock.current_time()
        assert [server.get(urls[n % 3])[0] for n in range(120)] == [200] * 120
        assert clock.current_time() - begin >= (240 - 60 - 120) / 2


def test_nothing_is_kept_for_who_does_not_wait() -> None:
    with serving(
        {"film": settings("plain.mp4", segment_duration_ms=3_600_000)}, pace=frozen_pace()
    ) as server:
        (url,) = segment_urls(server, "film")
        while True:
            with socket.create_connection(("127.0.0.1", server.port), timeout=1) as peer:
                peer.sendall(f"GET {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                try:
                    peer.recv(65536)
                except TimeoutError:
                    # Held, for up to two hours; and ended as soon as this side is.
                    peer.settimeout(30)
                    peer.shutdown(socket.SHUT_WR)
                    assert peer.recv(1) == b""
                    break


def test_pictures_have_a_pace_of_their_own() -> None:
    with serving(paced(), pace=frozen_pace()) as server:
        film, other = (json.loads(server.get("/acme/film/session", "POST")[2]) for _ in range(2))
        address = film["frames"]["preview"] + "0.mp4"
        answers = [server.get(address, "HEAD") for _ in range(61)]
        assert [status for status, _, _ in answers] == [200] * 60 + [503]
        # Half a second, which is told in whole ones.
        assert answers[-1][1]["retry-after"] == "1"
        assert server.get(other["frames"]["preview"] + "0.mp4")[0] == 200
        # What plays is not kept waiting by them.
        path = re.sub("[^/]+/frame/$", "v0/0.ts", film["frames"]["preview"])
        assert server.get(path)[0] == 200
    with serving(paced(pace=None), pace=frozen_pace()) as server:
        film = json.loads(server.get("/acme/film/session", "POST")[2])
        address = film["frames"]["preview"] + "0.mp4"
        assert {server.get(address, "HEAD")[0] for _ in range(70)} == {200}


def test_pace_can_be_off() -> None:
    with serving(paced(pace=None), pace=frozen_pace()) as server:
        urls = segment_urls(server, "film")
        assert {server.get(urls[n % 3])[0] for n in range(120)} == {200}


# Downloads.


def download(server: Server, name: str) -> str:
    return server.entrance(name, "download.mp4")


def without_date(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, dict[str, str], bytes]:
    status, headers, body = answer
    return status, {name: value for name, value in headers.items() if name != "date"}, body


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "PUT"])
def test_a_switch_that_is_off_leaves_no_trace(server: Server, method: str) -> None:
    there = server.master("off").replace("master.m3u8", "download.mp4")
    nothing = there.replace("download.mp4", "nothing.mp4")
    for url, other in ((there, nothing), (there.replace("/t/", "/t/x"), nothing)):
        answers = [
            without_date(server.get(each, method, Origin="https://a.example"))
            for each in (url, other)
        ]
        assert answers[0] == answers[1] and answers[0][0] == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "PUT"])
def test_nor_does_its_address_for_everybody(server: Server, method: str) -> None:
    answers = [
        without_date(server.get(f"/acme/off/{name}.mp4", method, Origin="https://a.example"))
        for name in ("download", "nothing")
    ]
    assert answers[0] == answers[1] and answers[0][0] == 404
    _, _, session = server.get("/acme/off/session", "POST")
    assert "download" not in json.loads(session)


def test_an_address_for_everybody_leads_to_the_download(server: Server) -> None:
    for method in ("GET", "HEAD"):
        status, headers, _ = server.get("/acme/plain/download.mp4", method)
        assert (status, headers["cache-control"]) == (302, "private, no-store")
        assert re.fullmatch(r"/t/[^/]+/acme/plain/download\.mp4", headers["location"])
        assert server.get(headers["location"])[2] == (MEDIA / "plain.mp4").read_bytes()
    _, _, session = server.get("/acme/plain/session", "POST")
    assert server.get(json.loads(session)["download"], "HEAD")[0] == 200


def test_the_grant_of_a_playlist_is_none_for_the_download_and_the_other_way_round(
    server: Server,
) -> None:
    """Of one session, and whoever is given the address of a film does not get the file."""
    visit = json.loads(server.get("/acme/plain/session", "POST")[2])
    film, file = visit["master"], visit["download"]
    assert server.get(film)[0] == server.get(file)[0] == 200
    grants = [server.answers.grants.session_of(way.split("/")[2]) for way in (film, file)]
    assert grants[0] == grants[1]
    swapped = (
        film.replace("master.m3u8", "download.mp4"),
        file.replace("download.mp4", "master.m3u8"),
    )
    assert [server.get(way)[0] for way in swapped] == [403, 403]
    segment = segment_urls(server, "plain")[0]
    assert server.get(segment)[0] == 200
    _, _, rest = segment.removeprefix("/t/").partition("/")
    assert server.get(f"/t/{file.split('/')[2]}/{rest}")[0] == 403


@pytest.mark.parametrize("name", CLIPS)
def test_a_download_is_one_file_in_any_parts(server: Server, name: str) -> None:
    url = download(server, name.split(".")[0].replace("_", "-"))
    status, headers, whole = server.get(url)
    assert status == 200 and len(whole) == int(headers["content-length"])
    assert headers["content-type"] == "video/mp4" and headers["accept-ranges"] == "bytes"
    assert len(whole) == (MEDIA / name).stat().st_size
    if name in ("plain.mp4", "fragmented.mp4"):
        assert whole == (MEDIA / name).read_bytes()
    else:
        assert whole.index(b"moov") < whole.index(b"mdat")
    chance = random.Random(name)
    for _ in range(30):
        first, last = sorted(chance.sample(range(len(whole)), 2))
        status, part, body = server.get(url, Range=f"bytes={first}-{last}")
        assert (status, body) == (206, whole[first : last + 1])
        assert part["content-range"] == f"bytes {first}-{last}/{len(whole)}"
    assert server.get(url, "HEAD")[1]["content-length"] == str(len(whole))
    assert server.get(url, If_None_Match=headers["etag"])[0] == 304
    assert server.get(url, If_Modified_Since=headers["last-modified"])[0] == 304
    assert server.get(url, Range="bytes=0-0", If_Range=headers["etag"])[0] == 206
    assert server.get(url, Range="bytes=0-0", If_Range='"other"')[2] == whole
    # RFC 9110 13.1.5: the file may have changed twice within the second.
    assert server.get(url, Range="bytes=0-0", If_Range=headers["last-modified"])[2] == whole
    assert server.get(url, Range=f"bytes={len(whole)}-")[0] == 416
    assert server.get(url.replace("/t/", "/t/x"))[0] == 403


def test_a_download_has_the_films_name(server: Server) -> None:
    """RFC 6266, RFC 8187: what is no ASCII, and what no file may be called."""
    found = server.get(download(server, "plain"), "HEAD")[1]["content-disposition"]
    assert found == (
        'attachment; filename="Gr__e_ _100 ___2.mp4"; '
        "filename*=UTF-8''Gr%C3%BC%C3%9Fe_%20_100%20%25__2.mp4"
    )


@pytest.mark.needs("ffmpeg")
@pytest.mark.parametrize("name", CLIPS)
def test_a_download_decodes_as_the_source_does(server: Server, name: str, tmp_path: Path) -> None:
    got = tmp_path / "got.mp4"
    got.write_bytes(server.get(download(server, name.split(".")[0].replace("_", "-")))[2])

    def frames(path: Path) -> str:
        command = f"ffmpeg -v error -xerror -i {path} -map 0 -f framemd5 -"
        return subprocess.run(command.split(), capture_output=True, text=True, check=True).stdout

    assert frames(got) == frames(MEDIA / name)


def test_a_download_follows_its_file_and_is_booked_apart(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    shutil.copy(MEDIA / "moov_last.mp4", film)
    choice = settings("plain.mp4")
    streams = {
        "film": StreamSettings(sources=(str(film),), download=True),
        "ladder": StreamSettings(
            sources=(*choice.sources, str(film)), download=True, download_source=str(film)
        ),
    }
    with serving(streams) as server:
        first = server.get(download(server, "film"))
        assert server.get(download(server, "ladder"))[2] == first[2]
        shutil.copy(MEDIA / "co64.mp4", tmp_path / "new")
        (tmp_path / "new").rename(film)
        second = server.get(download(server, "film"))
        assert second[1]["etag"] != first[1]["etag"] and len(second[2]) != len(first[2])
        film.unlink()
        assert server.get(download(server, "film"))[0] == 503
        assert {row[2] for row in server.meter.rows()} >= {4}


def test_a_download_has_a_rate(server: Server) -> None:
    film = settings("plain.mp4", download=True, download_rate_bps=800_000)
    with serving({"film": film}) as server:
        url = download(server, "film")
        begin = time.monotonic()
        assert len(server.get(url)[2]) == 65018
        # All but the last quarter of a second is paid for.
        assert time.monotonic() - begin >= (65018 - 25_000) / 100_000


def test_a_download_in_small_ranges_has_the_same_rate() -> None:
    film = settings("plain.mp4", download=True, download_rate_bps=800_000)
    with serving({"film": film}) as server:
        url, size, got = download(server, "film"), 65018, 0
        peer = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        with closing(peer):
            begin = time.monotonic()
            for first in range(0, size, 5000):
                peer.request("GET", url, headers={"Range": f"bytes={first}-{first + 4999}"})
                got += len(peer.getresponse().read())
            assert got == size
            assert time.monotonic() - begin >= (size - 25_000) / 100_000


# Keys of one's own.


@pytest.mark.parametrize("name", ["own", "own-fmp4"])
def test_pain_45_a_viewers_key_opens_no_other_viewers_copy(server: Server, name: str) -> None:
    format = "fmp4" if name == "own-fmp4" else "ts"
    twin, *_ = planned("plain.mp4", format).renditions
    (one, *_), (other, *_) = server.media(name), server.media(name)
    lists = [server.playlist(one), server.playlist(other)]
    assert server.get(one)[2] == server.get(other)[2]
    makings = server.delivery.makings()
    for n, segments in enumerate(zip(*(listed.segments for listed in lists), strict=True)):
        clear = bytes(twin.segment(n))
        keys, bodies = [], []
        for path, segment in zip((one, other), segments, strict=True):
            assert segment.key is not None
            keys.append(server.get(urljoin(path, segment.key.uri))[2])
            bodies.append(server.get(urljoin(path, segment.uri))[2])
            assert decrypt(bodies[-1], keys[-1], n.to_bytes(16)) == clear
        assert keys[0] != keys[1] and len(bodies[0]) == len(bodies[1])
        assert AES.new(keys[0], AES.MODE_CBC, n.to_bytes(16)).decrypt(bodies[1])[:16] != clear[:16]
    # What is one viewer's takes no place in the cache.
    assert server.delivery.makings() == makings
    if format == "fmp4":
        mapped = lists[0].segments[0].map
        assert mapped is not None and mapped.key is not None and mapped.key.iv is not None
        inits = [server.get(urljoin(path, mapped.uri))[2] for path in (one, other)]
        key = server.get(urljoin(one, mapped.key.uri))[2]
        assert inits[0] != inits[1]
        assert decrypt(inits[0], key, mapped.key.iv) == twin.inits()[0]


# Caches between the server and its viewers.


@pytest.mark.parametrize("name", ["shared", "open"])
def test_pain_48_a_cdn_gets_media_without_a_grant_and_keeps_it(server: Server, name: str) -> None:
    path = server.media(name)[0]
    listed = server.playlist(path)
    grant = path.split("/")[2]
    for segment in listed.segments:
        url = urljoin(path, segment.uri)
        assert url.startswith(f"/s/acme/{name}/") and grant not in url
        status, headers, _ = server.get(url)
        assert status == 200
        assert headers["cache-control"] == "public, max-age=31536000, immutable"
        if name == "shared":
            assert segment.key is not None
            key = urljoin(path, segment.key.uri)
            assert key.startswith(f"/t/{grant}/") and len(server.get(key)[2]) == 16
            assert server.get(key.replace(f"/t/{grant}/", "/s/"))[0] == 404
        else:
            assert segment.map is not None
            mapped = urljoin(path, segment.map.uri)
            assert mapped.startswith("/s/") and server.get(mapped)[0] == 200
    assert server.get(path)[1]["cache-control"] == "private, no-store"


def test_a_key_may_be_kept_within_its_period(server: Server) -> None:
    for name, seconds in (("own-fmp4", 2), ("sealed", 300)):
        path = server.media(name)[0]
        key = server.playlist(path).segments[0].key
        assert key is not None
        kept = server.get(urljoin(path, key.uri))[1]["cache-control"]
        assert kept == f"private, max-age={seconds}"


@pytest.mark.parametrize(
    "changes",
    [
        {"encryption": "aes-128-per-viewer", "pace": None},
        {"access": "shared", "pace": None},
        {"pace": 2.0},
    ],
)
def test_what_no_cache_may_have_is_refused(changes: dict[str, object]) -> None:
    assert any(
        "cache: 'shared'" in each
        for each in problems(settings("plain.mp4", cache="shared", **changes))
    )


# A node.


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_of_segments_costs_no_other_viewer_anything(
    tmp_path: Path,
) -> None:
    """What a dead worker was making for all is made by another one; nobody takes a part for a whole."""
    with node_in(tmp_path) as node:
        node.settings("workers = 2", "[cache]\nsegment_bytes = 4_194_304")
        node.add_film(segment_duration_ms=6000)
        node.start()
        node.hear("READY=1")
        path = node.film()
        expected = node.get(path)[2]
        ended, bodies = threading.Event(), Counter[bool]()

        def watch() -> None:
            while not ended.is_set():
                try:
                    status, _, body = node.get(path)
                except (OSError, http.client.HTTPException):
                    continue
                bodies[status == 200 and body == expected] += 1

        with ThreadPoolExecutor(8) as pool:
            watching = [pool.submit(watch) for _ in range(8)]
            for _ in range(3):
                wanted = bodies[True] + 20
                while bodies[True] < wanted:
                    pause()
                os.kill(min(node.processes()["worker"]), signal.SIGKILL)
                until(lambda: len(node.processes()["worker"]) == 2)
            ended.set()
            for each in watching:
                each.result()
        assert bodies[False] == 0
        assert node.stop() == 0
