"""`python -m benchmarks.rehearsal`: whether an event breaks where a rehearsal has foreseen it.

Theory. `pystream rehearse --until-it-breaks` foresees at how many viewers the first limit is reached, from
stages that hold, and then plays more and more of them, until a stage does not hold. Its viewers are
programs of this machine as well, and what is to break is the node. So the node has a part of a processor,
by the quota of a control group (cgroups(7)), which the rehearsal sees as it would see that of a container;
its viewers are taken out of that group, and have the other processor. Whether they had time enough is in
the remark: where they had not, nothing is said of the node.

Such a group takes root, or a group that is the user's own. What else runs has to leave that much of both
processors.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import inputs
from benchmarks.origin import Bench, Line, Rows, measure, parser
from benchmarks.servers import Unavailable
from pystream.rehearsal import watching

_HEAD = ["the node's part of a processor", "foreseen", "broke at", "ratio", "wanted", "met", ""]
_PERIOD_US = 100_000
_MOST_OFF = 0.15
_LOOK_SECONDS = 0.01
_PLAYERS = b"pystream.rehearsal.players"
# How many are to come, as `--viewers` has it, for each whole processor: about two thirds of what it can do.
_VIEWERS_A_PROCESSOR = 250


def foreseen_and_met(part: float, bench: Bench) -> Iterator[Line]:
    """How many viewers are foreseen, and how many are too many."""
    with _group(part) as group:
        turns = [_rehearse(bench, part, group) for _ in range(bench.options.turns)]
    for told in turns:
        foreseen = "-" if told["foreseen"] is None else f"{told['foreseen']:,}"
        line = Line(f"{part:g}", foreseen, wanted="0.85 to 1.15")
        broken = min(told["stages"], key=lambda each: (each["holds"], each["viewers"]))
        crowd = f"viewers' programs had {broken['crowd']:.0%} of theirs"
        if None in (told["foreseen"], told["breaks"]) or not broken["is_the_nodes"]:
            line.theirs, line.remark = f"not at {told['held']:,}", crowd
        else:
            ratio = told["foreseen"] / told["breaks"]
            line.theirs, line.ratio = f"{told['breaks']:,}", f"{ratio:.2f}"
            line.met = abs(ratio - 1) <= _MOST_OFF
            line.remark = (
                f"{told['held']:,} held; first limit: {told['limits'][0]['name']}; {crowd}"
            )
        line.turns = [told]
        yield line


def _rehearse(bench: Bench, part: float, group: Path) -> dict[str, Any]:
    options = bench.options
    folder = bench.folder / "host"
    folder.mkdir(exist_ok=True)
    # That a worker waits for its part of the processor is what is looked for, and no reason to refuse.
    (folder / "pystream.toml").write_text(
        "[server]\nworkers = 1\nlisten = ['127.0.0.1:1']\nadmin = []\n[overload]\nloop_lag_ms = 60000\n"
    )
    if not (folder / "pystream.db").exists():
        film = str(inputs.film(options.small))
        _run(folder, "tenant", "add", "acme")
        _run(folder, "stream", "add", "acme/event", "--source", film, "--encryption", "aes-128")
    wanted = round(_VIEWERS_A_PROCESSOR * part)
    words = ["rehearse", "acme/event", "--viewers", str(wanted), "--seconds", str(options.seconds)]
    words += ["--until-it-breaks", "--players-on", options.client_core, "--json"]
    command = [sys.executable, "-m", "pystream", *words]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, preexec_fn=partial(_join, group, 0)
    ) as process:
        while process.poll() is None:
            _take_players_out(group)
            time.sleep(_LOOK_SECONDS)
        assert process.stdout is not None
        said = process.stdout.read()
    if process.returncode:
        raise Unavailable(f"the rehearsal ended with {process.returncode}")
    told: dict[str, Any] = json.loads(said)
    return told


def _run(folder: Path, *words: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pystream", *words],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _take_players_out(group: Path) -> None:
    for pid in (group / "cgroup.procs").read_text().split():
        # One may have ended meanwhile.
        with suppress(OSError):
            if _PLAYERS in Path(f"/proc/{pid}/cmdline").read_bytes():
                _join(group.parent, int(pid))


def _join(group: Path, pid: int) -> None:
    (group / "cgroup.procs").write_text(str(pid))


@contextmanager
def _group(part: float) -> Iterator[Path]:
    """One that may take so much of a processor."""
    group = next(_made(), None)
    if group is None:
        raise Unavailable("no group of processes can be made here that has a part of a processor")
    try:
        quota = round(part * _PERIOD_US)
        if (group / "cpu.max").exists():
            (group / "cpu.max").write_text(f"{quota} {_PERIOD_US}")
        else:
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        yield group
    finally:
        # Who was told to end may not have ended yet, and a group that has somebody stays.
        for pid in (group / "cgroup.procs").read_text().split():
            with suppress(OSError):
                _join(group.parent, int(pid))
        group.rmdir()


def _made() -> Iterator[Path]:
    """A new group, where the kernel gives one that can have a quota."""
    for _, parent in watching.groups():
        group = parent / f"pystream-{os.getpid()}"
        with suppress(OSError):
            group.mkdir()
            if any((group / name).exists() for name in ("cpu.max", "cpu.cfs_quota_us")):
                yield group
            else:
                group.rmdir()


_PARTS = (0.2, 0.3, 0.4)
ROWS: Rows = {f"{part:g}": partial(foreseen_and_met, part) for part in _PARTS}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns 1 where a row could not be measured."""
    asked = parser("benchmarks.rehearsal", __doc__, _EPILOG)
    asked.set_defaults(seconds=20.0, turns=1)
    return measure(ROWS, asked.parse_args(arguments), _HEAD)


_EPILOG = f"""\
rows:
  {" ".join(ROWS)}

A turn takes some minutes: its stages last as long as --seconds (default: 20), and there are about six.
"""


if __name__ == "__main__":
    sys.exit(main())
