"""Landscapes and worst cases say where the error lives: every measured element in its binade, once."""

import math

import numpy as np
import pytest

from golden.case import Case
from golden.formats import FP16, FP32, Array, Format
from golden.judge import FAILS, judge
from golden.landscape import Bins
from golden.operator import operator
from golden.results import Landscape
from golden.tally import KEPT_WORST, Accumulator
from golden.terms import Terms
from golden.working import WorkingPrecision
from tests.helpers.elements import moved_by, nll, sample, smooth

BOTH = pytest.mark.parametrize("fmt", [FP16, FP32], ids=lambda f: f.name)


def collected(*parts: tuple[Case, Array]) -> Accumulator:
    rows = Accumulator(detailed=True)
    for case, output in parts:
        rows.add(case, output, judge(case, output, Terms()))
    return rows


def formula(case: Case) -> Array:
    with np.errstate(all="ignore"):
        return case.operator.evaluate("formula", WorkingPrecision(case.fmt), case.fmt, case.scalars, case.operands)


def by_hand(case: Case, output: Array, coordinate: list[float]) -> dict[tuple[bool, int], list[float]]:
    """Bin |got - y| / ulp(y) of every element with exact arithmetic, one element at a time."""
    found: dict[tuple[bool, int], list[float]] = {}
    for index, where in enumerate(coordinate):
        y = case.operator.exact(case.fmt, case.scalars, case.operands, index)
        if y == 0 or isinstance(y, float):
            continue
        exponent = math.frexp(abs(y))[1] - 1
        exponent -= 2 ** min(exponent, 0) > abs(y) if exponent < 0 else 2**exponent > abs(y)
        ulp = 2.0 ** (max(exponent, case.fmt.emin) - case.fmt.precision + 1)
        key = (where < 0, max(-40, min(40, math.frexp(where)[1] - 1)))
        found.setdefault(key, []).append(abs(float(output[index]) - float(y)) / ulp)
    return found


@BOTH
def test_the_operators_coordinate_bins_every_measured_element(fmt: Format) -> None:
    case = sample(fmt, 3, "a")
    output = formula(case)
    rows = collected((case, output))
    result, own = rows.landscapes()
    assert (result.axis, result.signed, own.axis, own.signed) == ("result", False, "diff / beta", True)
    diff = (case.operands["x1"].astype(float) - case.operands["x2"].astype(float)) / float(case.scalars["beta"])
    wanted = by_hand(case, output, diff.tolist())
    assert {(b.negative, b.exponent): b.elements for b in own.binades} == {k: len(v) for k, v in wanted.items()}
    for b in own.binades:
        errors = wanted[b.negative, b.exponent]
        assert b.max_ulp == pytest.approx(max(errors), rel=1e-6)
        assert b.mean_ulp == pytest.approx(sum(errors) / len(errors), rel=1e-6)
    for landscape in (result, own):
        tally = rows.tally()
        assert sum(b.elements for b in landscape.binades) == tally.measured
        assert sum(b.misrounded for b in landscape.binades) == tally.misrounded > 0
        assert max(b.max_ulp for b in landscape.binades) == tally.max_ulp
        mean = sum(b.mean_ulp * b.elements for b in landscape.binades) / tally.measured
        assert mean == pytest.approx(tally.mean_ulp)


def test_the_results_axis_is_the_binade_of_the_exact_value() -> None:
    case = smooth(FP16, 1.0, (1.5, 1, 0), (2.0, 0.5, 0), (2.0**-20, 0.5, 0), (-4.0, 1, 0), (0.0, 1, 0))
    (result, own) = collected((case, case.golden.value)).landscapes()
    assert [(b.exponent, b.elements) for b in result.binades] == [(-21, 1), (0, 2), (2, 1)]
    assert [(b.negative, b.exponent, b.elements) for b in own.binades] == [(False, -1, 2), (False, 0, 2)]


def test_a_power_of_two_reached_by_rounding_up_is_in_the_binade_below() -> None:
    case = smooth(FP16, 0.1, (1 - 2.0**-11, 0.3, 0.20003))
    exact = abs(float(case.operator.exact(FP16, case.scalars, case.operands, 0)))
    (result, _) = collected((case, case.golden.value)).landscapes()
    assert [b.exponent for b in result.binades] == [math.frexp(exact)[1] - 1]


