"""`pystream attendance`: who has watched for how long, computed from the evidence."""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack

from pystream.cli import _proving, _store, _terminal
from pystream.cli._arguments import Parser, add_locale, count, path
from pystream.errors import InvalidValue, MalformedDocument, MalformedEvidence, NotProven

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar

    from pystream.acl.store import Store
    from pystream.acl.streams import Stream
    from pystream.attendance.documents import Document
    from pystream.attendance.notes import VerifierKey
    from pystream.attendance.verification import Verdict

    T = TypeVar("T")

_HELP = """\
usage: pystream attendance purpose [--locale de|en]
       pystream attendance event ACTION TENANT/EVENT [OPTION...]
       pystream attendance show TENANT/STREAM [--day YYYY-MM-DD]
       pystream attendance export TENANT[/STREAM] [--day YYYY-MM-DD]
       pystream attendance receipt TENANT/STREAM ID -o FILE
       pystream attendance key TENANT
       pystream attendance checkpoint TENANT [OPTION...]
       pystream attendance cosign CHECKPOINT --key FILE --public-key FILE
       pystream attendance restored [TENANT [--known NOTE]]
       pystream attendance replay EVENTS.jsonl --mode live|file [OPTION...]
       pystream attendance verify REPORT|RECEIPT --public-key FILE [OPTION...]
       pystream attendance join REPORT LIST.csv -o OUT [OPTION...]
       pystream attendance ACTION --help

Says how long each key (a password, by its name in the evidence) has watched
each stream, on each day and in a programme, by a published rule:
`attendance-v1`. Of a server's streams it is recorded where the tenant has
accepted what for, and the stream says so (pystream stream set --attendance).

actions:
  purpose     print the text that a tenant accepts, and its version
  event       add, list, show, change and remove what is attended: programmes
  show        compute the rows of a stream, by what is recorded so far
  export      print the evidence of a stream, as replay reads it, or a tenant's
              whole log, as verify does
  receipt     write what a password has watched, with the proof of it
  key         print what a tenant's log is verified with
  checkpoint  sign how long a tenant's log is, and what it holds
  cosign      say, as the tenant, that a checkpoint was seen
  restored    go on with another log, after a backup was brought back
  replay      compute the rows of an evidence file
  verify      prove a report or a receipt, by public keys and nothing else
  join        put persons and EFN to the passwords of a report, on your machine

exit codes:
  0  done; of verify: it is valid
  1  the evidence is malformed, what was to be proven is not valid, or a store
     is at fault; a line on standard error says where, and why
  2  the command line is wrong, or a file cannot be read
  130  interrupted, by Ctrl-C or SIGTERM

examples:
  pystream tenant set acme --attendance-purpose VERSION
  pystream stream set acme/course --attendance
  pystream attendance show acme/course --day 2031-05-01
  pystream attendance export acme/course > course.jsonl
  pystream attendance replay course.jsonl --mode file --timezone Europe/Berlin
  pystream attendance key acme > acme.pub
  pystream attendance receipt acme/course 4711 -o receipt.json
  pystream attendance verify receipt.json --public-key acme.pub
"""

_REPLAY = """\
Computes who has watched for how long, from an evidence file: one JSON object a
line, in any order, each an event: a segment that was delivered, a beacon of a
player, a presence check, a download, an outage of the server. Needs no server
and no store. The same evidence and options give the same rows, anywhere.

A segment earns its length from when the one before it is over, up to C ahead of
its delivery. In a film, a seek takes back what was not played yet.
"""

