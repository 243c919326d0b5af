"""A report as a file. The modules of formats are loaded here, each where it is wanted."""

from __future__ import annotations

from typing import Final

from pystream.acl.reports import Report

SHAPES: Final = ("csv", "json", "xlsx", "pdf", "svg")


def made(report: Report, shape: str, locale: str) -> bytes:
    """The file of a shape, its words in that language. Raises `Incomplete`, and `ModuleNotFoundError` where
    what makes it is not installed."""
    if shape == "json":
        return report.json()
    if shape == "svg":
        from pystream.acl.reports.curve import svg

        return svg(report, locale)
    if shape == "pdf":
        from pystream.acl.reports.paper import pdf

        return pdf(report, locale)
    from pystream.acl.reports.grid import grid

    if shape == "csv":
        from pystream.acl.reports.table import csv

        return b"".join(csv(grid(report, locale)))
    from pystream.acl.reports.sheet import xlsx

    return xlsx(grid(report, locale))
