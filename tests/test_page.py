"""The player page: what the server sends, and what a real browser makes of it."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

pytest.importorskip("trio")

from pystream import _core
from pystream.acl.grants import Grants
from pystream.acl.keys import Keyring
from pystream.acl.streams import StreamSettings
from pystream.server import page as player
from pystream.server.pace import Claim, Pace
from pystream.server.page.texts import REFUSALS, TEXTS, TO_FILM, language
from tests.browser.chromium import MODULES, Chromium, Page
from tests.test_overload import Rooms
from tests.test_server import NOW, Server, serving, settings

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "pystream" / "cli" / "sample.mp4"
FILES = ROOT / "pystream" / "server" / "page"
LADDER = ("ladder_270.mp4", "ladder_180.mp4", "ladder_90.mp4", "ladder_audio.m4a")


class Site:
    """Somebody else's web site, with a page that has the player in a frame, or the code that a customer
    was given, and one with a video. `asked`: the paths of all requests."""

    def __init__(self) -> None:
        site = self
        self.framed = ""
        self.code = ""
        self.asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = f'<!doctype html><title>Site</title><iframe src="{site.framed}"'
                body += ' width="800" height="450" allow="fullscreen; autoplay"></iframe>'
                site.asked.append(self.path)
                if self.path.startswith("/code"):
                    body = f'<!doctype html><title>Site</title><h1 id="top">Film</h1>{site.code}'
                if self.path == "/video":
                    body = '<!doctype html><title>Site</title><video id="video" muted></video>'
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, format: str, *values: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        # Another site than 127.0.0.1, not only another origin.
        self.origin = f"http://localhost:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    running = Site()
    yield running
    running.close()


@pytest.fixture(scope="module")
def server(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("films")
    streams = {
        "film": StreamSettings(
            sources=(str(SAMPLE),), title="Film", encryption="aes-128", segment_duration_ms=2000
        ),
        "framed": StreamSettings(
            sources=(str(SAMPLE),), encryption="aes-128", embed_origins=(site.origin,)
        ),
        "anywhere": StreamSettings(sources=(str(SAMPLE),), embed_origins=("*",)),
        "ladder": settings(*LADDER, segment_duration_ms=1000),
        "clear": StreamSettings(sources=(str(SAMPLE),), format="fmp4", segment_duration_ms=2000),
        "sound": settings("audio_48k.m4a"),
        "given": StreamSettings(sources=(str(SAMPLE),), title="A clip", download=True),
        "long": StreamSettings(sources=(str(folder / "long.mp4"),), segment_duration_ms=2000),
        "swift_long": StreamSettings(
            sources=(str(folder / "swift_long.mp4"),), segment_duration_ms=2000, pace=None
        ),
        "swift": StreamSettings(sources=(str(SAMPLE),), pace=None),
        "slow": StreamSettings(sources=(str(SAMPLE),), pace=1),
        "later": StreamSettings(sources=(str(folder / "later.mp4"),)),
        "over": settings("plain.mp4", closes_at=1),
        "locked": settings("plain.mp4", embed_origins=(site.origin,), embed_lock=True),
        "odd": StreamSettings(sources=(str(SAMPLE),), title="</title><script>alert(1)</script>&$x"),
    }
    with serving(streams, page=player.load()) as running:
        yield running


# What is sent.


class Document(HTMLParser):
    """Every element with its attributes, and what scripts and styles hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.inside: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem is not None:
            self.inside.append((self.cdata_elem, data))


def document(server: Server, name: str = "film", **headers: str) -> tuple[dict[str, str], str]:
    status, fields, body = server.get(f"/acme/{name}/", **headers)
    assert status == 200 and fields["content-type"] == "text/html; charset=utf-8"
    return fields, body.decode()


def test_the_policy_has_no_exception(server: Server) -> None:
    fields, _ = document(server)
    policy = fields["content-security-policy"]
    assert "unsafe" not in policy and "nonce" not in policy and "http" not in policy
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and rules["script-src"] == "'self'"
    assert rules["style-src"] == "'self'" and rules["base-uri"] == "'none'"
    assert fields["referrer-policy"] == "no-referrer"
    assert fields["x-content-type-options"] == "nosniff"
    assert "camera=()" in fields["permissions-policy"]
    assert "set-cookie" not in fields


def test_who_may_show_it_in_a_frame(server: Server, site: Site) -> None:
    for name, ancestors in (("film", "'none'"), ("framed", site.origin), ("anywhere", "*")):
        policy = document(server, name)[0]["content-security-policy"]
        assert policy.endswith(f"; frame-ancestors {ancestors}")


def test_nothing_is_inline_and_nothing_is_elsewhere(server: Server) -> None:
    _, text = document(server)
    parsed = Document(text)
    for tag, attributes in parsed.elements:
        assert not [name for name in attributes if name == "style" or name.startswith("on")]
        if tag == "script" and attributes.get("type") != "application/json":
            assert attributes["src"]
    assert [tag for tag, data in parsed.inside if data.strip()] == ["script"]
    addresses = re.findall(r'(?:src|href|data-worker)="([^#"][^"]*)"', text)
    assert len(addresses) >= 6
    assert not [address for address in addresses if "//" in address or address.startswith("/")]


def test_its_files_are_kept_for_good_and_named_by_what_they_hold(server: Server) -> None:
    _, text = document(server)
    page = server.url("/acme/film/")
    for name in re.findall(r'"\.\./\.\./(s/-/[^"]+)"', text):
        status, fields, body = server.get(f"/{name}")
        assert status == 200 and fields["cache-control"].endswith("immutable")
        assert re.search(r"-[0-9a-f]{12}\.\w+$", name) and fields["x-content-type-options"]
        _, fields, packed = server.get(f"/{name}", Accept_Encoding="gzip")
        assert fields["content-encoding"] == "gzip" and gzip.decompress(packed) == body
        status, fields, nothing = server.get(f"/{name}", "HEAD")
        assert (status, fields["content-length"], nothing) == (200, str(len(body)), b"")
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            status, fields, _ = server.get(f"/{name}", method)
            assert (status, fields["allow"]) == (405, "GET, HEAD")
        for imported in re.findall(rb'from "(\./[^"]+)"', body):
            address = urljoin(urljoin(page, f"/{name}"), imported.decode())
            assert server.get(address.removeprefix(server.url("")))[0] == 200
    assert server.get("/s/-/page.js")[0] == 404


def test_a_title_stays_text(server: Server) -> None:
    _, text = document(server, "odd")
    assert "<script>alert" not in text
    assert "&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;$x</title>" in text


def test_a_stream_without_a_title_shows_its_name(server: Server) -> None:
    assert "<title>framed</title>" in document(server, "framed")[1]


