"""Floods of SYNs against the real server with the real helper, in namespaces of the test's own (`tests.lab`).

Figures of speed are no matter here; that newcomers come in is, and how many SYN-ACKs an attack is worth.
"""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.client import HTTPConnection
from ipaddress import ip_network
from pathlib import Path

import pytest
import trio

from pystream.rehearsal.attackers import NODE
from pystream.server.gauges import Board, Syns
from pystream.server.guard.client import Helper, source
from pystream.server.guard.kernel import NETSTAT, Counters, counters
from pystream.server.guard.nftables import Protected
from pystream.server.guard.syn import CALM_SECONDS, Look, Switch, Watch
from pystream.server.listeners import HTTP, Place
from pystream.server.settings import UNIX, Guard, Network, Server, Settings
from tests import copies
from tests.lab import Lab, lab
from tests.test_guard_helper import guarding
from tests.test_serve import Node, ended
from tests.waiting import PATIENCE, until

pytestmark = [
    pytest.mark.slow,
    # Two floods at once would be one of another size.
    pytest.mark.xdist_group("floods"),
    pytest.mark.needs("unshare", "nsenter", "setpriv", "ip", "nft"),
]
PORT = 8080
NEWCOMERS = 84
# Five thousand a second, for three seconds.
FLOOD = (str(PORT), "15000", "5000")


# The switch, on plain values


def test_a_flood_is_noticed_at_once_and_over_after_a_calm_while() -> None:
    switch = Switch()
    assert not switch.look(Look(), 0)
    assert switch.look(Look(unreturned=100), 1)
    for now in range(2, 300):
        # What is kept out keeps it on, though nothing else is seen any more.
        assert switch.look(Look(limited=50), now)
    for now in range(300, 299 + int(CALM_SECONDS)):
        assert switch.look(Look(unreturned=19, no_room=19, half_open=249, limited=49), now)
    assert not switch.look(Look(), 299 + CALM_SECONDS)
    assert switch.look(Look(half_open=1000), 330)


@pytest.mark.parametrize(
    "seen",
    [
        # 20,000 who join within a second, each of whom answers within 40 ms.
        Look(unreturned=99, half_open=800),
        # Cookies that return are no flood.
        Look(unreturned=0),
        # A crowd behind one address that the normal limits hold up.
        Look(limited=100_000),
    ],
)
def test_a_crowd_is_no_flood(seen: Look) -> None:
    switch = Switch()
    assert not any(switch.look(seen, now) for now in range(100))


def test_the_kernels_counters_are_read_by_their_names() -> None:
    text = "TcpExt: A SyncookiesRecv SyncookiesSent ListenOverflows\nTcpExt: 9 1 2 3\nIpExt: B\nIpExt: 4\n"
    assert counters(text) == Counters(2, 1, 0, 3)
    assert counters("") == Counters()
    assert counters(Path(NETSTAT).read_text()) >= Counters()


def test_who_does_not_answer_has_the_usual_time_again_when_a_flood_is_over() -> None:
    """And whoever takes over from a program that has seen one goes on where that was."""
    board = Board(Board.create(1))
    board.set_syns(Syns(flood=1))
    now = 0.0
    settings = Settings(guard=Guard(syn="observe"), server=Server(trusted_proxies=(Network(UNIX),)))
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as other:
        places = [Place(HTTP, "", (listener.fileno(), other.fileno()))]
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 2)
        watch = Watch(settings, lambda: places, board, lambda: False, lambda: now)
        for moment, flood, retries in ((CALM_SECONDS - 1, 1, 2), (CALM_SECONDS, 0, 5)):
            now = moment
            trio.run(watch.look)
            assert board.syns().flood == flood
            assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT) == retries
    # A node that stops has closed them, and their numbers may be others' by then.
    places.clear()
    trio.run(watch.look)


# In the lab


@pytest.fixture(scope="module")
def machine() -> Iterator[Lab]:
    with lab() as made:
        yield made


class LabNode(Node):
    """A node of two workers on the lab's server, whose metrics are at a unix socket. `machine` is the lab."""

    machine: Lab

    def configure(self, guard: str = "", rest: str = "") -> None:
        places = json.dumps([f"{NODE[4]}:{PORT}", f"[{NODE[6]}]:{PORT}"])
        (self.folder / "pystream.toml").write_text(
            f"[server]\nlisten = {places}\nadmin = ['unix:{self.folder}/admin']\nworkers = 2\n"
            f"max_connections = 500\n{rest}\n[overload]\nloop_lag_ms = 60_000\n"
            f"[guard]\nhelper = '{self.folder}/run/socket'\n{guard}\n"
        )

    def metrics(self) -> dict[str, float]:
        with closing(Admin(self.folder / "admin")) as admin:
            admin.request("GET", "/metrics")
            lines = admin.getresponse().read().decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def metric(self, name: str) -> float:
        return self.metrics()[f"pystream_{name}"]

    def come(self, version: int = 4, count: int = 1) -> int:
        """How many newcomers are answered, of which 25 a second come."""
        words = ("newcomers", str(version), str(PORT), str(count), "25")
        with self.machine.start(*words) as coming:
            return sum(each is not None for each in json.loads(coming.communicate()[0]))

    def attacked(self, kind: str) -> tuple[int, float]:
        """How many newcomers of all are answered during a flood, and SYN-ACKs of each of its SYNs."""
        before = self.machine.syn_acks()
        with self.machine.start("flood", kind, *FLOOD) as flood:
            assert flood.stdout is not None and flood.stdout.readline() == "floods\n"
            answered = self.come(6 if kind == "one-64" else 4, NEWCOMERS)
            assert flood.wait(PATIENCE) == 0
        return answered, (self.machine.syn_acks() - before) / int(FLOOD[1])


