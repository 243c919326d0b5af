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
watched. Its purpose is to \
confirm attendance to the holders of the passwords, and to nobody else about them. You know alone who \
holds a password; you have told these people before they begin, on a legal ground of your own, and the \
records are used for no other purpose, such as judging their performance. The events are sealed for each \
password and hour, are deleted when their time is over, and earlier where you erase the password.""",
    "de": """\
Für jeden Film, für den Sie die Anwesenheit einschalten, zeichnet dieser Server auf, wann welches \
Segment des Films, seine Abspielliste, sein Schlüssel oder seine Datei an welches Passwort ausgeliefert \
wurde, als Nachweis, wie lange mit diesem Passwort \
zugesehen wurde. Zweck ist, den Inhabern der Passwörter die Teilnahme zu bestätigen, und sonst niemandem \
etwas über sie. Wem ein Passwort gehört, wissen allein Sie; Sie haben diese Personen vor dem Beginn \
unterrichtet, auf einer eigenen Rechtsgrundlage, und die Aufzeichnungen dienen keinem anderen Zweck, \
etwa einer Leistungsbeurteilung. Die Ereignisse werden je Passwort und Stunde versiegelt, nach Ablauf \
ihrer Frist gelöscht, und früher, wenn Sie das Passwort tilgen.""",
}

TOLD: Final = """\
Zu diesem Film wird aufgezeichnet, wann welcher Teil davon an Sie ausgeliefert wird, um zu bestätigen, \
wie lange Sie zugesehen haben.

Of this film it is recorded when which part of it is delivered to you, to confirm how long you have \
watched."""
"""What viewers read before it is. It is a part of the notice, and as that is of no one language, in both."""

VERSION: Final = sha256("\n\n".join(TEXTS[name] for name in sorted(TEXTS)).encode()).hexdigest()[
    :16
]
