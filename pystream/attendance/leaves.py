"""The hash of one event in the log."""

from __future__ import annotations

from hashlib import sha256

SALT_LENGTH = 16


def leaf(salt: bytes, event: bytes) -> bytes:
    """32 bytes. `salt`: 16 random ones; `event`: its RFC 8785 JSON. As RFC 9162 2.1.1 hashes an entry
    that is the one behind the other."""
    return sha256(b"\0" + salt + event).digest()
