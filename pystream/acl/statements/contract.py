"""Annex to the contract between tenant and operator (Art. 28(3) GDPR)."""

from __future__ import annotations

from pystream.acl.retention import OF_TENANTS
from pystream.acl.statements import shared
from pystream.acl.statements.facts import Facts
from pystream.acl.statements.layout import Paper
from pystream.acl.statements.record import classes, processing, subjects


def write(paper: Paper, facts: Facts) -> None:
    paper.head(
        (
            "Anlage zum Vertrag über Auftragsverarbeitung (Art. 28 Abs. 3 DSGVO)",
            "Annex to the data processing agreement (Art. 28(3) GDPR)",
        ),
        1,
    )
    german, english = shared.processor(facts)
    paper.say(
        (
            f"Verantwortlicher: {facts.name}. Auftragsverarbeiter: {german}. Stand: {facts.day}.",
            f"Controller: {facts.name}. Processor: {english}. As of {facts.day}.",
        )
    )
    paper.head(("Gegenstand und Zweck", "Subject matter and purpose"))
    paper.list(processing(facts, paper.language))
    paper.head(("Dauer", "Duration"))
    paper.say(
        (
            "Die Verarbeitung dauert so lange wie der Vertrag [Laufzeit].",
            "The processing lasts as long as the contract [term].",
        )
    )
    paper.head(("Betroffene Personen", "Data subjects"))
    paper.list(subjects(facts))
    paper.head(("Art der Daten und Löschfristen", "Types of data and periods"))
    shared.retention(paper, facts, classes(facts))
    shared.deletion(paper, facts)
    own = facts.tenant.settings
    if any(getattr(own, f"{data}_days") is not None for data in OF_TENANTS):
        paper.say(
            (
                "Fristen der Anwesenheit hat der Verantwortliche selbst festgelegt.",
                "Periods of attendance were set by the controller.",
            )
        )
    paper.head(("Weisungen", "Instructions"))
    paper.say(
        (
            "Weisungen gibt der Verantwortliche durch Einstellungen in der Konsole, über die"
            " Schnittstelle oder in Textform. Jede Änderung steht mit Zeit und Namen im Protokoll.",
            "The controller gives instructions by settings in the console, by the API or in text form."
            " Each change is on record with its time and name.",
        )
    )
    if facts.recorded:
        paper.say(
            (
                "Der Zweck der Anwesenheitsaufzeichnung wurde angenommen; Fassung des Textes:"
                f" {own.attendance_purpose}.",
                "The purpose of recording attendance was accepted; version of the text:"
                f" {own.attendance_purpose}.",
            )
        )
    paper.head(("Vertraulichkeit und Sicherheit", "Confidentiality and security"))
    paper.say(
        (
            "Die Maßnahmen nach Art. 32 DSGVO stehen in einer eigenen Anlage. Wer beim"
            " Auftragsverarbeiter Zugang hat, ist zur Vertraulichkeit verpflichtet [Nachweis].",
            "The measures of Art. 32 GDPR are in an annex of their own. Whoever has access at the"
            " processor is committed to confidentiality [evidence].",
        )
    )
    paper.head(("Weitere Auftragsverarbeiter", "Further processors"))
    shared.sub_processors(paper, facts)
    paper.say(
        (
            "Über einen neuen informiert der Auftragsverarbeiter vorher; der Verantwortliche kann"
            " widersprechen [Frist].",
            "The processor tells of a new one before; the controller may object [period].",
        )
    )
    paper.head(("Rechte der betroffenen Personen", "Rights of data subjects"))
    paper.list(
        [
            (
                "Auskunft und Übertragbarkeit (Art. 15, 20): alles zu einem Passwort als Archiv, durch"
                " den Verantwortlichen selbst.",
                "Access and portability (Art. 15, 20): all that is known of a password as an archive,"
                " by the controller itself.",
            ),
            (
                "Berichtigung (Art. 16): Bezeichnung und Gültigkeit lassen sich ändern; ein"
                " versiegelter Bericht wird durch eine neue Fassung mit Begründung berichtigt.",
                "Rectification (Art. 16): label and validity can be changed; a sealed report is"
                " corrected by another version with a reason.",
            ),
            (
                "Löschung (Art. 17): ein Passwort lässt sich überall tilgen, es sei denn, ein Bericht,"
                " der es nennt, wird festgehalten; dann wird gesagt, bis wann und warum.",
                "Erasure (Art. 17): a password can be erased everywhere, unless a report that names it"
                " is held; then it is said until when and why.",
            ),
            (
                "Einschränkung (Art. 18): was zu einem Passwort gespeichert ist, bleibt und wird nicht"
                " genutzt, bis das aufgehoben ist.",
                "Restriction (Art. 18): what is known of a password is kept, and not used until that is"
                " lifted.",
            ),
        ]
    )
    paper.head(("Verletzungen und Unterstützung", "Breaches and assistance"))
    paper.say(
        (
            "Der Auftragsverarbeiter meldet Verletzungen unverzüglich [Frist, Kontakt] (Art. 33 Abs."
            " 2) und unterstützt bei Folgenabschätzung und Prüfungen (Art. 28 Abs. 3 Buchst. f und h)."
            " Berichte und Belege lassen sich ohne ihn prüfen.",
            "The processor notifies breaches without undue delay [period, contact] (Art. 33(2)), and"
            " assists with impact assessments and audits (Art. 28(3)(f) and (h)). Reports and receipts"
            " can be verified without it.",
        )
    )
    paper.head(("Ende des Vertrags", "End of the contract"))
    count = facts.practice.rules.key_backups + 1
    paper.list(
        [
            (
                "Rückgabe: ein Archiv aller Daten des Verantwortlichen (pystream tenant export).",
                "Return: an archive of all data of the controller (pystream tenant export).",
            ),
            (
                "Löschung: Der Schlüssel des Verantwortlichen wird vernichtet, dann alles gelöscht;"
                " ein signierter Nachweis nennt Umfang und Zeit (pystream tenant delete).",
                "Deletion: the controller's key is destroyed, then all is deleted; a signed proof says"
                " how much and when (pystream tenant delete).",
            ),
            (
                f"In Sicherungen der Schlüssel ist spätestens nach {count} Tagen nichts mehr davon.",
                f"Backups of keys have nothing of it after {count} days at the latest.",
            ),
            (
                "Filme sind Dateien des Verantwortlichen [wer löscht sie].",
                "Films are the controller's files [who deletes them].",
            ),
        ]
    )
