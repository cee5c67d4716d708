"""Two runs held against each other: which entry points, groups, classes, cases and findings got better or worse.

A results file has no output data, but a digest of the outputs of each class: equal ones are the same bits, NaN payloads
apart. What was obtained with other vectors,
another platform or other options is compared with care: counts and maxima are then over different things, so they
are shown as changed, never as better or worse; status and verdict still are.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from tabulate import tabulate

from golden.results import GRADES, EntryPointResult, Results, Tally
from reports import text
from reports.markdown import code, plain

SCHEMA = "golden-diff/1"

Direction = Literal["worse", "better", "changed"]
Level = Literal["verdict", "entry point", "group", "stress", "class", "case", "finding", "build"]

#: Figures of a tally for which less is better, in the order in which they are told.
_FIGURES = ("failures", "nan", "infinity", "overflow", "zero", "misrounded", "max_ulp")
#: Figures that are neither good nor bad by themselves.
_NEUTRAL = ("cases", "elements", "zero_sign", "mean_ulp", "bias_ulp", "p999_ulp")
#: The order of tables: what fails first, what is cosmetic last.
_DIRECTIONS: tuple[Direction, ...] = ("worse", "better", "changed")


class Change(msgspec.Struct, frozen=True):
    """One difference: ``what`` about ``where`` was ``before`` and is ``after``."""

    direction: Direction
    level: Level
    symbol: str  #: entry point, empty for the build
    where: str  #: group, class, case or kind of finding within it, else empty
    what: str
    before: str
    after: str


class Diff(msgspec.Struct, frozen=True):
    """What differs between two runs. ``limits``: why the comparison is limited, one sentence each."""

    schema: str
    before: str
    after: str
    limits: list[str]
    changes: list[Change]

    @property
    def outcome(self) -> Literal["worse", "better", "changed", "same"]:
        """Worse if anything is, then better, then changed."""
        present = {change.direction for change in self.changes}
        return next((d for d in _DIRECTIONS if d in present), "same")

    @property
    def sentence(self) -> str:
        """The outcome in one sentence."""
        if self.outcome == "same":
            return f"No difference between {self.before} and {self.after}."
        counts = [(sum(c.direction == d for c in self.changes), d) for d in _DIRECTIONS]
        return f"{self.after} against {self.before}: {', '.join(f'{n} {d}' for n, d in counts if n)}."


@dataclass(frozen=True)
class _Collector:
    """Gathers changes; ``comparable`` says whether numbers of the two runs may be held against each other."""

    changes: list[Change]
    comparable: bool

    def note(
        self, direction: Direction, level: Level, symbol: str, where: str, what: str, before: object, after: object
    ) -> None:
        self.changes.append(Change(direction, level, symbol, where, what, _shown(before), _shown(after)))

    def figure(self, level: Level, symbol: str, where: str, what: str, before: float, after: float) -> None:
        """Compare a number of which less is better."""
        if before != after:
            direction: Direction = "changed" if not self.comparable else "worse" if after > before else "better"
            self.note(direction, level, symbol, where, what, before, after)


def compare(before: Results, after: Results) -> Diff:
    """Compare two runs; ``after`` is the one that may be worse."""
    limits = _limits(before, after)
    changes: list[Change] = []
    collector = _Collector(changes, comparable=not limits)
    if before.verdict != after.verdict:
        collector.note(
            _turn(before, after),
            "verdict",
            "",
            "",
            "verdict",
            before.verdict,
            after.verdict,
        )
    old, new = ({e.symbol: e for e in run.entry_points} for run in (before, after))
    for symbol in dict.fromkeys([*old, *new]):
        _entry(collector, symbol, old.get(symbol), new.get(symbol))
    _findings(collector, before, after)
    _build(collector, before, after)
    ordered = sorted(changes, key=lambda c: _DIRECTIONS.index(c.direction))  # stable: as found within
    names = (_label(before, after), _label(after, before))
    return Diff(SCHEMA, *names, limits, ordered)


def _turn(before: Results, after: Results) -> Direction:
    """Return what another verdict means: from all to a selection of it, or back, nothing got better or worse."""
    if after.verdict == "fails":
        return "worse"
    same = before.selection.options == after.selection.options
    return "better" if before.verdict == "fails" and (same or after.verdict == "conforms") else "changed"


def _label(run: Results, other: Results) -> str:
    name = text.build_label(run)
    if name != text.build_label(other):
        return name
    mark = f"SHA-256 {run.library.sha256[:12]}" if run.library.sha256 else f"target {run.target}"
    return f"{name} ({mark})"


def _limits(before: Results, after: Results) -> list[str]:
    found = []
    a, b = before.platform, after.platform
    if a.name != b.name:
        found.append(f"The platforms differ, and with them what is required and legal: {a.name}, {b.name}.")
    elif msgspec.structs.replace(a, stated=[], assumed=[]) != msgspec.structs.replace(b, stated=[], assumed=[]):
        found.append(f"The profile {a.name} was another one in the two runs.")
    if before.vectors.digests != after.vectors.digests:
        found.append(
            f"The vectors differ, so counts and maxima are over other inputs: suite {before.vectors.suite} "
            f"({text.plural(before.vectors.cases, 'case')}), suite {after.vectors.suite} "
            f"({text.plural(after.vectors.cases, 'case')})."
        )
    if before.selection != after.selection:
        chosen = [run.selection.told or "all cases" for run in (before, after)]
        ends = [" until the first failure" if run.selection.stopped else "" for run in (before, after)]
        found.append(f"The runs are of different cases: {chosen[0]}{ends[0]}; {chosen[1]}{ends[1]}.")
    if before.options.get("strict") != after.options.get("strict"):
        found.append("The stress tier decides in one of the runs only (--strict).")
    if before.options.get("xfail") != after.options.get("xfail"):
        found.append("The files of expected failures differ (--xfail).")
    if before.golden != after.golden:
        found.append(f"The runs were judged by different versions of golden: {before.golden}, {after.golden}.")
    return found


def _entry(c: _Collector, symbol: str, old: EntryPointResult | None, new: EntryPointResult | None) -> None:
    if old is None or new is None:
        present = old or new
        assert present is not None
        words = ("not judged", present.status) if old is None else (present.status, "not judged")
        # An entry point that no run asks for any more is no defect, unless the same things were asked for.
        lost = new is None and c.comparable
        c.note("worse" if lost else "changed", "entry point", symbol, "", "status", *words)
        return
    if old.status != new.status:
        direction: Direction = "changed"
        if "pass" in (old.status, new.status):
            direction = "better" if new.status == "pass" else "worse"
        c.note(direction, "entry point", symbol, "", "status", old.status, new.status)
    ran = bool(old.cases and new.cases)
    if old.grade != new.grade and ran:
        fell = GRADES.index(new.grade) > GRADES.index(old.grade)
        direction = "changed" if not c.comparable else "worse" if fell else "better"
        c.note(direction, "entry point", symbol, "", "grade", old.grade, new.grade)
    c.figure("entry point", symbol, "", "failing cases", old.failures, new.failures)
    if old.expected_failures != new.expected_failures:
        expected = (old.expected_failures, new.expected_failures)
        c.note("changed", "entry point", symbol, "", "expected failures", *expected)
    if not ran:
        return
    if old.elements and new.elements:  # a build that returned from no call was never inaccurate
        c.figure("entry point", symbol, "", "misrounded elements", old.misrounded, new.misrounded)
        c.figure("entry point", symbol, "", "max ulp", old.max_ulp, new.max_ulp)
    _tallies(c, "group", symbol, old.groups, new.groups)
    # What the stress tier shows does not decide.
    _tallies(_Collector(c.changes, comparable=False), "stress", symbol, old.stress, new.stress)
    for name in dict.fromkeys([*old.classes, *new.classes]):
        counts = [e.classes.get(name, {}).get("failures", 0) for e in (old, new)]
        c.figure("class", symbol, name, "failing cases", *counts)
    _cases(c, old, new)


def _tallies(c: _Collector, level: Level, symbol: str, old: dict[str, Tally], new: dict[str, Tally]) -> None:
    for name in dict.fromkeys([*old, *new]):
        if name not in old or name not in new:
            c.note("changed", level, symbol, name, "judged", *("yes" if name in t else "no" for t in (old, new)))
            continue
        a, b = old[name], new[name]
        if a.grade != b.grade:
            fell = GRADES.index(b.grade) > GRADES.index(a.grade)
            direction: Direction = "changed" if not c.comparable else "worse" if fell else "better"
            c.note(direction, level, symbol, name, "grade", a.grade, b.grade)
        for what in _FIGURES:
            c.figure(level, symbol, name, what.replace("_", " "), getattr(a, what), getattr(b, what))
        neutral = [what for what in _NEUTRAL if getattr(a, what) != getattr(b, what)]
        for what in neutral:
            c.note("changed", level, symbol, name, what.replace("_", " "), getattr(a, what), getattr(b, what))
        if not neutral and a.histogram != b.histogram:
            c.note("changed", level, symbol, name, "histogram of errors", "one", "another")


def _cases(c: _Collector, old: EntryPointResult, new: EntryPointResult) -> None:
    """Compare failing cases by id, as far as both files keep them all."""
    was, now = ({f.case: f for f in reversed(e.failing) if f.case} for e in (old, new))
    for case in dict.fromkeys([*now, *was]):
        a, b = was.get(case), now.get(case)
        # A case that one file does not list may be among those that it only counts.
        if a is None and b is not None:
            known = len(was) >= old.failures
            direction: Direction = "worse" if known and c.comparable else "changed"
            c.note(direction, "case", new.symbol, case, b.kind, "right" if known else "not kept", b.message)
        elif b is None and a is not None:
            known = len(now) >= new.failures
            direction = "better" if known and c.comparable else "changed"
            c.note(direction, "case", new.symbol, case, a.kind, a.message, "right" if known else "not kept")
        elif a is not None and b is not None and (a.kind, a.message) != (b.kind, b.message):
            c.note("changed", "case", new.symbol, case, b.kind, a.message, b.message)


def _findings(c: _Collector, before: Results, after: Results) -> None:
    old, new = ({(f.symbol, f.kind, f.severity): f for f in run.findings} for run in (before, after))
    for key in dict.fromkeys([*new, *old]):
        symbol, kind, severity = key
        a, b = old.get(key), new.get(key)
        decides = severity == "failure" and c.comparable
        if a is None and b is not None:
            c.note("worse" if decides else "changed", "finding", symbol, kind, severity, "", b.message)
        elif b is None and a is not None:
            c.note("better" if decides else "changed", "finding", symbol, kind, severity, a.message, "")
        elif a is not None and b is not None and a.message != b.message:
            c.note("changed", "finding", symbol, kind, severity, a.message, b.message)


def _build(c: _Collector, before: Results, after: Results) -> None:
    """Compare what is known about the builds themselves."""
    for what, told in (("half_abi", "half abi"), ("numbering", "numbers of choices"), ("subnormals", "subnormals")):
        a, b = getattr(before.probe, what), getattr(after.probe, what)
        if a != b:
            c.note("changed", "build", "", "", told, a, b)
    old, new = before.probe.evaluation_order, after.probe.evaluation_order
    for symbol in dict.fromkeys([*old, *new]):
        if old.get(symbol) != new.get(symbol):
            c.note("changed", "build", symbol, "", "evaluation order", old.get(symbol, ""), new.get(symbol, ""))


def bits(before: Results, after: Results) -> str:
    """Say what is known about whether the two builds give the same bits."""
    if before.library.sha256 and before.library.sha256 == after.library.sha256:
        return "The two runs judged the same file."
    if before.vectors.digests != after.vectors.digests:
        return "Whether the builds give the same bits is not known: the vectors differ."
    if before.selection != after.selection:
        return "Whether the builds give the same bits is not known: the runs are of different cases."
    old, new = ({e.symbol: e.bits for e in r.entry_points if e.bits} for r in (before, after))
    common = [symbol for symbol in old if symbol in new]
    other = []
    for symbol in common:
        classes = [k for k in old[symbol] if old[symbol][k] != new[symbol].get(k)]
        other += [f"{symbol} (in {', '.join(classes)})"] if classes else []
    if other:
        return f"Other bits than before from {'; '.join(other)}."
    return f"The same bits from {', '.join(common)}, NaN payloads apart." if common else "Nothing ran in both."


def _shown(value: object) -> str:
    if isinstance(value, float):
        return text.ulp(value)
    return text.count(value) if isinstance(value, int) else str(value)


def _rows(diff: Diff, shown: Callable[[str], str], name: Callable[[str], str]) -> Iterable[list[str]]:
    for change in diff.changes:
        place = " ".join(filter(None, (change.symbol, change.where))) or "build"
        yield [
            change.direction,
            change.level,
            name(place),
            shown(text.words(change.what)),
            shown(change.before or text.NONE),
            shown(change.after or text.NONE),
        ]


_HEADER = ("", "Level", "Where", "What", "Before", "After")
#: Cells of the text table are cut after this many characters; the other formats keep everything.
_CELL = 60


def render_text(diff: Diff) -> str:
    """Return the comparison for a terminal."""

    def short(words: str) -> str:
        return words if len(words) <= _CELL else words[: _CELL - 1] + "…"

    lines = [f"Limited comparison: {limit}" for limit in diff.limits]
    lines += [diff.sentence]
    if diff.changes:
        table: Any = tabulate(list(_rows(diff, short, short)), _HEADER, tablefmt="plain", disable_numparse=True)
        lines += ["", *(line.rstrip() for line in str(table).splitlines())]
    return "\n".join(lines) + "\n"


def render_markdown(diff: Diff) -> str:
    """Return the comparison as Markdown, for a pull request or a job summary."""
    lines = [f"# {diff.outcome.upper()}: {code(diff.after)} against {code(diff.before)}", ""]
    for limit in diff.limits:
        lines += [f"**Limited comparison.** {plain(limit)}", ""]
    lines += [plain(diff.sentence), ""]
    if diff.changes:
        table: Any = tabulate(list(_rows(diff, plain, code)), _HEADER, tablefmt="github", disable_numparse=True)
        lines += [str(table), ""]
    lines += [text.ULP_DEFINITION, text.LOWER_BOUND]
    return "\n".join(lines) + "\n"


def render_json(diff: Diff) -> str:
    """Return the comparison as JSON: ``outcome``, then the fields of :class:`Diff`."""
    document = {"schema": diff.schema, "outcome": diff.outcome, **msgspec.to_builtins(diff)}
    return msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n"


#: ``golden diff --format``.
DIFF_FORMATS: dict[str, Callable[[Diff], str]] = {"text": render_text, "md": render_markdown, "json": render_json}
