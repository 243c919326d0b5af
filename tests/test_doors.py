"""What strangers bring to the door, decided on values: any text is let in, or refused for a reason."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystream.acl.entrances import Entry
from pystream.acl.entrances.conditions import NONE
from pystream.acl.entrances.verifiers import Brought, Configured, Verifier, new_secret, verify
from pystream.acl.streams import Stream, StreamSettings, conditions
from pystream.attendance.purpose import told
from pystream.errors import EntranceError
from pystream.server.entrance import Unread, said
from pystream.server.gate import Closed, Gate
from pystream.server.http import Fields, Request
from pystream.server.page.texts import REFUSALS, TEXTS
from pystream.server.settings import Geo, Located

TEXT = st.text(max_size=60) | st.text(st.sampled_from("ab=&;,%.:/!~*?012 -_"), max_size=60)


def configured(kind: str) -> Configured:
    return Configured(
        id=1,
        tenant_id=1,
        stream_id=None,
        name="7f",
        kind=kind,
        created_at=0,
        revoked_at=None,
        verifier=Verifier(kind=kind, secret=new_secret(kind)),
    )


def request(body: bytes = b"") -> Request:
    return Request("POST", "/acme/film/session", "", Fields({b"host": "a"}), body=body)


@pytest.mark.parametrize("kind", ["link", "akamai", "bunny", "wowza"])
@given(query=TEXT, cookies=TEXT, header=st.none() | TEXT, path=TEXT)
def test_what_nobody_has_signed_is_refused(
    kind: str, query: str, cookies: str, header: str | None, path: str
) -> None:
    brought = Brought(path=path, query=query, cookies=cookies, header=header, address="192.0.2.1")
    with pytest.raises(EntranceError):
        verify([configured(kind)], brought, tenant="acme", stream="film", now=1_800_000_000)


def test_without_a_key_nobody_is_let_in() -> None:
    brought = Brought(path="/acme/film/", query="a=b")
    with pytest.raises(EntranceError):
        verify([], brought, tenant="acme", stream="film", now=1)
    assert Entry(expires=1) == Entry(expires=1, mark="another")


@given(st.binary(max_size=200) | TEXT.map(lambda text: json.dumps({"link": text}).encode()))
def test_any_body_says_something_or_nothing(body: bytes) -> None:
    form = Fields({b"content-type": "application/x-www-form-urlencoded"})
    for asked in (request(body), Request("POST", "/acme/film/session", "", form, body=body)):
        assert all(isinstance(part, str) for pair in said(asked).items() for part in pair)


def stream(**settings: object) -> Stream:
    return Stream(
        id=1,
        tenant_id=1,
        tenant="acme",
        name="film",
        settings=StreamSettings(sources=("/a.mp4",), **settings),  # type: ignore[arg-type]
        created_at=0,
        removed_at=None,
        revision=1,
    )


@given(origin=st.none() | TEXT, referer=st.none() | TEXT, site=st.none() | TEXT, peer=TEXT)
def test_the_gate_lets_in_or_says_why(
    origin: str | None, referer: str | None, site: str | None, peer: str
) -> None:
    sent = {"host": "tv.example.org", "origin": origin, "referer": referer}
    fields = {name.encode(): value for name, value in sent.items() if value is not None}
    asked = Request("POST", "/acme/film/session", "", Fields(fields))
    asked.peer = peer
    locked = stream(
        embed_lock=True,
        embed_origins=("https://www.example.org",),
        networks=("192.0.2.0/24",),
        countries=("DE",),
    )
    with pytest.raises(Closed):
        Gate().check(locked, asked, site)
    Gate().check(stream(), asked, site)


def test_another_notice_is_told_in_the_language_of_who_asks() -> None:
    whole = f"Ours.\n\n{told(beacons=True)}"
    ours, german, english = whole.split("\n\n")
    versions = set()
    for language, wanted in (("de-DE", (ours, german)), ("fr", (ours, english)), (None, (whole,))):
        facts = Unread(whole, language).facts
        assert facts["notice"] == "\n\n".join(wanted)
        versions.add(facts["notice_version"])
    # It is one notice, however it is shown.
    assert len(versions) == 1


def test_who_names_no_site_is_let_in_where_that_is_allowed() -> None:
    site = "https://www.example.org"
    for allowed in (False, True):
        locked = stream(embed_lock=True, embed_origins=(site,), allow_no_referrer=allowed)
        for sent, framed_in, wanted in (
            ({}, None, allowed),
            ({"origin": "null"}, None, allowed),
            ({"origin": site}, None, True),
            ({"origin": "https://evil.example"}, None, False),
            # Our own page, in a frame and in none.
            ({"origin": "https://tv.example.org"}, site, True),
            ({"origin": "https://tv.example.org"}, None, False),
            ({"referer": "https://tv.example.org/acme/film/"}, None, False),
        ):
            fields = {"host": "tv.example.org", **sent}
            asked = Request(
                "POST",
                "/acme/film/session",
                "",
                Fields({name.encode(): value for name, value in fields.items()}),
            )
            asked.peer = "192.0.2.1"
            try:
                Gate().check(locked, asked, framed_in)
                got = True
            except Closed as closed:
                got = closed.kind != "site"
            assert got is wanted, (allowed, sent, framed_in)
    # Where no site is named there is none to be silent about.
    assert conditions(replace(locked.settings, embed_origins=())) == NONE


def test_the_country_is_what_the_settings_say_for_a_network() -> None:
    geo = Geo(test=(Located("192.0.2.0/24 = DE"), Located("0.0.0.0/0=AT")))
    asked = request()
    for peer, country in (("192.0.2.9", "DE"), ("198.51.100.1", "AT"), ("::ffff:192.0.2.9", "DE")):
        asked.peer = peer
        Gate(geo).check(stream(countries=(country,)), asked, None)
        with pytest.raises(Closed) as caught:
            Gate(geo).check(stream(countries_denied=(country,)), asked, None)
        assert caught.value.kind == "country"
    asked.peer = "2001:db8::1"
    with pytest.raises(Closed):
        Gate(geo).check(stream(countries=("AT",)), asked, None)
    Gate(geo).check(stream(countries=("AT",), allow_unknown_country=True), asked, None)


def test_a_film_that_opens_says_when() -> None:
    opens = int(time.time()) + 60
    with pytest.raises(Closed) as caught:
        Gate().check(stream(opens_at=opens), request(), None)
    assert (caught.value.kind, caught.value.facts) == ("early", {"opens_at": opens})
    with pytest.raises(Closed) as caught:
        Gate(clock=lambda: opens + 9).check(stream(closes_at=opens), request(), None)
    assert (caught.value.kind, caught.value.facts) == ("late", {})


@pytest.mark.parametrize("text", ["", "DE", "192.0.2.0/24", "192.0.2.0/24 = de", "x = DE", "1 = D"])
def test_a_network_without_a_country_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"country|network|address"):
        Located(text)


def test_each_refusal_is_said_in_each_language() -> None:
    kinds = {"early", "late", "site", "network", "country", "devices", "revoked"}
    kinds |= {"link", "link_over", "link_early", "link_used", "link_missing"}
    for language in ("en", "de"):
        assert all(f"trouble_{kind}" in TEXTS[language] for kind in (*kinds, "early_at", "kicked"))
        assert kinds <= set(REFUSALS[language])
    for kind in kinds:
        assert TEXTS["en"][f"trouble_{kind}"] != TEXTS["de"][f"trouble_{kind}"]
