"""`pystream retention`: what is old and is deleted, and the proof of it."""

from __future__ import annotations

import sys

from pystream.cli import _store, _terminal
from pystream.cli._arguments import Parser
from pystream.cli._leaving import parser_of, stores
from pystream.errors import Exists, PystreamError, Unattended

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pystream.acl.proofs import Proof
    from pystream.acl.retention import Rules
    from pystream.acl.store import Store
    from pystream.acl.store.keystore import KeyStore
    from pystream.acl.store.retaining import Retention
    from pystream.server.settings import Settings

_HELP = f"""\
usage: pystream retention plan
       pystream retention run
       pystream retention proof [--check FILE]
       pystream retention ACTION --help

Everything is kept for a stated time: the days are in the settings, [retention].
A running server deletes once a day what is older, and leaves a proof of it.

actions:
  plan   say what is old, and delete nothing
  run    delete it now
  proof  list the proofs of deletion, or check one that was printed

{_store.EXIT_CODES}
examples:
  pystream retention plan
  pystream retention proof --check proof.json
"""

_PROOF = """\
Lists the proofs of deletion, the oldest first, and checks that each is as it
was when the next one was made. The log of them holds no name. Whoever may write
to the store could make all of them anew: what was printed is signed.

With --check, checks a proof that `pystream tenant delete` has printed: that
this node has signed it, that its names are those of then, and whether the log
has it.
"""


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    actions = {"plan": _plan, "run": _run, "proof": _proof}
    return _store.dispatch("retention", _HELP, actions, arguments)


def _plan(words: list[str]) -> int:
    parser = parser_of(
        "retention plan",
        "",
        "Says how much is old of each class of data, and deletes nothing.",
        "pystream retention plan --json",
    )
    options = parser.parse(words)
    with stores(options) as (store, keys, settings):
        plan = _engine(store, keys, settings).plan(_store.now())
        rules = settings.retention.rules
    counts = {str(data): found.total() for data, found in plan.items()}
    if options.json:
        _store.print_json({"days": _days(rules, counts), "counts": counts})
    else:
        _show(_days(rules, counts), counts, "old")
    return 0


def _run(words: list[str]) -> int:
    parser = parser_of(
        "retention run",
        "",
        "Deletes what is old, as a running server does once a day, and prints the proof.\n"
        "Reports that are due are sealed before: later they would be without it.",
        "pystream retention run --json",
    )
    options = parser.parse(words)
    with stores(options) as (store, keys, settings):
        _seal(store, keys, settings.retention.rules)
        proof = _engine(store, keys, settings).run(_store.now())
        signed = _certificate(keys, proof)
    if options.json:
        _store.print_json(signed)
        return 0
    _show(proof.document["days"], proof.document["counts"], "deleted")
    print(f"\nproof {proof.digest}")
    return 0


def _proof(words: list[str]) -> int:
    parser = parser_of("retention proof", "[--check FILE]", _PROOF, "pystream retention proof")
    parser.add_argument("--check", metavar="FILE", help="a proof that was printed, as JSON")
    options = parser.parse(words)
    with stores(options) as (store, keys, _):
        from pystream.acl.keys import Keyring
        from pystream.acl.proofs import broken_at
        from pystream.acl.store.retaining import ProofLog

        log = ProofLog(store.database).all()
        key = Keyring(keys.root()).proof_key()
    broken = broken_at(log)
    if broken is not None:
        raise PystreamError(
            f"the log of proofs was changed: entry {broken + 1} of {len(log)}, of"
            f" {_store.moment(log[broken].document.get('at', 0))}, is not what was written, or does"
            " not follow the one before it"
        )
    if options.check is not None:
        return _checked(parser, options.check, key, log, as_json=options.json)
    if options.json:
        _store.print_json(
            {"proofs": [{"digest": each.digest, "document": each.document} for each in log]}
        )
    else:
        columns = [("when", "left"), ("what", "left"), ("deleted", "right"), ("proof", "left")]
        _store.show_table(columns, [_row(each) for each in log])
    return 0


def _checked(
    parser: Parser, path: str, key: bytes, log: tuple[Proof, ...], *, as_json: bool
) -> int:
    import json

    from pystream.acl.proofs import wrong_with

    with open(path, "rb") as file:
        data = file.read(1 << 20)
    try:
        printed = json.loads(data)
    except (ValueError, RecursionError):
        raise PystreamError(f"{path}: this is no proof that pystream has printed") from None
    wrong = list(wrong_with(printed, key))
    there = not wrong and any(each.digest == printed["digest"] for each in log)
    if as_json:
        facts: dict[str, Any] = {"ok": not wrong, "wrong": wrong, "in_log": there}
        if wrong:
            facts["error"] = f"{path}: {wrong[0]}"
        _store.print_json(facts)
        return 1 if wrong else 0
    for each in wrong:
        _terminal.complain(parser.prog, f"{path}: {each}")
    if not wrong:
        where = "and its log has it" if there else "but its log has it no more"
        print(f"{path}: this node has made this proof, {where}")
    return 1 if wrong else 0


def _seal(store: Store, keys: KeyStore, rules: Rules) -> None:
    from pystream.acl.reports.due import WHO, Finder
    from pystream.acl.reports.making import Reporter
    from pystream.acl.store.notary import Notary
    from pystream.server.clock import kernel

    now, clock = _store.now(), kernel()
    reporter, notary = Reporter(store, keys), Notary(store.database, keys)
    for wanted in list(Finder(store, keys).due(rules, now)):
        place = f"{wanted.tenant.name}/{wanted.of.name}" + (f" {wanted.day}" if wanted.day else "")
        try:
            reporter.seal_now(wanted, notary, clock, who=WHO, now=now, by_itself=True)
        except (Exists, Unattended):
            continue
        except PystreamError as error:
            raise PystreamError(
                f"nothing was deleted, since no report of {place} could be sealed: {error}"
            ) from None
        print(f"sealed a report of {place}", file=sys.stderr)


def _engine(store: Store, keys: KeyStore, settings: Settings) -> Retention:
    from pystream.acl.store.retaining import Retention

    retention = settings.retention
    return Retention(store.database, keys, retention.rules, retention.key_backups_folder)


def _certificate(keys: KeyStore, proof: Proof) -> dict[str, Any]:
    from pystream.acl.keys import Keyring
    from pystream.acl.proofs import certificate

    return certificate(proof, None, Keyring(keys.root()).proof_key())


def _days(rules: Rules, counts: Mapping[str, int]) -> dict[str, int | None]:
    from pystream.acl.retention import DataClass

    return {data: rules.days(DataClass(data)) for data in counts}


def _show(days: Mapping[str, int | None], counts: Mapping[str, int], title: str) -> None:
    rows = [
        [data.replace("_", " "), str(days[data]), f"{count:,}"] for data, count in counts.items()
    ]
    _store.show_table([("what", "left"), ("days", "right"), (title, "right")], rows)


def _row(proof: Proof) -> list[str]:
    document = proof.document
    what = document["kind"]
    if "tenant_id" in document:
        what = f"tenant {document['tenant_id']}"
    count = sum(document["counts"].values())
    return [_store.moment(document["at"]), what, f"{count:,}", proof.digest[:16]]
