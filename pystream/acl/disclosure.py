"""What a node keeps, for whom and for how long: as JSON for machines, as text for a customer's notice.

Both are made of the rules that the retention engine goes by, so they cannot say anything else.

The document, `pystream-privacy 1`, which a node serves under `/.well-known/pystream-privacy.json`
(RFC 8615), and with `?tenant=NAME` for one tenant:

    {
      "format": "pystream-privacy 1",
      "kept": [                          what is written to a disk
        {"class": "sessions",            a name of `pystream.acl.retention.DataClass`
         "what": ["...", ...],           the pieces, in English
         "purpose": "...",
         "personal": "pseudonymous",     or "no", "of the customer's people", "of attackers",
                                          "of the operator's people"
         "days": 30,                     null: until the customer ends it
         "from": "..."}, ...],           what the days are counted from
      "in_memory": [                     what is never written
        {"what": "...", "purpose": "...", "until": "..."}, ...],
      "never_kept": ["...", ...],
      "in_the_browser": {"cookies": false, "storage": ["...", ...]},
      "third_parties": [],               sites that a viewer's browser is sent to
      "address_told_to_customer": false, whether a customer's site may be asked with the address:
      "address_told_in_part": false,     and whether that is its first part alone (IPv4: 24 bits, IPv6: 48)
      "log": {"what": ["...", ...],      what the operator's log gets, who keeps it as long as that is set
       "requests": false},               whether each request is in it
      "erasure": {"key_backups_days": 30},   for so long what is erased can be brought back
      "tenant": {"name": "acme", "display": "ACME GmbH",
        "notice": "...", "notice_version": "ba7816bf8f01cfea"}
    }

`tenant` is there where one was asked for. `notice` is the text that viewers are shown before anything
is recorded, and `notice_version` names it, null where there is none. Players other than our page show
it themselves, and say so with the member `notice` of what they send to `/TENANT/STREAM/session`: the
version, which is kept with the session; another one is refused (409). Further members
may come; those that are there keep their meaning as long as `format` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from pystream.acl.retention import DataClass, Rules
from pystream.acl.streams import StreamSettings, Tenant, rules_of
from pystream.acl.viewers import notice_version

FORMAT: Final = "pystream-privacy 1"
LANGUAGES: Final = ("de", "en")


@dataclass(frozen=True, slots=True)
class Practice:
    """What of a node's settings says what it keeps. `asks_with_address`: customers' sites may be told
    the viewer's address, or its first part (`truncated`). `logs_requests`: the operator's log has each
    request. `records_attacks`: addresses of who attacks the node are kept.

    The rest is what papers say of it: `tls`: it speaks HTTPS itself; `proxied`: a proxy may be in front;
    `console`: customers' people and programs have one, and an API; `keeps_key_backups`: it deletes old
    backups of keys; `timestamp_host`: of the authority that stamps checkpoints; and what the operator says of
    itself: `operator` with its address, `location` of the servers, `sub_processors`.
    """

    rules: Rules
    asks_with_address: bool | Literal["truncated"] = False
    logs_requests: bool = False
    records_attacks: bool = False
    tls: bool = False
    proxied: bool = False
    console: bool = True
    database: str = "SQLite"
    keeps_key_backups: bool = False
    timestamp_host: str = ""
    operator: str = ""
    location: str = ""
    sub_processors: tuple[str, ...] = ()

    def of(self, tenant: Tenant) -> Practice:
        """With the days that a tenant has chosen."""
        return replace(self, rules=rules_of(self.rules, tenant.settings))


def document(practice: Practice, tenant: Tenant | None = None) -> dict[str, Any]:
    """The document, as JSON values."""
    if tenant is not None:
        practice = practice.of(tenant)
    found: dict[str, Any] = {
        "format": FORMAT,
        "kept": [_kept(data, practice.rules) for data in DataClass],
        "in_memory": [
            dict(zip(("what", "purpose", "until"), each, strict=True)) for each in _MEMORY
        ],
        "never_kept": [
            _NEVER_BUT_OF_ATTACKERS if practice.records_attacks and each == _ADDRESS else each
            for each in _NEVER
        ],
        "in_the_browser": {"cookies": False, "storage": list(_BROWSER)},
        "third_parties": [],
        "address_told_to_customer": bool(practice.asks_with_address),
        "address_told_in_part": practice.asks_with_address == "truncated",
        "log": {
            "what": [_LOG, *([_LOG_OF_REQUESTS] if practice.logs_requests else ())],
            "requests": practice.logs_requests,
        },
        "erasure": {"key_backups_days": practice.rules.key_backups},
    }
    if tenant is not None:
        found["tenant"] = {
            "name": tenant.name,
            "display": tenant.settings.display,
            "notice": tenant.settings.notice,
            "notice_version": notice_version(tenant.settings.notice),
        }
    return found


def _kept(data: DataClass, rules: Rules) -> dict[str, Any]:
    what, purpose, personal, counted = _KEPT[data]
    return {
        "class": str(data),
        "what": list(what),
        "purpose": purpose,
        "personal": personal,
        "days": rules.days(data),
        "from": counted,
    }


_OF_PEOPLE = "of the customer's people"
_KEPT: Final[Mapping[DataClass, tuple[tuple[str, ...], str, str, str | None]]] = {
    DataClass.SETTINGS: (
        (
            "name and settings of the customer",
            "title and settings of each stream",
            "keys of the customer's site, encrypted, with which it signs links",
        ),
        "to serve the streams",
        "no",
        None,
    ),
    DataClass.PASSWORDS: (
        (
            "password and label, encrypted",
            "keyed hash of the password, to find it",
            "streams that it opens, validity, number of devices, test access or not",
        ),
        "to let viewers in whom the customer has chosen; who holds a password, the customer alone knows",
        "pseudonymous",
        None,
    ),
    DataClass.PEOPLE: (
        (
            "name that the customer has given, role",
            "hash of the password (Argon2id), encrypted secret of an authenticator, hashes of recovery"
            " codes",
        ),
        "to let the customer's people into the console",
        _OF_PEOPLE,
        None,
    ),
    DataClass.TOKENS: (
        ("name that the customer has given, scopes, hash of the token, day of its last use",),
        "to let the customer's programs in",
        "no",
        None,
    ),
    DataClass.SESSIONS: (
        (
            "random number",
            "number of the stream, and of the password if one was typed, or of the link or of whom it or a"
            " token names",
            "begin, end, reason of the end",
            "version of the notice that was shown",
        ),
        "to let a viewer go on, to count devices, to end what was revoked",
        "pseudonymous",
        "end of the session",
    ),
    DataClass.ENDINGS: (
        ("number of the password or stream whose sessions were ended, time",),
        "to end sessions on all nodes, after a restart as well",
        "pseudonymous",
        "the order to end",
    ),
    DataClass.TRAFFIC_HOURS: (
        ("requests and bytes by stream, kind and hour",),
        "to account for traffic",
        "no",
        "end of the month",
    ),
    DataClass.TRAFFIC: (
        ("requests and bytes by stream, kind and month",),
        "to account for traffic",
        "no",
        "the hour or month",
    ),
    DataClass.AUDIT: (
        ("who changed or saw what of the customer's, and when; never a password",),
        "to show who did what (Art. 32 GDPR)",
        _OF_PEOPLE,
        "the entry",
    ),
    DataClass.SPENT_TOKENS: (
        ("keyed hash of a token that let somebody in once, its session, its end",),
        "to let nobody in twice with it",
        "pseudonymous",
        "end of the validity",
    ),
    DataClass.KEPT_ANSWERS: (
        ("answer to a request of the customer's program, encrypted; keyed hash of the request",),
        "to carry a request that is sent again out once, and to answer it as before",
        "pseudonymous",
        "the answer",
    ),
    DataClass.CONSOLE_SESSIONS: (
        ("hash of a random number, person, last use, end",),
        "to keep the customer's people signed in to the console",
        _OF_PEOPLE,
        "the end of the session",
    ),
    DataClass.EXPIRED_TOKENS: (
        ("tokens, as above, whose validity is over",),
        "for the customer's own records",
        "no",
        "end of the validity",
    ),
    DataClass.EXPIRED_PASSWORDS: (
        ("passwords, as above, whose validity is over",),
        "for the customer's own records",
        "pseudonymous",
        "end of the validity",
    ),
    DataClass.REVOKED_PASSWORDS: (
        ("passwords, as above, that were revoked; nothing readable of those that were erased",),
        "for the customer's own records",
        "pseudonymous",
        "the revocation",
    ),
    DataClass.NAMED_VIEWERS: (
        (
            "opaque name that a link or token of the customer's site has for a viewer, encrypted",
            "keyed hash of the name, to find it",
        ),
        "to count the viewer's devices, and to keep out whom the customer sends away",
        "pseudonymous",
        "the end of the viewer's last session",
    ),
    DataClass.ATTENDANCE_LOG: (
        (
            "hashes of events of attendance, each with a random number that is gone with the event",
            "when the server was down, or its clock was set, while attendance was recorded",
            "how many of these there were at a time and one hash of them all, signed, and who has seen that",
        ),
        "to show that no event was added, changed or left out",
        "no",
        None,
    ),
    DataClass.ATTENDANCE: (
        (
            "of streams whose attendance the customer has recorded: which segment, playlist, key or"
            " download was delivered when to which password's session; sealed an hour later",
            "of streams with beacons: what the page says of itself, as playing or paused, the position, the"
            " speed and whether it is hidden; which presence checks were shown, and answered",
            "of streams that cannot be skipped ahead: how far each password has come, and when",
        ),
        "to confirm attendance, where the customer has accepted that purpose",
        "pseudonymous",
        "the hour of the event",
    ),
    DataClass.ATTENDANCE_INTERVALS: (
        ("what has been computed of these events: when each password has watched; encrypted",),
        "to show attendance without computing all of it again",
        "pseudonymous",
        "the hour of the first of the events",
    ),
    DataClass.ATTENDANCE_REPORTS: (
        (
            "sealed reports of the customer's events, and others that it has had sealed: how long each"
            " password has watched, and when, and what the password and its label were; encrypted",
            "which of them are held until a time, and why",
        ),
        "to show later what was certified, and what was corrected",
        "pseudonymous",
        "the sealing of the report's last version, or the end of a hold where that is later",
    ),
    DataClass.ATTENDANCE_DAILY_REPORTS: (
        (
            "the same of days of streams that are in no event, and of which the server has sealed a report by"
            " itself",
        ),
        "to show later when somebody has watched, when what it was computed from is deleted",
        "pseudonymous",
        "the sealing of the report, or the end of a hold where that is later",
    ),
    DataClass.REMOVED_STREAMS: (
        ("title and settings of streams that were removed",),
        "to name what traffic and the audit log are about",
        "no",
        "the removal",
    ),
    DataClass.ERASURES: (
        ("random references of keys that were destroyed, day",),
        "to keep what was erased from coming back with a backup",
        "no",
        "the erasure",
    ),
    DataClass.INCIDENTS: (
        (
            "of an attack on the server, as floods and guessing of passwords: network addresses of those who"
            " take part, times and counts, encrypted",
        ),
        "to fend the attack off, and to report it",
        "of attackers",
        "the attack's beginning, or the end of a hold",
    ),
    DataClass.INCIDENT_RECORDS: (
        ("kind, time and size of attacks, and who had the record in hand; no attacker",),
        "to prove who had evidence in hand",
        "of the operator's people",
        "the attack's beginning",
    ),
    DataClass.KEY_BACKUPS: (
        ("keys of encrypted records, themselves encrypted",),
        "to survive the loss of a disk",
        "no",
        "the backup",
    ),
    DataClass.PROOFS: (
        ("how much was deleted, when; no name",),
        "to prove deletion (Art. 5(2) GDPR)",
        "no",
        "the deletion",
    ),
}
_MEMORY = (
    (
        "network address",
        "to send what was asked for; where the customer has bound a film to networks or countries, to"
        " compare it with these",
        "the end of the connection",
    ),
    (
        "first part of the network address (IPv4: 24 bits, IPv6: 48 bits) of whoever typed a wrong"
        " password, came with a link or token that opens nothing, or failed to sign in to the console",
        "to slow guessing down",
        "some minutes later",
    ),
    (
        "site in whose page a film is shown (Origin, Referer, or what our page says)",
        "to show it on those sites alone that the customer has named",
        "the answer",
    ),
    (
        "what the customer's site has said about a token: whether it lets in, and the opaque name",
        "to ask about the same token once",
        "as long as the customer has set, an hour at most",
    ),
    (
        "when a session last asked for something, and how fast it may go on",
        "to end idle sessions, to count devices, to keep the pace",
        "the end of the session",
    ),
)
_LOG = "what the server does and what fails, by stream; nothing of a viewer"
_LOG_OF_REQUESTS = (
    "of each request its time, kind, stream, status, bytes and duration; nothing of a viewer"
)
_ADDRESS = "network address"
_NEVER_BUT_OF_ATTACKERS = "network address of whoever does not attack the server"
_NEVER = (
    _ADDRESS,
    "kind of browser or device (User-Agent)",
    "referring page",
    "query of an address",
    "name or mail address of a viewer",
    "cookie or any other identifier that outlasts a session",
)
_BROWSER = (
    "how far a film was watched, in the viewer's own browser alone, unless switched off there",
    "the session's link, until the tab is closed",
)


def notice(practice: Practice, language: str, streams: Iterable[StreamSettings] = ()) -> str:
    """A block of text for a customer's privacy notice, in paragraphs; `language` is one of
    `LANGUAGES`. It says what pystream does, and of `streams` what is switched on of attendance; whose viewers
    they are and on what ground, the customer has to add."""
    texts = _NOTICES[language]
    rules = practice.rules
    recorded = [each for each in streams if each.attendance]
    told = [
        texts[name]
        for name, is_told in (
            ("beacons", any(each.beacons for each in recorded)),
            ("checks", any(each.check_minutes is not None for each in recorded)),
            ("no_skip", any(each.no_skip for each in recorded)),
            ("asked", practice.asks_with_address is True),
            ("asked_in_part", practice.asks_with_address == "truncated"),
            ("attacks", practice.records_attacks),
        )
        if is_told
    ]
    values = {
        "sessions": rules.sessions,
        "expired": rules.expired_passwords,
        "revoked": rules.revoked_passwords,
        "hours": rules.traffic_hours,
        "attendance": rules.attendance,
        "incidents": rules.incidents,
        # A backup is older than its days for as long as it takes to be noticed.
        "backups": rules.key_backups + 1,
    }
    return "\n\n".join(part.format(**values) for part in (*texts["text"].split("\n\n"), *told))


_NOTICES: Final = {
    "en": {
        "text": """\
