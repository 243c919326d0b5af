"""Technical and organisational measures (Art. 32 GDPR), as German annexes order them."""

from __future__ import annotations

from pystream.acl.statements import shared
from pystream.acl.statements.facts import Facts, titles
from pystream.acl.statements.layout import Paper, Said


def write(paper: Paper, facts: Facts) -> None:
    paper.head(
        (
            f"Technische und organisatorische Maßnahmen (Art. 32 DSGVO) für {facts.name}",
            f"Technical and organisational measures (Art. 32 GDPR) for {facts.name}",
        ),
        1,
    )
    paper.say((f"Stand: {facts.day}", f"As of {facts.day}"))
    for title, items in (
        (("Zutritt", "Entrance to premises"), _PREMISES),
        (("Zugang", "Access to the system"), _system(facts)),
        (("Zugriff", "Access to data"), _data(facts)),
        (("Weitergabe", "Transfer"), _transfer(facts, paper.language)),
        (("Eingabe", "Input"), _input(facts)),
        (("Trennung", "Separation"), _SEPARATION),
        (("Pseudonymisierung und Datensparsamkeit", "Pseudonymisation, minimisation"), _few(facts)),
        (("Verschlüsselung", "Encryption"), _encryption(facts, paper.language)),
        (("Unversehrtheit der Nachweise", "Integrity of evidence"), _integrity(facts)),
        (("Verfügbarkeit und Belastbarkeit", "Availability and resilience"), _availability(facts)),
        (("Wiederherstellung", "Restore"), _restore(facts)),
        (("Löschung", "Deletion"), _deletion(facts)),
        (("Überprüfung", "Review"), _REVIEW),
    ):
        if items:
            paper.head(title)
            paper.list(items)


_PREMISES: list[Said] = [
    (
        "[Rechenzentrum, Schließung, Protokoll des Zutritts: vom Betreiber zu ergänzen]",
        "[data centre, locks, log of entrance: to be added by the operator]",
    )
]
_SEPARATION: list[Said] = [
    (
        "Jeder Kunde hat einen eigenen Schlüssel, eigene Adressen und in jeder Tabelle eine eigene"
        " Nummer, nach der jede Abfrage fragt. Tests der Software prüfen jede Tabelle und jede Abfrage"
        " darauf.",
        "Each customer has a key of its own, addresses of its own, and in each table a number of its"
        " own, by which each query asks. Tests of the software check each table and each query for"
        " that.",
    ),
    (
        "Schlüssel liegen in einer anderen Datenbank als das, was sie verschlüsseln.",
        "Keys lie in another database than what they encrypt.",
    ),
]
_REVIEW: list[Said] = [
    (
        "Ein Testlauf der Software durchsucht alles, was sie schreibt, nach markierten Adressen,"
        " Passwörtern und Anfragen.",
        "A test of the software searches all that it writes for marked addresses, passwords and queries.",
    ),
    (
        "[Regelmäßige Prüfung durch den Betreiber: wer, wie oft]",
        "[regular review by the operator: who, how often]",
    ),
]


def _system(facts: Facts) -> list[Said]:
    found: list[Said] = [
        (
            "Passwörter für Zuschauer, die hier erzeugt werden, sind zufällig, mit 130 Bit; Kennungen,"
            " die der Kunde mitbringt, sind, wie er sie macht. Wer rät, wird je Netz gebremst.",
            "Viewers' passwords that are made here are random, of 130 bits; identifiers that the customer"
            " brings are as the customer makes them. Who guesses is slowed down by network.",
        )
    ]
    if facts.practice.console:
        found += [
            (
                "Personen melden sich mit Passwort (Argon2id) und, wenn eingerichtet, einem Einmalcode an.",
                "People sign in with a password (Argon2id) and, where set up, with a one-time code.",
            ),
            (
                "Konsole und Schnittstelle gibt es nur über HTTPS oder auf dem Server selbst.",
                "Console and API are served over HTTPS, or on the server itself.",
            ),
        ]
    return found


def _data(facts: Facts) -> list[Said]:
    found: list[Said] = []
    if facts.practice.console:
        found.append(
            (
                "Rechte richten sich nach der Rolle: Verwaltung, Redaktion, Berichte, Datenschutz,"
                " Prüfung. Der Betreiber sieht in der Konsole weder Passwörter noch Berichte; eine"
                " Hilfe lässt der Kunde auf Zeit ein.",
                "Rights follow the role: administration, editing, reports, data protection, audit. The"
                " operator sees neither passwords nor reports in the console; support is let in by the"
                " customer, for a time.",
            )
        )
    return [
        *found,
        (
            "Passwörter und Bezeichnungen sind nur in der Ansicht des Kunden lesbar. Jede Einsicht"
            " steht im Protokoll.",
            "Passwords and labels can be read in the customer's own view alone. Each view is on record.",
        ),
    ]