_EPILOG = """\
SECONDS are one to nine digits, with up to three behind a point. FROM and TO are
written as in 2026-03-10T18:00:00+01:00 or 2026-03-10T17:00:00.5Z. Of an option
that is given twice the last counts, save for --window and --break.

The table has a row for each key, stream and day, and with --window one for the
whole programme (day -); with --union also one for all streams of a key
(stream -). Times are hours:minutes:seconds, seconds cut off.

With --json each row is an object in a line of its own, sorted by key, stream
and day, null last, with milliseconds:
  access_ms         could have been watched: the credit of all sessions, united
  media_ms          media that was delivered, each part once
  window_ms, window_media_ms   the same two within the programme
  verified_ms, hidden_ms       playing, and in a hidden page (--verified)
  certifiable_ms    the least of what counts of these
  overlap_ms        two or more sessions at once
  max_devices       sessions at once for longer than C
  outage_ms, outage_credit_ms  outages meanwhile; those with access around
  deep_buffer_ms    media of a film that was fetched beyond C
  checks_shown, checks_answered   presence checks
  evidence_grade    delivered, player or player+checks
  intervals         access, as [from, to] in ms since 1970, UTC
  flags             bulk_fetch, clock_step, deep_buffer, downloaded, outage,
                    overlap, restored

exit codes:
  0  done, also where a reader closed the pipe before it had all of the output
  1  the evidence is malformed; a line on standard error says which line, and
     nothing is printed
  2  the command line is wrong, or the file cannot be read
  130  interrupted, by Ctrl-C or SIGTERM

examples:
  pystream attendance replay day.jsonl --mode live --timezone Europe/Berlin
  pystream attendance replay day.jsonl --mode live --timezone Europe/Berlin \\
      --window 2026-03-10T18:00:00+01:00/2026-03-10T19:30:00+01:00 \\
      --break 2026-03-10T18:45:00+01:00/2026-03-10T19:00:00+01:00
  pystream attendance replay film.jsonl --mode file --verified --json
"""


_VERIFY = """\
Proves a report of attendance, or a viewer's receipt, on any machine: needs no
server, no store and no network, only public keys that you trust. What is not
signed by one of them is not valid, whatever the file itself says.

A receipt has its events, and proves that they are in the log that is signed.
The rows of both are computed again, those of a report where the log itself is
there (--evidence), by the same rule as `replay` does.
"""

_PROOFS = """\
FILE has a key a line, as in NAME+0123abcd+AQ...: the log's, and those of who
cosigns its checkpoints, if that is to be told. Get it from somebody you trust,
and not from whoever handed you the report.

An export has every leaf of the log in its order, so nothing can be left out or
added. Those that were erased or are too old are bare hashes: rows of keys that
have nothing else left are told as not available, all others have to follow from
what is there.

After a backup of a server was brought back its log goes on as another epoch.
Then a report may rest on both: give an export of each (export --epoch).

A checkpoint that somebody has kept shows that the log of today is still the one
of then, and no other that was made afterwards.

The table has what each row rests on:
  recomputed     it follows from events that are in the log
  signed         nothing but the signature (a report without --evidence)
  not available  its events are erased or expired; the signature is left

--json prints one object: valid, kind, signer, checkpoint (origin, epoch, size,
root, clock_synchronised, clock_error_ms), cosigners (name, at),
missing_cosigners, tzdata, about, events, leaves (null without --evidence),
leaves_not_available, and rows, each with its proof besides what `replay`
prints. After 1 valid is false, and error is what standard error says.

exit codes:
  0  valid
  1  not valid; a line on standard error says what of it, and why
  2  the command line is wrong, or a file cannot be read
  130  interrupted, by Ctrl-C or SIGTERM

examples:
  pystream attendance verify report.json --public-key acme.pub
  pystream attendance verify report.json --public-key acme.pub \\
      --evidence log.jsonl --checkpoint march.txt
  pystream attendance verify receipt.json --public-key acme.pub --json
"""


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    actions = {
        "purpose": _purpose,
        "event": _event,
        "show": _shown,
        "export": _export,
        "replay": _replay,
        "verify": _verify,
        "key": _proving.key,
        "checkpoint": _proving.checkpoint,
        "cosign": _proving.cosign,
        "receipt": _proving.receipt,
        "restored": _proving.restored,
        "join": _join,
    }
    return _store.dispatch("attendance", _HELP, actions, arguments)


def _event(words: list[str]) -> int:
    from pystream.cli import _events

    return _events.run(words)


