"""Arithmetic on exact values (:data:`golden.formats.Exact`): rationals, with IEEE's rules for the rest.

Finite non-zero results are exact rationals; NaN, infinities and signed zeros follow IEEE 754 sections 6.1 to
6.3 under rounding to nearest (a difference of equal numbers is +0).
"""

import math
from fractions import Fraction

from golden.formats import Exact


def is_nan(value: Exact) -> bool:
    """Tell whether a value is NaN."""
    return isinstance(value, float) and math.isnan(value)


def is_infinite(value: Exact) -> bool:
    """Tell whether a value is +inf or -inf."""
    return isinstance(value, float) and math.isinf(value)


def is_negative(value: Exact) -> bool:
    """Return the sign of a value that is not NaN; -0 counts as negative."""
    return math.copysign(1.0, value) < 0 if isinstance(value, float) else value < 0


def negate(value: Exact) -> Exact:
    """Return -value."""
    return -value


def subtract(a: Exact, b: Exact) -> Exact:
    """Return a - b."""
    if isinstance(a, float) and isinstance(b, float):
        return a - b
    if is_nan(a) or is_infinite(a):
        return a
    if is_nan(b) or is_infinite(b):
        return -b
    return Fraction(a) - Fraction(b) or 0.0


def multiply(a: Exact, b: Exact) -> Exact:
    """Return a * b."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a * b
    return _as_float(a) * _as_float(b)


def divide(a: Exact, b: Exact) -> Exact:
    """Return a / b; division by zero gives a signed infinity, 0/0 gives NaN."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a / b
    x, y = _as_float(a), _as_float(b)
    if y == 0:
        return math.nan if x == 0 or math.isnan(x) else math.copysign(math.inf, x) * math.copysign(1.0, y)
    return x / y


def _as_float(value: Exact) -> float:
    # One partner is NaN, an infinity or a zero, so only the sign of a finite non-zero one matters.
    return value if isinstance(value, float) else math.copysign(1.0, value.numerator)
