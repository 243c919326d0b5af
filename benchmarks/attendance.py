"""`python -m benchmarks.attendance`: how long `pystream attendance replay` takes for a day's evidence, and
what its log costs.

Theory. The day is 10,000 viewers of one live stream for an hour: six million segments, 1.2 GB of JSON
lines, in the order in which a server hands them out. What a reader of such a file cannot do without is to
read JSON, so each run comes right after a plain loop of `json.loads` over the same lines (A B A B), on one
processor, and the ratio is taken pair by pair. The file is read from the page cache. No time is
asserted.

Of the log, the batches of one second are spelt, salted, hashed and appended as its writer does that, in
processor time; and the receipt of one viewer of those, 600 events among as many leaves as there are, is
verified as `pystream attendance verify` does it, without the start of a command. The writer itself is
measured with a store of SQLite's in the folder of the evidence: the processor time of storing what comes in a
second, and of sealing it later, without what it takes from and says to workers.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median

from benchmarks.peers import CommandFailed, Run, note, run, show
from pystream._core import Evidence, Frontier, LeafHashes, canonical_events, leaf_hashes
from pystream.acl.passwords import PasswordSettings, generate
from pystream.acl.sealing import MasterKeys
from pystream.acl.store import Store
from pystream.acl.store.attending import HOUR_MS, Batch
from pystream.acl.store.issuing import Issuer
from pystream.acl.store.keystore import KeyStore
from pystream.acl.streams import StreamSettings, TenantSettings
from pystream.acl.viewers import Session
from pystream.attendance import documents
from pystream.attendance.checkpoint import Checkpoint
from pystream.attendance.documents import Scope
from pystream.attendance.evidence import SALT_LENGTH, Place
from pystream.attendance.notes import SigningKey
from pystream.attendance.options import Options
from pystream.attendance.purpose import VERSION
from pystream.attendance.verification import verify

_BEGIN = 1_773_097_200_000  # midnight of a day in Berlin
_LOOP = "import json, sys\nfor line in open(sys.argv[1], 'rb'): json.loads(line)"
_OURS = "import sys; from pystream.cli import main; sys.exit(main())"
_HEAD = ["", "wall", "CPU", "peak", "json.loads", "ratio", "wanted", ""]


def line(t: int, m0: int, d: int, viewer: int = 0) -> str:
    """A segment, as an evidence file has it."""
    session = viewer * 0x9E3779B97F4A7C15 % 2**64
    return (
        f'{{"kind":"segment","t":{t},"key":"viewer-{viewer:06}-key","stream":"acme/course"'
        f',"session":"{session:032x}","m0":{m0},"m1":{m0 + d},"rendition":"v1080p","primary":true}}\n'
    )


def day(viewers: int, segments: int) -> Iterator[str]:
    """Each viewer fetches each segment of 6 s, all of them spread over its time."""
    for n in range(segments):
        begin = _BEGIN + n * 6000
        for viewer in range(viewers):
            yield line(begin + viewer * 6000 // viewers, begin - 18_000, 6000, viewer)


def parts(count: int) -> Iterator[str]:
    """One session for a day of parts of a second."""
    return (line(_BEGIN + n * 1000, n * 1000, 1000) for n in range(count))


def burst(count: int) -> Iterator[str]:
    """As many segments at one instant."""
    return (line(_BEGIN, n * 6000, 6000) for n in range(count))


@contextmanager
def on(processors: set[int]) -> Iterator[None]:
    """What is started meanwhile runs on these."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def measured(
    title: str,
    file: Path,
    mode: str,
    processors: set[int],
    options: argparse.Namespace,
    wanted: str,
) -> list[str]:
    """A line of the table."""
    ours: list[Run] = []
    ratios = []
    target = ("--target-duration", "1") if mode == "parts" else ()
    words = [str(file), "--mode", "file" if mode == "burst" else "live", *target, "--json"]
    for _ in range(options.turns):
        with on({min(processors)}):
            loop = run([sys.executable, "-c", _LOOP, str(file)])
        with on(processors):
            ours.append(run([sys.executable, "-c", _OURS, "attendance", "replay", *words]))
        ratios.append(ours[-1].wall / loop.wall)
        note(
            f"{title}: {ours[-1].wall:.2f} s, json.loads {loop.wall:.2f} s, others {ours[-1].others:.2f} s"
        )
    wall, cpu = (median(getattr(each, name) for each in ours) for name in ("wall", "cpu"))
    peak = max(each.peak for each in ours)
    loops = median(each.wall / ratio for each, ratio in zip(ours, ratios, strict=True))
    return [
        title,
        f"{wall:.2f} s",
        f"{cpu:.2f} s",
        f"{peak / 1e6:.0f} MB",
        f"{loops:.2f} s",
        f"{median(ratios):.2f}",
        wanted,
        "disturbed" if any(not each.quiet for each in ours) else "",
    ]


