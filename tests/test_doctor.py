"""`pystream doctor`: what it says of machines, and of a real one in a namespace of the test's own."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pystream.server.doctor import NOTE, OK, SYSCTL_FILE, UNIT_FILE, WRONG, Machine, files, findings
from pystream.server.guard.client import Stats
from pystream.server.settings import Guard, Server, Settings
from tests.lab import Lab, lab
from tests.test_guard_helper import guarding

GOOD = Machine(
    cookies=1,
    somaxconn=4096,
    syn_backlog=512,
    files=524_288,
    workers=2,
    counters=True,
    half_open=True,
    helper=Stats(mode="normal", protects="80 but", bans=3),
    unlimited="",
    no_nftables="",
)
DOCTOR = (sys.executable, "-m", "pystream", "doctor")


def test_of_a_good_machine_it_proposes_nothing() -> None:
    found = list(findings(Settings(), GOOD))
    assert {each.state for each in found} == {OK}
    assert files(found) == {}


@pytest.mark.parametrize(("open_files", "room"), [(1024, "1,152"), (262_144, "20,000")])
def test_how_many_connections_open_files_leave_room_for(open_files: int, room: str) -> None:
    (found,) = (
        each
        for each in findings(Settings(), replace(GOOD, files=open_files, workers=2))
        if each.what == "open files"
    )
    said = f"{open_files:,} a process, from where this was started; connections: {room}"
    assert (found.state, found.said) == (OK, said)


@pytest.mark.parametrize(
    ("machine", "what", "state", "line"),
    [
        (replace(GOOD, cookies=0), "SYN cookies", WRONG, "net.ipv4.tcp_syncookies = 1"),
        (replace(GOOD, cookies=2), "SYN cookies", NOTE, "net.ipv4.tcp_syncookies = 1"),
        (replace(GOOD, cookies=None), "SYN cookies", NOTE, ""),
        (replace(GOOD, somaxconn=128), "accept queue", NOTE, "net.core.somaxconn = 4096"),
        (replace(GOOD, somaxconn=None), "accept queue", NOTE, ""),
        (replace(GOOD, cookies=0), "SYN queue", NOTE, "net.ipv4.tcp_max_syn_backlog = 4096"),
        (replace(GOOD, files=1024, workers=1), "open files", WRONG, "LimitNOFILE=262144"),
        (replace(GOOD, helper=None, unlimited="away"), "limits of SYNs", NOTE, ""),
        (replace(GOOD, no_nftables="missing"), "nftables", NOTE, ""),
        (replace(GOOD, counters=False), "kernel's counters", NOTE, ""),
        (replace(GOOD, half_open=False), "half-open connections", NOTE, ""),
    ],
)
def test_what_should_be_otherwise(machine: Machine, what: str, state: str, line: str) -> None:
    found = list(findings(Settings(), machine))
    (there,) = (each for each in found if each.what == what)
    assert (there.state, there.line) == (state, line)
    if line:
        file = UNIT_FILE if what == "open files" else SYSCTL_FILE
        assert f"{line}\n" in files(found)[file]
        assert ("[Service]\n" in files(found)[file]) == (file == UNIT_FILE)


def test_each_says_one_sentence_and_ends_it_with_nothing() -> None:
    bad = Machine(None, None, None, 1024, 1, False, False, None, "it is away", "it is missing")
    for machine in (GOOD, bad, replace(bad, cookies=0), replace(bad, cookies=2)):
        for syn in ("auto", "nftables", "observe", "off"):
            for each in findings(Settings(guard=Guard(syn=syn)), machine):
                assert ". " not in each.said and each.said[-1] not in ".:;,", each.said


@pytest.mark.parametrize(
    ("syn", "state"), [("auto", NOTE), ("nftables", WRONG), ("observe", NOTE), ("off", NOTE)]
)
def test_that_the_helper_is_missing_matters_as_the_settings_have_it(syn: Any, state: str) -> None:
    settings = Settings(guard=Guard(syn=syn), server=Server(max_connections=100))
    found = findings(settings, replace(GOOD, helper=None, unlimited="it is away"))
    (there,) = (each for each in found if each.what == "limits of SYNs")
    assert there.state == state
    assert ("it is away" in there.said) == (syn in ("auto", "nftables"))


def examined(made: Lab, where: tuple[str, ...], folder: Path) -> tuple[int, dict[str, Any]]:
    command = [*where, *DOCTOR, "--json", "--config", f"{folder}/pystream.toml"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.needs("unshare", "nsenter", "setpriv", "ip", "nft")
def test_what_it_proposes_mends_a_machine_and_it_does_nothing_itself(tmp_path: Path) -> None:
    text = f"[server]\nmax_connections = 100\n[guard]\nsyn = 'nftables'\nhelper = '{tmp_path}/run/socket'\n"
    (tmp_path / "pystream.toml").write_text(text)
    with lab() as machine:
        for name in ("net.ipv4.tcp_syncookies", "net.core.somaxconn"):
            machine.set(name, 0)
        for _ in range(2):
            code, told = examined(machine, machine.server, tmp_path)
            states = {each["what"]: each["state"] for each in told["findings"]}
            assert (code, told["wrong"]) == (1, 2)
            assert {what for what, state in states.items() if state == WRONG} == {
                *("SYN cookies", "limits of SYNs")
            }
            assert states["nftables"] == OK
        for line in told["files"][SYSCTL_FILE].splitlines():
            name, _, value = line.partition(" = ")
            machine.set(name, int(value))
        with guarding(machine, tmp_path):
            code, told = examined(machine, machine.server, tmp_path)
            assert (code, told["wrong"], told["files"]) == (0, 0, {})
            assert {each["state"] for each in told["findings"]} == {OK}
            # For people, and by a user who may not set rules.
            none = (*machine.server, "setpriv", "--bounding-set=-all", "--inh-caps=-all")
            command = [*none, *DOCTOR, "--config", f"{tmp_path}/pystream.toml"]
            said = subprocess.run(command, capture_output=True, text=True).stdout
            assert "note   nftables: cannot be used by this user: this process lacks" in said
            assert "ok     limits of SYNs: set by nftables, normal" in said
