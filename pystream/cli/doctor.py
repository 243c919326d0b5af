"""`pystream doctor`: whether the machine is set up for a server that may be attacked."""

from __future__ import annotations

import os

from pystream.cli import _store, _terminal
from pystream.cli._arguments import Parser, path

_DESCRIPTION = """\
Says whether this machine is set up for a server that may be attacked, and what
would be better. It changes nothing: what should be otherwise it proposes, as
files to be written by hand.

It looks at SYN cookies, at the queues of listeners (net.core.somaxconn, and
without cookies net.ipv4.tcp_max_syn_backlog), at how many files a process may
have open, at whether `pystream guard` answers and limits SYNs, whether nftables
could be used, and what of the kernel's counters can be read. What speaks
against the settings themselves is said by `pystream serve --check`.
"""

_EPILOG = """\
The settings are those of --config, else of the file that PYSTREAM_CONFIG names,
else of ./pystream.toml or /etc/pystream/pystream.toml, else the defaults.

Limits are those of this shell and this user: a service may have others
(LimitNOFILE= of its unit). nftables takes root, or CAP_NET_ADMIN, to be asked;
the helper answers root, its own user and the server's. In a container, settings
of the network are the container's own where it has a network of its own.

  ok     is as it should be
  note   would be better otherwise, or cannot be seen from here
  wrong  keeps the server from being safe, or from what its settings want

With --json, one object: findings (what, state, said, and file and line where
one is proposed), files (the whole text by its path), and wrong, how many are.

exit codes:
  0  nothing is wrong
  1  something is, or the settings cannot be read
  2  the command line is wrong

examples:
  pystream doctor
  pystream doctor --config /etc/pystream/pystream.toml --json
"""


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = Parser(
        "doctor", usage="[--config FILE] [--json]", description=_DESCRIPTION, epilog=_EPILOG
    )
    add = parser.add_argument
    add("--config", metavar="FILE", type=path, help="the settings, pystream.toml")
    add("--json", action="store_true", help="print the result as one JSON object")
    options = parser.parse(arguments)
    try:
        from pystream.server import doctor, settings
    except ModuleNotFoundError as error:
        raise _store.not_installed(error) from None

    loaded = settings.load(options.config or settings.find(os.environ), os.environ)
    found = list(doctor.findings(loaded, doctor.look(loaded)))
    files = doctor.files(found)
    wrong = sum(each.state == doctor.WRONG for each in found)
    if options.json:
        facts = [
            {"what": each.what, "state": each.state, "said": each.said}
            | ({"file": each.file, "line": each.line} if each.file else {})
            for each in found
        ]
        _terminal.print_json({"findings": facts, "files": files, "wrong": wrong})
        return 1 if wrong else 0
    for each in found:
        print(f"{each.state:5}  {each.what}: {each.said}")
    for file, text in files.items():
        print(f"\n{file}, if you want it:\n\n{text}", end="")
    if doctor.SYSCTL_FILE in files:
        print("\nThen: sysctl --system")
    return 1 if wrong else 0
