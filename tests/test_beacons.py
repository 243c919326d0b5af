"""What players say of themselves: taken where it is wanted, and on record as deliveries are."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest

from pystream import _core
from pystream.acl.grants import Grants
from pystream.acl.keys import Keyring
from pystream.acl.streams import Stream, StreamSettings
from pystream.attendance import evidence
from pystream.server.beacons import ANSWER_MS, LONGEST, Beacons, Unheard, of_cmcd
from tests import program
from tests.browser.chromium import Chromium, Page
from tests.test_admission import ASKS, address
from tests.test_attending import Hall, T
from tests.test_evidence import SETTINGS, Audience
from tests.test_evidence import told as shown_of
from tests.test_page import VIDEO, accessible
from tests.test_serve import environment, node_in
from tests.test_viewers import NOW
from tests.waiting import everywhere, until

BEAT = {"sn": 1, "state": "playing", "playhead_ms": 0, "rate": 1, "hidden": False}
ID = bytes(range(16))
MINUTES = 10


class Heard:
    """Beacons of one session that was opened at `NOW`, by clocks that are set; and what was said."""

    def __init__(self, minutes: int | None = None) -> None:
        table = _core.Gcra(_core.Gcra.create(1 << 16), bytes(16))
        sessions = _core.Sessions(_core.Sessions.create(4))
        sessions.open(ID, 3, NOW, expires=NOW + 10**6, idle_s=0, holder=1)
        self.said: list[tuple[int, dict[str, Any]]] = []
        self.now = NOW * 1000
        self.beacons = Beacons(
            table, bytes(32), sessions, self._note, lambda: self.now, lambda: self.now * 1000
        )
        settings = StreamSettings(sources=("/x.mp4",), beacons=True, check_minutes=minutes)
        self.stream = Stream(
            id=3,
            tenant_id=1,
            tenant="acme",
            name="film",
            settings=settings,
            created_at=0,
            removed_at=None,
            revision=1,
        )

    def _note(self, session: bytes, place: bytes, t: int) -> None:
        event = evidence.said(place, "7", session, "film", t)
        assert event is not None and session == ID
        self.said.append((t, json.loads(event)))

    def hear(self, said: object) -> dict[str, Any] | None:
        body = said if isinstance(said, bytes) else json.dumps(said).encode()
        return self.beacons.hear(self.stream, ID, body)

    def refused(self, said: object) -> tuple[int, str]:
        with pytest.raises(Unheard) as refused:
            self.hear(said)
        return refused.value.status, refused.value.kind

    def checks(self) -> list[tuple[int, int | None]]:
        return [(t, each["answered"]) for t, each in self.said if each["kind"] == "check"]

    def asked(self) -> dict[str, Any]:
        """Goes on until the page is told to ask; it plays meanwhile."""
        while True:
            self.now += 10_000
            if (check := self.hear(BEAT)) is not None:
                return check


def test_a_beacon_is_what_the_rule_says_and_nothing_else() -> None:
    heard = Heard()
    assert heard.hear(BEAT) is None and heard.hear(BEAT | {"rate": 0.25, "state": "ended"}) is None
    assert heard.said[0] == (
        heard.now,
        BEAT
        | {"kind": "beacon", "key": "7", "stream": "film", "session": ID.hex(), "t": heard.now},
    )
    heard.now += 10_000
    wrong: list[object] = [
        *(BEAT | {"sn": sn} for sn in (-1, 1.5, "1", None, True, 2**53)),
        *(BEAT | {"rate": rate} for rate in (0, 4.1, "1", None)),
        *(
            BEAT | {"state": "dancing"},
            BEAT | {"hidden": 0},
            BEAT | {"more": 1},
            BEAT | {"playhead_ms": -1},
        ),
        *({}, [], None, 7, {"check": "x"}, b"", b"\xff", b"{", b"[" * 2000, b'{"sn": NaN}'),
        {name: value for name, value in BEAT.items() if name != "hidden"},
    ]
    for each in wrong:
        heard.now += 1000
        assert heard.refused(each) == (400, "beacon"), each
    assert heard.refused(b" " * (LONGEST + 1)) == (413, "long")
    assert len(heard.said) == 2


def test_one_a_second_is_enough_and_some_may_come_at_once() -> None:
    heard = Heard()
    for n in range(8):
        assert heard.hear(BEAT | {"sn": n}) is None
    assert heard.refused(BEAT) == (429, "often")
    for n in range(20):
        heard.now += 1000
        assert heard.hear(BEAT | {"sn": n}) is None
    assert heard.refused(BEAT) == (429, "often")


def test_a_check_comes_once_in_so_many_minutes_and_nobody_can_tell_when() -> None:
    heard = Heard(MINUTES)
    moments = []
    for turn in range(6):
        check = heard.asked()
        assert 90 < check["seconds"] <= 120 and len(check["check"]) == 32
        (moment, answered) = heard.checks()[-1]
        begin = NOW * 1000 + turn * MINUTES * 60_000
        assert begin <= moment < begin + MINUTES * 60_000 - ANSWER_MS and answered is None
        assert heard.now - 10_000 < moment <= heard.now
        moments.append(moment - begin)
        heard.now = begin + MINUTES * 60_000 - 10_000
    assert len(set(moments)) == 6
    # Another session has other ones, and so has another secret.
    assert heard.beacons._moment(heard.stream, bytes(16), moments[0]) is None


def test_an_answer_counts_within_two_minutes() -> None:
    heard = Heard(MINUTES)
    check = heard.asked()
    moment, _ = heard.checks()[-1]
    for wrong in ("0" * 32, check["check"][::-1]):
        assert heard.refused({"check": wrong}) == (409, "over")
    heard.now = moment + ANSWER_MS
    assert heard.hear({"check": check["check"]}) is None
    assert heard.checks()[-1] == (moment, ANSWER_MS)
    heard.now += 1
    assert heard.refused({"check": check["check"]}) == (409, "over")


def test_who_does_not_play_is_not_asked() -> None:
    heard = Heard(MINUTES)
    end = heard.now + 3 * MINUTES * 60_000
    while heard.now < end:
        heard.now += 10_000
        assert heard.hear(BEAT | {"state": "paused"}) is None
    assert heard.checks() == []


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("bg,pt=12345,sn=4,sta=p,v=2", BEAT | {"sn": 4, "playhead_ms": 12_345, "hidden": True}),
        (
            'v=2,sta=a,sn=0,pt=0,pr=1.5,sid="x",br=(1 2)',
            BEAT | {"sn": 0, "state": "paused", "rate": 1.5},
        ),
        ("sta=k,sn=1,pt=0,v=2,bg=?0", BEAT | {"state": "seeking"}),
        *((f"sta={each},sn=1,pt=0,v=2", BEAT | {"state": "stalled"}) for each in "rsd"),
        *((f"sta={each},sn=1,pt=0,v=2", BEAT | {"state": "ended"}) for each in "efq"),
        # The first version never counts, whatever it says.
        *(("sta=p,sn=1,pt=0", None), ("sta=p,sn=1,pt=0,v=1", None), ("sta=p,sn=1,pt=0,v=3", None)),
        *(("sn=1,pt=0,v=2", None), ("sta=p,pt=0,v=2", None), ("sta=p,sn=1,v=2", None)),
        *(
            ("sta=x,sn=1,pt=0,v=2", None),
            ("sta=p,sn=-1,pt=0,v=2", None),
            ("sta=p,sn=1,pt=1e3,v=2", None),
        ),
        *(("sta=p,sn=1,pt=0,pr=9,v=2", None), ("sta=p,sn=1,pt=0,pr=nan,v=2", None), ("", None)),
    ],
)
def test_cmcd_of_the_second_version_is_a_beacon(said: str, wanted: dict[str, Any] | None) -> None:
    assert of_cmcd(urlencode({"CMCD": said})) == wanted
    heard = Heard()
    heard.beacons.note(ID, f"a=b&{urlencode({'CMCD': said})}")
    assert len(heard.said) == (wanted is not None)


def test_a_query_that_is_none_of_it_says_nothing_and_no_more_is_taken_than_one_a_second() -> None:
    for query in (
        "",
        "CMCD",
        "x=CMCD=",
        "&".join(["CMCD=v%3D2"] * 9),
        "CMCD=" + "a" * 3000,
        "CMCD=%FF",
    ):
        assert of_cmcd(query) is None
    heard = Heard()
    for n in range(20):
        heard.beacons.note(ID, urlencode({"CMCD": f"sta=p,sn={n},pt=0,v=2"}))
    assert len(heard.said) == 8


@pytest.fixture
def hall(tmp_path: Path, url: str) -> Iterator[Hall]:
    made = Hall(tmp_path, url)
    yield made
    made.close()


def test_what_is_said_is_in_the_evidence_sealed_and_erased_as_deliveries_are(hall: Hall) -> None:
    beat = {**BEAT, "playhead_ms": 5}
    said = [evidence.beacon(beat), evidence.check(None), evidence.check(50)]
    text = b"".join(evidence.record(T - 1000, hall.sessions[0] + each) for each in said)
    # One that many share is nobody's.
    text += evidence.record(T - 1000, hall.sessions[2] + said[0])
    assert hall.keep(hall.told((0, T)), hall.told(number=2, records=text)) == 4
    # What is none of it is missing, and so an outage.
    for number, wrong in enumerate((b"\5{", b"\5[]"), 3):
        records = evidence.record(T - 1000, hall.sessions[0] + wrong)
        assert hall.keep(hall.told(number=number, records=records)) == 0
    session = {
        "session": hall.sessions[0].hex(),
        "stream": "film",
        "key": str(hall.passwords[0]),
        "t": T,
    }
    wanted = [
        {**beat, "kind": "beacon", **session},
        {"answered": None, "kind": "check", **session},
        {"answered": 50, "kind": "check", **session},
    ]
    assert [each for each in hall.events() if each["kind"] in ("beacon", "check")] == wanted
    lines = "\n".join(hall.attendance.events(hall.keys, hall.acme, hall.ids["acme/film"]))
    assert _core.canonical_events(lines.encode()) == [each.encode() for each in lines.split("\n")]
    hall.attendance.seal(hall.keys, T + 3_600_000, NOW)
    assert [each for each in hall.events() if each["kind"] in ("beacon", "check")] == wanted
    hall.issuer.erase(hall.acme, [hall.passwords[0]], who="eva", now=NOW)
    assert {each["kind"] for each in hall.events()} == {"outage"}


# On a real node, by the page.


@pytest.fixture
def audience(tmp_path: Path) -> Iterator[Audience]:
    with node_in(tmp_path) as node:
        node.settings("workers = 2", SETTINGS)
        made = Audience(node)
        with made.store() as store:
            store.set_stream(
                "acme", "course", {"beacons": True, "check_minutes": 5}, who="test", now=1
            )
        node.start()
        node.hear("READY=1")
        yield made


def told(audience: Audience, visit: dict[str, Any], body: str, **more: str) -> tuple[int, Any]:
    status, headers, data = audience.ask(visit["beacon"], "POST", body, **more)
    if status == 204:
        return status, None
    kind = headers["content-type"]
    assert kind == ("application/json" if status == 200 else "application/problem+json"), data
    return status, json.loads(data)


@pytest.mark.slow
def test_whoever_has_the_session_says_what_it_plays(audience: Audience) -> None:
    text = audience.issue("acme/course")
    visit = audience.let_in("acme/course", text)
    beat = json.dumps({**BEAT, "rate": 1.5})
    assert told(audience, visit, beat, kind="text/plain")[0] == 204
    status, problem = told(audience, visit, "{}")
    assert (status, problem["kind"]) == (400, "beacon")
    assert told(audience, visit, " " * 3000)[1]["kind"] == "long"
    (event,) = wait_for(lambda: audience.events(kind="beacon"))
    assert event["key"] == audience.key_of(text) and event["rate"] == 1.5
    assert abs(event["t"] - time.time() * 1000) < 60_000
    # By its requests, of the second version alone.
    segment = audience.segments(visit)[0]
    for said in ("sn=7,sta=r,pt=3", "sn=8,sta=r,pt=3,v=2"):
        assert audience.ask(f"{segment}?{urlencode({'CMCD': said})}")[0] == 200
    until(lambda: len(audience.events(kind="beacon")) > 1)
    (by_request,) = [each for each in audience.events(kind="beacon") if each != event]
    assert (by_request["sn"], by_request["state"]) == (8, "stalled")
    assert audience.ask(visit["beacon"])[0] == 405
    forged = visit["beacon"].replace(visit["grant"], visit["grant"][:-4] + "AAAA")
    assert audience.ask(forged, "POST", beat)[0] == 403
    # Both workers count together.
    until(lambda: told(audience, visit, beat)[0] == 429)
    audience.revoke("acme", text)
    until(lambda: audience.ask(visit["beacon"], "POST", beat)[0] == 403)
    # Where nobody wants it, there is nothing.
    quiet = audience.let_in("acme/quiet", audience.issue("acme/quiet"))
    assert "beacon" not in quiet
    assert audience.ask(quiet["master"].replace("master.m3u8", "beacon"), "POST", beat)[0] == 404


def wait_for(what: Callable[[], list[Any]]) -> list[Any]:
    until(what)
    return what()


def command(audience: Audience, *words: str) -> str:
    done = program.run(
        *words, cwd=audience.node.folder, env=environment(), stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


PLAYS = f"!{VIDEO}.paused && {VIDEO}.currentTime > 1"
NOTICE = "document.getElementById('notice')"
PRESENCE = "document.getElementById('presence')"
ASKED = """
let first = true;
await page.route("**/beacon", async (route) => {
  if (!first) return route.continue();
  first = false;
  await route.fulfill({ status: 200, json: values.check });
});
"""
SAID = """
window.said = [];
const send = fetch;
window.fetch = (where, sent) => {
  if (String(where).endsWith("/beacon")) said.push(JSON.parse(sent.body));
  return send(where, sent);
};
"""


def opened(audience: Audience, chromium: Chromium, text: str, **context: Any) -> Page:
    page = chromium.page(**{"viewport": {"width": 1280, "height": 800}} | context)
    page.goto(f"{address(audience, 'acme/course')}#{text}")
    page.until(ASKS)
    return page


def come_in(page: Page) -> None:
    page.press("Enter")
    page.until("Number(document.getElementById('seek').max) > 1")
    page.click("#start")
    page.until(PLAYS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("locale", "said", "other"),
    [
        ("de-DE", "Die Seite sagt dem Server", "The page tells the server"),
        ("en-US", "The page tells the server", "Die Seite sagt dem Server"),
    ],
)
def test_the_page_says_what_it_plays_and_that_it_does(
    audience: Audience, chromium: Chromium, locale: str, said: str, other: str
) -> None:
    text = audience.issue("acme/course")
    page = opened(audience, chromium, text, locale=locale)
    # Once, in the language of who reads it.
    assert page.js("document.querySelector('main').innerText").count(said) == 1
    assert said in page.js(f"{NOTICE}.innerText") and page.js(f"{NOTICE}.children.length") == 1
    assert other not in page.js("document.documentElement.outerHTML")
    accessible(page)
    come_in(page)
    until(lambda: audience.events(kind="beacon"))
    page.press("k")
    until(lambda: audience.events(kind="beacon")[-1]["state"] == "paused")
    page.press("k")
    page.run("await page.goto('about:blank')")
    states = [
        each["state"] for each in sorted(audience.events(kind="beacon"), key=lambda e: e["sn"])
    ]
    assert states[0] in ("playing", "seeking", "stalled") and "playing" in states
    instants = [each["t"] for each in sorted(audience.events(kind="beacon"), key=lambda e: e["sn"])]
    assert instants == sorted(instants)
    page.close()
    shown = json.loads(shown_of(audience, "show", "acme/course", "--json"))["rows"]
    assert [row["evidence_grade"] for row in shown] == ["player"]
    assert 0 <= shown[0]["certifiable_ms"] <= shown[0]["verified_ms"] <= shown[0]["access_ms"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "locale", "size"),
    [
        ("light", "de-DE", (1280, 800)),
        ("dark", "de-DE", (320, 568)),
        ("light", "en-US", (320, 568)),
        # On its side, and in a page that leaves it as little as that.
        ("dark", "en-US", (568, 320)),
        ("dark", "de-DE", (320, 180)),
    ],
)
def test_a_check_is_answered_by_a_key_and_a_screen_reader_can_tell(
    audience: Audience, chromium: Chromium, scheme: str, locale: str, size: tuple[int, int]
) -> None:
    page = opened(
        *(audience, chromium, audience.issue("acme/course")),
        viewport={"width": size[0], "height": size[1]},
        colorScheme=scheme,
        locale=locale,
    )
    page.run(ASKED, check={"check": "ab" * 16, "seconds": 100})
    page.js(f"(() => {{ {SAID} }})()")
    come_in(page)
    page.until(f"{PRESENCE}.open")
    accessible(page)
    assert page.js("document.activeElement.id") == "present"
    assert page.js(f"{PRESENCE}.getAttribute('role')") == "alertdialog"
    left = "Noch" if locale == "de-DE" else "left"
    said = "document.getElementById('presence-left').textContent"
    page.until(f"{said}.includes('{left}') && {said}.includes(' s')")
    # All of it is seen at once, and a thumb finds the button.
    where = f"{PRESENCE}.getBoundingClientRect()"
    assert page.js(f"{where}.left >= 0 && {where}.right <= innerWidth")
    assert page.js(f"{where}.top >= 0 && {where}.bottom <= innerHeight")
    assert page.js(f"{PRESENCE}.scrollHeight <= {PRESENCE}.clientHeight")
    assert page.js("document.getElementById('present').getBoundingClientRect().height") >= 44
    # It is not away by a slip, and the film goes on.
    page.press("Escape")
    assert page.js(f"{PRESENCE}.open") and page.js(f"!{VIDEO}.paused")
    page.press("Enter")
    page.until(f"!{PRESENCE}.open && said.some((each) => each.check === '{'ab' * 16}')")
    page.close()


def asked_soon(audience: Audience, text: str) -> tuple[dict[str, Any], int]:
    """A visit that will be asked within half a minute, and when: nobody else can know, so it is tried."""
    with audience.keys() as keys:
        keyring = Keyring(keys.root())
    grants = Grants(*keyring.grant_keys(int(time.time())))
    while True:
        visit = audience.let_in("acme/course", text)
        session = grants.session_of(visit["grant"])
        with audience.store() as store:
            (opened,) = (s.opened_at for s in store.viewers.sessions(0) if s.id == session)
        moment = moment_of(keyring.presence_secret(), session, opened)
        if 10_000 < moment - time.time() * 1000 < 30_000:
            return visit, moment


def moment_of(secret: bytes, session: bytes, opened: int) -> int:
    """Of the first check of a session, of five minutes."""
    heard = Heard(5)
    table = _core.Sessions(_core.Sessions.create(4))
    table.open(session, 3, opened, expires=opened + 10**6, idle_s=0, holder=1)
    heard.beacons._secret, heard.beacons._sessions = secret, table
    begin = opened * 1000
    moments = (
        heard.beacons._moment(heard.stream, session, now)
        for now in range(begin, begin + 300_000, 60_000)
    )
    return next(each for each in moments if each is not None)


KEPT = """
await page.addInitScript((visit) => sessionStorage.setItem("pystream-visit", visit), values.visit);
"""


@pytest.mark.slow
def test_who_answers_a_check_has_it_in_the_report_and_who_does_not_has_not(
    audience: Audience, chromium: Chromium
) -> None:
    """The whole way: by the server's own moment, two pages, the evidence, and the report of the day."""
    texts = [audience.issue("acme/course") for _ in range(2)]
    pages = []
    for text in texts:
        visit, moment = asked_soon(audience, text)
        page = chromium.page(locale="en-US")
        page.run(KEPT, visit=json.dumps(visit | {"path": "/acme/course/"}))
        page.goto(address(audience, "acme/course"))
        page.until("Number(document.getElementById('seek').max) > 1")
        page.click("#start")
        page.until(PLAYS)
        # Nobody is asked once the film is over.
        page.js(f"{VIDEO}.loop = true")
        pages.append((page, moment))
    for page, _ in pages:
        page.until(f"{PRESENCE}.open", seconds=90)
    pages[0][0].press("Enter")
    until(lambda: any(each["answered"] is not None for each in audience.events(kind="check")))
    checks = audience.events(kind="check")
    keys = [audience.key_of(text) for text in texts]
    for key, (_, moment) in zip(keys, pages, strict=True):
        assert {each["t"] for each in checks if each["key"] == key} == {moment}
    (answered,) = (each for each in checks if each["answered"] is not None)
    assert answered["key"] == keys[0] and 0 < answered["answered"] <= ANSWER_MS

    def apart() -> set[tuple[str, int | None]]:
        """Events that are equal are one."""
        return {(each["key"], each["answered"]) for each in audience.events(kind="check")}

    until(lambda: len(apart()) == 3)
    with audience.store() as store:
        zone = store.tenant("acme").settings.timezone
    day = datetime.fromtimestamp(pages[0][1] / 1000, ZoneInfo(zone)).date().isoformat()
    made = command(audience, "report", "acme/course", "--day", day, "--format", "json")
    rows = {row["key"]: row for row in json.loads(made)["rows"]}
    told_ = [(rows[key]["checks_shown"], rows[key]["checks_answered"]) for key in keys]
    assert told_ == [(1, 1), (1, 0)]
    assert [rows[key]["evidence_grade"] for key in keys] == ["player+checks", "player"]
    for page, _ in pages:
        page.close()


@pytest.mark.slow
def test_a_page_of_a_stream_without_beacons_says_nothing(
    audience: Audience, chromium: Chromium
) -> None:
    with audience.store() as store:
        store.set_stream(
            "acme", "course", {"beacons": False, "check_minutes": None}, who="test", now=1
        )
    until(lambda: everywhere(lambda: b"page tells" not in audience.ask("/acme/course/")[2]))
    page = opened(audience, chromium, audience.issue("acme/course"))
    come_in(page)
    page.press("k")
    page.until(f"{VIDEO}.paused")
    assert not [path for _, path in page.seen("requests") if path.endswith("/beacon")]
    page.close()