@pytest.mark.parametrize(
    ("accepted", "wanted"),
    [
        (None, "en"),
        ("", "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("en-GB,de;q=0.9", "en"),
        ("fr, de;q=0.3, en;q=0.2", "de"),
        ("de;q=0", "en"),
        ("DE", "de"),
        ("*;q=0.5", "en"),
        ("de;q=x", "en"),
    ],
)
def test_the_language_is_the_viewers(accepted: str | None, wanted: str) -> None:
    assert language(accepted) == wanted


def test_the_page_is_in_that_language(server: Server) -> None:
    fields, text = document(server, Accept_Language="de-DE,en;q=0.5")
    assert '<html lang="de">' in text and "Leertaste" in text and "Lautstärke" in text
    assert fields["vary"] == "Accept-Language"
    assert '<html lang="en">' in document(server)[1]


def test_every_language_says_everything_that_is_said() -> None:
    scripts = "".join(path.read_text() for path in FILES.glob("*.js") if "hls." not in path.name)
    said = set(re.findall(r"t_(\w+)", (FILES / "page.html").read_text()))
    troubles = re.findall(r'"(offline|busy|full|gone|denied|media|unsupported|unknown)"', scripts)
    (listed,) = re.findall(r"const TOLD = new Set\(\[(.*?)\]\);", scripts, re.DOTALL)
    told = re.findall(r'"(\w+)"', listed)
    assert {"early_at", "site", "link_used"} <= set(told)
    said |= {f"trouble_{kind}" for kind in (*troubles, *told)}
    kinds = re.findall(r'Refused\(\d+, "(\w+)"', (FILES.parent / "entrance.py").read_text())
    assert "mistyped" in kinds
    said |= {f"entry_{kind}" for kind in (*kinds, "full", "kicked", "revoked", "over", "offline")}
    said |= {"entry_label", "entry_go", "entry_hint", "entry_on"}
    names = set().union(*TEXTS.values())
    used = said | {name for name in names if f'"{name}"' in scripts}
    places = re.compile(r"\{\w+\}")
    for texts in TEXTS.values():
        assert set(texts) == used
        for name, text in texts.items():
            assert places.findall(text) == places.findall(TEXTS["en"][name])


def test_each_language_refuses_in_its_own_words() -> None:
    assert set(REFUSALS) == set(TO_FILM) == set(TEXTS)
    assert len({frozenset(texts) for texts in REFUSALS.values()}) == 1


def test_its_address_without_the_slash_leads_to_it(server: Server) -> None:
    status, fields, _ = server.get("/acme/film")
    assert (status, urljoin("/acme/film", fields["location"])) == (308, "/acme/film/")
    # A link's signature stands there.
    fields = server.get("/acme/film?token=a%2Fb&expires=1")[1]
    assert urljoin("/acme/film", fields["location"]) == "/acme/film/?token=a%2Fb&expires=1"
    assert fields["cache-control"] == "private, no-store"


def test_below_a_prefix_all_addresses_hold() -> None:
    with serving({"film": settings("plain.mp4")}, page=player.load(), prefix="/video") as server:
        status, _, body = server.get("/video/acme/film/")
        assert status == 200
        for relative in re.findall(r'"(\.\./[^"]+)"', body.decode()):
            assert server.get(urljoin("/video/acme/film/", relative))[0] == 200
        _, _, answer = server.get("/video/acme/film/session", "POST")
        assert json.loads(answer)["frames"]["poster"].startswith("/video/t/")


def test_without_its_files_there_is_no_page_and_still_the_film() -> None:
    with serving({"film": settings("plain.mp4")}) as server:
        assert server.get("/acme/film/")[0] == 404
        assert server.get(server.master("film"))[0] == 200


# What a window shows where there is no film.

HTML = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
REFUSED = [
    ("/", 404, "gone", None),
    ("/acme/nosuch/", 404, "gone", None),
    ("/a/b/c/d/e/f", 404, "gone", None),
    ("/t/x/acme/film/master.m3u8", 403, "denied", "/acme/film/"),
    ("/t/{grant}/acme/film/v/v0/0.ts", 404, "gone", "/acme/film/"),
    ("/t/{grant}/acme/film/download.mp4", 404, "gone", None),
    ("/t/{grant}/acme/later/master.m3u8", 503, "busy", ""),
    ("/acme/film/session", 405, "unknown", "/acme/film/"),
]


def granted(server: Server, path: str) -> str:
    name = path.split("/")[4] if "{" in path else "film"
    return path.format(grant=server.master(name).split("/")[2])


@pytest.mark.parametrize("spoken", ["en", "de"])
@pytest.mark.parametrize(("path", "status", "kind", "way"), REFUSED)
def test_a_window_without_a_film_says_so_to_people(
    server: Server, path: str, status: int, kind: str, way: str | None, spoken: str
) -> None:
    path = granted(server, path)
    found, fields, body = server.get(path, Accept=HTML, Accept_Language=spoken)
    assert (found, fields["content-type"]) == (status, "text/html; charset=utf-8")
    assert fields["cache-control"] == "private, no-store"
    text = body.decode()
    title, advice = REFUSALS[spoken][kind]
    assert f'<html lang="{spoken}">' in text and f"<h1>{title}</h1>\n<p>{advice}</p>" in text
    # What is said to programs is English.
    assert f'<p class="reason">{status}' in text
    assert (f"{status}: " in text) == (spoken == "en")
    links = [values["href"] for tag, values in Document(text).elements if tag == "a"]
    assert [link and urljoin(path, link) for link in links] == ([] if way is None else [way])
    head = server.get(path, "HEAD", Accept=HTML, Accept_Language=spoken)
    assert head[0] == status and head[1].keys() == fields.keys()
    assert head[1]["content-length"] == str(len(body))
    # Players and scripts get a line of text.
    for accept, method in (("*/*", "GET"), ("application/json", "GET"), (HTML, "DELETE")):
        _, fields, body = server.get(path, method, Accept=accept)
        assert fields["content-type"] == "text/plain; charset=utf-8" and body.count(b"\n") == 1


@pytest.mark.parametrize(("name", "kind"), [("over", "late"), ("locked", "site")])
@pytest.mark.parametrize("asked", ["", "master.m3u8", "t"])
def test_a_window_leads_to_no_page_that_is_refused_as_well(
    server: Server, name: str, kind: str, asked: str
) -> None:
    path = f"/acme/{name}/{asked}" if asked != "t" else f"/t/x/acme/{name}/master.m3u8"
    status, _, body = server.get(path, Accept=HTML, Sec_Fetch_Dest="document")
    assert status == 403 and not [tag for tag, _ in Document(body.decode()).elements if tag == "a"]
    if asked != "t":
        # No sentence says it once more.
        assert f"<p>{REFUSALS['en'][kind][1]}</p>" in body.decode() and b">403</p>" in body


def test_such_a_window_runs_no_script_and_asks_nobody_else(server: Server, site: Site) -> None:
    for name, ancestors in (("film", "'none'"), ("framed", site.origin)):
        path = f"/t/x/acme/{name}/master.m3u8"
        _, fields, body = server.get(path, Accept=HTML)
        rules = dict(r.strip().split(" ", 1) for r in fields["content-security-policy"].split(";"))
        assert rules["default-src"] == "'none'" and "script-src" not in rules
        assert rules["style-src"] == rules["img-src"] == "'self'"
        assert rules["frame-ancestors"] == ancestors
        assert fields["x-content-type-options"] == "nosniff" and "set-cookie" not in fields
        for tag, attributes in Document(body.decode()).elements:
            assert tag not in ("script", "style") and "style" not in attributes
            if tag == "link":
                assert server.get(urljoin(path, attributes["href"]))[0] == 200


def test_below_a_prefix_such_a_window_has_its_style() -> None:
    with serving({"film": settings("plain.mp4")}, page=player.load(), prefix="/video") as server:
        for path in (
            "/",
            "/elsewhere/x",
            "/video",
            "/video/acme/x/",
            "/video/t/x/acme/film/master.m3u8",
        ):
            _, _, body = server.get(path, Accept=HTML)
            links = [
                values["href"] for _, values in Document(body.decode()).elements if "href" in values
            ]
            assert len(links) >= 2
            for link in links:
                assert server.get(urljoin(path, link))[0] == 200


def test_browsers_that_ask_for_an_icon_get_it(server: Server) -> None:
    status, fields, body = server.get("/favicon.ico")
    assert (status, fields["content-type"], body) == (
        *(200, "image/svg+xml"),
        (FILES / "icon.svg").read_bytes(),
    )
    # Its name says nothing of what it holds.
    assert fields["cache-control"] == "public, max-age=86400"
    with serving({}) as bare:
        assert bare.get("/favicon.ico")[0] == 204


# The session, and the key frames it leads to.


def session(server: Server, name: str) -> dict[str, Any]:
    status, _, body = server.get(f"/acme/{name}/session", "POST")
    assert status == 200
    answer: dict[str, Any] = json.loads(body)
    return answer


def test_a_session_leads_to_pictures_that_fit(server: Server) -> None:
    found = session(server, "ladder")
    assert found["duration"] == pytest.approx(8, abs=0.1)
    # Of 270, 180 and 90 lines: the largest, as 720 are wanted, and the one with the 180 that are.
    assert found["frames"]["poster"].endswith("/v0/frame/")
    assert found["frames"]["preview"].endswith("/v1/frame/")
    for folder in found["frames"].values():
        status, fields, body = server.get(f"{folder}5000.mp4")
        assert status == 200 and fields["content-type"] == "video/mp4"
        assert fields["cache-control"] == "private, no-store" and body[4:8] == b"ftyp"
        status, fields, part = server.get(f"{folder}5000.mp4", Range="bytes=0-7")
        assert (status, part) == (206, body[:8])
    assert session(server, "sound")["frames"] == {}


def test_pictures_are_no_film(server: Server) -> None:
    """They are clear and in no order: so few, and but for the begin small ones."""
    found = session(server, "ladder")
    poster, preview = found["frames"]["poster"], found["frames"]["preview"]
    smallest = preview.replace("/v1/", "/v2/")
    assert found["frame_ms"] == 5000
    for folder, ms, status in (
        (preview, 4999, 404),
        (preview, 1000, 404),
        (preview, 35_000, 200),
        (poster, 30_000, 200),
        (poster, 35_000, 404),
        (smallest, 0, 404),
    ):
        assert server.get(f"{folder}{ms}.mp4")[0] == status


def test_a_picture_needs_the_grant(server: Server) -> None:
    address = session(server, "film")["frames"]["poster"] + "0.mp4"
    assert server.get(address)[0] == 200
    _, _, grant, _, rest = address.split("/", 4)
    assert server.get(f"/t/x/acme/{rest}")[0] == 403
    assert server.get(f"/s/acme/{rest}")[0] == 404
    assert server.get(f"/t/{grant}/acme/{rest.replace('film', 'framed', 1)}")[0] == 403
    sound = session(server, "ladder")["frames"]["poster"].replace("/v0/", "/a0/")
    assert server.get(f"{sound}0.mp4")[0] == 404


# In a browser.


VIDEO = "document.getElementById('video')"
STATE = {
    "playing": f"!{VIDEO}.paused && {VIDEO}.currentTime > 0 && {VIDEO}.readyState > 2",
    "paused": f"{VIDEO}.paused",
    "trouble": "!document.getElementById('trouble').hidden",
    "well": "document.getElementById('trouble').hidden",
}


def opened(chromium: Chromium, server: Server, name: str, **context: Any) -> Page:
    page = chromium.page(**{"viewport": {"width": 1280, "height": 800}, **context})
    page.goto(server.url(f"/acme/{name}/"))
    page.until("Number(document.getElementById('seek').max) > 1")
    return page


def playing(chromium: Chromium, server: Server, name: str, **context: Any) -> Page:
    page = opened(chromium, server, name, **context)
    page.click("#start")
    page.until(STATE["playing"])
    return page


def clean(page: Page) -> None:
    """Nothing on the console, nothing refused by the policy, no cookie."""
    assert page.seen("errors") == []
    assert page.seen("refused") == []
    assert page.run("return context.cookies()") == []


AXE = """
const frame = page.frames()[values.frame];
await frame.evaluate(values.axe);
const found = await frame.evaluate(() => axe.run());
return found.violations.map((each) => `${each.id}: ${each.nodes.map((node) => node.html)}`);
"""


def accessible(page: Page, frame: int = 0) -> None:
    axe = (MODULES / "axe-core" / "axe.min.js").read_text()
    assert page.run(AXE, axe=axe, frame=frame) == []


IN_FRAME = """
const frame = page.frames()[1];
await frame.click("#start");
await until(frame, `${values.video}.currentTime > 1`);
await page.keyboard.press("k");
await until(frame, `${values.video}.paused`);
const at = await frame.evaluate(`${values.video}.currentTime`);
await page.keyboard.press("l");
await until(frame, `${values.video}.currentTime >= ${at + 9.9}`);
return [await frame.evaluate("document.documentElement.className"), frame.url()];
"""


@pytest.mark.slow
def test_it_plays_in_a_frame_on_another_site(
    chromium: Chromium, server: Server, site: Site
) -> None:
    site.framed = server.url("/acme/framed/")
    page = chromium.page()
    page.goto(site.origin)
    assert page.run(IN_FRAME, video=VIDEO) == ["embedded", site.framed]
    accessible(page, frame=1)
    clean(page)
    page.close()


@pytest.mark.slow
def test_a_site_that_may_not_shows_no_frame(chromium: Chromium, server: Server, site: Site) -> None:
    film = server.url("/acme/film/")
    # Of one that does not say who it is, the browser shows nothing.
    site.code = f'<iframe src="{film}" referrerpolicy="no-referrer"></iframe>'
    page = chromium.page()
    page.goto(f"{site.origin}/code")
    assert page.run("return page.frames()[1].url()") != film
    (error,) = page.seen("errors")
    assert "frame-ancestors" in error
    page.close()
    # Of others it is said why, and there is nothing else.
    site.framed = film
    page = chromium.page(locale="de-DE")
    page.goto(site.origin)
    shown = "document.querySelectorAll('video, form, script, a').length + document.body.innerText"
    text = page.run(f"return await page.frames()[1].evaluate({json.dumps(shown)})")
    assert text.startswith("0") and REFUSALS["de"]["site"][1] in text
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize("context", [{}, {"colorScheme": "dark", "locale": "de-DE"}])
def test_whatever_is_open_is_accessible(
    chromium: Chromium, server: Server, context: dict[str, Any]
) -> None:
    page = opened(chromium, server, "ladder", **context)
    accessible(page)
    page.click("#start")
    page.until(STATE["playing"])
    page.press("k")
    accessible(page)
    page.click("#settings")
    accessible(page)
    page.press("Escape", "?")
    accessible(page)
    clean(page)
    page.close()


DOWNLOAD = """
const [download] = await Promise.all([page.waitForEvent("download"), page.click("#download")]);
const path = await download.path();
return [download.suggestedFilename(), path];
"""


@pytest.mark.slow
def test_a_film_that_may_be_had_has_a_button_for_it(chromium: Chromium, server: Server) -> None:
    page = opened(chromium, server, "given")
    page.click("#start")
    page.until(STATE["playing"])
    name, path = page.run(DOWNLOAD)
    assert name == "A clip.mp4" and Path(path).read_bytes() == SAMPLE.read_bytes()
    # It is no other viewer who downloads, and the film goes on.
    asked = [path for _, path in page.seen("requests") if path.startswith("/t/")]
    grants = {path.split("/")[2] for path in asked}
    assert len(grants) == 2 and len(set(map(server.answers.grants.session_of, grants))) == 1
    assert page.js(f"!{VIDEO}.paused")
    accessible(page)
    clean(page)
    page.close()
    page = opened(chromium, server, "film")
    assert page.js("document.getElementById('download').hidden")
    page.close()


KEYS = "[...document.querySelectorAll('#key-list kbd')].map((key) => key.textContent)"


@pytest.mark.slow
def test_the_list_has_the_keys_that_do_something(chromium: Chromium, server: Server) -> None:
    page = opened(chromium, server, "film")
    page.press("?")
    keys = page.js(KEYS)
    assert "M" in keys and "C" not in keys
    page.press("Escape")
    page.js(f"void {VIDEO}.addTextTrack('subtitles')")
    page.press("?")
    assert sorted(page.js(KEYS)) == sorted([*keys, "C"])
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize("fingers", [False, True])
def test_where_fingers_point_no_button_tells_of_keys(
    chromium: Chromium, server: Server, fingers: bool
) -> None:
    lying = {"viewport": {"width": 844, "height": 390}, "hasTouch": fingers, "isMobile": fingers}
    page = opened(chromium, server, "film", **lying)
    shown = page.js("getComputedStyle(document.getElementById('keys')).display")
    assert (shown == "none") is fingers
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 360, 390, 844])
def test_all_buttons_have_room(chromium: Chromium, server: Server, width: int) -> None:
    page = opened(chromium, server, "given", viewport={"width": width, "height": 700})
    page.js("document.getElementById('now').textContent = '0:00:00'")
    row = "document.querySelector('.row')"
    assert page.js(f"{row}.scrollWidth <= {row}.clientWidth")
    below = "document.getElementById('start').getBoundingClientRect().bottom"
    assert page.js(f"{below} <= document.getElementById('seek').getBoundingClientRect().top")
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize("part", ["count", "hls.min", None])
def test_nobody_is_left_with_a_black_picture(
    chromium: Chromium, server: Server, part: str | None
) -> None:
    """Where a part of the page does not arrive, it says so, and how to go on."""
    page = chromium.page()
    page.run("await page.route(values.where, (route) => route.abort())", where=f"**/{part}-*.js")
    page.goto(server.url("/acme/film/"))
    is_there = "document.getElementById('late') !== null"
    if part is None:
        page.until(f"!({is_there})")
    else:
        # It is shown after a while, in which a slow line brings the rest.
        page.until("document.getAnimations().length > 0")
        seen = "getComputedStyle(document.getElementById('late')).visibility"
        assert page.js(seen) == "hidden"
        page.js("document.getAnimations().forEach((each) => each.finish())")
        assert page.js(seen) == "visible"
        page.run("await page.unrouteAll()")
        page.click("#late a")
        page.until(f"!({is_there})")
    page.close()


