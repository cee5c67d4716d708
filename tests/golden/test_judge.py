"""Classes and grades of single elements, what flushing excuses, and the statistics made of them."""

import math
from itertools import permutations

import numpy as np
import pytest

from generators.samplers import neighbours
from golden.case import Case
from golden.formats import FORMATS, FP16, FP32, Array, Format
from golden.judge import (
    CORRECT,
    FAILS,
    FAITHFUL,
    FORMULA,
    KINDS,
    LEGAL,
    Judged,
    Kind,
    element,
    exact_ulp,
    grade_name,
    judge,
    judge_all,
    number,
)
from golden.results import Tally
from golden.slices import SLICE
from golden.tally import Accumulator, measure
from golden.terms import Flush, Terms
from golden.working import WorkingPrecision
from tests.helpers.elements import moved_by, nll, sample, smooth

BOTH = pytest.mark.parametrize("fmt", FORMATS.values(), ids=list(FORMATS))
NAN, INF = math.nan, math.inf


def one(case: Case, got: float, at: int = 0, flush: bool = False) -> tuple[Kind, int, float]:
    """Judge a case whose element ``at`` is ``got`` and whose others are golden: kind, grade, signed error."""
    output = case.golden.value.copy()
    output[at] = got
    judged = judge(case, output, Terms(flush))
    assert judged.at.tolist() == [at]
    return Kind(judged.kind[0]), int(judged.grade[0]), float(judged.signed[0])


# Classes


@BOTH
@pytest.mark.parametrize(
    ("triple", "got", "kind", "grade"),
    [
        ((NAN, 1, 0), 1.0, Kind.NAN, FAILS),
        ((NAN, 1, 0), INF, Kind.NAN, FAILS),
        ((1, INF, INF), 0.0, Kind.NAN, FAILS),
        ((1, 2, 0), NAN, Kind.NAN, FAILS),
        ((0, 2, 0), NAN, Kind.NAN, FAILS),
        ((INF, 2, 0), NAN, Kind.NAN, FAILS),
        ((INF, 2, 0), -INF, Kind.INFINITY, FAILS),
        ((INF, 2, 0), 60000.0, Kind.INFINITY, FAILS),
        ((INF, 2, 0), 0.0, Kind.INFINITY, FAILS),
        ((1, 2, 0), INF, Kind.OVERFLOW, FAILS),
        ((-1, 2, 0), INF, Kind.OVERFLOW, FAILS),
        ((1, 2, 0), 0.0, Kind.ZERO, FAILS),
        ((1, 2, 0), -0.0, Kind.ZERO, FAILS),
        ((0, 2, 0), -0.0, Kind.ZERO_SIGN, CORRECT),
        ((-0.0, 2, 0), 0.0, Kind.ZERO_SIGN, CORRECT),
        ((1, 2, 2), -0.0, Kind.ZERO_SIGN, CORRECT),
        ((1, 2, 2), 2.0**-14, Kind.NONZERO, FAILS),
        ((0, 2, 0), -(2.0**-14), Kind.NONZERO, FAILS),
        ((0, 2, 0), INF, Kind.OVERFLOW, FAILS),
        ((1, 2, 0), -1.0, Kind.VALUE, FAILS),
        ((1, 2, 0), 1.25, Kind.VALUE, FAILS),
    ],
)
def test_class_of_an_element(
    fmt: Format, triple: tuple[float, float, float], got: float, kind: Kind, grade: int
) -> None:
    found = one(smooth(fmt, 1.0, triple), got)
    assert found[:2] == (kind, grade)
    assert math.isnan(found[2]) == (kind not in (Kind.VALUE, Kind.ZERO, Kind.OVERFLOW))


@BOTH
def test_every_nan_conforms(fmt: Format) -> None:
    case = smooth(fmt, 1.0, *[(NAN, 1, 0)] * 4)
    quiet = fmt.exponent_mask | 1 << (fmt.precision - 2)
    patterns = [
        fmt.exponent_mask | 1,
        quiet | 5,
        fmt.sign_mask | quiet,
        fmt.sign_mask | fmt.exponent_mask | 1,
    ]
    judged = judge(case, fmt.from_bits(np.array(patterns, fmt.bits_dtype)), Terms())
    assert judged.kind.tolist() == [Kind.NAN_BITS] * 4 and judged.grade.tolist() == [CORRECT] * 4


