"""A node of its own in a namespace of its own, and viewers who play from it.

`Rehearsal` starts this as a program within the namespace (`python -m pystream.rehearsal.stage`): what is to
be played comes in as a line of JSON, and then how many viewers and who attacks, a line for each stage;
after each, a line goes out. Nothing that happens here reaches an address of the world: the namespace has a
loopback device, to which the node's address and its viewers' lead, of 198.18.0.0/15 (RFC 2544), and for an
attack a cable (veth(4)) to a namespace without any other. Nor does it touch what the operator's node has:
store, keys, lists and proofs lie in a temporary folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import IO, Any, Final
from urllib.parse import urlsplit

from pystream.acl.passwords import PasswordSettings, generate
from pystream.acl.store import Store
from pystream.acl.store.issuing import Issuer
from pystream.acl.streams import StreamSettings, TenantSettings
from pystream.errors import PystreamError
from pystream.rehearsal import watching
from pystream.rehearsal.attackers import ANYWHERE, CABLE, MAC, NODE
from pystream.rehearsal.limits import Stage
from pystream.rehearsal.players import RUSH_SECONDS, Playing, Visitor
from pystream.server.guard import kernel
from pystream.server.keys import ensure_keys, open_key_store
from pystream.server.metrics import parse
from pystream.server.settings import Settings, load

_WAYS: Final = (
    ("unshare", "--net", "--"),
    ("unshare", "--user", "--map-root-user", "--net", "--"),
)
"""unshare(1), with the rights of root and without."""
_VIEWERS = ("198.19.0.0", 16)
_ADMIN = "127.0.0.1:9090"
_READY_SECONDS = 60.0
_SAMPLE_SECONDS = 0.25
_RAMP_SECONDS = 6.0
# Of one process, which has a processor for itself.
_VIEWERS_A_PROCESS = 1000
# How long the last of them may take after the end of a stage, and to tell what they met.
_PATIENCE_SECONDS = 120.0
_GRACE_SECONDS = 20.0
_GATEWAY = "198.18.0.2"

_REFUSALS = {
    "pystream_refused_total": "reason",
    "pystream_connections_not_accepted_total": "reason",
    "pystream_guarded_total": "done",
}

# linux/sockios.h, linux/if.h, linux/rtnetlink.h, linux/netlink.h
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_RTM_NEWROUTE, _NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_CREATE = 24, 1, 4, 0x400
_RT_TABLE_LOCAL, _RTPROT_STATIC, _RT_SCOPE_HOST, _RTN_LOCAL = 255, 4, 254, 2
_RTA_DST, _RTA_OIF = 1, 4


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be played. `settings`: the operator's file, or None for the defaults; `seconds`: of a
    stage; `addresses`: from how many addresses viewers come, None for one each; `players_on`: the processors
    that they have for themselves, empty where they share all with the node; `has_helper`: the real node has
    one that limits SYNs."""

    settings: str | None
    tenant: str
    tenant_settings: dict[str, Any]
    stream: str
    stream_settings: dict[str, Any]
    seconds: float
    addresses: int | None
    together: bool = False
    players_on: tuple[int, ...] = ()
    has_helper: bool = False

    @staticmethod
    def parse(line: bytes) -> Plan:
        found = json.loads(line)
        for name in ("tenant_settings", "stream_settings"):
            found[name] = _with_tuples(found[name])
        return Plan(**_with_tuples(found))


