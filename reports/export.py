"""Results for other programs and for papers: CSV, LaTeX, JSON."""

import csv
import io
import re
from collections.abc import Sequence

import msgspec

from golden.files.sweeps import SweepResult
from golden.results import EntryPointResult, Results, Tally
from reports import sweeps as sweeping
from reports import tables, text
from reports.summary import COUNTS, labels, ranked
from reports.tables import Table

REPORT_SCHEMA = "golden-report/1"

_ERRORS = ("max_ulp", "mean_ulp", "p999_ulp", "bias_ulp")
CSV_HEADER = (
    "build",
    "platform",
    "verdict",
    "sha256",
    "compiler",
    "machine",
    "golden",
    "suite",
    "symbol",
    "operator",
    "dtype",
    "storage",
    "required",
    "status",
    "tier",
    "group",
    "grade",
    *COUNTS,
    *_ERRORS,
    "max_is_lower_bound",
    "worst_case",
    "worst_index",
    "worst_expected_bits",
    "worst_got_bits",
    "space",
    "points",
    "share",
)

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    '"': "''",
    "|": r"\textbar{}",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "–": "--",
    "−": "$-$",
}


def render_json(runs: Sequence[Results], sweeps: Sequence[SweepResult] = ()) -> str:
    """Return all runs, best first, and all sweeps in one document; each is a whole file."""
    document = {"schema": REPORT_SCHEMA, "results": ranked(runs), "sweeps": sweeping.ordered(sweeps)}
    return msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n"


def render_csv(runs: Sequence[Results], sweeps: Sequence[SweepResult] = ()) -> str:
    """Return one row for each build, entry point, tier and group; one without group where nothing ran.

    Sweeps follow with the tier ``sweep``: no platform and no verdict are theirs.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    ordered = ranked(runs)
    for run, label in zip(ordered, labels(ordered), strict=True):
        for entry in run.entry_points:
            head = (
                label,
                run.platform.name,
                run.verdict,
                run.library.sha256,
                run.library.compiler,
                run.library.machine,
                run.golden,
                run.vectors.suite,
                entry.symbol,
                entry.operator,
                entry.dtype,
                entry.storage,
                str(entry.required).lower(),
                entry.status,
            )
            for row in _tiers(entry):
                writer.writerow([_field(value) for value in (*head, *row, "", "", "")])
    for sweep in sweeping.ordered(sweeps):
        writer.writerow([_field(value) for value in _sweep(sweep)])
    return out.getvalue()


def _sweep(sweep: SweepResult) -> tuple[str | int | float, ...]:
    library = sweep.library
    build = (text.build_label(sweep), "", "", library.sha256, library.compiler, library.machine, sweep.golden, "")
    storage = "shared" if sweep.symbol.endswith("_s") else "private"
    what = (sweep.symbol, sweep.operator, sweep.dtype, storage, "false", "", "sweep", sweeping.group(sweep))
    _, *numbers = _tally(sweep.tally, lower_bound=not sweep.exhaustive)
    space = (sweeping.space(sweep), sweep.points, sweep.share)
    return (*build, *what, sweeping.grade(sweep), *numbers, *space)


def _tiers(entry: EntryPointResult) -> list[tuple[str | int | float, ...]]:
    rows: list[tuple[str | int | float, ...]] = []
    for tier, part in (("required", entry.groups), ("stress", entry.stress)):
        rows += [(tier, group, *_tally(t)) for group, t in part.items()]
    return rows or [("required", "", *_tally(Tally()))]


def _tally(tally: Tally, lower_bound: bool = True) -> tuple[str | int | float, ...]:
    worst = tally.worst
    where = (worst.case, worst.index, worst.expected.bits, worst.got.bits) if worst else ("", "", "", "")
    errors = tuple(getattr(tally, name) if tally.measured else "" for name in _ERRORS)
    return (tally.grade, *(getattr(tally, name) for name in COUNTS), *errors, str(lower_bound).lower(), *where)


def _field(value: str | int | float) -> str | int | float:
    """Keep a spreadsheet from running text of others as a formula."""
    if not isinstance(value, str):
        return value
    return "'" + value if value[:1] in tuple("=+-@＝＋－＠") else value


def latex_escape(words: str) -> str:
    """Escape what LaTeX reads as commands."""
    return re.sub(r'[\\{}$&#_%~^<>"|≥≤–−]', lambda m: _LATEX[m[0]], words)


def render_latex(runs: Sequence[Results], sweeps: Sequence[SweepResult] = ()) -> str:
    r"""Return plain ``tabular`` environments to ``\input`` into a paper; no package is needed."""
    ordered = ranked(runs)
    lines = [f"% {text.ULP_DEFINITION}", f"% {text.maxima(ordered, sweeps)}", ""]
    if len(ordered) > 1:
        lines += _tabular(tables.ranking(ordered))
    lines += _tabular(tables.matrix_table(ordered, sweeps))
    lines += _tabular(tables.sweeps(sweeps))
    for run, label in zip(ordered, labels(ordered), strict=True):
        title = f"{label} {text.verdict(run)} {run.platform.name}"
        lines += [rf"\paragraph{{{latex_escape(title)}}} {latex_escape(text.stand_in(run))}", ""]
        lines += _tabular(tables.entry_points(run))
        for entry in run.entry_points:
            lines += _tabular(tables.groups(entry.groups, f"{entry.symbol} by scalars"))
    return "\n".join(lines).rstrip("\n") + "\n"


def _tabular(table: Table) -> list[str]:
    if not table.rows:
        return []
    columns = "".join("r" if i in table.numeric else "l" for i in range(len(table.header)))
    header = " & ".join(latex_escape(name) for name in table.header)
    lines = [f"% {table.title}", rf"\begin{{tabular}}{{{columns}}}"]
    lines += [r"\hline", rf"{header} \\", r"\hline"]
    for row in table.rows:
        cells = [
            rf"\texttt{{{latex_escape(cell)}}}" if i in table.code else latex_escape(cell) for i, cell in enumerate(row)
        ]
        lines.append(" & ".join(cells) + r" \\")
    return [*lines, r"\hline", r"\end{tabular}", ""]
