"""What a terminal gets. `rich` is imported when something is shown, and never in a pipe."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager

from pystream.cli._terminal import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from pystream.packager import Presentation, Rendition
    from pystream.packager.verify import Report

# How lines are meant, and what that looks like.
_STYLES = {
    "head": "bold",
    "track": "cyan",
    "plan": "green",
    "warning": "yellow",
    "error": "bold red",
    "": "",
}


def _console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    # Numbers in their own colour make a list of numbers no easier to read.
    return Console(stderr=stderr, highlight=False)


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error for as long as the context lasts; gives what to call with bytes
    done and bytes in all."""
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
    )
    # Drawn when it is called for: a thread of its own would compete with those that write.
    with Progress(
        *columns, console=_console(stderr=True), transient=True, expand=True, auto_refresh=False
    ) as bar:
        task = bar.add_task(title, total=None)
        due = 0.0

        def report(done: int, total: int) -> None:
            nonlocal due
            # However often it is called: drawing takes a millisecond.
            now = time.monotonic()
            drawn = now >= due or done >= total
            if drawn:
                due = now + 0.05
            bar.update(task, completed=done, total=total, refresh=drawn)

        yield report


def show_presentation(
    presentation: Presentation,
    playlist: str,
    total: int,
    seconds: float,
    key_dir: str | None,
    key_uri: str | None,
) -> None:
    """The summary of `pystream package`."""
    from rich.table import Table
    from rich.text import Text

    console = _console()
    console.print()
    table = _table(presentation)
    # Without a width to stay within, or what is cut off would not be counted.
    if console.measure(table, options=console.options.update(width=1000)).minimum <= console.width:
        console.print(table)
    else:
        for line in _narrow(presentation):
            console.print(line)
        console.print()
    folder = os.path.dirname(playlist) or "."
    rows = [("playlist", Text(playlist, "bold green"))]
    rows.append(("written", Text(f"{_size(total)} in {seconds:.2f} s, {_size(total / seconds)}/s")))
    keys = [name for rendition in presentation.renditions for name, _ in rendition.key_files()]
    if keys:
        where = f"in {key_dir}" if key_dir else "beside the playlists"
        files = counted(len(keys), "key file")
        rows.append(("AES-128", Text(f"{files} {where}, for those who may watch and nobody else")))
    if key_uri:
        rows.append(("play", Text(f"players fetch the keys from {key_uri}: serve them there")))
    else:
        rows.append(("play", Text(f"ffplay -allowed_extensions ALL {_quoted(playlist)}")))
        server = f"python3 -m http.server --bind 127.0.0.1 -d {_quoted(folder)}"
        rows.append(("serve", Text(server)))
        address = f"http://127.0.0.1:8000/{os.path.basename(playlist)}"
        rows.append(("", Text(f"then open {address} in any HLS player", "dim")))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in rows:
        grid.add_row(name, text)
    console.print(grid)
    console.print()


def _table(presentation: Presentation) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("", style="bold cyan", no_wrap=True)
    table.add_column("content", no_wrap=True)
    table.add_column("codecs", no_wrap=True)
    for name in ("segments", "length", "kbit/s", "peak"):
        table.add_column(name, justify="right", no_wrap=True)
    for rendition in presentation.renditions:
        peak, average = rendition.bit_rates(presentation.target_duration)
        table.add_row(
            rendition.name,
            _content(rendition),
            Text("\n".join(rendition.codecs)),
            f"{len(rendition):,}",
            _clock(_length(rendition)),
            f"{average / 1000:,.0f}",
            f"{peak / 1000:,.0f}",
        )
    return table


def _narrow(presentation: Presentation) -> Iterator[Text]:
    """The table as lines, for terminals in which its columns have no room."""
    from rich.text import Text

    for rendition in presentation.renditions:
        peak, average = rendition.bit_rates(presentation.target_duration)
        yield Text.assemble((rendition.name, "bold cyan"), f"  {_content(rendition)}")
        segments = counted(len(rendition), "segment")
        for line in (
            *rendition.codecs,
            f"{segments}, {_clock(_length(rendition))}",
            f"{average / 1000:,.0f} kbit/s, peak {peak / 1000:,.0f}",
        ):
            yield Text(f"    {line}")


def _length(rendition: Rendition) -> float:
    return sum(rendition.durations_us) / 1_000_000


def _content(rendition: Rendition) -> str:
    if rendition.resolution is None:
        channels = {1: "mono", 2: "stereo"}.get(
            rendition.channels, f"{rendition.channels} channels"
        )
        return " ".join(filter(None, ("audio", channels, rendition.language)))
    width, height = rendition.resolution
    rate = rendition.frame_rate_milli
    sound = " + audio" if len(rendition.tracks) > 1 else ""
    return f"{width}×{height}{f' {rate / 1000:g} fps' if rate else ''}{sound}"


def _clock(seconds: float) -> str:
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{tenths / 10:04.1f}"
    return f"{minutes}:{tenths / 10:04.1f}"


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:,.0f} {unit}" if unit == "bytes" or count >= 100 else f"{count:.1f} {unit}"


def _quoted(path: str) -> str:
    from shlex import quote

    return quote(path)


def show_trees(trees: Sequence[Sequence[tuple[int, str, str]]]) -> None:
    """Lines of `(depth, manner, text)` as trees; a tree begins with its only line of depth 0."""
    from rich.tree import Tree

    console = _console()
    for lines in trees:
        nodes: list[Tree] = []
        for depth, manner, text in lines:
            label = _label(manner, text)
            del nodes[depth:]
            nodes.append(nodes[-1].add(label) if nodes else Tree(label, guide_style="dim"))
        console.print(nodes[0])
        console.print()


def _label(manner: str, text: str) -> Text:
    """The text up to its first colon stands out, all of it where it is a complaint."""
    from rich.text import Text

    if manner in ("warning", "error"):
        return Text(f"! {text}", _STYLES[manner])
    head, colon, rest = text.partition(": ")
    if not colon:
        return Text(text, _STYLES[manner])
    return Text.assemble((head + colon, _STYLES[manner] or "dim"), rest)


def show_verdict(playlist: str, report: Report) -> None:
    """The result of `pystream verify` where nothing is wrong."""
    from rich.text import Text

    first, *others = str(report).splitlines()
    console = _console()
    console.print(Text.assemble(("✓ ", "bold green"), (playlist, "bold"), f": {first}"))
    for line in others:
        console.print(Text(f"  {line}", "yellow"))