Our films are delivered with the software pystream. It is made to know nobody: it stores no network \
address, no kind of browser or device, no page that you come from, and it sets no cookies. Your \
browser is sent to no third party.

While you watch, your network address is used in memory to send you the film, and is gone when the \
connection ends. Of whoever types a wrong password, or comes with a link that opens nothing, the first \
part of the address is remembered in memory for some minutes, so that nobody can try without end. \
Neither is written anywhere.

Where a film does not open to everybody, we store for each visit a random number, the film, which \
password or link was used, begin and end, and the version of this notice that you were shown. We \
need it so that you can go on watching and so that a password is used on as many devices only as it \
may be. It is deleted {sessions} days after the end of the visit. Passwords are stored encrypted; \
only we know whom we gave which. They are deleted {expired} days after their validity has ended, or \
{revoked} days after they were taken back. When a password is erased earlier, its key is destroyed \
at once, and the last backup of the key is gone after {backups} days.

Where our own site lets you in, it may name you by a number of its own. That is stored encrypted like a \
password, and deleted with the last of your visits.

Where attendance of a film is recorded, which you are told before, we also store when which part of it \
was delivered to which password, to confirm how long you have watched. That is stored encrypted, and \
deleted after {attendance} days, or when the password is erased.

How much was sent is counted by film and hour, and after {hours} days by film and month. That says \
nothing of any person.

