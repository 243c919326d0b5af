"""From three viewers at their screens to a proof on somebody else's machine, on a real node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pypdfium2
import pytest

from pystream.acl import sign_in
from pystream.acl.people import Role
from pystream.attendance.programmes import EventSettings
from tests.browser.chromium import Chromium, Page
from tests.oracles import attendance as oracle
from tests.sliding import sitecustomize as sliding
from tests.test_admission import ASKS, address
from tests.test_beacons import PLAYS
from tests.test_console import PASSWORD, SIGN_IN, WIDE
from tests.test_console_attendance import downloaded
from tests.test_evidence import SETTINGS, Audience
from tests.test_serve import ROOT, SERVE, environment, node_in
from tests.waiting import until

pytestmark = pytest.mark.slow

SLIDING = ROOT / "tests" / "sliding"
# Any program of pystream, two days later.
LATER = """
import sys, time
now = time.time
time.time = lambda: now() + 2 * 86_400
from pystream.cli import main
sys.exit(main())
"""


class Hall(Audience):
    """A node with a film and a playlist that slides, an event over both, and an organiser."""

    def __init__(self, node: Any) -> None:
        super().__init__(node)
        self.moved = node.folder / "moved"
        self.move_to(1)
        minute = time.time_ns() // 60_000_000_000 * 60_000
        by: dict[str, Any] = {"who": "test", "now": 1}
        with self.store() as store:
            acme = store.tenant("acme")
            self.add_stream(store, "acme", "sliding", access="personal", attendance=True)
            store.people.add(
                acme.id, "admin", Role.ADMIN, sign_in.hash_password(PASSWORD), None, **by
            )
            event = EventSettings(
                title="Herz 2026",
                streams=("course", "sliding"),
                timezone="UTC",
                windows=((minute - 1_800_000, minute + 1_800_000),),
                rounding="threshold_pct",
                threshold_pct=1,
                seal_after_s=0,
            )
            store.events.add(acme.id, "herz", event, **by)
        self.root = f"http://127.0.0.1:{node.port}/console/"

    def move_to(self, number: int) -> None:
        """The playlist has the segments up to that one from here on."""
        new = self.moved.with_name("moving")
        new.write_text(str(number))
        os.replace(new, self.moved)

    def had(self, text: str, stream: str) -> list[int]:
        """The segments that somebody had of a stream, by number."""
        key = self.key_of(text)
        told = self.events(f"acme/{stream}")
        return sorted({each["m0"] // 2000 for each in told if each["key"] == key})

    def wait_for(self, text: str, stream: str, number: int) -> None:
        until(lambda: number in self.had(text, stream))

    def run(self, *words: str, later: bool = False) -> str:
        """What a program of pystream says, on the node's machine."""
        program = ["-c", LATER] if later else ["-m", "pystream"]
        return said(self.node.folder, *program, *words)


def said(folder: Path, *words: str, **more: str) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=more or environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def other() -> Iterator[Chromium]:
    """A second browser."""
    running = Chromium()
    yield running
    running.close()


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    (tmp_path / "node").mkdir()
    # Python imports what has the playlist slide when a worker starts.
    with node_in(tmp_path / "node", SERVE) as node:
        node.settings("workers = 2", SETTINGS)
        made = Hall(node)
        path = os.pathsep.join((str(SLIDING), str(ROOT)))
        node.start(PYTHONPATH=path, **{sliding.PLACE: str(made.moved)})
        node.hear("READY=1")
        yield made


def come_in(hall: Hall, chromium: Chromium, stream: str, text: str, **context: Any) -> Page:
    page = chromium.page(**context)
    page.goto(f"{address(hall, f'acme/{stream}')}#{text}")
    page.until(ASKS)
    page.press("Enter")
    page.until("document.getElementById('entry').hidden")
    page.click("#start")
    page.until(PLAYS)
    return page


def playlist_of(hall: Hall, visit: dict[str, Any]) -> tuple[str, str]:
    """Where a visit's media playlist is, and what it says now."""
    master = visit["master"]
    place = urljoin(master, hall.ask(master)[2].decode().splitlines()[-1])
    return place, hall.ask(place)[2].decode()


def read(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / name).read_text())
    return found


