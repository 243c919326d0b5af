"""What the two kinds of databases do in words of their own."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from sqlalchemy import Table


def inserting(dialect: str, table: Table) -> Any:
    """The dialect's own INSERT, which knows ON CONFLICT."""
    # A node on SQLite has no use for PostgreSQL's, which is a tenth of what all of its modules take to load.
    module: Any = import_module(f"sqlalchemy.dialects.{dialect}")
    return module.insert(table)