@BOTH
@pytest.mark.parametrize("divisor", [0.1, 3.0, 1 / 128])
def test_nothing_but_zero_where_the_exact_value_is_zero(fmt: Format, divisor: float) -> None:
    """However small, and however much a subnormal intermediate would be allowed if there were one."""
    large = fmt.largest / 2
    for tiny in (fmt.step, -fmt.step, fmt.smallest_normal, 0.001):
        for flush in (False, True):
            assert one(smooth(fmt, divisor, (large, 1, 1)), tiny, flush=flush)[:2] == (Kind.NONZERO, FAILS)
            assert one(nll(fmt, "mean", large, 0.0, divisor), tiny, flush=flush)[:2] == (Kind.NONZERO, FAILS)
            # The second class has no label: nothing may be written there but zero.
            assert one(nll(fmt, "mean", large, 1.0, divisor), tiny, 1, flush)[:2] == (Kind.NONZERO, FAILS)


def test_kinds_are_all_explained() -> None:
    assert [name.replace("-", "_").upper() for name in KINDS] == [kind.name for kind in Kind]


@BOTH
def test_empty_arrays(fmt: Format) -> None:
    case = smooth(fmt, 1.0)
    judged = judge(case, np.empty(0, fmt.dtype), Terms())
    assert [len(part) for part in judged] == [0] * 8 and judged.failing.size == 0
    rows = Accumulator()
    rows.add(case, np.empty(0, fmt.dtype), judged)
    tally = rows.tally()
    assert (tally.cases, tally.elements, tally.measured, tally.grade) == (1, 0, 0, "correctly-rounded")
    assert (tally.max_ulp, tally.mean_ulp, tally.p999_ulp, tally.histogram) == (0, 0, 0, {})
    assert Accumulator().tally().grade == "fails"


# Measuring


@BOTH
def test_golden_rounded_up_to_a_power_of_two(fmt: Format) -> None:
    """The exact value is in the binade below, so its ulp is half of the golden value's spacing."""
    p = fmt.precision
    case = nll(fmt, "none", 2 - 2.0 ** (2 - p), 1 + 2.0 ** (1 - p))
    exact = -(2 - 2.0 ** (3 - 2 * p))
    assert float(case.golden.value[0]) == -2.0
    measured, ulp = exact_ulp(fmt, case.golden)
    assert measured[0] == pytest.approx(exact, rel=2.0 ** (-24 - p)) and ulp[0] == 2.0 ** (1 - p)
    below = float(np.nextafter(fmt.dtype.type(2), fmt.dtype.type(0)))
    assert one(case, -below)[2] == pytest.approx(1 - 2.0 ** (2 - p), abs=1e-6)
    above = float(np.nextafter(fmt.dtype.type(2), fmt.dtype.type(4)))
    assert one(case, -above)[2] == pytest.approx(-2 - 2.0 ** (2 - p), abs=1e-6)


@BOTH
def test_overflowed_golden(fmt: Format) -> None:
    """Infinity counts as 2**(emax + 1); a finite result conforms only next to the threshold."""
    p, largest = fmt.precision, fmt.largest
    near = nll(fmt, "mean", largest, 1 + 2.0 ** (1 - p), 1.0)  # largest * (1 + ulp): just beyond 2**(emax + 1)
    assert np.isneginf(near.golden.value[0])
    measured = exact_ulp(fmt, near.golden)[0]
    assert measured[0] == pytest.approx(-largest * (1 + 2.0 ** (1 - p)), rel=2.0**-30)
    for w, total in ((1.25, 1.0), (1.4, 1.0), (1.9, 0.7), (1000.0, 0.7), (largest, 0.7), (largest, 3.0)):
        case = nll(fmt, "mean", largest, w, total)
        for got in (-largest, largest, 0.0, -1.0, INF):
            assert one(case, got)[:2] == (Kind.INFINITY, FAILS), (w, total, got)
    tight = nll(fmt, "mean", largest, 1 + 2.0 ** (2 - p), 1.5)  # far below: an infinity is no result
    assert one(tight, -INF)[:2] == (Kind.OVERFLOW, FAILS)