def test_three_passwords_two_browsers_and_a_proof_elsewhere(
    hall: Hall, chromium: Chromium, other: Chromium, tmp_path: Path
) -> None:
    first, second, third = (hall.issue("acme/course", "acme/sliding") for _ in range(3))
    # One browser has the film, another one the playlist that slides, and a bare client has both.
    page = come_in(hall, chromium, "course", first, locale="de-DE")
    until(lambda: hall.had(first, "course"))
    phone = {"locale": "en-US", "viewport": {"width": 390, "height": 844}}
    live = come_in(hall, other, "sliding", second, **phone)
    film, course = (hall.let_in(f"acme/{name}", third) for name in ("course", "sliding"))
    for path in hall.segments(film)[:5]:
        assert hall.ask(path)[0] == 200
    for number in range(2, 7):
        hall.move_to(number)
        place, text = playlist_of(hall, course)
        assert "#EXT-X-ENDLIST" not in text and "#EXT-X-PLAYLIST-TYPE" not in text
        first_there = max(0, number - sliding.WINDOW + 1)
        assert f"#EXT-X-MEDIA-SEQUENCE:{first_there}\n" in text
        assert text.splitlines()[-1] == f"{number}.ts"
        assert hall.ask(urljoin(place, f"{number}.ts"))[0] == 200
        # The browser has asked for the playlist again by itself.
        hall.wait_for(second, "sliding", number)
    for each in (page, live):
        assert each.seen("errors") == []
        each.run("await page.goto('about:blank')")
        each.close()
    until(lambda: hall.had(third, "sliding") == [2, 3, 4, 5, 6])
    assert hall.had(third, "course") == [0, 1, 2, 3, 4]
    begun = hall.had(second, "sliding")
    assert begun == list(range(begun[0], 7)) and begun[0] < 2

    # The report is what anybody computes from the evidence.
    report = json.loads(hall.run("report", "acme/herz", "--format", "json"))
    events = [
        json.loads(line) for name in ("course", "sliding") for line in hall.lines(f"acme/{name}")
    ]
    options = report["options"]
    windows = tuple(tuple(span) for span in options["windows"])
    setting = oracle.Setting(mode="file", td=1000, windows=windows, union=True)
    expected = json.loads(json.dumps(oracle.replay(events, setting)))
    assert report["rows"] == expected
    keys = [hall.key_of(text) for text in (first, second, third)]
    whole = {row["key"]: row for row in expected if row["stream"] is None and row["day"] is None}
    assert set(whole) == set(keys)
    # And it says how the node has recorded.
    (node,) = report["about"]["nodes"]
    assert node["proxy"] == "none" and node["clock_error_ms"] >= 0
    on_sliding = {
        row["key"]: row for row in expected if (row["stream"], row["day"]) == ("sliding", None)
    }
    assert on_sliding[keys[1]]["media_ms"] == 2000 * len(begun)
    assert on_sliding[keys[2]]["media_ms"] == 10_000
    assert all(row["access_ms"] > 0 for row in whole.values())
    assert {row["key"] for row in expected if row["stream"] == "sliding"} == set(keys[1:])

    # When the day is over it is sealed, and the organiser downloads the list for the chamber.
    hall.run("report", "acme/herz", "--seal", "-o", "sealed.json", later=True)
    desk = chromium.page(**WIDE, acceptDownloads=True)
    who = {"tenant": "acme", "name": "admin", "password": PASSWORD, "shown": ""}
    desk.run(SIGN_IN, root=hall.root, **who)
    desk.goto(f"{hall.root}events/herz/report?version=1")
    paper = pypdfium2.PdfDocument(downloaded(desk, "a[href*='/pdf']"))
    words = "".join(each.get_textpage().get_text_range() for each in paper)
    assert all(text in words for text in (first, second, third)) and "Herz 2026" in words
    receipts = [
        downloaded(desk, f"tbody tr:nth-of-type({number}) td:last-child a:nth-of-type(1)")
        for number in (1, 2, 3)
    ]
    desk.close()

    # On another machine, with nothing but a public key.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (attached,) = [paper.get_attachment(n) for n in range(paper.count_attachments())]
    (elsewhere / "report.json").write_bytes(bytes(attached.get_data()))
    assert (elsewhere / "report.json").read_bytes() == (
        hall.node.folder / "sealed.json"
    ).read_bytes()
    (elsewhere / "acme.pub").write_text(hall.run("attendance", "key", "acme"))
    (elsewhere / "log.jsonl").write_text(hall.run("attendance", "export", "acme"))
    for number, receipt in enumerate(receipts):
        (elsewhere / f"receipt{number}.json").write_bytes(receipt)

    def verified(name: str, *words: str) -> dict[str, Any]:
        command = ("-m", "pystream", "attendance", "verify", name, "--public-key", "acme.pub")
        alone = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        found: dict[str, Any] = json.loads(said(elsewhere, *command, *words, "--json", **alone))
        assert found["valid"]
        return found

    def proofs(found: dict[str, Any]) -> dict[str, set[str]]:
        by_key = dict[str, set[str]]()
        for row in found["rows"]:
            by_key.setdefault(row["key"], set()).add(row["proof"])
        return by_key

    assert proofs(verified("report.json")) == {key: {"signed"} for key in keys}
    log = ("--evidence", "log.jsonl")
    assert proofs(verified("report.json", *log)) == {key: {"recomputed"} for key in keys}
    of = [read(elsewhere, f"receipt{number}.json")["key"] for number in range(3)]
    assert sorted(of) == sorted(keys)
    for number in range(3):
        found = verified(f"receipt{number}.json")
        assert proofs(found) == {of[number]: {"recomputed"}} and found["events"] > 0

    # One is erased; everything else still verifies.
    (hall.node.folder / "gone.txt").write_text(f"{second}\n")
    hall.run("password", "erase", "acme", "--list", "gone.txt")
    (elsewhere / "later.jsonl").write_text(hall.run("attendance", "export", "acme"))
    assert second not in (elsewhere / "later.jsonl").read_text()
    log = ("--evidence", "later.jsonl")
    found = verified("report.json", *log)
    assert proofs(found) == {
        key: {"not available" if key == keys[1] else "recomputed"} for key in keys
    }
    assert found["leaves_not_available"] > 0
    for number in range(3):
        found = verified(f"receipt{number}.json", *log)
        assert proofs(found) == {of[number]: {"recomputed"}}
    again = hall.run("report", "acme/herz", "--version", "1", later=True)
    assert first in again and third in again and second not in again
