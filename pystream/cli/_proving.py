"""The actions of `pystream attendance` that sign, and hand out what proves it."""

from __future__ import annotations

from pystream.cli import _arguments, _store, _terminal
from pystream.cli._arguments import Parser
from pystream.errors import InvalidValue, MalformedDocument, NotProven, PystreamError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from pystream.acl.store.notary import Notary, Signed
    from pystream.attendance.checkpoint import Checkpoint

_COSIGN = """\
Says that you have seen a checkpoint, on your own machine: needs no server and
no store. From then on whoever has your public key can tell whether the log
that he is shown is the one that you saw. The checkpoint has to be signed by a
key of the log's that you trust (--public-key); it is printed with your
signature below it.

With --new-key a key is made first: FILE is what signs, for your eyes only, and
FILE.pub what your signatures are verified with. Tell the latter whoever runs
the server (`pystream tenant set --checkpoint-cosigner`), and keep the former.
"""

_RESTORED = """\
To be called when a backup of the store was brought back, and before the server
is started again: the log of attendance goes on as another one, of the next
epoch, whose checkpoints say how long the one before was, as far as is known;
that evidence may be missing is its first entry. Without that, the log would
grow otherwise than the one that tenants have checkpoints of, which nobody
could tell from forgery.

A server does so by itself where the store has less of a log than it had: how
far each was stands beside the erasure list, in attendance-heads.json. Where
that went back in time as well, only this helps.

With TENANT, only that one's. NOTE is the last checkpoint that somebody has of
its log: it is believed where it is signed by the log's key.
"""


def key(words: list[str]) -> int:
    parser = _of_tenant(
        "key",
        "Prints the public key that a tenant's log is verified with: give it to whoever\n"
        "is to verify reports and receipts (`verify --public-key`). It is made when\n"
        "attendance is recorded for the first time, or by this.",
    )
    options = parser.parse(words)
    with _store.both_stores(options) as (store, keys):
        tenant = store.tenant(options.tenant)
        found = _notary(store, keys).public_key(tenant, _store.now())
    _store.report(options, {"key": str(found)}, str(found))
    return 0