@pytest.mark.slow
def test_that_sound_plays_is_seen(chromium: Chromium, server: Server) -> None:
    shown = "getComputedStyle(document.querySelector('.ear')).display !== 'none'"
    for name, is_heard in (("film", False), ("sound", True)):
        page = playing(chromium, server, name)
        assert page.js(shown) is is_heard
        # As after some seconds without a hand at the mouse.
        controls = "document.getElementById('controls')"
        seen = f"getComputedStyle({controls}).opacity"
        calm = "document.getElementById('stage').classList.add('calm')"
        faded = f"{controls}.getAnimations().forEach((each) => each.finish())"
        assert page.js(f"({calm}, {seen}, {faded}, {seen})") == str(int(is_heard))
        page.close()


@pytest.mark.slow
@pytest.mark.parametrize("context", [{}, {"colorScheme": "dark", "locale": "de-DE"}])
def test_who_comes_with_an_old_link_finds_the_film(
    chromium: Chromium, server: Server, context: dict[str, Any]
) -> None:
    page = chromium.page(viewport={"width": 390, "height": 844}, **context)
    page.goto(server.url("/t/x/acme/film/master.m3u8"))
    accessible(page)
    assert page.js("document.documentElement.scrollWidth <= innerWidth")
    page.click("a")
    page.until("Number(document.getElementById('seek').max) > 1")
    assert page.seen("refused") == []
    page.close()


