"""What all tests share: options, the rule for outside oracles, hypothesis' settings."""

from __future__ import annotations

import os
import shutil
import signal

import hypothesis
import pytest

# Who started the tests may not have wanted to hear of it (nohup); what they start has to.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

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
