"""What follows from a run's entry points: its verdict, and what a results file may not say.

A file can be edited. What it says as a whole is therefore computed from its parts whenever it is read, by what made it.
"""

from collections.abc import Sequence

from golden.errors import GoldenError
from golden.files.names import NUMBERING_OPTION, platforms
from golden.profile import load_profile
from golden.results import GRADES, EntryPointResult, Platform, Results, Selection, Verdict


def overall(
    entries: Sequence[EntryPointResult],
    platform: Platform,
    uncovered: Sequence[str] = (),
    selection: Selection = Selection(),  # noqa: B008 - frozen
) -> tuple[Verdict, str]:
    """Return the verdict on entry points with its sentence.

    ``uncovered``: symbols without a case in the vectors. ``selection``: what the run was restricted to. Where that
    left something out, the verdict is "partial" at best.
    """
    judged = [e for e in entries if e.required]
    bad = [e for e in judged if e.status != "pass"]
    scope = f" (the vectors given do not cover {', '.join(uncovered)})" if uncovered else ""
    if not any(e.cases for e in judged):
        return "fails", f"Nothing was run for {platform.described}.{_restricted(selection)}"
    held = f", held to {platform.held}" if platform.held else ""
    told = f"{platform.described}{held}{',' if held else ''}"
    sentences = {e.detail for e in bad}
    if len(sentences) == 1 and f"--{NUMBERING_OPTION}" in (sentence := sentences.pop()):
        return "fails", sentence + _restricted(selection)
    if bad:
        named = ", ".join(f"{e.symbol} ({e.status})" for e in bad)
        count = f"{len(bad)} of {len(judged)} entry points"
        what = f"that {platform.described} requires" if selection.whole else f"judged for {platform.described}"
        return "fails", f"{count} {what} do not pass{held}: {named}.{_would(bad)}{_restricted(selection)}"
    expected = sum(e.expected_failures for e in judged)
    known = f", not counting {expected} expected failures" if expected else ""
    if not selection.whole:
        nothing = f"Nothing that was selected for {told} fails{known}{scope}."
        return "partial", f"{nothing}{_restricted(selection)} Only a whole run is a verdict on the build."
    return "conforms", f"All {len(judged)} entry points judged for {told} pass{known}{scope}.{_restricted(selection)}"


def _restricted(selection: Selection) -> str:
    """Say what a run was restricted to, and where it ended, in sentences."""
    said = ""
    if selection.options:
        said += (
            f" Selected ({selection.told}): {selection.cases:,} of {selection.of_cases:,} cases, on "
            f"{selection.entry_points} of {selection.of_entry_points} entry points."
        )
    if selection.stopped:
        said += (
            f" It stopped at the first failure (--fail-fast), after {selection.done:,} of {selection.planned:,} cases."
        )
    return said


def _would(bad: Sequence[EntryPointResult]) -> str:
    """Say under which terms all of the failing entry points would conform, where there are such."""
    if not all(e.would_conform for e in bad):
        return ""
    changes = {e.would_conform: None for e in bad}
    return f" They would conform with {'; '.join(changes)}."


def contradiction(results: Results) -> str:
    """Return what in a complete run does not follow from the rest of it, in words; "" where all does."""
    symbols = [e.symbol for e in results.entry_points]
    if len({*symbols}) != len(symbols):
        return "an entry point stands in it twice"
    for entry in results.entry_points:
        if wrong := _wrong(entry) or _refused(entry, results.platform):
            return f"{entry.symbol} {wrong}"
        broken = [f for f in results.findings if f.symbol == entry.symbol and f.severity == "failure"]
        if entry.status == "pass" and broken and not entry.expected_failures:
            return f"{entry.symbol} passes with a failing finding ({broken[0].kind})"
    if wrong := _wrong_selection(results):
        return wrong
    verdict = overall(results.entry_points, results.platform, (), results.selection)[0]
    if results.verdict != verdict:
        return f"its verdict is {results.verdict!r}, and its entry points come to {verdict!r}"
    if results.selection.whole and (absent := sorted(_required(results) - {*symbols})):
        return f"it says nothing about {', '.join(absent)}, which {results.platform.name} requires"
    return ""


