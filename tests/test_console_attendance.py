"""Events and reports in the console, in a real browser, on a real node: from the programme to the proof."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any
from zoneinfo import ZoneInfo

import pypdfium2
import pytest

from pystream.acl.passwords import PasswordSettings, generate
from pystream.acl.people import RIGHTS, Role
from pystream.acl.store.issuing import Issuer
from pystream.attendance.notes import VerifierKey
from pystream.attendance.purpose import VERSION
from pystream.attendance.verification import verify
from pystream.server.keys import open_key_store
from tests.audience import watch
from tests.browser.chromium import Chromium, Page
from tests.test_console import DOWNLOADED, PHONE, STATUS, WIDE, entered, fill, go
from tests.test_console import House as Plain
from tests.test_page import accessible
from tests.test_serve import BUSY, Node, node_in

pytestmark = pytest.mark.slow

ZONE = ZoneInfo("Europe/Berlin")
DAY = (datetime.now(ZONE) - timedelta(days=2)).date()


def at(clock: str) -> int:
    """An instant of that day."""
    hour, minute = map(int, clock.split(":"))
    return round(
        datetime(DAY.year, DAY.month, DAY.day, hour, minute, tzinfo=ZONE).timestamp() * 1000
    )


class House(Plain):
    """A node whose streams were watched the day before yesterday, between 18:00 and 19:30."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        by: dict[str, Any] = {"who": "test", "now": int(time.time()) - 20 * 86_400}
        self.passwords: dict[str, int] = {}
        with self.store() as store:
            store.set_tenant("acme", {"attendance_purpose": VERSION, "display": "ACME GmbH"}, **by)
            store.set_stream("acme", "course", {"attendance": True}, **by)

    def attend(self) -> None:
        """Once the node has made its keys: eight come, one of them to examine, and one is erased later."""
        by: dict[str, Any] = {"who": "test", "now": int(time.time()) - 20 * 86_400}
        with self.store() as store, open_key_store(self.settings.keys, {}, migrate=False) as keys:
            course = store.stream("acme", "course").id
            for number in range(8):
                label = "=1+1" if number == 0 else f"Saal {number}"
                settings = PasswordSettings(label=label, is_test=number == 7)
                text = generate()
                (id,) = Issuer(store.viewers, keys).add(
                    self.acme, [course], [(text, settings)], **by
                )
                self.passwords[text] = id
                place = self.acme, course, id
                watch(store, keys, 2 * number + 1, place, at("17:50") + 60_000 * number, 60)
                watch(store, keys, 2 * number + 2, place, at("18:58") + 30_000 * number, 30)

    def erase(self, text: str) -> None:
        with self.store() as store, open_key_store(self.settings.keys, {}, migrate=False) as keys:
            ids = [self.passwords.pop(text)]
            Issuer(store.viewers, keys).erase(self.acme, ids, who="test", now=int(time.time()))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with node_in(tmp_path_factory.mktemp("console")) as node:
        node.settings("workers = 1", f"{BUSY}[attendance]\nallow_unsynced = true\n")
        made = House(node)
        node.start()
        node.hear("READY=1")
        made.attend()
        yield made


def main(page: Page) -> str:
    return str(page.js("document.querySelector('main').innerText"))


def add_event(page: Page, house: House, name: str, **more: str) -> None:
    page.goto(house.root + "events/-/new")
    day = DAY.isoformat()
    fill(
        page,
        **{
            "name": name,
            "title": "Herz <2026>",
            "vnr": "2760909012345678901",
            "windows": f"{day} 18:00-19:30",
            "breaks": f"{day} 18:45–19:00",
            "seal_after": "1",
            "lookahead_s": "45",
            "bridge_ms": "0",
            **more,
        },
    )
    for name in ("stream.course", "credit_outage"):
        page.run('await page.check(`[name="${values.name}"]`)', name=name)
    go(page, "main form[data-once] button")


