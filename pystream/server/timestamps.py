"""Time stamps of checkpoints (RFC 3161): an authority that the operator has chosen says when it has seen one.

What it sees is a hash of the note as the log signed it. Whoever trusts the authority knows from its answer
that the log was so by then, even if the log's key should be stolen later.
"""

from __future__ import annotations

from calendar import timegm

from cryptography.x509 import load_pem_x509_certificates
from rfc3161_client import (
    HashAlgorithm,
    TimeStampRequest,
    TimestampRequestBuilder,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from pystream.errors import NotProven


def question(note: str) -> TimeStampRequest:
    """What the authority is asked, with a nonce (section 2.4.1)."""
    builder = TimestampRequestBuilder().data(note.encode())
    return builder.hash_algorithm(HashAlgorithm.SHA256).cert_request(cert_request=True).build()


def checked(question: TimeStampRequest, answer: bytes, note: str, roots: bytes) -> int:
    """The Unix second in the authority's answer (section 2.4.2), which is of that question, and signed by a
    certificate for time stamps that leads to one of the roots, in PEM. Raises `NotProven`."""
    try:
        found = decode_timestamp_response(answer)
        verifier = VerifierBuilder.from_request(question)
        for each in load_pem_x509_certificates(roots):
            verifier = verifier.add_root_certificate(each)
        verifier.build().verify_message(found, note.encode())
    except (VerificationError, ValueError) as error:
        raise NotProven(f"the answer is no time stamp of the checkpoint: {error}") from None
    return timegm(found.tst_info.gen_time.utctimetuple())