@pytest.mark.slow
def test_every_key_does_what_the_list_says(chromium: Chromium, server: Server) -> None:
    page = playing(chromium, server, "film")
    for key in (" ", "k"):
        page.press(key)
        page.until(STATE["paused"])
        page.press(key)
        page.until(STATE["playing"])
    page.press("k")
    for key, wanted in (
        ("5", 15), ("l", 25), ("j", 15), ("ArrowRight", 20), ("ArrowLeft", 15), ("9", 27), ("0", 0),
    ):  # fmt: skip
        page.press(key)
        page.until(f"Math.abs({VIDEO}.currentTime - {wanted}) < 0.2")
    page.press("ArrowDown", "ArrowDown")
    assert page.js(f"{VIDEO}.volume") == pytest.approx(0.9)
    page.press("ArrowUp")
    assert page.js(f"{VIDEO}.volume") == pytest.approx(0.95)
    for muted in (True, False):
        page.press("m")
        assert page.js(f"{VIDEO}.muted") is muted
    page.press("c")
    assert page.js("document.getElementById('bezel').textContent") == TEXTS["en"]["no_subtitles"]
    page.press(">", ">", "<")
    assert page.js(f"{VIDEO}.playbackRate") == 1.25
    page.press("f")
    page.until("document.fullscreenElement?.id === 'player'")
    page.press("f")
    page.until("document.fullscreenElement === null")
    page.press("?")
    assert page.js("document.getElementById('help').open")
    # The list is open: keys are not the film's.
    page.press("m", "Escape")
    assert page.js(f"[document.getElementById('help').open, {VIDEO}.muted]") == [False, False]
    clean(page)
    page.close()


