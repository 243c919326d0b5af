"""AES-GCM as NIST SP 800-38D writes it, a block at a time, with nonces of 12 bytes only."""

from __future__ import annotations

from Crypto.Cipher import AES

# The field's polynomial, x^128 + x^7 + x^2 + x + 1, with its bits the way round that 6.3 has them.
_R = 0xE1 << 120


def encrypt(key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
    """7.1: ciphertext and tag."""
    assert len(nonce) == 12
    block = AES.new(key, AES.MODE_ECB).encrypt
    subkey = int.from_bytes(block(bytes(16)))
    ciphertext = b"".join(
        bytes(a ^ b for a, b in zip(plaintext[n : n + 16], keystream, strict=False))
        for n in range(0, len(plaintext), 16)
        for keystream in [block(nonce + (n // 16 + 2).to_bytes(4))]
    )
    lengths = (8 * len(aad)).to_bytes(8) + (8 * len(ciphertext)).to_bytes(8)
    hashed = 0
    for part in (aad, ciphertext, lengths):
        for n in range(0, len(part), 16):
            word = int.from_bytes(part[n : n + 16].ljust(16, b"\0"))
            hashed = _multiplied(hashed ^ word, subkey)
    first = int.from_bytes(block(nonce + (1).to_bytes(4)))
    return ciphertext, (hashed ^ first).to_bytes(16)


def _multiplied(x: int, y: int) -> int:
    """6.3"""
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = y >> 1 ^ (_R if y & 1 else 0)
    return product
