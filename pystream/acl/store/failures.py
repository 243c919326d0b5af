"""Failed tries to sign in, on record: of a person who is there, how many there were, and nothing else.

Whoever tries must not learn from the time that an answer takes whether a name is anybody's. So a try is
counted in memory, and the count is written by whoever has the time: at once of the first one, after an
hour at the earliest of those that follow. So a flood is one entry an hour. Of names that are nobody's
nothing is kept, as they may be anything, a password that went into the wrong field among it.

What is counted and not yet written is lost where the process is killed.
"""

from __future__ import annotations

from threading import Lock
from typing import Final

from pystream.acl.people import Person
from pystream.acl.store.people import PeopleStore

_APART_S: Final = 3600


class Failures:
    """Usable from several threads."""

    def __init__(self, people: PeopleStore) -> None:
        self._people = people
        self._lock = Lock()
        # By number, as names may be given anew.
        self._counted: dict[int, tuple[Person, int]] = {}
        self._written: dict[int, int] = {}

    def count(self, person: Person) -> None:
        with self._lock:
            _, before = self._counted.get(person.id, (person, 0))
            self._counted[person.id] = person, before + 1

    def write(self, now: int, *, leaving: bool = False) -> None:
        """Puts on record what is due; with `leaving`, all. Raises `StoreError`, and nothing is lost then."""
        with self._lock:
            self._written = {id: at for id, at in self._written.items() if now < at + _APART_S}
            due = [id for id in self._counted if leaving or id not in self._written]
        for id in due:
            with self._lock:
                person, count = self._counted[id]
            self._people.record_failures(person, count, now)
            with self._lock:
                self._written[id] = now
                _, counted = self._counted.pop(id)
                if counted > count:
                    self._counted[id] = person, counted - count
