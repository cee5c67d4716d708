"""Formats and exact arithmetic against NumPy: decoding, rounding at every midpoint, ulp, special values."""

import itertools
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from golden import exact as ex
from golden.formats import FORMATS, FP16, FP32, Array, Exact, Format, floor_log2, is_power_of_two, two_to

BOTH = pytest.mark.parametrize("fmt", FORMATS.values(), ids=list(FORMATS))
#: Smaller than any distance that matters here: half of the smallest fp32 subnormal is 2**-150.
TINY = two_to(-200)


def sampled_patterns(fmt: Format) -> Array:
    """All patterns of fp16; of fp32 a random sample, and the fractions next to every change of exponent."""
    if fmt is FP16:
        return np.arange(1 << 16, dtype=np.uint16)
    edges = np.array([0, 1, 2, fmt.fraction_mask - 1, fmt.fraction_mask], np.uint32)
    exponents = np.arange(512, dtype=np.uint32) << np.uint32(fmt.precision - 1)
    random = np.random.Generator(np.random.Philox(2)).integers(0, 1 << 32, 20000, np.uint32)
    return np.concatenate([(exponents[:, None] | edges).reshape(-1), random])


def positive_numbers(fmt: Format) -> list[int]:
    """Patterns of positive finite numbers: all of fp16, those around every binade of fp32 and some others."""
    patterns = np.unique(sampled_patterns(fmt))
    return patterns[patterns < fmt.exponent_mask].tolist()


def value_of(fmt: Format, pattern: int) -> Fraction:
    """The value of a positive pattern, as if the exponent range had no end: infinity is 2**(emax + 1)."""
    exponent, fraction = pattern >> (fmt.precision - 1), pattern & fmt.fraction_mask
    step = two_to(fmt.emin - fmt.precision + 1)
    return (fraction if exponent == 0 else (fraction | fmt.fraction_mask + 1) << (exponent - 1)) * step


@BOTH
def test_decode_agrees_with_numpy(fmt: Format) -> None:
    patterns = sampled_patterns(fmt)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        numbers = fmt.from_bits(patterns).astype(np.float64)
    for pattern, number in zip(patterns.tolist(), numbers.tolist(), strict=True):
        decoded = fmt.decode(pattern)
        if isinstance(decoded, Fraction):
            assert decoded != 0 and decoded == Fraction(number), hex(pattern)
        else:
            assert np.float64(decoded).tobytes() == np.float64(number).tobytes() or (
                math.isnan(decoded) and math.isnan(number)
            ), hex(pattern)


@BOTH
def test_round_returns_what_decode_was_given(fmt: Format) -> None:
    for pattern in sampled_patterns(fmt).tolist():
        decoded = fmt.decode(pattern)
        expected = fmt.exponent_mask | 1 << (fmt.precision - 2) if ex.is_nan(decoded) else pattern
        assert fmt.round(decoded) == expected, hex(pattern)
        if isinstance(decoded, Fraction):
            assert fmt.is_representable(decoded)


@pytest.mark.parametrize(
    "fmt", [pytest.param(FP16, id="fp16", marks=pytest.mark.confirm), pytest.param(FP32, id="fp32")]
)
def test_round_at_every_midpoint(fmt: Format) -> None:
    """Between any two neighbours, infinity included: the tie goes to even, any offset to its side."""
    for low in positive_numbers(fmt):
        midpoint = (value_of(fmt, low) + value_of(fmt, low + 1)) / 2
        even = low + (low & 1)
        for sign_bit, sign in ((0, 1), (fmt.sign_mask, -1)):
            rounded = [fmt.round(sign * (midpoint + offset)) for offset in (-TINY, 0, TINY)]
            assert rounded == [sign_bit | low, sign_bit | even, sign_bit | low + 1], hex(low)
        assert not fmt.is_representable(midpoint)


@BOTH
def test_round_agrees_with_numpy(fmt: Format) -> None:
    """NumPy's direct cast of float64, over random numbers of every magnitude in and around the range."""
    source = np.random.Generator(np.random.Philox(3))
    exponents = source.integers(fmt.emin - fmt.precision - 3, fmt.emax + 4, 20000)
    numbers = np.ldexp(source.uniform(-1, 1, 20000), exponents)
    cast = fmt.bits(fmt.cast(numbers)).tolist()
    assert [fmt.round(Fraction(x)) for x in numbers.tolist()] == cast
    # Short significands make ties.
    short = np.ldexp(source.integers(1, 1 << (fmt.precision + 2), 20000).astype(np.float64), exponents)
    assert [fmt.round(Fraction(x)) for x in short.tolist()] == fmt.bits(fmt.cast(short)).tolist()


@BOTH
def test_round_far_beyond_the_range(fmt: Format) -> None:
    assert fmt.round(two_to(5000)) == fmt.exponent_mask
    assert fmt.round(-two_to(5000)) == fmt.sign_mask | fmt.exponent_mask
    assert fmt.round(TINY) == 0 and fmt.round(-TINY) == fmt.sign_mask
    assert not fmt.is_representable(two_to(fmt.emax + 1)) and not fmt.is_representable(TINY)
    assert fmt.is_representable(Fraction(0))


