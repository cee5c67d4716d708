"""What a report says, computed once: every format renders these rows and adds nothing of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from golden.files.sweeps import SweepResult
from golden.results import CONTRACTS, GRADES, Contract, Element, EntryPointResult, Results, Tally
from reports import sweeps as sweeping
from reports import text
from reports.messages import tr
from reports.summary import failing_entry_points, labels, merged, ranked, reason

#: How many worst cases a report shows for one entry point.
WORST_SHOWN = 10


@dataclass(frozen=True)
class Table:
    """A table of plain text. The first column names the row; ``code`` and ``numeric`` are column numbers.

    ``foreign``: columns of sentences that come from results and stay in their language.
    """

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    code: frozenset[int] = frozenset()
    numeric: frozenset[int] = frozenset()
    foreign: frozenset[int] = frozenset()
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """One cell of the accuracy matrix: a maximum, and the grade or the status that stands in its place."""

    max_ulp: str
    grade: str
    word: str

    def __str__(self) -> str:
        return f"{self.max_ulp} {self.word}" if self.max_ulp else self.word


class RowKey(NamedTuple):
    """What a row of the matrix is about; ``space``: the sweep's, empty for the sampled vectors."""

    operator: str
    dtype: str
    group: str
    space: str = ""


@dataclass(frozen=True)
class Matrix:
    """Accuracy of several builds: (platform, build) a column, one cell a column in each row."""

    columns: list[tuple[str, str]]
    rows: list[tuple[RowKey, list[Cell | None]]]

    def sections(self) -> dict[tuple[str, str], list[tuple[RowKey, list[Cell | None]]]]:
        """Return the rows by (operator, dtype)."""
        found: dict[tuple[str, str], list[tuple[RowKey, list[Cell | None]]]] = {}
        for key, cells in self.rows:
            found.setdefault((key.operator, key.dtype), []).append((key, cells))
        return found


def _error_header() -> tuple[str, ...]:
    return tr("Max ulp"), tr("Mean ulp"), tr("p99.9 ulp"), tr("Bias ulp")


def stress_title() -> str:
    """Return the title of tables of the stress tier."""
    return tr("Stress tier (outside documented or realistic ranges; does not decide unless strict)")


def entry_points(run: Results) -> Table:
    """Return one row an entry point, over the required tier."""
    rows = []
    for entry in run.entry_points:
        total = merged(entry.groups.values())
        status = text.label(entry.status) + ("" if entry.required else tr(" (not required)"))
        rows.append((entry.symbol, status, entry.grade, text.count(entry.cases), *_statistics(entry, total)))
    names = (tr("Entry point"), tr("Status"), tr("Grade"), tr("Cases"), tr("Elements"), tr("Misrounded"))
    return Table(tr("Entry points"), (*names, *_error_header()), rows, frozenset({0}), frozenset(range(3, 10)))


def _statistics(entry: EntryPointResult, total: Tally) -> tuple[str, ...]:
    """Prefer the entry point's own figures over sums; they are what scripts read."""
    measured = total.measured or (entry.elements if not entry.groups else 0)
    return (
        text.count(entry.elements),
        text.misrounded(entry.misrounded, measured),
        text.at_least(entry.max_ulp, measured),
        *_moments(total),
    )


def _moments(tally: Tally) -> tuple[str, str, str]:
    if not tally.measured:
        return text.NONE, text.NONE, text.NONE
    p999 = min(tally.p999_ulp, tally.max_ulp)  # a percentile is rounded up to the edge of a bin
    return text.mean(tally.mean_ulp), text.ulp(p999), text.signed(tally.bias_ulp)


def groups(tallies: dict[str, Tally], title: str = "") -> Table:
    """Return one row a group: counts, error statistics, grade."""
    counts = (tr("Group"), tr("Cases"), tr("Elements"), tr("Misrounded"), tr("Failing"))
    header = (*counts, *_error_header(), tr("Grade"))
    rows = [
        (
            name,
            text.count(t.cases),
            text.count(t.elements),
            text.misrounded(t.misrounded, t.measured),
            text.count(t.failures),
            text.at_least(t.max_ulp, t.measured),
            *_moments(t),
            t.grade,
        )
        for name, t in tallies.items()
    ]
    return Table(title or tr("By scalars"), header, rows, frozenset({0}), frozenset(range(1, 9)))


