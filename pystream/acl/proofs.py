"""Proofs of deletion: what was deleted, when and how much of it, without saying whose it was.

A proof is a document of JSON values, and its digest: SHA-256 of the document in one canonical form
(keys sorted, no blanks, ASCII). Each names the digest of the one before it, so in a log of proofs
none can be changed, taken out of the middle or put in later without all that follow.

The log holds no name. Where one belongs to a proof, the tenant's and who deleted it, the document has
a commitment: SHA-256 over a random nonce and the names. What is printed for the customer opens it.
Without the nonce, nobody can try names against the log.

What is printed is signed besides: HMAC-SHA256 of the digest under a key of the node's root. So whoever
keeps the node's keys can tell later that it comes from this node, though the log be lost.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Self

FORMAT: Final = "pystream proof of deletion 1"
NONCE_LENGTH: Final = 16


@dataclass(frozen=True, slots=True)
class Proof:
    """A document and its digest, 64 hexadecimal digits. Neither has a name in it."""

    document: Mapping[str, Any]
    digest: str

    @classmethod
    def of(cls, document: Mapping[str, Any], previous: str | None) -> Self:
        """The proof that follows the one of the digest `previous` in the log."""
        whole = {"format": FORMAT, **document, "previous": previous}
        return cls(whole, digest(whole))


@dataclass(frozen=True, slots=True)
class Names:
    """Whose data a proof is about and who deleted it, and the nonce that the commitment is made with."""

    nonce: bytes
    tenant: str
    who: str

    @classmethod
    def of(cls, tenant: str, who: str) -> Self:
        return cls(secrets.token_bytes(NONCE_LENGTH), tenant, who)

    def commitment(self) -> str:
        """64 hexadecimal digits."""
        return sha256(_canonical([self.nonce.hex(), self.tenant, self.who])).hexdigest()


def digest(document: Mapping[str, Any]) -> str:
    return sha256(_canonical(document)).hexdigest()


def certificate(proof: Proof, names: Names | None, key: bytes) -> dict[str, Any]:
    """What is printed of a proof, as JSON values. `key`: 32 bytes, of the node's root."""
    opened = names and {"nonce": names.nonce.hex(), "tenant": names.tenant, "who": names.who}
    return {
        "document": dict(proof.document),
        "names": opened,
        "digest": proof.digest,
        "signature": _signature(key, proof.digest),
    }


def wrong_with(certificate: Any, key: bytes) -> Iterator[str]:
    """What does not hold of something that was printed, a sentence each; nothing where all does."""
    try:
        document, said = certificate["document"], certificate["digest"]
        signature, names = certificate["signature"], certificate["names"]
        found = digest(document)
        committed = document.get("commitment")
        opened = names and Names(bytes.fromhex(names["nonce"]), names["tenant"], names["who"])
        texts = [said, signature, *([opened.tenant, opened.who] if opened else [])]
        if not all(isinstance(each, str) and each.isascii() for each in texts[:2]):
            raise TypeError
        whose = opened.commitment() if opened else None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        yield "this is no proof of deletion that pystream has printed"
        return
    if not hmac.compare_digest(found, said):
        yield "the document is not the one that was signed"
    if not hmac.compare_digest(_signature(key, said), signature):
        yield "the signature is not this node's"
    if committed != whose:
        yield "the names are not those that the document was made with"


def broken_at(log: Iterable[Proof]) -> int | None:
    """The number of the first proof of a log, from 0, that was changed or does not follow the one
    before it; None where all is as it was written. The first may follow one that is gone."""
    previous = None
    for number, proof in enumerate(log):
        follows = number == 0 or proof.document.get("previous") == previous
        if not follows or digest(proof.document) != proof.digest:
            return number
        previous = proof.digest
    return None


def _signature(key: bytes, of: str) -> str:
    return hmac.digest(key, of.encode(), "sha256").hex()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")
