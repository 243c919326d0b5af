"""`pystream guard`: the helper that sets the kernel's limits for a server."""

from __future__ import annotations

import os

from pystream.cli import _store
from pystream.cli._arguments import Parser, path

_DESCRIPTION = """\
Limits SYNs and drops banned sources in the kernel (nftables), for a server that
asks for it over a unix socket. It needs the capability CAP_NET_ADMIN and no
other, so that the server needs none.

A source, an IPv4 address or an IPv6 /64, may send 100 SYNs a second to the
server's ports, and 2,400 at once; while the server tells of an attack, 20 a
second and 40 at once. SYNs alone ban nobody, since their sources may be made
up. Networks that guard.exempt and server.trusted_proxies name are never
limited.
"""

_EPILOG = """\
All rules are in one table, `inet pystream`, which no other program's rules have
to know. One that is there already is taken over with its bans; if somebody
removes it, it is put back within a second. TERM and INT remove it. After a
crash it stays: limits until the next start, bans until their end. It is one
server's: another one on the machine wants guard.syn = "observe".

The server finds it by guard.helper in its settings. It takes nftables of the
kernel, and libnftables or nft (Debian: apt-get install nftables). A unit for
systemd is pystream-guard.service, beside the server's (pystream serve --help).
Without systemd, root gives it no more than it needs by

  setpriv --bounding-set=-all,+net_admin --inh-caps=-all,+net_admin \\
      pystream guard --user pystream

exit codes:
  0  it has ended, by TERM or INT, or --remove has done its work
  1  the kernel, or the socket, is at fault; a line on standard error says how
  2  the command line is wrong

examples:
  pystream guard --user pystream
  pystream guard --remove
"""


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = Parser(
        "guard",
        usage="[--socket FILE] [--user NAME] | --remove",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add(
        "--socket",
        metavar="FILE",
        type=path,
        help="where it listens (default: /run/pystream-guard/socket)",
    )
    add(
        "--user",
        metavar="NAME",
        type=path,
        help="as whom the server runs, by name or number; root and the helper's own user"
        " may ask in any case",
    )
    add(
        "--remove",
        action="store_true",
        help="remove what one that crashed has left. Where systemd says how its service ended"
        " (SERVICE_RESULT), only if that was as planned",
    )
    options = parser.parse(arguments)
    if options.remove and (options.socket or options.user):
        parser.error("--remove takes no other option")
    try:
        from pystream.server.guard import helper, nftables
    except ModuleNotFoundError as error:
        raise _store.not_installed(error) from None
    if options.remove:
        # systemd.exec(5): ExecStopPost= runs after a crash as well.
        if os.environ.get("SERVICE_RESULT", "success") == "success":
            nftables.kernel().run(nftables.removed())
        return 0
    helper.main(options.socket, options.user)
    return 0