Your own browser remembers how far you have watched. You can switch that off in the player.""",
        "beacons": """\
Of some of these films the page also says what it plays: every ten seconds whether the film plays, where, \
how fast, and whether the page is hidden. Only what was playing is confirmed then.""",
        "checks": """\
Of some of them it asks now and then whether you are there; we store when it has asked, and whether there \
was an answer.""",
        "no_skip": """\
Of some of them nobody can skip ahead; for that we store how far was watched with each password.""",
        "asked": """\
Before you are let in, our own site may be asked whether you may watch, and is told your network \
address then.""",
        "asked_in_part": """\
Before you are let in, our own site may be asked whether you may watch, and is told the first part of your \
network address then, which you have in common with your neighbours in the network.""",
        "attacks": """\
There is one exception: of those who attack the server, as by flooding it with requests or by guessing \
passwords, network addresses are stored from when the attack was noticed, with times and counts, to fend it \
off and to report it. They are stored encrypted, and their key is destroyed after {incidents} days, unless \
two persons keep them for the authorities.""",
    },
    "de": {
        "text": """\
Unsere Filme werden mit der Software pystream ausgeliefert. Sie ist so gebaut, dass sie niemanden \
kennt: Sie speichert keine Netzadresse, keine Angabe zu Browser oder Gerät, keine Seite, von der Sie \
kommen, und sie setzt keine Cookies. Ihr Browser wird zu keinem Dritten geschickt.