def special_values(tallies: dict[str, Tally]) -> Table:
    """Return the counts of mismatched NaN, infinity and zero; without rows when there is none."""
    header = (tr("Group"), "NaN", tr("Infinity"), tr("Overflow"), tr("Zero"), tr("Sign of zero (conforms)"))
    rows = [
        (name, *map(text.count, numbers))
        for name, t in tallies.items()
        if any(numbers := (t.nan, t.infinity, t.overflow, t.zero, t.zero_sign))
    ]
    title = tr("Mismatched NaN, infinity and zero (counted apart)")
    return Table(title, header, rows, frozenset({0}), frozenset(range(1, 6)))


def worst_elements(entry: EntryPointResult) -> list[Element]:
    """Return the worst element of each of the worst cases: mismatches that are no distances first, then by error."""
    known = entry.worst + [f.first for f in entry.failing if f.first]
    known += [t.worst for t in entry.groups.values() if t.worst]
    worst: dict[str, Element] = {}
    for e in sorted(known, key=lambda e: (e.ulp != 0, -e.ulp, e.case, e.index)):
        if e.ulp or e.expected.bits != e.got.bits:
            worst.setdefault(e.case, e)
    return list(worst.values())[:WORST_SHOWN]


def worst(entry: EntryPointResult) -> Table:
    """Return the worst cases with what went in, what was expected and what came out."""
    rows = [
        (
            f"{e.case} [{e.index}]",
            text.ulp(e.ulp) if e.ulp else text.words(e.kind),
            text.ulp(e.bound),
            text.number(e.expected),
            text.number(e.got),
            "; ".join(f"{name} = {text.number(value)}" for name, value in e.inputs.items()),
        )
        for e in worst_elements(entry)
    ]
    header = (tr("Case [element]"), tr("Error (ulp)"), tr("Legal (ulp)"), tr("Expected"), tr("Got"), tr("Inputs"))
    return Table(tr("Worst cases"), header, rows, frozenset({0, 3, 4, 5}), frozenset({1, 2}))


def contracts(entry: EntryPointResult) -> Table:
    """Return the contracts beside the numbers: how often each was checked, in how many cases it was broken."""
    return _contracts([entry])


def all_contracts(run: Results) -> Table:
    """Return the contracts over all entry points of a run, with those that break them."""
    return _contracts(run.entry_points, symbols=True)


def _contracts(entries: Sequence[EntryPointResult], symbols: bool = False) -> Table:
    rows = []
    for name in CONTRACTS:
        found = [(e.symbol, c) for e in entries for c in e.contracts if c.name == name]
        if not found:
            continue
        broken = sum(c.broken for _, c in found)
        by = ", ".join(s for s, c in found if c.broken) or text.NONE
        row = [
            name,
            tr(text.CONTRACT_MEANINGS[name]),
            _checked(name, [c for _, c in found]),
            text.plural(broken, "case") if broken else "0",
            tr("decides") if name in text.DECIDING else tr("remark"),
        ]
        rows.append((*row, by) if symbols else tuple(row))
    names = (tr("Contract"), tr("Demands"), tr("Checked"), tr("Broken in"), tr("When broken"))
    header = (*names, tr("By")) if symbols else names
    note = tr(text.CONTRACTS_COUNTED)
    return Table(tr("Contracts checked"), header, rows, frozenset({0, 5}), frozenset({2, 3}), note=note)


def _checked(name: str, found: Sequence[Contract]) -> str:
    if not any(c.observable for c in found):
        return tr("not observable in this way of running")
    checked = sum(c.checked for c in found)
    unit = "invocation" if CONTRACTS[name] == "invocations" else "case"
    return text.plural(checked, unit) if checked else tr("not checked by these vectors")


def classes(entry: EntryPointResult) -> Table:
    """Return the classes of cases with counts, failing classes first."""
    ordered = sorted(entry.classes.items(), key=lambda item: (-item[1].get("failures", 0), item[0]))
    rows = [(name, text.count(n.get("cases", 0)), text.count(n.get("failures", 0))) for name, n in ordered]
    header = (tr("Class"), tr("Cases"), tr("Failing cases"))
    return Table(tr("Classes of cases"), header, rows, frozenset({0}), frozenset({1, 2}))