def test_from_the_programme_to_the_proof(house: House, chromium: Chromium) -> None:
    page = entered(chromium, house, acceptDownloads=True)
    go(page, "nav a[href$='/console/events']")
    go(page, "main a.button")
    # What is wrong is said, and what was typed is kept.
    add_event(page, house, "herz", windows="tomorrow", breaks="")
    accessible(page)
    assert "Programme: a day and times are wanted" in main(page)
    assert page.js("document.getElementById('windows').value") == "tomorrow"
    assert page.js("document.querySelector('[name=\"stream.course\"]').checked")
    add_event(page, house, "herz")
    assert page.js("location.href") == house.root + "events/herz?done=saved"
    assert page.js("document.getElementById('windows').value") == f"{DAY} 18:00–19:30"
    assert "1:15 hours long" in main(page)
    # The form as it is changes nothing.
    go(page, "main form[data-once] button")
    assert page.js("document.getElementById('breaks').value") == f"{DAY} 18:45–19:00"
    counted = page.js(
        "['lookahead_s', 'bridge_ms'].map((id) => document.getElementById(id).value)"
        ".concat(document.querySelector('[name=credit_outage]').checked)"
    )
    assert counted == ["45", "0", True]
    page.goto(house.root + "events")
    accessible(page)
    go(page, "tbody a.button")
    # A row for each password, the bar of its time, and the curve of all.
    said = main(page)
    assert "This report is provisional." in said and "It can be sealed now." in said
    assert "7 passwords, 7 certified" in said
    words = page.js(
        "Array.from(document.querySelectorAll('tbody th .code')).map((e) => e.textContent)"
    )
    assert sorted(words) == sorted(house.passwords)
    assert page.js("document.querySelectorAll('.attended .track .online').length") >= 16
    assert page.js("document.querySelector('.curve .bar').getBBox().height") > 0
    assert page.js("getComputedStyle(document.querySelector('.curve .bar')).fill").startswith("rgb")
    assert page.js("document.querySelector('.curve title').textContent") == "Audience: Herz <2026>"
    pages = pypdfium2.PdfDocument(downloaded(page, "a[href$='/pdf']"))
    assert "provisional" in pages[0].get_textpage().get_text_range()
    table = downloaded(page, "a[href$='/csv']").decode("utf-8-sig")
    assert table.startswith("Password;") and ";'=1+1;" in table
    # Sealed, once that was asked; a correction wants a reason.
    for number, reason in ((1, ""), (2, "The VNR was wrong")):
        page.goto(house.root + "events/herz/report")
        go(page, ".warning form button")
        accessible(page)
        if reason:
            fill(page, reason=reason)
        go(page, "main form[data-once] button")
        assert page.js("location.search") == f"?version={number}&done=done_seal"
        accessible(page)
        assert f"Version {number} is sealed." in main(page) and reason in main(page)
    report = downloaded(page, "a[href*='/json']")
    page.goto(house.root + "events/herz/report?version=1")
    receipt = downloaded(page, "tbody a[href*='/receipts/']")
    page.goto(house.root + "evidence")
    accessible(page)
    key = VerifierKey.parse(page.js("document.getElementById('key').value"))
    go(page, "main form button")
    assert page.js("document.querySelector('.done').textContent") == "The checkpoint is signed."
    note = page.js("document.getElementById('checkpoint').value")
    assert key.name in note and page.js("document.querySelectorAll('tbody tr').length") >= 1
    log = downloaded(page, "a[href$='/evidence/log']")
    verdict = verify(report, [key], BytesIO(log))
    assert set(verdict.proofs) == {"recomputed"} and verdict.document.about["version"] == 2
    assert verify(receipt, [key]).document.receipt is not None
    # It stays, as what was sealed is about it.
    page.goto(house.root + "events/herz")
    go(page, "form[action$=remove] button")
    accessible(page)
    go(page, "main button.danger")
    assert page.js(STATUS) == 409 and "there are sealed reports of it" in main(page)
    page.goto(house.root + "audit?kind=view")
    views = page.js("document.querySelector('table').innerText")
    for what in ("attendance seen", "receipts of attendance", "leaves exported"):
        assert what in views
    assert page.seen("refused") == []
    page.close()


BYTES = DOWNLOADED.replace('toString("utf8")', 'toString("latin1")')


def downloaded(page: Page, selector: str) -> bytes:
    text: str = page.run(BYTES, selector=selector)
    return text.encode("latin-1")


