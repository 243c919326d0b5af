"""`python -m benchmarks.peers`: pystream beside `cp` and the other packagers of this machine.

Theory: a machine is never quite idle, and never quite equally fast. So each run of a packager comes
right after a run of `cp` with the same bytes (A B A B), the ratio is taken pair by pair, and what is
printed are medians. A pair during which other programs used the processors is repeated, for as long
as --patience lasts. Everything is written to memory, since disks are not what is measured, and read
from the page cache. The first output of each packager is checked, sample by sample, against the
source: speed at something else does not count. Nothing is downloaded, and no time is asserted.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import pystream
from benchmarks import inputs, launch, tools
from benchmarks.openssl import OpenSSL
from benchmarks.tools import Job, Tool
from pystream.packager.verify import VerifyError, verify

SEGMENT = 1_500_000
KEY, IV = bytes(range(16)), bytes(range(16, 32))


# Commands.


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a command: seconds of wall and processor time, bytes of memory at the peak.

    `others` is the processor time that the rest of the machine used meanwhile.
    """

    wall: float
    cpu: float
    peak: int
    others: float

    @property
    def quiet(self) -> bool:
        """Whether the rest of the machine kept still; the clock's steps do not count."""
        return self.others <= max(0.1 * self.wall, 0.02)


class CommandFailed(Exception):
    """A command's exit code was not 0."""


