"""What `benchmarks.rehearsal` says of what it has measured."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import pytest

from benchmarks import rehearsal
from benchmarks.servers import Unavailable
from pystream.rehearsal import watching


def test_a_node_with_a_part_of_a_processor_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One viewer, for whom that part is enough, and one who is too many, as the settings have it."""
    try:
        with rehearsal._group(1.0):
            pass
    except Unavailable as missing:
        pytest.skip(str(missing))
    taken_out: list[tuple[Path, bytes]] = []
    join = rehearsal._join

    def joined(group: Path, pid: int) -> None:
        if pid:
            taken_out.append((group, Path(f"/proc/{pid}/cmdline").read_bytes()))
        join(group, pid)

    monkeypatch.setattr(rehearsal, "_join", joined)
    monkeypatch.setattr(rehearsal, "_VIEWERS_A_PROCESSOR", 2)
    monkeypatch.setenv("PYSTREAM_OVERLOAD_MAX_VIEWERS", "1")
    rows = {"0.5": partial(rehearsal.foreseen_and_met, 0.5)}
    monkeypatch.setattr(rehearsal, "ROWS", rows)
    core, told = str(min(os.sched_getaffinity(0))), tmp_path / "told.json"
    few = ["--small", "--seconds", "0.5", "--client-core", core, "--json", str(told)]
    assert rehearsal.main(few) == 0
    out = capsys.readouterr().out
    assert "foreseen" in out and "viewers' programs had" in out and "not measured" not in out
    (turn,) = json.loads(told.read_text())["lines"][0]["turns"]
    assert turn["facts"]["processors"] == 0.5
    assert (turn["held"], turn["breaks"]) == (1, 2)
    assert [each["viewers"] for each in turn["stages"]] == [1, 2]
    parents = [group for _, group in watching.groups()]
    assert any(group in parents and b"players" in said for group, said in taken_out)
    assert not [each for parent in parents for each in parent.glob(f"pystream-{os.getpid()}")]
