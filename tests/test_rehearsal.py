"""The rehearsal of an event: what is foreseen, of plain values; and viewers who play in a namespace."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pystream.errors import PystreamError
from pystream.rehearsal import attackers, page, watching
from pystream.rehearsal import stage as staging
from pystream.rehearsal.limits import Facts, Stage, by_itself, limits
from pystream.rehearsal.wire import Connection, Response, Task
from tests import program
from tests.browser.chromium import Chromium
from tests.test_cli_keyring import SAMPLE
from tests.test_page import accessible
from tests.waiting import PATIENCE

# 100 viewers who have had 10 s of film each, at 4 Mbit/s, for half a processor's time.
STAGE = Stage(
    viewers=100,
    seconds=10,
    media=1000.0,
    nbytes=500_000_000,
    cpu=5.0,
    busiest=2.5,
    idle=100_000_000,
    memory=10_000_000,
    tcp=40_000_000,
    late=0,
    refused=0,
    reasons={},
    errors=0,
    attacks={},
    start=0.1,
    rush=1.0,
    crowd=0.2,
    others=0.0,
)
FACTS = Facts(
    processors=2,
    workers=2,
    memory=10**9,
    link_bps=None,
    egress_bps=None,
    tenant_bps=None,
    connections=20_000,
    node_viewers=None,
    stream_viewers=None,
    places=65_536,
    from_one_source=2400,
)


def foreseen(stage: Stage = STAGE, **more: Any) -> dict[str, int]:
    return {limit.name: limit.viewers for limit in limits(replace(FACTS, **more), stage)}


def test_what_is_foreseen() -> None:
    found = foreseen(
        link_bps=10**9,
        egress_bps=400_000_000,
        tenant_bps=200_000_000,
        node_viewers=700,
        stream_viewers=600,
    )
    assert list(found.items()) == [
        # 4 Mbit/s each.
        ("rate of the tenant", 50),
        ("egress", 100),
        ("network card", 237),
        # 5 ms of a processor each, where all that is left is a twentieth.
        ("processors", 380),
        ("viewers of the stream", 600),
        ("viewers of the node", 700),
        # 500 kB each.
        ("memory", 1800),
        ("connections", 10_000),
        ("sessions", 65_536),
        # It is of one address, however few these are.
        ("behind one address", 1200),
    ]


def test_who_comes_reads_ahead_and_takes_more() -> None:
    """Twice as much, while all come: half as many there may be, of whatever counts bits or processors."""
    bounds: dict[str, Any] = {"link_bps": 10**9, "egress_bps": 10**9, "tenant_bps": 10**9}
    usual, rush = foreseen(**bounds), foreseen(replace(STAGE, rush=2.0), **bounds)
    for name in ("processors", "network card", "egress", "rate of the tenant"):
        assert rush[name] == usual[name] // 2
    assert rush["memory"] == usual["memory"]
    # Who watches takes what the film takes, however little they had in a stage that did not hold.
    assert foreseen(replace(STAGE, rush=0.5), **bounds) == usual
    told = {each.name: each.why for each in limits(FACTS, replace(STAGE, rush=2.0))}
    assert "as all come and read ahead, and 2.0 times less later" in told["processors"]


def test_what_a_node_does_by_itself_is_no_viewers() -> None:
    """A second of each stage, and 4 ms for each second of film."""
    stages = [
        replace(STAGE, viewers=n, media=10.0 * n, cpu=1 + 0.04 * n, busiest=0.5)
        for n in (25, 50, 100)
    ]
    idle = by_itself(stages)
    assert idle == pytest.approx(0.1)
    (found,) = (each for each in limits(FACTS, stages[-1], idle) if each.name == "processors")
    assert found.viewers in (449, 450) and "and the node 100 by itself" in found.why
    # One stage says nothing of it, nor do those whose cost is none of their viewers'.
    assert by_itself(stages[:1]) == by_itself(stages[:1] * 2) == 0.0
    falling = [stages[2], replace(stages[0], media=2000.0)]
    assert by_itself(falling) == pytest.approx(0.5 * 2.0 / 10)
    assert by_itself([replace(each, cpu=each.media**2) for each in stages]) == 0.0


def test_the_busiest_worker_is_full_before_the_others() -> None:
    """One has had three of five processor seconds, a fifth more than its share."""
    (count,) = {foreseen(replace(STAGE, busiest=3.0))["processors"]}
    # At more viewers it is less uneven: 1 + 0.2 * sqrt(100 / n) times the share of n viewers.
    assert count == math.floor(380 / (1 + 0.2 * math.sqrt(100 / count))) < 380
    # A worker more than there are processors for does not help.
    assert foreseen(workers=4, processors=2)["processors"] <= 380


@given(
    some.floats(0.01, 100.0), some.floats(1.0, 4.0), some.integers(1, 10_000), some.integers(1, 64)
)
def test_no_more_are_foreseen_than_processors_have_time_for(
    cpu: float, uneven: float, viewers: int, workers: int
) -> None:
    busiest = min(cpu, cpu / workers * uneven)
    stage = replace(STAGE, cpu=cpu, busiest=busiest, viewers=viewers, media=10.0 * viewers)
    found = foreseen(stage, workers=workers, processors=workers)["processors"]
    assert 0 <= found <= workers / stage.processors()
    if busiest <= cpu / workers:
        assert found == pytest.approx(0.95 * workers / stage.processors(), abs=1)


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        ({}, True),
        ({"viewers": 1000, "late": 1}, True),
        ({"viewers": 999, "late": 1}, False),
        ({"refused": 1}, False),
        ({"errors": 1}, False),
    ],
)
def test_what_holds(change: dict[str, Any], holds: bool) -> None:
    assert replace(STAGE, **change).holds is holds


@pytest.mark.parametrize(("crowd", "is_the_nodes"), [(0.5, True), (0.89, True), (0.9, False)])
def test_what_viewers_programs_have_no_time_for_is_not_the_nodes(
    crowd: float, is_the_nodes: bool
) -> None:
    assert replace(STAGE, crowd=crowd).is_the_nodes is is_the_nodes


@pytest.mark.parametrize(
    ("players_on", "wanted"),
    # The busier program took 6 of 10 s; both had 8 of 10, or of 20 on two processors; and with the node,
    # which took 5, they had 13 of all there is.
    [((7,), 0.8), ((6, 7), 0.6), ((), None)],
)
def test_how_much_time_viewers_programs_had(
    players_on: tuple[int, ...], wanted: float | None
) -> None:
    met = [{"cpu": 2.0, "elapsed": 10.0}, {"cpu": 6.0, "elapsed": 10.0}]
    all_there = len(os.sched_getaffinity(0))
    assert staging._crowded(met, players_on, 5.0) == (wanted or max(0.6, 1.3 / all_there))


def test_how_much_time_others_had() -> None:
    met = [{"cpu": 2.0}, {"cpu": 6.0}]
    processors = os.cpu_count() or 1
    assert staging._others(met, 5.0, 20.0 * processors + 13.0, 40.0) == pytest.approx(0.5)
    # The kernel counts in hundredths of a second.
    assert staging._others(met, 5.0, 12.9, 40.0) == 0.0
    before, mine = watching.busy(), os.times()
    while sum(os.times()[:2]) - sum(mine[:2]) < 0.1:
        pass
    assert watching.busy() - before >= 0.05


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, ()),
        ({"crowd": 0.95}, ("--players-on",)),
        ({"others": 0.19}, ()),
        ({"others": 0.5}, ("other programs had 50%", "Rehearse when nobody else")),
    ],
)
def test_what_others_may_have_done_is_said(change: dict[str, Any], said: tuple[str, ...]) -> None:
    broken = replace(STAGE, late=7, **change)
    told = {
        "viewers": 100,
        "stream": "acme/event",
        "holds": False,
        "holds_under_attack": None,
        "breaks": 100,
        "held": 50,
        "limits": [vars_of(each) for each in limits(FACTS, STAGE)],
        "stages": [vars_of(broken) | {"holds": False, "is_the_nodes": broken.is_the_nodes}],
    }
    text = page.verdict(told)
    assert "7 segments came late" in text and all(each in text for each in said)
    assert ("may not be the node's doing" in text) is bool(said)


def groups(folder: Path, cgroup: str, mounts: str, **files: str) -> Path:
    """A place in proc(5) whose mounts lie in the folder."""
    (folder / "cgroup").write_text(cgroup)
    (folder / "mountinfo").write_text(mounts.format(folder=folder))
    for name, text in files.items():
        path = folder / "mount" / name.replace("__", "/").replace("_of_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


TWO = "30 24 0:26 / {folder}/mount rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
ONE = "30 24 0:26 / {folder}/mount rw - cgroup cgroup rw,cpu,cpuacct\n"
OTHER = "31 24 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


@pytest.mark.parametrize(
    ("cgroup", "mounts", "files", "wanted"),
    [
        ("0::/a/b\n", TWO, {"a__b__cpu_of_max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", TWO, {"a__b__cpu_of_max": "max 100000\n"}, None),
        # Of all that it is in, the narrowest counts.
        (
            "0::/a/b\n",
            TWO,
            {"a__b__cpu_of_max": "max 100000\n", "a__cpu_of_max": "20000 40000\n"},
            0.5,
        ),
        # A container sees its own as the uppermost, whatever it is called outside.
        ("0::/docker/4711\n", TWO, {"cpu_of_max": "50000 100000\n"}, 0.5),
        ("0::/\n", TWO, {}, None),
        (
            "3:memory:/m\n1:cpu,cpuacct:/a\n",
            OTHER + ONE,
            {
                "a__cpu_of_cfs_quota_us": "30000\n",
                "a__cpu_of_cfs_period_us": "100000\n",
                "cpu_of_cfs_quota_us": "-1\n",
                "cpu_of_cfs_period_us": "100000\n",
            },
            0.3,
        ),
        ("", "", {}, None),
    ],
)
def test_a_container_has_only_so_much_processor_time(
    tmp_path: Path, cgroup: str, mounts: str, files: dict[str, str], wanted: float | None
) -> None:
    assert watching.quota(groups(tmp_path, cgroup, mounts, **files)) == wanted


# What is said where it cannot be


@pytest.mark.parametrize(
    ("ends", "said"), [(True, "the last word"), (False, "not ready after 0 s")]
)
def test_why_a_node_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bool, said: str
) -> None:
    """What one says that is late is no reason."""
    monkeypatch.setattr(staging, "_READY_SECONDS", PATIENCE if ends else 0)
    (tmp_path / "log").write_text("something\nthe last word\n")
    with (
        subprocess.Popen(["true"] if ends else ["cat"], stdin=subprocess.PIPE) as process,
        pytest.raises(PystreamError) as caught,
    ):
        staging._wait_for(process, str(tmp_path / "log"))
    assert said in str(caught.value) and ("last word" in str(caught.value)) is ends


def test_who_finds_no_player_comes_again_after_a_pause() -> None:
    """A page without a script, as often as it is asked for: attackers and viewers are on one machine."""

    class Attack(attackers._Attack):
        asked = 0

        def ask(self, connection: Connection, wanted: bytes) -> Task[Response | None]:
            self.asked += 1
            self.loop.ending = self.asked == 5
            yield from ()
            return Response(200, 9, 9, 0.0, 0.0, 0.0, b"<html></html>", None)

    attack = Attack({"url": f"http://{attackers.NODE[4]}/acme/film/master.m3u8"})
    pauses = list(attackers._reads_nothing(attack, 1))
    assert len(pauses) == attack.asked == 5


# Played


class Host:
    """An operator's: settings and a store, of which no node runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "pystream.toml").write_text(
            "[server]\nworkers = 1\nlisten = ['127.0.0.1:1']\nadmin = []\n[store]\nurl = 'acl.db'\n"
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        path = {"PYTHONPATH": str(Path(__file__).parent.parent)}
        return program.run(*words, cwd=self.folder, env=os.environ | path)

    def done(self, *words: str) -> str:
        found = self.run(*words)
        assert found.returncode == 0, found.stderr
        return found.stdout

    def add(self, name: str, *settings: str) -> None:
        source = ("--source", str(SAMPLE), "--segment-duration", "1")
        self.done("stream", "add", f"acme/{name}", *source, *settings)

    def rehearse(self, name: str, *words: str) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(
            self.done("rehearse", f"acme/{name}", "--seconds", "2", "--json", *words)
        )
        return told

    def state(self) -> dict[str, str]:
        """Each file, and what it holds."""
        return {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.folder.iterdir())
        }


