"""`pystream top`: what a running node does, as it does it."""

from __future__ import annotations

import argparse
import os
import select
import sys
import time
from contextlib import ExitStack, contextmanager

from pystream.cli import _terminal
from pystream.cli._arguments import Parser
from pystream.cli._store import not_installed, show_table
from pystream.errors import PystreamError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from rich.console import RenderableType
    from rich.table import Table

    from pystream.server.metrics import Samples
    from pystream.server.settings import Listen

    Facts = dict[str, Any]

_DESCRIPTION = """\
Shows what a running node does: viewers, requests and bits a second, of the node
and of each stream, and how late its workers are. Press q to leave.

It asks the node's admin listener, /metrics. Nothing in it tells one viewer from
another.
"""

_EPILOG = """\
The admin listener is that of --admin, else the first of server.admin in the
settings: --config, else the file that PYSTREAM_CONFIG names, else
./pystream.toml or /etc/pystream/pystream.toml.

Viewers are sessions that asked for something within the last minute. Bits are
those that viewers have acknowledged. Lag is how late a worker's loop was within
the last ten seconds: what 99 of 100 samples stay below, and the worst one.

Turned away are newcomers who were asked to come again soon, because a bound of
[overload], of the stream or of its tenant was reached: "full" says which. Who
watches goes on watching. Whom the guard refuses, for asking too often, is not
in it: that is on the page /guard of the admin listener.

exit codes:
  0  done
  1  the node does not answer; a line on standard error says where
  2  the command line is wrong
  130  interrupted, by Ctrl-C or SIGTERM

examples:
  pystream top
  pystream top --once --json --admin unix:/run/pystream/admin
"""

_HISTORY = 120
_BARS = "▁▂▃▄▅▆▇█"
_LATE_MS = 10.0
_LEAVE = "qQ"
_NARROW = 96


