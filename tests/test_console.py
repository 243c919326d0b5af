"""The console of a tenant's own people, in a real browser, on a real node."""

from __future__ import annotations

import http.client
import json
import re
import time
from base64 import b32decode, b64decode
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from io import BytesIO
from typing import Any
from zoneinfo import ZoneInfo

import pypdfium2
import pytest
import zxingcpp
from PIL import Image

from pystream.acl import sign_in
from pystream.acl.entrances.links import Link
from pystream.acl.entrances.links import sign as sign_link
from pystream.acl.password_csv import read_csv
from pystream.acl.passwords import PasswordSettings, generate
from pystream.acl.people import RIGHTS, Role
from pystream.acl.store import Store
from pystream.acl.store.issuing import Issuer
from pystream.acl.streams import MAXIMUM, StreamSettings, TenantSettings
from pystream.acl.traffic import Kind, Metered
from pystream.server.keys import open_key_store
from pystream.server.settings import load
from tests.browser.chromium import Chromium, Page
from tests.databases import with_tables
from tests.test_page import Site, accessible, site
from tests.test_serve import BUSY, SAMPLE, Node, node_in
from tests.waiting import everywhere, until

pytestmark = pytest.mark.slow

__all__ = ["site"]

PASSWORD = "correct horse of acme"
WIDE: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "hasTouch": True}


class House:
    """A node with two tenants; `acme` has streams, passwords, traffic, and a person of each role."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.root = f"http://127.0.0.1:{node.port}/console/"
        self.settings = load(str(node.folder / "pystream.toml"), {})
        now = int(time.time())
        with self.store() as store:
            hash = sign_in.hash_password(PASSWORD)
            by: dict[str, Any] = {"who": "test", "now": now}
            notice = "Who watches is recorded.\n\nNobody but ACME knows who you are."
            settings = TenantSettings(timezone="Europe/Berlin", notice=notice)
            self.acme = store.add_tenant("acme", settings, **by).id
            other = store.add_tenant("other", TenantSettings(), **by).id
            for name, more in (
                ("course", {"access": "personal", "title": "Course in <five> parts"}),
                ("talk", {"access": "shared"}),
                ("trailer", {"download": True, "title": "Trailer"}),
            ):
                film = StreamSettings(
                    sources=(str(SAMPLE),), segment_duration_ms=1000, pace=None, **more
                )
                store.add_stream("acme", name, film, **by)
            store.add_stream("other", "owl", StreamSettings(sources=(str(SAMPLE),)), **by)
            for role in Role:
                name = role.removeprefix("tenant-")
                store.people.add(self.acme, name, role, hash, None, **by)
            store.people.let_in(self.acme, "support", 3600, **by)
            store.people.add(other, "otto", Role.ADMIN, hash, None, **by)
            course = store.stream("acme", "course").id
            rows = [
                Metered(number, course, now // 3600, kind, 10 * number, 7**number * 999, number)
                for number, kind in enumerate(Kind, 5)
            ]
            store.add_traffic(rows, now)

    def store(self) -> Store:
        return Store.open(with_tables(self.settings.store.url))

    def issue(self, name: str = "course", **settings: Any) -> str:
        text = generate()
        with self.store() as store, open_key_store(self.settings.keys, {}, migrate=False) as keys:
            stream = store.stream("acme", name)
            entries = [(text, PasswordSettings(**settings))]
            Issuer(store.viewers, keys).add(
                self.acme, [stream.id], entries, who="test", now=int(time.time())
            )
        return text

    def ask(self, method: str, path: str, body: str = "", **fields: str) -> tuple[int, str]:
        named = {name.replace("_", "-"): value for name, value in fields.items()}
        with closing(http.client.HTTPConnection("127.0.0.1", self.node.port, timeout=60)) as one:
            one.request(method, path, body or None, named)
            answer = one.getresponse()
            return answer.status, answer.read().decode(errors="replace")

    def let_in(self, name: str, password: str) -> tuple[int, dict[str, Any]]:
        body = json.dumps({"password": password})
        path = f"/acme/{name}/session"
        status, said = self.ask("POST", path, body, Content_Type="application/json")
        return status, json.loads(said)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with node_in(tmp_path_factory.mktemp("console")) as node:
        films = node.folder / "films" / "acme"
        films.mkdir(parents=True)
        (films / "hall-1.mp4").hardlink_to(SAMPLE)
        node.settings("workers = 2", f'{BUSY}[console]\nfilms = "{films.parent}"\n{GEO}')
        made = House(node)
        node.start()
        node.hear("READY=1")
        yield made


GEO = '[geo]\ntest = ["192.0.2.0/24 = DE"]\n'
SIGN_IN = """
await page.goto(values.root + "sign-in");
await page.fill("#tenant", values.tenant);
await page.fill("#name", values.name);
await page.fill("#password", values.password);
if (values.shown) await page.fill("#code", values.shown);
await page.click("main button");
await page.waitForLoadState();
"""
# Clicks what leads elsewhere, and waits until that is there.
GO = """
await Promise.all([page.waitForNavigation(), page.click(values.selector)]);
"""


def entered(
    chromium: Chromium, house: House, name: str = "admin", tenant: str = "acme", **context: Any
) -> Page:
    page = chromium.page(**{**WIDE, **context})
    sign(page, house, name, tenant)
    assert page.js("location.href") == house.root
    return page


def sign(page: Page, house: House, name: str, tenant: str = "acme", code: str = "") -> None:
    values = {"tenant": tenant, "name": name, "password": PASSWORD, "shown": code}
    page.run(SIGN_IN, root=house.root, **values)


def go(page: Page, selector: str) -> None:
    page.run(GO, selector=selector)


def fill(page: Page, **values: str) -> None:
    code = "for (const [id, text] of values.pairs) await page.fill(`#${id}`, text)"
    page.run(code, pairs=list(values.items()))


def clean(page: Page) -> None:
    assert page.seen("errors") == [] and page.seen("refused") == []
    assert all(path.startswith(("/console/", "/t/")) for _, path in page.seen("requests"))


PAGES = (
    *("", "streams/course", "streams/trailer", "passwords", "passwords?stream=course"),
    *("passwords/new?stream=course", "passwords/import", "traffic", "audit", "audit?kind=change"),
    *("people", "tokens", "organisation", "account", "password", "streams", "verifiers"),
    *("verifiers/-/new?kind=akamai", "verifiers/-/new?kind=question"),
)
ONE_ROW = "new Set([...document.querySelectorAll('nav li')].map((each) => each.offsetTop)).size"
IN_SIGHT = """
(({ left, right }) => left >= 0 && right <= innerWidth)(
  (document.querySelector("nav [aria-current]") ?? document.body).getBoundingClientRect())