def run(command: Sequence[str]) -> Run:
    """Runs a command and measures it. Raises CommandFailed with its last words."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", launch.__file__, *command],
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        raise CommandFailed(f"{command[0]} cannot be started")
    measured = json.loads(done.stdout)
    if measured["code"]:
        words = done.stderr.strip().splitlines()
        raise CommandFailed(": ".join([f"exit code {measured['code']}", *words[-1:]]))
    return Run(measured["wall"], measured["cpu"], measured["peak"], measured["others"])


# Jobs: whole commands, each beside cp.


@dataclass(slots=True)
class Row:
    """One packager at one job: its runs, each with the wall time of cp just before it."""

    job: str
    tool: str
    source_bytes: int
    runs: list[Run] = field(default_factory=list)
    cp_walls: list[float] = field(default_factory=list)
    disturbed: int = 0
    output: str = ""
    good: bool = True

    def cells(self) -> list[str]:
        if not self.runs:
            return [self.tool, "-", "-", "-", "-", "-", self.output]
        wall = median(r.wall for r in self.runs)
        ratio = median(r.wall / cp for r, cp in zip(self.runs, self.cp_walls, strict=True))
        return [
            self.tool,
            f"{wall:.3f}",
            f"{median(r.cpu for r in self.runs):.2f}",
            f"{self.source_bytes / wall / 1e9:.2f}",
            f"{max(r.peak for r in self.runs) / 1e6:.0f}",
            f"{ratio:.2f}",
            self.output + self._noise(),
        ]

    def _noise(self) -> str:
        if not self.disturbed:
            return ""
        return f"; {self.disturbed} of {len(self.runs)} pairs disturbed"


@dataclass(frozen=True, slots=True)
class Case:
    """A job, on the sources that `make` gives; `alone` leaves the peers out."""

    title: str
    make: Callable[[bool], Path | list[Path]]
    job: Job
    alone: bool = False


CASES = [
    Case("10 min at 8 Mbit/s to TS, AES-128", inputs.film, Job("ts", True)),
    Case("the same, --jobs 1", inputs.film, Job("ts", True, jobs=1), alone=True),
    Case("10 min at 8 Mbit/s to TS, clear", inputs.film, Job("ts", False)),
    Case("10 min at 8 Mbit/s to fMP4, clear", inputs.film, Job("fmp4", False)),
    Case("3 h at 300 kbit/s to TS, clear", inputs.long, Job("ts", False)),
    Case("ladder of four, 2 min, to fMP4, AES-128", inputs.ladder, Job("fmp4", True), alone=True),
    Case("10 s clip to TS, AES-128", inputs.clip, Job("ts", True)),
    Case("10 h at 300 kbit/s to TS, AES-128", inputs.ten_hours, Job("ts", True), alone=True),
]


class Bench:
    """What all measurements of one call share."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.pystream = tools.pystream()
        self.peers = [] if options.no_peers else list(tools.peers())

    def wants(self, title: str) -> bool:
        return re.search(self.options.only, title) is not None

    def case(self, case: Case) -> list[Row]:
        """All packagers at one job."""
        made = case.make(self.options.small)
        sources = made if isinstance(made, list) else [made]
        size = sum(path.stat().st_size for path in sources)
        rows = []
        with self.work() as work:
            keys = work / "keys"
            keys.mkdir()
            tools.prepare_keys(keys)
            # Not counted: it brings the sources into the page cache.
            self.once(work, lambda out: tools.cp(sources, out))
            turns = self.options.runs
            for tool in [self.pystream] if case.alone else [self.pystream, *self.peers]:
                note(f"{case.title}: {tool.name}")
                row = Row(case.title, tool.name, size)
                rows.append(row)
                self.measure(row, tool, sources, work, case.job, turns)
                turns = self.options.peer_runs
        return rows

    def measure(
        self, row: Row, tool: Tool, sources: list[Path], work: Path, job: Job, turns: int
    ) -> None:
        if tool.line(sources, work / "out", work / "keys", job) is None:
            row.output = "does not do it"
            return

        def command(out: Path) -> list[str]:
            return tool.line(sources, out, work / "keys", job) or []

        try:
            # Not counted.
            self.once(work, command, lambda out: self.check(row, sources, out, work))
            deadline = time.monotonic() + self.options.patience
            while len(row.runs) < turns:
                copied = self.once(work, lambda out: tools.cp(sources, out))
                packaged = self.once(work, command)
                if not (copied.quiet and packaged.quiet):
                    if time.monotonic() < deadline:
                        continue
                    row.disturbed += 1
                row.runs.append(packaged)
                row.cp_walls.append(copied.wall)
        except CommandFailed as failed:
            row.runs.clear()
            row.output, row.good = f"failed: {failed}", False

    def check(self, row: Row, sources: list[Path], out: Path, work: Path) -> None:
        """Compares the output with the source: strictly pystream's, leniently the peers'."""
        own = row.tool == "pystream"
        try:
            keys = None if own else work / "keys"
            verify(sources, out / "index.m3u8", keys=keys, lenient=not own)
            row.output = "verified"
        except VerifyError as fault:
            row.output, row.good = f"differs: {str(fault).replace(str(out), '')}", False

    @staticmethod
    def once(
        work: Path,
        command: Callable[[Path], list[str]],
        check: Callable[[Path], None] | None = None,
    ) -> Run:
        """One run into an empty folder, which is removed afterwards; both are not counted."""
        out = work / "out"
        out.mkdir()
        try:
            measured = run(command(out))
            if check is not None:
                check(out)
            return measured
        finally:
            shutil.rmtree(out)

    @contextmanager
    def work(self) -> Iterator[Path]:
        path = Path(tempfile.mkdtemp(prefix="pystream-bench-", dir=self.options.output))
        try:
            yield path
        finally:
            shutil.rmtree(path)


# Single figures.


@dataclass(frozen=True, slots=True)
class Figure:
    """Something measured that is no job: a value with its unit, and what it is compared with."""

    what: str
    value: str
    beside: str = ""


def start_up(bench: Bench) -> Iterator[Figure]:
    """`pystream --version` beside an interpreter that does nothing."""
    bare, ours = [], []
    for _ in range(4 * bench.options.runs):
        bare.append(run([sys.executable, "-c", "pass"]).wall)
        ours.append(run([bench.pystream.program, "--version"]).wall)
    ratio = median(b / a for a, b in zip(bare, ours, strict=True))
    value = f"{median(ours) * 1e3:.1f} ms"
    yield Figure(
        "start-up: pystream --version",
        value,
        f"{ratio:.2f} x python -c pass ({median(bare) * 1e3:.1f} ms)",
    )


