"""RFC 9162 section 2.1 as it is written there: trees over lists of data, each time from the leaves on."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256


def leaf(data: bytes) -> bytes:
    return sha256(b"\0" + data).digest()


def split(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def root(leaves: Sequence[bytes]) -> bytes:
    """MTH, over leaves that are hashed already."""
    n = len(leaves)
    if n < 2:
        return leaves[0] if n else sha256().digest()
    k = split(n)
    return sha256(b"\1" + root(leaves[:k]) + root(leaves[k:])).digest()


def path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH."""
    n = len(leaves)
    if n == 1:
        return []
    k = split(n)
    if m < k:
        return [*path(m, leaves[:k]), root(leaves[k:])]
    return [*path(m - k, leaves[k:]), root(leaves[:k])]


def proof(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PROOF."""
    return subproof(m, leaves, True) if 0 < m < len(leaves) else []


def subproof(m: int, leaves: Sequence[bytes], is_whole: bool) -> list[bytes]:
    n = len(leaves)
    if m == n:
        return [] if is_whole else [root(leaves)]
    k = split(n)
    if m <= k:
        return [*subproof(m, leaves[:k], is_whole), root(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), root(leaves[:k])]


def included(m: int, n: int, of: bytes, path: Sequence[bytes], of_all: bytes) -> bool:
    """Section 2.1.3.2, step by step."""
    if m >= n:
        return False
    fn, sn, r = m, n - 1, of
    for p in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = sha256(b"\1" + p + r).digest()
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = sha256(b"\1" + r + p).digest()
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == of_all
