"""The command `pystream`: one module a command, imported when it is asked for."""

from __future__ import annotations

import sys

COMMANDS = {
    "package": "package MP4 files as HLS, encrypted or not",
    "probe": "say what MP4 files hold, and what packaging would leave out",
    "verify": "check packaged HLS against its sources",
}

_USAGE = """\
usage: pystream COMMAND [ARGUMENT...]
       pystream COMMAND --help
       pystream --version

MP4 to encrypted HLS.

commands:
{commands}

exit codes: 0 done; 1 the input or the world is at fault, and a line on standard error says what and
where; 2 the command line is; 130 interrupted.
"""


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    name = arguments[0] if arguments else ""
    if name in COMMANDS:
        from importlib import import_module

        return _run(name, import_module(f"pystream.cli.{name}"), arguments[1:])
    usage = _USAGE.format(commands="\n".join(f"  {n:10} {what}" for n, what in COMMANDS.items()))
    if name in ("-h", "--help"):
        print(usage, end="")
        return 0
    if name == "--version":
        import pystream

        print(f"pystream {pystream.__version__}")
        return 0
    print(usage, end="", file=sys.stderr)
    if name:
        print(f"pystream: there is no command {name!r}", file=sys.stderr)
    return 2


def _run(name: str, module: object, arguments: list[str]) -> int:
    from pystream.cli import _terminal
    from pystream.errors import PystreamError

    try:
        _terminal.on_sigterm()
        return int(module.run(arguments))  # type: ignore[attr-defined]
    except KeyboardInterrupt:
        print(f"pystream {name}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 1
    except (PystreamError, OSError) as error:
        _terminal.complain(name, error)
        return 1
