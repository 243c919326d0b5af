"""The API of a real node: a customer's site hands out passwords, and viewers come in with them."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import threading
import time
from contextlib import closing
from typing import Any

import pytest

from pystream.acl.people import SCOPES
from pystream.acl.store.accounts import Accounts
from tests.test_admission import House, house, standing
from tests.waiting import pause, until

pytestmark = pytest.mark.slow

__all__ = ["house", "standing"]


class Site:
    """A program of the customer's."""

    def __init__(self, house: House) -> None:
        self.house = house
        with house.store() as store:
            id, now = store.tenant("acme").id, int(time.time())
            accounts = Accounts(store.people)
            self.token = accounts.add_token(id, "site", SCOPES, None, who="test", now=now)[1]

    def ask(
        self,
        path: str,
        method: str = "GET",
        body: Any = None,
        kind: str = "application/json",
        **fields: str,
    ) -> tuple[int, dict[str, str], bytes]:
        fields = {name.replace("_", "-"): value for name, value in fields.items()}
        fields["Authorization"] = f"Bearer {self.token}"
        data = body if body is None or isinstance(body, str) else json.dumps(body)
        return self.house.ask(f"/api/v1{path}", method, data, kind, **fields)

    def told(self, *arguments: Any, **fields: str) -> Any:
        status, headers, data = self.ask(*arguments, **fields)
        assert status < 300, data
        assert "ratelimit" in headers
        return json.loads(data) if data else None


@pytest.fixture
def website(house: House) -> Site:
    return Site(house)


def test_a_site_hands_out_passwords(house: House, website: Site) -> None:
    body = {"streams": ["course"], "count": 2, "label": "Room of the zebra"}
    made = website.told("/passwords", "POST", body, Idempotency_Key="one")["items"]
    assert website.told("/passwords", "POST", body, Idempotency_Key="one")["items"] == made
    one, two = made
    visits = [house.let_in("acme/course", each["password"]) for each in made]
    assert [house.standing(each) for each in visits] == ["open", "open"]
    website.told("/passwords/revoke", "POST", {"ids": [one["id"]]})
    until(lambda: house.standing(visits[0]) == "revoked")
    assert house.refused("acme/course", one["password"]) == "password"
    assert house.standing(visits[1]) == "open"
    website.told(f"/passwords/{two['id']}/end-sessions", "POST")
    until(lambda: house.standing(visits[1]) != "open")
    assert house.standing(house.let_in("acme/course", two["password"])) == "open"
    # The next one comes a second later: what is opened in the second of an ending is over with it.
    new = website.told(f"/passwords/{two['id']}/rotate", "POST", {"grace_s": 600})
    assert house.standing(house.let_in("acme/course", new["password"])) == "open"
    log = house.node.said()
    for secret in (website.token, one["password"], two["password"], "zebra", one["id"]):
        assert secret not in log


def test_a_change_reaches_viewers(house: House, website: Site) -> None:
    _, headers, data = website.ask("/streams/open")
    assert json.loads(data)["download"] is False
    assert house.ask("/acme/open/download.mp4")[0] == 404
    patch = "application/merge-patch+json"
    etag = headers["etag"]
    status, changed, _ = website.ask(
        "/streams/open", "PATCH", {"download": True}, patch, If_Match=etag
    )
    assert status == 200 and changed["etag"] != etag
    until(lambda: house.ask("/acme/open/download.mp4")[0] != 404)
    stale = website.ask("/streams/open", "PATCH", {"download": False}, patch, If_Match=etag)
    assert stale[0] == 412 and stale[1]["content-type"] == "application/problem+json"


def test_what_the_wire_makes_of_it(house: House, website: Site) -> None:
    status, headers, data = website.ask("/streams", "HEAD")
    assert (status, data) == (200, b"") and int(headers["content-length"]) > 100
    assert headers["cache-control"] == "no-store"
    status, headers, _ = website.ask("/streams", "PUT", {})
    assert (status, headers["allow"]) == (405, "GET, HEAD, POST")
    # A list may be longer than other bodies, up to 8 MiB.
    line = f"K7-Q2M9-XD4R-{{:08d}}-ZP;{'x' * 190}\r\n"
    text = "password;label\r\n" + "".join(map(line.format, range(10_000)))
    assert len(text) > 2 << 20
    path = "/passwords/import?streams=course&check=true"
    checked = website.told(path, "POST", text, "text/csv")
    assert checked["count"] == checked["warnings_count"] == 10_000
    assert len(checked["warnings"]) == 100
    status, _, _ = website.ask("/passwords", "POST", text)
    assert status == 413


def test_whatever_dies_a_request_is_carried_out_once(house: House, website: Site) -> None:
    """The office is killed while it carries a request out, and the request sent again."""
    body = {"streams": ["course"], "count": 1500}
    keys, store = house.node.folder / "keys.db", house.node.folder / "pystream.db"
    answers: list[tuple[int, dict[str, str], bytes]] = []

    def send() -> None:
        answers.append(website.ask("/passwords", "POST", body, Idempotency_Key="k"))

    def count(path: Any, table: str) -> int:
        with closing(sqlite3.connect(path)) as connection:
            return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    killed = 0
    for _ in range(5):
        before = count(keys, "record_key")
        sending = threading.Thread(target=send)
        sending.start()
        # Its keys are made before it is done.
        while sending.is_alive() and count(keys, "record_key") == before:
            pause()
        if sending.is_alive():
            killed += 1
            for pid in house.node.processes()["office"]:
                os.kill(pid, signal.SIGKILL)
        sending.join()
        if answers[-1][0] == 201:
            break
        assert answers[-1][0] == 503 and answers[-1][1]["retry-after"]
        assert count(store, "password") in (0, 1500)
    assert killed
    while answers[-1][0] != 201:
        send()
        assert answers[-1][0] in (201, 503)
    made = json.loads(answers[-1][2])["items"]
    assert len(made) == count(store, "password") == 1500
    send()
    assert json.loads(answers[-1][2])["items"] == made
