"""Inputs by search: each has its property by exact rationals, and in fp16 the search is held against all inputs."""

from collections.abc import Callable
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

from generators.extremal import Search, error, telling_apart, worst, worst_differences, worst_products
from generators.stream import Stream
from golden.errors import UsageError
from golden.formats import FORMATS, FP16, Array, Format
from golden.scaled_product import ORDERS
from golden.working import OrdinaryPrecision, WorkingPrecision
from tests.mutants.bounds import figure

BOTH = pytest.mark.parametrize("fmt", FORMATS.values(), ids=list(FORMATS))
EVERY_ORDER = pytest.mark.parametrize("order", ORDERS)
DIVISORS = (0.1, 1 / 3, 0.7, 3.0, 10.5)


def rounded(fmt: Format, exact: Fraction) -> Fraction:
    value = fmt.decode(fmt.round(exact))
    assert isinstance(value, Fraction)
    return value


#: The orders once more, in rationals.
STEPS: dict[str, Callable[[Callable[[Fraction], Fraction], Fraction, Fraction, Fraction], Fraction]] = {
    "formula": lambda fl, a, b, s: fl(fl(a / s) * b),
    "product-first": lambda fl, a, b, s: fl(fl(a * b) / s),
    "gradient-first": lambda fl, a, b, s: fl(fl(b / s) * a),
    "reciprocal": lambda fl, a, b, s: fl(fl(a * fl(1 / s)) * b),
}


def evaluated(fmt: Format, order: str, s: float, a: Fraction, b: Fraction) -> Fraction:
    return STEPS[order](lambda x: rounded(fmt, x), a, b, Fraction(s))


def fractions(values: Array) -> list[Fraction]:
    return [Fraction(float(v)) for v in values]


def all_significands(fmt: Format, s: float) -> tuple[Array, Array]:
    """Every a in the binade below that of s, with every b in [1, 2)."""
    steps = 1 + np.arange(1 << (fmt.precision - 1)) * 2.0 ** (1 - fmt.precision)
    a, b = fmt.cast(steps * 2.0 ** (np.frexp(s)[1] - 2)), fmt.cast(steps)
    return np.repeat(a, len(b)), np.tile(b, len(a))


@BOTH
@EVERY_ORDER
@pytest.mark.parametrize("divisor", DIVISORS)
def test_worst_products(fmt: Format, order: str, divisor: float) -> None:
    s = fmt.typed(divisor)
    a, b = worst_products(Stream(f"test_extremal/{order}"), fmt, s, order, 64, 1024)
    found = error(fmt, s, order, b, a)
    assert len(a) == 64 and len({(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)}) == 64
    for x, y, ulps in zip(fractions(a), fractions(b), found.tolist(), strict=True):
        exact = x * y / Fraction(s)
        assert Fraction(s) / 4 < x < s and 1 <= y < 2
        assert abs(abs(evaluated(fmt, order, s, x, y) - exact) / fmt.ulp(exact) - Fraction(ulps)) < Fraction(1, 1 << 27)
    stream = Stream("test_extremal/random")
    grid = [1 + stream.integers(50_000, 0, 1 << (fmt.precision - 1)) * 2.0 ** (1 - fmt.precision) for _ in range(2)]
    many = error(fmt, s, order, fmt.cast(grid[0]), fmt.cast(grid[1] * 2.0 ** (np.frexp(s)[1] - 2)))
    # Every one is among the worst 0.2 % of what is drawn at random.
    assert found.min() >= np.quantile(many, 0.998)
    assert np.array_equal(found, np.sort(found)[::-1]) and found.max() < figure(fmt, order, False)
    if fmt is FP16:
        whole = error(fmt, s, order, *reversed(all_significands(fmt, s)))
        assert whole.max() >= found.max() >= 0.96 * whole.max()


@BOTH
@EVERY_ORDER
@pytest.mark.parametrize("divisor", [*DIVISORS, 0.5])
def test_worst_differences(fmt: Format, order: str, divisor: float) -> None:
    s = fmt.typed(divisor)
    x1, x2, b = worst_differences(Stream(f"test_extremal/{order}"), fmt, s, order, 64, 1024)
    found = error(fmt, s, order, b, x1, x2)
    inexact, stream = 0, Stream("test_extremal/random")
    for p, q, y, ulps in zip(fractions(x1), fractions(x2), fractions(b), found.tolist(), strict=True):
        exact = (p - q) * y / Fraction(s)
        result = evaluated(fmt, order, s, rounded(fmt, p - q), y)
        inexact += not fmt.is_representable(p - q)
        assert 0 < p - q < s
        assert abs(abs(result - exact) / fmt.ulp(exact) - Fraction(ulps)) < Fraction(1, 1 << 27)
    assert inexact >= 60
    steps = [1 + stream.integers(50_000, 0, 1 << (fmt.precision - 1)) * 2.0 ** (1 - fmt.precision) for _ in range(3)]
    top = 2.0 ** (np.frexp(s)[1] - 1)
    many = error(fmt, s, order, *(fmt.cast(v) for v in (steps[0], steps[1] * top / 4, -steps[2] * top / 16)))
    assert found.min() >= np.quantile(many, 0.998)
    a, c = worst_products(Stream(f"test_extremal/{order}"), fmt, s, order, 1)
    limit = 1.5 if divisor == 0.5 else figure(fmt, order, True)
    assert error(fmt, s, order, c, a).max() < found.max() < limit