Während Sie zusehen, wird Ihre Netzadresse im Arbeitsspeicher benutzt, um Ihnen den Film zu senden; \
mit dem Ende der Verbindung ist sie fort. Wer ein falsches Passwort eingibt oder mit einem Link kommt, \
der nichts öffnet, von dessen Adresse bleibt der vordere Teil für einige Minuten im Arbeitsspeicher, \
damit niemand endlos ausprobieren kann. Beides wird nirgends aufgeschrieben.

Steht ein Film nicht allen offen, so speichern wir zu jedem Besuch eine Zufallszahl, den Film, das \
benutzte Passwort oder den benutzten Link, Beginn und Ende sowie die Fassung dieses Hinweises, die \
Ihnen gezeigt wurde. Das ist nötig, damit Sie weitersehen können und ein Passwort nur auf so vielen \
Geräten benutzt wird, wie es darf. Gelöscht wird es {sessions} Tage nach dem Ende des Besuchs. \
Passwörter sind verschlüsselt gespeichert; nur wir wissen, wem wir welches gegeben haben. Gelöscht \
werden sie {expired} Tage nach dem Ende ihrer Gültigkeit oder {revoked} Tage, nachdem sie \
zurückgenommen wurden. Wird ein Passwort früher getilgt, so wird sein Schlüssel sofort vernichtet, \
und nach {backups} Tagen ist auch die letzte Sicherung des Schlüssels gelöscht.

