"""Derived bounds: no legal order fails, the figures are those of the theory, nothing beyond them passes."""

import math
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass

import numpy as np
import pytest

from generators import nlllossgrad, smoothl1lossgrad
from generators.samplers import log_uniform, neighbours, uniform_bits
from generators.stream import Stream
from generators.suite import make_case
from golden.case import Case
from golden.formats import FORMATS, FP16, FP32, Array, Format, is_power_of_two
from golden.judge import FAILS, FORMULA, Judged, judge, judge_all
from golden.operator import operator
from golden.scaled_product import EVALUATIONS
from golden.scaled_product import ORDERS as DISTINCT
from golden.terms import Flush, Terms
from golden.working import WorkingPrecision
from tests.mutants.bounds import figure, sweeps

SMOOTH, NLL = operator("smoothl1lossgrad"), operator("nlllossgrad")
BOTH = pytest.mark.parametrize("fmt", FORMATS.values(), ids=list(FORMATS))
NAMES = pytest.mark.parametrize("name", [SMOOTH.name, NLL.name])
FP64 = Format("fp64", "dp", precision=53, emin=-1022, emax=1023, width=64)
ORDERS = tuple(EVALUATIONS)
#: Errors are measured from exact values that vectors hold to 2**-25 ulp.
WIDENED = 2.0**-23


@dataclass(frozen=True)
class How:
    """A legal evaluation: an order, in which arithmetic, subnormals preserved or flushed."""

    order: str
    wide: Format | None = None
    flush: Flush = Flush.NONE

    def evaluate(self, case: Case) -> Array:
        m = WorkingPrecision(self.wide or case.fmt, self.flush)
        return case.operator.evaluate(self.order, m, case.fmt, case.scalars, case.operands)


def ways(fmt: Format) -> list[How]:
    """Every legal evaluation of a format; wider arithmetic has no subnormals to flush here."""
    wider = (FP32, FP64) if fmt is FP16 else (FP64,)
    narrow = [How(order, None, flush) for order in ORDERS for flush in (Flush.NONE, Flush.BOTH)]
    return narrow + [How(order, wide) for order in ORDERS for wide in wider]


def on_label(case: Case) -> Array:
    labels = case.operands["labels"]
    index: Array = np.arange(len(labels)) * int(case.scalars["class_num"]) + labels
    return index


# Inputs

BETAS = (0.1, 1 / 3, 0.5, 0.7, 1.0, 1e-3, 2.0**-14, 10.0, 100.0)
TOTALS = (3.0, 10.5, 64.0, 0.7, -0.3, 2.0**-10, 1000.0)
#: Divisors whose reciprocal is subnormal.
HUGE = {"fp16": 40000.0, "fp32": 2.5e38}


def smooth_case(fmt: Format, beta: float, dy: Array, x1: Array, x2: Array) -> Case:
    scalars: dict[str, int | float | str] = {"length": len(dy), "beta": beta}
    return make_case(SMOOTH, fmt, "required", "test", (), "test", scalars, {"dy": dy, "x1": x1, "x2": x2})


def nll_case(fmt: Format, reduction: str, g: Array, w: Array, total: float) -> Case:
    n = len(w)
    scalars: dict[str, int | float | str] = {"batch": n, "class_num": n, "reduction_type": reduction}
    operands = {"loss_grad": g, "labels": np.arange(n, dtype=np.int32), "weight": w}
    operands["total_weight"] = np.array([total], fmt.dtype)
    return make_case(NLL, fmt, "required", "test", (), "test", scalars, operands)


def smooth_cases(fmt: Format, seed: str, n: int) -> Iterator[Case]:
    """Random bits without limit, and every class that the suites have, at every kind of beta."""
    for beta in map(fmt.typed, (*BETAS, HUGE[fmt.name])):
        stream = Stream(f"test_bounds/{fmt.name}/{beta}/{seed}")
        yield smooth_case(fmt, beta, *(uniform_bits(stream, fmt, n) for _ in range(3)))
        for klass, spec in smoothl1lossgrad.CLASSES.items():
            if klass not in smoothl1lossgrad.ENUMERATED:
                with np.errstate(invalid="ignore"):  # some classes overflow where beta is huge
                    triples = spec.sampler(stream, fmt, beta, n)
                yield smooth_case(fmt, beta, *triples)