@contextmanager
def serving(made: Lab, folder: Path, guard: str = "", rest: str = "") -> Iterator[LabNode]:
    node = LabNode(folder)
    node.machine = made
    node.command = [*made.server, *copies.SERVE]
    node.configure(guard, rest)
    with ended(node):
        node.start()
        node.hear("READY=1")
        yield node


class Admin(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


def test_newcomers_come_in_during_each_kind_of_flood(machine: Lab, tmp_path: Path) -> None:
    with guarding(machine, tmp_path) as guard, serving(machine, tmp_path) as node:
        until(lambda: guard.stats()["protects"] == f"{PORT} but 127.0.0.0/8 ::1/128")
        assert guard.stats()["mode"] == "normal"
        # The kernel's counters show it, and the limits become tight.
        assert node.attacked("spoofed")[0] == NEWCOMERS
        (noticed,) = node.events("syn-flood")
        assert noticed["limits"] == "tight"
        assert guard.stats()["mode"] == "tight"
        # What is left of that is given up soon.
        until(lambda: node.metric("half_open") == 0)
        found = {kind: node.attacked(kind) for kind in ("one", "one-64", "sixteen", "spoofed")}
        assert {answered for answered, _ in found.values()} == {NEWCOMERS}, found
        assert found["one"][1] <= 0.05 and found["one-64"][1] <= 0.05, found
        assert found["sixteen"][1] <= 0.3, found
        assert len(node.events("syn-flood")) == 1 and not node.events("syn-flood-over")
        assert node.metric("syn_flood") == node.metric("syns_are_limited") == 1
        assert node.metric('syns_total{done="limited"}') > 30_000
        # Nobody's address is in what is said.
        said = node.said() + guard.log.read_text()
        assert not re.search(r"198\.1|2001:", said.replace(NODE[4], "").replace(NODE[6], ""))
        assert node.stop() == 0


def test_with_neither_cookies_nor_guard_newcomers_stay_out(tmp_path: Path) -> None:
    """What the lab's floods are worth: else it would show nothing that newcomers come in."""
    with lab() as machine:
        machine.set("net.ipv4.tcp_syncookies", 0)
        machine.set("net.ipv4.tcp_max_syn_backlog", 128)
        machine.set("net.core.somaxconn", 128)
        with serving(machine, tmp_path, "syn = 'off'") as node:
            assert node.come(count=10) == 10
            assert node.attacked("sixteen")[0] < NEWCOMERS / 2
            assert node.metric("half_open") == node.metric("syn_flood") == 0
            assert not node.events("syn-flood") and not node.events("syn-cookies-off")


def test_without_the_helper_a_flood_is_told_and_endured(tmp_path: Path) -> None:
    with lab() as machine, serving(machine, tmp_path) as node:
        (told,) = node.events("syns-observed")
        assert told["level"] == "info" and "pystream guard" in told["remedy"]
        # As most nodes are: nothing that a search for errors should find.
        assert told["why"].startswith("no helper listens at ") and "error" not in told
        # With cookies alone newcomers come in, and each SYN is answered.
        answered, worth = node.attacked("sixteen")
        assert answered == NEWCOMERS and worth > 0.9
        (noticed,) = node.events("syn-flood")
        assert (noticed["level"], noticed["limits"]) == ("warning", "none")
        assert node.metric("syn_flood") == 1 and node.metric("syns_are_limited") == 0
        assert node.metric('syn_cookies_total{done="sent"}') > 1000
        # Each that was half open was asked twice more, not five times, as it would be by default.
        until(lambda: node.metric("half_open") == 0)
        assert machine.syn_acks() < 2.5 * int(FLOOD[1])
        assert not node.events("syn-flood-over")


@pytest.mark.parametrize(("syn", "level"), [("nftables", "error"), ("auto", "info")])
def test_what_is_wrong_is_said_at_the_start(tmp_path: Path, syn: str, level: str) -> None:
    event = {"error": "syns-not-limited", "info": "syns-observed"}[level]
    with lab() as machine:
        machine.set("net.ipv4.tcp_syncookies", 0)
        with serving(machine, tmp_path, f"syn = '{syn}'") as node:
            (cookies,) = node.events("syn-cookies-off")
            assert cookies["level"] == "error" and "tcp_syncookies=1" in cookies["remedy"]
            until(lambda: len(node.events(event)) == 1)
            assert node.events(event)[0]["level"] == level
            # It may be started at any time.
            with guarding(machine, tmp_path):
                until(lambda: node.events("syns-limited"))
                until(lambda: node.metric("syns_are_limited") == 1)
            until(lambda: len(node.events(event)) == 2)
            until(lambda: node.metric("syns_are_limited") == 0)
            assert node.events(event)[1]["level"] == {"error": "error", "info": "warning"}[level]


def test_limits_outlive_a_helper_that_is_killed(machine: Lab, tmp_path: Path) -> None:
    with guarding(machine, tmp_path) as guard, serving(machine, tmp_path) as node:
        guard.ask(lambda helper: helper.ban(source("192.0.2.7"), 3600))
        assert node.attacked("spoofed")[0] == NEWCOMERS
        until(lambda: node.metric("half_open") == 0)
        assert guard.stats()["mode"] == "tight"
        guard.stop(signal.SIGKILL)
        answered, worth = node.attacked("one")
        assert answered == NEWCOMERS and worth <= 0.05
        guard.start()
        told = guard.stats()
        assert (told["protects"], told["bans"]) == (f"{PORT} but 127.0.0.0/8 ::1/128", 1)
        assert told["mode"] == "tight"
        answered, worth = node.attacked("one")
        assert answered == NEWCOMERS and worth <= 0.05
        # And so does a server that is started anew, or replaced.
        node.signal(signal.SIGUSR2)
        until(lambda: node.events("program-replaced"))
        assert guard.stats()["mode"] == "tight"
        assert len(node.events("syn-flood")) == 1
        # Nothing is left of any of it.
        assert guard.stop() == 0
        assert machine.run(machine.server, "nft", "list", "ruleset") == ""


def test_who_is_banned_is_dropped_and_others_are_not(machine: Lab, tmp_path: Path) -> None:
    """Newcomers come from 198.19.0.1 and on, and from 2001:db8:1::1, 2001:db8:1:1::1 and on."""
    with guarding(machine, tmp_path) as guard, serving(machine, tmp_path) as node:
        until(lambda: node.metric("syns_are_limited") == 1)
        assert node.come(4, 3) == node.come(6, 3) == 3
        first = [source("198.19.0.1"), source("2001:db8:1::7")]
        for prefix in first:
            guard.ask(partial(Helper.ban, prefix=prefix, seconds=600))
        assert node.come(4, 3) == node.come(6, 3) == 2
        around = ip_network("198.19.0.0/24")
        guard.ask(partial(Helper.ban, prefix=around, seconds=600))
        assert (node.come(4, 3), node.come(6, 3)) == (0, 2)
        until(lambda: node.metric("kernel_bans") == 3 and node.metric("banned_packets_total") > 5)
        for prefix in (*first, around):
            guard.ask(partial(Helper.unban, prefix=prefix))
        assert node.come(4, 3) == node.come(6, 3) == 3
        # Whom nothing limits no ban shuts out: a trusted proxy speaks for others.
        node.configure(rest="trusted_proxies = ['198.19.0.0/16']")
        node.signal(signal.SIGHUP)
        until(lambda: "198.19.0.0/16" in guard.stats()["protects"])
        guard.ask(partial(Helper.ban, prefix=around, seconds=600))
        assert node.come(4, 3) == 3
        # Who wants no limits any more has none.
        node.configure("syn = 'observe'")
        node.signal(signal.SIGHUP)
        until(lambda: guard.stats()["protects"] == "but")
        assert node.come(4, 3) == 3
        until(lambda: node.metric("syns_are_limited") == 0)


def test_a_lecture_hall_behind_one_address_comes_in_at_once(machine: Lab, tmp_path: Path) -> None:
    """300 viewers whose browsers open eight connections each; a flood that goes on is limited."""
    with guarding(machine, tmp_path) as guard:
        protected = Protected.of([PORT], [])
        guard.ask(partial(Helper.protect, protected=protected))
        for sent, kept_out in (("2400", False), ("5000", True)):
            with machine.start("flood", "one", str(PORT), sent, "20000") as crowd:
                assert crowd.wait(PATIENCE) == 0
            assert bool(guard.stats()["limited"]) == kept_out
        # In tight mode, forty come at once.
        guard.ask(partial(Helper.mode, mode="tight"))
        before = guard.stats()["passed"]
        with machine.start("flood", "one", str(PORT), "1000", "20000") as crowd:
            assert crowd.wait(PATIENCE) == 0
        assert 40 <= guard.stats()["passed"] - before < 100


def test_tight_limits_hold_for_who_floods_already(machine: Lab, tmp_path: Path) -> None:
    with guarding(machine, tmp_path) as guard:
        guard.ask(partial(Helper.protect, protected=Protected.of([PORT], [])))
        with machine.start("flood", "sixteen", str(PORT), "15000", "3000") as flood:
            # Each has a meter by then.
            until(lambda: guard.stats()["passed"] > 500)
            guard.ask(partial(Helper.mode, mode="tight"))
            before = guard.stats()["passed"]
            assert flood.wait(PATIENCE) == 0
        # Forty at once, and twenty a second, of each; normally, all would pass.
        passed = guard.stats()["passed"] - before
        assert passed < 16 * (40 + 20 * 10) and before + passed < 12_000