@pytest.mark.slow
def test_what_has_the_focus_keeps_its_keys(chromium: Chromium, server: Server) -> None:
    page = playing(chromium, server, "film")
    page.run("await page.focus('#mute')")
    page.press(" ")
    assert page.js(f"[{VIDEO}.muted, {VIDEO}.paused]") == [True, False]
    # The slider stands where the sound is before the next key can come.
    slider = "document.getElementById('volume').value"
    page.until(f"{slider} === '0'")
    unmuted = f"(document.getElementById('mute').click(), {slider})"
    assert page.js(unmuted) == "1"
    before = page.js(f"{VIDEO}.volume")
    page.run("await page.focus('#volume')")
    page.press("ArrowLeft")
    assert page.js(f"{VIDEO}.volume") < before
    page.click("#settings")
    page.press("ArrowRight")
    assert page.js(f"{VIDEO}.playbackRate") == 1.25
    page.close()


@pytest.mark.slow
def test_controls_that_rest_are_reached_by_tab(chromium: Chromium, server: Server) -> None:
    page = opened(chromium, server, "film")
    page.run("await page.focus('#start')")
    page.press("Enter")
    page.until(f"!{VIDEO}.paused && document.activeElement === document.body")
    page.until("getComputedStyle(document.getElementById('controls')).visibility === 'hidden'")
    focus = "document.activeElement"
    page.press("Tab")
    assert page.js(f"document.getElementById('controls').contains({focus})")
    assert page.js(f"getComputedStyle({focus}).visibility") == "visible"
    page.close()


@pytest.mark.slow
def test_the_quality_can_be_chosen(chromium: Chromium, server: Server) -> None:
    page = playing(chromium, server, "ladder")
    page.click("#settings")
    labels = "[...document.querySelectorAll('#panel fieldset:first-child label')].map(x => x.textContent)"
    assert page.js(labels)[1:] == ["270p", "180p", "90p"]
    assert re.fullmatch(r"Automatic \(\d+p\)", page.js(labels)[0])
    page.run("await page.getByLabel('90p', { exact: true }).check()")
    page.press("Escape", "0")
    page.until(f"{VIDEO}.videoHeight === 90")
    page.close()


@pytest.mark.slow
def test_it_goes_on_where_the_viewer_stopped_and_forgets_if_told(
    chromium: Chromium, server: Server
) -> None:
    page = playing(chromium, server, "film")
    page.press("k", "5")
    page.until(f"Math.abs({VIDEO}.currentTime - 15) < 0.2")
    page.run("await page.reload()")
    page.until("document.getElementById('now').textContent === '0:15'")
    page.click("#start")
    page.until(STATE["playing"])
    assert page.js(f"{VIDEO}.currentTime") >= 14.9
    page.click("#settings")
    page.run("await page.getByLabel(values.label).uncheck()", label=TEXTS["en"]["remember"])
    page.run("await page.reload()")
    page.until("document.getElementById('length').textContent === '0:30'")
    assert page.js("document.getElementById('now').textContent") == "0:00"
    assert page.js("Object.keys(localStorage)") == ["pystream:forgetful"]
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "most"), [("film", 1.75), ("swift", 2), ("slow", 1)])
def test_no_speed_is_offered_that_the_pace_would_not_feed(
    chromium: Chromium, server: Server, name: str, most: float
) -> None:
    page = playing(chromium, server, name)
    page.click("#settings")
    offered = "[...document.querySelectorAll('[name=speed]')].map((each) => Number(each.value))"
    assert max(page.js(offered)) == most
    page.close()


@pytest.mark.slow
def test_a_browser_that_keeps_nothing_plays(chromium: Chromium, server: Server) -> None:
    page = chromium.page()
    refuse = "Object.defineProperty(window, 'localStorage', { get() { throw new Error('no'); } })"
    page.run("await page.addInitScript(values.script)", script=refuse)
    page.goto(server.url("/acme/film/"))
    page.click("#start")
    page.until(STATE["playing"])
    page.click("#settings")
    assert page.js("document.querySelectorAll('#panel [type=checkbox]').length") == 0
    clean(page)
    page.close()


@pytest.mark.slow
def test_pictures_before_and_beside_the_film(chromium: Chromium, server: Server) -> None:
    page = opened(chromium, server, "film")
    page.until("document.getElementById('poster').readyState >= 2")
    page.run("const box = await page.locator('#seek').boundingBox();"
             "await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2)")  # fmt: skip
    page.until("document.getElementById('still').readyState >= 2")
    assert page.js("document.getElementById('preview-time').textContent") in ("0:14", "0:15")
    asked = [(status, path) for status, path in page.seen("requests") if "/frame/" in path]
    # The poster, and of places side by side one.
    assert [(status, path.rpartition("/")[2]) for status, path in asked] == [
        (200, "5000.mp4"),
        (200, "15000.mp4"),
    ]
    # Nothing of the film itself is fetched before somebody wants to see it.
    assert not [path for _, path in page.seen("requests") if path.endswith((".ts", ".m3u8"))]
    clean(page)
    page.close()