@pytest.fixture
def host(tmp_path: Path) -> Host:
    made = Host(tmp_path)
    made.done("tenant", "add", "acme")
    return made


@pytest.mark.slow
def test_a_limit_that_is_set_is_foreseen_and_met(host: Host) -> None:
    """Viewers with passwords; one more than the stream may have are too many, and nothing of the operator's
    is touched."""
    host.add(
        "event", "--access", "personal", "--max-viewers", "6", "--encryption", "aes-128-per-viewer"
    )
    host.done("stream", "set", "acme/event", "--network", "192.0.2.0/24", "--opens", "2099-01-01")
    before = host.state()
    told = host.rehearse("event", "--viewers", "6", "--until-it-breaks")
    assert told["holds"] and (told["held"], told["breaks"]) == (6, 7), told
    assert [stage["viewers"] for stage in told["stages"]] == [1, 3, 6, 7]
    assert told["foreseen"] == 6 and told["limits"][0]["name"] == "viewers of the stream"
    for stage in told["stages"][:3]:
        # Each has asked for some of the film, which is on its way whole.
        assert stage["media"] >= stage["viewers"] and stage["nbytes"] > 0
        assert (stage["refused"], stage["errors"], stage["reasons"]) == (0, 0, {})
    assert told["left_out"] == [
        "its opening hours",
        "the networks and countries that it is bound to",
    ]
    told = host.rehearse("event", "--viewers", "12", "-o", "page.html")
    assert (told["holds"], told["held"], told["breaks"]) == (False, 6, 12)
    broken = told["stages"][-1]
    assert broken["refused"] > 0 and broken["reasons"].keys() == {"stream_viewers"}
    assert "the node says: stream_viewers" in (host.folder / "page.html").read_text()
    (host.folder / "page.html").unlink()
    assert host.state() == before


