"""The correctly rounded result of any program: double-double arithmetic with Ziv's test, rationals for the rest.

A value is hi + lo, two float64 that do not overlap, and a bound ``err`` of how far the exact value may be from it
(T. J. Dekker, Numer. Math. 18, 1971). If what is within ``err`` rounds to one number, that is the result (A. Ziv, ACM
TOMS 17(3), 1991); else, and where a comparison is as near, the element is evaluated once more in rationals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from golden.formats import Array, Exact, Format
from golden.program import Arithmetic, Program
from golden.rational import Rationals
from golden.rounding import Golden, golden_values
from golden.slices import slices

#: Relative error of one double-double operation: four times what its neglected terms add up to.
_ERROR = 2.0**-100
#: What underflow of float64 may lose at most, many times over.
_UNDERFLOW = 2.0**-1000
_SPLIT = 2.0**27 + 1


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Return a + b and what rounding it lost (Knuth, TAOCP 2, 4.2.2)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """Return a * b and what rounding it lost (Dekker); exact for numbers within 2**±480."""
    p = a * b
    c = a * _SPLIT
    high_a = c - (c - a)
    c = b * _SPLIT
    high_b = c - (c - b)
    low_a, low_b = a - high_a, b - high_b
    return p, ((high_a * high_b - p) + high_a * low_b + low_a * high_b) + low_a * low_b


@dataclass(slots=True)
class Double:
    """hi + lo, within ``err`` of the exact value; float64 arrays. NaN and infinities are in ``hi``."""

    hi: Array
    lo: Array
    err: Array


class DoubleDouble(Arithmetic[Double]):
    """Evaluates programs on float64 pairs; ``unsure``: elements of which a comparison was too near to tell."""

    def __init__(self) -> None:
        self.unsure: Array | bool = False

    #: How float64 tells what it loses; replaced where that is known before (:mod:`runners.sweeping.trace`).
    two_sum = staticmethod(two_sum)
    two_product = staticmethod(two_product)

    def numbers(self, values: Any) -> Array:
        """Return numbers as float64."""
        return np.asarray(values, np.float64)

    def load(self, values: Any) -> Double:
        """Take in numbers, exactly."""
        hi = self.numbers(values)
        return Double(hi, np.zeros(hi.shape), np.zeros(hi.shape))

    def add(self, a: Double, b: Double) -> Double:
        """Return a + b."""
        s, lost = self.two_sum(a.hi, b.hi)
        error = np.where((a.lo == 0) & (b.lo == 0), 0.0, _ERROR * (np.abs(a.hi) + np.abs(b.hi)))
        return _pair(s, lost + (a.lo + b.lo), a.err + b.err + error)

    def subtract(self, a: Double, b: Double) -> Double:
        """Return a - b."""
        return self.add(a, self.negate(b))

    def multiply(self, a: Double, b: Double) -> Double:
        """Return a * b."""
        p, lost = self.two_product(a.hi, b.hi)
        error = np.where((a.lo == 0) & (b.lo == 0), 0.0, _ERROR * np.abs(p) + _UNDERFLOW)
        size_a, size_b = np.abs(a.hi) * (1 + _ERROR), np.abs(b.hi) * (1 + _ERROR)
        spread = 2 * (size_a * b.err + size_b * a.err) + a.err * b.err
        return _pair(p, lost + (a.hi * b.lo + a.lo * b.hi), spread + error)

    def divide(self, a: Double, b: Double) -> Double:
        """Return a / b: one long-division step beyond the quotient of the leading parts."""
        q = a.hi / b.hi
        rest = self.subtract(a, self.multiply(self.load(q), Double(b.hi, b.lo, np.zeros(b.hi.shape))))
        second = (rest.hi + rest.lo) / b.hi
        exact = (rest.hi == 0) & (rest.lo == 0) & (b.lo == 0) & (a.lo == 0)
        error = np.where(exact, 0.0, 8 * _ERROR * np.abs(q) + _UNDERFLOW)
        spread = 2 * (a.err + np.abs(q) * b.err) / np.maximum(np.abs(b.hi) * (1 - _ERROR) - b.err, 0)
        second = np.where(np.isfinite(q) & np.isfinite(b.hi), second, 0.0)  # nothing is left of x / infinity
        return _pair(q, second, np.where((a.err == 0) & (b.err == 0), 0.0, spread) + error)

    def reciprocal(self, a: Double) -> Double:
        """Return 1 / a."""
        return self.divide(self.load(np.ones(a.hi.shape)), a)

    def negate(self, a: Double) -> Double:
        """Return -a."""
        return Double(-a.hi, -a.lo, a.err)

    def clamp(self, a: Double, limit: Double) -> Double:
        """Return a between -limit and limit."""
        return self.select(a, limit, limit, self.select(self.negate(limit), a, self.negate(limit), a))

    def select(self, a: Double, b: Double, then: Double, otherwise: Double) -> Double:
        """Return ``then`` where a > b."""
        apart = self.subtract(a, b)
        distance = apart.hi + apart.lo
        infinite = np.isinf(a.hi) | np.isinf(b.hi)
        self.unsure = self.unsure | (~infinite & (apart.err > 0) & (np.abs(distance) <= 2 * apart.err))
        above = np.where(infinite, a.hi > b.hi, distance > 0)
        return Double(*(np.where(above, x, y) for x, y in zip(_fields(then), _fields(otherwise), strict=True)))


def correctly_rounded(fmt: Format, program: Program, values: Sequence[Array]) -> Golden:
    """Return what a program gives exactly, correctly rounded; ``values``: of its variables, numbers of ``fmt``."""
    n = len(values[0])
    golden = Golden(np.empty(n, fmt.dtype), np.empty(n, np.float32))
    for at in slices(n):
        with np.errstate(all="ignore"):
            m = DoubleDouble()
            found = program(m, *(m.load(v[at]) for v in values))
            value, settled = _rounded(fmt, found)
            exact = found.hi.copy()
            for k in np.flatnonzero(~settled | m.unsure):
                decoded = (fmt.decode(int(fmt.bits(v[at][k : k + 1].astype(fmt.dtype))[0])) for v in values)
                precise: Exact = program(Rationals(), *decoded)
                value[k] = fmt.from_bits(np.array([fmt.round(precise)], fmt.bits_dtype))[0]
                exact[k] = float(precise) if not isinstance(precise, Fraction) or abs(precise) < 2**1023 else np.inf
            golden.value[at], golden.residual[at] = golden_values(fmt, value, exact)
    return golden


def _rounded(fmt: Format, a: Double) -> tuple[Array, Array]:
    """Return values correctly rounded, and for which of them that is certain.

    hi is hi + lo correctly rounded to float64, and a midpoint of the format is a float64: only where hi is one does lo
    decide.
    """
    nearest = fmt.cast(a.hi)
    reach = np.abs(a.lo) + a.err * (1 + 2.0**-50)
    far = fmt.cast(a.hi - 2 * reach) == fmt.cast(a.hi + 2 * reach)
    up, down = fmt.cast(np.nextafter(a.hi, np.inf)), fmt.cast(np.nextafter(a.hi, -np.inf))
    moved = np.where(a.lo > 0, up, np.where(a.lo < 0, down, nearest))
    exact = a.err == 0
    return np.where(exact, moved, nearest), far | exact | ~np.isfinite(a.hi)


def _fields(a: Double) -> tuple[Array, Array, Array]:
    return a.hi, a.lo, a.err


def _pair(hi: Array, lo: Array, err: Array) -> Double:
    """Make the parts not overlap; infinities and NaN stand alone."""
    finite = np.isfinite(hi)
    s = np.where(lo == 0, hi, hi + lo)  # the sign of a zero stays
    rest = lo - (s - hi)
    return Double(np.where(finite, s, hi), np.where(finite, rest, 0.0), np.where(finite, err, 0.0))
