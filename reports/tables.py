"""What a report says, computed once: every format renders these rows and adds nothing of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from golden.results import Element, EntryPointResult, Results, Tally
from reports import text
from reports.summary import failing_entry_points, labels, merged, ranked

#: How many worst elements a report shows for one entry point.
WORST_SHOWN = 10
_ERROR_HEADER = ("Max ulp", "Mean ulp", "p99.9 ulp", "Bias ulp")
STRESS_TITLE = "Stress tier (outside documented or realistic ranges; does not decide unless strict)"


@dataclass(frozen=True)
class Table:
    """A table of plain text. The first column names the row; ``code`` and ``numeric`` are column numbers."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    code: frozenset[int] = frozenset()
    numeric: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Cell:
    """One cell of the accuracy matrix: a maximum, and the grade or the status that stands in its place."""

    max_ulp: str
    grade: str
    word: str

    def __str__(self) -> str:
        return f"{self.max_ulp} {self.word}" if self.max_ulp else self.word


@dataclass(frozen=True)
class Matrix:
    """Accuracy of several builds. ``rows``: (operator, dtype, group) with one cell a build."""

    columns: list[tuple[str, str]]  #: (platform, build)
    rows: list[tuple[tuple[str, str, str], list[Cell | None]]]

    def sections(self) -> dict[tuple[str, str], list[tuple[str, list[Cell | None]]]]:
        """Return the rows by (operator, dtype)."""
        found: dict[tuple[str, str], list[tuple[str, list[Cell | None]]]] = {}
        for (operator, dtype, group), cells in self.rows:
            found.setdefault((operator, dtype), []).append((group, cells))
        return found


def entry_points(run: Results) -> Table:
    """Return one row an entry point, over the required tier."""
    rows = []
    for entry in run.entry_points:
        total = merged(entry.groups.values())
        status = entry.status if entry.required else f"{entry.status} (not required)"
        rows.append((entry.symbol, status, entry.grade, text.count(entry.cases), *_statistics(entry, total)))
    header = ("Entry point", "Status", "Grade", "Cases", "Elements", "Misrounded", *_ERROR_HEADER)
    return Table("Entry points", header, rows, frozenset({0}), frozenset(range(3, 10)))


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


def groups(tallies: dict[str, Tally], title: str = "By reduction or beta") -> Table:
    """Return one row a group: counts, error statistics, grade."""
    header = ("Group", "Cases", "Elements", "Misrounded", "Failing", *_ERROR_HEADER, "Grade")
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
    return Table(title, header, rows, frozenset({0}), frozenset(range(1, 9)))


def special_values(tallies: dict[str, Tally]) -> Table:
    """Return the counts of mismatched NaN, infinity and zero; without rows when there is none."""
    header = ("Group", "NaN", "Infinity", "Overflow", "Zero", "Sign of zero (conforms)")
    rows = [
        (name, *map(text.count, numbers))
        for name, t in tallies.items()
        if any(numbers := (t.nan, t.infinity, t.overflow, t.zero, t.zero_sign))
    ]
    title = "Mismatched NaN, infinity and zero (counted apart)"
    return Table(title, header, rows, frozenset({0}), frozenset(range(1, 6)))


def worst_elements(entry: EntryPointResult) -> list[Element]:
    """Return the worst elements known: mismatches that are no distances first, then by error."""
    known = [f.first for f in entry.failing if f.first] + [t.worst for t in entry.groups.values() if t.worst]
    unique = {(e.case, e.index): e for e in known if e.ulp or e.expected.bits != e.got.bits}
    return sorted(unique.values(), key=lambda e: (e.ulp != 0, -e.ulp, e.case, e.index))[:WORST_SHOWN]


def worst(entry: EntryPointResult) -> Table:
    """Return the worst elements with what went in, what was expected and what came out."""
    rows = [
        (
            f"{e.case} [{e.index}]",
            text.ulp(e.ulp) if e.ulp else text.words(e.kind),
            text.ulp(e.bound),
            "; ".join(f"{name} = {text.number(value)}" for name, value in e.inputs.items()),
            text.number(e.expected),
            text.number(e.got),
        )
        for e in worst_elements(entry)
    ]
    header = ("Case [element]", "Error (ulp)", "Legal (ulp)", "Inputs", "Expected", "Got")
    return Table("Worst inputs", header, rows, frozenset({0, 3, 4, 5}), frozenset({1, 2}))


