"""``report.html``: one self-contained page, readable without network, server or script."""

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from golden.results import EntryPointResult, Results, Tally
from reports import charts, tables, text
from reports.summary import (
    Fact,
    Problem,
    Shares,
    facts,
    failing_entry_points,
    labels,
    merged,
    problems,
    ranked,
    shares,
)
from reports.tables import Matrix, Table

#: Failing cases listed for one entry point; ``results.json`` has more.
_FAILING_SHOWN = 50


@dataclass(frozen=True)
class EntryView:
    """One entry point as the template shows it."""

    entry: EntryPointResult
    anchor: str
    total: Tally
    shares: Shares
    segments: list[charts.Segment]
    histogram: charts.Histogram | None
    details: list[Table]
    words: str  #: what the filter box searches


@dataclass(frozen=True)
class RunView:
    """One run as the template shows it."""

    run: Results
    anchor: str
    label: str
    problems: list[Problem]
    facts: list[Fact]
    entries: list[EntryView]
    details: list[Table]
    failing: int
    required: int


def render_html(runs: list[Results]) -> str:
    """Return one page. One run begins with its verdict, several with ranking and accuracy matrix."""
    ordered = ranked(runs)
    views = [
        _run(run, f"run{number}", label)
        for number, (run, label) in enumerate(zip(ordered, labels(ordered), strict=True), 1)
    ]
    matrix: Matrix | None = tables.matrix(runs) if len(views) > 1 else None
    style, script = _asset("report.css"), _asset("report.js")
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            views=views,
            matrix=matrix,
            symbols=_symbols(ordered),
            style=Markup(style),
            script=Markup(script),
            style_hash=_csp_hash(style),
            script_hash=_csp_hash(script),
            text=text,
            size=(charts.WIDTH, charts.HEIGHT),
        )
        + "\n"
    )


def _symbols(runs: list[Results]) -> dict[tuple[str, str], str]:
    """Return the C names behind a section of the matrix, so that the filter finds its rows by them."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for entry in (e for run in runs for e in run.entry_points):
        found.setdefault((entry.operator, entry.dtype), {})[entry.symbol] = None
    return {key: " ".join(names) for key, names in found.items()}


def _run(run: Results, anchor: str, label: str) -> RunView:
    return RunView(
        run=run,
        anchor=anchor,
        label=label,
        problems=problems(run),
        facts=facts(run),
        entries=[_entry(run, e, f"{anchor}-{number}") for number, e in enumerate(run.entry_points, 1)],
        details=_filled([tables.findings(run), tables.evaluation_orders(run)]),
        failing=len(failing_entry_points(run)),
        required=sum(e.required for e in run.entry_points),
    )


def _entry(run: Results, entry: EntryPointResult, anchor: str) -> EntryView:
    total = merged(entry.groups.values())
    split = shares(total)
    details = [
        tables.groups(entry.groups),
        tables.special_values(entry.groups),
        tables.worst(entry),
        tables.failing_cases(entry, _FAILING_SHOWN),
        tables.findings(run, entry.symbol),
        tables.classes(entry),
        tables.groups(entry.stress, tables.STRESS_TITLE),
        tables.special_values(entry.stress),
    ]
    words = [entry.symbol, entry.operator, entry.dtype, entry.storage, entry.status, entry.grade]
    words += [*entry.groups, *entry.classes, *dict.fromkeys(f.kind for f in entry.failing)]
    return EntryView(
        entry=entry,
        anchor=anchor,
        total=total,
        shares=split,
        segments=charts.segments(split),
        histogram=charts.histogram(total),
        details=_filled(details),
        words=" ".join(words).lower(),
    )


def _filled(candidates: list[Table]) -> list[Table]:
    return [table for table in candidates if table.rows]


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_templates()),
        autoescape=True,  # names of cases and libraries are the text of others
        finalize=lambda value: text.visible(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _templates() -> Path:
    return Path(__file__).parent / "templates"


@cache
def _asset(name: str) -> str:
    content = (_templates() / name).read_text(encoding="utf-8")
    return re.sub(r"\n+", "\n", content)


def _csp_hash(content: str) -> str:
    """Return the hash by which the page's policy allows this inline block and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