Lässt unsere eigene Seite Sie ein, so kann sie Sie mit einer eigenen Nummer benennen. Diese wird wie ein \
Passwort verschlüsselt gespeichert und mit dem letzten Ihrer Besuche gelöscht.

Wird zu einem Film die Anwesenheit aufgezeichnet, worauf Sie vorher hingewiesen werden, so speichern \
wir auch, wann welcher Teil davon an welches Passwort ausgeliefert wurde, um zu bestätigen, wie lange \
Sie zugesehen haben. Das ist verschlüsselt gespeichert und wird nach {attendance} Tagen gelöscht, oder \
wenn das Passwort getilgt wird.

Wie viel gesendet wurde, wird je Film und Stunde gezählt, nach {hours} Tagen nur noch je Film und \
Monat. Das sagt nichts über einzelne Personen.

Ihr eigener Browser merkt sich, wie weit Sie gesehen haben. Das können Sie im Player abschalten.""",
        "beacons": """\
Bei einigen dieser Filme sagt die Seite auch, was sie abspielt: alle zehn Sekunden, ob der Film läuft, wo, \
wie schnell, und ob die Seite verdeckt ist. Bestätigt wird dann nur, was lief.""",
        "checks": """\
Bei einigen davon fragt sie ab und zu, ob Sie da sind; gespeichert wird, wann sie gefragt hat und ob \
geantwortet wurde.""",
        "no_skip": """\
Bei einigen davon kann nicht vorgespult werden; dazu speichern wir, wie weit mit jedem Passwort \
gesehen wurde.""",
        "asked": """\
Bevor Sie eingelassen werden, kann unsere eigene Seite gefragt werden, ob Sie zusehen dürfen; dabei \
wird ihr Ihre Netzadresse genannt.""",
        "asked_in_part": """\
Bevor Sie eingelassen werden, kann unsere eigene Seite gefragt werden, ob Sie zusehen dürfen; dabei \
wird ihr der vordere Teil Ihrer Netzadresse genannt, den Sie mit Ihren Nachbarn im Netz gemeinsam haben.""",
        "attacks": """\
Eine Ausnahme gibt es: Von denen, die den Server angreifen, etwa mit einer Flut von Anfragen oder durch \
Ausprobieren von Passwörtern, werden die Netzadressen ab dem Erkennen des Angriffs mit Zeiten und Zahlen \
gespeichert, um ihn abzuwehren und anzuzeigen. Sie sind verschlüsselt, und ihr Schlüssel wird nach \
{incidents} Tagen vernichtet, wenn nicht zwei Personen sie für die Behörden aufbewahren.""",
    },
}