def _wrong_selection(results: Results) -> str:
    """Return how what a run was restricted to contradicts what it has."""
    selection, entries = results.selection, results.entry_points
    counts = (selection.cases, selection.of_cases, selection.entry_points, selection.of_entry_points)
    if not selection.options:
        if any(counts):
            return "it selects cases and does not say by what"
    elif not (0 < counts[0] <= counts[1] <= results.vectors.cases and 0 < counts[2] <= counts[3]):
        return "it selects more than there is, or nothing"
    elif len(entries) > counts[2] or (len(entries) < counts[2] and not selection.stopped):
        return f"it has {len(entries)} entry points, and {counts[2]} were selected"
    kinds: dict[tuple[str, str], int] = {}
    for entry in entries:
        kind = (entry.operator, entry.dtype)
        kinds[kind] = max(kinds.get(kind, 0), entry.cases)
    run, all_of = sum(kinds.values()), counts[0] if selection.options else results.vectors.cases
    # Of a run without a selection it is known only where each file is of another kind, and none for other platforms.
    known = bool(selection.options) or len(kinds) == len(results.vectors.digests)
    if run > all_of or (run < all_of and known and all(entry.status == "pass" for entry in entries)):
        return f"its entry points have {run} cases, and {all_of} were to be run"
    if selection.stopped and (selection.done > selection.planned or all(entry.status == "pass" for entry in entries)):
        return "it stopped at a failure that it does not have"
    return ""


def _wrong(entry: EntryPointResult) -> str:
    """Return how an entry point contradicts itself."""
    tallies = entry.groups.values()
    failed = [t for t in tallies if t.failures or t.grade == "fails"]
    if entry.status == "pass":
        if entry.failures or entry.failing or failed:
            return "passes with failures"
        if not entry.cases:
            return "passes without a case"
        best = max((GRADES.index(t.grade) for t in tallies), default=0)
        if entry.grade == "fails" or GRADES.index(entry.grade) < best:
            return f"has the grade {entry.grade!r}, which its tallies do not allow"
    elif entry.grade != "fails":
        return f"has the grade {entry.grade!r} and the status {entry.status!r}"
    if any((t.grade == "correctly-rounded" and t.misrounded) or t.failures > t.elements for t in tallies):
        return "has a tally whose grade its counts do not allow"
    if entry.groups:
        sums = (sum(t.elements for t in tallies), sum(t.misrounded for t in tallies))
        if (entry.elements, entry.misrounded) != sums or entry.max_ulp < max(t.max_ulp for t in tallies):
            return "has other counts than its tallies add up to"
    return ""


def _refused(entry: EntryPointResult, platform: Platform) -> str:
    """Return which policy of the platform a passing entry point does not meet."""
    if entry.status != "pass":
        return ""
    accept, limit = platform.accept, platform.accept.limit(entry.dtype)
    if entry.elements and GRADES.index(entry.grade) > GRADES.index(accept.grade):
        return f"passes with the grade {entry.grade!r}, and {accept.grade!r} is required"
    exempt = platform.terms.flush or platform.terms.any_range
    if (found := entry.held_ulp if exempt else entry.max_ulp) > limit:
        return f"passes with an error of {found:g} ulp, and {limit:g} ulp are accepted"
    return ""


def _required(results: Results) -> set[str]:
    """Return the symbols that a shipped platform requires and that the run's vectors have a file for."""
    if results.platform.source != "shipped" or results.platform.name not in platforms():
        return set()
    try:
        required = load_profile(results.platform.name).required()
    except GoldenError:  # a profile that this installation cannot read settles nothing about another's run
        return set()
    files = {name.rpartition("/")[2] for name in results.vectors.digests}
    return {e.symbol for e in required if f"{e.operator.name}-{e.fmt.name}.h5" in files}
