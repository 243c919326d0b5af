"""What each class of data is, and what its days are counted from, for people who read a table of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pystream.acl.retention import DataClass
from pystream.acl.statements.layout import Said

WHOSE: Final[Mapping[DataClass, str]] = {
    **dict.fromkeys(
        (
            *(DataClass.PASSWORDS, DataClass.SESSIONS, DataClass.ENDINGS, DataClass.SPENT_TOKENS),
            *(DataClass.EXPIRED_PASSWORDS, DataClass.REVOKED_PASSWORDS, DataClass.NAMED_VIEWERS),
            *(DataClass.ATTENDANCE, DataClass.ATTENDANCE_INTERVALS, DataClass.ATTENDANCE_REPORTS),
            *(DataClass.ATTENDANCE_DAILY_REPORTS, DataClass.KEPT_ANSWERS),
        ),
        "viewers",
    ),
    DataClass.INCIDENTS: "attackers",
    **dict.fromkeys((DataClass.PEOPLE, DataClass.AUDIT, DataClass.CONSOLE_SESSIONS), "people"),
}
"""Whom a class tells something of; the others tell of nobody."""

WHAT: Final[Mapping[DataClass, Said]] = {
    DataClass.SETTINGS: (
        "Einstellungen des Kunden und seiner Streams",
        "settings of the customer and of its streams",
    ),
    DataClass.PASSWORDS: (
        "gültige Passwörter mit Bezeichnung (verschlüsselt), Gültigkeit, Gerätezahl",
        "valid passwords with label (encrypted), validity, number of devices",
    ),
    DataClass.PEOPLE: (
        "Personen des Kunden mit Zugang zur Konsole: Name, Rolle, Prüfwert des Passworts",
        "the customer's people with access to the console: name, role, hash of the password",
    ),
    DataClass.TOKENS: (
        "Zugänge für Programme des Kunden",
        "what the customer's programs come in with",
    ),
    DataClass.SESSIONS: (
        "Sitzungen: Zufallszahl, Stream, Passwort oder Link, Beginn, Ende, gezeigter Hinweis",
        "sessions: random number, stream, password or link, begin, end, notice that was shown",
    ),
    DataClass.ENDINGS: (
        "angeordnete Enden von Sitzungen",
        "orders to end sessions",
    ),
    DataClass.TRAFFIC_HOURS: (
        "Datenverkehr je Stream und Stunde, ohne Personenbezug",
        "traffic by stream and hour, of no person",
    ),
    DataClass.TRAFFIC: (
        "Datenverkehr je Stream und Monat, ohne Personenbezug",
        "traffic by stream and month, of no person",
    ),
    DataClass.AUDIT: (
        "Protokoll: wer was geändert oder eingesehen hat, ohne Inhalte",
        "audit log: who has changed or seen what, without contents",
    ),
    DataClass.SPENT_TOKENS: (
        "Prüfwerte verbrauchter Einmal-Token",
        "keyed hashes of tokens that were good for once",
    ),
    DataClass.KEPT_ANSWERS: (
        "Antworten der Schnittstelle, zur Wiederholung (verschlüsselt)",
        "answers of the API, to be repeated (encrypted)",
    ),
    DataClass.CONSOLE_SESSIONS: (
        "Anmeldungen an der Konsole",
        "sign-ins to the console",
    ),
    DataClass.EXPIRED_TOKENS: (
        "abgelaufene Zugänge für Programme",
        "programs' access whose validity is over",
    ),
    DataClass.EXPIRED_PASSWORDS: (
        "abgelaufene Passwörter (verschlüsselt)",
        "passwords whose validity is over (encrypted)",
    ),
    DataClass.REVOKED_PASSWORDS: (
        "zurückgenommene Passwörter (verschlüsselt)",
        "passwords that were taken back (encrypted)",
    ),
    DataClass.NAMED_VIEWERS: (
        "Kennungen, die die Website des Kunden vergibt (verschlüsselt)",
        "names that the customer's site gives to viewers (encrypted)",
    ),
    DataClass.ATTENDANCE_LOG: (
        "Anwesenheit: Hashwerte, Prüfpunkte und Ausfälle, ohne Personenbezug",
        "attendance: hashes, checkpoints and outages, of no person",
    ),
    DataClass.ATTENDANCE: (
        "Anwesenheit: Ereignisse (Auslieferungen, Angaben der Seite, Nachfragen, Stand), verschlüsselt",
        "attendance: events (deliveries, what the page says, presence checks, reach), encrypted",
    ),
    DataClass.ATTENDANCE_INTERVALS: (
        "Anwesenheit: daraus berechnete Zeiten (verschlüsselt)",
        "attendance: intervals computed of these (encrypted)",
    ),
    DataClass.ATTENDANCE_REPORTS: (
        "Anwesenheit: versiegelte Berichte, mit Zeiten, Passwort und Bezeichnung (verschlüsselt)",
        "attendance: sealed reports, with intervals, password and label (encrypted)",
    ),
    DataClass.ATTENDANCE_DAILY_REPORTS: (
        "Anwesenheit: Berichte eines Tages, die der Server von selbst versiegelt (verschlüsselt)",
        "attendance: reports of a day that the server seals by itself (encrypted)",
    ),
    DataClass.INCIDENTS: (
        "Angriffe: Netzadressen, Zeiten und Zahlen der Angreifer (verschlüsselt)",
        "attacks: network addresses, times and counts of attackers (encrypted)",
    ),
    DataClass.INCIDENT_RECORDS: (
        "Angriffe: Art, Zeit und wer die Aufzeichnung in der Hand hatte, ohne Angreifer",
        "attacks: kind, time and who had the record in hand, without attackers",
    ),
    DataClass.REMOVED_STREAMS: (
        "Titel und Einstellungen entfernter Streams",
        "titles and settings of streams that were removed",
    ),
    DataClass.ERASURES: (
        "Liste vernichteter Schlüssel (Zufallszahlen)",
        "list of keys that were destroyed (random numbers)",
    ),
    DataClass.KEY_BACKUPS: (
        "Sicherungen der Schlüssel (verschlüsselt)",
        "backups of keys (encrypted)",
    ),
    DataClass.PROOFS: (
        "Nachweise von Löschungen, ohne Namen",
        "proofs of deletion, without names",
    ),
}

FROM: Final[Mapping[DataClass, Said]] = {
    DataClass.SESSIONS: ("Ende der Sitzung", "end of the session"),
    DataClass.ENDINGS: ("Anordnung", "order"),
    DataClass.TRAFFIC_HOURS: ("Ende des Monats", "end of the month"),
    DataClass.TRAFFIC: ("Stunde oder Monat", "hour or month"),
    DataClass.AUDIT: ("Eintrag", "entry"),
    DataClass.SPENT_TOKENS: ("Ende der Gültigkeit", "end of the validity"),
    DataClass.KEPT_ANSWERS: ("Antwort", "answer"),
    DataClass.CONSOLE_SESSIONS: ("Ende der Anmeldung", "end of the sign-in"),
    DataClass.EXPIRED_TOKENS: ("Ende der Gültigkeit", "end of the validity"),
    DataClass.EXPIRED_PASSWORDS: ("Ende der Gültigkeit", "end of the validity"),
    DataClass.REVOKED_PASSWORDS: ("Rücknahme", "taking back"),
    DataClass.NAMED_VIEWERS: ("Ende der letzten Sitzung", "end of the last session"),
    DataClass.ATTENDANCE: ("Stunde des Ereignisses", "hour of the event"),
    DataClass.ATTENDANCE_INTERVALS: ("Stunde des ersten Ereignisses", "hour of the first event"),
    DataClass.ATTENDANCE_REPORTS: (
        "Versiegelung der letzten Fassung oder Ende der Aufbewahrungspflicht",
        "sealing of the last version, or end of a hold",
    ),
    DataClass.ATTENDANCE_DAILY_REPORTS: (
        "Versiegelung oder Ende der Aufbewahrungspflicht",
        "sealing, or end of a hold",
    ),
    DataClass.INCIDENTS: (
        "Beginn des Angriffs oder Ende der Aufbewahrungspflicht",
        "beginning of the attack, or end of a hold",
    ),
    DataClass.INCIDENT_RECORDS: ("Beginn des Angriffs", "beginning of the attack"),
    DataClass.REMOVED_STREAMS: ("Entfernung", "removal"),
    DataClass.ERASURES: ("Vernichtung", "destruction"),
    DataClass.KEY_BACKUPS: ("Sicherung", "backup"),
    DataClass.PROOFS: ("Löschung", "deletion"),
}
