"""The papers that data protection law asks for say what is so: a test a fact, in both languages."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pystream.acl.disclosure import LANGUAGES as TOLD_IN
from pystream.acl.disclosure import Practice, notice
from pystream.acl.retention import OF_THE_CONTRACT, DataClass, Rules
from pystream.acl.statements import FORMATS, KINDS, LANGUAGES, Facts, statement
from pystream.acl.statements.classes import FROM, WHAT, WHOSE
from pystream.acl.streams import Stream, StreamSettings, Tenant, TenantSettings
from pystream.attendance.purpose import TEXTS, TOLD, VERSION, in_language, told
from pystream.server.settings import EXAMPLE, load
from tests.program import run
from tests.test_disclosure import done, here
from tests.test_serve import SAMPLE

__all__ = ["here"]

ACME = Tenant(
    id=1,
    name="acme",
    settings=TenantSettings(display="Vogelwarte e. V.", attendance_purpose=VERSION),
    created_at=0,
)


def stream(**settings: Any) -> Stream:
    values: dict[str, Any] = {"sources": ("/a.mp4",), "title": "Balz im Mai", "access": "personal"}
    return Stream(
        id=1,
        tenant_id=1,
        tenant="acme",
        name="balz",
        settings=StreamSettings(**values | settings),
        created_at=0,
        removed_at=None,
        revision=1,
    )


def facts(
    *streams: Stream, tenant: Tenant = ACME, rules: dict[str, int] | None = None, **practice: Any
) -> Facts:
    made = Practice(Rules(**(rules or {})), **practice).of(tenant)
    return Facts(tenant, streams or (stream(),), made, "2031-05-15")


def own(**settings: Any) -> Tenant:
    return replace(ACME, settings=replace(ACME.settings, **settings))


ATTENDED = stream(attendance=True)
BEACONS = stream(attendance=True, beacons=True)
CHECKED = stream(attendance=True, beacons=True, check_minutes=17)

# What is set, the paper that says so, and how, in German and in English.
SAID: list[tuple[str, Facts, str, str, str]] = [
    *(
        (f"name in {kind}", facts(), kind, "Vogelwarte e. V.", "Vogelwarte e. V.")
        for kind in KINDS
        if kind != "contract"
    ),
    (
        "attendance",
        facts(ATTENDED),
        "notice",
        "wird Ihre Anwesenheit aufgezeichnet: „Balz im Mai“",
        "your attendance is recorded: “Balz im Mai”",
    ),
    (
        "attendance",
        facts(ATTENDED),
        "record",
        "Aufzeichnung der Anwesenheit bei „Balz",
        "recording of attendance of “Balz",
    ),
    (
        "attendance",
        facts(ATTENDED),
        "contract",
        f"Fassung des Textes: {VERSION}",
        f"version of the text: {VERSION}",
    ),
    ("attendance", facts(ATTENDED), "measures", "Merkle-Baum", "Merkle tree"),
    (
        "attendance",
        facts(ATTENDED),
        "breach",
        "ob Anwesenheit verändert wurde: pystream attendance verify",
        "whether attendance was altered: pystream attendance verify",
    ),
    (
        "attendance",
        facts(ATTENDED),
        "breach",
        "die noch nicht versiegelt sind, etwa der letzten Stunde",
        "not sealed yet can be read, about those of the last hour",
    ),
    (
        "operator",
        facts(operator="Video GmbH, Kiel"),
        "breach",
        "Von: Video GmbH, Kiel",
        "From: Video GmbH, Kiel",
    ),
    ("attendance", facts(ATTENDED), "notice", "an: [Kammer", "on to: [chamber"),
    (
        "beacons",
        facts(BEACONS),
        "notice",
        "alle zehn Sekunden, ob der Film läuft",
        "every ten seconds whether the film plays",
    ),
    (
        "beacons",
        facts(BEACONS),
        "record",
        "Angaben der Seite über die Wiedergabe bei „Balz",
        "what the page says of playing “Balz",
    ),
    ("checks", facts(CHECKED), "notice", "einmal je 17 Minuten", "once in 17 minutes"),
    *(
        (
            f"attacks in {kind}",
            facts(rules={"incidents": days}, records_attacks=True),
            kind,
            german,
            english,
        )
        for kind in ("notice", "measures")
        for days, german, english in (
            (7, "nach 7 Tagen vernichtet", "destroyed after 7 days"),
            (1, "nach einem Tag vernichtet", "destroyed after 1 day"),
        )
    ),
    (
        "checks",
        facts(CHECKED),
        "contract",
        "Nachfragen, ob jemand da ist, bei „Balz",
        "presence checks of “Balz",
    ),
    (
        "no skip",
        facts(stream(attendance=True, no_skip=True)),
        "notice",
        "kann nicht vorgespult werden",
        "nobody can skip ahead",
    ),
    (
        "no skip",
        facts(stream(attendance=True, no_skip=True)),
        "record",
        "damit nicht vorgespult wird",
        "so that nobody skips ahead",
    ),
    (
        "download",
        facts(stream(download=True)),
        "notice",
        "herunterladen lässt sich: „Balz",
        "downloaded as a file: “Balz",
    ),
    (
        "download",
        facts(stream(download=True)),
        "contract",
        "Abgabe als Datei",
        "download as a file",
    ),
    ("shared", facts(stream(access="shared")), "notice", "Gemeinsames Passwort", "Shared password"),
    (
        "personal",
        facts(stream(access="personal")),
        "notice",
        "Persönliches Passwort",
        "Personal password",
    ),
    ("signed", facts(stream(access="signed")), "notice", "Link: Unsere Website", "Link: our site"),
    (
        "external",
        facts(stream(access="external")),
        "notice",
        "Anmeldung auf unserer Website",
        "Sign-in on our site",
    ),
    (
        "address",
        facts(stream(access="external"), asks_with_address=True),
        "notice",
        "erfährt sie Ihre Netzadresse",
        "is told your network address",
    ),
    (
        "address",
        facts(stream(access="external"), asks_with_address=True),
        "record",
        "mit der Netzadresse des Zuschauers",
        "with the viewer's network address",
    ),
    (
        "part-of-address",
        facts(stream(access="external"), asks_with_address="truncated"),
        "notice",
        "erfährt sie den vorderen Teil Ihrer Netzadresse",
        "is told the first part of your network address",
    ),
    (
        "part-of-address",
        facts(stream(access="external"), asks_with_address="truncated"),
        "record",
        "mit dem vorderen Teil der Netzadresse",
        "with the first part of the viewer's network address",
    ),
    (
        "part-of-address",
        facts(asks_with_address="truncated"),
        "measures",
        "der vordere Teil der Netzadresse eines Zuschauers",
        "told the first part of a viewer's network address",
    ),
    (
        "address",
        facts(asks_with_address=True),
        "measures",
        "Netzadresse eines Zuschauers genannt",
        "told a viewer's network address",
    ),
    (
        "networks",
        facts(stream(networks=("192.0.2.0/24",))),
        "notice",
        "an Netze oder Länder gebunden",
        "bound to networks or countries",
    ),
    (
        "countries",
        facts(stream(countries=("DE",))),
        "record",
        "Netzen oder Ländern",
        "networks or countries",
    ),
    (
        "cdn",
        facts(stream(access="open", cache="shared", encryption="aes-128")),
        "notice",
        "Verteilnetz",
        "content delivery network",
    ),
    (
        "cdn",
        facts(stream(access="open", cache="shared", encryption="aes-128")),
        "measures",
        "Zwischenspeicher Dritter",
        "Caches of others",
    ),
    (
        "encryption",
        facts(stream(encryption="aes-128")),
        "measures",
        "Mit AES-128 verschlüsselt ist „Balz",
        "Encrypted with AES-128: “Balz",
    ),
    (
        "no encryption",
        facts(),
        "measures",
        "Nicht eigens verschlüsselt ist das Bild",
        "Not encrypted by itself",
    ),
    (
        "log",
        facts(logs_requests=True),
        "notice",
        "je Anfrage Zeit, Art, Film",
        "of each request its time",
    ),
    (
        "log",
        facts(logs_requests=True),
        "measures",
        "hat eine Zeile je Anfrage",
        "has a line for each request",
    ),
    (
        "attacks",
        facts(records_attacks=True),
        "notice",
        "die den Server angreifen",
        "those who attack the server",
    ),
    (
        "attacks",
        facts(records_attacks=True),
        "measures",
        "nach 7 Tagen vernichtet",
        "is destroyed after 7 days",
    ),
    ("no log", facts(), "measures", "keine Zeile je Anfrage", "no line for a request"),
    ("tls", facts(tls=True), "measures", "TLS 1.2 und 1.3", "TLS 1.2 and 1.3"),
    ("proxy", facts(proxied=True), "measures", "Proxy des Betreibers", "proxy of the operator's"),
    ("its log", facts(proxied=True), "measures", "was sein Protokoll enthält", "what its log has"),
    ("neither", facts(), "measures", "spricht kein HTTPS", "speaks no HTTPS"),
    (
        "database",
        facts(database="PostgreSQL"),
        "measures",
        "liegen in PostgreSQL",
        "lie in PostgreSQL",
    ),
    ("console", facts(), "measures", "Argon2id", "Argon2id"),
    ("console", facts(), "record", "Konsole und Schnittstelle", "console and API"),
    (
        "backups",
        facts(keeps_key_backups=True, rules={"key_backups": 21}),
        "measures",
        "werden 21 Tage lang gehalten; der Server",
        "are kept for 21 days; the server",
    ),
    (
        "no backups",
        facts(),
        "measures",
        "der Server sieht nicht nach ihnen",
        "does not look after them",
    ),
    (
        "end",
        facts(rules={"key_backups": 21}),
        "contract",
        "spätestens nach 22 Tagen",
        "after 22 days at the latest",
    ),
    (
        "stamps",
        facts(ATTENDED, timestamp_host="stamps.example.org"),
        "measures",
        "Zeitstempel von stamps.example.org",
        "time stamp of stamps.example.org",
    ),
    (
        "stamps",
        facts(timestamp_host="stamps.example.org"),
        "contract",
        "(stamps.example.org) erhält",
        "(stamps.example.org) is sent",
    ),
    (
        "operator",
        facts(operator="Netzhaus GmbH, Ulm"),
        "contract",
        "Auftragsverarbeiter: Netzhaus GmbH, Ulm",
        "Processor: Netzhaus GmbH, Ulm",
    ),
    (
        "operator",
        facts(operator="Netzhaus GmbH, Ulm"),
        "notice",
        "Auftrag Netzhaus GmbH, Ulm",
        "by Netzhaus GmbH, Ulm",
    ),
    (
        "location",
        facts(location="Ulm"),
        "record",
        "Ort der Server: Ulm",
        "Place of the servers: Ulm",
    ),
    (
        "others",
        facts(sub_processors=("Halle AG: Strom",)),
        "contract",
        "- Halle AG: Strom",
        "- Halle AG: Strom",
    ),
    ("no others", facts(), "record", "Keine angegeben. Die", "None named. The"),
    (
        "cosigner",
        facts(ATTENDED, tenant=own(checkpoint_cosigner="x")),
        "measures",
        "kann Prüfpunkte",
        "can cosign checkpoints",
    ),
    (
        "checkpoints by mail",
        facts(tenant=own(checkpoint_mail="a@x.org")),
        "measures",
        "gehen per E-Mail an den Kunden",
        "are sent to the customer by mail",
    ),
    (
        "checkpoints",
        facts(tenant=own(checkpoint_url="https://x.org/")),
        "measures",
        "gehen an die Website",
        "are sent to the customer's site",
    ),
    (
        "own days",
        facts(ATTENDED, tenant=own(attendance_days=5)),
        "contract",
        "hat der Verantwortliche selbst festgelegt",
        "were set by the controller",
    ),
    (
        "audit",
        facts(rules={"audit": 77}),
        "measures",
        "77 Tage im Protokoll",
        "on record for 77 days",
    ),
    (
        "proofs",
        facts(rules={"proofs": 99}),
        "measures",
        "Nachweise bleiben 99 Tage",
        "Proofs stay for 99 days",
    ),
]


@pytest.mark.parametrize(
    ("of", "true", "kind", "german", "english"),
    SAID,
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_a_paper_says_what_is_set_and_nothing_else(
    of: str, true: Facts, kind: str, german: str, english: str
) -> None:
    """And another one, where it is not set, does not say so."""
    plain = facts(
        stream(access="open", encryption="aes-128"),
        tls=True,
        logs_requests=True,
        console=False,
        keeps_key_backups=True,
        sub_processors=("Z",),
        tenant=replace(ACME, settings=TenantSettings()),
    )
    bare = facts(stream(access="open"))
    for language, wanted in (("de", german), ("en", english)):
        said = statement(kind, true, language, "text")
        assert wanted in " ".join(said.split()), said
        others = [
            " ".join(statement(kind, each, language, "text").split()) for each in (plain, bare)
        ]
        assert any(wanted not in each for each in others), wanted


def test_measures_promise_no_more_than_there_is() -> None:
    """What a customer brings is not drawn here, and the journal is open for an hour."""
    for language, wanted in (
        ("de", ("Kennungen, die der Kunde mitbringt", "Ereignisse bald nach der Stunde")),
        ("en", ("identifiers that the customer brings", "events soon after the hour")),
    ):
        said = " ".join(statement("measures", facts(), language, "text").split())
        assert all(each in said for each in wanted), said


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", ["record", "contract", "breach"])
def test_each_period_is_that_of_the_rules(kind: str, language: str) -> None:
    """Also that which the tenant has of its own."""
    names = list(Rules.__dataclass_fields__)
    rules = {name: 1000 + 7 * number for number, name in enumerate(names)}
    tenant = own(attendance_days=555, attendance_reports_days=5555)
    said = " ".join(statement(kind, facts(ATTENDED, tenant=tenant, rules=rules), language).split())
    shown = {data for data in DataClass if kind == "contract" or WHOSE.get(data)}
    for data in shown - OF_THE_CONTRACT:
        days = Rules(**rules | {"attendance": 555, "attendance_reports": 5555}).days(data)
        unit = {"de": "Tag" if days == 1 else "Tage", "en": "day" if days == 1 else "days"}[
            language
        ]
        period = f"{days} {unit}" if days else {"de": "keinen Tag", "en": "no day"}[language]
        text, start = (each[LANGUAGES.index(language)] for each in (WHAT[data], FROM[data]))
        assert f"| {text} | {period} | {start} |" in said, data
    assert not any(
        WHAT[data][0] in statement(kind, facts(), "de")
        for data in DataClass
        if "attendance" in data
    )


def test_every_class_has_words_in_both_languages() -> None:
    assert set(WHAT) == set(DataClass)
    assert set(FROM) == set(DataClass) - OF_THE_CONTRACT
    for words in (*WHAT.values(), *FROM.values()):
        german, english = words
        assert german and english and german != english


@pytest.mark.parametrize("kind", KINDS)
def test_both_languages_have_the_same_parts(kind: str) -> None:
    """Whatever is switched on."""
    for each in (
        facts(),
        facts(CHECKED, stream(access="external"), asks_with_address=True, timestamp_host="x.org"),
    ):
        shapes = []
        for language in LANGUAGES:
            said = statement(kind, each, language)
            shapes.append([line[:2] for line in said.splitlines() if line[:1] in "#-|"])
            assert "{" not in said and "None" not in said.replace("None named.", "")
        assert shapes[0] == shapes[1]


EVIL = st.text("<>&|*_`#\\[]\"' ab", min_size=1, max_size=12)


class Seen(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@given(EVIL, EVIL)
def test_what_is_named_is_no_markup(display: str, title: str) -> None:
    made = facts(stream(title=title, attendance=True), tenant=own(display=display))
    seen = Seen()
    seen.feed(statement("notice", made, "de", "html"))
    known = {"html", "meta", "title", "h1", "h2", "p", "ul", "li", "table", "tr", "th", "td"}
    assert seen.tags <= known and display in seen.text and f"„{title}“" in seen.text
    # A table has as many cells as its head.
    text = statement("notice", made, "de", "md")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {4}


# The other texts that tell of it


def test_notice_and_purpose_tell_what_pages_say() -> None:
    practice = Practice(Rules())
    words = {
        "de": ("alle zehn Sekunden", "ob Sie da sind", "nicht vorgespult"),
        "en": ("every ten seconds", "whether you are there", "skip ahead"),
    }
    on = {"attendance": True, "beacons": True, "check_minutes": 10, "no_skip": True}
    for language in TOLD_IN:
        plain = notice(practice, language, [stream(attendance=True).settings])
        assert plain == notice(practice, language)
        switched = notice(practice, language, [stream(**on).settings])
        assert switched.startswith(plain)
        for word in words[language]:
            assert word in switched and word not in plain
        # Where attendance is off, nothing of it is.
        assert notice(practice, language, [stream(**on | {"attendance": False}).settings]) == plain
    assert "verdeckt" in TEXTS["de"] and "hidden page" in TEXTS["en"]
    assert "Vorspulen" in TEXTS["de"] and "skip ahead" in TEXTS["en"]
    assert told() == TOLD
    own = f"Wir.\n\nWe.\n\n{told(beacons=True, checks=True, no_skip=True)}"
    assert [each[:12] for each in in_language(own, "de").split("\n\n")] == [
        "Wir.",
        "We.",
        "Zu diesem Fi",
    ]
    assert [each[:12] for each in in_language(own, "en").split("\n\n")] == [
        "Wir.",
        "We.",
        "Of this film",
    ]
    for name, german, english in (
        ("beacons", "ob der Film läuft", "whether the film plays"),
        ("checks", "ob Sie da sind", "whether you are there"),
        ("no_skip", "vorgespult", "skip ahead"),
    ):
        both = told(**{name: True}).split("\n\n")
        assert german in both[0] and english in both[1] and german not in TOLD


# From outside


def test_what_the_settings_say_is_practised(tmp_path: Path) -> None:
    file = tmp_path / "pystream.toml"
    file.write_text(
        '[server]\ntrusted_proxies = ["127.0.0.1"]\n[console]\nenabled = false\n'
        '[attendance]\ntimestamp_url = "https://stamps.example.org/tsa"\n'
        'timestamp_certificates = "tsa.pem"\n[store]\nurl = "postgresql://db/acl"\n'
        '[retention]\nkey_backups_folder = "vault"\n'
        '[privacy]\noperator = "Netzhaus"\nlocation = "Ulm"\nsub_processors = ["Halle AG"]\n'
    )
    practice = load(str(file), {}).practice
    assert practice == Practice(
        Rules(),
        records_attacks=True,
        proxied=True,
        console=False,
        database="PostgreSQL",
        keeps_key_backups=True,
        timestamp_host="stamps.example.org",
        operator="Netzhaus",
        location="Ulm",
        sub_processors=("Halle AG",),
    )
    assert load(EXAMPLE, {}).practice == Practice(Rules(), records_attacks=True)


@pytest.mark.slow
def test_the_command(here: Path) -> None:
    done("tenant", "add", "acme", "--display", "ACME", "--attendance-purpose", VERSION)
    done(
        "stream",
        "add",
        "acme/film",
        "--source",
        str(SAMPLE),
        "--access",
        "personal",
        "--attendance",
    )
    statement = ("privacy", "statement", "acme", "--kind")
    for kind in KINDS:
        assert done(*statement, kind).startswith("# ")
    assert "20 days; the server does not" in done(*statement, "measures", "--locale", "en")
    assert (
        "Privacy notice"
        in json.loads(done(*statement, "notice", "--locale", "en", "--json"))["text"]
    )
    words = (*statement, "contract", "--format", "html", "-o", "annex.html")
    assert done(*words) == "annex.html: contract\n"
    assert (here / "annex.html").read_text().startswith("<!doctype html>")
    assert run(*words).returncode == 1 and run(*statement, "poem").returncode == 2
    assert run("privacy", "statement", "nobody", "--kind", "notice").returncode == 1
    for page in ("privacy", "privacy statement"):
        text = done(*page.split(), "--help")
        assert max(map(len, text.splitlines())) <= 80 and "exit codes:" in text
    assert set(FORMATS) == {"md", "text", "html"}
    text = done(*statement, "record", "--format", "text")
    assert max(map(len, text.splitlines())) <= 79