def test_a_legal_order_may_stop_short_of_infinity() -> None:
    """Just beyond the threshold: (w / total) rounded down gives the largest number, within the bound."""
    found = 0
    for total in np.arange(1.0, 2.0, 2.0**-8):
        case = nll(FP16, "mean", FP16.largest, total * (1 + 2.0**-10), float(total))
        if np.isinf(case.golden.value[0]) and case.golden.residual[0] > -0.5:
            kind, grade, signed = one(case, -FP16.largest)
            assert kind is Kind.INFINITY and math.isnan(signed)
            found += grade < FAILS
    assert found


@BOTH
@pytest.mark.parametrize("direction", [1, -1])
def test_grades_in_steps(fmt: Format, direction: int) -> None:
    """Places away from golden the grade gets worse; every grade occurs, and the bound says which fail."""
    case = smooth(fmt, 3.0, *[(1 + i / 64, 1 + i / 128, 0) for i in range(128)])
    before, met = np.zeros(128, int), {CORRECT}
    for places in range(1, 5):
        judged = judge(case, neighbours(fmt, case.golden.value, direction * places), Terms())
        assert judged.at.tolist() == list(range(128)) and (judged.grade >= before).all()
        assert (judged.kind == Kind.VALUE).all() and judged.bound.max() <= 3
        error = np.abs(judged.signed)
        assert ((judged.grade == FAILS) == (error > judged.bound)).all()
        assert ((judged.grade == FAITHFUL) == ((error < 1) & (judged.grade != FAILS))).all()
        assert error[judged.grade == FORMULA].max(initial=0) <= 1.5
        before, met = judged.grade, met | set(judged.grade.tolist())
    assert met == {CORRECT, FAITHFUL, FORMULA, LEGAL, FAILS} and (before == FAILS).all()
    assert [grade_name(g) for g in (FAITHFUL, FORMULA, LEGAL)] == ["faithful", "formula", "legal"]


# An infinity and what underflows beside it


@BOTH
def test_nan_is_legal_where_an_infinite_factor_may_meet_zero(fmt: Format) -> None:
    """Every legal order is run on infinite gradients or weights: what it gives conforms, and nothing else does."""
    model, given = WorkingPrecision(fmt), {False: 0, True: 0}
    tried: list[tuple[Case, set[str]]] = []
    tiny = [fmt.step * k for k in (1, 2, 3, 5, 100)] + [fmt.smallest_normal, 1.0]
    for other in [*tiny, fmt.largest]:
        for total in (0.3, 1.0, 2.0, 3.7, 4.0, 2.0**9, fmt.largest, -4.0):
            for g, w in ((INF, other), (-INF, other), (other, INF)):
                case = nll(fmt, "mean", g, w, total)
                with np.errstate(all="ignore"):
                    results = {
                        n: float(case.operator.evaluate(n, model, fmt, case.scalars, case.operands)[0])
                        for n in case.operator.orders
                    }
                undefined = {name for name, result in results.items() if math.isnan(result)}
                assert all(r == case.golden.value[0] for r in results.values() if not math.isnan(r))
                tried.append((case, undefined))
    grades = []
    for result in (NAN, 0.0, fmt.largest):
        outputs = [(case, case.golden.value.copy()) for case, _ in tried]
        for _, output in outputs:
            output[0] = result
        grades.append(judge_all(outputs, Terms()))
    for (case, undefined), *found in zip(tried, *grades, strict=True):
        nan, zero, largest = (judged.grade.tolist() for judged in found)
        assert (nan == [FORMULA]) == ("formula" in undefined), case
        assert (nan == [FAILS]) == (not undefined), case
        assert zero == largest == [FAILS], case
        given["formula" in undefined] += bool(undefined)
    assert given[True] and given[False]