def failing_cases(entry: EntryPointResult, limit: int) -> Table:
    """Return the first ``limit`` failing cases of those that the results file keeps."""
    rows = [
        (f.case, f.klass, f.tier, text.words(f.kind), text.count(f.elements), f.message) for f in entry.failing[:limit]
    ]
    title = tr("Failing cases")
    if entry.failures > len(rows) > 0:
        title += tr(" ({shown} of {all} shown)", shown=len(rows), all=text.count(entry.failures))
    header = (tr("Case"), tr("Class"), tr("Tier"), tr("Kind"), tr("Bad elements"), tr("Message"))
    return Table(title, header, rows, frozenset({0, 1}), frozenset({4}), frozenset({5}))


def findings(run: Results, symbol: str | None = None) -> Table:
    """Return the findings, of one entry point where ``symbol`` is given; failures first."""
    order = ("failure", "warning", "info")
    chosen = [f for f in run.findings if symbol is None or f.symbol == symbol]
    rows = [
        (text.words(f.kind), tr(text.SEVERITIES[f.severity]), f.symbol or text.NONE, f.case or text.NONE, f.message)
        for f in sorted(chosen, key=lambda f: order.index(f.severity))
    ]
    header = (tr("Finding"), tr("Severity"), tr("Entry point"), tr("Case"), tr("Message"))
    return Table(tr("Findings"), header, rows, frozenset({2, 3}), foreign=frozenset({4}))


def evaluation_orders(run: Results) -> Table:
    """Return which order of evaluation each entry point was found to use."""
    rows = sorted(run.probe.evaluation_order.items())
    return Table(tr("Order of evaluation, as found"), (tr("Entry point"), tr("Order")), rows, frozenset({0, 1}))


def matrix(runs: Sequence[Results], sweeps: Sequence[SweepResult] = ()) -> Matrix:
    """Return the accuracy of all builds side by side; of shared and private storage the worse counts.

    Sweeps stand in the columns of their builds, each space in a row of its own beneath the sampled vectors' row;
    a build that was swept only has a column of its own.
    """
    ordered, swept = ranked(runs), sweeping.ordered(sweeps)
    judged = {sweeping.build_key(run) for run in ordered}
    alone = {sweeping.build_key(s): text.build_label(s) for s in swept if sweeping.build_key(s) not in judged}
    names: dict[RowKey, None] = {}
    for run in ordered:
        for entry in run.entry_points:
            names.update({RowKey(entry.operator, entry.dtype, group): None for group in entry.groups})
    measured = {name[:2] for name in names}
    for run in ordered:
        for entry in run.entry_points:
            if (entry.operator, entry.dtype) not in measured:
                names[RowKey(entry.operator, entry.dtype, text.NONE)] = None
    names.update({_sweep_key(s): None for s in swept})
    sections, groups = list(dict.fromkeys(n[:2] for n in names)), list(dict.fromkeys(n[:3] for n in names))
    # Stable: groups keep their order, and sampled rows come before those of sweeps.
    keys = sorted(names, key=lambda n: (sections.index(n[:2]), groups.index(n[:3]), n.space != ""))
    columns = [(_judged_for(r), label) for r, label in zip(ordered, labels(ordered), strict=True)]
    columns += [(tr("sweep only"), _told_apart(label, key, alone)) for key, label in alone.items()]
    rows = []
    for key in keys:
        if key.space:
            mine = [s for s in swept if _sweep_key(s) == key]
            builds = [*map(sweeping.build_key, ordered), *alone]
            rows.append((key, [_sweep_cell([s for s in mine if sweeping.build_key(s) == b]) for b in builds]))
        else:
            rows.append((key, [*(_cell(run, *key[:3]) for run in ordered), *(None for _ in alone)]))
    return Matrix(columns, rows)


def _sweep_key(sweep: SweepResult) -> RowKey:
    place = f"{sweeping.space(sweep)}: {sweeping.extent(sweep)}"
    return RowKey(sweep.operator, sweep.dtype, sweeping.group(sweep), place)


