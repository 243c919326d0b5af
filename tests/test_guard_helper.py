"""`pystream guard`: the one process that may change the kernel's rules, in a namespace of the test's own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from pystream.errors import GuardError
from pystream.server.guard.client import Helper, source
from pystream.server.guard.helper import _may_ask
from pystream.server.guard.nftables import Protected
from tests.lab import Lab, lab
from tests.waiting import PATIENCE, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.needs("unshare", "nsenter", "setpriv", "ip", "nft"),
]
GUARD = (sys.executable, "-m", "pystream", "guard")
FOREIGN = "table inet theirs { }\n"
MINE = Protected.of([80, 443], [ip_network("127.0.0.0/8"), ip_network("2001:db8:5::/48")])


@pytest.fixture(scope="module")
def machine() -> Iterator[Lab]:
    with lab() as made:
        yield made


class Guarding:
    """A helper of the lab's server, and who asks it."""

    def __init__(self, made: Lab, folder: Path) -> None:
        self.lab = made
        self.socket = folder / "run" / "socket"
        self.log = folder / "log"
        self.start()

    def start(self) -> None:
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*self.lab.helper, *GUARD, "--socket", str(self.socket)], stdout=log, stderr=log
            )
        ready = len(self.events("guard-ready")) + 1
        until(lambda: len(self.events("guard-ready")) == ready or self.process.poll() is not None)
        assert self.process.poll() is None, self.log.read_text()

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [each for each in found if each["event"] == name]

    def has_said(self, name: str, times: int) -> bool:
        return len(self.events(name)) == times

    def ask(self, *what: Callable[[Helper], Awaitable[Any]]) -> Any:
        """What the last of them answers."""

        async def run() -> Any:
            answers = [await each(Helper(str(self.socket))) for each in what]
            return answers[-1]

        return trio.run(run)

    def stats(self) -> dict[str, Any]:
        return msgspec.structs.asdict(self.ask(Helper.stats))

    def line(self, line: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(PATIENCE)
            one.connect(str(self.socket))
            one.sendall(line)
            one.shutdown(socket.SHUT_WR)
            return one.makefile("rb").read()

    def elements(self, name: str) -> dict[str, dict[str, Any]]:
        """Of a set of bans, by address."""
        text = self.lab.run(self.lab.server, "nft", "-j", "list", "set", "inet", "pystream", name)
        found = next(each["set"] for each in json.loads(text)["nftables"] if "set" in each)
        return {each["elem"]["val"]: each["elem"] for each in found.get("elem", ())}

    def tables(self) -> str:
        return self.lab.run(self.lab.server, "nft", "list", "tables")

    def nft(self, text: str) -> None:
        self.lab.run(self.lab.server, "nft", "-f", "-", text=text)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


@contextmanager
def guarding(made: Lab, folder: Path) -> Iterator[Guarding]:
    found = Guarding(made, folder)
    try:
        yield found
    finally:
        found.process.kill()
        found.process.wait()
        found.nft("flush ruleset\n")


@pytest.fixture
def guard(machine: Lab, tmp_path: Path) -> Iterator[Guarding]:
    with guarding(machine, tmp_path) as found:
        yield found


def ban(address: str, seconds: float = 600) -> Callable[[Helper], Awaitable[None]]:
    return lambda helper: helper.ban(source(address), seconds)


def unban(address: str) -> Callable[[Helper], Awaitable[None]]:
    return lambda helper: helper.unban(source(address))


def test_bans_are_of_sources_and_networks_and_end(guard: Guarding) -> None:
    around = [ip_network("198.51.100.0/24"), ip_network("2001:db8:2::/48")]
    guard.ask(ban("192.0.2.7", 60), ban("::ffff:192.0.2.8"), ban("2001:db8:1:1::77"))
    guard.ask(*(lambda helper, net=net: helper.ban(net, 600) for net in around))
    assert set(guard.elements("ban4")) == {"192.0.2.7", "192.0.2.8"}
    assert set(guard.elements("ban6")) == {"2001:db8:1:1::"}
    assert set(guard.elements("ban4_around")) == {"198.51.100.0"}
    assert set(guard.elements("ban6_around")) == {"2001:db8:2::"}
    assert guard.elements("ban4")["192.0.2.7"]["timeout"] == 60
    assert guard.stats()["bans"] == 5
    # Of what is banned already, the end is another one; what is not banned can be let go, too.
    guard.ask(ban("192.0.2.7", 300), unban("192.0.2.8"), unban("192.0.2.9"))
    assert {at: each["timeout"] for at, each in guard.elements("ban4").items()} == {
        "192.0.2.7": 300
    }
    guard.ask(ban("192.0.2.7", 1))
    until(lambda: guard.stats()["bans"] == 3)
    until(lambda: not guard.elements("ban4"))
    guard.ask(unban("192.0.2.7"))
    # And all of them at once; what else there is stays.
    guard.ask(lambda helper: helper.protect(MINE), lambda helper: helper.mode("tight"))
    guard.ask(Helper.unban_all)
    assert guard.stats()["bans"] == 0
    assert not any(guard.elements(f"ban{name}") for name in ("6", "4_around", "6_around"))
    assert (guard.stats()["protects"], guard.stats()["mode"]) == (str(MINE), "tight")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "no request"),
        ("flush ruleset", "no request"),
        ("mode loose", "no request"),
        ("ban 192.0.2.0/25 60", "/24"),
        ("ban 2001:db8::1 60", "/48"),
        ("ban 192.0.2.1/24 60", "no prefix"),
        ("ban 192.0.2.1;flush 60", "no prefix"),
        ("ban fe80::%eth0/64 60", "no prefix"),
        ("ban 2001:db8::%x\t}\nflush\truleset\n#/64 60", "no prefix"),
        ("protect 80 but 2001:db8::%x\t}\nflush\truleset\n#/64", "no prefix"),
        ("ban 192.0.2.1 0", "from 1 to 86400"),
        ("ban 192.0.2.1 86401", "from 1 to 86400"),
        ("ban 192.0.2.1 ١", "from 1 to 86400"),
        ("protect 80", "`but`"),
        ("protect 65536 but", "from 1 to 65535"),
        (f"protect {' '.join(map(str, range(1, 300)))} but", "256 ports"),
    ],
)
def test_what_is_not_in_the_grammar_is_refused(guard: Guarding, line: str, why: str) -> None:
    answer = guard.line(f"{line}\n".encode()).decode()
    assert answer.startswith("error ") and why in answer
    nothing = dict.fromkeys(("bans", "passed", "limited", "banned"), 0)
    assert guard.stats() == {"mode": "normal", "protects": "but", **nothing}