def _purpose(words: list[str]) -> int:
    from textwrap import fill

    from pystream.attendance.purpose import TEXTS, VERSION

    parser = Parser(
        "attendance purpose",
        usage="[--locale de|en] [--json]",
        description="Prints what attendance is recorded for, and the version of that text, which a\n"
        "tenant accepts: in the console, or by `pystream tenant set`.",
        epilog=f"{_store.EXIT_CODES}example:\n"
        "  pystream tenant set acme --attendance-purpose VERSION",
    )
    add_locale(parser)
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    options = parser.parse(words)
    text = TEXTS[options.locale]
    _store.report(
        options, {"version": VERSION, "text": text}, f"{fill(text, 79)}\n\nversion {VERSION}"
    )
    return 0


def _shown(words: list[str]) -> int:
    from pystream.acl import counting

    parser = _of_stream(
        "show",
        "Computes who has watched a stream for how long, by what is recorded so far: one\n"
        "row for each password, by its number, and day of the tenant's time zone. It is\n"
        "what `replay` computes of an export, with --mode file, the stream's segment\n"
        "duration and that time zone, and with --verified where the stream has beacons.\n"
        "What was delivered in the last seconds may be missing. That it was looked at is\n"
        "on record.",
    )
    options = parser.parse(words)
    with _store.both_stores(options) as (store, keys):
        tenant, stream = store.tenant(options.stream[0]), store.stream(*options.stream)
        chosen = counting.of_stream(stream, tenant)
        found = store.viewers.attendance.rows(keys, tenant.id, [stream.id], chosen)
        rows = [row for row in found if options.day in (None, row["day"])]
        _note_view(store, stream, len(rows), options)
    if options.json:
        _store.print_json({"rows": rows})
    else:
        _show(rows)
    return 0


def _export(words: list[str]) -> int:
    from pystream.attendance.programmes import midnights

    parser = _of_stream(
        "export",
        "Prints the evidence of a stream, an event a line, as `replay` reads it: anybody\n"
        "who has it can compute the rows again. Passwords are called by their numbers.\n"
        "What was erased is not there any more. That it was exported is on record.\n"
        "\n"
        "Of a TENANT, it prints the whole log of all its streams, as `verify --evidence`\n"
        "reads it: leaf by leaf, what was erased as a hash alone, behind the checkpoint\n"
        "that is over them. With --epoch it is an earlier log, from before a backup was\n"
        "brought back: a report may rest on both.",
        place="TENANT[/STREAM]",
        more=" [--epoch N]",
        json_too=False,
    )
    parser.add_argument(
        "--epoch",
        type=count,
        metavar="N",
        help="of a TENANT: an earlier log, from before a backup was brought back",
    )
    options = parser.parse(words)
    if options.epoch is not None and options.stream[1] is not None:
        parser.error("--epoch is of a tenant's log, and not of a stream's evidence")
    if options.stream[1] is None:
        if options.day is not None:
            parser.error("--day is of a stream's evidence: a log is exported whole")
        return _proving.export_log(options)
    with _store.both_stores(options) as (store, keys):
        tenant, stream = store.tenant(options.stream[0]), store.stream(*options.stream)
        day = options.day
        span = midnights(day, day, tenant.settings.timezone) if day else ()
        found = list(store.viewers.attendance.events(keys, tenant.id, stream.id, *span))
        _note_view(store, stream, len(found), options)
    with _terminal.output():
        for event in found:
            print(event)
    return 0