def test_a_streams_days_and_the_receipts_of_a_password(house: House, chromium: Chromium) -> None:
    page = entered(chromium, house, locale="de-DE", acceptDownloads=True)
    page.goto(house.root + "streams/course")
    go(page, "a[href$='/course/report']")
    accessible(page)
    assert "Dieser Bericht ist vorläufig." in main(page)
    assert page.js("document.querySelector('tbody td').textContent") == "7"
    go(page, "tbody a")
    assert page.js("location.search") == f"?day={DAY}"
    accessible(page)
    assert "7 Passwörter" in main(page) and "1:30:00" in main(page)
    assert "Punkte" not in page.js("document.querySelector('thead').textContent")
    assert downloaded(page, "a[href*='/csv']").decode("utf-8-sig").startswith("Passwort;")
    text, id = next(iter(house.passwords.items()))
    page.goto(house.root + f"passwords/{id}")
    accessible(page)
    assert text in main(page)
    assert b'"format":"pystream attendance receipt 1"' in downloaded(page, "a[href*=receipts]")
    page.close()


def test_a_sealed_report_is_held_by_who_need_not_read_it(house: House, chromium: Chromium) -> None:
    page = entered(chromium, house)
    add_event(page, house, "halten")
    for path in ("events/halten/report", f"streams/course/report?day={DAY}"):
        page.goto(house.root + path)
        go(page, ".warning form button")
        go(page, "main form[data-once] button")
    page.close()
    page = entered(chromium, house, "dpo", locale="de-DE")
    go(page, "nav a[href$='/console/holds']")
    accessible(page)
    assert not any(text in main(page) for text in house.passwords)
    go(page, f"tbody a[href*='course/hold?day={DAY}']")
    accessible(page)
    assert "werden bis" not in main(page) and page.js("document.querySelector('.sealed')") is None
    # What is wrong is said, and what was typed is kept.
    for until, wrong in (
        ("morgen", "kein Datum"),
        ("01.05.2001", "das liegt nicht in der Zukunft"),
    ):
        fill(page, until=until, reason="die Kammer prüft")
        go(page, "main form[data-once] button")
        accessible(page)
        assert page.js(STATUS) == 422 and f"Festgehalten bis: {wrong}" in main(page)
        assert page.js("document.getElementById('reason').value") == "die Kammer prüft"
        assert page.js("document.getElementById('until').value") == until
    fill(page, until="01.05.2999")
    go(page, "main form[data-once] button")
    accessible(page)
    said = main(page)
    assert "Der Bericht wird festgehalten." in said
    assert (
        "Seine versiegelten Fassungen werden bis 01.05.2999 festgehalten." in said
        and "die Kammer" in said
    )
    # The form as it is changes nothing.
    go(page, "main form[data-once] button")
    assert "bis 01.05.2999 festgehalten" in main(page)
    page.goto(house.root + "holds")
    assert "01.05.2999" in main(page) and "die Kammer prüft" in main(page)
    page.close()
    # Who reads the report sees it; who may change it, how; and the stream stays.
    page = entered(chromium, house, "reporter")
    page.goto(house.root + f"streams/course/report?day={DAY}")
    assert "held until 1 May 2999" in main(page) and "die Kammer prüft" in main(page)
    assert page.js("document.querySelectorAll('a[href*=hold]').length") == 0
    page.close()
    page = entered(chromium, house)
    page.goto(house.root + "streams/course")
    go(page, "button[formaction$=remove]")
    go(page, "main button.danger")
    assert page.js(STATUS) == 409 and "is held until 2999-05-01" in main(page)
    page.goto(house.root + f"streams/course/report?day={DAY}")
    accessible(page)
    go(page, "main a[href*=hold]")
    # Released, once that was asked.
    go(page, ".sealed form button")
    accessible(page)
    assert "Hold this report no more?" in page.js("document.querySelector('h1').textContent")
    go(page, "main button.danger")
    assert "The report is held no more." in main(page)
    page.goto(house.root + "audit")
    accessible(page)
    said = page.js("document.querySelector('table').innerText")
    assert "report held no more" in said and "die Kammer prüft" in said
    assert (
        f"report of: {DAY}" in said.replace("\n", " ") and "held until: 2 May 2999, 00:00" in said
    )
    assert page.seen("refused") == []
    page.close()