"""
STILLS = """Array.from(document.querySelectorAll('video')).every((each) => each.readyState >= 2)"""


# What one language says is as long in either scheme, and a scheme's colours are those of all languages.
@pytest.mark.parametrize(("locale", "scheme"), [("en-US", "light"), ("de-DE", "dark")])
def test_every_page_is_accessible_in_each_language_and_scheme(
    house: House, chromium: Chromium, locale: str, scheme: str
) -> None:
    house.issue(label="Group <b>", valid_until=int(time.time()) + 90_000, max_devices=2)
    for context in (WIDE, PHONE):
        page = entered(chromium, house, locale=locale, colorScheme=scheme, **context)
        for path in PAGES:
            page.goto(house.root + path)
            page.until(STILLS)
            accessible(page)
            assert page.js("document.documentElement.lang") == locale[:2]
            # Nothing is wider than the window.
            assert page.js("document.documentElement.scrollWidth <= innerWidth"), path
            # The ways are in one row, and the one that one is on is in sight.
            assert page.js(ONE_ROW) == 1 and page.js(IN_SIGHT), path
        clean(page)
        page.close()


# The story


PLAYS = "document.getElementById('video').currentTime > 0.2"
FRAMED = """
const frame = page.frames()[1];
await until(frame, "document.getElementById('entry').hidden === false");
await frame.fill("#password", values.password);
await frame.press("#password", "Enter");
await until(frame, "document.getElementById('entry').hidden");
await frame.click("#start");
await until(frame, values.plays);
"""
STOPPED = """
await page.reload();
const frame = page.frames()[1];
await until(frame, "!document.getElementById('entry').hidden");
await frame.fill("#password", values.password);
await frame.press("#password", "Enter");
await until(frame, "document.getElementById('entry-problem').textContent.includes('does not open')");
"""


def test_a_customer_prints_embeds_and_revokes(house: House, chromium: Chromium, site: Site) -> None:
    page = entered(chromium, house, acceptDownloads=True)
    page.goto(house.root + "streams/course")
    fill(page, embed_origins=site.origin, max_devices="1")
    go(page, "main form[data-once] button")
    assert page.js("document.querySelector('[role=status].done').textContent") == "Saved."
    code = page.js("document.getElementById('embed').value")
    page.goto(house.root + "passwords/new?stream=course")
    fill(page, count="300", label="Hall 1", valid_until="2031-05-01")
    go(page, "main form button")
    words = page.js("Array.from(document.querySelectorAll('tbody th')).map((e) => e.textContent)")
    assert len(set(words)) == 300
    assert page.js("document.querySelector('tbody td:last-child').textContent") == "1 May 2031"
    pdf = page.run(
        "const [got] = await Promise.all([page.waitForEvent('download', { timeout: 120_000 }),"
        " page.click('form[action$=cards] button', { timeout: 120_000 })]);"
        "const pieces = []; for await (const each of await got.createReadStream()) pieces.push(each);"
        "return Buffer.concat(pieces).toString('latin1')"
    )
    assert pdf.startswith("%PDF") and re.search(r"/Count 30\b", pdf)
    # Loaded again, it makes nothing.
    page.run("await page.reload()")
    search(page, house, words[7], "course")
    assert page.js("document.querySelectorAll('tbody tr').length") == 1
    clean(page)

    # A site shows the player; somebody types from paper, and plays.
    found = re.search(r'src="([^"]+)"', code)
    assert found
    site.framed = found[1]
    until_embeds(house, site)
    viewer = chromium.page()
    viewer.goto(site.origin)
    viewer.run(FRAMED, password=words[7].lower().replace("-", " "), plays=PLAYS)
    page.goto(house.root)
    # Both workers say how many they know.
    shows = "document.querySelector('main').textContent.includes('1 is watching')"
    page.run(
        "for (let n = 0; n < 50 && !(await page.evaluate(values.shows)); n++) await page.reload();",
        shows=shows,
    )
    assert page.js(shows)
    # A second device is refused.
    status, said = house.let_in("course", words[7])
    assert (status, said["kind"]) == (409, "devices"), said
    segment = [path for _, path in viewer.seen("requests") if path.endswith(".ts")][-1]
    assert house.ask("GET", segment)[0] == 200
    # Revoked, it is had no more, to the next segment. Who watches with another one goes on.
    status, other = house.let_in("course", words[8])
    assert status == 200
    search(page, house, words[7], "course")
    page.run("await page.check('input[data-one]')")
    go(page, "button[formaction$=revoke]")
    accessible(page)
    assert "1 password is selected" in page.js("document.querySelector('main').textContent")
    go(page, "main button.danger")
    assert page.js("document.querySelector('.done').textContent") == "Revoked."
    until(lambda: house.ask("GET", segment)[0] == 403)
    viewer.run(STOPPED, password=words[7])
    assert house.ask("GET", other["master"])[0] == 200
    viewer.close()
    # As it is set now, a second device takes over.
    page.goto(house.root + "streams/course")
    page.run("await page.selectOption('#device_mode', 'kick_oldest')")
    go(page, "main form[data-once] button")
    until(lambda: house.let_in("course", words[8])[0] == 200)
    until(lambda: house.ask("GET", other["master"])[0] == 403)
    page.close()
    # Another tenant gets nothing.
    stranger = entered(chromium, house, "otto", "other")
    for path in (
        "streams/course",
        "passwords",
        "passwords?stream=course",
    ):
        stranger.goto(house.root + path)
        assert words[9] not in stranger.js("document.querySelector('main').innerText")
        assert stranger.js("document.querySelectorAll('tbody tr').length") == 0
    search(stranger, house, words[9])
    # What was searched for stands in the field alone.
    assert words[9] not in stranger.js("document.querySelector('main').innerText")
    stranger.close()


def search(page: Page, house: House, text: str, stream: str = "") -> None:
    """Searches passwords, of one stream or all."""
    page.goto(house.root + f"passwords?stream={stream}")
    fill(page, search=text)
    go(page, "form[role=search] button")


def until_embeds(house: House, site: Site) -> None:
    """All workers know which site may."""

    def know() -> bool:
        with closing(http.client.HTTPConnection("127.0.0.1", house.node.port, timeout=60)) as one:
            one.request("GET", "/acme/course/")
            answer = one.getresponse()
            answer.read()
            return site.origin in (answer.getheader("Content-Security-Policy") or "")

    until(lambda: all(know() for _ in range(8)))


def test_without_javascript_all_of_it_works(house: House, chromium: Chromium) -> None:
    name = "course"
    page = entered(chromium, house, javaScriptEnabled=False)
    page.goto(house.root + f"passwords/new?stream={name}")
    fill(page, count="3", label="No script")
    go(page, "main form button")
    assert page.run("return await page.locator('tbody tr').count()") == 3
    search(page, house, "no script", name)
    for action, state in (("revoke", "revoked"), ("erase", "erased")):
        page.run("for (const each of await page.$$('input[data-one]')) await each.check()")
        go(page, f"button[formaction$={action}]")
        go(page, "main button.danger")
        assert "Nothing" not in page.run("return await page.textContent('.done')")
        if action == "revoke":
            search(page, house, "no script", name)
            said = page.run("return await page.locator('tbody .mark').allTextContents()")
            assert said == [state] * 3
    search(page, house, "no script", name)
    assert page.run("return await page.locator('tbody tr').count()") == 0
    page.close()


CHOOSE = """
const buffer = Buffer.from(values.text);
await page.setInputFiles("#file", { name: "list.csv", mimeType: "text/csv", buffer });
await page.selectOption("#stream", "course");
"""


def test_a_list_is_looked_at_before_it_is_imported(house: House, chromium: Chromium) -> None:
    page = entered(chromium, house, locale="de-DE")
    strong = generate()
    for text, wanted in (
        ("password;label\n123456789;<Dr A>\n" + strong + ";B\n", "nur wenige Ziffern"),
        (strong + ";B;heute\n", "Gültig ab: kein Datum"),
    ):
        page.goto(house.root + "passwords/import")
        page.run(CHOOSE, text=text)
        go(page, "main form button")
        accessible(page)
        assert wanted in page.js("document.querySelector('main').textContent")
        search(page, house, strong)
        assert page.js("document.querySelectorAll('tbody tr').length") == 0
    page.goto(house.root + "passwords/import")
    page.run(CHOOSE, text=f"{generate()}\n")
    go(page, "main form button")
    said = page.js("document.querySelector('main').textContent")
    assert "1 Passwort kann importiert werden." in said and "1 Passwort importieren" in said
    page.goto(house.root + "passwords/import")
    page.run(CHOOSE, text="password;label\n123456789;<Dr A>\n" + strong + ";B\n")
    go(page, "main form button")
    assert "2 Passwörter können" in page.js("document.querySelector('main').textContent")
    go(page, "button[name=go]")
    assert page.js("document.querySelector('.done').textContent") == "Importiert."
    search(page, house, strong)
    assert page.js("document.querySelectorAll('tbody tr').length") == 1
    # Once more: it is there already, as the check says by the line.
    page.goto(house.root + "passwords/import")
    page.run(CHOOSE, text=f"{generate()}\n{strong}")
    go(page, "main form button")
    said = page.js("document.querySelector('main').textContent")
    assert "Zeile 2: Dieses Passwort gibt es schon" in said
    assert page.js("document.querySelector('#file') !== null")
    page.close()


def test_what_was_printed_once_is_printed_again(house: House, chromium: Chromium) -> None:
    def printed(page: Page) -> str:
        data = page.run(
            "const [got] = await Promise.all([page.waitForEvent('download', { timeout: 120_000 }),"
            " page.click('form[action$=cards] button', { timeout: 120_000 })]);"
            "const pieces = []; for await (const each of await got.createReadStream())"
            " pieces.push(each); return Buffer.concat(pieces).toString('latin1')"
        )
        pages = pypdfium2.PdfDocument(data.encode("latin-1"))
        return re.sub(r"\W", "", "".join(p.get_textpage().get_text_range() for p in pages))

    page = entered(chromium, house, acceptDownloads=True)
    page.goto(house.root + "passwords/new?stream=course")
    fill(page, count="3", label="Hall 9")
    go(page, "main form button")
    sheet = page.js("location.href")
    words = page.js("Array.from(document.querySelectorAll('tbody th')).map((e) => e.textContent)")
    page.close()
    # Whoever may only read prints, too, and finds the list again.
    page = entered(chromium, house, "reporter", acceptDownloads=True)
    page.goto(house.root + "passwords?stream=course")
    accessible(page)
    go(page, "[aria-labelledby=sheets-title] li a")
    assert page.js("location.href") == sheet
    whole = printed(page)
    assert all(word.replace("-", "") in whole for word in words)
    # And cards of some: whether the list is of one stream or of all.
    for stream in ("course", ""):
        search(page, house, "hall 9", stream)
        for word in words[:2]:
            page.run("await page.check(`input[aria-label$='${values.word}']`)", word=word)
        go(page, "button[formaction$=cards]")
        accessible(page)
        assert "2 passwords are selected" in page.js("document.querySelector('main').textContent")
        some = printed(page)
        assert [word.replace("-", "") in some for word in words] == [True, True, False]
    page.run("await page.fill('#url', 'https://ä.example')")
    go(page, "form[action$=cards] button")
    assert page.js(STATUS) == 422 and page.js("document.querySelector('#url').value").endswith(
        "ä.example"
    )
    page.goto(house.root + "passwords?stream=course")
    go(page, "button[formaction$=cards]")
    assert "Nothing was selected" in page.js("document.querySelector('main').textContent")
    page.close()


def test_a_replaced_password_lets_in_no_more(house: House, chromium: Chromium) -> None:
    old = house.issue(label="Row 3")
    page = entered(chromium, house)
    search(page, house, old, "course")
    page.run("await page.check('input[data-one]')")
    go(page, "button[formaction$=rotate]")
    go(page, "main form button")
    (new,) = page.js("Array.from(document.querySelectorAll('tbody th')).map((e) => e.textContent)")
    assert page.js("document.querySelector('tbody td').textContent") == "Row 3"
    assert house.let_in("course", new)[0] == 200 and house.let_in("course", old)[0] == 403
    page.close()


def test_a_list_is_exported_as_it_can_be_imported(house: House, chromium: Chromium) -> None:
    text = house.issue(label="=Row 4", valid_until=1_935_446_400, max_devices=2)
    page = entered(chromium, house, locale="de-DE", acceptDownloads=True)
    page.goto(house.root + "passwords?stream=course")
    data = page.run(DOWNLOADED, selector="a[href*=export]")
    found = read_csv(data.encode(), timezone="Europe/Berlin")
    assert not found.problems
    (row,) = [each for each in found.passwords if each.password == text]
    assert row.settings == PasswordSettings(
        label="=Row 4", valid_until=1_935_446_400, max_devices=2
    )
    page.goto(house.root + "audit?kind=view")
    assert "Passwörter gesehen" in page.js("document.querySelector('tbody tr').textContent")
    page.close()


DOWNLOADED = """
const [got] = await Promise.all([page.waitForEvent("download"), page.click(values.selector)]);
const pieces = [];
for await (const each of await got.createReadStream()) pieces.push(each);
return Buffer.concat(pieces).toString("utf8");
"""


# Streams and keys


def test_a_stream_is_added_bounded_protected_stopped_and_removed(
    house: House, chromium: Chromium
) -> None:
    page = entered(chromium, house)
    go(page, "a.button[href$='/console/streams']")
    fill(page, name="hall-1", title="Hall 1")
    page.run("await page.check('[name=\"film.hall-1.mp4\"]')")
    page.run("await page.selectOption('#access', 'open')")
    go(page, "main form button")
    assert page.js("location.href") == house.root + "streams/hall-1"
    until(lambda: everywhere(lambda: house.ask("GET", "/acme/hall-1/")[0] == 200))
    # It opens when it is set to, in the tenant's time zone.
    fill(
        page,
        opens_at="01.05.2031",
        closes_at="01.05.2031",
        networks="192.0.2.0/24",
        countries="de at",
    )
    go(page, "main form[data-once] button")
    with house.store() as store:
        settings = store.stream("acme", "hall-1").settings
    opens = int(datetime(2031, 5, 1, tzinfo=ZoneInfo("Europe/Berlin")).timestamp())
    assert (settings.opens_at, settings.closes_at) == (opens, opens + 86_400)
    assert (settings.networks, settings.countries) == (("192.0.2.0/24",), ("DE", "AT"))
    assert page.js("document.getElementById('closes_at').value") == "2031-05-01"
    # What is wrong is said, what was typed is kept, and nothing is changed.
    fill(page, networks="192.0.2.1/24", closes_at="2030-01-01")
    go(page, "main form[data-once] button")
    accessible(page)
    said = page.js("document.querySelector('[role=alert]').textContent")
    assert "192.0.2.0/24; write that" in said and "Closes: it is over before" in said
    assert page.js("document.getElementById('networks').value") == "192.0.2.1/24"
    page.goto(house.root + "streams/hall-1")
    assert page.js("document.getElementById('networks').value") == "192.0.2.0/24"
    fill(page, opens_at="", closes_at="", networks="", countries="")
    go(page, "main form[data-once] button")
    # All that protects it, in one step that is shown first.
    go(page, "button[formaction$=maximum]")
    accessible(page)
    assert page.js("document.querySelectorAll('tbody tr').length") == 4
    go(page, "main form button")
    with house.store() as store:
        settings = store.stream("acme", "hall-1").settings
    assert {name: getattr(settings, name) for name in MAXIMUM} == MAXIMUM
    assert page.js("document.querySelectorAll('button[formaction$=maximum]').length") == 0
    # Whoever watches is stopped.
    password = house.issue("hall-1")
    there: dict[str, Any] = {}

    def comes_in() -> bool:
        status, said = house.let_in("hall-1", password)
        there.update(said)
        return status == 200

    until(comes_in)
    # Each worker hears for itself of what was set.
    until(lambda: house.ask("GET", there["master"])[0] == 200)
    go(page, "button[formaction$=end]")
    accessible(page)
    go(page, "main button.danger")
    assert page.js("document.querySelector('.done').textContent") == "All who watched are stopped."
    until(lambda: house.ask("GET", there["master"])[0] == 403)
    go(page, "button[formaction$=remove]")
    accessible(page)
    go(page, "main button.danger")
    assert page.js("document.querySelector('.done').textContent") == "The stream is removed."
    until(lambda: everywhere(lambda: house.ask("GET", "/acme/hall-1/")[0] == 404))
    assert page.seen("refused") == []
    page.close()


def test_a_key_of_links_is_shown_once_replaced_and_revoked(
    house: House, chromium: Chromium
) -> None:
    with house.store() as store:
        settings = StreamSettings(
            sources=(str(SAMPLE),), segment_duration_ms=1000, access="signed", title="Talk 2"
        )
        store.add_stream("acme", "talk-2", settings, who="test", now=int(time.time()))
    page = entered(chromium, house)
    page.goto(house.root + "streams/talk-2")
    assert "no key for its links" in page.js("document.querySelector('.warning').textContent")
    go(page, ".ways a[href$=verifiers]")
    go(page, "main form button")
    page.run("await page.selectOption('#stream', 'talk-2')")
    fill(page, name="first")
    go(page, "main form button")
    accessible(page)
    secrets = [page.js("document.getElementById('secret').value")]

    def opens(name: str, secret: str) -> int:
        link = Link(
            tenant="acme", stream="talk-2", key=name, not_before=None, expires=int(time.time()) + 60
        )
        query = sign_link(link, bytes.fromhex(secret))
        return house.ask("GET", f"/acme/talk-2/master.m3u8?{query}")[0]

    until(lambda: opens("first", secrets[0]) == 302)
    assert opens("first", "ab" * 32) == 403
    page.goto(house.root + "verifiers")
    accessible(page)
    assert secrets[0] not in page.js("document.documentElement.outerHTML")
    go(page, "button[value=replace]")
    secrets.append(page.js("document.getElementById('secret').value"))
    second = page.js("document.querySelector('h1').textContent").removeprefix("Key ")
    assert opens("first", secrets[0]) == opens(second, secrets[1]) == 302
    # There are two at most.
    page.goto(house.root + "verifiers")
    go(page, "button[value=replace]")
    assert "2 active ones already" in page.js("document.querySelector('[role=alert]').textContent")
    go(page, "form[action$='/first'] button[value=revoke]")
    accessible(page)
    go(page, "main button.danger")
    assert page.js("document.querySelector('.done').textContent") == "Revoked."
    until(lambda: opens("first", secrets[0]) == 403)
    assert opens(second, secrets[1]) == 302
    # One's own secret is shown never.
    page.goto(house.root + "verifiers/-/new?kind=wowza&stream=talk")
    fill(page, secret="myOwnSecret12345", prefix="token")
    go(page, "main form button")
    assert page.js("document.querySelector('.done').textContent") == "The key is added."
    assert "myOwnSecret12345" not in page.js("document.documentElement.outerHTML")
    assert page.seen("refused") == []
    page.close()


# Who may


MAY = {
    "passwords": "passwords:read",
    "passwords/new": "passwords:change",
    "passwords/import": "passwords:change",
    "streams": "streams:change",
    "events": "events:read",
    "events/-/new": "events:change",
    "evidence": "evidence:read",
    "verifiers": "passwords:read",
    "verifiers/-/new?kind=link": "passwords:change",
    "traffic": "traffic:read",
    "audit": "audit:read",
    "people": "people:change",
    "tokens": "tokens:change",
    "organisation": "tenant:change",
    "streams/course": "streams:read",
    "account": None,
    "": None,
}
OFFERED = """Array.from(document.querySelectorAll("a[href*='/console/']"))
  .map((each) => each.pathname.slice("/console/".length))"""


@pytest.mark.parametrize("role", list(Role))
def test_each_role_is_offered_what_it_may_and_no_more(
    house: House, chromium: Chromium, role: Role
) -> None:
    page = entered(chromium, house, role.removeprefix("tenant-"))
    offered = set(page.js(OFFERED))
    rights = RIGHTS[role]
    for path, right in MAY.items():
        may = right is None or right in rights
        page.goto(house.root + path)
        assert page.js(STATUS) == (200 if may else 403), path
        accessible(page)
        offered |= set(page.js(OFFERED))
    for path in offered & MAY.keys():
        right = MAY[path]
        assert right is None or right in rights, path
    page.goto(house.root + "streams/course")
    changes = page.js("document.querySelectorAll('main form[data-once] button').length")
    assert changes == ("streams:change" in rights)
    if "passwords:read" in rights:
        house.issue()
        page.goto(house.root + "passwords")
        for action, right in (("revoke", "passwords:change"), ("erase", "passwords:erase")):
            shown = page.js(f"document.querySelectorAll('[formaction$={action}]').length")
            assert shown == (right in rights)
    assert page.seen("refused") == []
    page.close()


STATUS = "performance.getEntriesByType('navigation')[0].responseStatus"


def test_people_come_are_changed_and_go(house: House, chromium: Chromium) -> None:
    page = entered(chromium, house)
    page.goto(house.root + "people")
    fill(page, name="mia@acme.org")
    go(page, "form[action$='/people'] button")
    accessible(page)
    first = page.js("document.getElementById('secret').value")
    other = chromium.page()
    other.run(SIGN_IN, root=house.root, tenant="acme", name="mia@acme.org", password=first)
    assert other.js("location.href") == house.root + "password"
    accessible(other)
    other.goto(house.root + "streams/course")
    assert other.js("location.href") == house.root + "password"
    other.run(
        "for (const [id, text] of values.pairs) await page.fill(`#${id}`, text);",
        pairs=[["old", first], ["new", PASSWORD], ["again", PASSWORD]],
    )
    go(other, "main form button")
    form = "form[action$='/people/mia%40acme.org']"
    page.goto(house.root + "people")
    page.run("await page.selectOption(values.of, 'auditor')", of=f"{form} select")
    go(page, f"{form} button[value=role]")
    # At once, not at the next sign-in.
    other.goto(house.root + "passwords")
    assert other.js(STATUS) == 403
    go(page, f"{form} button[value=remove]")
    accessible(page)
    go(page, "main button.danger")
    assert page.js("document.querySelectorAll(`" + form + "`).length") == 0
    other.goto(house.root)
    assert other.js("location.href") == house.root + "sign-in"
    # The last one who may change people stays.
    go(page, "form[action$='/people/admin'] button[value=remove]")
    go(page, "main button.danger")
    assert "last tenant-admin" in page.js("document.querySelector('[role=alert]').textContent")
    other.close()
    page.close()


def test_a_token_is_shown_once_and_revoked(house: House, chromium: Chromium) -> None:
    page = entered(chromium, house)
    page.goto(house.root + "tokens")
    fill(page, name="website")
    page.run("await page.check('[name=\"scope.streams:read\"]')")
    go(page, "form[action$='/tokens'] button")
    accessible(page)
    token = page.js("document.getElementById('secret').value")
    asked = ("GET", "/api/v1/streams", "")
    assert house.ask(*asked, Authorization=f"Bearer {token}")[0] == 200
    page.goto(house.root + "tokens")
    accessible(page)
    assert token not in page.js("document.documentElement.outerHTML")
    go(page, "tbody form button")
    accessible(page)
    go(page, "main button.danger")
    assert house.ask(*asked, Authorization=f"Bearer {token}")[0] == 401
    page.close()


# One's own account


def test_an_authenticator_is_set_up_asked_for_and_given_up(
    house: House, chromium: Chromium
) -> None:
    page = entered(chromium, house, "editor")
    page.goto(house.root + "account")
    before = page.js("document.querySelectorAll('.plain li').length")
    go(page, "form[action$=begin] button")
    accessible(page)
    assert page.js("document.querySelector('.qr').naturalWidth") > 0
    key = page.js("document.querySelector('main .code').textContent")
    secret = b32decode(key.replace(" ", ""))
    # What an app reads is what is written below it.
    shown = page.run("return (await (await page.$('.qr')).screenshot()).toString('base64')")
    (read,) = zxingcpp.read_barcodes(Image.open(BytesIO(b64decode(shown))))
    assert read.text == sign_in.totp_uri(secret, "acme", "editor")
    fill(page, code="000000")
    go(page, "main form button")
    assert "not right" in page.js("document.querySelector('[role=alert]').textContent")
    step = int(time.time()) // 30
    fill(page, code=sign_in.totp(secret, step))
    go(page, "main form button")
    accessible(page)
    codes = page.js("Array.from(document.querySelectorAll('.codes li')).map((e) => e.textContent)")
    assert len(codes) == 10
    other = chromium.page()
    for code, comes_in in (
        ("", False),
        (sign_in.totp(secret, step), False),
        (codes[0], True),
        (codes[0], False),
        (sign_in.totp(secret, step + 1), True),
    ):
        other.run("await context.clearCookies()")
        sign(other, house, "editor", code=code)
        assert (other.js("location.href") == house.root) is comes_in, code
    page.goto(house.root + "account")
    assert page.js("document.querySelectorAll('.plain li').length") == before + 2
    accessible(page)
    for password, status in (("wrong", 403), (PASSWORD, 200)):
        fill(page, password=password)
        go(page, "form[action$='authenticator/remove'] button")
        assert page.js(STATUS) == status
    # Signed out here is signed out there.
    go(page, "form[action$='account/sign-out'] button")
    other.goto(house.root)
    assert other.js("location.href") == page.js("location.href") == house.root + "sign-in"
    other.close()
    page.close()


def test_the_language_is_chosen_and_kept(house: House, chromium: Chromium) -> None:
    page = chromium.page(locale="en-US")
    page.goto(house.root + "sign-in")
    go(page, "button[name=to]")
    assert page.js("document.documentElement.lang") == "de"
    sign(page, house, "admin")
    page.goto(house.root + "streams/course")
    assert page.js("document.documentElement.lang") == "de"
    go(page, "button[name=to]")
    assert page.js("document.documentElement.lang") == "en"
    assert page.js("location.href") == house.root + "streams/course"
    cookies = page.run("return await context.cookies()")
    assert all(each["httpOnly"] and each["sameSite"] == "Strict" for each in cookies)
    page.close()


# What others try


FORGED = """
await page.evaluate((value) => {
  for (const each of document.querySelectorAll("[name=csrf]"))
    if (value === null) each.remove(); else each.value = value;
}, values.token);
"""


def test_a_form_without_the_sessions_own_token_does_nothing(
    house: House, chromium: Chromium
) -> None:
    page, other = entered(chromium, house), entered(chromium, house, "otto", "other")
    foreign = other.js("document.querySelector('[name=csrf]').value")
    for token in (None, "", "A" * 43, foreign):
        page.goto(house.root + "organisation")
        page.run(FORGED, token=token)
        fill(page, display="Forged")
        go(page, "main form button")
        assert page.js(STATUS) == 403
        accessible(page)
    page.goto(house.root + "organisation")
    assert page.js("document.getElementById('display').value") == ""
    page.close()
    other.close()


def test_no_site_frames_the_console(house: House, chromium: Chromium, site: Site) -> None:
    site.framed = house.root + "sign-in"
    page = chromium.page()
    page.goto(site.origin)
    assert page.run("return page.frames()[1].url()") != site.framed
    page.close()


def test_the_consoles_grant_opens_pictures_alone(house: House, chromium: Chromium) -> None:
    page = entered(chromium, house)
    path = page.js("new URL(document.querySelector('a[href*=course] video').src).pathname")
    page.close()
    assert house.ask("GET", path)[0] == 200
    folder = path.removesuffix("frame.mp4")
    assert house.ask("GET", folder + "master.m3u8")[0] == 403
    assert house.ask("GET", path.replace("/course/", "/talk/"))[0] == 403
    page = entered(chromium, house, "operator")
    trailer = page.js("new URL(document.querySelector('a[href*=trailer] video').src).pathname")
    page.close()
    folder = trailer.removesuffix("frame.mp4")
    for name in ("master.m3u8", "download.mp4"):
        assert house.ask("GET", folder + name)[0] == 403