def nll_cases(fmt: Format, seed: str, n: int) -> Iterator[Case]:
    for total in map(fmt.typed, (*TOTALS, HUGE[fmt.name])):
        stream = Stream(f"test_bounds/{fmt.name}/{total}/{seed}")
        for klass, spec in nlllossgrad.CLASSES.items():
            if not nlllossgrad.has_inputs(fmt, klass, total):
                continue
            g = spec.gradients(stream, fmt, total, 1)
            yield nll_case(fmt, "mean", g, spec.weights(stream, fmt, total, np.resize(g, n)), total)
            if klass in ("uniform-bits", "log-uniform"):
                yield nll_case(fmt, "mean", g, uniform_bits(stream, fmt, n), total)
        g, w = uniform_bits(stream, fmt, n), uniform_bits(stream, fmt, n)
        yield nll_case(fmt, "none", g, w, total)
        yield nll_case(fmt, "sum", g[:1], w, total)


def cases_of(name: str, fmt: Format, seed: str) -> Iterator[Case]:
    """About 17,000 elements of SmoothL1LossGrad, 12,000 of NLLLossGrad (whose outputs are mostly zeros)."""
    return smooth_cases(fmt, seed, 120) if name == SMOOTH.name else nll_cases(fmt, seed, 96)


@dataclass(frozen=True)
class Scene:
    """What the theory says about the samples of a case: where its figures hold, and which ones."""

    ordinary: Array  #: nothing can underflow in any order, and no operand of a difference can be flushed
    rounded: Array  #: x1 - x2 may have been rounded
    power: bool  #: the divisor is a power of two

    @classmethod
    def of(cls, case: Case) -> "Scene":
        operands, normal = (
            {k: v.astype(np.float64) for k, v in case.operands.items()},
            case.fmt.smallest_normal,
        )
        with np.errstate(all="ignore"):
            if case.operator is SMOOTH:
                s, b, x1, x2 = float(case.scalars["beta"]), operands["dy"], operands["x1"], operands["x2"]
                alike = (x2 == 0) | (np.abs(np.frexp(x1)[1] - np.frexp(x2)[1]) < 27)  # exact in float64
                rounded = ~(alike & (case.fmt.cast(x1 - x2) == x1 - x2))
                a = np.clip(x1 - x2, -s, s)
                kept = (np.abs(x1) >= normal) & ((np.abs(x2) >= normal) | (x2 == 0))
            else:
                s = float(operands["total_weight"][0]) if case.scalars["reduction_type"] == "mean" else 1.0
                a, b = operands["weight"], np.resize(operands["loss_grad"], len(operands["weight"]))
                rounded, kept = np.zeros(a.shape, bool), np.ones(a.shape, bool)
            least = np.min(np.abs([a, b, a / s, a * b, b / s, a * b / s, np.full(a.shape, 1 / s)]), axis=0)
            kept &= (least > 2 * normal) & (
                np.max(np.abs([a / s, b / s, a * b, a * b / s]), axis=0) < case.fmt.largest / 2
            )
        return cls(kept, rounded, is_power_of_two(s))


