"""The line to the helper that sets the kernel's rules."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address, ip_network

import msgspec
import trio

from pystream.errors import GuardError
from pystream.server.guard.nftables import Prefix, Protected

_PATIENCE_SECONDS = 2.0
_MOST_BYTES = 65_536


class Stats(msgspec.Struct, frozen=True):
    """What the helper was told, and what it counts: SYNs that `passed` and were `limited`, packets of
    `banned` sources, since the table is as it is; and `bans` now."""

    mode: str
    protects: str
    bans: int
    passed: int = 0
    limited: int = 0
    banned: int = 0


class Helper:
    """Asks the helper that listens at `path`. Everything raises `GuardError` where it does not do so, or is
    not there."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def ban(self, prefix: Prefix, seconds: float) -> None:
        """Has the kernel drop all that comes from there to the server's ports; one that is banned already is
        so for that time from now on. Only of who has been seen to answer: a SYN's source may be
        anybody's address. Open connections are not ended by it; they wait."""
        await self._ask(f"ban {prefix} {max(1, round(seconds))}")

    async def unban(self, prefix: Prefix) -> None:
        """Ends a ban, if there is one."""
        await self._ask(f"unban {prefix}")

    async def unban_all(self) -> None:
        """Ends all bans."""
        await self._ask("unban all")

    async def protect(self, protected: Protected) -> None:
        """Says which ports are the server's, and whom nothing limits."""
        await self._ask(f"protect {protected}")

    async def mode(self, mode: str) -> None:
        """`normal`, or `tight`, which has to be said again within a minute."""
        await self._ask(f"mode {mode}")

    async def stats(self) -> Stats:
        try:
            return msgspec.json.decode(await self._ask("stats"), type=Stats)
        except msgspec.MsgspecError:
            raise GuardError(f"what answers at {self._path} is no helper of this version") from None

    async def _ask(self, line: str) -> str:
        answer = b""
        try:
            with trio.fail_after(_PATIENCE_SECONDS):
                async with await trio.open_unix_socket(self._path) as stream:
                    # Who may not ask is told so before anything is read.
                    with suppress(trio.BrokenResourceError):
                        await stream.send_all(f"{line}\n".encode())
                    while not answer.endswith(b"\n") and len(answer) <= _MOST_BYTES:
                        piece = await stream.receive_some(_MOST_BYTES)
                        if not piece:
                            raise GuardError("the helper has ended")
                        answer += piece
        except FileNotFoundError:
            raise GuardError(f"no helper listens at {self._path}") from None
        except (OSError, RuntimeError, trio.BrokenResourceError) as error:
            # RuntimeError: trio's for a file that is no socket.
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise GuardError(f"the helper at {self._path} cannot be asked: {why}") from None
        except trio.TooSlowError:
            raise GuardError(f"the helper at {self._path} does not answer") from None
        word, _, rest = answer.decode("utf-8", "replace").rstrip("\n").partition(" ")
        if word != "ok":
            raise GuardError(f"the helper refuses: {rest}")
        return rest


def source(address: str) -> Prefix:
    """What a ban of an address is of: itself, or the IPv6 /64 that it is in. Raises `ValueError`."""
    found = ip_address(address)
    if found.version == 6:
        found = found.ipv4_mapped or found
    return ip_network(f"{found}/{32 if found.version == 4 else 64}", strict=False)
