"""No skipping ahead, on a real node: who tries it by which requests ever, and who plays as people do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

from pystream.acl.reach import AHEAD_MS, Reach
from pystream.acl.store.issuing import Issuer
from pystream.attendance.purpose import VERSION
from tests.browser.chromium import Chromium, Page
from tests.test_admission import ASKS, House, address
from tests.test_page import (
    COUNT_STALLS,
    LADDER,
    ROOT,
    VIDEO,
    accessible,
    never_felt,
)
from tests.test_serve import BUSY, node_in
from tests.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.needs("ffmpeg")]

SEGMENT = 2
AHEAD = AHEAD_MS // 1000
# Between two clocks that are read one after the other.
SLACK = 0.2


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Ten minutes in three qualities, with a track of sound."""
    folder, made = tmp_path_factory.mktemp("films"), []
    for name in LADDER:
        made.append(str(folder / name))
        clip = ["-stream_loop", "150", "-i", str(ROOT / "tests" / "media" / name), "-c", "copy"]
        subprocess.run(["ffmpeg", "-v", "error", *clip, "-t", "600", made[-1]], check=True)
    return made


class Course(House):
    """A node of two workers, with a film that cannot be skipped ahead."""

    films: list[str]

    def open(self, films: list[str]) -> None:
        with self.store() as store:
            store.set_tenant("acme", {"attendance_purpose": VERSION}, who="test", now=1)
            more = {"sources": tuple(films), "segment_duration_ms": 1000 * SEGMENT}
            settings = {"access": "personal", "attendance": True, "no_skip": True}
            self.add_stream(store, "acme", "training", **more, **settings)

    def let_go(self, text: str, seconds: int) -> None:
        """Somebody has watched so far, some time ago."""
        with self.store() as store:
            film = store.stream("acme", "training").id
            reach = Reach(1000 * seconds, int(time.time() * 1000) - 3_600_000)
            store.viewers.reach.keep({(film, self.id_of(text)): reach})

    def id_of(self, text: str) -> int:
        with self.store() as store, self.keys() as keys:
            found = Issuer(store.viewers, keys).find(store.tenant("acme").id, text)
            assert found is not None
            return found.id

    def kept(self, text: str) -> Reach:
        with self.store() as store:
            return store.viewers.reach.find(store.stream("acme", "training").id, self.id_of(text))

    def visit(self, text: str) -> Visit:
        """A device more, or the same again."""
        return Visit(self, self.let_in("acme/training", text))


class Visit:
    """A session, and the addresses of its segments, by rendition: the qualities, and then the sound."""

    def __init__(self, course: Course, session: dict[str, Any]) -> None:
        self.course = course
        self.session = session
        self.reached = session["reached"]
        master = session["master"]
        lines = course.ask(master)[2].decode().splitlines()
        named = [line.split('URI="')[1].split('"')[0] for line in lines if 'URI="' in line]
        playlists = [line for line in lines if line[:1] not in ("", "#")]
        self.renditions = [self._segments(urljoin(master, each)) for each in (*playlists, *named)]

    def _segments(self, playlist: str) -> list[str]:
        lines = self.course.ask(playlist)[2].decode().splitlines()
        return [urljoin(playlist, line) for line in lines if line[:1] not in ("", "#")]

    def ask(self, n: int, rendition: int = 0, **more: str) -> int:
        """The status; who skips ahead is told so."""
        status, headers, data = self.course.ask(self.renditions[rendition][n], **more)
        if status == 403:
            assert headers["content-type"] == "application/problem+json"
            problem = json.loads(data)
            assert problem["kind"] == "ahead" and 0 <= problem["reached"] <= 600
        elif status == 503:
            assert 1 <= int(headers["retry-after"]) <= AHEAD
        return status


@pytest.fixture
def course(tmp_path: Path, films: list[str]) -> Iterator[Course]:
    with node_in(tmp_path) as node:
        node.settings("workers = 2", BUSY)
        made = Course(node)
        made.open(films)
        node.start()
        node.hear("READY=1")
        yield made


class Taken:
    """What somebody has got, from all connections: the end of the last segment, and never before its time."""

    def __init__(self, reached: float = 0) -> None:
        self.reached = reached
        self.begun = time.monotonic()
        self.most = 0.0
        self.statuses: set[int] = set()
        self._lock = threading.Lock()

    def note(self, n: int, status: int) -> int:
        later = time.monotonic() - self.begun
        with self._lock:
            self.statuses.add(status)
            if status in (200, 206):
                self.most = max(self.most, (n + 1) * SEGMENT)
            assert self.most <= self.reached + later + AHEAD + SLACK, (n, status, later)
        return status


