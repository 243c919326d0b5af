"""The console of a tenant's own people, in a real browser, on a real node."""

from __future__ import annotations

import http.client
import io
import re
import time
from base64 import b32decode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pystream.acl import sign_in
from pystream.acl.passwords import PasswordSettings, generate
from pystream.acl.people import Role
from pystream.acl.store import Store
from pystream.acl.store.accounts import Accounts
from pystream.acl.store.issuing import Issuer
from pystream.acl.streams import StreamSettings, TenantSettings
from pystream.acl.traffic import Kind, Metered
from pystream.server.keys import open_key_store
from pystream.server.settings import load
from tests.browser.chromium import Chromium, Page
from tests.test_page import Site, accessible, site
from tests.test_serve import BUSY, SAMPLE, Node, node_in, until

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
        return Store.open(self.settings.store.url)

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


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with node_in(tmp_path_factory.mktemp("console")) as node:
        node.settings("workers = 2", BUSY)
        made = House(node)
        node.start()
        node.hear("READY=1")
        yield made


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
    *("people", "tokens", "organisation", "account", "password"),
)
STILLS = """Array.from(document.querySelectorAll('video')).every((each) => each.readyState >= 2)"""


@pytest.mark.parametrize("locale", ["en-US", "de-DE"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
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
        clean(page)
        page.close()
