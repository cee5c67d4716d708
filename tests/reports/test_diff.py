"""Comparing two runs: what got worse is found, said first, and decides; what cannot be compared is not."""

import json
from collections.abc import Callable

import msgspec
import pytest

from golden.results import EntryPointResult, Failure, Finding, Library, Results, Verdict
from reports.diff import DIFF_FORMATS, Change, bits, compare, render_json, render_markdown, render_text
from tests.helpers import results_factory as factory

SYMBOL = "hp_smoothl1lossgrad_s"


def copy(run: Results) -> Results:
    return msgspec.json.decode(msgspec.json.encode(run), type=Results)


def pair(*edits: Callable[[EntryPointResult], object]) -> tuple[Results, Results]:
    """A run and the same one with one entry point edited."""
    before = factory.results([factory.entry(s) for s in factory.SYMBOLS])
    after = copy(before)
    entry = next(e for e in after.entry_points if e.symbol == SYMBOL)
    for edit in edits:
        edit(entry)
    return before, after


def fail(entry: EntryPointResult) -> None:
    entry.status, entry.grade, entry.failures = "fail", "fails", 1
    entry.failing = [Failure("a/b/kink/n=1", "kink", "required", "value", "1 of 1 elements wrong", 1)]
    entry.classes["kink"]["failures"] = 1


def set_(name: str, value: object) -> Callable[[EntryPointResult], None]:
    return lambda entry: setattr(entry, name, value)


def told(changes: list[Change]) -> set[tuple[str, str, str, str, str]]:
    return {(c.direction, c.level, c.where, c.what, c.after) for c in changes}


def test_the_same_run_twice_is_the_same() -> None:
    run = factory.results()
    diff = compare(run, copy(run))
    assert diff.outcome == "same" and diff.changes == [] and diff.limits == []
    assert diff.sentence.startswith("No difference")
    assert bits(run, copy(run)) == "The two runs judged the same file."


def test_a_case_that_fails_now_is_worse_and_the_reverse_is_better() -> None:
    before, after = pair(fail)
    after.verdict = "fails"
    worse, better = compare(before, after), compare(after, before)
    assert worse.outcome == "worse" and better.outcome == "better"
    expected = {
        ("worse", "entry point", "", "status", "fail"),
        ("worse", "case", "a/b/kink/n=1", "value", "1 of 1 elements wrong"),
        ("worse", "class", "kink", "failing cases", "1"),
        ("worse", "verdict", "", "verdict", "fails"),
    }
    assert expected <= told(worse.changes)
    assert {c.direction for c in worse.changes} == {"worse"}
    assert {c.direction for c in better.changes} == {"better"}
    assert ("better", "case", "a/b/kink/n=1", "value", "right") in told(better.changes)


@pytest.mark.parametrize(
    ("what", "edit"),
    [
        ("grade", set_("grade", "legal")),
        ("max ulp", set_("max_ulp", 1.25)),
        ("misrounded elements", set_("misrounded", 10**6)),
        ("failing cases", set_("failures", 3)),
        ("status", set_("status", "crash")),
        ("max ulp", lambda e: setattr(e.groups["beta=0.5"], "max_ulp", 2.0)),
        ("nan", lambda e: setattr(e.groups["beta=0.5"], "nan", 1)),
        ("grade", lambda e: setattr(e.groups["beta=0.5"], "grade", "legal")),
    ],
)
def test_each_figure_alone_decides(what: str, edit: Callable[[EntryPointResult], object]) -> None:
    before, after = pair(edit)
    diff = compare(before, after)
    assert diff.outcome == "worse" and [c.what for c in diff.changes] == [what]
    assert diff.changes[0].symbol == SYMBOL
    assert compare(after, before).outcome == "better"


@pytest.mark.parametrize(
    "edit",
    [
        lambda e: setattr(e.groups["beta=0.5"], "mean_ulp", 0.3),
        lambda e: setattr(e.groups["beta=0.5"], "zero_sign", 4),
        lambda e: e.groups["beta=0.5"].histogram.update({"0.75": 4}),
        lambda e: setattr(e.stress["beta=10"], "max_ulp", 10.0**6),
        lambda e: setattr(e, "status", "pass"),
    ],
)
def test_what_is_neither_good_nor_bad_is_changed(edit: Callable[[EntryPointResult], object]) -> None:
    diff = compare(*pair(edit))
    assert diff.outcome in ("changed", "same")
    assert diff.outcome == "same" or [c.direction for c in diff.changes] == ["changed"]


def test_one_worse_among_many_better_is_worse_and_comes_first() -> None:
    before, after = pair(set_("misrounded", 0), set_("max_ulp", 0.9))
    diff = compare(before, after)
    assert diff.outcome == "worse"
    assert [c.direction for c in diff.changes] == ["worse", "better"]
    assert diff.sentence.endswith("1 worse, 1 better.")


def test_a_build_that_crashed_throughout_was_not_more_accurate() -> None:
    crashed = {"status": "crash", "grade": "fails", "elements": 0, "misrounded": 0, "max_ulp": 0.0, "groups": {}}
    good, bad = pair(*(set_(name, value) for name, value in crashed.items()))
    assert compare(bad, good).outcome == "better" and compare(good, bad).outcome == "worse"


