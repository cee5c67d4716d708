"""Policies: results that are legal and not as good as a platform asks for fail, with the element that shows it."""

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from golden.files.vectors import read_vectors
from golden.judge import FORMULA, judge
from golden.profile import Profile, load_profile
from golden.results import Library, Results
from golden.terms import Accept, Terms
from golden.verdicts import contradiction
from runners.judging.policy import exempt, refused
from runners.judging.selection import Wanted
from runners.judging.validate import Settings, validate
from runners.models import ReferenceSession
from tests.helpers.validating import SMOKE, case_with

FILE = read_vectors(SMOKE / "smoothl1lossgrad-fp32.h5")
HOST = load_profile("host")


def held(model: str, profile: Profile, classes: Sequence[str] = (), strict: bool = False) -> Results:
    """Validate a model; by the page's formula the largest error of class ``ties`` is of 1.5 ulp."""
    wanted = Wanted(symbols=("fp_smoothl1lossgrad_s",), classes=tuple(classes))
    session = ReferenceSession(model)
    return validate(f"reference:{model}", session, Library(), [FILE], Settings(profile, "smoke", strict, wanted=wanted))


@pytest.mark.parametrize(
    ("model", "grade", "limits", "verdict"),
    [
        ("formula", "legal", [("", 1.5)], "partial"),
        ("formula", "formula", [("fp32", 1.5), ("fp16", 0.5)], "partial"),
        ("formula", "faithful", [], "fails"),
        ("formula", "", [("fp32", 4.0), ("", 1.49)], "fails"),
        ("exact", "correctly-rounded", [("", 0.5)], "partial"),
    ],
)
def test_legal_results_fail_where_more_is_asked_for(
    model: str, grade: str, limits: list[tuple[str, float]], verdict: str
) -> None:
    results = held(model, HOST.holding(grade, limits), ["ties"])
    assert results.verdict == verdict and contradiction(results) == ""
    told = results.platform.accept.told()
    assert bool(told) and f", held to {told}" in results.reason
    entry = results.entry_points[0]
    if verdict == "fails":
        failure = entry.failing[0]
        assert failure.kind == ("beyond-max-ulp" if limits else "worse-grade") and entry.status == "fail"
        assert failure.first is not None and failure.first.ulp == 1.5 and failure.first.case == failure.case
        assert f"element {failure.first.index}: expected" in failure.message and failure.message in entry.detail
        assert entry.would_conform == "" and entry.groups[next(iter(entry.groups))].failures == 0
    else:
        assert entry.held_ulp <= entry.max_ulp


@pytest.mark.parametrize(("strict", "verdict"), [(False, "partial"), (True, "fails")])
def test_a_case_that_does_not_decide_is_held_to_no_policy(strict: bool, verdict: str) -> None:
    results = held("formula", HOST.holding("correctly-rounded", []), ["subnormal-operands"], strict)
    assert results.verdict == verdict and not any(f.kind.startswith("stress-worse") for f in results.findings)


def test_what_is_legal_only_because_the_platform_may_flush_has_no_largest_error_and_is_counted() -> None:
    results = held("flush", load_profile("FT78NE").holding("", [("", 2.5)]))
    entry = results.entry_points[0]
    assert results.verdict == "partial" and contradiction(results) == "", results.reason
    assert entry.max_ulp > 1000 and 0 < entry.held_ulp <= 2.5
    counted = [f for f in results.findings if f.kind == "allowed-distance"]
    assert counted and "results further off than max-ulp, which does not concern" in counted[0].message
    entry.held_ulp = 2.6
    assert "passes with an error of 2.6 ulp, and 2.5 ulp are accepted" in contradiction(results)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"grade": "faithful"}, "passes with the grade 'formula', and 'faithful' is required"),
        ({"max_ulp": {"fp32": 1.25}}, "passes with an error of 1.5 ulp, and 1.25 ulp are accepted"),
    ],
)
def test_the_terms_in_results_are_those_that_the_verdict_is_computed_by(edit: dict[str, object], words: str) -> None:
    results = held("formula", HOST, ["ties"])
    platform = results.platform
    accept = msgspec.structs.replace(platform.accept, **edit)
    edited = msgspec.structs.replace(results, platform=msgspec.structs.replace(platform, accept=accept))
    assert words in contradiction(edited) and contradiction(results) == ""


def test_each_element_is_held_to_the_grade_and_its_distance_to_the_largest() -> None:
    case = case_with(8, 7.0)
    output = case.golden.value.copy()
    output[3] = np.nextafter(output[3], np.float32(np.inf))
    output[5] = np.nextafter(output[5], np.float32(-np.inf))
    judged = judge(case, output, Terms())._replace(grade=np.array([FORMULA, FORMULA], np.int8))
    errors = np.abs(judged.signed)
    found = {f.kind: f for f in refused(case, output, judged, Accept(grade="correctly-rounded", max_ulp={"fp32": 0.5}))}
    assert found.keys() == {"worse-grade", "beyond-max-ulp"} and {f.elements for f in found.values()} == {2}
    worst = int(judged.at[np.argmax(errors)])
    assert all(f.first is not None and f.first.index == worst for f in found.values())
    between = Accept(max_ulp={"fp32": float(errors.mean())})
    assert [f.elements for f in refused(case, output, judged, between)] == [1]
    assert list(refused(case, output, judged, Accept(max_ulp={"fp16": 0.5}))) == []
    assert exempt(case, judged._replace(flushed=judged.signed != 0), between) == 1
