"""That the side-by-side runs of servers compare what they say. No time is asserted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks import inputs, origin, servers
from benchmarks.origin import Bench, Turn
from benchmarks.servers import Server, Unavailable
from pystream.rehearsal import players, watching


def turn(cpu: float, requests: int = 100, nbytes: int = 10**9, **more: Any) -> Turn:
    usual = {"seconds": 2.0, "requests": requests, "bytes": nbytes, "errors": {}, "ciphers": {}}
    return Turn({**usual, **more}, cpu)


def line(ours: list[Turn], theirs: list[Turn], limit: float, at_least: bool) -> origin.Line:
    return origin.compared(
        "what",
        (ours, theirs),
        unit="u",
        value=(lambda t: 1 / t.per_request) if at_least else (lambda t: t.per_gb),
        limit=limit,
        at_least=at_least,
    )


def test_a_ratio_is_taken_pair_by_pair() -> None:
    """So a machine that gets slower in the middle changes nothing."""
    found = line([turn(1.0), turn(2.0), turn(40.0)], [turn(2.0), turn(4.0), turn(80.0)], 0.5, False)
    assert (found.ratio, found.met) == ("0.50", True)
    assert found.ours == "2.000 u"
    assert found.remark == "busy 100%/200%"


@pytest.mark.parametrize(
    ("at_least", "limit", "met"),
    [(False, 0.6, True), (False, 0.4, False), (True, 1.9, True), (True, 2.1, False)],
)
def test_what_is_wanted(at_least: bool, limit: float, met: bool) -> None:
    """Half of the processor time is twice as many requests in a second of it."""
    found = line([turn(1.0)], [turn(2.0)], limit, at_least)
    assert (found.ratio, found.met) == ("2.00" if at_least else "0.50", met)


def test_a_row_without_its_peer_says_so() -> None:
    missing = Unavailable("nginx is not installed")
    found = origin.compared(
        "w", ([turn(1.0)], []), unit="u", value=lambda t: t.cpu, limit=1, missing=missing
    )
    assert (found.theirs, found.ratio, found.met) == ("nginx is not installed", "", None)


def test_errors_and_ciphers_are_told() -> None:
    wrong = turn(1.0, errors={"status 503": 3}, ciphers={"TLSv1.3 A": 50})
    other = turn(1.0, ciphers={"TLSv1.3 B": 50})
    remark = line([wrong], [other], 1.0, False).remark
    assert remark.endswith("pystream: status 503; TLSv1.3 A; TLSv1.3 B")


def test_percentiles_of_what_came_meanwhile() -> None:
    before = {0.001: 1000.0, 0.01: 1000.0, float("inf"): 1000.0}
    after = {0.001: 1980.0, 0.01: 1995.0, float("inf"): 2000.0}
    assert origin._percentile(before, after, 0.98) == 0.001
    assert origin._percentile(before, after, 0.99) == 0.01
    assert origin._percentile({}, {}, 0.99) is None
    assert origin._percentile(after, after, 0.99) is None


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    arguments = ["--small", "--seconds", "0.3", "--turns", "2"]
    # CI has as many processors as it has.
    cores = [str(core) for core in sorted(os.sched_getaffinity(0))]
    arguments += ["--server-core", cores[-1], "--client-core", cores[0]]
    return Bench(origin._parser().parse_args(arguments), tmp_path)


@contextmanager
def nginx(root: Path, folder: Path, **options: Any) -> Iterator[Server]:
    try:
        with servers.nginx(root, folder, **options) as server:
            yield server
    except Unavailable as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


def test_nginx_is_measured(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(100_000))
    with nginx(tmp_path, tmp_path) as server:
        pairs = bench.pairs(
            (server, [f"{server.clear}/a"]), (server, [f"{server.secure}/a"]), *FOUR
        )
        assert len(server.workers()) == 1
        assert server.rss() > 1_000_000
    for side in pairs:
        assert len(side) == 2
        for one in side:
            assert not one.load["errors"]
            assert one.load["bytes"] > 100_000 * one.load["requests"] > 0
            assert one.cpu > 0
    assert not Path(f"/proc/{server.process.pid}").exists()


FOUR = ("--connections", "4")


def test_what_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYSTREAM_BENCH_NGINX", "/nonexistent/nginx")
    monkeypatch.delenv("PYSTREAM_BENCH_VOD", raising=False)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with (
        pytest.raises(Unavailable, match="nginx is not installed"),
        servers.nginx(tmp_path, tmp_path),
    ):
        pass
    with pytest.raises(Unavailable, match="PYSTREAM_BENCH_VOD"):
        servers.vod_module()


def test_a_program_that_ends_is_no_server(tmp_path: Path) -> None:
    words = "import sys; sys.exit('no such luck')"
    command = [sys.executable, "-c", words]
    with (
        pytest.raises(Unavailable, match="it does not start: no such luck"),
        servers._running("it", command, None, tmp_path, *servers.free_ports(2)),
    ):
        pass


def test_processor_time_is_all_processes(tmp_path: Path) -> None:
    """Of a server that has its work done by another process."""
    work = "sum(range(10_000_000)); print(flush=True); import sys; sys.stdin.read()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}])"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        server = Server("s", process, "", "")
        assert server.cpu() > watching.cpu(process.pid)
        assert len(server.pids()) == 2
    finally:
        process.communicate()


def test_tcp_memory_is_bytes() -> None:
    assert watching.tcp_memory() % os.sysconf("SC_PAGE_SIZE") == 0


def test_pystream_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """The whole of it, with the row that needs the least time."""
    assert origin.main(["half-day", "--small", "--turns", "1"]) == 0
    out = capsys.readouterr().out
    assert "playlist of a 12-hour film" in out
    assert "not measured" not in out


def test_a_row_that_is_none_is_named_before_anything_is_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert origin.main(["half-day", "half-night", "--small"]) == 2
    assert "no such row: half-night. There are playlist, made, " in capsys.readouterr().err


def test_who_asks_for_nothing_gets_it_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert origin.main(["unknown", "--small", "--unknown", "2000"]) == 0
    out = capsys.readouterr().out
    assert "2,000 unknown paths" in out and "not measured" not in out


def test_bytes_are_those_of_the_traffic(tmp_path: Path) -> None:
    """What viewers have counted is what `pystream traffic` says, to the byte."""
    film = Bench.stream(inputs.film(small=True))
    with servers.pystream({"film": film}, tmp_path, workers=2) as server:
        tally = players.play(
            servers.entrance(server, "film"), players.Playing(5, 1.0, stall=0.2, ramp=0.0)
        )
        assert not tally.errors
        [store] = tmp_path.glob("pystream-*/store.db")
        command = [sys.executable, "-m", "pystream", "traffic", servers.TENANT, "--json"]
        wanted = {kind: tally.nbytes[kind] for kind in ("playlist", "key", "segment")}
        found: dict[str, int] = {}
        for _ in range(60):
            done = subprocess.run(
                [*command, "--store", f"sqlite:///{store}"], capture_output=True, text=True
            )
            found = {row["kind"]: row["bytes"] for row in json.loads(done.stdout)["rows"]}
            if found == wanted:
                break
    assert found == wanted