class Rehearsal:
    """What a program outside of the namespace has of it; to be used with `with`."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __enter__(self) -> Rehearsal:
        self._process = self._started()
        return self

    def __exit__(self, *_: object) -> None:
        # Whose pipes are closed with it.
        with self._process as process:
            process.terminate()

    def play(self, viewers: int, attacks: Sequence[str] = ()) -> Stage:
        """A stage of so many, under attacks (`attackers.KINDS`). Raises `PystreamError`."""
        said = self._say(f"{' '.join((str(viewers), *attacks))}\n".encode())
        return Stage(**said)

    def _started(self) -> subprocess.Popen[bytes]:
        why = ""
        for way in _WAYS if os.geteuid() == 0 else _WAYS[1:]:
            command = [*way, sys.executable, "-m", "pystream.rehearsal.stage"]
            with tempfile.TemporaryFile() as errors:
                try:
                    process = subprocess.Popen(
                        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
                    )
                except FileNotFoundError:
                    raise PystreamError("unshare is not installed (Debian: util-linux)") from None
                self._process = process
                with suppress(BrokenPipeError):
                    self._say(json.dumps(asdict(self._plan)).encode() + b"\n")
                    return process
                process.wait()
                errors.seek(0)
                why = errors.read().decode(errors="replace").strip()
        raise PystreamError(
            "this machine gives nobody a network namespace of one's own, where a rehearsal can reach no"
            f" address of the world ({why}). Run it as root, or allow such namespaces: sysctl"
            " kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0"
        )

    def _say(self, line: bytes) -> dict[str, Any]:
        """Raises `BrokenPipeError` where it has ended without a word."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(line)
        self._process.stdin.flush()
        said = self._process.stdout.readline()
        if not said:
            raise BrokenPipeError
        found: dict[str, Any] = json.loads(said)
        if "failed" in found:
            raise PystreamError(found["failed"])
        return found


