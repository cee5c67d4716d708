"""Results of parts, added up, are those of the whole."""

from pathlib import Path

import pytest

from golden.files.manifest import read_suite, suite_folder
from golden.merging import merged
from golden.operator import EntryPoint, entry_points
from golden.profile import load_profile
from golden.results import EntryPointResult
from runners.calling.call import Invocation
from runners.calling.from_case import call_for
from runners.judging.verdict import EntryPointVerdict
from runners.judging.xfail import Xfail
from runners.models import ReferenceSession

PLAN = [Invocation(core_mask=1), Invocation(core_mask=1, fill=1)]


def results(entry: EntryPoint, model: str, parts: int) -> list[EntryPointResult]:
    """Judge every so-manieth case of smoke as a part of its own."""
    session, profile = ReferenceSession(model), load_profile("host")
    (file,) = (
        f for f in read_suite(suite_folder("smoke")) if f.operator is entry.operator and f.dtype == entry.fmt.name
    )
    verdicts = [EntryPointVerdict(entry, profile, False, Xfail([])) for _ in range(parts)]
    for number, case in enumerate(file.cases):
        outcomes = session.run(call_for(entry, case.scalars, case.operands, PLAN, numbering="sum-mean-none"))
        verdicts[number % parts].add(case, PLAN, outcomes, number)
    return [v.so_far(sum(number % parts == k for number in range(len(file.cases)))) for k, v in enumerate(verdicts)]


@pytest.mark.parametrize("model", ["reciprocal", "flush"])
@pytest.mark.parametrize("symbol", ["hp_smoothl1lossgrad_p", "hp_nlllossgrad_s"])
def test_parts_add_up_to_the_whole(symbol: str, model: str) -> None:
    entry = entry_points()[symbol]
    (whole,), parts = results(entry, model, 1), results(entry, model, 3)
    assert whole.failures == (0 if model == "reciprocal" else whole.failures) and whole.misrounded > 0
    for found in (merged(parts), merged([merged(parts[:2]), parts[2]]), merged([parts[0], merged(parts[1:])])):
        for name in ("status", "grade", "max_ulp", "misrounded", "elements", "cases", "failures", "evidence"):
            assert getattr(found, name) == getattr(whole, name), name
        assert found.classes == dict(sorted(whole.classes.items()))
        assert {f.case for f in found.failing} == {f.case for f in whole.failing}
        assert {(c.name, c.checked, c.broken) for c in found.contracts} == {
            (c.name, c.checked, c.broken) for c in whole.contracts
        }
        assert found.worst[0].ulp == whole.worst[0].ulp and len(found.worst) == len(whole.worst)
        for group, tally in whole.groups.items():
            mine = found.groups[group]
            for name in ("elements", "measured", "failures", "zero", "max_ulp", "p999_ulp", "grade", "histogram"):
                assert getattr(mine, name) == getattr(tally, name), (group, name)
            assert mine.mean_ulp == pytest.approx(tally.mean_ulp) and mine.bias_ulp == pytest.approx(tally.bias_ulp)
        for mine, theirs in zip(found.landscapes, whole.landscapes, strict=True):
            counted = [(b.negative, b.exponent, b.elements, b.misrounded, b.failures, b.max_ulp) for b in mine.binades]
            assert counted == [
                (b.negative, b.exponent, b.elements, b.misrounded, b.failures, b.max_ulp) for b in theirs.binades
            ]


def test_a_part_that_fails_fails_the_whole(tmp_path: Path) -> None:
    entry = entry_points()["hp_smoothl1lossgrad_p"]
    (good,), (bad,) = results(entry, "formula", 1), results(entry, "flush", 1)
    assert (good.status, bad.status) == ("pass", "fail")
    for parts in ([good, bad], [bad, good]):
        found = merged(parts)
        assert (found.status, found.grade, found.detail) == ("fail", "fails", bad.detail)
        assert found.would_conform == bad.would_conform != ""
