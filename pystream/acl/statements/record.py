"""The operator's record of what it processes for a tenant (Art. 30(2) GDPR)."""

from __future__ import annotations

from pystream.acl.retention import DataClass
from pystream.acl.statements import shared
from pystream.acl.statements.classes import WHOSE
from pystream.acl.statements.facts import Facts, titles
from pystream.acl.statements.layout import Paper, Said


def write(paper: Paper, facts: Facts) -> None:
    paper.head(
        (
            f"Verzeichnis der Verarbeitungen im Auftrag von {facts.name} (Art. 30 Abs. 2 DSGVO)",
            f"Record of processing on behalf of {facts.name} (Art. 30(2) GDPR)",
        ),
        1,
    )
    paper.say((f"Stand: {facts.day}", f"As of {facts.day}"))
    german, english = shared.processor(facts)
    paper.head(("Beteiligte", "Who is concerned"))
    paper.list(
        [
            (f"Auftragsverarbeiter: {german}", f"Processor: {english}"),
            (
                f"Verantwortlicher: {facts.name} [Anschrift; Vertretung; datenschutzbeauftragte Person]",
                f"Controller: {facts.name} [address; representative; data protection officer]",
            ),
            (
                f"Ort der Server: {facts.practice.location or '[Ort]'}",
                f"Place of the servers: {facts.practice.location or '[place]'}",
            ),
        ]
    )
    paper.head(("Kategorien von Verarbeitungen", "Categories of processing"))
    paper.list(processing(facts, paper.language))
    paper.head(("Betroffene Personen", "Data subjects"))
    paper.list(subjects(facts))
    paper.head(("Daten und Löschfristen", "Data and periods"))
    paper.say(
        (
            "Was Zuschauer betrifft, ist pseudonym: Passwörter und Kennungen vergibt der"
            " Verantwortliche, und er allein weiß, wem.",
            "What is of viewers is pseudonymous: passwords and identifiers are given out by the"
            " controller, who alone knows to whom.",
        )
    )
    for whose, title in _WHOSE.items():
        if whose == "people" and not facts.practice.console:
            continue
        paper.say(title)
        shared.retention(
            paper, facts, [data for data in classes(facts) if WHOSE.get(data) == whose]
        )
    shared.deletion(paper, facts)
    paper.head(("Weitere Auftragsverarbeiter", "Further processors"))
    shared.sub_processors(paper, facts)
    paper.head(("Übermittlung in Drittländer", "Transfers to third countries"))
    paper.say(
        (
            "Die Software übermittelt nichts in ein Drittland. [Prüfen: Ort der Server und der weiteren"
            " Auftragsverarbeiter.]",
            "The software transfers nothing to a third country. [To be checked: place of the servers and of"
            " further processors.]",
        )
    )
    paper.head(
        ("Technische und organisatorische Maßnahmen", "Technical and organisational measures")
    )
    paper.say(
        (
            "Sie stehen in einer eigenen Anlage (pystream privacy statement --kind measures).",
            "They are in an annex of their own (pystream privacy statement --kind measures).",
        )
    )


_WHOSE: dict[str, Said] = {
    "viewers": ("Zuschauer:", "Viewers:"),
    "attackers": ("Angreifer:", "Attackers:"),
    "people": ("Personen des Verantwortlichen:", "The controller's people:"),
}


def classes(facts: Facts) -> list[DataClass]:
    """Those that there can be anything of."""
    of_attendance = {data for data in DataClass if data.startswith("attendance")}
    return [data for data in DataClass if facts.recorded or data not in of_attendance]


def processing(facts: Facts, language: str) -> list[Said]:
    """What is done for the tenant, by what its streams have switched on."""
    found: list[Said] = [
        ("Auslieferung von Filmen als HLS", "delivery of films as HLS"),
        ("Zählung des Datenverkehrs ohne Personenbezug", "counting of traffic, of no person"),
    ]
    if facts.opened_by("shared", "personal"):
        found.append(("Prüfung von Passwörtern", "checking of passwords"))
    if facts.opened_by("signed", "external"):
        found.append(
            ("Prüfung von Links und Token der Website", "checking of links and tokens of the site")
        )
    if facts.practice.asks_with_address and facts.opened_by("external"):
        found.append(
            (
                "Anfrage an die Website des Verantwortlichen mit dem vorderen Teil der Netzadresse des"
                " Zuschauers",
                "question to the controller's site with the first part of the viewer's network address",
            )
            if facts.practice.asks_with_address == "truncated"
            else (
                "Anfrage an die Website des Verantwortlichen mit der Netzadresse des Zuschauers",
                "question to the controller's site with the viewer's network address",
            )
        )
    if facts.placed:
        found.append(
            (
                "Vergleich von Netzadressen mit Netzen oder Ländern, im Arbeitsspeicher",
                "comparison of network addresses with networks or countries, in memory",
            )
        )
    if facts.recorded:
        named = titles(facts.recorded, language)
        found.append(
            (
                f"Aufzeichnung der Anwesenheit bei {named}, Berichte darüber und Belege",
                f"recording of attendance of {named}, reports of it and receipts",
            )
        )
    if facts.with_beacons:
        named = titles(facts.with_beacons, language)
        found.append(
            (
                f"Angaben der Seite über die Wiedergabe bei {named}",
                f"what the page says of playing {named}",
            )
        )
    if facts.with_checks:
        named = titles(facts.with_checks, language)
        found.append((f"Nachfragen, ob jemand da ist, bei {named}", f"presence checks of {named}"))
    if facts.without_skipping:
        named = titles(facts.without_skipping, language)
        found.append(
            (
                f"Stand je Passwort, damit nicht vorgespult wird, bei {named}",
                f"how far each password has come, so that nobody skips ahead, of {named}",
            )
        )
    if facts.downloaded:
        named = titles(facts.downloaded, language)
        found.append((f"Abgabe als Datei von {named}", f"download as a file of {named}"))
    if facts.practice.console:
        found.append(
            (
                "Konsole und Schnittstelle für Personen und Programme des Verantwortlichen",
                "console and API for the controller's people and programs",
            )
        )
    return found


def subjects(facts: Facts) -> list[Said]:
    found: list[Said] = [("Zuschauer der Filme", "viewers of the films")]
    if facts.practice.console:
        found.append(
            (
                "Personen des Verantwortlichen mit Zugang zur Konsole",
                "the controller's people with access to the console",
            )
        )
    return found