def processor_ms(work: Callable[[], object], turns: int) -> float:
    """The least of so many turns."""
    took = []
    for _ in range(turns):
        begin = time.process_time()
        work()
        took.append(time.process_time() - begin)
    return min(took) * 1000


def log_of(viewers: int, turns: int) -> list[list[str]]:
    """Lines of the log's table."""
    # As many as come in a second, where each viewer fetches a segment in six.
    batch = "".join(line(_BEGIN, 0, 6000, viewer) for viewer in range(viewers // 6)).encode()
    frontier = Frontier()

    def append() -> None:
        events = canonical_events(batch)
        frontier.append(leaf_hashes(os.urandom(SALT_LENGTH * len(events)), events))

    appended = processor_ms(append, turns * 10)
    key = SigningKey.generate("example.org/acme")
    evidence, options = "".join(day(1, 600)).encode(), Options("live")
    events = canonical_events(evidence)
    salts = os.urandom(SALT_LENGTH * len(events))
    mine = leaf_hashes(salts, events)
    log = LeafHashes()
    held = []
    for n, event in enumerate(events):
        begin, salt = 32 * n, SALT_LENGTH * n
        leaf = documents.Leaf(mine[begin : begin + 32], salts[salt : salt + SALT_LENGTH], event)
        held.append((log.size, leaf))
        log.append(leaf.hash + os.urandom(32 * (viewers - 1)))
    signed = Checkpoint(key.name, 1, log.size, log.root(log.size), True, 0).signed(key)
    read, ledger = Evidence(), options.ledger()
    read.read(evidence)
    ledger.take(read)
    of = json.loads(events[0])["key"]
    receipt = documents.receipt(of, held, log, ledger.rows(), options, Scope(), signed, key)
    took = processor_ms(lambda: verify(receipt, [key.verifier]), turns)
    return [
        [
            f"a second of the log, {viewers // 6:,} events",
            f"{appended:.1f} ms",
            "<= 50 ms, all told",
        ],
        [
            f"a receipt of 600 among {log.size:,} events, verified",
            f"{took:.0f} ms",
            "<= 50 ms",
        ],
        ["the same, a proof", f"{len(receipt) / len(held):.0f} bytes", "<= 4,000 bytes"],
    ]


class Writer:
    """The node's writer: a store in which `viewers` have a session each, and what workers tell of it."""

    def __init__(self, folder: str, viewers: int) -> None:
        now = _BEGIN // 1000
        self.store = Store.open(f"sqlite:///{folder}/store.db")
        masters = MasterKeys((secrets.token_bytes(32),))
        self.keys = KeyStore.open(f"{folder}/keys.db", lambda: masters, f"{folder}/erasures.txt")
        self.keys.set_up(bytes(32), now)
        settings = TenantSettings(attendance_purpose=VERSION)
        self.store.add_tenant("acme", settings, who="benchmarks", now=now)
        film = StreamSettings(sources=("/film.mp4",), access="personal", attendance=True)
        self.stream = self.store.add_stream("acme", "course", film, who="benchmarks", now=now)
        entries = [(generate(), PasswordSettings()) for _ in range(viewers)]
        issuer = Issuer(self.store.viewers, self.keys)
        tenant = self.stream.tenant_id
        passwords = issuer.add(tenant, [self.stream.id], entries, who="benchmarks", now=now)
        # Neighbours in the store are not neighbours in time.
        self.sessions = [secrets.token_bytes(16) for _ in range(viewers)]
        order = list(passwords)
        random.Random(0).shuffle(order)
        opened = [
            Session(
                id=id,
                tenant_id=tenant,
                stream_id=self.stream.id,
                password_id=password,
                opened_at=now,
                expires=now + 86_400,
                idle_s=None,
            )
            for id, password in zip(self.sessions, order, strict=True)
        ]
        self.store.viewers.keep(opened, {}, now)
        self.batches = 0

    def keep(self, count: int, at: int) -> None:
        """A batch of so many segments, of one viewer after the other."""
        told = []
        for n in range(self.batches * count, (self.batches + 1) * count):
            turn, viewer = divmod(n, len(self.sessions))
            place = Place(self.stream.id, turn * 6000, turn * 6000 + 6000, True, "v1080p").pack()
            tag = self.sessions[viewer] + place
            told.append(struct.pack(">qH", at, len(tag)) + tag)
        self.batches += 1
        batch = Batch(1, self.batches, at, at, 0, b"".join(told))
        self.store.viewers.attendance.keep(self.keys, [batch], [], at // 1000)

    def close(self) -> None:
        self.keys.close()
        self.store.close()


def writer_of(viewers: int, turns: int, folder: str) -> list[list[str]]:
    """Lines of what a second of evidence costs the node's writer: two workers tell twice a second each, and
    what has come is sealed in time."""
    a_second = viewers // 6
    with closing(Writer(tempfile.mkdtemp(dir=folder), viewers)) as writer:
        # Who each session is, it learns in the first six seconds.
        for _ in range(6 * 4):
            writer.keep(a_second // 4 + 1, _BEGIN)
        kept = 4 * processor_ms(lambda: writer.keep(a_second // 4, _BEGIN), turns * 20)
    some, hour = max(1, viewers // 100), 600
    with closing(Writer(tempfile.mkdtemp(dir=folder), some)) as writer:
        for _ in range(10):
            writer.keep(some * hour // 10, _BEGIN)
        attendance, end = writer.store.viewers.attendance, _BEGIN + 2 * HOUR_MS
        # A second time, there is nothing left.
        took = processor_ms(lambda: attendance.seal(writer.keys, end, end // 1000), 1)
    sealed = took / (some * hour) * a_second
    return [
        [
            f"a second of evidence committed, {a_second:,} events",
            f"{kept:.1f} ms",
            "<= 50 ms, both",
        ],
        [f"sealing as many, of {some:,} viewers for an hour", f"{sealed:.1f} ms", ""],
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns 1 where a command failed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.attendance",
        description=(__doc__ or "").split("\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--turns", type=int, default=3, metavar="N", help="of each side (default: 3)")
    add("--small", action="store_true", help="a hundredth of it, to try it out")
    add("--output", default=tempfile.gettempdir(), metavar="DIR", help="for 1.3 GB of evidence")
    add("--markdown", action="store_true", help="print a Markdown table")
    options = parser.parse_args(arguments)
    few = 100 if options.small else 1
    processors = sorted(os.sched_getaffinity(0))
    one, two = {processors[0]}, set(processors[:2])
    files = {
        "day": day(10_000 // few, 600),
        "parts": parts(86_400 // few),
        "burst": burst(10_000 // few),
    }
    table = []
    with tempfile.TemporaryDirectory(prefix="pystream-bench-", dir=options.output) as folder:
        for name, lines in files.items():
            with open(Path(folder, name), "w") as file:
                file.writelines(lines)
        for title, name, on_these, wanted in (
            ("10,000 viewers for an hour, one processor", "day", one, "<= 20 s, 500 MB"),
            ("the same on two", "day", two, "<= 12 s"),
            ("86,400 parts of a second of one session", "parts", one, "<= 1 s"),
            ("10,000 segments at one instant", "burst", one, "<= 1 s"),
        ):
            try:
                table.append(measured(title, Path(folder, name), name, on_these, options, wanted))
            except CommandFailed as failed:
                note(f"{title}: {failed}")
                return 1
        writer = writer_of(10_000 // few, options.turns, folder)
    show(table, _HEAD, options.markdown)
    show(
        [*log_of(10_000 // few, options.turns), *writer],
        ["", "processor time, size", "wanted"],
        options.markdown,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