def run(arguments: list[str]) -> int:
    """Run the command; returns its exit code."""
    parser = Parser(
        "top",
        usage="[--admin PLACE] [--interval SECONDS] [--once] [--json]\n         [--config FILE]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add("--admin", metavar="PLACE", help="where to ask: host:port or unix:/path")
    add(
        "--interval",
        metavar="SECONDS",
        type=_interval,
        default=2.0,
        help="over which rates are taken, from 0.2 to 60 (default: 2)",
    )
    add("--once", action="store_true", help="show one interval, and end")
    add("--json", action="store_true", help="print one interval as one JSON object, and end")
    add("--config", metavar="FILE", help="the settings, pystream.toml")
    options = parser.parse(arguments)
    node = _Node(_place(parser, options))
    if options.json:
        _terminal.print_json(_one(node, options.interval))
    elif options.once or not _terminal.is_terminal(sys.stdout):
        _show_once(_one(node, options.interval))
    else:
        _watch(node, options.interval)
    return 0


def _interval(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.2 <= value <= 60:
        raise argparse.ArgumentTypeError("a number of seconds from 0.2 to 60 is wanted")
    return value


def _place(parser: Parser, options: argparse.Namespace) -> Listen:
    try:
        from pystream.server import settings
    except ModuleNotFoundError as error:
        raise not_installed(error) from None
    if options.admin is not None:
        try:
            return settings.Listen(options.admin)
        except ValueError as error:
            parser.error(f"argument --admin: {error}")
    places = settings.load(options.config or settings.find(os.environ), os.environ).server.admin
    if not places:
        raise PystreamError(
            "the settings switch the admin listener off: server.admin names nothing"
        )
    return places[0]


class _Node:
    """A node, asked at its admin listener."""

    def __init__(self, place: Listen) -> None:
        self.place = place

    def read(self) -> tuple[float, Samples]:
        """Its metrics, and when that was. Raises `PystreamError`."""
        from http.client import HTTPException

        try:
            return time.monotonic(), self._fetch()
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            raise PystreamError(
                f"{self.place}: {reason}: is a node running, with this as its server.admin?"
            ) from None
        except (HTTPException, ValueError):
            raise PystreamError(f"{self.place}: what answers there is no pystream") from None

    def _fetch(self) -> Samples:
        import http.client
        import socket

        from pystream.server.metrics import parse

        place = self.place
        host = "127.0.0.1" if place.host in ("*", "0.0.0.0", "") else place.host
        connection = http.client.HTTPConnection(host, place.port or 80, timeout=5)
        try:
            if place.path:
                connection.sock = socket.socket(socket.AF_UNIX)
                connection.sock.settimeout(5)
                connection.sock.connect(place.path)
            connection.request("GET", "/metrics")
            answer = connection.getresponse()
            samples = parse(answer.read().decode())
        finally:
            connection.close()
        if answer.status != 200 or "pystream_info" not in samples:
            raise ValueError("these are not the metrics of pystream")
        return samples


def _one(node: _Node, interval: float) -> Facts:
    begin, before = node.read()
    time.sleep(interval)
    end, after = node.read()
    return facts(before, after, end - begin)


def facts(before: Samples, after: Samples, seconds: float) -> Facts:
    """What two readings of the metrics say, `seconds` apart."""

    def now(name: str) -> float:
        return sum(value for _, value in after.get(name, ()))

    def rate(name: str, **wanted: str) -> float:
        was, will = (_total(samples, name, wanted) for samples in (before, after))
        return round(max(0.0, will - was) / seconds, 3)

    workers = _workers(after)
    refused = rate("pystream_refused_total")
    reasons = [labels["reason"] for labels, _ in after.get("pystream_refused_total", ())]
    by_reason = {reason: rate("pystream_refused_total", reason=reason) for reason in reasons}
    info = after["pystream_info"][0][0]
    return {
        "version": info.get("version", ""),
        "seconds": round(seconds, 3),
        "workers_serving": int(now("pystream_workers_serving")),
        "workers_wanted": int(now("pystream_workers_wanted")),
        "draining": bool(now("pystream_draining")),
        "store_reachable": bool(now("pystream_store_reachable")),
        "viewers": int(now("pystream_viewers")),
        "connections": sum(worker["connections"] for worker in workers),
        "requests_per_second": rate("pystream_requests_total"),
        "errors_per_second": max(0.0, rate("pystream_requests_total", status="5xx") - refused),
        "refused_per_second": refused,
        "refused_by_reason": {reason: each for reason, each in by_reason.items() if each},
        "bits_per_second": 8 * rate("pystream_stream_bytes_total"),
        "cache_hit_share": _share(
            rate("pystream_cache_hits_total"), rate("pystream_cache_misses_total")
        ),
        "lag_p99_ms": max((worker["lag_p99_ms"] for worker in workers), default=0.0),
        "lag_max_ms": max((worker["lag_max_ms"] for worker in workers), default=0.0),
        "workers": workers,
        "streams": _streams(before, after, seconds),
    }


def _share(hits: float, misses: float) -> float | None:
    """None where nobody asked."""
    return round(hits / (hits + misses), 3) if hits + misses else None


def _total(samples: Samples, name: str, wanted: dict[str, str]) -> float:
    return sum(v for labels, v in samples.get(name, ()) if wanted.items() <= labels.items())


_GAUGES = ("connections", "answers", "window_bytes", "index_bytes", "resident_bytes")


def _workers(samples: Samples) -> list[Facts]:
    found: dict[tuple[str, str], Facts] = {}
    lags = {"0.5": "lag_p50_ms", "0.99": "lag_p99_ms", "1": "lag_max_ms"}
    for gauge in (*_GAUGES, "loop_lag_seconds"):
        for labels, value in samples.get(f"pystream_worker_{gauge}", ()):
            key = labels["worker"], labels["draining"]
            worker = found.setdefault(
                key, {"worker": int(key[0]), "draining": key[1] == "1", **dict.fromkeys(_GAUGES, 0)}
            )
            if gauge == "loop_lag_seconds":
                worker[lags[labels["quantile"]]] = round(value * 1000, 3)
            else:
                worker[gauge] = int(value)
    for worker in found.values():
        for name in lags.values():
            worker.setdefault(name, 0.0)
    return [found[key] for key in sorted(found, key=lambda key: (int(key[0]), key[1]))]


def _streams(before: Samples, after: Samples, seconds: float) -> list[Facts]:
    """The busiest one first."""
    found: dict[tuple[str, str], Facts] = {}

    def stream(labels: dict[str, str]) -> Facts:
        place = labels["tenant"], labels["stream"]
        empty = {"viewers": 0, **dict.fromkeys(_RATES.values(), 0.0)}
        return found.setdefault(place, {"tenant": place[0], "stream": place[1], **empty})

    for labels, value in after.get("pystream_stream_viewers", ()):
        stream(labels)["viewers"] = int(value)
    for name, rate in _RATES.items():
        metric = f"pystream_stream_{name}_total"
        for sign, samples in ((1, after), (-1, before)):
            for labels, value in samples.get(metric, ()):
                stream(labels)[rate] += sign * value
        for each in found.values():
            times = 8 if name == "bytes" else 1
            each[rate] = round(times * max(0.0, each[rate]) / seconds, 3)
    busy = sorted(found.values(), key=lambda each: (each["tenant"], each["stream"]))
    return sorted(busy, key=lambda each: (-each["bits_per_second"], -each["viewers"]))


_RATES = {
    "requests": "requests_per_second",
    "bytes": "bits_per_second",
    "aborted": "aborted_per_second",
}


# Once, as text


def _show_once(found: Facts) -> None:
    print(_headline(found))
    show_table(list(_WORKER_COLUMNS), [_worker_row(worker) for worker in found["workers"]])
    show_table(list(_STREAM_COLUMNS), [_stream_row(stream) for stream in found["streams"]])


def _headline(found: Facts) -> str:
    serving, wanted = found["workers_serving"], found["workers_wanted"]
    parts = [
        f"pystream {found['version']}",
        f"{serving} of {_terminal.counted(wanted, 'worker')}",
        f"{_terminal.counted(found['viewers'], 'viewer')}",
        f"{found['requests_per_second']:,.1f} requests/s",
        f"{found['bits_per_second'] / 1e6:,.1f} Mbit/s",
        f"lag {found['lag_p99_ms']:,.1f} ms",
        f"cache hits {_percent(found['cache_hit_share'])}",
        f"{found['refused_per_second']:,.1f} turned away/s",
        *_complaints(found),
    ]
    return " · ".join(parts)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _complaints(found: Facts) -> list[str]:
    wrong = []
    if found["draining"]:
        wrong.append("ending")
    if not found["store_reachable"]:
        wrong.append("the store cannot be read")
    if found["refused_per_second"]:
        wrong.append(f"full: {', '.join(found['refused_by_reason'])}")
    if found["errors_per_second"]:
        wrong.append(f"{found['errors_per_second']:,.1f} errors/s")
    return wrong


_WORKER_COLUMNS = (
    ("worker", "left"),
    *((name, "right") for name in ("connections", "answers", "windows", "indexes", "memory")),
    *((name, "right") for name in ("lag p99", "worst")),
)
_STREAM_COLUMNS = (
    ("stream", "left"),
    *((name, "right") for name in ("viewers", "requests/s", "Mbit/s", "aborted/s")),
)


def _worker_row(worker: Facts) -> list[str]:
    return [
        f"{worker['worker']}{' ending' if worker['draining'] else ''}",
        f"{worker['connections']:,}",
        f"{worker['answers']:,}",
        *(_megabytes(worker[name]) for name in ("window_bytes", "index_bytes", "resident_bytes")),
        *(f"{worker[name]:,.1f} ms" for name in ("lag_p99_ms", "lag_max_ms")),
    ]


def _stream_row(stream: Facts) -> list[str]:
    return [
        f"{stream['tenant']}/{stream['stream']}".lstrip("/"),
        f"{stream['viewers']:,}",
        f"{stream['requests_per_second']:,.1f}",
        f"{stream['bits_per_second'] / 1e6:,.2f}",
        f"{stream['aborted_per_second']:,.1f}",
    ]


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"


# Live


def _watch(node: _Node, interval: float) -> None:
    """Draws until q is pressed."""
    from rich.console import Console
    from rich.live import Live

    begin, before = node.read()
    console = Console(highlight=False)
    history: list[float] = []
    found = facts(before, before, interval)
    live = Live(console=console, screen=True, auto_refresh=False)
    with _keys() as pressed, ExitStack() as stack:
        # Not `with live`: interrupted while it begins, it would not leave the alternate screen.
        stack.callback(live.stop)
        live.start()
        live.update(_screen(found, history, "", console.size), refresh=True)
        while True:
            # The first figures come soon, and are those of a short while.
            if set(_LEAVE) & set(pressed(interval if history else min(interval, 1.0))):
                return
            trouble = ""
            try:
                end, after = node.read()
                found = facts(before, after, max(0.01, end - begin))
                begin, before = end, after
                history = [*history, found["bits_per_second"]][-_HISTORY:]
            except PystreamError as error:
                trouble = str(error)
            live.update(_screen(found, history, trouble, console.size), refresh=True)


@contextmanager
def _keys() -> Iterator[Any]:
    """Gives what waits for keys, so many seconds, and returns "" where none is pressed. Keys count
    at once and are not shown; the terminal is afterwards as it was."""
    if not _terminal.is_terminal(sys.stdin):

        def wait(seconds: float) -> str:
            time.sleep(seconds)
            return ""

        yield wait
        return
    import termios
    import tty

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)

    def pressed(seconds: float) -> str:
        ready, _, _ = select.select([fd], [], [], seconds)
        return os.read(fd, 64).decode(errors="replace") if ready else ""

    try:
        # What was pressed before counts, too.
        tty.setcbreak(fd, termios.TCSADRAIN)
        yield pressed
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _screen(
    found: Facts, history: list[float], trouble: str, size: tuple[int, int]
) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    width, height = size
    narrow = width < _NARROW
    workers, streams = found["workers"], found["streams"]
    complaints = [trouble] if trouble else _complaints(found)
    # Head, figures, bars, two tables' heads and gaps, the line below.
    room = max(1, height - len(workers) - 14 - len(complaints))
    lines: list[RenderableType] = [
        _head(found, trouble),
        Text(""),
        _figures(found, narrow),
        Text(""),
        _bars(history, width - 4),
        _workers_table(workers, width, narrow),
        _table(_STREAM_COLUMNS, [_stream_row(stream) for stream in streams[:room]], width),
    ]
    if len(streams) > room:
        lines.append(Text(f"  and {len(streams) - room:,} more, less busy", "dim"))
    if not streams:
        lines.append(Text("  nothing was asked for yet", "dim"))
    lines += [Text(f"  {complaint}", "bold red") for complaint in complaints]
    lines.append(Text("  q leaves", "dim"))
    return Group(*lines)


def _head(found: Facts, trouble: str) -> RenderableType:
    from rich.text import Text

    serving, wanted = found["workers_serving"], found["workers_wanted"]
    well = serving == wanted and not trouble and not found["draining"]
    return Text.assemble(
        "  ",
        (f"pystream {found['version']}", "bold"),
        "   ",
        ("● ", "green" if well else "red"),
        f"{serving} of {_terminal.counted(wanted, 'worker')} serving",
    )


def _workers_table(workers: list[Facts], width: int, narrow: bool) -> Table:
    rows = [_worker_row(worker) for worker in workers]
    kept = [
        n
        for n, (title, _) in enumerate(_WORKER_COLUMNS)
        if not (narrow and title in ("answers", "windows", "indexes"))
    ]
    columns = tuple(_WORKER_COLUMNS[n] for n in kept)
    return _table(columns, [[row[n] for n in kept] for row in rows], width)


def _figures(found: Facts, narrow: bool) -> RenderableType:
    """The node's sums, large enough to be found at once."""
    from rich.table import Table
    from rich.text import Text

    lag = found["lag_p99_ms"]
    shown = (
        ("viewers", f"{found['viewers']:,}", "bold"),
        ("requests/s", f"{found['requests_per_second']:,.1f}", "bold"),
        ("Mbit/s", f"{found['bits_per_second'] / 1e6:,.1f}", "bold cyan"),
        ("lag p99", f"{lag:,.1f} ms", "bold red" if lag > _LATE_MS else "bold green"),
        ("cache hits", _percent(found["cache_hit_share"]), "bold"),
        ("connections", f"{found['connections']:,}", "bold"),
        ("turned away/s", f"{found['refused_per_second']:,.1f}", "bold"),
    )[: 4 if narrow else 7]
    grid = Table.grid(padding=(0, 3), pad_edge=False)
    for _ in shown:
        grid.add_column(justify="right", no_wrap=True)
    grid.add_row(*(Text(value, style) for _, value, style in shown))
    grid.add_row(*(Text(name, "dim") for name, _, _ in shown))
    return _indented(grid)


def _bars(history: list[float], width: int) -> RenderableType:
    from rich.text import Text

    shown = history[-max(1, width - 14) :]
    top = max([*shown, 1.0])
    bars = "".join(_BARS[min(7, int(value / top * 7.999))] for value in shown)
    return Text.assemble("  ", (bars, "cyan"), (f" {top / 1e6:,.1f} Mbit/s at most", "dim"))


def _table(columns: tuple[tuple[str, str], ...], rows: list[list[str]], width: int) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, header_style="dim", width=min(width, 100), padding=(0, 1))
    for index, (title, side) in enumerate(columns):
        table.add_column(
            title,
            justify="right" if side == "right" else "left",
            style="" if index else "bold cyan",
            no_wrap=True,
            overflow="ellipsis",
            ratio=None if index else 1,
        )
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _indented(what: RenderableType) -> RenderableType:
    from rich.padding import Padding

    return Padding(what, (0, 0, 0, 2))
