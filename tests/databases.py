"""Databases of tests: what takes long to make is made once, and each test has a copy."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Generic, TypeVar

import pytest

from pystream.acl.store import Store


class Databases(ABC):
    """Where the databases of a test are made."""

    @abstractmethod
    def empty(self) -> str:
        """A new one, with no tables."""

    @abstractmethod
    def beside(self, folder: Path) -> Databases:
        """Others of the same kind, which last longer than a test; in a folder, if they are files."""

    @abstractmethod
    def like(self, url: str) -> str:
        """A new one that has what that one has, which nobody may have open."""


class Sqlite(Databases):
    """In a folder, one file after the other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = (f"store{n or ''}.db" for n in count())

    def empty(self) -> str:
        return f"sqlite:///{self._folder / next(self._names)}"

    def beside(self, folder: Path) -> Databases:
        return Sqlite(folder)

    def like(self, url: str) -> str:
        made = self.empty()
        # With its mode. Its write-ahead log went into it when the last one closed it.
        shutil.copy(_path(url), _path(made))
        return made


def _path(url: str) -> str:
    return url.removeprefix("sqlite:///")


class Postgresql(Databases):
    """At a server, by the folder of its socket."""

    _numbers = count(1)

    def __init__(self, socket: str) -> None:
        self._socket = socket

    def empty(self) -> str:
        return self._made("")

    def beside(self, _: Path) -> Databases:
        return self

    def like(self, url: str) -> str:
        name = url.removeprefix("postgresql://pystream@/").partition("?")[0]
        return self._made(f" TEMPLATE {name}")

    def _made(self, more: str) -> str:
        # Imports what a packager's machine may not have.
        from tests import postgresql

        name = f"test{next(self._numbers)}"
        postgresql.execute(postgresql.url(self._socket), f"CREATE DATABASE {name}{more}")
        return postgresql.url(self._socket, name)


T = TypeVar("T")


@dataclass(frozen=True)
class Pattern(Generic[T]):
    """A database that is copied, the folder of what belongs to it, and what its maker knows of it."""

    url: str
    folder: Path
    known: T


class Patterns:
    """Those of this process, each made when it is first asked for."""

    def __init__(self, folders: pytest.TempPathFactory) -> None:
        self._folders = folders
        self._made: dict[Any, Pattern[Any]] = {}

    def of(self, databases: Databases, fill: Callable[[Path, str], T]) -> Pattern[T]:
        """What `fill` makes in a folder and an empty database, which it closes."""
        key = type(databases), fill
        if key not in self._made:
            folder = self._folders.mktemp("pattern")
            url = databases.beside(folder).empty()
            self._made[key] = Pattern(url, folder, fill(folder, url))
        return self._made[key]


def migrated(_: Path, url: str) -> None:
    Store.open(url).close()


@cache
def _tables() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        Store.open(str(path)).close()
        return path.read_bytes()


def with_tables(url: str) -> str:
    """The same URL. SQLite's file, where it is not there yet, is one now that has all tables."""
    path = _path(url)
    if "://" not in path and not os.path.exists(path):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(_tables())
    return url