@pytest.mark.parametrize(
    "fmt", [pytest.param(FP16, id="fp16", marks=pytest.mark.confirm), pytest.param(FP32, id="fp32")]
)
def test_infinity_is_legal_where_the_quotient_of_the_page_overflows(fmt: Format) -> None:
    """At the threshold and beside it, with the sign of y alone; for a gradient of zero the page makes NaN."""
    model, met = WorkingPrecision(fmt), set()
    for total in (0.5, -0.75, 3.0 * fmt.smallest_normal, fmt.step, 1.0):
        edge = fmt.typed(min(fmt.overflow_threshold * abs(total), fmt.largest))
        for w in (edge, math.nextafter(edge, 0), fmt.typed(edge * (1 - 2 * fmt.roundoff)), -edge, edge / 2, fmt.step):
            for g in (0.7, -fmt.step, 2.0**-10, 0.0):
                case = nll(fmt, "mean", fmt.typed(g), fmt.typed(w), fmt.typed(total))
                with np.errstate(all="ignore"):
                    page = float(case.operator.evaluate("formula", model, fmt, case.scalars, case.operands)[0])
                golden = float(case.golden.value[0])
                overflows = fmt.typed(abs(w / fmt.typed(total))) == INF
                assert overflows == (abs(fmt.typed(w)) >= fmt.overflow_threshold * abs(fmt.typed(total)))
                if page == golden:
                    continue
                assert one(case, page)[1] <= FORMULA
                if not overflows:
                    continue
                met.add(g == 0)
                assert one(case, page)[0] is (Kind.NAN if g == 0 else Kind.OVERFLOW)
                assert one(case, NAN)[1] == (FORMULA if g == 0 else FAILS)
                assert one(case, -page)[1] == (FORMULA if g == 0 else FAILS)
                if abs(g) > fmt.step:  # else g / total underflows, in an order that makes nearly anything of it
                    assert one(case, -golden)[1] == FAILS
                if g == 0:
                    assert one(case, fmt.largest)[1] == FAILS
                    assert one(case, INF)[1] == one(case, -INF)[1] == FAILS
    assert met == {True, False}


@BOTH
def test_an_overflown_quotient_times_a_flushed_gradient_is_nan(fmt: Format) -> None:
    total = 2.0**-9
    small, normal = (nll(fmt, "mean", g, fmt.largest, total) for g in (fmt.smallest_normal / 2, fmt.smallest_normal))
    output = normal.operator.evaluate("formula", WorkingPrecision(fmt, Flush.BOTH), fmt, small.scalars, small.operands)
    assert math.isnan(output[0])
    assert one(small, NAN, flush=True)[1] == one(small, -INF, flush=True)[1] == FORMULA
    assert one(small, NAN)[1] == one(normal, NAN, flush=True)[1] == one(small, INF, flush=True)[1] == FAILS


@BOTH
def test_nan_next_to_a_flushed_factor(fmt: Format) -> None:
    small = fmt.smallest_normal
    means = [nll(fmt, "mean", *n) for n in ((INF, small, 2.0), (INF, small / 2, 0.25), (small / 2, INF, 0.25))]
    for case in (nll(fmt, "none", INF, small / 2), *means, smooth(fmt, 2.0, (INF, small, 0))):
        assert one(case, NAN, flush=True)[1] == FORMULA and one(case, NAN)[1] == FAILS
        assert one(case, 0.0, flush=True)[1] == FAILS
    for case in (nll(fmt, "none", INF, 2 * small), nll(fmt, "mean", INF, 1.0, 2.0), smooth(fmt, 2.0, (INF, 1, 0))):
        assert one(case, NAN, flush=True)[1] == FAILS


# Flushing


@BOTH
def test_flushing_excuses_zero_and_nothing_else(fmt: Format) -> None:
    normal = fmt.smallest_normal
    difference = (1, 1.25 * normal, normal)
    small = smooth(fmt, 1.0, (normal, 0.25, 0), difference, (normal / 2, 2, 0), (1.0, 0.25, 0))
    for at in range(3):  # a subnormal result, a subnormal difference, a subnormal gradient
        for zero in (0.0, -0.0):
            assert one(small, zero, at, flush=True)[1] < FAILS
            assert one(small, zero, at, flush=False)[1] == FAILS
        for other in (normal, -normal, 2 * float(small.golden.value[at]), -float(small.golden.value[at])):
            assert one(small, other, at, flush=True)[1] == FAILS, (at, other)
    # Nothing is subnormal here: zero has no excuse.
    assert one(small, 0.0, 3, flush=True)[1] == FAILS


@BOTH
def test_flushing_of_intermediates(fmt: Format) -> None:
    """diff / beta is subnormal and dy makes up for it: the result is normal, and may be lost all the same."""
    case = smooth(fmt, 100.0, (2.0**10, fmt.smallest_normal * 8, 0))
    assert abs(float(case.golden.value[0])) > fmt.smallest_normal
    assert one(case, 0.0, flush=True)[1] < FAILS and one(case, 0.0, flush=False)[1] == FAILS