def _of_stream(
    action: str,
    description: str,
    *,
    place: str = "TENANT/STREAM",
    more: str = "",
    json_too: bool = True,
) -> Parser:
    parser = Parser(
        f"attendance {action}",
        usage=f"{place} [--day YYYY-MM-DD]{more}\n"
        f"         [--by NAME] [--config FILE]{' [--json]' if json_too else ''}",
        description=description,
        epilog=f"{_store.EXIT_CODES}",
    )
    add = parser.add_argument
    add(
        "stream",
        type=_store.place if place == "TENANT/STREAM" else _store.place_or_tenant,
        metavar=place,
        help="the stream",
    )
    add(
        "--day",
        type=_proving.day,
        metavar="YYYY-MM-DD",
        help="only this day, of the tenant's time zone",
    )
    general = parser.add_argument_group("general options").add_argument
    general("--config", metavar="FILE", help="the settings, pystream.toml")
    general("--by", metavar="NAME", help="who is on record for it (default: the user)")
    if json_too:
        general("--json", action="store_true", help="print the result as one JSON object")
    return parser


def _note_view(store: Store, stream: Stream, count: int, options: argparse.Namespace) -> None:
    store.audit.record_view(
        stream.tenant_id,
        stream.id,
        {"attendance_shown": count},
        who=_store.who(options),
        now=_store.now(),
    )