@pytest.mark.slow
@pytest.mark.parametrize("access", ["open", "shared"])
def test_all_who_come_from_one_address(host: Host, access: str) -> None:
    host.add("hall", "--access", access)
    with (host.folder / "pystream.toml").open("a") as settings:
        settings.write("[guard]\nopen_connections = 8\nnetwork_times = 1\n")
    told = host.rehearse("hall", "--viewers", "40", "--addresses", "40")
    assert told["holds"], told
    told = host.rehearse("hall", "--viewers", "40", "--addresses", "1")
    assert not told["holds"], told
    limit = next(each for each in told["limits"] if each["of_source"])
    assert limit["viewers"] == 4


@pytest.mark.slow
@pytest.mark.needs("nft")
@pytest.mark.parametrize("has_helper", [False, True])
def test_viewers_play_on_while_somebody_attacks(host: Host, has_helper: bool) -> None:
    """Here, the operator has a helper or none; of the attack, only the rehearsal's own node knows."""
    host.add("event", "--access", "personal")
    helper = host.folder / "helper"
    with (host.folder / "pystream.toml").open("a") as settings:
        settings.write(f"[guard]\nhelper = '{helper}'\nothers = '20 at once, 20 a second'\n")
    if has_helper:
        # The real node's listens there.
        helper.touch()
    told = host.rehearse("event", "--viewers", "8", "--attack", "syn,http")
    assert (told["holds"], told["holds_under_attack"]) == (True, True), told
    *alone, attacked = told["stages"]
    assert [stage["attacks"] for stage in alone] == [{}] * 3 and attacked["viewers"] == 8
    assert attacked["attacks"]["syn"]["sent"] > 1000
    assert attacked["attacks"]["http"]["answered"] > 100
    assert attacked["attacks"]["http"]["refused"] > 100 and attacked["reasons"]["slowed"] > 100
    assert (attacked["refused"], attacked["errors"]) == (0, 0)