def main() -> int:
    """Returns 1 where it cannot be, which the last line says."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    plan = Plan.parse(sys.stdin.buffer.readline())
    try:
        _open_network()
        _tell({})
        for line in sys.stdin.buffer:
            count, *attacks = line.decode().split()
            # Each on a new node: the viewers of the one before would be counted for a while still.
            with ExitStack() as stack:
                folder = stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="pystream-rehearsal-")
                )
                field = stack.enter_context(_field()) if attacks else 0
                if attacks and plan.has_helper:
                    stack.enter_context(_helper(folder))
                node = stack.enter_context(_node(plan, folder, int(count)))
                stage = _run(plan, node, int(count), [(kind, field) for kind in attacks])
            _tell(asdict(stage))
    except PystreamError as error:
        _tell({"failed": str(error)})
        return 1
    except OSError as error:
        _tell({"failed": f"{error.filename or 'this machine'}: {error.strerror}"})
        return 1
    return 0


def _with_tuples(found: dict[str, Any]) -> dict[str, Any]:
    """JSON has lists for them."""
    return {name: tuple(each) if isinstance(each, list) else each for name, each in found.items()}


def _tell(what: dict[str, Any]) -> None:
    print(json.dumps(what), flush=True)


def _open_network() -> None:
    """Takes the loopback device up, and has the addresses of viewers and node lead there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        name = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(one, _SIOCGIFFLAGS, name))[1]
        fcntl.ioctl(one, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
    for address, bits in (_VIEWERS, (NODE[4], 32)):
        _lead_to_us(address, bits)


def _lead_to_us(address: str, bits: int) -> None:
    route = struct.pack(
        "=BBBBBBBBI",
        *(socket.AF_INET, bits, 0, 0),
        *(_RT_TABLE_LOCAL, _RTPROT_STATIC, _RT_SCOPE_HOST, _RTN_LOCAL, 0),
    )
    route += struct.pack("=HH4s", 8, _RTA_DST, socket.inet_aton(address))
    route += struct.pack("=HHi", 8, _RTA_OIF, socket.if_nametoindex("lo"))
    kind = _NLM_F_REQUEST | _NLM_F_ACK | _NLM_F_CREATE
    head = struct.pack("=IHHII", 16 + len(route), _RTM_NEWROUTE, kind, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as line:
        line.send(head + route)
        (failed,) = struct.unpack_from("=i", line.recv(4096), 16)
    if failed:
        raise OSError(-failed, os.strerror(-failed))


@contextmanager
def _field() -> Iterator[int]:
    """A namespace that a cable joins to this one, where attackers are: the process that keeps it."""
    command = ["unshare", "--net", "--", "sh", "-c", "echo there; exec cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as keeper:
        assert keeper.stdout is not None
        keeper.stdout.readline()
        inside = _entering(keeper.pid)
        anywhere = "{}/{}".format(*ANYWHERE)
        cable = f"link add {CABLE} address {MAC.hex(':')} type veth peer name {CABLE}"
        for where, words in (
            ((), f"{cable} netns {keeper.pid}"),
            ((), f"link set {CABLE} up"),
            (inside, "link set lo up"),
            (inside, f"address add {_GATEWAY}/32 dev {CABLE}"),
            (inside, f"link set {CABLE} up"),
            (inside, f"route add {NODE[4]}/32 dev {CABLE}"),
            # Who floods with requests has an address, and who floods with SYNs has none.
            (inside, "route add local 198.18.64.0/19 dev lo"),
            (inside, f"route add local {anywhere} dev lo"),
            ((), f"route add {_GATEWAY}/32 dev {CABLE}"),
            ((), f"route add 198.18.64.0/18 via {_GATEWAY}"),
            ((), f"route add {anywhere} via {_GATEWAY}"),
        ):
            _ip(where, words)
        yield keeper.pid
        keeper.terminate()


def _entering(pid: int) -> tuple[str, ...]:
    return ("nsenter", f"--target={pid}", "--net", "--")


def _ip(where: tuple[str, ...], words: str) -> None:
    try:
        done = subprocess.run([*where, "ip", *words.split()], capture_output=True, text=True)
    except FileNotFoundError as error:
        raise PystreamError(f"{error.filename} is not installed (Debian: iproute2)") from None
    if done.returncode:
        raise PystreamError(f"there is no field for attackers: ip: {done.stderr.strip()}")


@contextmanager
def _helper(folder: str) -> Iterator[None]:
    """What limits SYNs, as beside the real node; its rules are of this namespace alone."""
    command = [sys.executable, "-m", "pystream", "guard", "--socket", f"{folder}/helper"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        end = time.monotonic() + _READY_SECONDS
        while not os.path.exists(f"{folder}/helper") and time.monotonic() < end:
            if process.poll() is not None:
                raise PystreamError(
                    "the guard's helper does not start in the rehearsal's namespace"
                )
            time.sleep(0.02)
        try:
            yield
        finally:
            process.terminate()


@dataclass(frozen=True, slots=True)
class _Node:
    """One that runs: where viewers begin, and what each of them shows, "" where nothing is asked."""

    process: subprocess.Popen[bytes]
    url: str
    passwords: Sequence[str]

    def pids(self) -> list[int]:
        return watching.family(self.process.pid)


@dataclass(frozen=True, slots=True)
class _Crowd:
    """A process of viewers or attackers, and the file for what they meet."""

    process: subprocess.Popen[bytes]
    met: IO[bytes]

    def end(self) -> dict[str, Any]:
        with self.met:
            try:
                ended = self.process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                ended = self.process.wait()
            if ended:
                raise PystreamError("a program of the rehearsal has ended before its time")
            self.met.seek(0)
            found: dict[str, Any] = json.load(self.met)
            return found


@contextmanager
def _node(plan: Plan, folder: str, count: int) -> Iterator[_Node]:
    environ = _environment(plan, folder)
    settings = load(plan.settings, environ)
    scheme = "https" if settings.tls.listen else "http"
    passwords = _furnish(plan, count, settings, environ)
    if plan.players_on:
        # The node has the others.
        os.sched_setaffinity(0, os.sched_getaffinity(0) - {*plan.players_on})
    config = () if plan.settings is None else ("--config", plan.settings)
    with open(f"{folder}/log", "w+b") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "pystream", "serve", *config],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environ,
        )
        try:
            _wait_for(process, log.name)
            url = f"{scheme}://{NODE[4]}:{_port(scheme)}/{plan.tenant}/{plan.stream}/master.m3u8"
            yield _Node(process, url, passwords)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _port(scheme: str) -> int:
    return 8443 if scheme == "https" else 8080


def _environment(plan: Plan, folder: str) -> dict[str, str]:
    """The operator's settings, but for what is a place of theirs or goes out of this machine."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PYSTREAM_")}
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
        kept.pop(name, None)
    secure = bool(load(plan.settings, os.environ).tls.listen)
    ours = {name: text for name, text in os.environ.items() if name.startswith("PYSTREAM_")}
    return (
        kept
        | ours
        | {
            "PYSTREAM_SERVER_LISTEN": f"{NODE[4]}:{_port('http')}",
            "PYSTREAM_SERVER_ADMIN": _ADMIN,
            "PYSTREAM_SERVER_PATH_PREFIX": "",
            "PYSTREAM_SERVER_TRUSTED_PROXIES": "",
            "PYSTREAM_SERVER_PROXY_PROTOCOL": "false",
            "PYSTREAM_TLS_LISTEN": f"{NODE[4]}:{_port('https')}" if secure else "",
            "PYSTREAM_STORE_URL": f"sqlite:///{folder}/store.db",
            "PYSTREAM_KEYS_MASTER_KEY_FILE": f"{folder}/key",
            "PYSTREAM_KEYS_STORE": f"sqlite:///{folder}/keys.db",
            "PYSTREAM_KEYS_ERASURES": f"{folder}/erasures.txt",
            "PYSTREAM_MASTER_KEY": secrets.token_hex(32),
            "PYSTREAM_RETENTION_KEY_BACKUPS_FOLDER": "",
            "PYSTREAM_ATTENDANCE_ALLOW_UNSYNCED": "true",
            "PYSTREAM_ATTENDANCE_TIMESTAMP_URL": "",
            # The one of the settings is the real node's.
            "PYSTREAM_GUARD_HELPER": f"{folder}/helper",
            "PYSTREAM_LOG_FORMAT": "json",
            "PYSTREAM_LOG_ACCESS": "false",
        }
    )


def _furnish(plan: Plan, count: int, settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """A store with the tenant and the stream; returns what opens it for each viewer."""
    now = int(time.time())
    ensure_keys(settings.keys, environ, now)
    stream_settings = StreamSettings(**plan.stream_settings)
    with Store.open(settings.store.url) as store:
        who = "rehearsal"
        tenant_settings = TenantSettings(**plan.tenant_settings)
        store.add_tenant(plan.tenant, tenant_settings, who=who, now=now)
        stream = store.add_stream(plan.tenant, plan.stream, stream_settings, who=who, now=now)
        if stream_settings.access == "open":
            return [""] * count
        is_shared = stream_settings.access == "shared"
        texts = [generate() for _ in range(1 if is_shared else count)]
        with open_key_store(settings.keys, environ) as keys:
            entries = [(text, PasswordSettings()) for text in texts]
            Issuer(store.viewers, keys).add(
                stream.tenant_id, [stream.id], entries, who=who, now=now, shared=is_shared
            )
    return texts * count if is_shared else texts


def _wait_for(process: subprocess.Popen[bytes], log: str) -> None:
    """Until it is ready; raises `PystreamError` where it is not to be: with its own last words where it has
    ended, as what one says that is late is no reason."""
    end = time.monotonic() + _READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{_ADMIN}/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (OSError, urllib.error.URLError):
            pass
        time.sleep(0.05)
    if process.poll() is None:
        raise PystreamError(
            f"the node for the rehearsal is not ready after {_READY_SECONDS:.0f} s: this machine has too"
            " much to do"
        )
    with open(log, encoding="utf-8", errors="replace") as file:
        said = file.read().strip().splitlines()
    raise PystreamError(
        f"the node for the rehearsal does not start: {(said or ['it said nothing'])[-1]}"
    )


def _run(plan: Plan, node: _Node, count: int, attacks: Sequence[tuple[str, int]]) -> Stage:
    pids = node.pids()
    workers = watching.workers(pids)
    port = urlsplit(node.url).port or 0
    memory, tcp = _memory(pids), kernel.memory(port)
    before = {pid: watching.cpu(pid) for pid in pids}
    told = _refusals()
    begun, busy = time.monotonic(), watching.busy()
    attackers = {kind: _attacker(plan, node.url, kind, field) for kind, field in attacks}
    crowds = _crowds(plan, node, count)
    most_memory, most_tcp = memory, tcp
    end = time.monotonic() + plan.seconds + _PATIENCE_SECONDS
    while any(crowd.process.poll() is None for crowd in crowds) and time.monotonic() < end:
        most_memory = max(most_memory, _memory(pids))
        most_tcp = max(most_tcp, kernel.memory(port))
        time.sleep(_SAMPLE_SECONDS)
    met = [crowd.end() for crowd in crowds]
    attacked = {kind: each.end() for kind, each in attackers.items()}
    used = {pid: watching.cpu(pid) - before[pid] for pid in pids}
    elapsed, busy = time.monotonic() - begun, watching.busy() - busy
    errors = sum((Counter(each["errors"]) for each in met), Counter[str]())
    refused = sum(errors[name] for name in ("status 429", "status 503"))
    starts = sorted(start for each in met for start in each["starts"])
    return Stage(
        viewers=count,
        seconds=plan.seconds,
        media=sum(each["media"] for each in met),
        nbytes=sum(sum(each["nbytes"].values()) for each in met),
        cpu=sum(used.values()),
        busiest=max((used[pid] for pid in workers), default=0.0),
        idle=memory,
        memory=most_memory - memory,
        tcp=most_tcp - tcp,
        late=sum(len(each["late"]) for each in met),
        refused=refused,
        reasons={why: count - told[why] for why, count in _refusals().items() if count > told[why]},
        errors=errors.total() - refused,
        attacks=attacked,
        start=starts[min(len(starts) - 1, len(starts) * 99 // 100)] if starts else 0.0,
        rush=sum(each["rush"] for each in met) / (count * min(plan.seconds, RUSH_SECONDS)),
        crowd=_crowded(met, plan.players_on, sum(used.values())),
        others=_others(met, sum(used.values()), busy, elapsed),
    )


def _crowded(met: Sequence[Mapping[str, Any]], players_on: Sequence[int], node: float) -> float:
    """How much of their processors' time the viewers' programs had: the busiest of them, which has one
    thread, or all together; and where they share processors with the node, these two."""
    elapsed = max(float(each["elapsed"]) for each in met)
    together = sum(float(each["cpu"]) for each in met) + (0.0 if players_on else node)
    processors = len(players_on) or len(os.sched_getaffinity(0))
    busiest = max(float(each["cpu"]) for each in met)
    return max(busiest, together / processors) / elapsed


def _others(met: Sequence[Mapping[str, Any]], node: float, busy: float, elapsed: float) -> float:
    """How much of all processors' time had programs that are not of the rehearsal, or attack in it."""
    ours = node + sum(float(each["cpu"]) for each in met)
    return max(0.0, busy - ours) / (elapsed * (os.cpu_count() or 1))


def _refusals() -> Counter[str]:
    """How many the node has refused since it began, and why, as /metrics has it."""
    with urllib.request.urlopen(f"http://{_ADMIN}/metrics", timeout=30) as answer:
        samples = parse(answer.read().decode())
    found = Counter[str]()
    for name, label in _REFUSALS.items():
        for labels, count in samples.get(name, ()):
            found[labels[label]] += round(count)
    return found


def _memory(pids: list[int]) -> int:
    return sum(map(watching.pss, pids))


def _crowds(plan: Plan, node: _Node, count: int) -> list[_Crowd]:
    processes = -(-count // _VIEWERS_A_PROCESS)
    visitors = [
        Visitor(password, _source(number % (plan.addresses or count)))
        for number, password in enumerate(node.passwords)
    ]
    return [
        _crowd(plan, node.url, visitors[number::processes], number) for number in range(processes)
    ]


def _source(number: int) -> str:
    """Addresses one after the other are of different networks, as viewers' are."""
    high, low = number % 256, number // 256
    return f"198.19.{high}.{1 + low % 250}"


def _crowd(plan: Plan, url: str, visitors: Sequence[Visitor], number: int) -> _Crowd:
    ramp = min(_RAMP_SECONDS, plan.seconds / 2)
    playing = Playing(
        len(visitors), plan.seconds, together=plan.together, ramp=ramp, seed=number + 1
    )
    told = {
        "url": url,
        "visitors": visitors,
        "playing": asdict(playing),
        "processors": plan.players_on,
    }
    return _started([sys.executable, "-m", "pystream.rehearsal.players"], told)


def _attacker(plan: Plan, url: str, kind: str, field: int) -> _Crowd:
    command = [sys.executable, "-m", "pystream.rehearsal.attackers", kind]
    return _started([*_entering(field), *command], {"url": url, "seconds": plan.seconds})


def _started(command: Sequence[str], told: dict[str, Any]) -> _Crowd:
    met = os.fdopen(os.memfd_create("met"), "w+b")
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=met)
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write(json.dumps(told).encode())
    return _Crowd(process, met)


if __name__ == "__main__":
    sys.exit(main())
