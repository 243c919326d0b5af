"""What reports say, in German and English: columns, flags, and how each number is defined."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Final

from pystream.attendance.options import Options
from pystream.attendance.programmes import zone

LOCALES: Final = ("de", "en")

WORDS: Final[dict[str, dict[str, str]]] = {
    "de": {
        "report": "Teilnahmebericht",
        "list": "Teilnahmeliste",
        "password": "Passwort",
        "label": "Bezeichnung",
        "day": "Tag",
        "online": "Online",
        "online_s": "Online (s)",
        "certifiable": "Anrechenbar",
        "certifiable_s": "Anrechenbar (s)",
        "verified": "Laut Player",
        "verified_s": "Laut Player (s)",
        "share": "Anteil (%)",
        "points": "Punkte",
        "certified": "Bestätigt",
        "devices": "Geräte zugleich",
        "evidence": "Nachweis",
        "notes": "Hinweise",
        "number": "Nummer",
        "yes": "ja",
        "no": "nein",
        "test": "Testzugang, in keiner Summe",
        "erased": "gelöscht",
        "title": "Veranstaltung",
        "stream": "Stream",
        "streams": "Streams",
        "vnr": "VNR",
        "organiser": "Veranstalter",
        "programme": "Programm",
        "breaks": "Pausen",
        "zone": "Zeitzone",
        "policy": "Bewertung",
        "version": "Fassung",
        "provisional": "vorläufig, ohne Siegel",
        "sealed": "{number}, versiegelt",
        "reason": "Grund der Berichtigung",
        "made_at": "Erstellt",
        "log": "Protokoll",
        "log_size": "{size} Ereignisse",
        "root": "Wurzel",
        "clock": "Uhr des Servers",
        "clock_fine": "synchronisiert, höchstens {ms} ms falsch",
        "clock_lost": "nicht synchronisiert, höchstens {ms} ms falsch",
        "definition": "Regel",
        "policy_hash": "Regelsatz (SHA-256)",
        "nodes": "Server",
        "node_one": "1, {proxy}, Uhr {clock}",
        "node_many": "{count}, {proxy}, Uhr {clock}",
        "proxy_none": "direkt erreichbar",
        "proxy_http": "hinter einem HTTP-Proxy",
        "proxy_tcp": "hinter einem Proxy für Verbindungen",
        "total": "Summe ohne Testzugänge",
        "viewer_one": "1 Passwort",
        "viewers": "{count} Passwörter",
        "certified_of": "{count} bestätigt",
        "page": "Seite {} von {}",
        "erased_one": (
            "1 Passwort, das in dieser Zeit gelten konnte, ist gelöscht: Was damit gesehen wurde, steht in"
            " keiner Zeile."
        ),
        "erased_many": (
            "{count} Passwörter, die in dieser Zeit gelten konnten, sind gelöscht: Was damit gesehen wurde,"
            " steht in keiner Zeile."
        ),
        "restricted_one": (
            "Die Daten von 1 Passwort sind eingeschränkt (Art. 18 DSGVO): Was damit gesehen wurde, steht in"
            " keiner Zeile."
        ),
        "restricted_many": (
            "Die Daten von {count} Passwörtern sind eingeschränkt (Art. 18 DSGVO): Was damit gesehen wurde,"
            " steht in keiner Zeile."
        ),
        "no_rows": "Für diesen Zeitraum ist keine Teilnahme aufgezeichnet.",
        "online_means": (
            "Online ist die Zeit, in der mit dem Passwort Film ausgeliefert war und laufen konnte, auch"
            " außerhalb des Programms; mehrere Geräte oder Streams zugleich zählen einmal"
            " ({definition}: access, Tage von {zone})."
        ),
        "certifiable_means": (
            "Anrechenbar ist das Kleinere aus Onlinezeit und ausgeliefertem Film{inside}; Wiederholtes"
            " zählt einmal ({definition}: certifiable). Sekunden sind abgeschnitten."
        ),
        "certifiable_verified_means": (
            "Anrechenbar ist das Kleinste aus Onlinezeit, ausgeliefertem Film und Laufzeit laut"
            " Player{inside}; Wiederholtes zählt einmal ({definition}: certifiable). Sekunden sind"
            " abgeschnitten."
        ),
        "verified_means": (
            "Laut Player ist die Onlinezeit{inside}, in der die Seite oder der Player gesagt hat, dass"
            " der Film läuft ({definition}: verified)."
        ),
        "verified_visible_means": (
            "Laut Player ist die Onlinezeit{inside}, in der die Seite oder der Player gesagt hat, dass"
            " der Film läuft und nicht verdeckt ist ({definition}: verified, require-visible)."
        ),
        "counted_means": (
            "Geliefertes zählt, während es läuft, höchstens {lookahead} s im Voraus; Lücken bis {bridge} s"
            " sind keine ({definition}: look-ahead, bridge)."
        ),
        "credit_means": (
            "Gutgeschrieben wird bei einem Ausfall des Servers die Zeit zwischen zwei Stücken der Teilnahme;"
            " sie steht bei den Hinweisen und zählt sonst nirgends ({definition}: outage credit)."
        ),
        "inside": " im Programm",
        "bar_means": "Balken: hell das Programm, schwarz online darin, grau online in einer Pause.",
        "pause_means": "Eine Pause ist nur daran zu sehen, dass nichts mehr geholt wird.",
        "floor45": "ein Punkt je volle 45 Minuten anrechenbarer Zeit",
        "ama_quarter": "60 Minuten sind ein Punkt, auf die nächste Viertelstunde gerundet",
        "threshold_pct": "bestätigt oder nicht, ohne Punkte",
        "at_least_pct": "ab {value} % des Programms",
        "at_least_minutes": "ab {value} Minuten",
        "bulk_fetch": "Film viel schneller geholt, als er läuft",
        "clock_step": "Uhr des Servers gestellt; Dauern sind davon unberührt",
        "deep_buffer": "Player hat weit voraus geladen; das zählt nicht",
        "downloaded": "als Datei heruntergeladen",
        "outage": "Server zeitweise ausgefallen ({time}); nicht angerechnet",
        "outage_credited": "Server zeitweise ausgefallen ({time}); davon {credit} gesondert gutgeschrieben",
        "overlap": "bis zu {count} Geräte oder Streams zugleich; zählt einmal",
        "restored": "Sicherung eingespielt; Nachweise können fehlen",
        "delivered": "Auslieferung",
        "player": "Auslieferung und Player",
        "player+checks": "Auslieferung, Player und Anwesenheitsabfragen",
        "state": "Abgleich",
        "matched": "zugeordnet",
        "absent": "keine Teilnahme",
        "unlisted": "nicht in der Liste",
        "curve": "Zuschauer im Verlauf",
        "curve_means": "Passwörter, alle {minutes} min; gestreift: weniger als {least}, nicht genannt",
        "curve_none": "keine Zuschauer",
    },
    "en": {
        "report": "Attendance report",
        "list": "Attendance list",
        "password": "Password",
        "label": "Label",
        "day": "Day",
        "online": "Online",
        "online_s": "Online (s)",
        "certifiable": "Certifiable",
        "certifiable_s": "Certifiable (s)",
        "verified": "By the player",
        "verified_s": "By the player (s)",
        "share": "Share (%)",
        "points": "Points",
        "certified": "Certified",
        "devices": "Devices at once",
        "evidence": "Evidence",
        "notes": "Notes",
        "number": "Number",
        "yes": "yes",
        "no": "no",
        "test": "test access, in no total",
        "erased": "erased",
        "title": "Event",
        "stream": "Stream",
        "streams": "Streams",
        "vnr": "VNR",
        "organiser": "Organiser",
        "programme": "Programme",
        "breaks": "Breaks",
        "zone": "Time zone",
        "policy": "Worth",
        "version": "Version",
        "provisional": "provisional, not sealed",
        "sealed": "{number}, sealed",
        "reason": "Reason of the correction",
        "made_at": "Made",
        "log": "Log",
        "log_size": "{size} events",
        "root": "Root",
        "clock": "The server's clock",
        "clock_fine": "synchronised, wrong by at most {ms} ms",
        "clock_lost": "not synchronised, wrong by at most {ms} ms",
        "definition": "Rule",
        "policy_hash": "Policy (SHA-256)",
        "nodes": "Servers",
        "node_one": "1 {proxy}, clock {clock}",
        "node_many": "{count} {proxy}, clock {clock}",
        "proxy_none": "that viewers reach directly",
        "proxy_http": "behind an HTTP proxy",
        "proxy_tcp": "behind a proxy of connections",
        "total": "Total without tests",
        "viewer_one": "1 password",
        "viewers": "{count} passwords",
        "certified_of": "{count} certified",
        "page": "Page {} of {}",
        "erased_one": (
            "1 password that may have been valid in this time is erased: what was watched with it is in no"
            " row."
        ),
        "erased_many": (
            "{count} passwords that may have been valid in this time are erased: what was watched with them"
            " is in no row."
        ),
        "restricted_one": (
            "The data of 1 password is restricted (Art. 18 GDPR): what was watched with it is in no row."
        ),
        "restricted_many": (
            "The data of {count} passwords is restricted (Art. 18 GDPR): what was watched with them is in no"
            " row."
        ),
        "no_rows": "No attendance is recorded of that time.",
        "online_means": (
            "Online is the time in which film was delivered to the password and could be playing, outside"
            " of the programme too; several devices or streams at once count once ({definition}: access,"
            " days of {zone})."
        ),
        "certifiable_means": (
            "Certifiable is the lesser of time online and film delivered{inside}; what is repeated counts"
            " once ({definition}: certifiable). Seconds are cut off."
        ),
        "certifiable_verified_means": (
            "Certifiable is the least of time online, film delivered and time playing by the player's"
            " word{inside}; what is repeated counts once ({definition}: certifiable). Seconds are cut off."
        ),
        "verified_means": (
            "By the player is the time online{inside} in which the page or the player has said that the film"
            " plays ({definition}: verified)."
        ),
        "verified_visible_means": (
            "By the player is the time online{inside} in which the page or the player has said that the film"
            " plays and is not hidden ({definition}: verified, require-visible)."
        ),
        "counted_means": (
            "What was delivered counts as it plays, {lookahead} s ahead at most; holes of up to {bridge} s"
            " are none ({definition}: look-ahead, bridge)."
        ),
        "credit_means": (
            "Of an outage of the server the time between two stretches of attendance is credited; it stands"
            " in the notes, and counts nowhere else ({definition}: outage credit)."
        ),
        "inside": " within the programme",
        "bar_means": "Bars: pale is the programme, black online within it, grey online in a break.",
        "pause_means": "A pause shows only in that nothing is fetched any more.",
        "floor45": "one point for each full 45 minutes of certifiable time",
        "ama_quarter": "60 minutes are one point, to the nearest quarter of an hour",
        "threshold_pct": "certified or not, without points",
        "at_least_pct": "from {value} % of the programme on",
        "at_least_minutes": "from {value} minutes on",
        "bulk_fetch": "film fetched much faster than it plays",
        "clock_step": "the server's clock was set; no duration is changed by that",
        "deep_buffer": "the player had loaded far ahead, which does not count",
        "downloaded": "downloaded as a file",
        "outage": "the server was down for a time ({time}), which is not credited",
        "outage_credited": "the server was down for a time ({time}), of which {credit} is credited apart",
        "overlap": "up to {count} devices or streams at once, which count once",
        "restored": "a backup was brought back; evidence may be missing",
        "delivered": "delivery",
        "player": "delivery and player",
        "player+checks": "delivery, player and presence checks",
        "state": "Joined",
        "matched": "matched",
        "absent": "no attendance",
        "unlisted": "not in the list",
        "curve": "Audience",
        "curve_means": "passwords, every {minutes} min; striped: fewer than {least}, not told",
        "curve_none": "no audience",
    },
}


def clock(ms: int) -> str:
    """Hours, minutes and seconds, cut off."""
    minutes, seconds = divmod(ms // 1000, 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def seconds(ms: int, locale: str) -> str:
    """As in 0.5 and 60."""
    whole, rest = divmod(ms, 1000)
    point = "," if locale == "de" else "."
    return f"{whole}{point}{rest:03}".rstrip("0") if rest else str(whole)


def notes(row: dict[str, Any], locale: str, *, is_test: bool = False) -> list[str]:
    """What is odd about a row, a sentence each."""
    words = WORDS[locale]
    values = {
        "time": clock(row["outage_ms"]),
        "count": row["max_devices"],
        "credit": clock(row["outage_credit_ms"]),
    }
    flags = [
        "outage_credited" if flag == "outage" and row["outage_credit_ms"] else flag
        for flag in row["flags"]
    ]
    found = [words[flag].format(**values) for flag in flags if flag in words]
    # What a later rule may know beyond these.
    found += [flag for flag in flags if flag not in words]
    return [*([words["test"]] if is_test else []), *found]


def definitions(about: dict[str, Any], options: Options, locale: str) -> list[str]:
    """What the numbers of a report mean, a sentence each."""
    words = WORDS[locale]
    inside = words["inside"] if about["kind"] == "event" else ""
    whole = options.resolved()
    values = {"definition": about["definition"], "zone": options.timezone, "inside": inside}
    for name, ms in (("lookahead", whole.lookahead), ("bridge", whole.bridge)):
        values[name] = seconds(ms or 0, locale)
    names = ["online_means", "counted_means", "certifiable_means"]
    if options.verified:
        visible = "verified_visible_means" if options.require_visible else "verified_means"
        names = ["online_means", "counted_means", visible, "certifiable_verified_means"]
    if options.credit_outage:
        names.append("credit_means")
    if about["pause_visible"] == "no":
        names.append("pause_means")
    return [words[name].format(**values) for name in names]


def nodes(about: dict[str, Any], locale: str) -> str:
    """Through what the servers have delivered, and how right their clocks were; of many that are alike, how
    many they are. Empty of a report that says nothing about it."""
    words = WORDS[locale]
    alike = dict[tuple[str, str], list[int]]()
    for each in about.get("nodes", []):
        fine = "clock_fine" if each["clock_synchronised"] else "clock_lost"
        alike.setdefault((each["proxy"], fine), []).append(each["clock_error_ms"])
    found = []
    for (proxy, fine), errors in sorted(alike.items()):
        said = words[fine].format(ms=max(errors))
        text = words["node_one" if len(errors) == 1 else "node_many"]
        found.append(text.format(count=len(errors), proxy=words[f"proxy_{proxy}"], clock=said))
    return "; ".join(found)


def left_out(about: dict[str, Any], locale: str) -> list[str]:
    """That passwords were erased before it was made, or are restricted, whose rows are not there."""
    words, found = WORDS[locale], []
    for name in ("erased", "restricted"):
        count = about.get(name, 0)
        if count:
            text = words[f"{name}_one" if count == 1 else f"{name}_many"]
            found.append(text.format(count=count))
    return found


def policy(about: dict[str, Any], locale: str) -> str:
    """What a time is worth, in words; empty of a report that says nothing about it."""
    words, said = WORDS[locale], about["policy"]
    if said is None:
        return ""
    parts = [words[said["rounding"]]]
    if said["threshold_pct"] is not None:
        parts.append(words["at_least_pct"].format(value=said["threshold_pct"]))
    if said["least_minutes"] is not None:
        parts.append(words["at_least_minutes"].format(value=said["least_minutes"]))
    return ", ".join(parts)


def span(begin: int, end: int, timezone: str, locale: str) -> str:
    """As in 10.03.2026 18:00-19:30."""
    there = zone(timezone)
    first, last = (datetime.fromtimestamp(ms / 1000, there) for ms in (begin, end))
    to = f"{last:%H:%M}" if first.date() == last.date() else moment(last, locale)
    return f"{moment(first, locale)}\N{EN DASH}{to}"


def moment(at: datetime, locale: str) -> str:
    return f"{civil(at.date(), locale)} {at:%H:%M}"


def civil(day: date, locale: str) -> str:
    """A day as people write it."""
    return f"{day:%d.%m.%Y}" if locale == "de" else f"{day:%Y-%m-%d}"