def test_any_bytes_have_an_answer(guard: Guarding) -> None:
    words = st.sampled_from(
        "protect mode ban unban stats but normal 80 192.0.2.1 ::/64 60 {".split()
    )
    lines = st.lists(words).map(lambda each: " ".join(each).encode()) | st.binary(max_size=300)

    @settings(max_examples=100)
    @given(lines)
    def ask(line: bytes) -> None:
        answer = guard.line(line + b"\n")
        assert answer.startswith((b"ok", b"error ")) and answer.count(b"\n") == 1

    ask()
    assert guard.line(b"stats") == b"error a line is wanted\n"
    # Not read to its end, so its sender may be cut off.
    with suppress(ConnectionError):
        guard.line(b"x" * 1_000_000)
    assert guard.stats()["mode"] == "normal"


def test_who_may_ask() -> None:
    me = os.geteuid()
    other = me + 54_321
    assert _may_ask(0, None) and _may_ask(me, None)
    assert not _may_ask(other, None) and not _may_ask(other, "nobody-of-that-name")
    assert _may_ask(other, str(other)) and not _may_ask(other + 1, str(other))
    # systemd makes and unmakes a service's user.
    assert _may_ask(2, "bin") and not _may_ask(other, "bin")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_is_not_heard(guard: Guarding) -> None:
    guard.socket.parent.chmod(0o755)
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        with suppress(BaseException):
            # From within, as the folders around it are closed to others.
            os.chdir(guard.socket.parent)
            os.setgroups([])
            os.setuid(65_534)
            said = "heard"
            try:
                trio.run(Helper(guard.socket.name).stats)
            except GuardError as error:
                said = str(error)
            os.write(writer, said.encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as told:
        assert told.read() == "the helper refuses: this user may not ask"
    os.waitpid(child, 0)
    (event,) = guard.events("guard-peer-refused")
    assert event["level"] == "warning"
    assert guard.stats()["bans"] == 0


def test_what_somebody_flushes_is_put_back(guard: Guarding) -> None:
    guard.ask(
        lambda helper: helper.protect(MINE), ban("192.0.2.7"), lambda helper: helper.mode("tight")
    )
    before = guard.stats()
    for text in (
        "flush ruleset",
        "delete table inet pystream",
        "flush chain inet pystream arriving",
    ):
        mended = len(guard.events("guard-rules-mended")) + 1
        guard.nft(text + "\n")
        until(partial(guard.has_said, "guard-rules-mended", mended))
        assert guard.stats() == before
        assert set(guard.elements("ban4")) == {"192.0.2.7"}
    # Nor is a ban lost that comes before anybody has noticed.
    guard.nft("flush ruleset\n")
    guard.ask(ban("192.0.2.8"))
    assert set(guard.elements("ban4")) == {"192.0.2.7", "192.0.2.8"}


def test_what_a_crash_leaves_is_taken_over(guard: Guarding) -> None:
    guard.ask(lambda helper: helper.protect(MINE), ban("192.0.2.7", 300), ban("192.0.2.8", 1))
    guard.ask(ban("2001:db8:1:1::1"), lambda helper: helper.mode("tight"))
    assert guard.stop(signal.SIGKILL) < 0
    with pytest.raises(GuardError, match="cannot be asked"):
        guard.stats()
    # Limits and bans stay, and end by themselves.
    assert set(guard.elements("ban4")) >= {"192.0.2.7"}
    until(lambda: set(guard.elements("ban4")) == {"192.0.2.7"})
    # Something of another version, or somebody's own addition.
    guard.nft("add set inet pystream stale { type inet_service; }\n")
    guard.start()
    assert guard.stats() | {"protects": str(MINE), "bans": 2, "mode": "tight"} == guard.stats()
    assert 250 <= guard.elements("ban4")["192.0.2.7"]["expires"] <= 300
    assert "stale" not in guard.lab.run(guard.lab.server, "nft", "list", "ruleset")
    # And it can be ended before its time.
    guard.ask(unban("192.0.2.7"))
    assert not guard.elements("ban4")


def test_a_planned_end_leaves_nothing_and_other_tables_alone(guard: Guarding) -> None:
    guard.nft(FOREIGN)
    guard.ask(ban("192.0.2.7"))
    assert guard.stop() == 0
    assert guard.tables().split("\n") == ["table inet theirs", ""]
    assert not guard.socket.exists()
    assert guard.events("guard-ended")


def test_what_is_left_is_removed_by_hand_and_not_after_a_crash(guard: Guarding) -> None:
    guard.stop(signal.SIGKILL)

    def remove(**environment: str) -> str:
        command = [*guard.lab.helper, *GUARD, "--remove"]
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return guard.tables()

    # systemd.exec(5): so an ExecStopPost= is told.
    assert "pystream" in remove(SERVICE_RESULT="signal")
    assert "pystream" in remove(SERVICE_RESULT="watchdog")
    assert "pystream" not in remove(SERVICE_RESULT="success")
    assert "pystream" not in remove()


def test_without_the_capability_it_says_so(machine: Lab, tmp_path: Path) -> None:
    none = (*machine.server, "setpriv", "--bounding-set=-all", "--inh-caps=-all")
    command = [*none, *GUARD, "--socket", str(tmp_path / "socket")]
    done = subprocess.run(command, capture_output=True, text=True)
    said = done.stderr.splitlines()
    assert (done.returncode, len(said)) == (1, 1)
    assert said[0].startswith("pystream guard: ") and "CAP_NET_ADMIN" in said[0]


def test_it_needs_no_memory_that_can_be_written_and_executed(machine: Lab, tmp_path: Path) -> None:
    """The unit's MemoryDenyWriteExecute=yes, as the kernel has it by itself: prctl(2), PR_SET_MDWE."""
    code = (
        "import ctypes, os, sys; assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0;"
        "os.execv(sys.executable, [sys.executable, '-m', 'pystream', *sys.argv[1:]])"
    )
    command = [*machine.helper, sys.executable, "-c", code, "guard", "--remove"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# What takes long, or clocks, from inside


def test_bans_are_bounded_and_who_would_be_free_soonest_goes(machine: Lab) -> None:
    code = """
import json
from pystream.server.guard import helper, nftables
helper.MOST_BANS = 3
now = 0.0
rules = helper.Rules(nftables.kernel(), lambda: now)
rules.begin()
for n, seconds in enumerate((500, 400, 600, 700, 100)):
    rules.answer(f"ban 192.0.2.{n} {seconds}")
full = sorted(str(each) for each in rules._bans)
listed = nftables.kernel().listed("set inet pystream ban4")
now = 650.0
for n in (5, 6):
    rules.answer(f"ban 192.0.2.{n} 600")
print(json.dumps([full, len(listed["nftables"][1]["set"]["elem"]), sorted(map(str, rules._bans))]))
rules.end()
"""
    full, listed, later = machine.python(machine.helper, code)
    # 400 went for 700, and 500 for 100.
    assert full == ["192.0.2.2/32", "192.0.2.3/32", "192.0.2.4/32"]
    assert listed == 3
    assert later == ["192.0.2.3/32", "192.0.2.5/32", "192.0.2.6/32"]


def test_limits_are_tight_only_as_long_as_the_server_says_so(machine: Lab) -> None:
    code = """
import json
from pystream.server.guard import helper, nftables
now, seen = 0.0, []
rules = helper.Rules(nftables.kernel(), lambda: now)
rules.begin()
rules.answer("ban 192.0.2.1 600")
def look():
    rules.look()
    said = json.loads(rules.answer("stats")[3:])
    rule = json.dumps(nftables.kernel().listed("chain inet pystream syns"))
    seen.append([said["mode"], '"rate": 20' in rule, said["bans"]])
for now in (0.0, 50.0):
    rules.answer("mode tight")
    look()
for now in (109.0, 110.0):
    look()
print(json.dumps(seen))
rules.end()
"""
    tight, normal = ["tight", True, 1], ["normal", False, 1]
    assert machine.python(machine.helper, code) == [tight, tight, tight, normal]


@pytest.mark.parametrize("way", ["Library", "Program"])
def test_the_library_and_the_program_take_the_same_text(machine: Lab, way: str) -> None:
    code = f"""
import json
from ipaddress import ip_network
from pystream.errors import GuardError
from pystream.server.guard import nftables
kernel = nftables.{way}()
words = "10.0.0.0/9 10.128.0.0/9 10.1.0.0/16 13.0.0.0/8 14.0.0.0/8 2001:db8::/32 192.0.2.1"
exempt = map(ip_network, words.split())
mine = nftables.Protected.of([8080, 80, 80], exempt)
bans = {{ip_network("198.51.100.7"): 60.0, ip_network("2001:db8:1::/64"): 0.2}}
kernel.run(nftables.removed())
kernel.run(nftables.installed(mine, "normal", bans))
kernel.run(nftables.installed(mine, "tight", bans))
kernel.run(nftables.switched("normal"))
kernel.run(nftables.banned(ip_network("198.51.100.8"), 30))
protected, mode, found = nftables.found(kernel)
try:
    kernel.run("add element inet pystream nosuch {{ 192.0.2.99 }}")
except GuardError as error:
    said = str(error)
print(json.dumps([str(protected), mode, sorted(map(str, found)), nftables.rules() == nftables.RULES, said]))
kernel.run(nftables.removed())
"""
    protected, mode, bans, whole, said = machine.python(machine.helper, code)
    assert protected == "80 8080 but 10.0.0.0/8 13.0.0.0/8 14.0.0.0/8 192.0.2.1/32 2001:db8::/32"
    assert bans == ["198.51.100.7/32", "198.51.100.8/32", "2001:db8:1::/64"]
    assert mode == "normal" and whole
    # The log has this sentence: no address is in it.
    assert said.startswith("nftables: ") and "192.0.2" not in said
