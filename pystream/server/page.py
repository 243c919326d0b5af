"""The page's own files."""

from __future__ import annotations

from collections.abc import Mapping


def assets() -> Mapping[str, tuple[str, bytes]]:
    return {}
