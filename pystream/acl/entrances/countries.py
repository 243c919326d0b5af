"""Which country an address is in, by a file that the operator brings.

The file is a MaxMind DB (MaxMind DB File Format Specification 2.0) of countries or cities, MaxMind's or
another's. It is read into memory once: a file that is replaced or cut meanwhile is nobody's trouble. An
address is looked up and forgotten, and only the country is handed on.
"""

from __future__ import annotations

import re
from pathlib import Path

from pystream.acl.entrances.conditions import address as parsed_address
from pystream.errors import InvalidValue

_COUNTRY = re.compile(r"[A-Z]{2}")
# What a reader trips over in a database that is not what it says, beside its own error.
_CORRUPT = (ValueError, TypeError, LookupError, RecursionError)


class Countries:
    """A database of countries. Any thread may ask it at any time."""

    def __init__(self, path: Path) -> None:
        """Raises `InvalidValue` for a file that is no such database, or cannot be read."""
        # Who asks for no country does without it.
        from maxminddb import MODE_MEMORY, InvalidDatabaseError, Reader

        self._corrupt = (InvalidDatabaseError, *_CORRUPT)
        try:
            self._reader = Reader(path, MODE_MEMORY)
        except OSError as error:
            raise InvalidValue(f"{path}: {error.strerror}") from None
        except self._corrupt:
            raise InvalidValue(
                f"{path}: this is no MaxMind database (.mmdb); get one that knows countries"
            ) from None

    def country(self, address: str | None) -> str | None:
        """Its country (ISO 3166-1 alpha-2), or None where that is not known."""
        parsed = parsed_address(address)
        if parsed is None:
            return None
        try:
            record = self._reader.get(parsed)
        except self._corrupt:
            return None
        return _code(record)


def _code(record: object) -> str | None:
    """MaxMind has `country.iso_code`; others have the code in `country` or `country_code`."""
    if not isinstance(record, dict):
        return None
    found = record.get("country", record.get("country_code"))
    if isinstance(found, dict):
        found = found.get("iso_code")
    return found if isinstance(found, str) and _COUNTRY.fullmatch(found) else None