def classes(entry: EntryPointResult) -> Table:
    """Return the classes of cases with counts, failing classes first."""
    ordered = sorted(entry.classes.items(), key=lambda item: (-item[1].get("failures", 0), item[0]))
    rows = [(name, text.count(n.get("cases", 0)), text.count(n.get("failures", 0))) for name, n in ordered]
    header = ("Class", "Cases", "Failing cases")
    return Table("Classes of cases", header, rows, frozenset({0}), frozenset({1, 2}))


def failing_cases(entry: EntryPointResult, limit: int) -> Table:
    """Return the first ``limit`` failing cases of those that the results file keeps."""
    rows = [
        (f.case, f.klass, f.tier, text.words(f.kind), text.count(f.elements), f.message) for f in entry.failing[:limit]
    ]
    title = "Failing cases"
    if entry.failures > len(rows) > 0:
        title += f" ({len(rows)} of {text.count(entry.failures)} shown)"
    header = ("Case", "Class", "Tier", "Kind", "Bad elements", "Message")
    return Table(title, header, rows, frozenset({0, 1}), frozenset({4}))


def findings(run: Results, symbol: str | None = None) -> Table:
    """Return the findings, of one entry point where ``symbol`` is given; failures first."""
    order = ("failure", "warning", "info")
    chosen = [f for f in run.findings if symbol is None or f.symbol == symbol]
    rows = [
        (text.words(f.kind), f.severity, f.symbol or text.NONE, f.case or text.NONE, f.message)
        for f in sorted(chosen, key=lambda f: order.index(f.severity))
    ]
    header = ("Finding", "Severity", "Entry point", "Case", "Message")
    return Table("Findings", header, rows, frozenset({2, 3}))


def evaluation_orders(run: Results) -> Table:
    """Return which order of evaluation each entry point was found to use."""
    rows = sorted(run.probe.evaluation_order.items())
    return Table("Order of evaluation, as found", ("Entry point", "Order"), rows, frozenset({0, 1}))


def matrix(runs: list[Results]) -> Matrix:
    """Return the accuracy of all builds side by side; of shared and private storage the worse counts."""
    ordered = ranked(runs)
    names: dict[tuple[str, str, str], None] = {}
    for run in ordered:
        for entry in run.entry_points:
            names.update({(entry.operator, entry.dtype, group): None for group in entry.groups})
    measured = {name[:2] for name in names}
    for run in ordered:
        for entry in run.entry_points:
            if (entry.operator, entry.dtype) not in measured:
                names[entry.operator, entry.dtype, text.NONE] = None
    first = list(dict.fromkeys(name[:2] for name in names))
    keys = sorted(names, key=lambda name: first.index(name[:2]))  # stable: groups keep their order
    return Matrix(
        [(r.platform.name, label) for r, label in zip(ordered, labels(ordered), strict=True)],
        [(key, [_cell(run, *key) for run in ordered]) for key in keys],
    )


def _cell(run: Results, operator: str, dtype: str, group: str) -> Cell | None:
    entries = [e for e in run.entry_points if (e.operator, e.dtype) == (operator, dtype)]
    tallies = [e.groups[group] for e in entries if group in e.groups]
    total = merged(tallies)
    maximum = text.at_least(total.max_ulp, total.measured) if total.measured else ""
    absent = [e.status for e in entries if e.required and e.status in ("missing", "crash", "timeout")]
    if absent:
        return Cell(maximum, "fails", absent[0])
    return Cell(maximum, total.grade, total.grade) if tallies else None


def matrix_table(runs: list[Results]) -> Table:
    """Return the accuracy matrix as a plain table."""
    grid = matrix(runs)
    header = ("Operator", "dtype", "Group", *(f"{platform} / {build}" for platform, build in grid.columns))
    rows = [(*key, *(str(cell) if cell else text.NONE for cell in cells)) for key, cells in grid.rows]
    return Table("Accuracy matrix (max ulp and grade)", header, rows, frozenset({0, 2}))


def ranking(runs: list[Results]) -> Table:
    """Return one row a build, fewest failures first."""
    ordered = ranked(runs)
    rows = [
        (
            label,
            r.platform.name,
            r.verdict,
            f"{len(failing_entry_points(r))} of {sum(e.required for e in r.entry_points)}",
            text.count(sum(e.failures for e in r.entry_points)),
            r.reason,
        )
        for r, label in zip(ordered, labels(ordered), strict=True)
    ]
    header = ("Build", "Platform", "Verdict", "Failing entry points", "Failing cases", "Reason")
    return Table("Builds, fewest failures first", header, rows, frozenset({0}), frozenset({3, 4}))