def _replay(words: list[str]) -> int:
    from pystream.attendance import options as written

    parser = Parser(
        "attendance replay",
        usage="EVENTS.jsonl --mode live|file\n         [OPTION...] [--json]",
        description=_REPLAY,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    seconds = _argument(written.milliseconds)
    span = _argument(written.span)
    add("events", metavar="EVENTS.jsonl", type=path, help="the evidence file")
    add("--mode", type=_mode, metavar="MODE", required=True, help="live or file (a film)")
    add(
        "--target-duration",
        type=_argument(_target),
        default=6000,
        metavar="SECONDS",
        help="of the streams' segments (default: 6)",
    )
    add(
        "--lookahead",
        type=seconds,
        metavar="SECONDS",
        help="C, what a player buffers at most (default: of films 60, else the target duration)",
    )
    add(
        "--bridge",
        type=seconds,
        metavar="SECONDS",
        help="holes of credit that are closed (default: half of the target duration)",
    )
    add(
        "--timezone",
        type=_argument(_zone),
        default="UTC",
        metavar="ZONE",
        help="whose days are meant, as in Europe/Berlin (default: UTC)",
    )
    several: dict[str, Any] = {
        "type": span,
        "action": "append",
        "default": [],
        "metavar": "FROM/TO",
    }
    add("--window", help="a part of the programme; may be repeated", **several)
    add("--break", dest="breaks", help="no part of it; may be repeated", **several)
    add("--verified", action="store_true", help="certify only what a player says was playing")
    add("--require-visible", action="store_true", help="and in no hidden page")
    add(
        "--live-only",
        type=seconds,
        metavar="SECONDS",
        help="segments earn only so long after their media's end",
    )
    add("--credit-outage", action="store_true", help="tell outages with access around them")
    add("--union", action="store_true", help="add rows over all streams of a key")
    add("--json", action="store_true", help="print each row as one JSON object")
    # An option's value is the next argument, and no other way to write it is a second one.
    joined = [word.partition("=")[0] for word in words if word.startswith("--") and "=" in word]
    if joined:
        parser.error(f"{joined[0]} and its value are two arguments")
    given = parser.parse(words)
    try:
        options = written.Options(
            mode=given.mode,
            target_duration=given.target_duration,
            lookahead=given.lookahead,
            bridge=given.bridge,
            timezone=given.timezone,
            windows=tuple(given.window),
            breaks=tuple(given.breaks),
            verified=given.verified,
            require_visible=given.require_visible,
            live_only=given.live_only,
            credit_outage=given.credit_outage,
            union=given.union,
        )
    except InvalidValue as error:
        parser.error(str(error))
    from pystream.attendance.replay import replay

    try:
        rows = replay(given.events, options)
    except OSError as error:
        _terminal.complain(parser.prog, _terminal.sentence(error))
        return 2
    except MalformedEvidence as error:
        # Nothing on standard output, in JSON either: what stands there is rows.
        _terminal.complain(parser.prog, f"{given.events}: {error}")
        return 1
    with _terminal.output():
        if given.json:
            for row in rows:
                print(json.dumps(row))
        else:
            _show(rows)
    return 0


def _verify(words: list[str]) -> int:
    parser = Parser(
        "attendance verify",
        usage="REPORT|RECEIPT --public-key FILE\n"
        "         [--evidence EXPORT...] [--checkpoint NOTE] [--json]",
        description=_VERIFY,
        epilog=_PROOFS,
    )
    add = parser.add_argument
    add("document", metavar="REPORT|RECEIPT", type=path, help="what is to be proven")
    add("--public-key", type=path, required=True, metavar="FILE", help="the keys to trust")
    add(
        "--evidence",
        type=path,
        action="append",
        default=[],
        metavar="EXPORT",
        help="the log, to compute a report again; may be repeated, for each epoch",
    )
    add(
        "--checkpoint",
        type=path,
        action="append",
        default=[],
        metavar="NOTE",
        help="one of the log that was kept; may be repeated (needs --evidence)",
    )
    add("--json", action="store_true", help="print the result as one JSON object")
    given = parser.parse(words)
    if given.checkpoint and not given.evidence:
        parser.error("--checkpoint needs --evidence")
    from pystream.attendance import documents, notes
    from pystream.attendance.verification import verify

    try:
        keys = notes.read_verifier_keys(given.public_key)
        if not any(not key.cosigns for key in keys):
            parser.error("--public-key: there is no key of a log in the file")
        with ExitStack() as opened:
            text = opened.enter_context(open(given.document, "rb")).read(documents.LONGEST + 1)
            if text.startswith((b"%PDF-", b"PK")):
                raise MalformedDocument(
                    "this is a report to be read; what is signed is its JSON, which is attached"
                    " to the PDF of a sealed one (pystream report NAME --version N -o FILE.json)"
                )
            kept = []
            for name in given.checkpoint:
                file = opened.enter_context(
                    open(name, encoding="utf-8", errors="replace", newline="")
                )
                kept.append(file.read(notes.LONGEST + 1))
            exports = [opened.enter_context(open(name, "rb")) for name in given.evidence]
            export = exports[0] if exports else None
            verdict = verify(text, keys, export, kept, exports[1:])
    except InvalidValue as error:
        parser.error(f"--public-key: {error}")
    except OSError as error:
        _terminal.complain(parser.prog, _terminal.sentence(error))
        return 2
    except (MalformedDocument, NotProven) as error:
        _terminal.complain(parser.prog, f"not valid: {error}")
        if given.json:
            with _terminal.output():
                _terminal.print_json({"valid": False, "error": str(error)})
        return 1
    with _terminal.output("it is valid, but "):
        if given.json:
            _terminal.print_json(_facts(verdict, keys))
        else:
            _tell(verdict, keys)
    return 0


def _facts(verdict: Verdict, keys: Sequence[VerifierKey]) -> dict[str, Any]:
    document, checkpoint = verdict.document, verdict.checkpoint
    return {
        "valid": True,
        "kind": "report" if document.receipt is None else "receipt",
        "signer": str(verdict.signer),
        "checkpoint": {
            "origin": checkpoint.origin,
            "epoch": checkpoint.epoch,
            "size": checkpoint.size,
            "root": checkpoint.root.hex(),
            "clock_synchronised": checkpoint.is_synchronised,
            "clock_error_ms": checkpoint.clock_error_ms,
        },
        "cosigners": [
            {"name": each.key.name, "at": _store.moment_or_none(each.seconds)}
            for each in verdict.cosigners
        ],
        "missing_cosigners": _missing(verdict, keys),
        "tzdata": document.tzdata,
        "about": document.about,
        "events": verdict.events,
        "leaves": verdict.leaves,
        "leaves_not_available": verdict.gone,
        "rows": [
            row | {"proof": proof} for row, proof in zip(document.rows, verdict.proofs, strict=True)
        ],
    }


def _missing(verdict: Verdict, keys: Sequence[VerifierKey]) -> list[str]:
    have = {each.key for each in verdict.cosigners}
    return [key.name for key in keys if key.cosigns and key not in have]


def _tell(verdict: Verdict, keys: Sequence[VerifierKey]) -> None:
    document, checkpoint = verdict.document, verdict.checkpoint
    counted = _terminal.counted
    cosigned = [
        f"{each.key.name} at {_store.moment_or_none(each.seconds)}" for each in verdict.cosigners
    ] or ["nobody whose key was given"]
    cosigned += [f"not {name}" for name in _missing(verdict, keys)]
    clock = "synchronised" if checkpoint.is_synchronised else "not synchronised"
    evidence = "none: the rows rest on the signature (--evidence has the log)"
    if verdict.leaves is not None:
        evidence = (
            f"{counted(verdict.events, 'event')} of {counted(verdict.leaves, 'leaf', 'leaves')}"
        )
        evidence += f", {verdict.gone:,} of them not available"
    elif document.receipt is not None:
        evidence = f"{counted(verdict.events, 'event')}, all in the log"
    rows = [
        f"{verdict.proofs.count(proof):,} {proof}"
        for proof in ("recomputed", "signed", "not available")
        if proof in verdict.proofs
    ]
    facts = {
        "valid": _which(document),
        "signed by": str(verdict.signer),
        "log": f"{checkpoint.origin}, {counted(checkpoint.size, 'leaf', 'leaves')}",
        "root": checkpoint.root.hex(),
        "clock": f"{clock}, wrong by at most {checkpoint.clock_error_ms} ms",
        "cosigned by": ", ".join(cosigned),
        "evidence": evidence,
        "rows": ", ".join(rows) or "none",
    }
    for name, fact in facts.items():
        print(f"{name:<12} {fact}")
    if document.rows:
        print()
        _show(document.rows, verdict.proofs)


def _which(document: Document) -> str:
    if document.receipt is not None:
        return f"the receipt of {_text(document.receipt.key)}"
    about = document.about
    if not {"tenant", "name", "version"} <= about.keys():
        return "a report"
    return _text(f"the report of {about['tenant']}/{about['name']}, version {about['version']}")


def _join(words: list[str]) -> int:
    from pystream.cli import _joining

    return _joining.run(words)


def _argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """As argparse has it: what is wrong with a value is its own kind of error."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except InvalidValue as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def _mode(text: str) -> str:
    if text not in ("live", "file"):
        raise argparse.ArgumentTypeError("live or file is wanted")
    return text


def _target(text: str) -> int:
    from pystream.attendance.options import milliseconds

    value = milliseconds(text)
    if value == 0:
        raise InvalidValue("seconds above 0 are wanted")
    return value


def _zone(text: str) -> str:
    from pystream.attendance.options import zone_file

    zone_file(text)
    return text


# The same for people

_TIMES = {
    "access": "access_ms",
    "media": "media_ms",
    "window": "window_ms",
    "verified": "verified_ms",
    "certifiable": "certifiable_ms",
}


def _show(rows: list[dict[str, Any]], proofs: list[str] | None = None) -> None:
    # What nobody asked for is null in all rows.
    times = {
        title: name for title, name in _TIMES.items() if any(row[name] is not None for row in rows)
    }
    columns = [(title, "left") for title in ("key", "stream", "day")]
    columns += [(title, "right") for title in (*times, "devices")]
    columns += [("evidence", "left"), ("flags", "left")]
    columns += [("proof", "left")] if proofs else []
    _store.show_table(
        columns,
        [
            [
                *(_text(row[name]) for name in ("key", "stream", "day")),
                *(_clock(row[name]) for name in times.values()),
                str(row["max_devices"]),
                row["evidence_grade"],
                " ".join(map(_text, row["flags"])),
                *([proof] if proofs else []),
            ]
            for row, proof in zip(rows, proofs or [""] * len(rows), strict=True)
        ],
    )


def _text(text: str | None) -> str:
    """What an evidence file calls it, which may be anything: nothing that steers a terminal."""
    if text is None:
        return "-"
    return text if text.isprintable() else json.dumps(text)


def _clock(ms: int) -> str:
    minutes, seconds = divmod(ms // 1000, 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