@pytest.mark.slow
def test_a_phone_has_targets_for_fingers_and_no_sideways_scrolling(
    chromium: Chromium, server: Server
) -> None:
    page = opened(
        chromium, server, "ladder",
        viewport={"width": 390, "height": 844}, isMobile=True, hasTouch=True,
    )  # fmt: skip
    page.run("await page.tap('#start')")
    page.until(STATE["playing"])
    page.run("await page.tap('#settings')")
    sizes = page.js(
        "[...document.querySelectorAll('button, #seek, #panel label')].map(x => x.getBoundingClientRect())"
        ".filter(x => x.width > 0).map(x => [x.width, x.height])"
    )
    assert len(sizes) > 10
    assert all(width >= 44 and height >= 44 for width, height in sizes)
    assert page.js("document.documentElement.scrollWidth") == 390
    accessible(page)
    clean(page)
    page.close()


@pytest.mark.slow
def test_who_wants_no_motion_gets_none(chromium: Chromium, server: Server) -> None:
    page = opened(chromium, server, "film", reducedMotion="reduce")
    assert page.js("getComputedStyle(document.getElementById('start')).transitionDuration") == "0s"
    page.close()


# What can go wrong.


def trouble(page: Page) -> str:
    page.until(STATE["trouble"])
    text: str = page.js("document.getElementById('trouble-text').textContent")
    return text


def says(kind: str) -> str:
    """A pattern of what is said of a trouble."""
    return re.escape(TEXTS["en"][f"trouble_{kind}"]).replace(r"\{seconds\}", r"\d+")


@pytest.mark.slow
def test_a_grant_that_has_ended_is_replaced(chromium: Chromium, server: Server) -> None:
    page = opened(chromium, server, "film")
    page.until("document.getElementById('poster').readyState >= 2")
    # No grant from before is good any more.
    server.answers.grants = Grants(*Keyring(bytes(32)).grant_keys(NOW))
    page.click("#start")
    page.until(STATE["playing"])
    assert page.js(STATE["well"])
    refused = [path for status, path in page.seen("requests") if status == 403]
    assert len(refused) == 1 and refused[0].endswith("/master.m3u8")
    page.close()


@pytest.mark.slow
@pytest.mark.needs("ffmpeg")
def test_pain_51_a_grant_that_ends_in_the_middle_costs_no_place(
    chromium: Chromium, server: Server
) -> None:
    page = playing_three_minutes(chromium, server)
    server.answers.grants = Grants(*Keyring(b"\1" * 32).grant_keys(NOW))
    page.press("8")
    page.until(f"{STATE['playing']} && {VIDEO}.currentTime > 144.5")
    assert page.js(STATE["well"])
    assert [status for status, _ in page.seen("requests")].count(403) >= 1
    page.close()


@pytest.mark.slow
@pytest.mark.needs("ffmpeg")
@pytest.mark.parametrize("key", ["3", "9"], ids=["back", "on"])
def test_who_goes_elsewhere_while_the_film_is_opened_again_gets_there(
    chromium: Chromium, server: Server, key: str
) -> None:
    page = playing_three_minutes(chromium, server)
    page.run("""
kept.master = new Promise((held) => page.route("**/master.m3u8", held, { times: 1 }));
kept.asked = page.waitForRequest("**/master.m3u8");
""")
    server.answers.grants = Grants(*Keyring(key.encode() * 32).grant_keys(NOW))
    page.press("8")
    page.run("await kept.asked")
    assert page.js(f"{VIDEO}.readyState") == 0
    page.press(key)
    page.run("await (await kept.master).continue()")
    at = int(key) * 18
    page.until(f"{STATE['playing']} && {VIDEO}.currentTime > {at}")
    assert page.js(f"{VIDEO}.currentTime") < at + 9
    page.close()


def playing_three_minutes(chromium: Chromium, server: Server, name: str = "long") -> Page:
    (film,) = server.streams[name].settings.sources
    loop = [
        "ffmpeg",
        "-y",
        "-v",
        "error",
        "-stream_loop",
        "5",
        "-i",
        str(SAMPLE),
        "-c",
        "copy",
        film,
    ]
    subprocess.run(loop, check=True)
    page = playing(chromium, server, name)
    page.run("await page.waitForResponse(/.ts$/)")
    return page


@pytest.mark.slow
def test_no_more_is_loaded_ahead_than_attendance_reckons_with(
    chromium: Chromium, server: Server
) -> None:
    """Of a film of three minutes whose rate is low, hls.js by itself would have all of it at once."""
    page = playing_three_minutes(chromium, server, "swift_long")
    ahead = f"{VIDEO}.buffered.end({VIDEO}.buffered.length - 1) - {VIDEO}.currentTime"
    most = "Math.max(...window.ahead)"
    page.js(f"window.ahead = [{ahead}]")
    page.js(f"{VIDEO}.addEventListener('progress', () => window.ahead.push({ahead}))")
    page.until(f"{most} > 28")
    begun = page.js(f"{VIDEO}.currentTime")
    page.until(f"{VIDEO}.currentTime > {begun} + 5")
    # And a segment that was asked for just before.
    assert page.js(most) < 33
    page.close()


@pytest.mark.slow
def test_a_film_that_somebody_else_has_paused_has_its_controls_on_a_phone(
    chromium: Chromium, server: Server
) -> None:
    """As a headset does, or the controls that a phone has of its own."""
    phone = {"viewport": {"width": 390, "height": 844}, "isMobile": True, "hasTouch": True}
    page = opened(chromium, server, "film", **phone)
    page.run("await page.tap('#start')")
    page.until(f"{STATE['playing']} && document.querySelector('.stage.calm')")
    page.js(f"{VIDEO}.pause()")
    page.until("!document.querySelector('.stage.calm') && !document.getElementById('start').hidden")
    assert page.js("document.getElementById('toggle').title") == TEXTS["en"]["play"]
    page.until("getComputedStyle(document.getElementById('controls')).opacity === '1'")
    page.run("await page.tap('#toggle')")
    page.until(STATE["playing"])
    page.js(f"{VIDEO}.pause()")
    page.until("!document.getElementById('start').hidden")
    page.js(f"void {VIDEO}.play()")
    page.until("document.getElementById('start').hidden")
    clean(page)
    page.close()


class Noting(Pace):
    """Notes which of the segments that are shown at once, and were not there yet, had to wait for
    longer than a moment."""

    needed = range(0)

    def __init__(self, table: _core.Gcra, clock: Callable[[], int]) -> None:
        super().__init__(table, clock)
        self.felt: list[Claim] = []
        self.had: set[tuple[str, int]] = set()

    def ask(self, claim: Claim) -> float:
        wait = super().ask(claim)
        segment = claim.rendition, claim.number
        if wait == 0:
            self.had.add(segment)
        elif wait > 1 and claim.number in self.needed and segment not in self.had:
            self.felt.append(claim)
        return wait