def opening(bench: Bench) -> Iterator[Figure]:
    """Opening the three-hour film in the library: tables parsed and packed."""
    path = inputs.long(bench.options.small)
    times = [timed(lambda: pystream.open(path)) for _ in range(10 * bench.options.runs)]
    held = pystream.open(path).nbytes
    yield Figure(
        "opening the 3 h film in the library",
        f"{median(times) * 1e3:.2f} ms",
        f"{held / 1e6:.1f} MB held",
    )


def muxing(bench: Bench) -> Iterator[Figure]:
    """All segments of the film, from bytes in memory into one buffer, by one thread."""
    data = inputs.film(bench.options.small).read_bytes()
    for format in ("ts", "fmp4"):
        presentation = pystream.plan([pystream.open(data)], format=format)
        # fMP4 has sound apart; the film's pictures are all but two hundredths of it.
        rendition = presentation.renditions[0]
        buffer = bytearray(max(rendition.lengths()))
        total = sum(rendition.lengths())

        def every(r: pystream.Rendition = rendition, into: bytearray = buffer) -> None:
            for n in range(len(r)):
                r.segment_into(n, into)

        every()
        seconds = median(timed(every) for _ in range(bench.options.runs))
        yield Figure(
            f"mux to {'TS' if format == 'ts' else 'fMP4'} in memory, one thread",
            f"{total / seconds / 1e9:.2f} GB/s",
        )


def one_segment(bench: Bench) -> Iterator[Figure]:
    """An encrypted TS segment of one GOP from an open film, beside OpenSSL with the same bytes."""
    openssl = OpenSSL()
    film = pystream.open(inputs.film(bench.options.small))
    clear = pystream.plan([film], segment_duration=1.5).renditions[0]
    secret = pystream.Aes128(key=KEY)
    sealed = pystream.plan([film], segment_duration=1.5, encryption=secret).renditions[0]
    buffer = bytearray(max(sealed.lengths()))
    into, fresh, theirs = [], [], []
    for turn in range(40 * bench.options.runs):
        n = turn % min(40, len(sealed))
        message = bytes(clear.segment(n))
        theirs.append(timed(lambda m=message: openssl.encrypt(m, buffer, KEY, IV)))  # type: ignore[misc]
        into.append(timed(lambda n=n: sealed.segment_into(n, buffer)))  # type: ignore[misc]
        fresh.append(timed(lambda n=n: sealed.segment(n)))  # type: ignore[misc]
    size = median(sealed.lengths()[: min(40, len(sealed))]) / 1e6
    for name, ours in (("segment_into", into), ("segment", fresh)):
        ratio = median(a / b for a, b in zip(ours, theirs, strict=True))
        yield Figure(
            f"one encrypted TS segment of {size:.2f} MB: {name}",
            f"{median(ours) * 1e3:.3f} ms",
            f"{ratio:.2f} x OpenSSL's AES alone ({median(theirs) * 1e3:.3f} ms)",
        )


