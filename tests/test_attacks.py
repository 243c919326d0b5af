"""Viewers play on while somebody attacks, and a node needs hardly more for it; all of them are real."""

from __future__ import annotations

import json
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from pystream.acl.streams import StreamSettings, TenantSettings
from pystream.rehearsal import watching
from pystream.rehearsal.attackers import KINDS
from pystream.rehearsal.limits import Stage
from pystream.rehearsal.players import Playing, Visitor
from pystream.rehearsal.stage import Plan, Rehearsal
from tests.oracles import synthetic
from tests.test_serve import SERVE, Node, node_in

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("attacks")]

VIEWERS = 100
SECONDS = 6.0
# How much more a node may take than the same viewers need alone.
MORE = 1.5
# That a worker is late says nothing on a machine that other tests use as well.
SETTINGS = "[server]\nworkers = 2\n[overload]\nloop_lag_ms = 60000\n"


def film(folder: Path) -> Path:
    """30 s of about 4 Mbit/s."""
    chance = random.Random(1)
    pictures = [b"\0\0\x4e\x20\x65" + chance.randbytes(19_999) for _ in range(50)]
    path = folder / "film.mp4"
    path.write_bytes(synthetic.alike(750, *pictures))
    return path


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rehearsal]:
    folder = tmp_path_factory.mktemp("event")
    (folder / "pystream.toml").write_text(SETTINGS)
    stream = StreamSettings(
        sources=(str(film(folder)),), segment_duration_ms=2000, access="personal"
    )
    plan = Plan(
        settings=str(folder / "pystream.toml"),
        tenant="acme",
        tenant_settings=asdict(TenantSettings()),
        stream="event",
        stream_settings=asdict(stream),
        seconds=SECONDS,
        addresses=None,
    )
    with Rehearsal(plan) as made:
        yield made


@pytest.fixture(scope="module")
def alone(rehearsal: Rehearsal) -> Stage:
    """What the same viewers need without an attack."""
    found = rehearsal.play(VIEWERS)
    assert found.holds and found.tcp > 5_000_000, found
    return found


@pytest.mark.needs("ip")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "syn"])
def test_viewers_play_on_and_a_node_needs_hardly_more(
    rehearsal: Rehearsal, alone: Stage, kind: str
) -> None:
    found = rehearsal.play(VIEWERS, [kind])
    assert (found.late, found.refused, found.errors) == (0, 0, 0), found
    assert sum(found.attacks[kind].values()) > 10, found
    assert found.idle + found.memory <= MORE * (alone.idle + alone.memory), (found, alone)
    assert found.tcp <= MORE * alone.tcp, (found, alone)


# A trusted proxy speaks for them, so that there are as many as one likes.
ADDRESSES = 1_000_000
AT_ONCE = 250
PROXY = "127.0.0.9"
NOT_FOUND = b"HTTP/1.1 404 "


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with node_in(tmp_path, SERVE) as made:
        made.add_film()
        made.settings(
            f'workers = 2\ntrusted_proxies = ["{PROXY}"]\n', "[overload]\nloop_lag_ms = 60000\n"
        )
        made.start()
        made.hear("READY=1")
        yield made


class Players:
    """Ten of them, in a process of their own."""

    def __init__(self, node: Node, seconds: float) -> None:
        plan = {
            "url": f"http://127.0.0.1:{node.port}/acme/film/master.m3u8",
            "visitors": [Visitor()] * 10,
            "playing": asdict(Playing(10, seconds, stall=0.0, ramp=1.0)),
            "processors": (),
        }
        command = [sys.executable, "-m", "pystream.rehearsal.players"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(plan).encode())
        self._process.stdin.close()

    def played(self) -> None:
        """They had what they wanted, in time."""
        assert self._process.stdout is not None
        with self._process.stdout as met:
            found = json.load(met)
        assert self._process.wait() == 0
        assert (found["errors"], found["late"]) == ({}, []) and found["requests"][
            "segment"
        ] >= 10, found


def test_a_million_addresses_leave_nothing_and_viewers_play_on(node: Node) -> None:
    workers = watching.workers(watching.family(node.process.pid))
    assert len(workers) == 2
    Players(node, 2).played()
    alone = sum(map(watching.rss, workers))
    most = alone
    players = Players(node, 15)
    proxies = [
        socket.create_connection(("127.0.0.1", node.port), source_address=(PROXY, 0))
        for _ in range(8)
    ]
    for begin in range(0, ADDRESSES, AT_ONCE * len(proxies)):
        for turn, proxy in enumerate(proxies):
            first = begin + AT_ONCE * turn
            proxy.sendall(b"".join(map(asked, range(first, first + AT_ONCE))))
        for proxy in proxies:
            answered(proxy)
        most = max(most, sum(map(watching.rss, workers)))
    for proxy in proxies:
        proxy.close()
    players.played()
    assert most <= MORE * alone


def asked(number: int) -> bytes:
    """By addresses that are far from each other."""
    address = IPv4Address(number * 2_654_435_761 % 2**32)
    return b"GET /nothing HTTP/1.1\r\nHost: film.example\r\nX-Forwarded-For: %b\r\n\r\n" % (
        str(address).encode()
    )


def answered(proxy: socket.socket) -> None:
    """Takes the answers to all that was asked, none of which is a refusal."""
    left, rest = AT_ONCE, b""
    while left:
        came = proxy.recv(1 << 16)
        assert came, "the proxy's connection was ended"
        *heads, rest = (rest + came).split(NOT_FOUND)
        left -= len(heads)
