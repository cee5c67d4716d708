"""Correct rounding of float64 approximations, and what rounding removed."""

import math
from typing import NamedTuple

import numpy as np

from golden.formats import Array, Format

#: Residuals smaller than this are stored as this, so that float32's underflow cannot make them zero.
TINY_RESIDUAL = 2.0**-126


class Golden(NamedTuple):
    """Correctly rounded outputs with what rounding removed.

    ``value`` has the entry point's dtype; ``residual`` is ``(exact - value) / ulp(exact)`` as float32, wrong by
    at most 2**-25 in itself, and NaN where the exact value is NaN or infinite. An infinity that is a rounded
    finite value counts as 2**(emax + 1). Both are flat, in C order.
    """

    value: Array
    residual: Array


def golden_values(fmt: Format, value: Array, exact: Array) -> Golden:
    """Attach residuals to correctly rounded values.

    ``value`` has the format's dtype; ``exact`` is float64 within a relative 2**-51 of the exact value and
    zero or non-finite only where the exact value is. In ulp that is at most 2**-27 for fp32, so that the residual
    stored as float32 is wrong by less than 2**-25.
    """
    with np.errstate(all="ignore"):
        finite = np.isfinite(exact)
        wide = value.astype(np.float64)
        wide = np.where(np.isinf(wide) & finite, np.copysign(fmt.overflow_value, wide), wide)
        removed = exact - wide
        ulps = removed / fmt.ulp_of(np.where(finite, np.abs(exact), 0.0))
        ulps = np.where(removed != 0, np.copysign(np.maximum(np.abs(ulps), TINY_RESIDUAL), ulps), 0.0)
        # One NaN for all: payload and sign of a computed NaN differ between machines.
        value = np.where(np.isnan(value), fmt.dtype.type(np.nan), value)
        return Golden(value, np.where(finite, ulps, np.nan).astype(np.float32))


def round_quotient_of_three(x1: Array, x2: Array, dy: Array, beta: float, fmt: Format, q: Array) -> Array:
    """Round clamp(x1 - x2) * dy / beta to fp32 by Ziv's test, deciding exactly where float64 cannot.

    ``q`` is the float64 evaluation: three roundings, so its relative error is below 3.01 * 2**-53. If the two ends
    of q(1 ± 2**-50), which is more than twice as wide, round to the same number, that number is the correctly
    rounded value (A. Ziv, ACM TOMS 17(3), 1991). Elsewhere the two ends are neighbours and the sign of
    (x1 - x2) * dy - m * beta, m their midpoint, decides; see :func:`_sign`.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        low, high = fmt.cast(q * (1 - 2.0**-50)), fmt.cast(q * (1 + 2.0**-50))
    undecided = np.flatnonzero((low != high) & np.isfinite(q))
    if undecided.size == 0:
        return low
    a, b = low[undecided].astype(np.float64), high[undecided].astype(np.float64)
    b = np.where(np.isinf(b), np.copysign(fmt.overflow_value, b), b)
    midpoint = (a + b) / 2  # exact: one bit more than the format has
    sign = _sign(x1[undecided], x2[undecided], dy[undecided], beta, midpoint) * np.sign(midpoint)
    even = (fmt.bits(low[undecided]) & 1) == 0
    take_low = (sign < 0) | ((sign == 0) & even)
    result = low.copy()
    result[undecided] = np.where(take_low, low[undecided], high[undecided])
    return result


def _sign(x1: Array, x2: Array, dy: Array, beta: float, midpoint: Array) -> Array:
    """Return the sign of (x1 - x2) * dy - midpoint * beta exactly, for fp32 numbers held in float64.

    x1 - x2 = s + e by TwoSum (Knuth, TAOCP 2, 4.2.2), e having at most 24 bits, being a tail of the smaller
    operand. Veltkamp's splitting with 2**24 + 1 gives s = h + l with 29 and 24 bits. Then h*dy, l*dy, e*dy (at most
    53, 48, 48 bits) and midpoint*beta (49 bits) are exact in float64, and :func:`math.fsum` returns the correctly
    rounded sum of the four, whose sign is exact. Nothing under- or overflows: all are within 2**±430.
    """
    s = x1 - x2
    t = s - x1
    e = (x1 - (s - t)) + (-x2 - t)
    scaled = s * (2.0**24 + 1)
    h = scaled - (scaled - s)
    terms = np.stack([h * dy, (s - h) * dy, e * dy, -midpoint * beta], axis=1)
    return np.array([math.copysign(1.0, v) if (v := math.fsum(row)) else 0.0 for row in terms.tolist()])
