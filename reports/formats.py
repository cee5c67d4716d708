"""What results are rendered as: every format, and the languages of those for people."""

from collections.abc import Sequence
from typing import Protocol

from golden.files.sweeps import SweepResult
from golden.results import Results
from reports.export import render_csv, render_json, render_latex
from reports.html import render_html
from reports.junit import render_junit
from reports.markdown import render_markdown
from reports.messages import LANGS, Lang, speaking


class Renderer(Protocol):
    """Renders any number of runs and sweeps as one document."""

    def __call__(self, runs: Sequence[Results], sweeps: Sequence[SweepResult] = ()) -> str:
        """Return the document, in the language that is being spoken."""


#: ``golden report --format``.
FORMATS: dict[str, Renderer] = {
    "md": render_markdown,
    "html": render_html,
    "csv": render_csv,
    "latex": render_latex,
    "json": render_json,
}

#: Formats for people, which are written in any of LANGS; the others are for programs and papers.
TRANSLATED = ("md", "html")

__all__ = [
    "FORMATS",
    "LANGS",
    "TRANSLATED",
    "Lang",
    "render_csv",
    "render_html",
    "render_json",
    "render_junit",
    "render_latex",
    "render_markdown",
    "speaking",
]
