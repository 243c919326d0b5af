"""What fuzzing kept, once more and without a fuzzer; and a short run against a server's ports."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fuzz import ports
from tests.fuzz.http import asked
from tests.fuzz.planner import LOOKS, Draw, planned
from tests.test_http import ACCEPTED, REFUSED, UNFINISHED

CORPUS = Path(__file__).parent / "fuzz" / "corpus"
KEPT = sorted((CORPUS / "planner").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("look", LOOKS[:8], ids=lambda look: look.__name__)
def test_the_kept_inputs_are_planned_as_naively(look: object) -> None:
    inputs = [path for path in KEPT if LOOKS[path.read_bytes()[0] % len(LOOKS)] is look]
    assert len(inputs) >= 5
    for path in inputs:
        try:
            planned(path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path} is not survived") from error


def test_any_bytes_are_drawn_from() -> None:
    """After the last byte come zeros, so a short input is an input too."""
    assert [Draw(b"\x02\xff\x7f").int64(), Draw(b"\x08\x01").int64()] == [2**15 - 1, 1]
    for look in range(len(LOOKS)):
        planned(bytes([look]))
    for seed in range(40):
        planned(random.Random(seed).randbytes(seed))


@pytest.mark.slow
def test_the_kept_bytes_are_requests_or_faults() -> None:
    inputs = sorted((CORPUS / "http").iterdir())
    assert len(inputs) >= 50
    for path in inputs:
        try:
            asked(path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path} is not survived") from error


@pytest.mark.slow
def test_any_bytes_are_requests_or_faults() -> None:
    asked(b"")
    for table in (ACCEPTED, REFUSED, UNFINISHED):
        for data, *_ in table.values():
            for choice in (0, 1, 14):
                asked(bytes([choice]) + data)


@pytest.mark.slow
@pytest.mark.needs("openssl")
@pytest.mark.parametrize("tls", [False, True], ids=["HTTP", "HTTPS"])
def test_whatever_comes_to_a_port_costs_its_own_connection_at_most(tls: bool) -> None:
    with ports.running(tls) as (node, port):
        attacks = ports.Attacks(port, seed=1, threads=3)
        ports.survived(node, attacks, rounds=150)
    kinds = ports.TLS_KINDS if tls else ports.KINDS
    assert set(attacks.done) == {kind.__name__ for kind in kinds}
    assert {"200", "400", "404"} < set(attacks.answers)
