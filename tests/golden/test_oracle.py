"""The fast oracles against the rational specification: every bit of the value, and the residual."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from generators import hard, nlllossgrad, smoothl1lossgrad
from generators.samplers import neighbours
from generators.stream import Stream
from golden import exact as ex
from golden.formats import FORMATS, FP16, Array, Format, two_to
from golden.operator import Operator, operator
from golden.rounding import Golden

SMOOTH, NLL = operator("smoothl1lossgrad"), operator("nlllossgrad")
REDUCTIONS = ("sum", "mean", "none")
BOTH = pytest.mark.parametrize("fmt", FORMATS.values(), ids=list(FORMATS))
#: The residual's promised accuracy, in ulp.
RESIDUAL_ERROR = 2.0**-25
Call = tuple[dict[str, int | float | str], dict[str, Array]]


def smooth_call(beta: float, dy: Array, x1: Array, x2: Array) -> Call:
    return {"length": len(dy), "beta": beta}, {"dy": dy, "x1": x1, "x2": x2}


def nll_call(fmt: Format, reduction: str, g: Array, w: Array, total: float) -> Call:
    """Sample i has label i, so that gradient i (or the only one) meets weight i on the diagonal."""
    labels, n = np.arange(len(w), dtype=np.int32), len(w)
    scalars: dict[str, int | float | str] = {"batch": n, "class_num": n, "reduction_type": reduction}
    total_weight = np.array([total], fmt.dtype)
    return scalars, {"loss_grad": g, "labels": labels, "weight": w, "total_weight": total_weight}


def assert_equals_specification(op: Operator, fmt: Format, call: Call) -> None:
    scalars, operands = call
    value, residual = op.oracle(fmt, scalars, operands)
    assert value.dtype == fmt.dtype and residual.dtype == np.float32
    assert value.shape == residual.shape == (op.output_size(scalars),)
    for index, bits in enumerate(fmt.bits(value).tolist()):
        exact = op.exact(fmt, scalars, operands, index)
        where = f"{index}: {op.inputs_of(scalars, operands, index)}"
        assert bits == fmt.round(exact), where
        if ex.is_nan(exact) or ex.is_infinite(exact):
            assert np.isnan(residual[index]), where
            continue
        rounded = fmt.decode(bits)
        golden = Fraction(rounded) if not ex.is_infinite(rounded) else two_to(fmt.emax + 1)
        golden *= -1 if ex.is_infinite(rounded) and ex.is_negative(rounded) else 1
        expected = (Fraction(exact) - golden) / fmt.ulp(Fraction(exact))
        # Beyond the range residuals grow, and with them the rounding to float32: 2**-24 of themselves.
        allowed = Fraction(RESIDUAL_ERROR) * max(1, 2 * abs(expected))
        assert abs(Fraction(float(residual[index])) - expected) <= allowed, where


# Arbitrary bit patterns

NUMBERS = 12


def patterns(fmt: Format) -> st.SearchStrategy[int]:
    """Any bit pattern; specials, subnormals, range ends and numbers near 1 more often than by chance."""
    one = fmt.round(Fraction(1))
    edges = (0, 1, fmt.fraction_mask, fmt.fraction_mask + 1, one, fmt.exponent_mask - 1, fmt.exponent_mask)
    magnitude = st.one_of(
        st.integers(0, fmt.sign_mask - 1),
        st.sampled_from(edges),
        st.integers(1, fmt.fraction_mask),
        st.integers(one - 3 * (fmt.fraction_mask + 1), one + 3 * (fmt.fraction_mask + 1)),
        st.integers(fmt.exponent_mask + 1, fmt.sign_mask - 1),
    )
    return st.builds(lambda m, negative: m | fmt.sign_mask * negative, magnitude, st.booleans())


def numbers(fmt: Format, n: int) -> st.SearchStrategy[Array]:
    bits = st.lists(patterns(fmt), min_size=n, max_size=n)
    return bits.map(lambda p: fmt.from_bits(np.array(p, fmt.bits_dtype)))


def in_domain(fmt: Format) -> st.SearchStrategy[float]:
    """Positive finite numbers of the format: any of them, and the betas in use."""
    documented = [fmt.typed(b) for b in smoothl1lossgrad.REQUIRED_BETAS + smoothl1lossgrad.STRESS_BETAS]
    anything = st.integers(1, fmt.exponent_mask - 1).map(
        lambda p: float(fmt.from_bits(np.array([p], fmt.bits_dtype))[0])
    )
    return st.one_of(st.sampled_from(documented), anything)


def total_weights(fmt: Format) -> st.SearchStrategy[float]:
    """Any total_weight but zero: negative, infinite and NaN too."""
    drawn = patterns(fmt).map(lambda p: float(fmt.from_bits(np.array([p], fmt.bits_dtype))[0]))
    return st.one_of(in_domain(fmt), drawn.filter(lambda t: t != 0))


THOROUGH = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@BOTH
def test_smooth_l1_on_arbitrary_bits(fmt: Format) -> None:
    @THOROUGH
    @given(
        in_domain(fmt),
        numbers(fmt, NUMBERS),
        numbers(fmt, NUMBERS),
        numbers(fmt, NUMBERS),
        st.integers(-4, 4),
    )
    def check(beta: float, dy: Array, x1: Array, x2: Array, near: int) -> None:
        assert_equals_specification(SMOOTH, fmt, smooth_call(beta, dy, x1, x2))
        # Independent operands are rarely of like size: let differences be a few places too, or about beta.
        close = np.where(np.isfinite(x1) & (x1 != 0), neighbours(fmt, x1, near), x1)
        assert_equals_specification(SMOOTH, fmt, smooth_call(beta, dy, x1, close))
        kink = neighbours(fmt, np.where(np.signbit(x1), -beta, beta), near)
        assert_equals_specification(SMOOTH, fmt, smooth_call(beta, dy, kink, np.zeros_like(kink)))

    check()


@BOTH
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nll_on_arbitrary_bits(fmt: Format, reduction: str) -> None:
    @THOROUGH
    @given(numbers(fmt, 6), numbers(fmt, 6), total_weights(fmt))
    def check(g: Array, w: Array, total: float) -> None:
        upstream = g if reduction == "none" else g[:1]
        assert_equals_specification(NLL, fmt, nll_call(fmt, reduction, upstream, w, total))

    check()


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_nll_with_any_labels(reduction: str) -> None:
    """Labels that repeat and leave classes out; batch and class_num differ; empty batches."""

    @settings(max_examples=60, deadline=None)
    @given(st.integers(1, 5), st.lists(st.integers(0, 4), max_size=7))
    def check(classes: int, drawn: list[int]) -> None:
        labels = [label % classes for label in drawn]
        n = len(labels) if reduction == "none" else 1
        g, w = (FP16.cast(np.array([1.5, -3, 0.7, np.nan, 5, 9, 11])) for _ in range(2))
        scalars: dict[str, int | float | str] = {"batch": len(labels), "class_num": classes}
        scalars["reduction_type"] = reduction
        operands = {"loss_grad": g[:n], "labels": np.array(labels, np.int32), "weight": w[:classes]}
        operands["total_weight"] = FP16.cast(np.array([2.9]))
        assert_equals_specification(NLL, FP16, (scalars, operands))

    check()


# Constructed hard cases

BETAS = (0.1, 1 / 3, 0.5, 0.7, 1.0, 100.0)
TOTALS = (3.0, 10.5, 64.0, 0.7)
#: Results next to a midpoint, on one, on one but for a tiny x2, subnormal, and about the largest number.
CLASSES = ("hard-to-round", "ties", "subnormal-results", "subnormal-operands", "loss-scaled", "cancellation")


def smooth_calls(fmt: Format, classes: tuple[str, ...], n: int, seed: str) -> Iterator[Call]:
    for beta in map(fmt.typed, BETAS):
        for klass in classes:
            stream = Stream(f"test_oracle/{fmt.name}/{beta}/{klass}/{seed}")
            yield smooth_call(beta, *smoothl1lossgrad.CLASSES[klass].sampler(stream, fmt, beta, n))
        yield smooth_call(beta, *nudged_ties(Stream(f"nudged/{beta}/{seed}"), fmt, beta, n))


def nudged_ties(stream: Stream, fmt: Format, beta: float, n: int) -> tuple[Array, Array, Array]:
    """Ties (x1 * dy / beta a midpoint) moved by an x2 far too small for working precision, or for float64."""
    dy, x1, _ = smoothl1lossgrad.ties(stream, fmt, beta, n)
    exponents = stream.integers(n, fmt.emin - fmt.precision + 1, np.frexp(beta)[1] - fmt.precision)
    return dy, x1, fmt.cast(np.ldexp(stream.signs(n), exponents))


def nll_calls(fmt: Format, classes: tuple[str, ...], n: int, seed: str) -> Iterator[Call]:
    for reduction in REDUCTIONS:
        for total in map(fmt.typed, TOTALS if reduction == "mean" else (1.0,)):
            for klass in (k for k in classes if nlllossgrad.has_inputs(fmt, k, total)):
                stream = Stream(f"test_oracle/{fmt.name}/{reduction}/{total}/{klass}/{seed}")
                spec = nlllossgrad.CLASSES[klass]
                g = spec.gradients(stream, fmt, total, n if reduction == "none" else 1)
                w = spec.weights(stream, fmt, total, np.resize(g, n))
                yield nll_call(fmt, reduction, g, w, total)


@BOTH
def test_constructed_smooth_l1(fmt: Format) -> None:
    for call in smooth_calls(fmt, CLASSES, 40, "fast"):
        assert_equals_specification(SMOOTH, fmt, call)


@BOTH
def test_constructed_nll(fmt: Format) -> None:
    for call in nll_calls(fmt, (*CLASSES[:-1], "large-products"), 16, "fast"):
        assert_equals_specification(NLL, fmt, call)


@BOTH
@pytest.mark.parametrize("total", [3.0, 10.5, 49.0])
def test_nll_ties_under_any_divisor(fmt: Format, total: float) -> None:
    """w = a * total exactly and a * g a midpoint: dividing must give the tie back, a reciprocal would not."""
    a, g = hard.ties(Stream(f"test_oracle/divided/{fmt.name}/{total}"), fmt, 1500)
    w = fmt.cast(a.astype(np.float64) * total)
    tied = np.flatnonzero(w.astype(np.float64) == a.astype(np.float64) * total)
    for i in tied[:200].tolist():
        call = nll_call(fmt, "mean", g[i : i + 1], w[i : i + 1], total)
        assert abs(NLL.oracle(fmt, *call).residual[0]) == 0.5
        assert_equals_specification(NLL, fmt, call)
    assert len(tied) > 100


@BOTH
def test_overflow_threshold(fmt: Format) -> None:
    """Products on both sides of the midpoint between the largest number and 2**(emax + 1), and on it."""
    p = fmt.precision
    threshold = (2 << p) - 1  # times 2**(emax - p); composite for both formats, so it is a product
    factor = next(f for f in range(3, 1 << p, 2) if threshold % f == 0)
    g = fmt.cast(np.array([factor, -factor, factor, factor], np.float64))
    partners = threshold // factor + np.array([0.0, 0.0, 1.0, -1.0])
    w = fmt.cast(np.ldexp(partners, fmt.emax - p))
    for call in (nll_call(fmt, "none", g, w, 1.0), nll_call(fmt, "mean", g[:1], w * fmt.dtype.type(2), 2.0)):
        assert_equals_specification(NLL, fmt, call)
    value = NLL.oracle(fmt, *nll_call(fmt, "none", g, w, 1.0)).value.reshape(4, 4).diagonal()
    assert value[:3].tolist() == [-np.inf, np.inf, -np.inf] and np.isfinite(value[3])


# A million hard cases each, in integers


def in_steps(fmt: Format, magnitude: int) -> int:
    """Value of a pattern without sign, in smallest subnormals, as if the exponent range had no end."""
    exponent, fraction = magnitude >> (fmt.precision - 1), magnitude & fmt.fraction_mask
    return (fraction | fmt.fraction_mask + 1) << (exponent - 1) if exponent else fraction


def signed_steps(fmt: Format, values: Array) -> list[int]:
    found = []
    for bits in fmt.bits(values).tolist():
        steps = in_steps(fmt, bits & ~fmt.sign_mask)
        found.append(-steps if bits & fmt.sign_mask else steps)
    return found


def is_wrong(fmt: Format, product: int, divisor: int, bits: int, residual: float) -> bool:
    """Hold one golden value against product / divisor (in steps) by the two midpoints around it.

    Shares nothing with the oracle or with :meth:`Format.round`: integers, and the definition of nearest even.
    """
    if (product != 0) and (product < 0) != (bits & fmt.sign_mask != 0):
        return True
    magnitude, product = bits & ~fmt.sign_mask, abs(product)
    golden, even = in_steps(fmt, magnitude), magnitude & 1 == 0
    above_low = 2 * product - (golden + in_steps(fmt, magnitude - 1)) * divisor if magnitude else 1
    below_high = (golden + in_steps(fmt, magnitude + 1)) * divisor - 2 * product
    if magnitude == fmt.exponent_mask:
        below_high = 1
    if min(above_low, below_high) < 0 or (min(above_low, below_high) == 0 and not even):
        return True
    ulp = 1 << max((product // divisor).bit_length() - fmt.precision, 0)
    exact_residual = (product - golden * divisor) / (ulp * divisor)
    return abs(exact_residual - (-residual if bits & fmt.sign_mask else residual)) > RESIDUAL_ERROR


def count_smooth(fmt: Format, call: Call) -> tuple[int, int, int]:
    """Count cases, those within 0.01 ulp of a midpoint or on it, and wrong ones of one call."""
    scalars, operands = call
    golden = SMOOTH.oracle(fmt, scalars, operands)
    (beta,) = signed_steps(fmt, np.array([scalars["beta"]], fmt.dtype))
    dy, x1, x2 = (signed_steps(fmt, operands[name]) for name in ("dy", "x1", "x2"))
    products = [max(-beta, min(beta, a - b)) * g for a, b, g in zip(x1, x2, dy, strict=True)]
    return count(fmt, products, beta, golden)


def count_nll(fmt: Format, call: Call) -> tuple[int, int, int]:
    scalars, operands = call
    golden = NLL.oracle(fmt, scalars, operands)
    w, upstream = signed_steps(fmt, operands["weight"]), signed_steps(fmt, operands["loss_grad"])
    one = np.ones(1, fmt.dtype)
    (s,) = signed_steps(fmt, operands["total_weight"] if scalars["reduction_type"] == "mean" else one)
    g = upstream if scalars["reduction_type"] == "none" else upstream * len(w)
    diagonal = Golden(*(part.reshape(len(w), len(w)).diagonal() for part in golden))
    return count(fmt, [-a * b for a, b in zip(w, g, strict=True)], s, diagonal)


def count(fmt: Format, products: list[int], divisor: int, golden: Golden) -> tuple[int, int, int]:
    bits, residual = fmt.bits(golden.value).tolist(), golden.residual.tolist()
    results = zip(products, bits, residual, strict=True)
    wrong = sum(is_wrong(fmt, product, divisor, b, r) for product, b, r in results)
    return len(bits), int((np.abs(golden.residual) > 0.49).sum()), wrong


def hard_nll_calls(fmt: Format, seed: str) -> Iterator[Call]:
    """Hard products and quotients, and ties where there are any."""
    plan = [("none", 1.0, 160)] + [("sum", 1.0, 24), *(("mean", total, 24) for total in (*TOTALS, 0.5))] * 4
    for part, (reduction, typical, n) in enumerate(plan):
        total = fmt.typed(typical)
        for klass in (k for k in ("hard-to-round", "ties") if nlllossgrad.has_inputs(fmt, k, total)):
            stream, spec = Stream(f"test_oracle/{klass}/{part}/{seed}"), nlllossgrad.CLASSES[klass]
            g = spec.gradients(stream, fmt, total, n if reduction == "none" else 1)
            yield nll_call(fmt, reduction, g, spec.weights(stream, fmt, total, np.resize(g, n)), total)


def count_seed(name: str, dtype: str, seed: str) -> list[int]:
    """Work of one process: the hard classes of one operator and format under one seed."""
    fmt = FORMATS[dtype]
    if name == SMOOTH.name:
        calls, counted = smooth_calls(fmt, ("hard-to-round", "ties"), 1500, seed), count_smooth
    else:
        calls, counted = hard_nll_calls(fmt, seed), count_nll
    total: list[int] = np.sum([counted(fmt, call) for call in calls], axis=0).tolist()
    return total


@pytest.mark.slow
@pytest.mark.timeout(1200)
@BOTH
@pytest.mark.parametrize("name", [SMOOTH.name, NLL.name])
def test_a_million_hard_cases(name: str, fmt: Format, capsys: pytest.CaptureFixture[str]) -> None:
    cases = hard_ones = wrong = seeds = 0
    with ProcessPoolExecutor(2) as pool:
        while hard_ones < 10**6:
            batch = [pool.submit(count_seed, name, fmt.name, str(seeds + i)) for i in range(16)]
            counted = np.sum([future.result() for future in batch], axis=0).tolist()
            cases, hard_ones, wrong = cases + counted[0], hard_ones + counted[1], wrong + counted[2]
            seeds += 16
    with capsys.disabled():
        print(f"\n{name} {fmt.name}: {cases} cases, {hard_ones} (nearly) midway, {wrong} wrong")
    assert wrong == 0


@BOTH
@pytest.mark.parametrize("name", [SMOOTH.name, NLL.name])
def test_hard_cases_in_integers(name: str, fmt: Format) -> None:
    """The first seed of the million; and the integer check itself notices a neighbour or a wrong residual."""
    cases, hard_ones, wrong = count_seed(name, fmt.name, "0")
    assert cases > 500 and hard_ones > cases / 2 and wrong == 0
    three, one = signed_steps(fmt, fmt.cast(np.array([3.0, 1.0])))
    third = fmt.round(Fraction(1, 3))
    residual = float((Fraction(1, 3) - Fraction(fmt.decode(third))) / fmt.ulp(Fraction(1, 3)))
    assert not is_wrong(fmt, one * one, three, third, residual)
    assert is_wrong(fmt, one * one, three, third + 1, residual)
    assert is_wrong(fmt, one * one, three, third - 1, residual)
    assert is_wrong(fmt, one * one, three, third | fmt.sign_mask, residual)
    assert is_wrong(fmt, one * one, three, third, residual + 2.0**-24)