def _judged_for(run: Results) -> str:
    """Return the platform at the head of a build's column, with what must not be overlooked there."""
    if run.selection.whole:
        return run.platform.name
    return tr("{platform} (a selection)", platform=run.platform.name)


def _told_apart(label: str, key: str, all_labels: dict[str, str]) -> str:
    return label if list(all_labels.values()).count(label) == 1 else f"{label} ({key[:8]})"


def _sweep_cell(sweeps: Sequence[SweepResult]) -> Cell | None:
    if not sweeps:
        return None
    worst = max(sweeps, key=lambda s: (GRADES.index(sweeping.grade(s)), s.tally.max_ulp))
    return Cell(sweeping.maximum(worst), sweeping.grade(worst), sweeping.grade(worst))


def _cell(run: Results, operator: str, dtype: str, group: str) -> Cell | None:
    entries = [e for e in run.entry_points if (e.operator, e.dtype) == (operator, dtype)]
    tallies = [e.groups[group] for e in entries if group in e.groups]
    total = merged(tallies)
    maximum = text.at_least(total.max_ulp, total.measured) if total.measured else ""
    absent = [e.status for e in entries if e.required and e.status in ("missing", "crash", "timeout")]
    if absent:
        return Cell(maximum, "fails", text.label(absent[0]))
    return Cell(maximum, total.grade, total.grade) if tallies else None


def matrix_table(runs: Sequence[Results], sweeps: Sequence[SweepResult] = ()) -> Table:
    """Return the accuracy matrix as a plain table."""
    grid = matrix(runs, sweeps)
    builds = [f"{platform} / {build}" for platform, build in grid.columns]
    names = (tr("Operator"), tr("dtype"), tr("Group"))
    rows = [(key, tuple(str(cell) if cell else text.NONE for cell in cells)) for key, cells in grid.rows]
    title = tr("Accuracy matrix (max ulp and grade)")
    if not sweeps:
        return Table(title, (*names, *builds), [(*key[:3], *cells) for key, cells in rows], frozenset({0, 2}))
    told = [(*key[:3], key.space or tr("sampled vectors"), *cells) for key, cells in rows]
    return Table(title, (*names, tr("Inputs"), *builds), told, frozenset({0, 2}))


def sweeps(found: Sequence[SweepResult]) -> Table:
    """Return one row a sweep: what was computed, and what came of it."""
    rows = [
        (
            text.build_label(s),
            s.symbol,
            sweeping.group(s),
            sweeping.space(s),
            sweeping.extent(s),
            text.misrounded(s.tally.misrounded, s.tally.measured),
            sweeping.maximum(s),
            *_moments(s.tally),
            text.count(s.bound_exceeded),
            sweeping.grade(s),
        )
        for s in sweeping.ordered(found)
    ]
    names = (tr("Build"), tr("Entry point"), tr("Group"), tr("Space"), tr("Computed"), tr("Misrounded"))
    header = (*names, *_error_header(), tr("Outside every bound"), tr("Grade"))
    note = tr(text.UPPER_BOUND)
    return Table(
        tr("Sweeps over whole input spaces"), header, rows, frozenset({0, 1, 2, 3}), frozenset(range(5, 11)), note=note
    )


def ranking(runs: Sequence[Results]) -> Table:
    """Return one row a build, fewest failures first."""
    ordered = ranked(runs)
    rows = [
        (
            label,
            r.platform.name,
            text.verdict_word(r),
            tr("{part} of {whole}", part=len(failing_entry_points(r)), whole=sum(e.required for e in r.entry_points)),
            text.count(sum(e.failures for e in r.entry_points)),
            reason(r),
        )
        for r, label in zip(ordered, labels(ordered), strict=True)
    ]
    header = (tr("Build"), tr("Platform"), tr("Verdict"), tr("Failing entry points"), tr("Failing cases"), tr("Reason"))
    return Table(tr("Builds, fewest failures first"), header, rows, frozenset({0}), frozenset({3, 4}))


def title(runs: Sequence[Results], sweeps: Sequence[SweepResult]) -> str:
    """Return the title of a report on several files."""
    if runs:
        return tr("Accuracy of {builds}", builds=text.plural(len(runs), "build"))
    return tr("Accuracy over {spaces}", spaces=text.plural(len(sweeps), "input space"))