class Hours:
    """A film of five minutes in three qualities at the default pace, and a clock that can be put on."""

    def __init__(self, folder: Path, *origins: str) -> None:
        films = []
        for name in LADDER:
            films.append(str(folder / name))
            clip = ["-stream_loop", "60", "-i", str(ROOT / "tests" / "media" / name), "-c", "copy"]
            subprocess.run(["ffmpeg", "-v", "error", *clip, "-t", "300", films[-1]], check=True)
        self.later = 0
        table = _core.Gcra(_core.Gcra.create(1 << 16), bytes(16))
        self.pace = Noting(table, lambda: (time.monotonic_ns() + self.later) // 1000)
        self.stream = StreamSettings(sources=tuple(films), encryption="aes-128", origins=origins)
        assert self.stream.pace == 2

    def goes_on(self, page: Page) -> None:
        at = page.js(f"{VIDEO}.currentTime")
        self.pace.needed = range(int(at / 6), int((at + 1) / 6) + 1)
        page.until(f"!{VIDEO}.seeking && {VIDEO}.currentTime > {at} + 1", 8)

    def pause(self, page: Page) -> None:
        """Of ten minutes."""
        page.js(f"{VIDEO}.pause()")
        page.until(STATE["paused"])
        self.later = 600 * 10**9
        page.js(f"void {VIDEO}.play()")
        self.goes_on(page)


COUNT_STALLS = f"""(() => {{
  const video = {VIDEO};
  let begun = 0;
  video.stalls = 0;
  video.addEventListener("seeked", () => {{ begun = video.currentTime }});
  video.addEventListener("waiting", () => {{
    video.stalls += !video.seeking && video.currentTime > begun + 1
  }});
}})()"""


def never_felt(page: Page) -> None:
    assert page.js(f"{VIDEO}.stalls") == 0
    assert {status for status, _ in page.seen("requests")} <= {200, 206}
    page.close()


@pytest.mark.slow
@pytest.mark.needs("ffmpeg")
def test_the_pace_is_never_felt(chromium: Chromium, tmp_path: Path) -> None:
    """Playing, ten seeks, other qualities and a pause of ten minutes, at the default pace."""
    hours = Hours(tmp_path)
    with serving({"film": hours.stream}, pace=hours.pace, page=player.load()) as server:
        page = playing(chromium, server, "film")
        page.js(COUNT_STALLS)
        page.until(f"{VIDEO}.currentTime > 4")
        for key in "5291738460":
            page.press(key)
            hours.goes_on(page)
        for x, quality in enumerate(("90p", "270p")):
            page.run("await page.mouse.move(values.x, 100)", x=100 + x)
            page.click("#settings")
            page.run("await page.getByLabel(values.label, { exact: true }).check()", label=quality)
            page.press("Escape")
            hours.goes_on(page)
        hours.pause(page)
        assert page.js(STATE["well"])
        never_felt(page)


SHAKA = """
await page.goto(values.site);
await page.addScriptTag({ path: values.script });
await page.evaluate(async (url) => {
  window.player = new shaka.Player();
  window.faults = [];
  player.addEventListener("error", (event) => faults.push(event.detail.code));
  await player.attach(document.getElementById("video"));
  await player.load(url);
  await document.getElementById("video").play();
}, values.url);
"""
OTHER_QUALITY = """(() => {
  player.configure({ abr: { enabled: false } });
  const tracks = player.getVariantTracks();
  const track = tracks.find((each) => each.height === HEIGHT);
  player.selectVariantTrack(track, true);
})()"""


@pytest.mark.slow
@pytest.mark.needs("ffmpeg")
def test_the_pace_is_never_felt_by_another_player(
    chromium: Chromium, site: Site, tmp_path: Path
) -> None:
    """The same with Shaka Player as it comes, on a page of somebody else's."""
    hours = Hours(tmp_path, site.origin)
    with serving({"film": hours.stream}, pace=hours.pace) as server:
        page = chromium.page()
        script = MODULES / "shaka-player" / "dist" / "shaka-player.compiled.js"
        film = server.url(server.master("film"))
        page.run(SHAKA, site=f"{site.origin}/video", script=str(script), url=film)
        page.js(COUNT_STALLS)
        page.until(f"{VIDEO}.currentTime > 4")
        for tenths in (5, 2, 9, 1, 7, 3, 8, 4, 6, 0):
            hours.pace.needed = range(5 * tenths, 5 * tenths + 1)
            page.js(f"void ({VIDEO}.currentTime = {30 * tenths})")
            hours.goes_on(page)
        for height in (90, 270):
            page.js(OTHER_QUALITY.replace("HEIGHT", str(height)))
            hours.goes_on(page)
            assert page.js(f"{VIDEO}.videoHeight") == height
        hours.pause(page)
        assert page.js("faults") == []
        # It waits for what it seeks to without a word.
        assert not hours.pace.felt
        never_felt(page)


REFUSE = """
await page.route(values.where, (route) => {
  values.times -= 1;
  return values.times >= 0
    ? route.fulfill({ status: values.status, headers: values.headers ?? {}, body: "no" })
    : route.continue();
});
"""


def refuse(page: Page, where: str, status: int, times: int = 1000, **headers: str) -> None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    page.run(REFUSE, where=where, status=status, times=times, headers=named)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["**/session", "**/master.m3u8", "**/index.m3u8"])
def test_a_busy_server_is_waited_for_as_long_as_it_says(
    chromium: Chromium, server: Server, where: str
) -> None:
    page = chromium.page()
    refuse(page, where, 503, times=1, Retry_After="4")
    page.goto(server.url("/acme/film/"))
    page.press("k")
    assert re.fullmatch(says("busy").replace(r"\d+", "[34]"), trouble(page))
    accessible(page)
    page.until(STATE["playing"])
    assert page.js(STATE["well"])
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize("spoken", ["en", "de"])
def test_a_full_house_says_so_and_lets_in_when_somebody_has_left(
    chromium: Chromium, spoken: str
) -> None:
    rooms = Rooms()
    film = StreamSettings(sources=(str(SAMPLE),), max_viewers=1)
    with serving({"film": film}, page=player.load(), door=rooms.doors[0]) as server:
        server.master("film")
        page = chromium.page(viewport={"width": 390, "height": 844}, locale=spoken)
        page.goto(server.url("/acme/film/"))
        said = re.escape(TEXTS[spoken]["trouble_full"]).replace(r"\{seconds\}", r"\d+")
        assert re.fullmatch(said, trouble(page))
        accessible(page)
        _, _, window = server.get("/acme/film/master.m3u8", Accept=HTML, Accept_Language=spoken)
        assert REFUSALS[spoken]["full"][0] in window.decode()
        server.streams["film"] = replace(
            server.streams["film"], settings=replace(film, max_viewers=None)
        )
        page.click("#again")
        page.until(STATE["well"])
        page.close()


