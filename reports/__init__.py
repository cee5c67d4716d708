"""Pure functions of results files: tables, pages, JUnit."""

from collections.abc import Callable

from golden.results import Results
from reports.export import render_csv, render_json, render_latex
from reports.html import render_html
from reports.junit import render_junit
from reports.markdown import render_markdown

#: ``golden report --format``: every format takes any number of runs and returns one document.
FORMATS: dict[str, Callable[[list[Results]], str]] = {
    "md": render_markdown,
    "html": render_html,
    "csv": render_csv,
    "latex": render_latex,
    "json": render_json,
}

__all__ = [
    "FORMATS",
    "render_csv",
    "render_html",
    "render_json",
    "render_junit",
    "render_latex",
    "render_markdown",
]