@BOTH
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_flushing_of_products(fmt: Format, reduction: str) -> None:
    case = nll(fmt, reduction, fmt.smallest_normal, 0.25, 1.0)
    assert one(case, 0.0, flush=True)[1] < FAILS and one(case, 0.0, flush=False)[1] == FAILS
    assert one(nll(fmt, reduction, 1.0, 0.25, 1.0), 0.0, flush=True)[1] == FAILS


# Describing and counting


def test_an_element_for_people() -> None:
    case = smooth(FP16, 0.5, (1.0, 0.25, 0), (3.0, 2.0, 1.0), path="words")
    output = case.golden.value.copy()
    output[1] = -2.0
    found = element(case, output, judge(case, output, Terms()), 0)
    assert (found.case, found.index, found.kind) == ("smoothl1lossgrad/fp16/words", 1, "value")
    assert (found.expected.hex, found.got.hex, found.got.bits) == ("0x1.8p+1", "-0x1p+1", "0xc000")
    assert found.inputs["beta"] == number(FP16, 0.5) and found.inputs["x1"] == number(FP16, 2.0)
    assert found.ulp == 5 * 2**9 and found.bound == 0
    assert number(FP32, np.float32("nan")).hex == "nan" and number(FP32, -INF).hex == "-inf"
    assert number(FP16, -0.0).bits == "0x8000"


def row(*parts: tuple[Case, Array]) -> Tally:
    rows = Accumulator()
    for case, output in parts:
        rows.add(case, output, judge(case, output, Terms()))
    return rows.tally()


@BOTH
def test_the_order_of_cases_does_not_matter(fmt: Format) -> None:
    parts = []
    for seed, (places, share) in enumerate([(0, 1), (1, 3), (2, 5), (40, 50)]):
        case = sample(fmt, seed, f"part-{seed}")
        parts.append((case, moved_by(case, places, share)))
    tallies = [row(*order) for order in permutations(parts)]
    first = tallies[0]
    assert first.cases == 4 and first.elements == 800 and first.worst is not None
    assert first.worst.case.endswith("part-3") and first.grade == "fails"
    for other in tallies[1:]:
        assert other.mean_ulp == pytest.approx(first.mean_ulp, rel=1e-12)
        assert other.bias_ulp == pytest.approx(first.bias_ulp, abs=1e-12)
        other.mean_ulp, other.bias_ulp = first.mean_ulp, first.bias_ulp
        assert other == first


@BOTH
def test_a_long_case_is_judged_and_counted_as_its_parts(fmt: Format) -> None:
    """Longer than the blocks that judge and statistics work in; the worst element is in the first of them."""
    n, source = 2 * SLICE + 300, np.random.Generator(np.random.Philox(5))
    triples = [(float(a), float(b), 0.0) for a, b in source.uniform(-1, 1, (n, 2))]
    case = smooth(fmt, 1.5, *triples, path="long")
    output = moved_by(case, 1, 1)
    output[7] = neighbours(fmt, output[7:8], 1000)[0]
    judged, rows = judge(case, output, Terms()), Accumulator()
    assert judged.at.tolist() == list(range(n))
    for start in range(0, n, 10_000):
        part = smooth(fmt, 1.5, *triples[start : start + 10_000], path=f"part-{start}")
        found = judge(part, output[start : start + 10_000], Terms())
        for whole, piece in zip(judged[1:], found[1:], strict=True):
            assert np.array_equal(whole[start : start + 10_000], piece, equal_nan=True)
        rows.add(part, output[start : start + 10_000], found)
    parts, whole = rows.tally(), row((case, output))
    assert whole.worst is not None and whole.worst.index == 7 and whole.max_ulp == parts.max_ulp > 900
    assert (whole.histogram, whole.measured, whole.failures) == (parts.histogram, parts.measured, parts.failures)
    assert (whole.mean_ulp, whole.bias_ulp) == pytest.approx((parts.mean_ulp, parts.bias_ulp), rel=1e-12)
    clean = row((case, case.golden.value))
    assert clean.max_ulp == float(np.abs(case.golden.residual).max()) and clean.measured == n


