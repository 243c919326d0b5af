"""The ledger of attendance under one seed: its own code, on clocks, lines and a disk that a seed moves.

**What runs** is the real thing: workers' `Teller`, the writer's `Recorder` and `Checkpoints`, the stores, the
notary, folds, heads, anchor and erasure list. What stands below them is replaced: Trio's clock is a virtual
one and its scheduler's dice are the seed's (`world`); what would be done in a thread is done at once, so that
nothing runs beside it; lines are in memory; random bytes, salts and keys come from the seed; SQLite writes
to a disk that loses, tears and refuses (`disk`). A worker's meter is replaced by what viewers do to it
(`world.Worker`): which bytes a peer has acknowledged is the core's, and is tested there.

**A schedule** (`schedule`) is a few seconds of viewers, workers and one writer, and faults at their moments:
processes are killed, also in the middle of whatever they write; power fails; syncs fail or lie; the disk is
full or slow; lines break, so that what was told is told again; clocks are set; a backup is brought back; a
password is erased. Hours and days end meanwhile. To have in seconds what takes minutes otherwise, constants
of the code are shorter here (`world.SHORTER`).

**In the end** everything is well for long enough that the dead are noticed; then `invariants` are looked at,
from what the viewers know that they got and what the tenant knows that was signed:

* Nothing is on record twice, or that nobody got, or with another instant.
* What is not on record was lost with a process that died, had not been taken over by the writer, and lies in
  an outage; or it lies behind a backup that was brought back, and is told by a `restore`.
* Each leaf is the hash of its event; the roots that were signed are those of the log, and no epoch has two
  pasts; each word of the writer to the tenant is about a log that is still there or is named by the next.
* The rows that are computed as events come are those of a replay of all.
* An outage is told only where something broke; in a house that is well, nothing fails.

`python -m tests.simulation --seeds 0-99999 --processes 2` runs schedules; `--trace` prints one, and what it
prints is the same each time. `bugs` has bugs that are to be found.
"""
