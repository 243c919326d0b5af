"""What is wrong, said in the reader's language.

The rooms below say it in English, as `pystream.errors.Said`: a sentence with a key. Here is the same in
German, by the key, and what the console calls the value that it is about. In English it is the sentence
itself. One without a key is of a machine or its operator; it is shown as it is, and marked as English.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pystream.errors import Said
from pystream.server.office.console.texts import TEXTS


def tell(language: str, sentence: str) -> Any:
    """A sentence as HTML."""
    # Workers import the table of routes, and make no page.
    from markupsafe import Markup, escape

    if language == "en":
        return escape(_named(language, sentence, str(sentence)))
    german = _german(sentence)
    return (
        Markup('<span lang="en">{}</span>').format(sentence) if german is None else escape(german)
    )


def _german(sentence: str) -> str | None:
    if not isinstance(sentence, Said) or sentence.key not in GERMAN:
        return None
    values: dict[str, Any] = {}
    for name, value in sentence.values.items():
        values[name] = (_german(value) or value) if isinstance(value, Said) else value
    return _named("de", sentence, GERMAN[sentence.key].format(**values))


def _named(language: str, sentence: str, text: str) -> str:
    """The text, headed with what the console calls the value."""
    if not isinstance(sentence, Said) or not sentence.of or sentence.key in _HEADED:
        return text
    of = sentence.of
    name = TEXTS[language][NAMES[of]] if of in NAMES else of
    return f"{name}: {text.removeprefix(f'{of}: ')}"


# They say themselves what they are about.
_HEADED = frozenset(("card",))

# What a setting, a field of a form or a column of a list is called: its text's name in `texts`.
NAMES: Final[Mapping[str, str]] = {
    "access": "access",
    "algorithm": "algorithm",
    "allow_no_referrer": "no_referrer",
    "allow_unknown_country": "unknown_country",
    "attendance": "attendance",
    "attendance_daily_reports_days": "attendance_daily_reports_days",
    "attendance_days": "attendance_days",
    "attendance_purpose": "attendance",
    "attendance_reports_days": "attendance_reports_days",
    "beacons": "beacons",
    "breaks": "breaks",
    "bridge_ms": "bridge_ms",
    "cache": "of_cache",
    "check_minutes": "check_minutes",
    "checkpoint_cosigner": "of_checkpoint_cosigner",
    "checkpoint_url": "of_checkpoint_url",
    "checkpoint_mail": "of_checkpoint_mail",
    "closes_at": "closes_at",
    "content": "content",
    "count": "count",
    "countries": "countries",
    "credit_outage": "of_credit_outage",
    "countries_denied": "countries_denied",
    "day": "day",
    "device_mode": "device_mode",
    "display": "display",
    "download": "download",
    "download_rate_bps": "of_download_rate_bps",
    "download_source": "of_download_source",
    "embed_lock": "embed_lock_short",
    "embed_origins": "embed_origins",
    "encryption": "encryption",
    "expires": "expires",
    "format": "of_format",
    "idle_s": "of_idle_s",
    "kept_s": "kept_s",
    "kind": "kind",
    "label": "label",
    "least_minutes": "least_minutes",
    "lookahead_s": "lookahead_s",
    "locale": "cards_language",
    "max devices": "devices",
    "max_devices": "max_devices",
    "max_rate_bps": "of_max_rate_bps",
    "max_viewers": "max_viewers",
    "name": "name",
    "networks": "networks",
    "no_skip": "no_skip",
    "notice": "notice",
    "opens_at": "opens_at",
    "origins": "of_origins",
    "own_count": "of_own_count",
    "pace": "pace",
    "password": "password",
    "prefix": "prefix",
    "reason": "of_reason",
    "require_visible": "of_require_visible",
    "revision": "of_revision",
    "role": "role",
    "rotate_every": "of_rotate_every",
    "rounding": "rounding",
    "salt": "salt",
    "scopes": "scopes",
    "seal_after_s": "seal_after",
    "seconds": "seconds",
    "secret": "secret",
    "segment_duration_ms": "of_segment_duration_ms",
    "session_s": "of_session_s",
    "sources": "films",
    "streams": "event_streams",
    "test": "test",
    "threshold_pct": "threshold_pct",
    "timezone": "timezone",
    "title": "title",
    "token_name": "token_name",
    "until": "hold_until",
    "url": "url",
    "valid from": "valid_from",
    "valid until": "valid_until",
    "valid_from": "valid_from",
    "valid_until": "valid_until",
    "vnr": "vnr",
    "windows": "windows",
}

_LIST = (
    "Gefragt ist eine CSV-Datei mit einem Passwort je Zeile; von den Spalten Passwort, Bezeichnung, gültig"
    " ab, gültig bis, Geräte und Test die, die Sie brauchen, in der ersten Zeile benannt oder in dieser"
    " Reihenfolge"
)

GERMAN: Final[Mapping[str, str]] = {
    # Values
    "at-least": "mindestens {least}, oder nichts",
    "date": "kein Datum; eines schreibt man 01.05.2031 oder 2031-05-01, mit Uhrzeit 01.05.2031 18:00",
    "number": "eine ganze Zahl ist gefragt",
    "one-of": "„{value}“ steht nicht zur Wahl",
    "past": "das liegt nicht in der Zukunft",
    "range": "von {least} bis {most} ist möglich",
    "range-or-none": "von {least} bis {most} ist möglich, oder nichts",
    "text": "höchstens {most} Zeichen, ohne Zeilenenden",
    "text-wanted": "1 bis {most} Zeichen, ohne Zeilenenden",
    "time": "eine Zeit ab 1970 ist gefragt, oder nichts",
    "too-many": "höchstens {most} sind möglich",
    "yes-no": "ja oder nein ist gefragt",
    "no-setting": "Es gibt keine Einstellung „{name}“",
    # Streams
    "all-alone": "* steht für alle Websites, und das allein",
    "attendance-access": "dafür braucht es ein Passwort je Zuschauer, signierte Links oder Tokens; bei allen"
    " anderen gibt es nur Summen je Stream und Stunde, im Datenverkehr",
    "attendance-cache": "was ein CDN ausgibt, sieht niemand; Anwesenheit und ein CDN schließen einander aus",
    "beacons-attendance": "was der Player sagt, grenzt die Anwesenheit ein; die muss dafür aufgezeichnet"
    " werden",
    "checks-beacons": "die Seite, die fragt, muss auch sagen, was sie abspielt; schalten Sie das ein",
    "visible-beacons": "ob sie verdeckt ist, kann nur die Seite sagen; lassen Sie sie das tun",
    "own-count-attendance": "gezeigt werden kann nur, was aufgezeichnet wird; schalten Sie das ein",
    "no-skip-access": "wie weit jemand gekommen ist, gilt für ein Passwort auf allen Geräten; dafür braucht"
    " es ein Passwort je Zuschauer",
    "no-skip-attendance": "dafür wird festgehalten, wie weit jedes Passwort gekommen ist; die Anwesenheit"
    " muss also auch aufgezeichnet werden",
    "no-skip-download": "wer den Film als Datei hat, springt darin, wohin er will; beides schließt einander"
    " aus",
    "no-purpose": "Ihre Organisation hat noch nicht akzeptiert, wofür Anwesenheit aufgezeichnet wird",
    "purpose": "gefragt ist die Fassung des gelesenen Textes, oder nichts",
    "cache-bound": "ein CDN gibt jedem jederzeit, was es hat; was an Zeit, Netz, Land oder Website gebunden"
    " ist, muss daher verschlüsselt sein",
    "cache-clear": "ein CDN gibt jedem, was es hat; was nicht offen ist, muss daher verschlüsselt sein",
    "cache-keys": "ein CDN und eigene Schlüssel je Zuschauer schließen einander aus",
    "cache-pace": "ein CDN hält kein Tempo ein",
    "in-and-out": "„{value}“ ist zugleich zugelassen und ausgeschlossen",
    "inside": "„{value}“ ist eine Adresse in {meant}; schreiben Sie das, oder eine einzelne Adresse",
    "lock-all": "* erlaubt jede Website, da ist nichts zu beschränken",
    "mapped": "„{value}“ enthält IPv4-Adressen; schreiben Sie es als IPv4-Netz",
    "never-open": "das Ende liegt nicht nach dem Anfang",
    "no-country": "„{value}“ ist kein Land; eines schreibt man DE (ISO 3166-1)",
    "mail-address": "eine Adresse wie teilnahme@example.org ist gefragt",
    "cosigner": "gefragt ist der öffentliche Schlüssel eines Mitzeichners, wie ihn `pystream attendance"
    " cosign --new-key` schreibt",
    "no-keys": "ohne Verschlüsselung gibt es keine Schlüssel zu wechseln",
    "no-geo": "Dieser Server kennt keine Länder, so käme niemand hinein: Wer ihn betreibt, muss erst eine"
    " Datenbank davon angeben (geo.database)",
    "no-network": "„{value}“ ist kein Netz; eines schreibt man 192.0.2.0/24",
    "no-origin": "„{value}“ ist keine Website; eine schreibt man https://www.example.org",
    "no-film": "„{name}“ liegt nicht in Ihrem Ordner von Filmen",
    "no-films": "Wählen Sie mindestens einen Film",
    "no-path": "ein Film liegt nicht dort, wo der Server ihn sucht",
    "no-source": "das ist keiner der Filme dieses Streams",
    "no-stream": "Es gibt keinen Stream „{name}“",
    "no-streams": "Einen dieser Streams gibt es nicht",
    "notice": "höchstens 4000 Zeichen einfacher Text",
    "reserved": "So kann niemand heißen: „{name}“ gehört dem Server",
    "slug": "„{name}“ geht nicht: 1 bis 63 Kleinbuchstaben, Ziffern und Bindestriche, am Anfang kein"
    " Bindestrich",
    "stream-there": "Es gibt schon einen Stream „{name}“",
    "time-zone": "„{value}“ ist keine Zeitzone; eine heißt etwa Europe/Berlin",
    "twice": "einer ist zweimal genannt",
    "unpackable": "daraus lässt sich kein Stream machen: {why}",
    "usual-port": "„{value}“ nennt den ohnehin üblichen Port; lassen Sie ihn weg",
    "which-source": "der Stream besteht aus mehreren Filmen, und einer davon muss gewählt sein",
    # Events and reports
    "breaks-all": "sie lassen vom Programm nichts übrig",
    "clock-skips": "{value} gibt es nicht: Da wird die Uhr vorgestellt",
    "day": "gefragt ist ein Tag von 1970 bis 2099, etwa 2031-05-01",
    "event-sealed": "Die Veranstaltung „{name}“ bleibt: Von ihr gibt es versiegelte Berichte",
    "event-there": "Es gibt schon eine Veranstaltung „{name}“",
    "events-many": "Es sind mehr als {most} Ereignisse: Die exportiert, wer den Server betreibt (pystream"
    " attendance export)",
    "key-lost": "Der Schlüssel, mit dem das Protokoll der Anwesenheit signiert war, ist verloren: Wer den"
    " Server betreibt, muss es neu beginnen (pystream attendance restored)",
    "no-checkpoint": "Das ist kein Prüfpunkt dieses Protokolls",
    "no-cosigner": "Ihre Organisation hat noch keinen Mitzeichner",
    "no-event": "Es gibt keine Veranstaltung „{name}“",
    "no-receipt": "Davon, was mit dem Passwort dann gesehen wurde, ist nichts bekannt, oder nichts mehr",
    "no-stamp": "Kein Prüfpunkt hat einen Zeitstempel",
    "not-held": "Dieser Bericht wird nicht festgehalten",
    "not-restricted": "Die Daten dieses Passworts sind nicht eingeschränkt",
    "not-sealed": "Von diesem Bericht ist keine Fassung versiegelt: Da ist nichts festzuhalten",
    "no-version": "Eine Fassung {number} dieses Berichts gibt es nicht",
    "nothing-recorded": "Von Anwesenheit ist noch nichts aufgezeichnet",
    "reason-none": "eine erste Fassung berichtigt nichts",
    "reason-wanted": "Fassung {number} ist schon versiegelt; eine Berichtigung braucht einen Grund",
    "seal-day": "Versiegelte Fassungen gibt es von Veranstaltungen und von einem Tag eines Streams",
    "span": "gefragt sind Tag und Zeiten wie 16.05.2031 18:00–19:30",
    "span-backwards": "das Ende muss nach dem Anfang liegen; ein Ende an einem anderen Tag hat dessen Datum",
    "span-order": "alle müssen nach ihrem Anfang enden, von 1970 bis 2099",
    "stream-held": "Der Stream „{name}“ bleibt: Sein Bericht vom {day} wird bis {until} festgehalten"
    " ({reason}). Braucht ihn niemand mehr, ist erst das zu beenden",
    "threshold-wanted": "diese Rundung braucht einen Mindestanteil am Programm, in Prozent",
    "version-erased": "Die Fassung {number} dieses Berichts wurde gelöscht",
    # Passwords
    "card": "Karte {number}: {problem}",
    "card-address": "eine Adresse wie https://www.example.org/a/b ist gefragt, in ASCII",
    "card-address-long": "sie ist zu lang für eine Karte",
    "card-elsewhere": "der Stream ist nur auf anderen Websites zu sehen: Gefragt ist die Adresse einer Seite,"
    " die ihn einbettet",
    "card-typeface": "es hat ein Zeichen, das die Schrift der Karten nicht kennt",
    "cards": "von 1 bis {most} Karten lassen sich auf einmal drucken",
    "cards-many": "Es sind mehr als {most} Passwörter. Drucken Sie die Karten je angelegter Liste",
    "cards-none": "Es gibt kein gültiges Passwort zu drucken",
    "cards-streams": "Die ausgewählten Passwörter öffnen verschiedene Streams: Wählen Sie erst einen Stream",
    "nothing-kept": "Das Passwort wurde gelöscht, und es gibt nichts mehr daran aufzubewahren",
    "tenant-deleted": "Alles, was von Ihnen gespeichert ist, wird gerade gelöscht",
    "never-valid": "das liegt nicht nach dem Anfang, das Passwort wäre also nie gültig",
    "no-password": "Dieses Passwort gibt es nicht",
    "none-made": "Zu dieser Zeit wurde kein Passwort angelegt",
    "opens-none": "Ein Passwort öffnet keinen Stream mehr, den es noch gibt",
    "over": "das ist schon vorbei; solch ein Passwort öffnet nichts",
    "password-characters": "Ein Passwort hat weder Steuerzeichen noch Zeilenenden",
    "password-erased": "Das Passwort wurde gelöscht, und es gibt nichts mehr daran zu ändern",
    "password-long": "Ein Passwort hat höchstens {most} Zeichen",
    "password-rounded": "Das Passwort ist eine Zahl, die eine Tabellenkalkulation gerundet hat: dort muss"
    " die Spalte Text sein, bevor die Zahlen hineinkommen",
    "password-mistyped": "Das Passwort sieht aus wie eines von hier, hat aber ein falsches Zeichen",
    "password-none": "Da steht kein Passwort, nur Leerzeichen oder Striche",
    "password-over": "Das Passwort lässt niemanden mehr ein: Legen Sie ein neues an",
    "restricted": "Die Daten eines dieser Passwörter sind eingeschränkt: Sie bleiben, und niemand nutzt sie,"
    " bis das aufgehoben ist",
    "password-there": "Dieses Passwort gibt es schon",
    "passwords-many": "{count} sind zu viele: Höchstens {most} Passwörter kommen auf einmal hinein;"
    " teilen Sie die Liste",
    "passwords-there": "Mindestens eines dieser Passwörter gibt es schon; keines wurde hinzugefügt",
    "report-held": "Ein versiegelter Bericht, der festgehalten wird, nennt eines dieser Passwörter; vor dem"
    " {until} wird nichts gelöscht: {reason}",
    "takes-none": "{name} nimmt keine Passwörter: Ändern Sie erst den Zugang",
    # Lists
    "cells": "Es sind mehr Zellen als Spalten; eine Zelle mit Trennzeichen gehört in Anführungszeichen",
    "columns-many": "Es sind {count} Spalten: " + _LIST,
    "kind-binary": "kein Text",
    "kind-json": "JSON",
    "kind-page": "eine Seite in HTML oder XML",
    "kind-pdf": "ein PDF",
    "kind-sheet": "eine Datei einer Tabellenkalkulation, einer Textverarbeitung oder ein Archiv",
    "kind-text": "ein Dokument einer Textverarbeitung",
    "no-list": "Das ist {kind}, keine Liste: " + _LIST,
    "no-list-text": "Das ist fortlaufender Text, und keine Spalte ist benannt: " + _LIST,
    "column": "Eine Spalte „{name}“ gibt es in solch einer Liste nicht",
    "column-twice": "Es gibt zwei Spalten für „{name}“",
    "line": "Zeile {line}: {problem}",
    "line-again": "Das Passwort ist das von Zeile {line} noch einmal",
    "line-alike": "Das Passwort ist dem von Zeile {line} zu ähnlich: Groß und klein, Leerzeichen, Striche, O"
    " und 0, I, L und 1 gelten als gleich",
    "line-long": "Die Zeile hat mehr als {most} Zeichen",
    "list-unnamed": "Es sind mehrere Spalten, und die erste sieht nicht nach Passwörtern aus: "
    + _LIST,
    "list-empty": "In der Datei ist kein Passwort",
    "list-large": "Die Datei hat mehr als {most} MiB",
    "list-long": "Die Datei hat mehr als {most} Passwörter",
    "no-column": "Keine Spalte heißt Passwort",
    "not-utf-8": "Das ist kein UTF-8: Eine Tabellenkalkulation muss es als „CSV UTF-8“ speichern",
    "quotes": "Eine Zelle in Anführungszeichen endet nicht, oder geht dahinter weiter",
    # People and tokens
    "last-admin": "„{name}“ ist die letzte Administration: Ernennen Sie erst eine andere",
    "leave": "Support wird für eine Minute bis {days} Tage eingelassen",
    "name": "So geht der Name nicht: 1 bis {most} Kleinbuchstaben, Ziffern und . _ @ + -, am Anfang Buchstabe"
    " oder Ziffer",
    "no-person": "Es gibt keine Person „{name}“",
    "no-support": "„{name}“ ist kein Support: Nur diesen lässt man auf Zeit ein",
    "no-token": "Es gibt kein Token „{name}“",
    "own-password-easy": "Dieses Passwort ist zu leicht zu erraten: Namen und Wiederholungen zählen nicht",
    "own-password-long": "Ein Passwort hat höchstens {most} Zeichen und keine Zeilenenden",
    "own-password-same": "Das ist das Passwort, das Sie hatten",
    "own-password-short": "Ein Passwort hat mindestens {least} Zeichen",
    "people-alone": "Das ist nur für Personen",
    "person-there": "Es gibt schon eine Person „{name}“",
    "right": "Dafür braucht es das Recht {right}, das Sie nicht haben",
    "scopes": "mindestens eines ist zu wählen",
    "token-there": "Es gibt schon ein Token „{name}“",
    "totp-there": "Es gibt schon einen Authenticator",
    # Links and tokens of the customer's site
    "content-all": "der eines Streams ist keiner für alle: Wählen Sie den Stream",
    "key-name": "1 bis 16 Buchstaben, Ziffern, - und _",
    "no-use": "das braucht diese Art nicht",
    "no-verifier": "Es gibt keinen gültigen Schlüssel „{name}“",
    "other-kind": "Die gültigen hier sind von der Art {kind}, und alle müssen von einer sein: Widerrufen Sie"
    " diese erst",
    "seconds": "mehr als 0 und höchstens 10 sind möglich",
    "secret-akamai": "eine gerade Zahl hexadezimaler Ziffern ist gefragt, und ein Verfahren, das es gibt",
    "secret-bunny": "ein Schlüssel in ASCII ohne Leerzeichen ist gefragt",
    "secret-jwt": "base64url von 32 Bytes oder mehr ist gefragt (RFC 7518 3.2)",
    "secret-link": "64 hexadezimale Ziffern sind gefragt",
    "secret-question": "whsec_ und base64 von 24 bis 64 Bytes sind gefragt, oder ein Bearer-Token in ASCII",
    "secret-wowza": "8 Buchstaben und Ziffern oder mehr sind gefragt, und ein Verfahren, das es gibt",
    "two-active": "Es gibt schon {most} gültige, {names}: Widerrufen Sie erst einen",
    "unreachable": "dort kann der Server nicht fragen: eine Adresse mit https:// auf einem öffentlichen"
    " Rechner ist gefragt, an einem Port, den der Betreiber erlaubt (meist 443)",
    "url": "eine https-Adresse wie https://login.example.org/keys ist gefragt",
    "verifier-there": "Es gibt schon einen gültigen Schlüssel „{name}“",
    # Requests
    "bug": "Der Server hat einen Fehler, der in seinem Protokoll steht",
    "busy": "Es gibt gerade zu viel zu tun",
    "cannot": "Etwas, das der Server braucht, ist gerade nicht zu erreichen; sein Protokoll sagt dem"
    " Betreiber, was. Versuchen Sie es gleich noch einmal",
    "in-the-clear": "Das gibt es nur über HTTPS, außer auf dem Server selbst",
    "long": "Der Inhalt ist zu lang",
    "malformed": "Die Anfrage ist fehlerhaft",
    "method": "Das geht auf diesem Weg nicht",
    "month": "„{value}“ ist kein Monat; einen schreibt man 2031-05",
    "nothing": "Hier ist nichts",
    "other-session": "Das Formular gehört zu einer Sitzung, die zu Ende ist: Öffnen Sie die Seite neu",
    "other-site": "Das Formular kam nicht von einer Seite der Konsole: Öffnen Sie diese neu",
}