def _transfer(facts: Facts, language: str) -> list[Said]:
    practice = facts.practice
    found: list[Said] = []
    if practice.tls:
        found.append(
            (
                "Der Server spricht HTTPS (TLS 1.2 und 1.3).",
                "The server speaks HTTPS (TLS 1.2 and 1.3).",
            )
        )
    elif practice.proxied:
        found.append(
            (
                "HTTPS spricht ein vorgeschalteter Proxy des Betreibers [welcher, und was sein Protokoll"
                " enthält].",
                "HTTPS is spoken by a proxy of the operator's in front [which one, and what its log has].",
            )
        )
    else:
        found.append(
            (
                "Der Server selbst spricht kein HTTPS. [Prüfen: Das ist nur hinter einer"
                " verschlüsselten Leitung zulässig.]",
                "The server itself speaks no HTTPS. [To be checked: that will do behind an encrypted"
                " line alone.]",
            )
        )
    if facts.of_cdn:
        named = titles(facts.of_cdn, language)
        found.append(
            (
                f"Zwischenspeicher Dritter dürfen verschlüsselte Teile von {named} halten, nie Schlüssel.",
                f"Caches of others may hold encrypted parts of {named}, and never keys.",
            )
        )
    if practice.asks_with_address == "truncated":
        found.append(
            (
                "Der Website des Kunden kann der vordere Teil der Netzadresse eines Zuschauers genannt werden"
                " (IPv4: 24 Bit, IPv6: 48), nur über HTTPS.",
                "The customer's site may be told the first part of a viewer's network address (IPv4: 24 bits,"
                " IPv6: 48), over HTTPS only.",
            )
        )
    elif practice.asks_with_address:
        found.append(
            (
                "Der Website des Kunden kann die Netzadresse eines Zuschauers genannt werden, nur über"
                " HTTPS.",
                "The customer's site may be told a viewer's network address, over HTTPS only.",
            )
        )
    if facts.tenant.settings.checkpoint_url:
        found.append(
            (
                "Prüfpunkte der Anwesenheit gehen an die Website des Kunden; sie enthalten Hashwerte.",
                "Checkpoints of attendance are sent to the customer's site; they hold hashes.",
            )
        )
    if facts.tenant.settings.checkpoint_mail:
        found.append(
            (
                "Prüfpunkte der Anwesenheit gehen per E-Mail an den Kunden; sie enthalten Hashwerte.",
                "Checkpoints of attendance are sent to the customer by mail; they hold hashes.",
            )
        )
    return found


def _input(facts: Facts) -> list[Said]:
    count = facts.practice.rules.audit
    german, english = shared.days(count)
    return [
        (
            f"Wer was geändert oder eingesehen hat, steht {german} im Protokoll. Die Datenbank"
            " verweigert, dass ein Eintrag geändert oder vorher gelöscht wird.",
            f"Who has changed or seen what is on record for {english}. The database refuses to change"
            " an entry, or to delete one before.",
        )
    ]


def _few(facts: Facts) -> list[Said]:
    found: list[Said] = [
        (
            "Netzadressen werden nicht gespeichert, ebenso wenig Browser, Geräte und verweisende Seiten.",
            "Network addresses are not stored, nor are browsers, devices and referring pages.",
        ),
        (
            "Zuschauer sind dem Betreiber nur als Passwort oder Kennung bekannt; wem sie gehören, weiß"
            " der Kunde.",
            "The operator knows viewers by a password or identifier only; whose these are, the"
            " customer knows.",
        ),
        (
            "In der Kurve der Zuschauer eines Films werden weniger als fünf nicht gezählt.",
            "In the curve of a film's audience, fewer than five are not counted.",
        ),
    ]
    if facts.practice.records_attacks:
        german, english = shared.days_later(facts.practice.rules.incidents)
        found.append(
            (
                "Ausgenommen sind Angreifer: ab dem Erkennen eines Angriffs werden Adressen, Zeiten und"
                " Zahlen derer, die daran teilnehmen, unter einem eigenen Schlüssel versiegelt, der nach"
                f" {german} vernichtet wird. Länger hält sie nur, wenn zwei Personen es verlangen; wer sie"
                " einsieht oder ausgibt, steht im Protokoll.",
                "Attackers are excepted: from when an attack was noticed, addresses, times and counts of"
                f" those who take part are sealed under a key of its own, which is destroyed after {english}."
                " Only two persons together can keep them longer; who sees or exports them is on record.",
            )
        )
    if facts.practice.logs_requests:
        found.append(
            (
                "Das Protokoll des Betreibers hat eine Zeile je Anfrage, ohne Adresse, Pfad und Link.",
                "The operator's log has a line for each request, without address, path and link.",
            )
        )
    else:
        found.append(
            (
                "Das Protokoll des Betreibers hat keine Zeile je Anfrage.",
                "The operator's log has no line for a request.",
            )
        )
    return found