@BOTH
def test_ulp_is_the_definition(fmt: Format) -> None:
    """At each power of two and next to it; below emin the ulp stays, above emax it goes on growing."""
    p = fmt.precision
    for exponent in range(fmt.emin - p - 2, fmt.emax + 4):
        for factor, floor in ((1, exponent), (1 - two_to(-p), exponent - 1), (2 - two_to(-p), exponent)):
            y = two_to(exponent) * factor
            expected = two_to(max(floor, fmt.emin) - p + 1)
            assert fmt.ulp(y) == fmt.ulp(-y) == expected
            assert fmt.ulp_of(np.array([float(y)]))[0] == expected
    assert fmt.ulp(Fraction(0)) == Fraction(fmt.step) == Fraction(fmt.ulp_of(np.zeros(1))[0])


@BOTH
def test_ulp_is_the_spacing_inside_a_binade(fmt: Format) -> None:
    for pattern in positive_numbers(fmt)[:-1]:
        value = value_of(fmt, pattern)
        assert fmt.ulp(value) == value_of(fmt, pattern + 1) - value, hex(pattern)


@BOTH
def test_named_numbers_agree_with_numpy(fmt: Format) -> None:
    facts = np.finfo(fmt.dtype)
    assert fmt.largest == float(facts.max) and fmt.smallest_normal == float(facts.smallest_normal)
    assert fmt.step == float(facts.smallest_subnormal) and 2 * fmt.roundoff == float(facts.eps)
    assert fmt.overflow_value == 2.0 ** (fmt.emax + 1) == float(value_of(fmt, fmt.exponent_mask))
    assert fmt.itemsize == facts.dtype.itemsize and fmt.width == 8 * fmt.itemsize
    assert fmt.sign_mask | fmt.exponent_mask | fmt.fraction_mask == (1 << fmt.width) - 1
    assert fmt.sign_mask & fmt.exponent_mask == fmt.exponent_mask & fmt.fraction_mask == 0


def test_bits_and_numbers_are_views_of_each_other() -> None:
    patterns = np.arange(1 << 16, dtype=np.uint16)
    assert np.array_equal(FP16.bits(FP16.from_bits(patterns)), patterns)
    assert FP16.dtype == np.dtype("<f2") and FP32.bits_dtype == np.dtype("<u4")


def test_a_cast_rounds_once() -> None:
    """One and a half ulp and a little, which a detour through fp32 would round away and then to even."""
    y = 1 + 2.0**-11 + 2.0**-40
    assert float(FP16.cast(np.array([y]))[0]) == 1 + 2.0**-10
    assert float(FP16.cast(FP32.cast(np.array([y])))[0]) == 1
    assert FP16.typed(0.1) == float.fromhex("0x1.998p-4") and FP32.typed(0.1) == float(np.float32(0.1))


def test_floor_log2_is_exact() -> None:
    for exponent in range(-300, 301):
        power = two_to(exponent)
        assert floor_log2(power) == floor_log2(-power) == exponent
        assert floor_log2(power * (1 - TINY)) == exponent - 1 and floor_log2(power * (1 + TINY)) == exponent
        # Numerator and denominator of one bit length, and a power of two missed by next to nothing.
        assert floor_log2(power * Fraction(5, 7)) == exponent - 1 and floor_log2(power * Fraction(7, 5)) == exponent
        assert floor_log2(power * (1 - Fraction(1, 3**150))) == exponent - 1
        assert is_power_of_two(float(power)) and not is_power_of_two(float(power) * 3)


# Exact arithmetic

SPECIALS = (math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -1.0, 3.5, -3.5, 2.0**-60, -(2.0**60))
OPERATIONS: dict[str, tuple[Callable[[Exact, Exact], Exact], np.ufunc]] = {
    "subtract": (ex.subtract, np.subtract),
    "multiply": (ex.multiply, np.multiply),
    "divide": (ex.divide, np.divide),
}


def exactly(number: float) -> Exact:
    """The exact value as the module holds it: rational unless it is NaN, infinite or zero."""
    return number if number == 0 or not math.isfinite(number) else Fraction(number)


@pytest.mark.parametrize("name", OPERATIONS)
def test_special_values_follow_ieee(name: str) -> None:
    ours, numpys = OPERATIONS[name]
    for a, b in itertools.product(SPECIALS, SPECIALS):
        with np.errstate(all="ignore"):
            expected = float(numpys(np.float64(a), np.float64(b)))
        result = ours(exactly(a), exactly(b))
        if math.isnan(expected):
            assert ex.is_nan(result), (a, b)
        elif expected == 0 or math.isinf(expected):
            assert isinstance(result, float), (a, b)
            assert np.float64(result).tobytes() == np.float64(expected).tobytes(), (a, b)
        else:
            # Finite and not zero: exact, so NumPy's result is its rounding to float64.
            assert isinstance(result, Fraction) and float(result) == expected, (a, b)


def test_rational_results_are_exact() -> None:
    a, b = Fraction(1, 3), Fraction(1, 3) + TINY
    assert ex.subtract(a, b) == -TINY
    assert ex.multiply(a, b) == a * b and ex.divide(a, b) == a / b
    assert isinstance(ex.subtract(a, a), float) and not ex.is_negative(ex.subtract(a, a))
    assert isinstance(ex.subtract(-a, -a), float) and not ex.is_negative(ex.subtract(-a, -a))


@pytest.mark.parametrize("value", SPECIALS)
def test_predicates_and_negation(value: float) -> None:
    held = exactly(value)
    assert ex.is_nan(held) == math.isnan(value) and ex.is_infinite(held) == math.isinf(value)
    if not math.isnan(value):
        assert ex.is_negative(held) == (math.copysign(1, value) < 0)
        assert ex.is_negative(ex.negate(held)) != ex.is_negative(held)
    assert ex.is_nan(ex.negate(held)) == math.isnan(value)