COUNT = """
(() => {
  window.told = 0;
  const trouble = document.getElementById("trouble");
  const look = () => { told += trouble.hidden ? 0 : 1; };
  new MutationObserver(look).observe(trouble, { attributes: true });
})()
"""


@pytest.mark.slow
def test_a_segment_that_is_held_back_is_asked_for_when_it_is_due(
    chromium: Chromium, server: Server
) -> None:
    page = opened(chromium, server, "film")
    refuse(page, "**/2.ts", 503, times=2, Retry_After="1")
    page.js(COUNT)
    page.click("#start")
    page.until(f"{STATE['playing']} && {VIDEO}.currentTime > 5")
    # There was enough to go on with, so the viewer was told of nothing.
    assert page.js("told") == 0
    page.close()


@pytest.mark.slow
def test_a_film_that_comes_back_goes_on(chromium: Chromium, server: Server) -> None:
    page = chromium.page()
    page.goto(server.url("/acme/later/"))
    assert re.fullmatch(says("busy"), trouble(page))
    shutil.copy(SAMPLE, server.streams["later"].settings.sources[0])
    page.click("#again")
    page.until(STATE["well"])
    page.click("#start")
    page.until(STATE["playing"])
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize(("status", "kind"), [(404, "gone"), (403, "denied")])
@pytest.mark.parametrize("where", ["**/session", "**/index.m3u8"])
def test_what_is_refused_for_good_is_said(
    chromium: Chromium, server: Server, status: int, kind: str, where: str
) -> None:
    page = chromium.page()
    refuse(page, where, status)
    page.goto(server.url("/acme/film/"))
    page.press("k")
    assert re.fullmatch(says(kind), trouble(page))
    accessible(page)
    page.close()


@pytest.mark.slow
def test_a_network_that_comes_back_is_noticed(chromium: Chromium, server: Server) -> None:
    page = opened(chromium, server, "film")
    page.run("await context.setOffline(true)")
    page.click("#start")
    assert re.fullmatch(says("offline"), trouble(page))
    # No time passes for the page until it is noticed.
    page.js("window.kept = setTimeout; window.setTimeout = () => 0")
    page.until("document.getElementById('trouble-text').textContent.includes('1 s')")
    page.run("await context.setOffline(false)")
    page.until(STATE["well"])
    page.js("window.setTimeout = kept")
    page.until(STATE["playing"])
    assert page.js(STATE["well"])
    page.close()


SPOIL = """
let left = values.times;
await page.route("**/1.m4s", async (route) => {
  const answer = await route.fetch();
  const body = await answer.body();
  if (left-- > 0) for (let i = body.indexOf("mdat") + 4; i < body.length; i += 1) body[i] = 0xa5;
  await route.fulfill({ response: answer, body });
});
"""


@pytest.mark.slow
def test_a_decoder_that_gave_up_is_recovered_once(chromium: Chromium, server: Server) -> None:
    # Pictures and sound each have a segment 1.
    for times, ends in ((2, False), (1000, True)):
        page = opened(chromium, server, "clear")
        page.run(SPOIL, times=times)
        page.click("#start")
        if ends:
            assert re.fullmatch(says("media"), trouble(page))
        else:
            page.until(f"{STATE['playing']} && {VIDEO}.currentTime > 5")
            assert page.js(STATE["well"])
        page.close()


@pytest.mark.slow
def test_a_browser_that_cannot_is_told_so(chromium: Chromium, server: Server) -> None:
    page = chromium.page()
    blind = (
        "delete window.MediaSource; delete window.ManagedMediaSource; delete window.WebKitMediaSource;"
        "HTMLMediaElement.prototype.canPlayType = () => ''"
    )
    page.run("await page.addInitScript(values.script)", script=blind)
    page.goto(server.url("/acme/film/"))
    assert re.fullmatch(says("unsupported"), trouble(page))
    page.close()


@pytest.mark.slow
def test_a_browser_that_plays_hls_by_itself_does(chromium: Chromium, server: Server) -> None:
    page = chromium.page()
    without = "delete window.MediaSource; delete window.ManagedMediaSource; delete window.WebKitMediaSource"
    page.run("await page.addInitScript(values.script)", script=without)
    page.goto(server.url("/acme/film/"))
    page.click("#start")
    page.until(STATE["playing"])
    assert page.js("document.getElementById('video').src").endswith("/master.m3u8")
    page.close()


@pytest.mark.slow
def test_a_film_that_stands_still_fetches_nothing(chromium: Chromium, server: Server) -> None:
    page = playing(chromium, server, "ladder")
    page.press("k")
    page.run("await page.reload()")
    page.run(
        """
        kept.asked = [];
        await page.route("**/*.ts", (route) => kept.asked.push(route));
        await page.clock.install();
        const asked = ["v", "a"].map((kind) => page.waitForRequest(new RegExp(`/${kind}[0-9]/[0-9]+.ts$`)));
        await page.click("#start");
        await Promise.all(asked);
        await until(page, `!${values.video}.paused`);
        const rests = `${values.video}.addEventListener("pause", () => { window.rests = true })`;
        await page.evaluate(rests);
        await page.keyboard.press("k");
        await until(page, "window.rests");
        // What was asked for before it stopped may yet be told of.
        await page.clock.fastForward(12000);
        kept.asked.length = 0;
        // A player that still wants it would have lost its patience with the server, and asked again.
        for (let i = 0; i < 10; i += 1) await page.clock.fastForward(12000);
    """,
        video=VIDEO,
    )
    assert page.run("return kept.asked.map((route) => route.request().url())") == []
    page.run("await page.unroute('**/*.ts')")
    page.press("k")
    page.until(STATE["playing"])
    page.close()


@pytest.mark.slow
@pytest.mark.parametrize(("locale", "name"), [("en-GB", "en"), ("de-DE", "de")])
def test_without_javascript_the_address_is_offered(
    chromium: Chromium, server: Server, locale: str, name: str
) -> None:
    page = chromium.page(javaScriptEnabled=False, locale=locale)
    page.goto(server.url("/acme/film/"))
    link = "const link = page.locator('a[href=\"master.m3u8\"]');"
    link += "return [await link.isVisible(), await link.textContent()]"
    assert page.run(link) == [True, TEXTS[name]["no_script_link"]]
    assert not page.run("return page.isVisible('#controls')")
    clean(page)
    page.close()
