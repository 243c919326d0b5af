"""The ledger under simulation: some schedules, that they come again, and that they find what is planted."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from pystream.acl.store.notary import Head
from pystream.server import heads
from pystream.server.heads import Heads
from tests.simulation.bugs import BUGS, planted
from tests.simulation.disk import Disk
from tests.simulation.schedule import run
from tests.simulation.world import House

pytestmark = pytest.mark.slow

# Some that have found something once, after the first ones.
FINDERS = (30, 730, 1353, 6929, 8547, 9571, 11178, 17798, 40385, 45503, 61270, 61878, 101767)
SCHEDULES = (*range(30), *FINDERS, 111_976, 123_613, 244_988)
# Which seed finds each of the planted bugs, as `python -m tests.simulation --bugs` says.
FOUND_BY = {
    "a batch that comes again is stored again": 78,
    "how far a worker has told is not noted": 0,
    "how far a worker has told is noted in a transaction of its own": 206,
    "a batch is said to be stored before it is": 47,
    "what could not be stored is forgotten": 19,
    "what waits is forgotten when a line breaks": 47,
    "nothing is synced": 7,
    "a segment counts without what is in its middle": 177,
    "each part counts as a segment": 0,
    "the dead are buried without a word": 4,
    "nobody is on the roll": 9973,
    "what a worker had to give up is no outage": 9571,
    "who has given up all so far is as one that begins": 9571,
    "who has a line may be dead": 6776,
    # By a segment before it and a beacon after it.
    "a step of the clock is not on record": 491,
    "the anchor follows the clock": 21,
    "leaves are in another order than events": 0,
    "all leaves have one salt": 0,
    "the size of a log is remembered whatever becomes of it": 8,
    "sealing clears more than it has sealed": 0,
    "keys of what was sealed are destroyed": 0,
    "what was erased stays in the journal": 179,
    "heads are not looked at": 8,
    "events go into a log that is to become another": 40385,
    "heads of logs that are gone are not looked at": 8,
    "a checkpoint is sent though the heads could not be written": 30,
    "a checkpoint is sent that was signed after the heads were written": 111_976,
    "heads are renamed before they are on the disk": 8,
    "the folder of heads is not synced": 8,
    "an epoch does not name the one before": 8,
    "a restore is told as a moment": 838,
    "a fold forgets what waits": 0,
    "a fold reads on one event too late": 7,
    "what comes too late for a fold is left out": 0,
}


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    with House.opened() as made:
        yield made


def test_nothing_is_lost_unsaid_whatever_befalls_the_house(house: House) -> None:
    for seed in SCHEDULES:
        outcome = run(house, seed)
        assert outcome.finding is None, "\n".join(outcome.trace)


def test_a_seed_is_the_same_schedule_each_time(house: House) -> None:
    """Bit for bit, in another process too, whose sets are in another order."""
    wanted = [1, 8, 23]
    digests = [run(house, seed).digest for seed in wanted]
    assert [run(house, seed).digest for seed in reversed(wanted)] == digests[::-1]
    for seed, digest in zip(wanted, digests, strict=True):
        command = [sys.executable, "-m", "tests.simulation", "--trace", "--seeds", str(seed)]
        environment = os.environ | {"PYTHONHASHSEED": str(seed + 1)}
        folder = Path(__file__).parents[1]
        done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, check=True)
        assert done.stdout.decode().splitlines()[-1] == f"seed {seed}: {digest}"


def test_each_planted_bug_has_a_seed() -> None:
    assert FOUND_BY.keys() == BUGS.keys() and len(BUGS) >= 20


@pytest.mark.parametrize("bug", FOUND_BY)
def test_a_planted_bug_is_found(house: House, bug: str) -> None:
    with planted(bug):
        assert run(house, FOUND_BY[bug]).finding is not None
    assert run(house, FOUND_BY[bug]).finding is None


def test_what_is_known_beside_the_store_outlives_the_power(tmp_path: Path) -> None:
    disk, dice = Disk(tmp_path), random.Random(0)
    known = [{1: Head(1, size, None)} for size in range(1, 9)]
    disk.begin({}, dice)
    with patch.object(heads, "os", disk.system()):
        for each in known:
            Heads(str(tmp_path)).write(each, {})
            disk.lose_power()
            assert Heads(str(tmp_path)).read() == each