def test_a_bare_client_that_asks_for_what_comes_much_later_gets_nothing(course: Course) -> None:
    visit, taken = course.visit(course.issue("acme/training")), Taken()
    assert visit.reached == 0
    for n in (100, 299, 40):
        for rendition in range(4):
            assert taken.note(n, visit.ask(n, rendition)) == 403
    # What it needs for that is there as always, and what comes next as well.
    folder = visit.renditions[0][0].rpartition("/")[0]
    lines = course.ask(f"{folder}/index.m3u8")[2].decode().splitlines()
    key = next(line for line in lines if line.startswith("#EXT-X-KEY")).split('"')[1]
    assert course.ask(f"{folder}/{key}")[0] == 200
    assert [taken.note(n, visit.ask(n)) for n in (0, 1, 2)] == [200] * 3
    assert taken.note(103, visit.ask(103)) == 403
    # HEAD and pictures tell no more of it.
    assert course.ask(visit.renditions[0][100], "HEAD")[0] == 403
    stills = visit.session["frames"]["preview"]
    assert (
        course.ask(f"{stills}55000.mp4")[0] == 200 and course.ask(f"{stills}300000.mp4")[0] == 403
    )
    assert course.ask(visit.session["frames"]["poster"] + "30000.mp4")[0] == 200