def _encryption(facts: Facts, language: str) -> list[Said]:
    found: list[Said] = [
        (
            "Passwörter, Bezeichnungen, Berichte und Ereignisse der Anwesenheit sind mit AES-256-GCM"
            " verschlüsselt, jeder Datensatz mit einem eigenen Schlüssel unter dem des Kunden und"
            " einem Hauptschlüssel; Ereignisse bald nach der Stunde, in der sie anfallen.",
            "Passwords, labels, reports and events of attendance are encrypted with AES-256-GCM, each"
            " record under a key of its own, under the customer's and a master key; events soon after"
            " the hour in which they happen.",
        )
    ]
    clear = tuple(each for each in facts.streams if each.settings.encryption == "none")
    sealed = tuple(each for each in facts.streams if each.settings.encryption != "none")
    if sealed:
        named = titles(sealed, language)
        found.append(
            (f"Mit AES-128 verschlüsselt ist {named}.", f"Encrypted with AES-128: {named}.")
        )
    if clear:
        named = titles(clear, language)
        found.append(
            (
                f"Nicht eigens verschlüsselt ist das Bild von {named}.",
                f"Not encrypted by itself: the media of {named}.",
            )
        )
    return found


def _integrity(facts: Facts) -> list[Said]:
    if not facts.recorded:
        return []
    found: list[Said] = [
        (
            "Ereignisse stehen in einem Protokoll, das nur wächst (Merkle-Baum nach RFC 9162) und"
            " täglich signiert wird (Ed25519). Versiegelte Berichte ändern sich nicht mehr.",
            "Events are in a log that only grows (a Merkle tree, RFC 9162) and is signed daily"
            " (Ed25519). Sealed reports never change.",
        )
    ]
    if facts.tenant.settings.checkpoint_cosigner:
        found.append(
            (
                "Der Kunde kann Prüfpunkte mit eigenem Schlüssel gegenzeichnen.",
                "The customer can cosign checkpoints with a key of its own.",
            )
        )
    if facts.practice.timestamp_host:
        found.append(
            (
                f"Prüfpunkte tragen einen Zeitstempel von {facts.practice.timestamp_host} (RFC 3161).",
                f"Checkpoints have a time stamp of {facts.practice.timestamp_host} (RFC 3161).",
            )
        )
    return found


def _availability(facts: Facts) -> list[Said]:
    kind = facts.practice.database
    return [
        (
            "Mehrere Prozesse bedienen Zuschauer; fällt einer aus, übernehmen die anderen. Bei"
            " Überlast werden neue Zuschauer abgewiesen, bevor laufende gestört werden.",
            "Several processes serve viewers; when one fails, others go on. Under overload, new"
            " viewers are refused before those who watch are disturbed.",
        ),
        (
            f"Daten liegen in {kind}. [Sicherung der Datenbank: vom Betreiber zu ergänzen]",
            f"Data lie in {kind}. [backup of the database: to be added by the operator]",
        ),
    ]


def _restore(facts: Facts) -> list[Said]:
    practice = facts.practice
    german, english = shared.days(practice.rules.key_backups)
    found: list[Said] = []
    if practice.keeps_key_backups:
        found.append(
            (
                f"Sicherungen der Schlüssel werden {german} lang gehalten; der Server löscht ältere.",
                f"Backups of keys are kept for {english}; the server deletes older ones.",
            )
        )
    else:
        found.append(
            (
                f"Sicherungen der Schlüssel soll es höchstens {german} lang geben; der Server sieht"
                " nicht nach ihnen. [Wer löscht ältere?]",
                f"Backups of keys are to be there for at most {english}; the server does not look after"
                " them. [who deletes older ones?]",
            )
        )
    found.append(
        (
            "Wird eine Sicherung eingespielt, so gilt zuerst die Liste des Getilgten: Was getilgt war,"
            " kommt nicht wieder. [Letzte Übung der Wiederherstellung: Datum]",
            "When a backup is brought back, the list of what was erased comes first: nothing that was"
            " erased comes back. [last exercise of a restore: date]",
        )
    )
    return found


def _deletion(facts: Facts) -> list[Said]:
    german, english = shared.days(facts.practice.rules.proofs)
    return [
        (
            "Gelöscht wird täglich nach Fristen, durch Vernichtung der Schlüssel; ein Probelauf zeigt"
            f" vorher, was fällig ist. Nachweise bleiben {german}, verkettet und ohne Namen.",
            "Deletion follows periods, daily, by destroying keys; a dry run shows before what is due."
            f" Proofs stay for {english}, chained and without names.",
        ),
        (
            "Ein einzelnes Passwort lässt sich überall tilgen und alles dazu ausgeben.",
            "A single password can be erased everywhere, and all that is known of it handed out.",
        ),
    ]