def test_outputs_are_judged_and_measured_together_as_alone() -> None:
    """Of both operators and formats, some longer than the blocks, some as golden, in turn."""
    source, outputs = np.random.Generator(np.random.Philox(6)), []
    for n in (3, SLICE + 5, 1, 40, SLICE - 60, 0, 7):
        for fmt in FORMATS.values():
            triples = [(float(a), float(b), 0.5) for a, b in source.uniform(-1, 1, (n, 2))]
            case = smooth(fmt, 1.5, *triples, path=f"{n}")
            got = neighbours(fmt, case.golden.value, source.integers(-2, 3, n))
            mean = nll(fmt, "mean", 0.3, 0.7, 1.1)
            outputs += [(case, got), (case, case.golden.value), (mean, neighbours(fmt, mean.golden.value, 1))]
    together = judge_all(outputs, Terms())
    measured = measure(list(zip([case for case, _ in outputs], together, strict=True)))
    for (case, output), judged, all_measured in zip(outputs, together, measured, strict=True):
        alone = judge(case, output, Terms())
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(alone, judged, strict=True))
        rows, others = Accumulator(detailed=True), Accumulator(detailed=True)
        rows.add(case, output, alone)
        others.add(case, output, judged, all_measured)
        assert rows.tally() == others.tally() and rows.landscapes() == others.landscapes()
    assert sum(judged.at.size for judged in together) > 2 * SLICE


@BOTH
def test_counts_and_statistics(fmt: Format) -> None:
    case = sample(fmt, 9, "counts")
    clean = row((case, case.golden.value))
    assert (clean.misrounded, clean.failures, clean.worst, clean.grade) == (0, 0, None, "correctly-rounded")
    assert 0.4 < clean.max_ulp <= 0.5 and 0.2 < clean.mean_ulp < 0.3 and clean.p999_ulp == 0.5
    assert clean.measured == sum(clean.histogram.values()) == np.count_nonzero(case.golden.value)

    output = moved_by(case, 1, 4)  # away from zero
    found = row((case, output))
    errors = np.abs(judge(case, output, Terms()).signed)
    assert found.misrounded == 50 and found.max_ulp == errors.max() and sum(found.histogram.values()) == found.measured
    untouched = np.delete(np.abs(case.golden.residual.astype(np.float64)), np.s_[::4])
    assert found.mean_ulp == pytest.approx((untouched.sum() + errors.sum()) / 200)
    assert found.p999_ulp == pytest.approx(found.max_ulp, abs=1 / 32) and found.p999_ulp >= found.max_ulp


@BOTH
@pytest.mark.parametrize("sign", [1, -1])
def test_bias_has_the_sign_of_the_error(fmt: Format, sign: int) -> None:
    case = smooth(fmt, 1.5, *[(sign * (1 + i / 64), 0.7, 0) for i in range(64)])
    outward = row((case, moved_by(case, 1, 1)))  # magnitudes too large
    inward = row((case, moved_by(case, -1, 1)))
    assert 0.5 < sign * outward.bias_ulp < 1.5 and -1.5 < sign * inward.bias_ulp < -0.5


@BOTH
def test_nan_and_zero_do_not_poison_the_numbers(fmt: Format) -> None:
    case = smooth(fmt, 1.5, *[(1 + i / 64, 0.7, 0) for i in range(60)], (NAN, 1, 0), (0, 1, 0), (INF, 2, 0))
    clean, output = row((case, case.golden.value)), case.golden.value.copy()
    output[[0, 1, 2, 60, 61, 62]] = [NAN, NAN, INF, 1, -0.0, 5]
    found = row((case, output))
    assert (found.nan, found.overflow, found.zero_sign, found.infinity) == (3, 1, 1, 1)
    assert found.misrounded == 5 and found.failures == 5
    assert clean.measured == 60 and found.measured == 58 == sum(found.histogram.values())
    assert math.isfinite(found.max_ulp) and math.isfinite(found.mean_ulp) and math.isfinite(found.bias_ulp)
    output[[2, 61]] = case.golden.value[[2, 61]]
    finite = row((case, output))
    assert finite.max_ulp <= 0.5 and abs(finite.bias_ulp) < 0.5 and finite.worst is None


def test_failing_positions() -> None:
    case = smooth(FP16, 1.0, (1, 2, 0), (1, 2, 0), (1, 2, 0))
    judged = judge(case, FP16.cast(np.array([2.0, 1.0, NAN])), Terms())
    assert isinstance(judged, Judged) and judged.failing.tolist() == [0, 1] and judged.at.tolist() == [0, 2]