def test_what_is_restricted_is_in_no_report_until_that_is_lifted(
    house: House, chromium: Chromium
) -> None:
    text, id = list(house.passwords.items())[1]
    place = f"passwords/{id}/restriction"
    page = entered(chromium, house)
    add_event(page, house, "streit")
    page.close()
    page = entered(chromium, house, "dpo")
    page.goto(house.root + "passwords")
    go(page, f"a[href$='{place}']")
    accessible(page)
    fill(page, reason="says that the evening is wrong")
    go(page, "main form[data-once] button:not([name])")
    accessible(page)
    assert "It is restricted." in main(page) and "the evening is wrong" in main(page)
    page.goto(house.root + "passwords")
    accessible(page)
    assert "restricted" in main(page)
    page.close()
    page = entered(chromium, house)
    page.goto(house.root + "events/streit/report")
    assert text not in main(page)
    assert "data of 1 password is restricted (Art. 18 GDPR)" in main(page)
    page.goto(house.root + place)
    go(page, "button[name=lift]")
    assert "The restriction is lifted." in main(page)
    page.goto(house.root + "events/streit/report")
    assert text in main(page) and "Art. 18" not in main(page)
    assert page.seen("errors") == [] and page.seen("refused") == []
    page.close()


def test_who_reads_no_reports_is_shown_none(house: House, chromium: Chromium) -> None:
    page = entered(chromium, house)
    add_event(page, house, "rollen")
    page.close()
    text = next(iter(house.passwords))
    for role in Role:
        page = entered(chromium, house, role.removeprefix("tenant-"))
        rights = RIGHTS[role]
        for path, right in (
            ("events/rollen/report", "reports:read"),
            ("events/rollen/report/csv", "reports:read"),
            (f"streams/course/report?day={DAY}", "reports:read"),
            ("events/rollen", "events:read"),
            ("events", "events:read"),
            ("evidence", "evidence:read"),
            ("holds", "reports:hold"),
        ):
            seen = page.run(
                "const answer = await page.request.get(values.url);"
                "return [answer.status(), await answer.text()]",
                url=house.root + path,
            )
            assert seen[0] == (200 if right in rights else 403), (role, path)
            assert (text in seen[1]) is ("report" in path and right in rights), (role, path)
        if "reports:read" in rights:
            page.goto(house.root + "events/rollen/report")
            sealing = page.js("document.querySelectorAll('form[action$=seal]').length")
            assert sealing == ("reports:seal" in rights)
        if "events:read" in rights:
            page.goto(house.root + "events/rollen")
            changes = page.js("document.querySelectorAll('main form[data-once] button').length")
            assert changes == ("events:change" in rights)
            accessible(page)
        page.close()


@pytest.mark.parametrize(("locale", "scheme"), [("en-US", "light"), ("de-DE", "dark")])
def test_every_page_is_accessible_in_each_language_and_scheme(
    house: House, chromium: Chromium, locale: str, scheme: str
) -> None:
    name, restricted = f"seiten-{scheme}", next(iter(house.passwords.values()))
    page = entered(chromium, house)
    add_event(page, house, name)
    page.goto(house.root + f"events/{name}/report")
    go(page, ".warning form button")
    go(page, "main form[data-once] button")
    page.close()
    for context in (WIDE, PHONE):
        page = entered(chromium, house, locale=locale, colorScheme=scheme, **context)
        for path in (
            *("events", "events/-/new", f"events/{name}", f"events/{name}/report", "evidence"),
            *("streams/course/report", f"streams/course/report?day={DAY}"),
            *("holds", f"events/{name}/hold", f"passwords/{restricted}/restriction", "passwords"),
        ):
            page.goto(house.root + path)
            accessible(page)
            # Nothing is wider than the window.
            assert page.js("document.documentElement.scrollWidth <= innerWidth"), path
        assert page.seen("errors") == [] and page.seen("refused") == []
        page.close()


def test_of_what_was_erased_the_page_says_how_much(house: House, chromium: Chromium) -> None:
    page = entered(chromium, house)
    add_event(page, house, "vorher")
    page.goto(house.root + "events/vorher/report")
    go(page, ".warning form button")
    go(page, "main form[data-once] button")
    house.erase(next(iter(house.passwords)))
    page.goto(house.root + "events/vorher/report")
    assert "1 password that may have been valid in this time is erased" in main(page)
    assert page.js("document.querySelectorAll('tbody tr').length") == len(house.passwords)
    page.goto(house.root + "events/vorher/report?version=1")
    accessible(page)
    assert "Passwords were erased since" in main(page) and "erased #" in main(page)
    assert page.js("document.querySelectorAll('a[href*=\"/json\"]').length") == 0
    page.close()