def test_every_coordinate_has_a_bin() -> None:
    bins = Bins("x", signed=True, limit=40)
    values = np.array([0.0, 5e-324, 2.0**-41, 2.0**-40, 1.0, -1.0, 1.99, 2.0, 1e300, np.inf, -np.inf, -(2.0**-60)])
    found = bins.of(values)
    bins.add(bins.shares(found, np.ones(len(values)), 0 * found, 1)[0])
    told = [(b.negative, b.exponent, b.elements) for b in bins.landscape().binades]
    assert told == [
        (True, 40, 1),
        (True, 0, 1),
        (True, -40, 1),
        (False, -40, 4),
        (False, 0, 2),
        (False, 1, 1),
        (False, 40, 2),
    ]


def test_far_coordinates_stay_in_bounds() -> None:
    case = smooth(FP32, 2.0**-60, (1.0, 2.0**60, 0), (1.0, -(2.0**60), 0), (1.0, math.inf, 0), (1.0, 2.0**-140, 0))
    (_, own) = collected((case, case.golden.value)).landscapes()
    assert [(b.negative, b.exponent, b.elements) for b in own.binades] == [
        (True, 40, 1),
        (False, -40, 1),
        (False, 40, 2),
    ]


@BOTH
def test_nan_in_the_place_of_a_number_is_a_failure_without_distance(fmt: Format) -> None:
    case = sample(fmt, 5, "a")
    output = moved_by(case, 40, 20)
    output[7] = np.nan
    rows = collected((case, output))
    for landscape in rows.landscapes():
        assert sum(b.failures for b in landscape.binades) == rows.tally().failures == 11
        assert sum(b.elements for b in landscape.binades) == rows.tally().measured == 199


def test_nll_lies_by_its_weight() -> None:
    case = nll(FP32, "mean", 3.0, 0.75, 6.0)
    (_, own) = collected((case, case.golden.value)).landscapes()
    assert [(b.negative, b.exponent, b.elements) for b in own.binades] == [(False, -3, 1)]
    case = nll(FP32, "sum", 3.0, -0.75, 6.0)
    (_, own) = collected((case, case.golden.value)).landscapes()
    assert [(b.negative, b.exponent) for b in own.binades] == [(True, -1)]


def test_order_of_cases_and_rows_without_details() -> None:
    parts = [(sample(FP16, seed, str(seed)), moved_by(sample(FP16, seed, str(seed)), 1, 3)) for seed in range(4)]
    one, other = collected(*parts).landscapes(), collected(*parts[::-1]).landscapes()

    def counts(landscapes: list[Landscape]) -> list[tuple[object, ...]]:
        return [
            (b.negative, b.exponent, b.elements, b.misrounded, b.max_ulp) for found in landscapes for b in found.binades
        ]

    assert counts(one) == counts(other)
    plain = Accumulator()
    for case, output in parts:
        plain.add(case, output, judge(case, output, Terms()))
    assert plain.landscapes() == [] and plain.worst_cases() == []


def test_the_worst_cases_are_kept_one_element_each_worst_first() -> None:
    parts = []
    for places in (3, 9, 1, 12, 7, 5, 8, 2, 11, 4, 10, 6, 9):
        case = sample(FP16, 1, f"{len(parts)}")
        output = case.golden.value.copy()
        output[50] = moved_by(case, places, 50)[50]
        parts.append((case, output))
    worst = collected(*parts).worst_cases()
    assert len(worst) == KEPT_WORST
    assert [e.ulp for e in worst] == sorted((e.ulp for e in worst), reverse=True)
    assert len({e.case for e in worst}) == KEPT_WORST
    tied = [e.case.rsplit("/", 1)[-1] for e in worst if e.ulp == worst[3].ulp]
    assert tied == ["1", "12"], "of equals the earlier case comes first"
    assert {e.index for e in worst} == {50}
    case = sample(FP16, 1, "nan")
    output = moved_by(case, 30, 10)
    output[3] = np.nan
    assert judge(case, output, Terms()).grade.max() == FAILS
    first = collected(*parts, (case, output)).worst_cases()[0]
    assert (first.case, first.index, first.kind) == (case.id, 3, "nan"), "a failure without distance is worst"


def test_an_operator_without_a_coordinate_has_the_results_axis_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(operator("smoothl1lossgrad")), "coordinate_name", "")
    case = smooth(FP16, 0.7, (1.1, 0.2, 0.1))
    assert [x.axis for x in collected((case, case.golden.value)).landscapes()] == ["result"]
