"""Reusable samplers of floating-point numbers; each returns an array of the format's dtype."""

from fractions import Fraction

import numpy as np

from generators.stream import Stream
from golden.formats import Array, Format
from golden.slices import slices


def uniform_bits(stream: Stream, fmt: Format, n: int, limit: int | None = None) -> Array:
    """Sample finite numbers by their bit patterns: every binade, subnormals included, equally likely.

    ``limit`` keeps magnitudes within 2**-limit .. 2**limit (and drops subnormals and zero).
    """
    if limit is not None:
        return log_uniform(stream, fmt, n, -limit, limit)
    largest = fmt.exponent_mask - 1  # bit pattern of the largest finite number
    patterns, signs = stream.ahead(n), stream.ahead(n)
    result = np.empty(n, fmt.bits_dtype)
    for at in slices(n):
        size = at.stop - at.start
        result[at] = patterns.integers(size, 0, largest + 1) | signs.integers(size, 0, 2) << (fmt.width - 1)
    return fmt.from_bits(result)


def log_uniform(stream: Stream, fmt: Format, n: int, low: int, high: int, signed: bool = True) -> Array:
    """Sample magnitudes in [2**low, 2**high) with uniform exponents and uniform significands."""
    significands, exponents = stream.ahead(n), stream.ahead(n)
    signs = stream.ahead(n) if signed else None
    result = np.empty(n, fmt.dtype)
    for at in slices(n):
        size = at.stop - at.start
        # Put together as the bits of a float64: no arithmetic, and the only rounding is the cast's.
        bits = significands.integers(size, 0, 1 << (fmt.precision - 1)) << (53 - fmt.precision)
        bits |= exponents.integers(size, low, high) + 1023 << 52
        if signs is not None:
            bits |= signs.integers(size, 0, 2) << 63
        result[at] = fmt.cast(bits.view(np.float64))
    return result


def normal(stream: Stream, fmt: Format, n: int, scale: float = 1.0) -> Array:
    """Sample nearly normal numbers of standard deviation ``scale``, limited to the finite range."""
    return fmt.cast(np.clip(stream.normal(n) * scale, -fmt.largest, fmt.largest))


def subnormals(stream: Stream, fmt: Format, n: int) -> Array:
    """Sample non-zero subnormals of either sign, uniformly."""
    bits = stream.integers(n, 1, fmt.fraction_mask + 1).astype(fmt.bits_dtype)
    signs = (stream.integers(n, 0, 2) << (fmt.width - 1)).astype(fmt.bits_dtype)
    return fmt.from_bits(bits | signs)


def neighbours(fmt: Format, values: Array, steps: Array | int) -> Array:
    """Return the numbers ``steps`` places away from zero (negative: towards zero) from non-zero finite ones.

    Stops at zero and at infinity.
    """
    bits = fmt.bits(np.asarray(values, fmt.dtype)).astype(np.int64)
    sign = bits & fmt.sign_mask
    moved = np.clip((bits & ~fmt.sign_mask) + steps, 0, fmt.exponent_mask)
    return fmt.from_bits((moved | sign).astype(fmt.bits_dtype))


def non_finite(stream: Stream, fmt: Format, n: int) -> Array:
    """Sample NaNs of every payload, quiet and signalling, and in a quarter infinities; of either sign.

    Half of the payloads are one bit: what code that tells NaNs apart looks at.
    """
    bit = np.left_shift(1, stream.integers(n, 0, fmt.precision - 1))
    payloads = np.where(stream.integers(n, 0, 2) == 0, bit, stream.integers(n, 1, fmt.fraction_mask + 1))
    payloads = np.where(stream.integers(n, 0, 4) == 0, 0, payloads)
    bits = payloads | fmt.exponent_mask | stream.integers(n, 0, 2) << (fmt.width - 1)
    return fmt.from_bits(bits.astype(fmt.bits_dtype))


def specials(fmt: Format, extreme: bool) -> Array:
    """Return NaNs (a positive, a negative one with payload, a signalling one), ±inf, ±0, ±1.

    ``extreme`` adds ± the largest, the smallest normal and the smallest subnormal number.
    """
    quiet = fmt.exponent_mask | 1 << (fmt.precision - 2)
    one = fmt.round(Fraction(1))
    patterns = [quiet, fmt.sign_mask | quiet | 5, fmt.exponent_mask | 1]
    positive = [fmt.exponent_mask, 0, one]
    if extreme:
        positive += [fmt.exponent_mask - 1, fmt.fraction_mask + 1, 1]
    patterns += positive + [fmt.sign_mask | p for p in positive]
    return fmt.from_bits(np.array(patterns, fmt.bits_dtype))
