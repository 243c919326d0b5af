"""What goes on record: who changed what, who saw how many passwords or reports, who came in, or
tried to.

The record says who, what and how many, and never the content: no password, label or name of a viewer
is in it, so nothing of what was erased can be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from pystream.errors import InvalidValue


class Kind(StrEnum):
    """What an entry tells of. The values are the store's: they never change."""

    CHANGE = "change"
    VIEW = "view"
    """Somebody has seen passwords or reports."""
    ACCESS = "access"
    """Somebody has signed in as a person, or has tried to."""


ALL_KINDS: Final = frozenset(Kind)

OPERATORS: Final = frozenset(("sources", "download_source"))
"""Values that a tenant is not told: where films lie on the server is its operator's affair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that somebody did. `at` is in Unix seconds; `who` is whom a command's user says to be,
    `person:NAME` or `token:NAME`. `values` has (before, after) by what it is about; all before is None
    where something was added. `stream` is None where it is about the tenant as a whole."""

    id: int
    at: int
    who: str
    kind: Kind
    tenant: str
    stream: str | None
    values: Mapping[str, tuple[Any, Any]]


def check_who(who: str) -> None:
    """Raises `InvalidValue` for what is no name on record."""
    if not who or len(who) > 200 or not who.isprintable():
        raise InvalidValue("who changes settings has to be said, in at most 200 characters")
