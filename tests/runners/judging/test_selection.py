"""A part of a run: what is chosen, what that is of all, and that it is judged as in the whole run."""

from pathlib import Path

import numpy as np
import pytest

from golden.errors import UsageError
from golden.files.manifest import read_suite, suite_folder
from golden.files.vectors import VectorFile
from golden.profile import load_profile
from golden.results import Library, Results
from golden.verdicts import contradiction
from runners.judging import cases
from runners.judging.selection import Chosen, Wanted, choose
from runners.judging.validate import Settings, validate
from runners.models import ReferenceSession
from tests.helpers.validating import run

FILES = read_suite(suite_folder("smoke"))
#: Takes little time.
SMALL = [file for file in FILES if file.operator.name == "smoothl1lossgrad" and file.dtype == "fp16"]


def chosen(wanted: Wanted, platform: str = "host", files: list[VectorFile] = FILES) -> Chosen:
    return choose(files, load_profile(platform), wanted)


def part(
    model: str = "formula", files: list[VectorFile] = FILES, *, fail_fast: bool = False, **wanted: tuple[str, ...]
) -> Results:
    return run(f"reference:{model}", files, wanted=Wanted(**wanted), fail_fast=fail_fast, draw="steady")


def test_patterns_of_one_option_add_up_and_options_restrict_each_other() -> None:
    found = chosen(Wanted(symbols=("hp_*_s", "fp_*_p"), classes=("k?nk", "ties"), cases=("*/n=33",)))
    assert {e.symbol for e in found.entries} == {"hp_smoothl1lossgrad_s", "fp_smoothl1lossgrad_p"}
    heads = [head for e in found.entries for head in found.of(e).heads]
    assert {head.klass for head in heads} == {"kink", "ties"} and all(head.id.endswith("/n=33") for head in heads)
    told = found.selection
    assert (told.cases, told.of_cases, told.entry_points, told.of_entry_points) == (len(heads), found.total, 2, 8)
    assert not told.whole and told.told == "symbol hp_*_s, symbol fp_*_p, class k?nk, class ties, case */n=33"


def test_no_option_is_everything_and_so_is_one_that_matches_everything() -> None:
    assert chosen(Wanted()).selection.whole and chosen(Wanted(classes=("*",), dtypes=("fp16", "fp32"))).selection.whole
    fp32 = chosen(Wanted(dtypes=("fp32",)), "FT78NE").selection
    assert fp32.whole and fp32.of_entry_points == 4, "of what the platform requires, all"


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (Wanted(operators=("smoothl1losgrad",)), "--operator smoothl1losgrad: .*did you mean 'smoothl1lossgrad'"),
        (Wanted(dtypes=("fp16",)), "--dtype fp16: these vectors have nothing of the kind for FT78NE; "),
        (Wanted(symbols=("fp_smoothl1lossgrad",)), "did you mean 'fp_smoothl1lossgrad_"),
        (Wanted(classes=("kink", "knik")), "--class knik: .*did you mean 'kink'"),
        (Wanted(classes=("0*",)), "--class 0.*: .*see 'golden list classes'"),
        (Wanted(cases=("smoothl1lossgrad/fp32/beta=0.1/kink/n=3",)), "did you mean 'smoothl1lossgrad/fp32/beta=0"),
        (Wanted(symbols=("fp_nll*",), classes=("kink",)), r"--symbol fp_nll\*, --class kink .* no case all of them"),
    ],
)
def test_what_matches_nothing_is_told_with_what_is_near(wanted: Wanted, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        chosen(wanted, "FT78NE")


def test_a_selection_of_which_nothing_fails_is_partial() -> None:
    results = part(operators=("smoothl1lossgrad",), classes=("kink",))
    assert results.verdict == "partial" and contradiction(results) == ""
    told = results.selection
    assert {e.cases for e in results.entry_points} == {told.cases // 2} and len(results.entry_points) == 4
    said = f"(operator smoothl1lossgrad, class kink): {told.cases} of {told.of_cases} cases, on 4 of 8 entry points."
    assert said in results.reason and results.options["class"] == "kink"


def test_a_selection_of_everything_gets_the_verdict_of_everything() -> None:
    results = part(files=SMALL, symbols=("hp_*",), classes=("*",))
    assert results.verdict == "conforms" and "on 2 of 2 entry points" in results.reason


def test_what_is_selected_gives_what_it_gave_in_the_whole_run() -> None:
    whole, some = part("product-first", SMALL), part("product-first", SMALL, classes=("kink", "ties"))
    for entry, mine in zip(whole.entry_points, some.entry_points, strict=True):
        assert mine.bits == {name: entry.bits[name] for name in ("kink", "ties")}
        assert mine.classes == {name: entry.classes[name] for name in ("kink", "ties")}


def test_constant_results_that_were_chosen_pass() -> None:
    constant = [
        h.id
        for h, case in zip(SMALL[0].heads, SMALL[0].cases, strict=True)
        if h.tier == "required" and not np.nan_to_num(case.golden.value).any()
    ]
    results = part(files=SMALL, cases=tuple(constant[:1]))
    assert results.verdict == "partial" and {e.evidence for e in results.entry_points} == {0}


@pytest.mark.parametrize("wanted", [{}, {"operators": ("nlllossgrad",)}])
def test_the_first_failing_case_ends_a_run_that_is_to_fail_fast(wanted: dict[str, tuple[str, ...]]) -> None:
    results = part("flush", fail_fast=True, **wanted)
    entry = results.entry_points[-1]
    assert results.verdict == "fails" and contradiction(results) == "" and results.complete
    assert entry.failures == 1 and all(e.status == "pass" for e in results.entry_points[:-1])
    told = results.selection
    assert told.stopped and told.done == sum(e.cases for e in results.entry_points) < told.planned
    assert {name for name, counts in entry.classes.items() if counts["failures"]} == {entry.failing[0].klass}
    assert (
        f"stopped at the first failure (--fail-fast), after {told.done:,} of {told.planned:,} cases" in results.reason
    )


@pytest.mark.parametrize("draw", ["a", "b", "c"])
def test_what_ran_behind_the_first_failing_case_does_not_count(draw: str) -> None:
    profile = load_profile("host").holding("faithful", [])
    settings = Settings(profile, "smoke", draw=draw, fail_fast=True)
    results = validate("reference:formula", ReferenceSession("formula"), Library(), SMALL, settings)
    entry = results.entry_points[0]
    assert entry.failures == 1 and contradiction(results) == ""
    assert entry.cases == sum(counts["cases"] for counts in entry.classes.values()) == results.selection.done


def test_what_is_drawn_is_drawn_from_all_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(cases, "unreadable_cases", lambda draw, entry, heads: seen.append(len(heads)) or frozenset())
    part(files=SMALL, classes=("kink",))
    assert seen == [len(SMALL[0].heads)] * 2


def test_expected_failures_that_were_not_selected_are_not_stale(tmp_path: Path) -> None:
    (tmp_path / "known.txt").write_text("* */nothing/*  # elsewhere\n")
    for wanted, stale in ((Wanted(classes=("kink",)), 0), (Wanted(), 1)):
        results = run("reference:formula", SMALL, wanted=wanted, xfail=tmp_path / "known.txt")
        assert sum(f.kind == "stale-xfail" for f in results.findings) == stale


def test_a_run_that_may_fail_fast_and_does_not_conforms() -> None:
    assert part(files=SMALL, fail_fast=True).verdict == "conforms"
