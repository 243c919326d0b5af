"""Fact sheet of a breach: what a processor tells a controller without undue delay (Art. 33(2) GDPR), so that
this one can tell the authority what it has to (Art. 33(3))."""

from __future__ import annotations

from pystream.acl.statements import shared
from pystream.acl.statements.classes import WHOSE
from pystream.acl.statements.facts import Facts
from pystream.acl.statements.layout import Paper, Said
from pystream.acl.statements.record import classes, subjects


def write(paper: Paper, facts: Facts) -> None:
    paper.head(
        (
            "Meldung einer Verletzung des Schutzes personenbezogener Daten (Art. 33 Abs. 2 DSGVO)",
            "Notification of a personal data breach (Art. 33(2) GDPR)",
        ),
        1,
    )
    german, english = shared.processor(facts)
    paper.say(
        (
            f"An: {facts.name}. Von: {german}. Stand der Einstellungen: {facts.day}. Der Verantwortliche"
            " meldet sie binnen 72 Stunden, nachdem sie ihm bekannt wurde, der Aufsichtsbehörde, es sei denn,"
            " sie führt voraussichtlich zu keinem Risiko (Art. 33 Abs. 1); was noch fehlt, folgt nach.",
            f"To: {facts.name}. From: {english}. Settings as of {facts.day}. The controller notifies the"
            " authority within 72 hours after having become aware of it, unless it is unlikely to result in"
            " a risk (Art. 33(1)); what is missing yet follows.",
        )
    )
    paper.head(("Was geschehen ist", "What has happened"))
    paper.list(
        [
            (
                "Art: [was eingesehen, geändert, vernichtet wurde oder nicht erreichbar war]",
                "Nature: [what was disclosed, altered, destroyed, or could not be reached]",
            ),
            (
                "Zeit: [begonnen, bemerkt, beendet]; gemeldet am [Zeit] durch [Name]",
                "Time: [begun, noticed, ended]; told on [time] by [name]",
            ),
            (
                "Auskunft gibt: [Name, Telefon, E-Mail; datenschutzbeauftragte Person]",
                "Contact: [name, telephone, e-mail; data protection officer]",
            ),
        ]
    )
    paper.head(("Wer betroffen sein kann", "Who may be concerned"))
    paper.list(subjects(facts))
    paper.say(
        (
            f"Ungefähre Zahlen: [Personen, Datensätze]; Passwörter zählt pystream password list"
            f" {facts.tenant.name}.",
            f"Approximate numbers: [persons, records]; pystream password list {facts.tenant.name} counts"
            " passwords.",
        )
    )
    paper.head(("Welche Daten hier liegen", "What data there is"))
    shared.retention(paper, facts, [data for data in classes(facts) if WHOSE.get(data)])
    paper.head(("Was eine Kopie verrät", "What a copy reveals"))
    paper.list(_copies(facts))
    paper.head(("Wahrscheinliche Folgen", "Likely consequences"))
    paper.say(
        (
            "Wem ein Passwort gehört, steht hier nirgends; wer die Liste des Verantwortlichen hat, kann"
            " daraus sehen, wer was wann angesehen hat. [Einschätzung]",
            "It stands nowhere here whose a password is; who has the controller's list can tell from this"
            " who has watched what, and when. [assessment]",
        )
    )
    paper.head(("Maßnahmen", "Measures"))
    paper.say(("Getroffen, mit Zeit: [ ].", "Taken, with time: [ ]."))
    paper.list(_measures(facts))


def _copies(facts: Facts) -> list[Said]:
    found: list[Said] = [
        (
            "Die Datenbank allein: Zeiten von Sitzungen und Zufallszahlen, Namen und Rollen der Personen mit"
            " Zugang zur Konsole, Einstellungen. Kein Passwort, keine Bezeichnung und kein Schlüssel eines"
            " Films ist darin lesbar.",
            "The database alone: times of sessions and random numbers, names and roles of people with access"
            " to the console, settings. No password, no label and no film's key can be read in it.",
        )
    ]
    if facts.recorded:
        found.append(
            (
                "Anwesenheit in der Datenbank: lesbar sind Ereignisse, die noch nicht versiegelt sind, etwa"
                " der letzten Stunde, unter der Nummer eines Passworts; was versiegelt ist, nicht.",
                "Attendance in the database: events that are not sealed yet can be read, about those of the"
                " last hour, under the number of a password; what is sealed cannot.",
            )
        )
    return [
        *found,
        (
            "Der Schlüsselspeicher allein: nichts. Mit dem Hauptschlüssel: Schlüssel der Filme, und Adressen"
            " mit Berechtigung lassen sich ausstellen; nichts über Zuschauer.",
            "The key store alone: nothing. With the master key: films' keys, and addresses with grants can be"
            " made; nothing of viewers.",
        ),
        (
            "Datenbank, Schlüsselspeicher und Hauptschlüssel zusammen: alles.",
            "Database, key store and master key together: everything.",
        ),
        (
            "Protokolldateien und Messwerte: keine Adressen, Passwörter und Berechtigungen von Zuschauern.",
            "Logs and metrics: no addresses, passwords or grants of viewers.",
        ),
        (
            "Eine Adresse mit Berechtigung: einen Film, bis sie oder ihre Sitzung endet.",
            "An address with a grant: one film, until it or its session ends.",
        ),
    ]


def _measures(facts: Facts) -> list[Said]:
    name = facts.tenant.name
    found: list[Said] = [
        (
            f"Sitzungen enden lassen: pystream stream end {name}/STREAM; Passwörter ersetzen: pystream"
            f" password rotate {name} --list DATEI",
            f"End sessions: pystream stream end {name}/STREAM; replace passwords: pystream password rotate"
            f" {name} --list FILE",
        ),
        (
            f"Schlüssel ändern: pystream keyring rotate master, rotate tenant {name}, rotate pepper",
            f"Change keys: pystream keyring rotate master, rotate tenant {name}, rotate pepper",
        ),
        (
            f"Nachsehen, wer was geändert oder eingesehen hat: pystream audit {name}",
            f"See who has changed or seen what: pystream audit {name}",
        ),
    ]
    if facts.recorded:
        found.append(
            (
                "Prüfen, ob Anwesenheit verändert wurde: pystream attendance verify, mit Berichten und"
                " Prüfpunkten, die der Verantwortliche hat",
                "Find out whether attendance was altered: pystream attendance verify, with reports and"
                " checkpoints that the controller has",
            )
        )
    return found
