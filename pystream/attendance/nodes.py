"""How a node records attendance: what a report says of it beside the rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PROXIES: Final = ("none", "http", "tcp")
"""What stands between viewers and a node. Behind any proxy the last byte that is acknowledged is one that the
proxy has: of HTTP, which has to hand on what it gets at once (`proxy_buffering off`), or of connections."""


@dataclass(frozen=True, slots=True)
class Node:
    """`is_synchronised`, `clock_error_ms`: what its kernel says of the clock, and by how much that has moved
    away from the anchor."""

    proxy: str
    is_synchronised: bool
    clock_error_ms: int

    def with_worst_of(self, other: Node) -> Node:
        """Of the same node, at another time: the nearest that can be said of both."""
        return Node(
            max(self.proxy, other.proxy, key=PROXIES.index),
            self.is_synchronised and other.is_synchronised,
            max(self.clock_error_ms, other.clock_error_ms),
        )

    def told(self) -> dict[str, Any]:
        """As it stands in a report."""
        return {
            "clock_error_ms": self.clock_error_ms,
            "clock_synchronised": self.is_synchronised,
            "proxy": self.proxy,
        }
