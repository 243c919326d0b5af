"""What `benchmarks.access` says of what it has measured."""

from __future__ import annotations

import os

import pytest

from benchmarks import access, servers
from benchmarks.servers import Server, Unavailable


def test_all_of_it_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """On next to nothing; without PostgreSQL, it says so."""
    cores = [str(core) for core in sorted(os.sched_getaffinity(0))]
    few = ["--small", "--turns", "1", "--seconds", "0.2", "--passwords", "99", "--sign-ins", "99"]
    few += ["--server-core", cores[-1], "--client-core", cores[0]]
    try:
        with access.DATABASES["PostgreSQL"](None):  # type: ignore[arg-type]
            pass
    except Unavailable:
        if os.environ.get("CI"):
            raise
        pytest.skip("PostgreSQL is not installed")
    assert access.main([*few, "grant", "attendance", "sign-in", "cards"]) == 0
    out = capsys.readouterr().out
    for said in (
        "with a session (conditions were asked at entry)",
        "that are evidence of attendance",
        "p50/p99",
        "PostgreSQL",
        "300 cards printed",
    ):
        assert said in out
    assert "not measured" not in out


def test_who_is_not_let_in_is_no_measurement() -> None:
    nobody = Server("s", None, "http://127.0.0.1:1", "", settings="/nowhere")  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match="pystream password add: "):
        access.command(nobody, "add", f"{servers.TENANT}/x")
    with pytest.raises(Unavailable, match="pystream password import: "):
        access.timed(nobody, "import", f"{servers.TENANT}/x", "--list", "/nowhere")