@dataclass
class Seen:
    """What was seen of one way to evaluate."""

    elements: int = 0
    differing: int = 0
    failing: int = 0
    too_poor: int = 0  #: the documented order with a grade worse than ``formula``
    beyond: int = 0  #: ordinary elements whose error or legal bound exceeds the familiar figure
    exact: float = 0.0  #: largest error where nothing was rounded before and the divisor is no power of two
    rounded: float = 0.0
    power: float = 0.0

    def add(self, how: How, case: Case, scene: Scene, output: Array, judged: Judged) -> None:
        self.elements += output.size if case.operator is SMOOTH else len(case.operands["labels"])
        self.differing += len(judged.at)
        self.failing += int((judged.grade == FAILS).sum())
        if how.order == "formula":
            self.too_poor += int((judged.grade > FORMULA).sum())
        sample = judged.at if case.operator is SMOOTH else judged.at // int(case.scalars["class_num"])
        ordinary, rounded, error = scene.ordinary[sample], scene.rounded[sample], np.abs(judged.signed)
        narrow, wide = (
            np.where(rounded, 1.5, 0.5)
            if scene.power
            else np.where(rounded, figure(case.fmt, order, True), figure(case.fmt, order, False))
            for order in (how.order, "reciprocal")
        )
        beyond = (error > narrow + WIDENED) | (judged.bound > wide + WIDENED)
        self.beyond += int((ordinary & beyond).sum())
        for kind, chosen in (("exact", ~rounded), ("rounded", rounded)):
            name = "power" if scene.power else kind
            largest = float(np.max(error[ordinary & chosen], initial=0.0))
            setattr(self, name, max(getattr(self, name), largest))

    def merge(self, other: "Seen") -> "Seen":
        return Seen(
            *(max(a, b) if isinstance(a, float) else a + b for a, b in zip(astuple(self), astuple(other), strict=True))
        )


def see(name: str, dtype: str, seed: str) -> dict[How, Seen]:
    """Work of one process: all inputs of a seed in all ways."""
    fmt = FORMATS[dtype]
    seen = {how: Seen() for how in ways(fmt)}
    scenes = [(case, Scene.of(case)) for case in cases_of(name, fmt, seed)]
    for how, found in seen.items():
        outputs = [(case, how.evaluate(case)) for case, _ in scenes]
        judged = judge_all(outputs, Terms(how.flush is not Flush.NONE, any_range=True))
        for (case, scene), (_, output), of_case in zip(scenes, outputs, judged, strict=True):
            found.add(how, case, scene, output, of_case)
    return seen


def check(name: str, seen: dict[How, Seen]) -> None:
    for how, found in seen.items():
        assert (found.failing, found.too_poor, found.beyond) == (0, 0, 0), (how, found)
        if how.wide is None:
            # Not vacuous: the worst seen comes near the figures of the theory.
            exact, rounded = (figure(FP16, how.order, r) for r in (False, True))
            assert found.exact > exact / 2, (how, found)
            assert name == NLL.name or (found.rounded > rounded / 2 and found.power > 0.75), (how, found)


@BOTH
@NAMES
def test_no_legal_order_fails(name: str, fmt: Format) -> None:
    seen = see(name, fmt.name, "fast-0")
    assert min(found.elements for found in seen.values()) > 8_000
    check(name, seen)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@BOTH
@NAMES
def test_no_legal_order_fails_in_ten_million(name: str, fmt: Format, capsys: pytest.CaptureFixture[str]) -> None:
    merged = {how: Seen() for how in ways(fmt)}
    with ProcessPoolExecutor(2) as pool:
        seeds = map(str, range(700 if name == SMOOTH.name else 900))
        for future in [pool.submit(see, name, fmt.name, seed) for seed in seeds]:
            for how, found in future.result().items():
                merged[how] = merged[how].merge(found)
    with capsys.disabled():
        print(f"\n{name} {fmt.name}")
        for how, found in merged.items():
            print(f"  {how.order} {how.wide.name if how.wide else 'working'} flush={how.flush.name}: {found}")
    assert min(found.elements for found in merged.values()) >= 10**7
    check(name, merged)


SWEPT = [pytest.param(o, 200_000, marks=pytest.mark.confirm) for o in DISTINCT]
SWEPT += [pytest.param(o, 10**8, marks=[pytest.mark.slow, pytest.mark.timeout(3600)]) for o in DISTINCT]