@pytest.mark.slow
def test_what_cannot_be_rehearsed_is_said(host: Host) -> None:
    found = host.run("rehearse", "acme/none", "--viewers", "5")
    assert found.returncode == 1 and "none" in found.stderr and not found.stdout
    film = host.folder / "film.mp4"
    film.write_bytes(SAMPLE.read_bytes())
    host.done("stream", "add", "acme/gone", "--source", str(film))
    film.unlink()
    found = host.run("rehearse", "acme/gone", "--viewers", "2", "--seconds", "1")
    assert found.returncode == 0 and "do not hold" in found.stdout
    page = host.folder / "page.html"
    page.write_text("mine")
    found = host.run("rehearse", "acme/gone", "--viewers", "2", "-o", str(page))
    assert (found.returncode, found.stdout, page.read_text()) == (1, "", "mine")
    assert "page.html: it is there already; --overwrite replaces it" in found.stderr
    # Before anything is played, which would be lost.
    found = host.run(
        "rehearse", "acme/gone", "--viewers", "2", "-o", str(host.folder / "no" / "page.html")
    )
    assert (found.returncode, found.stdout) == (1, "")
    assert found.stderr == f"pystream rehearse: {host.folder / 'no'}: there is no such folder\n"
    # What it names can be given.
    told = host.done("rehearse", "--help")
    assert set(re.findall(r"--[a-z-]+", told)) == {
        *("--viewers", "--seconds", "--together", "--addresses", "--attack", "--until-it-breaks"),
        *("--players-on", "--output", "--overwrite", "--config", "--json", "--help"),
    }
    assert max(map(len, told.splitlines())) <= 80
    for wrong in (
        ["--viewers", "5", "--attack", "icmp"],
        ["--viewers", "0"],
        ["--viewers", "5", "--players-on", "0-9999"],
        [],
    ):
        assert host.run("rehearse", "acme/gone", *wrong).returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_read_by_all(tmp_path: Path, chromium: Chromium, scheme: str) -> None:
    told: dict[str, Any] = {
        "viewers": 800,
        "stream": "acme/<event>",
        "holds": False,
        "holds_under_attack": None,
        "breaks": 800,
        "held": 400,
        "limits": [vars_of(limit) for limit in limits(FACTS, STAGE)],
        "stages": [
            vars_of(STAGE) | {"holds": holds, "is_the_nodes": holds} for holds in (True, False)
        ],
        "facts": vars_of(FACTS),
        "processor": "Some & Other",
        "left_out": ["its opening hours"],
    }
    place = tmp_path / "page.html"
    place.write_text(page.of(told))
    shown = chromium.page(viewport={"width": 390, "height": 800}, colorScheme=scheme)
    shown.goto(place.as_uri())
    assert shown.js("document.title") == "Rehearsal of acme/<event> with 800 viewers"
    assert shown.js("document.documentElement.scrollWidth <= innerWidth")
    # Why, and what to change, are read without a finger from side to side.
    assert shown.js("limits.scrollWidth <= limits.clientWidth")
    assert "may not be the node's doing" in shown.js("document.querySelector('.verdict').innerText")
    accessible(shown)
    shown.close()


def vars_of(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}
