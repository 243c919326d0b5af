"""What all tests share: options, the rule for outside oracles, hypothesis' settings."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import hypothesis
import pytest

from tests.browser.chromium import Chromium

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


NUMBERS = count(1)


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=pytest.mark.needs("pg_ctlcluster"))]
)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    from tests import postgresql

    folder = request.getfixturevalue("postgres")
    name = f"test{next(NUMBERS)}"
    postgresql.execute(postgresql.url(folder), f"CREATE DATABASE {name}")
    return postgresql.url(folder, name)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    """A browser for the tests of a file."""
    running = Chromium()
    yield running
    running.close()