def checkpoint(words: list[str]) -> int:
    parser = _of_tenant(
        "checkpoint",
        "Signs how long a tenant's log is now, and prints that: a signed note, which\n"
        "says with one hash what all entries are. A server does so once a day. Keep it,\n"
        "and nobody can change unseen what was recorded before (`verify --checkpoint`).\n"
        "\n"
        "With --cosigned, FILE is one that the tenant's cosigner has signed (`cosign`):\n"
        "its signature is kept with the checkpoint from then on.\n"
        "\n"
        "With --timestamp, FILE is the answer of the authority that stamps checkpoints\n"
        "(attendance.timestamp_url), as `openssl ts -verify -in FILE` reads it.",
        "[--list | --cosigned FILE |\n         --timestamp FILE] ",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--list", action="store_true", help="list all that there are")
    which.add_argument(
        "--cosigned", type=_arguments.path, metavar="FILE", help="a checkpoint that was cosigned"
    )
    which.add_argument(
        "--timestamp",
        metavar="FILE",
        help="write the newest time stamp to FILE, and print what was stamped",
    )
    options = parser.parse(words)
    with _store.both_stores(options) as (store, keys):
        tenant, notary, now = store.tenant(options.tenant), _notary(store, keys), _store.now()
        if options.list:
            return _listed(options, notary.checkpoints(tenant.id))
        if options.timestamp is not None:
            return _stamp(options, *notary.timestamp(tenant.id))
        if options.cosigned is None:
            made = notary.checkpoint(tenant.id, _clock(), now)
        else:
            try:
                made = notary.cosign(tenant, _note(options.cosigned), now)
            except (MalformedDocument, NotProven) as error:
                raise PystreamError(f"{options.cosigned}: {error}") from None
    if options.json:
        _store.print_json(_facts(made))
    else:
        print(made.note, end="")
    return 0


def _stamp(options: argparse.Namespace, note: str, answer: bytes) -> int:
    with _store.new_file(options.timestamp, replace=True) as file:
        file.write(answer)
    _store.report(options, {"note": note, "file": options.timestamp}, note.removesuffix("\n"))
    return 0


def _listed(options: argparse.Namespace, found: tuple[Signed, ...]) -> int:
    if options.json:
        _store.print_json({"checkpoints": [_facts(each) for each in found]})
        return 0
    columns = [("made", "left"), ("epoch", "right"), ("leaves", "right")]
    columns += [("stamped", "left"), ("cosigned by", "left")]
    rows = [
        [
            _store.moment(each.at),
            str(each.epoch),
            f"{each.size:,}",
            _store.moment_or_none(each.stamped_at) or "-",
            " ".join(cosigner.name for cosigner in each.cosigners) or "-",
        ]
        for each in found
    ]
    _store.show_table(columns, rows)
    return 0


def _facts(signed: Signed) -> dict[str, Any]:
    return {
        "at": _store.moment(signed.at),
        "epoch": signed.epoch,
        "size": signed.size,
        "root": signed.root.hex(),
        "note": signed.note,
        "stamped_at": _store.moment_or_none(signed.stamped_at),
        "cosigners": [each.name for each in signed.cosigners],
    }


def cosign(words: list[str]) -> int:
    parser = Parser(
        "attendance cosign",
        usage="CHECKPOINT --key FILE --public-key FILE\n         [--kept NOTE]\n"
        "       pystream attendance cosign --key FILE --new-key NAME",
        description=_COSIGN,
        epilog=f"{_EXITS}example:\n"
        "  pystream attendance cosign --key office.key --new-key acme.example/office\n"
        "  pystream attendance cosign march.txt --key office.key \\\n"
        "      --public-key acme.pub > march.cosigned.txt\n",
    )
    add = parser.add_argument
    add("checkpoint", nargs="?", type=_arguments.path, metavar="CHECKPOINT", help="the note")
    add("--key", type=_arguments.path, required=True, metavar="FILE", help="your key")
    add("--public-key", type=_arguments.path, metavar="FILE", help="keys of logs that you trust")
    add(
        "--kept",
        type=_arguments.path,
        metavar="NOTE",
        help="the last one that you have cosigned: nothing is cosigned that goes behind it",
    )
    add("--new-key", metavar="NAME", help="make your key, of that name, as in acme.example/office")
    options = parser.parse(words)
    from pystream.attendance import checkpoint as checkpoints
    from pystream.attendance import notes

    if options.new_key is not None:
        if any((options.checkpoint, options.public_key, options.kept)):
            parser.error("--new-key makes a key, and signs nothing")
        return _new_key(parser, options)
    if options.checkpoint is None or options.public_key is None:
        parser.error("CHECKPOINT and --public-key are wanted, or --new-key")
    try:
        trusted = notes.read_verifier_keys(options.public_key)
        own = notes.read_signing_key(options.key)
        note = _note(options.checkpoint)
        kept = None if options.kept is None else _note(options.kept)
    except InvalidValue as error:
        parser.error(str(error))
    except OSError as error:
        _terminal.complain(parser.prog, _terminal.sentence(error))
        return 2
    if not own.cosigns:
        parser.error(f"--key: {options.key} has no key of a cosigner (--new-key makes one)")
    try:
        new, _ = checkpoints.check(note, trusted)
        if kept is not None:
            checkpoints.check_later(checkpoints.check(kept, trusted)[0], new)
        made = checkpoints.cosigned(note, own, _store.now())
    except (MalformedDocument, NotProven) as error:
        _terminal.complain(parser.prog, f"not cosigned: {error}")
        return 1
    with _terminal.output():
        print(made, end="")
    return 0


def _new_key(parser: Parser, options: argparse.Namespace) -> int:
    from pystream.attendance.notes import SigningKey, write_key

    try:
        made = SigningKey.generate(options.new_key, cosigns=True)
        write_key(options.key, made)
        write_key(f"{options.key}.pub", made.verifier)
    except InvalidValue as error:
        parser.error(f"--new-key: {error}")
    except OSError as error:
        _terminal.complain(parser.prog, _terminal.sentence(error))
        return 2
    print(made.verifier)
    return 0


def restored(words: list[str]) -> int:
    parser = Parser(
        "attendance restored",
        usage="[TENANT [--known NOTE]]\n         [--by NAME] [--config FILE] [--json]",
        description=_RESTORED,
        epilog=_store.EXIT_CODES,
    )
    parser.add_argument("tenant", nargs="?", metavar="TENANT", help="only this tenant's log")
    parser.add_argument(
        "--known", type=_arguments.path, metavar="NOTE", help="the last checkpoint that is known"
    )
    _store.add_common(parser, changes=True, keys=True)
    options = parser.parse(words)
    if options.known is not None and options.tenant is None:
        parser.error("--known needs TENANT")
    with _store.both_stores(options) as (store, keys):
        notary, now = _notary(store, keys), _store.now()
        tenants = store.tenants() if options.tenant is None else [store.tenant(options.tenant)]
        begun = {}
        for tenant in tenants:
            if options.tenant is not None or notary.checkpoints(tenant.id):
                known = None if options.known is None else _known(options.known, notary, tenant.id)
                begun[tenant.name] = notary.begin_epoch(
                    tenant.id, _clock(), now, known, who=_store.who(options)
                )
    if options.json:
        _store.print_json({"begun": {name: _facts(each) for name, each in begun.items()}})
    else:
        for name, each in begun.items():
            print(f"{name}: epoch {each.epoch}")
    return 0


def _known(path: str, notary: Notary, tenant_id: int) -> Checkpoint:
    from pystream.attendance import checkpoint as checkpoints

    try:
        found, _ = checkpoints.check(_note(path), [notary.ensure_key(tenant_id, _store.now())])
    except (MalformedDocument, NotProven) as error:
        raise PystreamError(f"{path}: {error}") from None
    return found


def receipt(words: list[str]) -> int:
    parser = Parser(
        "attendance receipt",
        usage="TENANT/STREAM ID -o FILE [--overwrite]\n"
        "         [--day YYYY-MM-DD] [--by NAME] [--config FILE] [--json]",
        description="Writes what is known of how long a password has watched a stream, with its\n"
        "events and the proof that they are in the tenant's log, all signed: anybody who\n"
        "has the log's public key can verify it (`verify`), without a server. ID is the\n"
        "password's number, as `show` and `pystream password list --json` have it. That\n"
        "it was made is on record.",
        epilog=f"{_store.EXIT_CODES}\nexample:\n"
        "  pystream attendance receipt acme/course 4711 -o receipt.json\n",
    )
    add = parser.add_argument
    add("stream", type=_store.place, metavar="TENANT/STREAM", help="the stream")
    add("id", type=_store.password_id, metavar="ID", help="the password, by its number")
    add("-o", "--output", required=True, metavar="FILE", help="the receipt")
    add("--overwrite", action="store_true", help="replace FILE where it is there")
    add("--day", type=day, metavar="YYYY-MM-DD", help="only this day, of the tenant's time zone")
    _store.add_common(parser, changes=True, keys=True)
    options = parser.parse(words)
    from pystream.acl.reports import making

    with _store.both_stores(options) as (store, keys):
        tenant, stream = store.tenant(options.stream[0]), store.stream(*options.stream)
        now, notary = _store.now(), _notary(store, keys)
        made = making.receipt(store, notary, tenant, stream, options.id, options.day, _clock(), now)
        with _store.new_file(options.output, replace=options.overwrite) as file:
            # On record before anybody can see it, and where nobody can, not at all.
            what = {"attendance_receipts": 1}
            store.audit.record_view(tenant.id, stream.id, what, who=_store.who(options), now=now)
            file.write(made)
    facts = {"file": options.output, "bytes": len(made)}
    _store.report(options, facts, f"{options.output}: {len(made):,} bytes")
    return 0


def export_log(options: argparse.Namespace) -> int:
    """Prints a tenant's whole log."""
    import sys

    with _store.both_stores(options) as (store, keys):
        tenant, now = store.tenant(options.stream[0]), _store.now()
        notary = _notary(store, keys)
        signed = notary.signed_over(tenant.id, options.epoch, _clock(), now)
        lines = notary.export(signed)
        what = {"attendance_signed": signed.size}
        store.audit.record_view(tenant.id, None, what, who=_store.who(options), now=now)
        with _terminal.output():
            for line in lines:
                sys.stdout.buffer.write(line)
    return 0


def day(text: str) -> str:
    """A civil day, as it is written."""
    from argparse import ArgumentTypeError
    from datetime import date

    try:
        if date.fromisoformat(text).isoformat() == text:
            return text
    except ValueError:
        pass
    raise ArgumentTypeError("a day is wanted, as in 2031-05-01")


_EXITS = """\
exit codes:
  0  done
  1  the checkpoint is not one, or not signed by a key that is trusted
  2  the command line is wrong, or a file cannot be read or written
  130  interrupted, by Ctrl-C or SIGTERM

"""


def _of_tenant(action: str, description: str, more: str = "") -> Parser:
    parser = Parser(
        f"attendance {action}",
        usage=f"TENANT {more}[--config FILE] [--json]",
        description=description,
        epilog=_store.EXIT_CODES,
    )
    parser.add_argument("tenant", metavar="TENANT", help="the tenant")
    _store.add_common(parser, changes=False, keys=True)
    return parser


def _notary(store: Any, keys: Any) -> Notary:
    from pystream.acl.store.notary import Notary

    return Notary(store.database, keys)


def _clock() -> Any:
    from pystream.server.clock import kernel

    return kernel()


def _note(path: str) -> str:
    from pystream.attendance import notes

    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        return file.read(notes.LONGEST + 1)
