"""What a bar of time spans, whoever draws it: the days of a programme side by side, each as long as it
lasts, or, of a stream, what anybody has watched."""

from __future__ import annotations

from dataclasses import dataclass

from pystream.acl.reports import Line, Report
from pystream.attendance.programmes import days, midnights, programme

Spans = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Timeline:
    """`programme` is empty of a stream. `spans` do not touch."""

    programme: tuple[tuple[int, int], ...]
    spans: Spans

    def inside(self, watched: Spans) -> Spans:
        """What of it is within the programme, all of it where there is none."""
        if not self.programme:
            return watched
        return [
            (max(begin, first), min(end, last))
            for begin, end in watched
            for first, last in self.programme
            if begin < last and end > first
        ]

    @property
    def length(self) -> int:
        return sum(end - begin for begin, end in self.spans) or 1


def timeline(report: Report, lines: list[Line]) -> Timeline:
    """Of these lines of a report."""
    zone = report.options.timezone
    planned = programme(report.options.windows, report.options.breaks)
    shown = planned or tuple((begin, end) for line in lines for begin, end in line.spans)
    spans: Spans = []
    for day in days(shown, zone):
        midnight, over = midnights(day, day, zone)
        inside = [
            (max(begin, midnight), min(end, over))
            for begin, end in shown
            if begin < over and end > midnight
        ]
        begin, end = min(each[0] for each in inside), max(each[1] for each in inside)
        if spans and spans[-1][1] == begin:
            # A programme over midnight is one.
            begin = spans.pop()[0]
        spans.append((begin, end))
    return Timeline(planned, spans)
