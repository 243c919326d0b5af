"""What all tests share: options, the rule for outside oracles, hypothesis' settings."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.browser.chromium import Chromium

if TYPE_CHECKING:
    from tests.databases import Databases, Patterns

# Who started the tests may not have wanted to hear of it (nohup, or a script's `&`); what they start
# has to.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# A slow machine is no failure: no test has a deadline.
hypothesis.settings.register_profile("pystream", deadline=None, print_blob=True)
hypothesis.settings.load_profile("pystream")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="rewrite the golden files from what the code gives now; read the diff",
    )


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("needs"):
        for tool in marker.args:
            if shutil.which(tool) is None:
                _missing(tool)


def _missing(tool: str) -> None:
    # CI installs the tools, so a skip there would be a test that nobody ever runs.
    if os.environ.get("CI"):
        pytest.fail(f"{tool} is missing, and CI must not skip what needs it", pytrace=False)
    pytest.skip(f"{tool} is not installed")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL of its own, at a unix socket in a folder, whose path it gives."""
    # Imports what a packager's machine may not have.
    from tests import postgresql

    with postgresql.folder() as folder:
        postgresql.initialise(f"{folder}/data")
        with postgresql.serving(f"{folder}/data", folder):
            yield folder


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("pg_ctlcluster"))]
)
def databases(request: pytest.FixtureRequest, tmp_path: Path) -> Databases:
    """Of each kind, one after the other."""
    from tests.databases import Postgresql, Sqlite

    if request.param == "sqlite":
        return Sqlite(tmp_path)
    return Postgresql(request.getfixturevalue("postgres"))


@pytest.fixture
def empty(databases: Databases) -> str:
    """A database without tables."""
    return databases.empty()


@pytest.fixture(scope="session")
def patterns(tmp_path_factory: pytest.TempPathFactory) -> Patterns:
    """What is made once, for each kind of database, and copied for each test."""
    from tests.databases import Patterns

    return Patterns(tmp_path_factory)


@pytest.fixture
def url(databases: Databases, patterns: Patterns) -> str:
    """A database that has all tables, and nothing in them."""
    from tests.databases import migrated

    return databases.like(patterns.of(databases, migrated).url)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    """A browser for the tests of a file."""
    running = Chromium()
    yield running
    running.close()