def test_an_entry_point_that_is_gone_is_worse() -> None:
    before, after = pair()
    after.entry_points = [e for e in after.entry_points if e.symbol != SYMBOL]
    assert told(compare(before, after).changes) == {("worse", "entry point", "", "status", "not judged")}
    assert compare(after, before).outcome == "changed"
    before, after = pair(set_("status", "missing"), set_("cases", 0))
    assert ("worse", "entry point", "", "status", "missing") in told(compare(before, after).changes)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda r: setattr(r, "platform", msgspec.structs.replace(r.platform, name="FT78NE")), "platforms differ"),
        (lambda r: setattr(r, "platform", msgspec.structs.replace(r.platform, subnormals="flush")), "another one"),
        (lambda r: setattr(r, "vectors", msgspec.structs.replace(r.vectors, digests={"x.h5": "00"})), "vectors differ"),
        (lambda r: r.options.update(strict="true"), "stress tier decides"),
        (lambda r: r.options.update(xfail="known.txt"), "expected failures differ"),
        (lambda r: setattr(r, "golden", "0.2.0"), "different versions"),
    ],
)
def test_numbers_of_other_things_are_not_held_against_each_other(edit: Callable[[Results], object], words: str) -> None:
    before, after = pair(set_("max_ulp", 9.0), set_("grade", "legal"))
    edit(after)
    diff = compare(before, after)
    assert len(diff.limits) == 1 and words in diff.limits[0]
    assert diff.outcome == "changed" and len(diff.changes) == 2
    for form in (render_text, render_markdown):
        text = form(diff)
        assert text.index("imited comparison") < text.index("max ulp")
    # A build that stops passing is worse whatever it was held to.
    fail(next(e for e in after.entry_points if e.symbol == SYMBOL))
    assert compare(before, after).outcome == "worse"


def chosen(verdict: Verdict, klass: str = "kink") -> Results:
    """Return a run of a selection."""
    run = factory.partial()
    selection = msgspec.structs.replace(run.selection, options={"class": [klass]})
    return msgspec.structs.replace(run, verdict=verdict, selection=selection)


@pytest.mark.parametrize(
    ("before", "after", "direction"),
    [
        (factory.results(), chosen("partial"), "changed"),
        (chosen("partial"), factory.results(), "changed"),
        (chosen("partial"), chosen("fails"), "worse"),
        (chosen("fails"), chosen("partial"), "better"),
        (chosen("fails", "ties"), chosen("partial"), "changed"),
        (chosen("partial"), factory.failing(), "worse"),
    ],
)
def test_a_selection_is_not_held_against_another(before: Results, after: Results, direction: str) -> None:
    diff = compare(before, after)
    assert [c.direction for c in diff.changes if c.what == "verdict"] == [direction]
    same = before.selection == after.selection
    other = msgspec.structs.replace(after, library=Library("b.so", "77" * 32))
    assert ("not known" in bits(before, other)) != same
    assert any("different cases" in limit for limit in diff.limits) != same


def test_cases_that_a_file_does_not_keep_are_not_called_right() -> None:
    before, after = pair(fail)
    next(e for e in before.entry_points if e.symbol == SYMBOL).failures = 900
    case = next(c for c in compare(before, after).changes if c.level == "case")
    assert (case.direction, case.before) == ("changed", "not kept")


def test_findings() -> None:
    before, after = pair()
    after.findings = [
        Finding("guard", SYMBOL, "failure", "x1[33] was read.", "a/b"),
        Finding("printed", "", "info", "x"),
    ]
    found = {(c.direction, c.where, c.symbol) for c in compare(before, after).changes}
    assert found == {("worse", "guard", SYMBOL), ("changed", "printed", "")}
    assert compare(after, before).outcome == "better"


def test_bits_are_compared_by_their_digests() -> None:
    before, after = pair()
    after.library = msgspec.structs.replace(after.library, sha256="aa" * 32)
    assert bits(before, after).startswith(f"The same bits from {SYMBOL}")
    after.entry_points[0].bits["kink"] = "f" * 16
    assert bits(before, after) == f"Other bits than before from {SYMBOL} (in kink)."
    after.vectors = msgspec.structs.replace(after.vectors, digests={})
    assert "not known" in bits(before, after)


def test_builds_of_the_same_name_are_told_apart() -> None:
    before, after = pair()
    after.library = msgspec.structs.replace(after.library, sha256="aa" * 32)
    diff = compare(before, after)
    assert diff.before != diff.after and "aaaaaaaaaaaa" in diff.after


def test_json_is_for_programs() -> None:
    before, after = pair(fail)
    content = json.loads(render_json(compare(before, after)))
    assert content["schema"] == "golden-diff/1" and content["outcome"] == "worse"
    assert {"direction", "level", "symbol", "where", "what", "before", "after"} == set(content["changes"][0])


@pytest.mark.parametrize("form", DIFF_FORMATS)
@pytest.mark.parametrize("sample", factory.SAMPLES)
def test_every_sample_in_every_format(form: str, sample: str) -> None:
    before, after = factory.conforming(), factory.SAMPLES[sample]()
    text = DIFF_FORMATS[form](compare(before, after))
    assert text == DIFF_FORMATS[form](compare(copy(before), copy(after)))
    if form == "json":
        assert json.loads(text)["after"] == compare(before, after).after
    else:
        assert not set("\x1b\u202e\x00") & set(text)
    if form == "md":
        assert "<script" not in text
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) <= 1
