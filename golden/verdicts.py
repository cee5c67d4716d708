"""What follows from a run's entry points: its verdict, and what a results file may not say.

A file can be edited. What it says as a whole is therefore computed from its parts whenever it is read, by what made it.
"""

from collections.abc import Sequence
from typing import Literal

from golden.errors import GoldenError
from golden.files.names import NUMBERING_OPTION, platforms
from golden.profile import load_profile
from golden.results import GRADES, EntryPointResult, Platform, Results


def overall(
    entries: Sequence[EntryPointResult], platform: Platform, uncovered: Sequence[str] = ()
) -> tuple[Literal["conforms", "fails"], str]:
    """Return the verdict on entry points with its sentence. ``uncovered``: symbols without a case in the vectors."""
    judged = [e for e in entries if e.required]
    bad = [e for e in judged if e.status != "pass"]
    scope = f" (the vectors given do not cover {', '.join(uncovered)})" if uncovered else ""
    if not any(e.cases for e in judged):
        return "fails", f"Nothing was run for {platform.described}."
    told = platform.terms.told()
    held = f", held to {told}" if told else ""
    sentences = {e.detail for e in bad}
    if len(sentences) == 1 and f"--{NUMBERING_OPTION}" in (sentence := sentences.pop()):
        return "fails", sentence
    if bad:
        named = ", ".join(f"{e.symbol} ({e.status})" for e in bad)
        count = f"{len(bad)} of {len(judged)} entry points"
        return "fails", f"{count} that {platform.described} requires do not pass{held}: {named}.{_would(bad)}"
    expected = sum(e.expected_failures for e in judged)
    known = f", not counting {expected} expected failures" if expected else ""
    return "conforms", f"All {len(judged)} entry points judged for {platform.described}{held} pass{known}{scope}."


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
        if wrong := _wrong(entry):
            return f"{entry.symbol} {wrong}"
        broken = [f for f in results.findings if f.symbol == entry.symbol and f.severity == "failure"]
        if entry.status == "pass" and broken and not entry.expected_failures:
            return f"{entry.symbol} passes with a failing finding ({broken[0].kind})"
    verdict = overall(results.entry_points, results.platform)[0]
    if results.verdict != verdict:
        return f"its verdict is {results.verdict!r}, and its entry points come to {verdict!r}"
    if absent := sorted(_required(results) - {*symbols}):
        return f"it says nothing about {', '.join(absent)}, which {results.platform.name} requires"
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


def _required(results: Results) -> set[str]:
    """Return the symbols that a shipped platform requires and that the run's vectors have a file for."""
    if results.platform.source != "shipped" or results.platform.name not in platforms():
        return set()
    try:
        required = load_profile(results.platform.name).required()
    except GoldenError:  # a profile that this installation cannot read settles nothing about another's run
        return set()
    return {e.symbol for e in required if f"{e.operator.name}-{e.fmt.name}.h5" in results.vectors.digests}