@BOTH
@pytest.mark.parametrize(("first", "second"), list(combinations(ORDERS, 2)))
@pytest.mark.parametrize("divisor", DIVISORS)
def test_telling_apart(fmt: Format, first: str, second: str, divisor: float) -> None:
    s = fmt.typed(divisor)
    a, b = telling_apart(Stream("test_extremal"), fmt, s, first, second, 50)
    assert len(a) == len(b) == 50
    for x, y in zip(fractions(a), fractions(b), strict=True):
        assert evaluated(fmt, first, s, x, y) != evaluated(fmt, second, s, x, y)
        assert Fraction(s) / 4 < x < s and 1 <= y < 2
    swapped = telling_apart(Stream("test_extremal"), fmt, s, second, first, 50)
    assert all(np.array_equal(p, q) for p, q in zip((a, b), swapped, strict=True))


def test_what_cannot_be_told_apart() -> None:
    with pytest.raises(UsageError, match=r"formula and reciprocal differ on no ordinary input of divisor 0\.5"):
        telling_apart(Stream("x"), FP16, 0.5, "formula", "reciprocal", 1)
    with pytest.raises(UsageError, match="differ on no ordinary input"):
        telling_apart(Stream("x"), FP16, 0.7, "formula", "formula", 1)
    with pytest.raises(UsageError, match="did you mean 'formula'"):
        worst_products(Stream("x"), FP16, 0.7, "formul", 1)


def test_the_same_stream_finds_the_same() -> None:
    found = [worst_differences(Stream("same"), FP16, 0.7, "formula", 8) for _ in range(2)]
    other = worst_differences(Stream("other"), FP16, 0.7, "formula", 8)
    assert all(np.array_equal(p, q) for p, q in zip(*found, strict=True))
    assert not np.array_equal(found[0][0], other[0])


@BOTH
def test_ordinary_arithmetic_gives_the_same_bits(fmt: Format) -> None:
    """In fp16 with every pair of significands, differences of neighbouring binades and of equal ones included."""
    if fmt is FP16:
        a, b = all_significands(fmt, 4.0)
    else:
        stream = Stream("ordinary")
        a, b = (fmt.from_bits(stream.integers(1 << 20, 0x3F800000, 0x40000000).astype(np.uint32)) for _ in range(2))
    plain, ordinary = WorkingPrecision(fmt), OrdinaryPrecision(fmt)
    for x, y in ((a, b), (-a, b), (a, -b), (a * fmt.dtype.type(8), b)):
        wide = ordinary.load(x), ordinary.load(y)
        for name in ("subtract", "multiply", "divide"):
            expected, found = getattr(plain, name)(x, y), getattr(ordinary, name)(*wide)
            assert found.dtype == np.float32
            assert np.array_equal(expected.astype(np.float32).view(np.int32), found.view(np.int32))
        assert np.array_equal(wide[0], x) and np.array_equal(wide[1], y)  # not worked on in place


@BOTH
@pytest.mark.parametrize("divisor", [0.1, 10.5])
def test_searches_together_find_what_they_find_one_by_one(fmt: Format, divisor: float) -> None:
    s = fmt.typed(divisor)
    searches = [Search(order, rounded, 5 + rounded) for order in ORDERS for rounded in (False, True)]
    searches += searches[:3]  # orders come again, and beside others
    together, alone = Stream("searches"), Stream("searches")
    for search, found in zip(searches, worst(together, fmt, s, searches, 64), strict=True):
        [expected] = worst(alone, fmt, s, [search], 64)
        assert [len(column) for column in found] == [search.n] * 3
        assert all(np.array_equal(p, q) for p, q in zip(found, expected, strict=True))
        assert (found[1] != 0).all() if search.rounded else (found[1] == 0).all()
        ulps = error(fmt, s, search.order, found[2], found[0], found[1])
        assert np.array_equal(ulps, np.sort(ulps)[::-1])
    assert together.words(1) == alone.words(1)