def cipher(bench: Bench) -> Iterator[Figure]:
    """The kernels on bare buffers, by one thread, beside OpenSSL's one stream.

    Both sides give the fastest pass within a third of a second, in turns. Cycles are those of the
    time-stamp counter, whose frequency follows from the program's own two figures.
    """
    program = ["cargo", "run", "--release", "--quiet", "-p", "pystream-cipher"]
    program += ["--example", "throughput", "--", str(SEGMENT), "1,8,16"]
    if shutil.which("cargo") is None:
        yield Figure("AES-128-CBC kernels", "-", "cargo is not there to build them")
        return
    openssl = OpenSSL()
    message, out = os.urandom(SEGMENT), bytearray(SEGMENT + 16)
    streams: list[float] = []
    found: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    clock = 0.0
    # Not counted: it builds.
    subprocess.run(program, cwd=inputs.ROOT, check=True, capture_output=True)
    for _ in range(bench.options.runs):
        stream = SEGMENT / fastest(lambda: openssl.encrypt(message, out, KEY, IV)) / 1e9
        streams.append(stream)
        done = subprocess.run(
            program, cwd=inputs.ROOT, check=True, capture_output=True, text=True
        ).stdout
        for kernel, lanes, speed, cycles in re.findall(
            r"^(\w+) +(\d+) +([\d.]+) +([\d.]+) ", done, re.MULTILINE
        ):
            figures = (float(speed), float(cycles), float(speed) / stream)
            found.setdefault((kernel, int(lanes)), []).append(figures)
            clock = max(clock, float(speed) * float(cycles))
    cycles = f", {clock / median(streams):.2f} cycles a byte" if clock else ""
    yield Figure("OpenSSL, one stream of 1.5 MB", f"{median(streams):.2f} GB/s{cycles}")
    for (kernel, lanes), turns in found.items():
        speed, cycle, ratio = (median(column) for column in zip(*turns, strict=True))
        yield Figure(
            f"{kernel}, {lanes} x 1.5 MB",
            f"{speed:.2f} GB/s" + (f", {cycle:.3f} cycles a byte" if clock else ""),
            f"{ratio:.2f} x OpenSSL's one stream",
        )


FIGURES: dict[str, Callable[[Bench], Iterator[Figure]]] = {
    "start-up": start_up,
    "opening": opening,
    "mux": muxing,
    "segment": one_segment,
    "cipher": cipher,
}


def timed(function: Callable[[], object]) -> float:
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def fastest(function: Callable[[], object]) -> float:
    deadline = time.perf_counter() + 0.3
    best = timed(function)
    while time.perf_counter() < deadline:
        best = min(best, timed(function))
    return best


# The machine.


def machine(bench: Bench) -> dict[str, str]:
    """What the figures depend on, beside the code."""
    try:
        openssl = OpenSSL().version
    except OSError:
        openssl = "none"
    facts = {
        "CPU": f"{cpu_name()}, {len(os.sched_getaffinity(0))} threads",
        "kernel": f"{platform.system()} {platform.release()}",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "Python": platform.python_version(),
        "OpenSSL": openssl,
    }
    for tool in (bench.pystream, *bench.peers):
        facts[tool.name] = tool.version
    if bench.options.small:
        facts["inputs"] = "small clips, not what the titles say: these figures mean nothing"
    return facts


