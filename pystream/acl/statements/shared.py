"""Parts that several statements have."""

from __future__ import annotations

from collections.abc import Iterable

from pystream.acl.retention import DataClass
from pystream.acl.statements.classes import FROM, WHAT
from pystream.acl.statements.facts import Facts
from pystream.acl.statements.layout import Paper, Said


def days(count: int) -> Said:
    return (
        "1 Tag" if count == 1 else f"{count} Tage",
        "1 day" if count == 1 else f"{count} days",
    )


def days_later(count: int) -> Said:
    """As it stands behind a preposition of time."""
    return "einem Tag" if count == 1 else f"{count} Tagen", days(count)[1]


def retention(paper: Paper, facts: Facts, which: Iterable[DataClass]) -> None:
    """How long classes of data are kept, and what that is counted from."""
    rows = []
    for data in which:
        count = facts.practice.rules.days(data)
        if count is None:
            kept: Said = ("bis zum Ende des Vertrags", "until the end of the contract")
        elif count == 0:
            kept = ("keinen Tag", "no day")
        else:
            kept = days(count)
        start = paper.of(FROM[data]) if data in FROM else "–"
        rows.append((paper.of(WHAT[data]), paper.of(kept), start))
    head = ("Daten", "Data"), ("Dauer", "Period"), ("gezählt ab", "counted from")
    paper.table(head, rows)


def deletion(paper: Paper, facts: Facts) -> None:
    """What becomes of what is older."""
    paper.say(
        (
            "Gelöscht wird einmal am Tag, was älter ist; über jeden Lauf entsteht ein Nachweis. Versiegeltes"
            " wird gelöscht, indem sein Schlüssel vernichtet wird. In Sicherungen der Schlüssel, die der"
            " Betreiber anlegt, steht ein vernichteter Schlüssel noch bis zu"
            f" {facts.practice.rules.key_backups + 1} Tage.",
            "Once a day what is older is deleted, and a proof is made of each run. What is sealed is"
            " deleted by destroying its key. Backups of keys that the operator makes have a destroyed"
            f" key for up to {facts.practice.rules.key_backups + 1} days more.",
        )
    )


def processor(facts: Facts) -> Said:
    """The operator, as the settings name it."""
    practice = facts.practice
    named = practice.operator or "[Name und Anschrift des Betreibers]"
    english = practice.operator or "[name and address of the operator]"
    return named, english


def sub_processors(paper: Paper, facts: Facts) -> None:
    practice = facts.practice
    if practice.sub_processors:
        paper.list([(each, each) for each in practice.sub_processors])
    else:
        paper.say(
            (
                "Keine angegeben. Die Software ruft von sich aus keinen Dienst eines Dritten auf.",
                "None named. The software calls no third party's service by itself.",
            )
        )
    if practice.timestamp_host:
        paper.say(
            (
                f"Ein Zeitstempeldienst ({practice.timestamp_host}) erhält Hashwerte von Prüfpunkten."
                " Sie sagen nichts über Personen.",
                f"A time stamping authority ({practice.timestamp_host}) is sent hashes of checkpoints."
                " They tell nothing of persons.",
            )
        )
