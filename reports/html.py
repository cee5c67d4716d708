"""``report.html``: one self-contained page, readable without network, server or script."""

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from golden import __version__
from golden.files.sweeps import SweepResult
from golden.results import Element, EntryPointResult, Results, Tally
from reports import charts, tables, text
from reports import sweeps as sweeping
from reports.messages import language, tr
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
    reason,
    shares,
)
from reports.tables import Table

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
    plots: list[charts.Plot]
    sums: list[Table]
    worst: list[Element]
    details: list[Table]
    pairs: list[Table]  #: narrow ones, side by side
    words: str  #: what the filter box searches


@dataclass(frozen=True)
class SweepView:
    """One sweep as the template shows it."""

    sweep: SweepResult
    label: str
    group: str
    space: str
    extent: str
    maximum: str
    grade: str
    shares: Shares
    segments: list[charts.Segment]
    histogram: charts.Histogram | None
    words: str


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


def render_html(runs: Sequence[Results], sweeps: Sequence[SweepResult] = ()) -> str:
    """Return the page of one run, or of several runs and sweeps side by side."""
    ordered = ranked(runs)
    names = [text.build_label(ordered[0])] if len(ordered) == 1 else labels(ordered)
    views = [_run(run, f"run-{n}", name) for n, (run, name) in enumerate(zip(ordered, names, strict=True), 1)]
    style, script = _asset("report.css"), _asset("report.js")
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            views=views,
            matrix=tables.matrix(runs, sweeps) if sweeps or len(ordered) > 1 else None,
            title=tables.title(ordered, sweeps),
            maxima=text.maxima(ordered, sweeps),
            symbols=_symbols(ordered, sweeps),
            sweeps=[_sweep(sweep) for sweep in sweeping.ordered(sweeps)],
            style=Markup(style),
            script=Markup(script),
            style_hash=_csp_hash(style),
            script_hash=_csp_hash(script),
            text=text,
            tr=tr,
            reason=reason,
            english=language() == "en",
            language={"en": "en", "zh": "zh-CN"}[language()],
            version=ordered[0].golden if ordered else sweeps[0].golden if sweeps else __version__,
            size=(charts.WIDTH, charts.HEIGHT),
        )
        + "\n"
    )


def _symbols(runs: Sequence[Results], sweeps: Sequence[SweepResult]) -> dict[tuple[str, str], str]:
    """Return the C names behind a section of the matrix, so that the filter finds its rows by them."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    judged: list[EntryPointResult | SweepResult] = [*(e for run in runs for e in run.entry_points), *sweeps]
    for one in judged:
        found.setdefault((one.operator, one.dtype), {})[one.symbol] = None
    return {key: " ".join(names) for key, names in found.items()}


def _sweep(sweep: SweepResult) -> SweepView:
    split = shares(sweep.tally)
    group, space, grade = sweeping.group(sweep), sweeping.space(sweep), sweeping.grade(sweep)
    words = [sweep.symbol, sweep.operator, sweep.dtype, group, space, grade, "sweep"]
    return SweepView(
        sweep=sweep,
        label=text.build_label(sweep),
        group=group,
        space=space,
        extent=sweeping.extent(sweep),
        maximum=sweeping.maximum(sweep),
        grade=grade,
        shares=split,
        segments=charts.segments(split),
        histogram=charts.histogram(sweep.tally),
        words=" ".join(words).lower(),
    )


def _run(run: Results, anchor: str, label: str) -> RunView:
    return RunView(
        run=run,
        anchor=anchor,
        label=label,
        problems=problems(run),
        facts=facts(run),
        entries=[_entry(run, e, f"{anchor}-{number}") for number, e in enumerate(run.entry_points, 1)],
        details=_filled([tables.all_contracts(run), tables.findings(run), tables.evaluation_orders(run)]),
        failing=len(failing_entry_points(run)),
        required=sum(e.required for e in run.entry_points),
    )


def _entry(run: Results, entry: EntryPointResult, anchor: str) -> EntryView:
    total = merged(entry.groups.values())
    split = shares(total)
    details = [
        tables.failing_cases(entry, _FAILING_SHOWN),
        tables.findings(run, entry.symbol),
        tables.groups(entry.stress, tables.stress_title()),
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
        plots=[plot for plot in map(charts.landscape, reversed(entry.landscapes)) if plot],
        sums=_filled([tables.groups(entry.groups), tables.special_values(entry.groups)]),
        worst=tables.worst_elements(entry),
        details=_filled(details),
        pairs=_filled([tables.contracts(entry), tables.classes(entry)]),
        words=" ".join(words).lower(),
    )


def _filled(candidates: list[Table]) -> list[Table]:
    return [table for table in candidates if table.rows]


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_templates()),
        autoescape=True,  # names of cases and libraries are the text of others
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