def cpu_name() -> str:
    """As /proc/cpuinfo has it, with its family and model, since virtual ones often have no more of a name
    than their maker's, and with the flags that decide the cipher's speed."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.machine()
    name = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*: (.*)$", text, re.MULTILINE)
    present = (flags[1] if flags else "").split()
    known = [flag for flag in ("aes", "vaes", "avx512f") if flag in present]
    numbers = re.findall(r"^(cpu family|model)\s*: (\d+)$", text, re.MULTILINE)[:2]
    about = [f"{of.removeprefix('cpu ')} {number}" for of, number in numbers]
    said = ", ".join([*about, *known] if known else [*about, "no AES"])
    return f"{name[1] if name else platform.machine()} ({said})"


# Printing.

_HEAD = ["", "wall s", "CPU s", "GB/s", "peak MB", "x cp", "output"]


def show(lines: list[list[str]], head: list[str], markdown: bool) -> None:
    """A table: of plain columns, or as Markdown."""
    if markdown:
        print("| " + " | ".join(head) + " |")
        print("|" + " --- |" * len(head))
        for line in lines:
            print("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |")
    else:
        widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
        for line in (head, *lines):
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            print("  ".join(cells).rstrip())
    print(flush=True)


def show_case(title: str, rows: list[Row], markdown: bool) -> None:
    cp = [wall for row in rows for wall in row.cp_walls]
    lines = [row.cells() for row in rows]
    if cp:
        size = rows[0].source_bytes
        lines.insert(
            0, ["cp", f"{median(cp):.3f}", "", f"{size / median(cp) / 1e9:.2f}", "", "1", ""]
        )
    print(f"**{title}** ({rows[0].source_bytes / 1e6:.0f} MB)\n" if markdown else title)
    show(lines, _HEAD, markdown)


def note(text: str) -> None:
    print(f"benchmarks: {text}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns 1 where pystream failed or its output was wrong."""
    options = _parser().parse_args(arguments)
    # So that it removes its gigabytes of output as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if options.small:
        options.runs = options.peer_runs = 1
        options.patience = 0
    # An installed package has its bytecode; a fresh checkout would compile it in each run.
    compileall.compile_dir(Path(pystream.__file__).parent, quiet=2)
    bench = Bench(options)
    facts = machine(bench)
    show([[what, value] for what, value in facts.items()], ["machine", ""], options.markdown)
    rows: list[Row] = []
    for case in CASES:
        if bench.wants(case.title):
            these = bench.case(case)
            rows += these
            show_case(case.title, these, options.markdown)
    figures: list[Figure] = []
    for name, measure in FIGURES.items():
        if bench.wants(name):
            note(name)
            figures += measure(bench)
    if figures:
        lines = [[figure.what, figure.value, figure.beside] for figure in figures]
        show(lines, ["figure", "median", "beside"], options.markdown)
    if options.json:
        found = {
            "machine": facts,
            "jobs": [asdict(row) for row in rows],
            "figures": [asdict(figure) for figure in figures],
        }
        Path(options.json).write_text(json.dumps(found, indent=1) + "\n")
    return int(any(row.tool == "pystream" and not row.good for row in rows))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__.split("\n", 1)[1] if __doc__ else None,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    memory = Path("/dev/shm")
    add("--runs", type=int, default=5, metavar="N", help="pairs of cp and pystream (default: 5)")
    add("--peer-runs", type=int, default=3, metavar="N", help="pairs of cp and a peer (default: 3)")
    add(
        "--patience",
        type=float,
        default=30,
        metavar="SECONDS",
        help="how long a row's disturbed pairs are repeated (default: 30)",
    )
    add("--no-peers", action="store_true", help="only cp and pystream")
    add("--only", default="", metavar="REGEX", help="only jobs and figures whose names match")
    add("--small", action="store_true", help="one run on the project's own clips, to try it out")
    add(
        "--output",
        default=str(memory) if memory.is_dir() else tempfile.gettempdir(),
        metavar="DIR",
        help="where outputs are written and removed again (default: %(default)s); 3 GB are enough",
    )
    add("--markdown", action="store_true", help="print Markdown tables")
    add("--json", metavar="FILE", help="write everything measured, run by run")
    return parser


_TITLES = "\n  ".join(case.title for case in CASES)
_EPILOG = f"""\
jobs:
  {_TITLES}
figures:
  {", ".join(FIGURES)}

columns:
  wall and CPU seconds, and source bytes a second of wall time, are medians; peak MB is the most of
  all runs, and below some 10 MB that of the process that starts the command; x cp is the median
  over the pairs; output says whether a verifier found all of the source's samples in it.

environment:
  PYSTREAM_BENCH_CACHE    where inputs are kept (default: pystream-bench in $TMPDIR)
  PYSTREAM_BENCH_FFMPEG, PYSTREAM_BENCH_GPAC, PYSTREAM_BENCH_BENTO4, PYSTREAM_BENCH_SHAKA
                          peers that are not on the PATH as ffmpeg, gpac, mp42hls, packager; several
                          of one kind with colons between them

The inputs are made once, by an ffmpeg with libx264, and take 3 GB.
"""


if __name__ == "__main__":
    sys.exit(main())
