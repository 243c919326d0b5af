"""That the side-by-side runs measure and check what they say. No time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import inputs, peers, tools
from benchmarks.tools import Job

MB = 1_000_000


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def test_a_run_is_measured() -> None:
    idle = peers.run(python("pass"))
    # Freed again: it is the peak that counts.
    busy = peers.run(python("b = bytes(1) * 200_000_000; del b; sum(range(3_000_000))"))
    assert busy.peak > 200 * MB > idle.peak
    assert busy.cpu > idle.cpu > 0


def test_others_are_told_apart() -> None:
    """A run beside a busy neighbour is not quiet, and its own time is not its neighbour's."""
    neighbour = subprocess.Popen(python("while True: pass"))
    try:
        run = peers.run(python("sum(range(20_000_000))"))
    finally:
        neighbour.kill()
        neighbour.wait()
    assert run.others > 0.1 * run.wall
    assert not run.quiet
    assert peers.Run(wall=1, cpu=2, peak=1, others=0.05).quiet


def test_the_caller_s_memory_is_not_counted() -> None:
    ballast = bytes(1) * (200 * MB)
    assert peers.run(python("pass")).peak < 100 * MB < len(ballast)


def test_a_command_that_fails() -> None:
    with pytest.raises(peers.CommandFailed, match="exit code 3: no such luck"):
        peers.run(python("import sys; print('no such luck', file=sys.stderr); sys.exit(3)"))
    with pytest.raises(peers.CommandFailed, match="cannot be started"):
        peers.run(["/nonexistent/packager"])


@pytest.fixture
def bench(tmp_path: Path) -> peers.Bench:
    arguments = ["--small", "--no-peers", "--runs", "2", "--patience", "0"]
    arguments += ["--output", str(tmp_path)]
    return peers.Bench(peers._parser().parse_args(arguments))


CLIP = peers.Case("clip", inputs.clip, Job("ts", True))


def test_a_case(bench: peers.Bench, tmp_path: Path) -> None:
    [row] = bench.case(CLIP)
    assert (row.tool, row.output, row.good) == ("pystream", "verified", True)
    assert len(row.runs) == len(row.cp_walls) == 2
    assert row.source_bytes == inputs.clip(small=True).stat().st_size
    assert list(tmp_path.iterdir()) == []


def lossy(program: str, sources: object, out: Path, keys: Path, job: Job) -> list[str]:
    """A packager that loses the last segment."""
    code = (
        "import subprocess, sys; from pathlib import Path; out = Path(sys.argv[1]);"
        "subprocess.run(sys.argv[2:], check=True); last = sorted(out.rglob('*.ts'))[-1];"
        "last.write_bytes(last.read_bytes()[188:])"
    )
    job = Job("ts", False)
    line = tools._pystream(program, list(sources), out, keys, job)  # type: ignore[call-overload]
    return [*python(code)[:-1], code, str(out), *(line or [])]


def test_wrong_output_is_told(bench: peers.Bench) -> None:
    own = bench.pystream
    bench.peers = [tools.Tool("lossy", own.program, "1", lossy)]
    good, bad = bench.case(CLIP)
    assert good.good and not bad.good
    assert bad.output.startswith("differs: ")


def test_a_packager_that_fails_or_declines(bench: peers.Bench) -> None:
    bench.peers = [
        tools.Tool("broken", "false", "1", lambda *_: ["false"]),
        tools.Tool("modest", "true", "1", lambda *_: None),
    ]
    _, broken, modest = bench.case(CLIP)
    assert broken.cells() == ["broken", *"-----", "failed: exit code 1"]
    assert modest.cells() == ["modest", *"-----", "does not do it"]


def test_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    arguments = ["--small", "--no-peers", "--only", "clip|opening|segment", "--markdown"]
    code = peers.main([*arguments, "--output", str(tmp_path), "--json", str(report)])
    assert code == 0
    found = json.loads(report.read_text())
    assert [(job["tool"], job["output"]) for job in found["jobs"]] == [("pystream", "verified")]
    assert len(found["figures"]) == 3
    assert "| pystream |" in capsys.readouterr().out


def test_inputs_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And made anew where the recipe changes."""
    monkeypatch.setenv("PYSTREAM_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    ffmpeg = tmp_path / "ffmpeg"
    ffmpeg.write_text('#!/bin/sh\nfor last; do :; done\necho "$@" > "$last"\n')
    with pytest.raises(inputs.MissingTool):
        inputs.clip()
    ffmpeg.chmod(0o755)
    made = inputs.clip()
    ffmpeg.unlink()
    assert inputs.clip() == made
    assert not list(made.parent.glob("*.partial"))
    monkeypatch.setattr(inputs, "_GOP", 48)
    with pytest.raises(inputs.MissingTool):
        inputs.clip()
