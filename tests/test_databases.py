"""Databases of tests: each has its own, though one was made."""

from __future__ import annotations

from pathlib import Path

from pystream.acl.store import Store
from pystream.acl.streams import TenantSettings
from tests.databases import Databases, Patterns, with_tables

MADE: list[str] = []


def with_acme(_: Path, url: str) -> str:
    MADE.append(url)
    with Store.open(url) as store:
        return store.add_tenant("acme", TenantSettings(), who="eva", now=1).name


def names(url: str) -> list[str]:
    with Store.open(url) as store:
        assert store.made is None
        return [each.name for each in store.tenants()]


def test_a_database_has_all_tables_and_nothing_in_them(url: str) -> None:
    assert names(url) == []


def test_an_empty_one_has_none(empty: str) -> None:
    with Store.open(empty) as store:
        assert store.made is not None


def test_a_copy_has_what_was_made_once_and_is_nobody_elses(
    databases: Databases, patterns: Patterns
) -> None:
    made = len(MADE)
    pattern = patterns.of(databases, with_acme)
    assert patterns.of(databases, with_acme) is pattern
    assert MADE[made:] == [pattern.url] and pattern.known == "acme"
    one, other = databases.like(pattern.url), databases.like(pattern.url)
    with Store.open(one) as store:
        store.add_tenant("mine", TenantSettings(), who="eva", now=1)
    assert names(one) == ["acme", "mine"]
    assert names(other) == names(pattern.url) == ["acme"]


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    path = str(tmp_path / "store.db")
    assert names(with_tables(path)) == []
    assert Path(path).stat().st_mode & 0o777 == 0o600
    with_acme(tmp_path, path)
    assert names(with_tables(path)) == ["acme"]
