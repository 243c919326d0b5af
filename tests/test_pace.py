"""Pace: what leaves the server by a clock from outside, asked by players and by those who take all.

The latter are real programs, too, against a running node.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pystream import _core
from pystream.acl.store import Store
from pystream.acl.streams import StreamSettings, TenantSettings
from pystream.server.pace import AHEAD_SECONDS, SLACK_SECONDS, SLACK_SEGMENTS, Claim, Pace, in_order
from tests.databases import with_tables
from tests.test_serve import BUSY, Node, node_in
from tests.waiting import until

US = 1_000_000


class Clock:
    """A Pace, and the time that it goes by."""

    def __init__(self, start: float = 1000.0) -> None:
        self.now = start
        table = _core.Gcra(_core.Gcra.create(1 << 20), bytes(16))
        # A second worker has the same table.
        self.pace = Pace(table, lambda: round(self.now * US))

    def ask(
        self,
        number: int,
        *,
        viewer: bytes = b"one",
        line: str = "video",
        rendition: str = "v0",
        duration: float = 6,
        share: float = 1,
        pace: float = 2,
    ) -> float:
        return self.pace.ask(Claim(viewer, line, rendition, number, duration, share, pace))


def slack(duration: float) -> float:
    return max(SLACK_SECONDS, SLACK_SEGMENTS * duration)


@given(
    st.floats(0.5, 90),
    st.sampled_from([1.0, 1.5, 2.0, 10.0]),
    st.lists(
        st.tuples(
            st.sampled_from([0, 0, 0, 0.01, 1, 30, 600]), st.integers(0, 40), st.sampled_from("ab")
        ),
        max_size=300,
    ),
    st.sampled_from([1.0, 0.5]),
)
@settings(max_examples=150, deadline=None)
def test_no_order_of_requests_gets_more_than_the_pace(
    duration: float, pace: float, asked: list[tuple[float, int, str]], share: float
) -> None:
    """In any T seconds: what is ahead, the slack, and pace * T."""
    clock = Clock()
    gone: list[float] = []
    for wait, number, rendition in asked:
        clock.now += wait
        if not clock.ask(number, rendition=rendition, duration=duration, share=share, pace=pace):
            gone.append(clock.now)
    most = max(AHEAD_SECONDS, duration) + (slack(duration) if pace > 1 else 0)
    for first, begin in enumerate(gone):
        for last in range(first, len(gone)):
            media = (last - first + 1) * duration * share
            assert media <= most + pace * (gone[last] - begin) + 0.001


def fetch_all(clock: Clock, order: list[int], duration: float, pace: float) -> float:
    """Seconds that it takes to get all segments, with each asked for as soon as it is due."""
    begin = clock.now
    left = list(order)
    while left:
        waits = {number: clock.ask(number, duration=duration, pace=pace) for number in left}
        left = [number for number in left if waits[number]]
        if left:
            clock.now += max(1e-6, min(waits[number] for number in left))
    return clock.now - begin


@pytest.mark.parametrize("duration", [1, 6, 10])
def test_who_fetches_in_order_is_held_where_the_pace_ends(duration: int) -> None:
    """The slack is for those who begin elsewhere, or in another rendition."""
    clock = Clock()
    held = next(number for number in range(300) if clock.ask(number, duration=duration, pace=2))
    assert held <= AHEAD_SECONDS / duration + 1
    assert not clock.ask(200, duration=duration, pace=2)


@pytest.mark.parametrize("pace", [1, 1.02, 2, 4])
def test_who_plays_on_gets_what_is_said(pace: float) -> None:
    clock = Clock()
    begin = clock.now
    for number in range(200):
        while wait := clock.ask(number, duration=6, pace=pace):
            clock.now += wait
    assert clock.now - begin == pytest.approx((1200 - AHEAD_SECONDS) / in_order(pace), rel=0.01)


@pytest.mark.parametrize("shuffled", [False, True])
def test_pain_of_downloaders_a_film_takes_its_time(shuffled: bool) -> None:
    """All segments at once, as twenty connections would, in order or not."""
    order = list(range(300))
    if shuffled:
        random.Random(1).shuffle(order)
    taken = fetch_all(Clock(), order, 6, 2)
    assert taken >= (1800 - AHEAD_SECONDS - slack(6)) / 2
    # And who is that patient does get it.
    assert taken <= (1800 - AHEAD_SECONDS) / 1.5


def test_grants_and_sound_have_buckets_of_their_own() -> None:
    clock = Clock()
    taken = {
        (viewer, line): sum(
            not clock.ask(n, viewer=viewer, line=line, rendition=line) for n in range(100)
        )
        for viewer in (b"one", b"two")
        for line in ("video", "audio")
    }
    # A minute, and as they skip what they do not get, the slack.
    assert set(taken.values()) == {10 + 20}


def test_pictures_are_counted_apart() -> None:
    clock = Clock()
    assert [clock.pace.picture(b"one", 2) for _ in range(60)] == [0] * 60
    assert clock.pace.picture(b"one", 2) == pytest.approx(0.5, abs=0.001)
    assert clock.pace.picture(b"two", 2) == 0
    assert clock.ask(0) == 0
    clock.now += 5
    assert sum(not clock.pace.picture(b"one", 2) for _ in range(60)) == 10


def test_parts_of_a_segment_cost_what_they_are() -> None:
    clock = Clock()
    assert sum(not clock.ask(n // 4, share=0.25) for n in range(200)) == 4 * (10 + 20)


def test_a_segment_longer_than_what_is_ahead_goes_at_once_and_then_in_its_time() -> None:
    clock = Clock()
    assert clock.ask(0, duration=600) == 0
    # The slack, 20 segments, lets the next one of a beginning go as well.
    assert clock.ask(1, duration=600) == 0
    wait = clock.ask(2, duration=600)
    assert 300 <= wait <= 350
    clock.now += wait
    assert clock.ask(2, duration=600) == 0


class Player:
    """What hls.js does: fetches one segment after the other until enough of them are there, throws
    away all when it seeks or changes the quality, and stalls where the next one is late."""

    def __init__(self, clock: Clock, duration: float, goal: float) -> None:
        self.clock, self.duration, self.goal = clock, duration, goal
        self.rendition = "v0"
        self.stalled = 0.0
        self.longest_hold = 0.0
        self.seek(0)

    def seek(self, position: float) -> None:
        self.position = position
        self.buffered = position
        self.next = int(position / self.duration)
        self.hold = 0.0

    def play(self, seconds: float, speed: float = 1.0) -> None:
        step = 0.05
        for _ in range(round(seconds / step)):
            self._fetch()
            if self.buffered > self.position or not speed:
                self.position += speed * step
            else:
                self.stalled += step
            self.clock.now += step
            self.hold += step

    def _fetch(self) -> None:
        if self.buffered - self.position >= self.goal:
            self.hold = 0.0
        while self.buffered - self.position < self.goal:
            if self.clock.ask(self.next, rendition=self.rendition, duration=self.duration):
                self.longest_hold = max(self.longest_hold, self.hold)
                return
            self.hold = 0.0
            self.next += 1
            self.buffered = self.next * self.duration


@pytest.mark.parametrize("duration", [2, 4, 6, 10])
@pytest.mark.parametrize("goal", [30, 480])
def test_a_player_that_seeks_and_switches_never_stalls(duration: float, goal: float) -> None:
    clock = Clock()
    player = Player(clock, duration, goal)
    player.play(20)
    # Ten seeks one after the other, forwards and back, to the last moment of a segment.
    for n in range(10):
        player.seek(duration * (40 + (n * 37) % 60) - 0.1)
        player.play(5)
    player.play(120)
    for rendition in ("v1", "v0", "v1"):
        player.rendition = rendition
        player.seek(player.position)
        player.play(30)
    player.play(600, speed=0)
    player.play(60)
    player.seek(0)
    player.play(60)
    assert player.stalled == 0
    # So no request is held for as long as would make it a 503.
    assert player.longest_hold < 2 * duration


# Programs that fetch films.


SEGMENT = 2
HOUR = 3600
# Players are not kept waiting for so long, unless they are held.
HELD_MS = 900


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour of pictures in 22 MB, which any of them would have in seconds."""
    film = tmp_path_factory.mktemp("film") / "hour.mp4"
    clip = Path(__file__).parent / "media" / "plain.mp4"
    command = ["ffmpeg", "-v", "error", "-stream_loop", str(HOUR // 6 - 1), "-i", str(clip)]
    subprocess.run([*command, "-map", "0:v", "-c", "copy", str(film)], check=True)
    return film


@pytest.fixture
def node(tmp_path: Path, hour: Path) -> Iterator[Node]:
    with node_in(tmp_path) as running:
        with Store.open(with_tables(str(tmp_path / "pystream.db"))) as store:
            store.add_tenant("acme", TenantSettings(), who="test", now=0)
            film = StreamSettings(sources=(str(hour),), segment_duration_ms=1000 * SEGMENT)
            store.add_stream("acme", "film", film, who="test", now=0)
        running.settings("workers = 2\n", BUSY + "[log]\naccess = true\n")
        running.start()
        running.hear("READY=1")
        yield running
        assert running.stop() == 0


PROGRAMS = {
    # All segments, on 20 connections.
    "curl": "curl -s -f --parallel --parallel-max 20 -o #1.ts {folder}/[0-1799].ts",
    "ffmpeg": "ffmpeg -v quiet -i {master} -c copy film.ts",
    "yt-dlp": "yt-dlp -q -N 20 --retries 0 --fragment-retries 0 -o film.mp4 {master}",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(each, marks=pytest.mark.needs(each, "ffmpeg")) for each in PROGRAMS]
)
def test_no_program_gets_a_film_faster_than_the_pace(name: str, node: Node) -> None:
    """Counted is what was let go before one segment was refused, or held."""
    master = f"http://127.0.0.1:{node.port}/acme/film/master.m3u8"
    folder = f"http://127.0.0.1:{node.port}{node.film()}".rpartition("/")[0]
    places = {"folder": folder, "master": master}
    begin = time.monotonic()
    program = subprocess.Popen(
        [word.format_map(places) for word in PROGRAMS[name].split()],
        cwd=node.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: held_or_refused(node) is not None or program.poll() is not None)
        seconds = time.monotonic() - begin
    finally:
        program.kill()
        program.wait()
    stopped = held_or_refused(node)
    assert stopped is not None
    assert 0 < SEGMENT * stopped <= 60 + 120 + 2 * seconds


def held_or_refused(node: Node) -> int | None:
    """After how many segments one was, if one was."""
    answers = [each for each in node.events("request") if each["kind"] == "segment"]
    for number, each in enumerate(answers):
        if each["status"] == 503 or each["ms"] >= HELD_MS:
            return number
    return None