def test_parallel_sessions_on_several_devices_are_one_viewer(course: Course) -> None:
    """Each takes what comes next from the others, and tries what comes much later."""
    text, taken = course.issue("acme/training"), Taken()
    visits = [course.visit(text) for _ in range(3)]

    def take(n: int) -> None:
        visit = visits[n % 3]
        # What is due after the others' is told when to come.
        until(lambda: taken.note(n, visit.ask(n)) == 200)
        assert taken.note(n + 100, visit.ask(n + 100)) == 403

    with ThreadPoolExecutor(3) as pool:
        for begin in range(0, AHEAD // SEGMENT + 3, 3):
            list(pool.map(take, range(begin, begin + 3)))
    # Together they have what one of them would have.
    assert time.monotonic() - taken.begun > 6 - SLACK
    assert taken.statuses <= {200, 403, 503}


def test_ranges_are_no_way_round_it(course: Course) -> None:
    text = course.issue("acme/training")
    visit, taken = course.visit(text), Taken()
    for part in ("bytes=0-0", "bytes=0-", "bytes=-1", "bytes=100-199"):
        assert taken.note(100, visit.ask(100, Range=part)) == 403
    # Who asks for the begin of each has had none of them.
    n = AHEAD // SEGMENT
    for each in range(n):
        assert taken.note(each, visit.ask(each, Range="bytes=0-99")) == 206
    until(lambda: time.monotonic() > taken.begun + 3)
    assert taken.note(n, visit.ask(n, Range="bytes=0-99")) == 403
    # In two parts, it is whole.
    size = int(course.ask(visit.renditions[0][0], "HEAD")[1]["content-length"])
    for part in (f"bytes=0-{size // 2}", f"bytes={size // 2 + 1}-"):
        assert visit.ask(0, Range=part) == 206
    until(lambda: course.kept(text).media_ms == 1000 * SEGMENT)


def test_a_session_for_each_segment_is_the_same_viewer(course: Course) -> None:
    text, taken = course.issue("acme/training"), Taken()
    for n in range(8):
        visit = course.visit(text)
        assert taken.note(n, visit.ask(n)) == 200
        assert taken.note(n + 100, course.visit(text).ask(n + 100)) == 403


def test_who_fetches_as_fast_as_can_be_gets_it_as_it_plays(course: Course) -> None:
    visit, taken = course.visit(course.issue("acme/training")), Taken()
    for n in range((AHEAD + 8) // SEGMENT):
        # At four times its pace, and much more: held until it is due, as players that fetch ahead are.
        assert taken.note(n, visit.ask(n)) == 200
    assert time.monotonic() - taken.begun > 8 - SLACK


def test_it_goes_on_where_the_credit_ended_on_another_device_and_after_every_death(
    course: Course,
) -> None:
    text = course.issue("acme/training")
    first, taken = course.visit(text), Taken()
    for n in range(10):
        assert taken.note(n, first.ask(n)) == 200
    until(lambda: course.kept(text).media_ms == 20_000)
    assert course.visit(text).reached <= time.monotonic() - taken.begun + SLACK
    until(lambda: course.visit(text).reached > 4)
    # Somebody else has another film before him.
    other = course.issue("acme/training")
    assert course.visit(other).reached == 0 and course.visit(other).ask(35) == 403
    for role, number in (("writer", signal.SIGKILL), ("worker", signal.SIGKILL)):
        before = course.node.processes()[role]
        for pid in before:
            os.kill(pid, number)
        until(lambda: len(course.node.processes()[role] - before) == len(before))  # noqa: B023
        until(lambda: _comes_in(course, text))
        visit = course.visit(text)
        assert 4 < visit.reached <= time.monotonic() - taken.begun + SLACK
        # Back, in other qualities, and what comes next.
        for n in (9, 0, 5):
            for rendition in range(4):
                assert visit.ask(n, rendition) == 200
        assert visit.ask(100) == 403
    course.node.stop()
    course.node.start()
    course.node.hear("READY=1")
    visit = course.visit(text)
    assert 4 < visit.reached <= 20 and visit.ask(9) == visit.ask(10) == 200
    assert visit.ask(100) == 403 and course.visit(other).reached == 0


def _comes_in(course: Course, text: str) -> bool:
    with suppress(OSError):
        return course.sign_in("acme/training", text)[0] == 200
    return False


def test_who_has_come_far_goes_on_from_there_and_anywhere_before(course: Course) -> None:
    text = course.issue("acme/training")
    course.let_go(text, 300)
    visit, taken = course.visit(text), Taken(300)
    assert visit.reached == 300
    for n in (149, 0, 100, 20, 150, 151):
        for rendition in (0, 2, 3):
            assert taken.note(n, visit.ask(n, rendition)) == 200
    assert taken.note(190, visit.ask(190)) == 403
    # Whoever goes back and plays there loses nothing of it.
    until(lambda: course.visit(text).reached == 304)
    assert visit.ask(10) == 200 and course.visit(text).reached == 304


def test_nobody_earns_more_while_the_writer_is_away_and_what_was_had_goes(course: Course) -> None:
    text = course.issue("acme/training")
    course.let_go(text, 300)
    visit = course.visit(text)
    (writer,) = course.node.processes()["writer"]
    assert all(visit.ask(149) == 200 for _ in range(24))
    os.kill(writer, signal.SIGSTOP)
    try:
        assert all(visit.ask(n) == 200 for n in (0, 100, 149) for _ in range(4))
        assert visit.ask(150) == 503 and visit.ask(250) == 503
    finally:
        os.kill(writer, signal.SIGCONT)
    until(lambda: visit.ask(150) == 200)
    assert visit.ask(250) == 403


def test_where_it_is_switched_off_again_everybody_goes_anywhere(course: Course) -> None:
    text = course.issue("acme/training")
    visit = course.visit(text)
    assert visit.ask(200) == 403
    with course.store() as store:
        store.set_stream("acme", "training", {"no_skip": False}, who="test", now=1)
    until(lambda: "reached" not in course.let_in("acme/training", text))
    until(lambda: visit.course.ask(visit.renditions[0][200])[0] == 200)


# What viewers see of it.

LIMIT = "document.getElementById('limit')"
BEZEL = "document.getElementById('bezel').textContent"
OWN_PLAYER = """
const { master } = await (await fetch("session", {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ password: PASSWORD }),
})).json();
window.own = document.createElement("video");
own.muted = true;
document.body.append(own);
window.refused = [];
window.player = new Hls();
player.on(Hls.Events.ERROR, (_, { response }) => refused.push(response?.code));
player.loadSource(master);
player.attachMedia(own);
await own.play();
"""
LOADED = "[...Array(own.buffered.length).keys()].reduce((most, n) => Math.max(most, own.buffered.end(n)), 0)"


def opened(course: Course, chromium: Chromium, text: str, **context: Any) -> Page:
    page = chromium.page(**{"viewport": {"width": 1280, "height": 800}, **context})
    page.goto(f"{address(course, 'acme/training')}#{text}")
    page.until(ASKS)
    page.press("Enter")
    page.until("Number(document.getElementById('seek').max) > 1")
    return page


def playing(page: Page, at: float) -> None:
    page.click("#start")
    goes_on(page, at)


def goes_on(page: Page, at: float) -> None:
    """It plays from there on."""
    page.until(
        f"!{VIDEO}.seeking && {VIDEO}.currentTime > {at} + 1 && {VIDEO}.currentTime < {at} + 30"
    )


def test_the_page_shows_how_far_one_may_go_and_goes_on_from_there(
    course: Course, chromium: Chromium
) -> None:
    text = course.issue("acme/training")
    course.let_go(text, 300)
    page = opened(course, chromium, text, locale="de-DE")
    page.until(f"!{LIMIT}.hidden && {LIMIT}.textContent.endsWith('bis jetzt bis 5:00')")
    accessible(page)
    playing(page, 300)
    page.js(COUNT_STALLS)
    # As people do, and as scripts do.
    for jump in (lambda: page.press("9"), lambda: page.js(f"void ({VIDEO}.currentTime = 500)")):
        page.js(f"void ({BEZEL} = '')")
        at = page.js(f"{VIDEO}.currentTime")
        jump()
        page.until(f"{BEZEL}.startsWith('Noch nicht weiter als 5:')")
        goes_on(page, at)
    page.run("await page.mouse.move(90, 90)")
    page.click("#settings")
    speeds = page.js(
        "[...document.querySelectorAll('[name=speed]')].map((each) => Number(each.value))"
    )
    assert max(speeds) == 1
    page.press("Escape")
    for key, at in (("2", 120), ("0", 0), ("4", 240)):
        page.press(key)
        goes_on(page, at)
    for x, quality in enumerate(("90p", "270p")):
        page.run("await page.mouse.move(values.x, 100)", x=100 + x)
        page.click("#settings")
        page.run("await page.getByLabel(values.label, { exact: true }).check()", label=quality)
        page.press("Escape")
        goes_on(page, page.js(f"{VIDEO}.currentTime"))
    page.js(f"void ({VIDEO}.currentTime = 299)")
    goes_on(page, 299)
    never_felt(page)
    # Another device has nothing of that in its memory.
    other = opened(course, chromium, text, locale="en-US")
    other.until(f"{LIMIT}.textContent.startsWith('No skipping ahead in this film: up to 5:')")
    playing(other, 299)
    other.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_limit_has_room_and_is_accessible(
    course: Course, chromium: Chromium, width: int, scheme: str
) -> None:
    text = course.issue("acme/training")
    course.let_go(text, 240)
    viewport = {"width": width, "height": 800}
    page = opened(course, chromium, text, viewport=viewport, colorScheme=scheme, locale="de-DE")
    page.until(f"!{LIMIT}.hidden")
    accessible(page)
    assert page.js("document.documentElement.scrollWidth <= innerWidth")
    inside = "(({ top, bottom }) => top >= stage.top && bottom <= stage.bottom)"
    stage = "const stage = document.getElementById('stage').getBoundingClientRect()"
    assert page.js(f"(() => {{ {stage}; return {inside}({LIMIT}.getBoundingClientRect()) }})()")
    # What comes later has no picture.
    seek = page.js(
        "(({ left, top, width }) => [left + width * 0.8, top + 10])"
        "(document.getElementById('seek').getBoundingClientRect())"
    )
    page.run("await page.mouse.move(...values.to)", to=seek)
    page.until("document.getElementById('preview-time').textContent.endsWith('noch nicht')")
    page.close()


def test_another_page_with_hls_js_whose_script_seeks_gets_no_further(
    course: Course, chromium: Chromium
) -> None:
    text = course.issue("acme/training")
    page = opened(course, chromium, text)
    begun = time.monotonic()
    page.js(f"(async () => {{ {OWN_PLAYER.replace('PASSWORD', json.dumps(text))} }})()")
    page.until("own.currentTime > 1")
    for place in (100, 300, 590):
        page.js(f"void (own.currentTime = {place}, player.startLoad({place}))")
        page.until("refused.includes(403)")
        page.js("void (refused.length = 0)")
        assert page.js(LOADED) <= time.monotonic() - begun + AHEAD
    page.close()


def test_who_plays_from_the_begin_never_waits_for_what_is_not_due(
    course: Course, chromium: Chromium
) -> None:
    """At such rates hls.js would have all of the film at once."""
    page = opened(course, chromium, course.issue("acme/training"), locale="en-US")
    playing(page, 0)
    page.js(COUNT_STALLS)
    page.until(f"{VIDEO}.currentTime > 12")
    page.until(f"{VIDEO}.buffered.end(0) > 62")
    assert page.js(f"{VIDEO}.buffered.end(0)") < page.js(f"{VIDEO}.currentTime") + AHEAD + 4
    never_felt(page)
