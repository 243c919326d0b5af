"""The rule for outside oracles: a missing tool skips a test, in CI it fails it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

NEEDY = """
import pytest

@pytest.mark.needs("python3", "pystream-no-such-tool")
def test_with_an_oracle(): ...
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ci", "status", "sentence"),
    [
        ("", 0, "pystream-no-such-tool is not installed"),
        ("true", 1, "pystream-no-such-tool is missing, and CI must not skip what needs it"),
    ],
)
def test_a_missing_tool(ci: str, status: int, sentence: str, tmp_path: Path) -> None:
    needy = tmp_path / "test_needy.py"
    needy.write_text(NEEDY)
    plain = ["-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), "-rs"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.conftest", *plain, str(needy)],
        cwd=ROOT,
        env={**os.environ, "CI": ci},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout
    assert sentence in done.stdout
