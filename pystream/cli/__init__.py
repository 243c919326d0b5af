"""The command `pystream`: one module a command, imported when it is asked for."""

from __future__ import annotations

import gc
import os
import sys

COMMANDS = {
    "package": "package MP4 files as HLS, encrypted or not",
    "probe": "say what MP4 files hold, and what packaging would leave out",
    "verify": "check packaged HLS against its sources",
    "serve": "serve the streams of the store, until a signal ends it",
    "demo": "serve a film on this machine, to try it out",
    "tenant": "add, list, change, export and delete the customers that own streams",
    "stream": "add, list, change and remove what a server offers",
    "password": "make and check what viewers type to come in",
    "person": "add, list, change and remove who works for a tenant",
    "token": "make, list and revoke what a tenant's programs come in with",
    "audit": "show who changed what at a tenant, and who saw what",
    "verifier": "say how a customer's links and tokens are checked",
    "link": "make a signed link, to try it out",
    "keyring": "rotate, back up and bring back the keys of a node",
    "attendance": "compute who has watched for how long, from evidence",
    "report": "say who has attended an event, or watched a stream, and export it",
    "retention": "delete what is old, and show the proof of it",
    "privacy": "write the papers that data protection law asks for",
    "guard": "limit SYNs and drop banned sources in the kernel, for a server",
    "incident": "show attacks on a node, and export what was recorded of them",
    "doctor": "say whether this machine is set up for a server that may be attacked",
    "top": "show what a running node does",
    "rehearse": "play a coming event on this host, and say what holds",
    "traffic": "say what was sent in a month, by stream and kind",
}

# Actions of commands that are typed as commands of their own.
_ACTIONS = (
    *("attendance event", "attendance receipt", "attendance checkpoint", "attendance join"),
    *("password cards", "keyring backup", "keyring restore"),
)

# How many objects more there are before the garbage collector looks for some that could go. Python's own
# 700 have it look more than a hundred times while a command's modules are loaded: a quarter of that time.
_OBJECTS = 100_000

_USAGE = """\
usage: pystream COMMAND [ARGUMENT...]
       pystream help [COMMAND]      or --help, -h, also behind a COMMAND
       pystream --version           or -V

Packages MP4 as HLS: MPEG-TS or fMP4 segments, encrypted with AES-128 or not.

commands:
{commands}

exit codes:
  0  done, also where a reader closed the pipe before it had all of the output
  1  the input or the world is at fault; a line on standard error says what
     and where, and so does "error" of the object that --json prints
  2  the command line is wrong
  130  interrupted, by Ctrl-C or SIGTERM
"""


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    from pystream.cli import _terminal

    if argv is None:
        gc.set_threshold(_OBJECTS)
    arguments = sys.argv[1:] if argv is None else argv
    name = arguments[0] if arguments else ""
    _terminal.program = f"pystream {name}" if name in COMMANDS else "pystream"
    try:
        _terminal.on_signals()
        try:
            code = _run(name, arguments[1:])
        except SystemExit as error:
            # argparse's, after --help (0) or a wrong command line (2).
            code = error.code if isinstance(error.code, int) else 2
        _terminal.flush()
    except BrokenPipeError:
        # Whoever read standard output has seen enough.
        code = 1
    except KeyboardInterrupt:
        _terminal.complain(_terminal.program, "interrupted")
        code = 130
    except BaseException as error:
        # Not Exception: a panic of the core is none (PyO3's PanicException).
        _terminal.fail(arguments, error)
        code = 1
    _terminal.end_output()
    if argv is None:
        # All is written. What the interpreter would still tidy up takes a third of a short command.
        os._exit(code)
    return code


def _run(name: str, arguments: list[str]) -> int:
    if name in COMMANDS:
        from importlib import import_module

        return int(import_module(f"pystream.cli.{name}").run(arguments))
    if name == "help" and arguments:
        return _run(arguments[0], ["--help"])
    from pystream.cli import _terminal

    if name in ("-h", "--help", "help"):
        listed = "\n".join(f"  {command:10} {what}" for command, what in COMMANDS.items())
        with _terminal.output():
            print(_USAGE.format(commands=listed), end="")
        return 0
    if name in ("-V", "--version"):
        import pystream

        with _terminal.output():
            print(f"pystream {pystream.__version__}")
        return 0
    from pystream.cli._arguments import guess

    wrong = f"there is no command {name!r}" if name else "no command is given"
    near = guess(name, (*COMMANDS, *_ACTIONS)) or f": {', '.join(COMMANDS)}"
    _terminal.complain("pystream", f"{wrong}{near} (pystream --help)")
    return 2
