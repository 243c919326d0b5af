"""`python -m tests.simulation`: runs schedules, or shows one."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing import get_context

from tests.simulation.bugs import BUGS, planted
from tests.simulation.schedule import Outcome, Plan, run
from tests.simulation.world import House

_AT_ONCE = 250


def seeds(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def outcomes(wanted: Sequence[int], bug: str | None = None) -> Iterator[Outcome]:
    with House.opened() as house:
        for seed in wanted:
            with planted(bug):
                outcome = run(house, seed)
            yield outcome


def _some(wanted: Sequence[int]) -> tuple[int, float, list[tuple[int, str]]]:
    """In a process of a pool: how many, in how many seconds of its processor, and what was found."""
    begin, found = time.process_time(), []
    for outcome in outcomes(wanted):
        if outcome.finding is not None:
            found.append((outcome.seed, outcome.finding))
    return len(wanted), time.process_time() - begin, found


def search(wanted: range, processes: int) -> int:
    """Returns how many schedules had a finding."""
    begin, done, used, bad = time.monotonic(), 0, 0.0, 0
    parts = [wanted[at : at + _AT_ONCE] for at in range(0, len(wanted), _AT_ONCE)]
    with get_context("fork").Pool(processes) as pool:
        for count, seconds, found in pool.imap(_some, parts):
            done, used, bad = done + count, used + seconds, bad + len(found)
            for seed, sentence in found:
                print(f"seed {seed}: {sentence}", flush=True)
            wall = time.monotonic() - begin
            print(
                f"{done} schedules, {bad} with a finding, {wall:.0f} s,"
                f" {60 * done / wall:.0f} a minute ({60 * done / used:.0f} a minute of a processor)",
                flush=True,
            )
    return bad


def look_for_bugs(wanted: range) -> int:
    """Which seed finds each of the planted bugs; returns how many are not found."""
    missed = 0
    # Where little befalls a house, little is found.
    eventful = [seed for seed in wanted if len(Plan.of(seed).faults) > 2]
    for bug in BUGS:
        for outcome in outcomes(eventful, bug):
            if outcome.finding is not None:
                print(f'    "{bug}": {outcome.seed},  # {outcome.finding[:80]}', flush=True)
                break
        else:
            missed += 1
            print(f"    {bug}: not found", flush=True)
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=seeds, default=seeds("0-999"), metavar="FIRST-LAST")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--trace", action="store_true", help="what happened in each")
    parser.add_argument("--bugs", action="store_true", help="which seed finds each planted bug")
    parser.add_argument("--bug", choices=list(BUGS), help="with this bug planted", metavar="NAME")
    given = parser.parse_args()
    if given.bugs:
        return look_for_bugs(given.seeds) > 0
    if given.trace or given.bug:
        bad = 0
        for outcome in outcomes(given.seeds, given.bug):
            bad += outcome.finding is not None
            print(*outcome.trace, f"seed {outcome.seed}: {outcome.digest}", sep="\n")
        return bad > 0
    return search(given.seeds, given.processes) > 0


if __name__ == "__main__":
    sys.exit(main())
