"""AES-128-CBC by the machine's OpenSSL, on our own buffers: the yardstick for one stream."""

from __future__ import annotations

import ctypes
from typing import Any


class OpenSSL:
    """`libcrypto`'s EVP interface. Raises `OSError` where there is no libcrypto 3."""

    def __init__(self) -> None:
        self._lib: Any = ctypes.CDLL("libcrypto.so.3")
        self._lib.EVP_CIPHER_CTX_new.restype = ctypes.c_void_p
        self._lib.EVP_aes_128_cbc.restype = ctypes.c_void_p
        self._lib.OpenSSL_version.restype = ctypes.c_char_p
        self._context = ctypes.c_void_p(self._lib.EVP_CIPHER_CTX_new())
        self._cipher = ctypes.c_void_p(self._lib.EVP_aes_128_cbc())

    @property
    def version(self) -> str:
        """As `openssl version` prints it."""
        text: bytes = self._lib.OpenSSL_version(0)
        return text.decode()

    def encrypt(self, message: bytes | bytearray, out: bytearray, key: bytes, iv: bytes) -> int:
        """Encrypts with PKCS#7 padding into `out`, which has 16 bytes more; returns the length."""
        source: Any = message
        if isinstance(message, bytearray):
            source = (ctypes.c_char * len(message)).from_buffer(message)
        target = (ctypes.c_char * len(out)).from_buffer(out)
        done, last = ctypes.c_int(), ctypes.c_int()
        self._must(self._lib.EVP_EncryptInit_ex(self._context, self._cipher, None, key, iv))
        self._must(
            self._lib.EVP_EncryptUpdate(
                self._context, target, ctypes.byref(done), source, len(message)
            )
        )
        end = ctypes.byref(target, done.value)
        self._must(self._lib.EVP_EncryptFinal_ex(self._context, end, ctypes.byref(last)))
        return done.value + last.value

    @staticmethod
    def _must(answer: int) -> None:
        if answer != 1:
            raise RuntimeError("OpenSSL refused")
