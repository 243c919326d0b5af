"""What attendance is recorded for: the text that a tenant accepts before any of it is.

The tenant is the controller and decides; what it has accepted is known by the text's version, which
changes with every word.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

TEXTS: Final[Mapping[str, str]] = {
    "en": """\
For each film for which you switch attendance on, this server records when which segment of the film, \
its playlist, its key or its file was delivered to which password, as evidence of how long that password has \
watched. Where you switch on that pages say what they play, it is recorded as well whether a film plays, \
where, how fast and in a hidden page, and when the page has asked whether somebody is there, and was \
answered. Where you let nobody skip ahead, it is recorded how far each password has come. The purpose of \
all this is to confirm attendance to the holders of the passwords, and to nobody else about them. \
You know alone who holds a password; you have told these people before they begin, on a legal ground \
of your own, and the records are used for no other purpose, such as judging their performance. The \
events are sealed for each password and hour, are deleted when their time is over, and earlier where \
you erase the password. Before that the server seals reports of them by itself, of each event and of days of \
films that are in none: when each password has watched. These are kept for a time of their own, which you \
can set.""",
    "de": """\
Für jeden Film, für den Sie die Anwesenheit einschalten, zeichnet dieser Server auf, wann welches \
Segment des Films, seine Abspielliste, sein Schlüssel oder seine Datei an welches Passwort ausgeliefert \
wurde, als Nachweis, wie lange mit diesem Passwort \
zugesehen wurde. Wo Sie einschalten, dass die Seite sagt, was sie abspielt, wird auch aufgezeichnet, ob der \
Film läuft, wo, wie schnell und ob die Seite verdeckt ist, und wann sie gefragt hat, ob jemand da ist, und \
ob geantwortet wurde. Wo Sie Vorspulen ausschließen, wird aufgezeichnet, wie weit jedes Passwort gekommen \
ist. Zweck ist bei alledem, den Inhabern der Passwörter die Teilnahme zu bestätigen, und sonst niemandem \
etwas über sie. Wem ein Passwort gehört, wissen allein Sie; Sie haben diese Personen vor dem Beginn \
unterrichtet, auf einer eigenen Rechtsgrundlage, und die Aufzeichnungen dienen keinem anderen Zweck, \
etwa einer Leistungsbeurteilung. Die Ereignisse werden je Passwort und Stunde versiegelt, nach Ablauf \
ihrer Frist gelöscht, und früher, wenn Sie das Passwort tilgen. Vorher versiegelt der Server von selbst \
Berichte daraus, von jeder Veranstaltung und von Tagen der Filme, die zu keiner gehören: wann mit jedem \
Passwort zugesehen wurde. Sie werden für eine eigene Frist aufbewahrt, die Sie festlegen können.""",
}

TOLD: Final = """\
Zu diesem Film wird aufgezeichnet, wann welcher Teil davon an Sie ausgeliefert wird, um zu bestätigen, \
wie lange Sie zugesehen haben.

Of this film it is recorded when which part of it is delivered to you, to confirm how long you have \
watched."""
"""What viewers read before it is. It is a part of the notice, and as that is of no one language, in both."""

_BEACONS: Final = (
    " Die Seite sagt dem Server dazu, ob der Film läuft, wo, wie schnell, und ob sie verdeckt ist.",
    " The page tells the server for that whether the film plays, where, how fast, and whether it is hidden.",
)
_CHECKS: Final = (
    " Sie fragt ab und zu, ob Sie da sind; auch das wird aufgezeichnet.",
    " It asks now and then whether you are there, which is recorded as well.",
)
_NO_SKIP: Final = (
    " Wie weit Sie gekommen sind, wird gespeichert, denn vorgespult werden kann nicht.",
    " How far you have come is stored, since nobody can skip ahead.",
)


def told(*, beacons: bool = False, checks: bool = False, no_skip: bool = False) -> str:
    """What viewers read before anything is recorded of a film that has these switched on."""
    chosen = ((_BEACONS, beacons), (_CHECKS, checks), (_NO_SKIP, no_skip))
    more = [text for text, is_on in chosen if is_on]
    german, english = TOLD.split("\n\n")
    return "\n\n".join(
        (german + "".join(text[0] for text in more), english + "".join(text[1] for text in more))
    )


def in_language(notice: str, language: str) -> str:
    """A notice whose reader is known to read one of the two: without what it says once more in the other."""
    german, english = TOLD.split("\n\n")
    other = english if language == "de" else german
    return "\n\n".join(part for part in notice.split("\n\n") if not part.startswith(other))


VERSION: Final = sha256("\n\n".join(TEXTS[name] for name in sorted(TEXTS)).encode()).hexdigest()[
    :16
]
