"""What a rehearsal says to people: one page, which stands alone and prints."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from string import Template
from typing import Any

# Of all processors' time. What takes less is in nobody's way.
_MUCH = 0.2
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 640.0, 240.0, 48.0, 32.0


def verdict(told: Mapping[str, Any]) -> str:
    """What holds, and what comes first, in two sentences."""
    wanted, limits = told["viewers"], told["limits"]
    first = next((each for each in limits if not each["of_source"]), None)
    if told["holds"]:
        said = f"{wanted:,} viewers of {told['stream']} hold."
    else:
        said = (
            f"{told['breaks']:,} viewers of {told['stream']} do not hold; {told['held']:,} did."
            f" {_trouble(told)}"
        )
    if first is not None:
        said += f" The first limit is {first['name']}, at about {first['viewers']:,}"
        said += f" ({first['viewers'] / wanted:.1f} times as many as are to come)."
    if told["holds_under_attack"] is not None:
        said += " Under attack they " + (
            "hold as well." if told["holds_under_attack"] else "do not hold."
        )
    if told["holds"] and told["breaks"]:
        said += f" It broke at {told['breaks']:,}; {told['held']:,} held. {_trouble(told)}"
    return said


def _trouble(told: Mapping[str, Any]) -> str:
    ill = [each for each in told["stages"] if not (each["holds"] or each["attacks"])]
    broken = min(ill, key=lambda each: int(each["viewers"]))
    found = (
        ("{} were refused", broken["refused"]),
        ("{} were broken off", broken["errors"]),
        ("{} segments came late", broken["late"]),
    )
    said = ", ".join(text.format(f"{count:,}") for text, count in found if count)
    if broken["reasons"]:
        said += f" (the node says: {', '.join(broken['reasons'])})"
    said = f"{said[:1].upper()}{said[1:]}."
    if not broken["is_the_nodes"]:
        said += (
            " That may not be the node's doing: the processors of the viewers' own programs were full"
            " (--players-on gives them others)."
        )
    if broken["others"] >= _MUCH:
        said += (
            f" That may not be the node's doing: other programs had {broken['others']:.0%} of all"
            " processors' time meanwhile. Rehearse when nobody else needs this machine."
        )
    return said


def of(told: Mapping[str, Any]) -> str:
    """The page, as HTML."""
    text = resources.files(__package__).joinpath("page.html").read_text("utf-8")
    stages, facts = told["stages"], told["facts"]
    fields = {
        "title": f"Rehearsal of {told['stream']} with {told['viewers']:,} viewers",
        "verdict": verdict(told),
        "tone": "breaks" if False in (told["holds"], told["holds_under_attack"]) else "holds",
        "where": f"{told['processor']}, {facts['processors']:g} of its processors for the node",
        "attacks": "; ".join(_attacks(stages)) or "none",
        "left_out": "; ".join(told["left_out"]) or "nothing",
    }
    values = {name: html.escape(text) for name, text in fields.items()}
    values |= {
        "limits": "".join(_limits(told["limits"], told["viewers"])),
        "stages": "".join(map(_stage, stages)),
        "chart": _chart(told),
    }
    return Template(text).substitute(values)


def _limits(limits: Sequence[Mapping[str, Any]], wanted: int) -> Iterator[str]:
    for limit in limits:
        short = " class=short" if limit["viewers"] < wanted and not limit["of_source"] else ""
        yield f"<tr{short}>"
        yield f"<th scope=row>{html.escape(limit['name'])}</th>"
        cells = (
            ("Viewers", " class=number", f"{limit['viewers']:,}"),
            ("Times as many", " class=number", f"{limit['viewers'] / wanted:,.1f}"),
            ("Why", "", f"{'measured' if limit['measured'] else 'set'}: {limit['why']}"),
            ("What to change", "", limit["change"]),
        )
        for name, sort, text in cells:
            yield f"<td data-name='{name}'{sort}>{html.escape(text)}</td>"
        yield "</tr>\n"


def _attacks(stages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for stage in stages:
        for kind, met in stage["attacks"].items():
            yield f"{kind}: {', '.join(f'{count:,} {what}' for what, count in met.items())}"


def _stage(stage: Mapping[str, Any]) -> str:
    cells = (
        f"{stage['viewers']:,}{' + attack' if stage['attacks'] else ''}",
        f"{_taken(stage, stage['cpu']):.2f}",
        f"{_taken(stage, 8 * stage['nbytes']) / 1e6:,.0f}",
        f"{stage['memory'] / 1e6:,.0f}",
        f"{stage['tcp'] / 1e6:,.0f}",
        f"{stage['start']:.1f}",
        f"{stage['crowd']:.0%}",
        f"{stage['others']:.0%}",
        *(f"{stage[name]:,}" for name in ("late", "refused", "errors")),
        "yes" if stage["holds"] else "no",
    )
    return f"<tr>{''.join(f'<td class=number>{cell}</td>' for cell in cells)}</tr>\n"


def _taken(stage: Mapping[str, Any], of_all: float) -> float:
    """In a second, while all come."""
    times = max(1.0, stage["rush"])
    return float(of_all / (stage["media"] or 1.0) * stage["viewers"] * times)


def _chart(told: Mapping[str, Any]) -> str:
    """Processors that viewers take, as measured, and on to where there are no more."""
    stages = [stage for stage in told["stages"] if stage["media"] and not stage["attacks"]]
    if not stages:
        return ""
    there = told["facts"]["processors"]
    points = [(each["viewers"], _taken(each, each["cpu"])) for each in stages]
    foreseen = next((e["viewers"] for e in told["limits"] if e["name"] == "processors"), 0)
    most = max([foreseen, *(viewers for viewers, _ in points), told["viewers"]]) * 1.05
    high = max([there, *(used for _, used in points)]) * 1.1

    def at(viewers: float, used: float) -> str:
        x = _LEFT + (_WIDTH - _LEFT) * viewers / most
        y = (_HEIGHT - _BOTTOM) * (1 - used / high)
        return f"{x:.1f},{y:.1f}"

    _, top = at(0, there).split(",")
    wanted_x, _ = at(told["viewers"], 0).split(",")
    base = f"{_HEIGHT - _BOTTOM:.1f}"
    marks = "".join(
        "<circle cx={} cy={} r=5 class={}></circle>".format(
            *at(*point).split(","), "well" if each["holds"] else "ill"
        )
        for point, each in zip(points, stages, strict=True)
    )
    return (
        f"<svg viewBox='0 0 {_WIDTH:.0f} {_HEIGHT:.0f}' role=img aria-label='Processors by viewers'>"
        f"<line x1={_LEFT} x2={_WIDTH} y1={base} y2={base} class=axis></line>"
        f"<line x1={_LEFT} x2={_WIDTH} y1={top} y2={top} class=bound></line>"
        f"<text x={_LEFT - 8} y={top} class=end dy=4>{there:g}</text>"
        f"<text x={_LEFT - 8} y={base} class=end dy=4>0</text>"
        f"<line x1={wanted_x} x2={wanted_x} y1=0 y2={base} class=wanted></line>"
        f"<text x={wanted_x} y={_HEIGHT - 12} class=middle>{told['viewers']:,}</text>"
        f"<polyline points='{at(0, 0)} {' '.join(at(*point) for point in points)}' class=line></polyline>"
        f"{marks}</svg>"
    )