@pytest.mark.skipif(not shutil.which("gcc"), reason="the kernels in other orders are built with gcc, which is missing")
@pytest.mark.parametrize(("order", "samples"), SWEPT)
def test_kernels_in_every_order_stay_within_their_bounds(order: str, samples: int) -> None:
    """Slow: 10**8 points of every fp32 space, and every bit pattern of two fp16 operands."""
    swept = list(sweeps(order, samples, jobs=0, dtype=None if samples == 10**8 else FP32.name))
    assert len({(row.space.operator, row.space.dtype) for row in swept}) == (4 if samples == 10**8 else 2)
    for row in swept:
        assert row.points >= samples and (row.exhaustive or row.space.fmt is FP32)
        # 0 * inf of either sign, by the smallest number of either sign, in one order of one exhaustive space.
        assert row.outside == 0, (row.what, row.first)
        assert row.misrounded > 0.02 * row.points or is_power_of_two(float(row.space.scalars.get("beta", 3.0)))


# What lies outside


def plain_case(name: str, fmt: Format, divisor: float, exact: bool, n: int) -> Case:
    """Ordinary numbers, where the theory gives |slack| = ((1 + u)**k - 1) * |y| and nothing else."""
    stream = Stream(f"test_bounds/plain/{fmt.name}/{divisor}/{exact}")
    binade = math.frexp(divisor)[1] - 1
    a, b = log_uniform(stream, fmt, n, binade - 4, binade - 1), log_uniform(stream, fmt, n, -2, 4)
    if name == NLL.name:
        return nll_case(fmt, "mean", b[:1], np.abs(a), divisor)
    # |x1 - x2| stays below the divisor; the difference of numbers of unlike sign mostly has to be rounded.
    x2 = fmt.cast(a.astype(np.float64) * (0.0 if exact else -0.37))
    return smooth_case(fmt, divisor, b, a, x2)


@BOTH
@NAMES
@pytest.mark.parametrize("order", ORDERS)
def test_one_place_beyond_a_legal_result_is_refused(name: str, fmt: Format, order: str) -> None:
    """Results of an order, moved away from the exact value: some are at the end of the interval already."""
    case = plain_case(name, fmt, fmt.typed(0.7), True, 400)
    output = How(order).evaluate(case)
    exact = case.golden.value.astype(np.float64) + case.golden.residual * fmt.ulp_of(np.abs(case.golden.value))
    away = np.where(np.abs(output) >= np.abs(exact), 1, -1)
    assert judge(case, output, Terms()).failing.size == 0
    refused = []
    for places in (1, 2, 4, 5):
        moved = np.where(
            output != 0, neighbours(fmt, np.where(output == 0, fmt.dtype.type(1), output), places * away), 0
        )
        judged = judge(case, moved.astype(fmt.dtype), Terms())
        refused.append(judged.failing.size)
        accepted = np.abs(judged.signed[judged.grade < FAILS])
        assert accepted.size == 0 or accepted.max() <= figure(fmt, "reciprocal", False) + WIDENED
    assert 0 < refused[0] <= refused[1] <= refused[2] <= refused[3] == np.count_nonzero(output)


@BOTH
@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_products_must_have_the_golden_bits(fmt: Format, reduction: str) -> None:
    """Any flipped bit fails, but for the sign of a zero and what a NaN carries."""
    n = 60
    stream = Stream(f"test_bounds/flips/{fmt.name}/{reduction}")
    g, w = uniform_bits(stream, fmt, n), uniform_bits(stream, fmt, n)
    g[:3], w[3:6] = (np.nan, 0, -0.0), (np.nan, 0, np.inf)
    case = nll_case(fmt, reduction, g if reduction == "none" else g[7:8], w, 3.0)
    golden = fmt.bits(case.golden.value)
    for bit in range(fmt.width):
        flipped = golden ^ fmt.bits_dtype.type(1 << bit)
        judged = judge(case, fmt.from_bits(flipped), Terms())
        magnitude = flipped & fmt.bits_dtype.type(fmt.sign_mask - 1)
        both_nan = np.isnan(case.golden.value) & (magnitude > fmt.exponent_mask)
        both_zero = (case.golden.value == 0) & (magnitude == 0)
        assert np.array_equal(judged.at, np.arange(n * n))
        assert np.array_equal(judged.grade < FAILS, both_nan | both_zero), bit
