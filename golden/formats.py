"""Binary floating-point formats: parameters, exact decoding, correct rounding, and the ulp.

The one definition of ulp error used everywhere in this project::

    error(out) = |out - y| / ulp(y),   y the exact real value,
    ulp(y)     = 2**(max(floor(log2 |y|), emin) - p + 1)

Other definitions differ at powers of two. ``ulp(y)`` has no upper limit: beyond the largest finite number
the spacing goes on as if the exponent range had no end.
"""

import math
from collections.abc import Callable
from dataclasses import astuple, dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
#: An exact value: a non-zero rational, or a float for what a rational cannot say (NaN, ±inf, ±0).
Exact = Fraction | float
#: The exponent field of a float64: what is left of its bits is the power of two of its binade.
_FLOAT64_EXPONENT = 0x7FF << 52


@dataclass(frozen=True)
class Format:
    """An IEEE 754 binary interchange format.

    ``precision`` is p, the significand length in bits with the hidden one; ``emin`` and ``emax`` are the
    exponents of the smallest and of the largest normal binade; ``prefix`` is the vendor's name prefix.
    """

    name: str
    prefix: str
    precision: int
    emin: int
    emax: int
    width: int

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """NumPy dtype of the numbers, little-endian."""
        return np.dtype(f"<f{self.width // 8}")

    @cached_property
    def bits_dtype(self) -> np.dtype[Any]:
        """NumPy dtype of the bit patterns, little-endian and unsigned."""
        return np.dtype(f"<u{self.width // 8}")

    @property
    def itemsize(self) -> int:
        """Bytes an element."""
        return self.width // 8

    @property
    def roundoff(self) -> float:
        """u = 2**-p, the largest relative error of one rounding to nearest."""
        return math.ldexp(1.0, -self.precision)

    @property
    def step(self) -> float:
        """The smallest subnormal, 2**(emin - p + 1), which is also the ulp of zero."""
        return math.ldexp(1.0, self.emin - self.precision + 1)

    @property
    def smallest_normal(self) -> float:
        """2**emin."""
        return math.ldexp(1.0, self.emin)

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return math.ldexp(2.0 - math.ldexp(1.0, 1 - self.precision), self.emax)

    @property
    def overflow_threshold(self) -> float:
        """(2 - u) * 2**emax, where what rounds to infinity begins: midway, and the number beyond is even."""
        return (self.largest + self.overflow_value) / 2

    @property
    def overflow_value(self) -> float:
        """2**(emax + 1): what an infinity counts as when its distance to a finite number is measured."""
        return math.ldexp(1.0, self.emax + 1)

    @property
    def exponent_mask(self) -> int:
        """Bits of the exponent field."""
        return ((1 << (self.width - self.precision)) - 1) << (self.precision - 1)

    @property
    def fraction_mask(self) -> int:
        """Bits of the fraction field."""
        return (1 << (self.precision - 1)) - 1

    @property
    def sign_mask(self) -> int:
        """The sign bit."""
        return 1 << (self.width - 1)

    def __reduce__(self) -> tuple[Callable[..., "Format"], tuple[object, ...]]:
        """Have its copies in other processes be their own format of that name: formats are told by identity."""
        if FORMATS.get(self.name) is self:
            return _named, (self.name,)
        return Format, astuple(self)

    def decode(self, bits: int) -> Exact:
        """Return the exact value of one bit pattern; ±0, ±inf and NaN as floats."""
        sign = -1 if bits & self.sign_mask else 1
        exponent = (bits & self.exponent_mask) >> (self.precision - 1)
        fraction = bits & self.fraction_mask
        if bits & self.exponent_mask == self.exponent_mask:
            return math.nan if fraction else sign * math.inf
        if exponent == 0 and fraction == 0:
            return math.copysign(0.0, sign)
        significand = fraction | (1 << (self.precision - 1) if exponent else 0)
        return sign * significand * two_to(max(exponent, 1) - 1 + self.emin - self.precision + 1)

    def ulp(self, value: Fraction) -> Fraction:
        """Return ulp(value) as defined at the top of this module."""
        return two_to(max(floor_log2(value) if value else self.emin, self.emin) - self.precision + 1)

    def round(self, value: Exact) -> int:
        """Return the bit pattern nearest to an exact value, ties to even (IEEE 754 section 4.3.1)."""
        if isinstance(value, float):
            if math.isnan(value):
                return self.exponent_mask | 1 << (self.precision - 2)
            sign = self.sign_mask if math.copysign(1.0, value) < 0 else 0
            return sign | (self.exponent_mask if math.isinf(value) else 0)
        sign = self.sign_mask if value < 0 else 0
        ulp = self.ulp(value)
        # round() of a Fraction is exact and goes to even on ties, which is IEEE's rule on the integer
        # significand. The encoding is monotonic: carrying into the exponent field is what overflow of the
        # significand means, up to and including the step to infinity.
        significand = round(abs(value) / ulp)
        biased = floor_log2(ulp) - (self.emin - self.precision + 1)
        return sign | min((biased << (self.precision - 1)) + significand, self.exponent_mask)

    def is_representable(self, value: Fraction) -> bool:
        """Tell whether a rational is a number of this format."""
        return value == 0 or self.decode(self.round(value)) == value

    # Arrays

    def bits(self, values: Array) -> Array:
        """Reinterpret an array of numbers as bit patterns (a view)."""
        return np.ascontiguousarray(values, dtype=self.dtype).view(self.bits_dtype)

    def from_bits(self, bits: Array) -> Array:
        """Reinterpret an array of bit patterns as numbers (a view)."""
        return np.ascontiguousarray(bits, dtype=self.bits_dtype).view(self.dtype)

    def cast(self, values: Array) -> Array:
        """Round a float64 array to this format with one direct conversion (never through a third format)."""
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            return values.astype(self.dtype)

    def ulp_of(self, magnitude: Array) -> Array:
        """Return ulp(|y|) for an array of finite values, as float64; ulp(0) is the smallest step."""
        wide = np.maximum(magnitude, np.float64(self.smallest_normal))
        binade = wide.view(np.int64) & _FLOAT64_EXPONENT
        result: Array = binade.view(np.float64) * 2.0 ** (1 - self.precision)
        return result

    def typed(self, value: float) -> float:
        """Return the number that a scalar argument has once it is stored in this format."""
        return float(self.cast(np.array([value], np.float64))[0])


FP16 = Format("fp16", "hp", precision=11, emin=-14, emax=15, width=16)
FP32 = Format("fp32", "fp", precision=24, emin=-126, emax=127, width=32)
FORMATS = {fmt.name: fmt for fmt in (FP16, FP32)}


def _named(name: str) -> Format:
    return FORMATS[name]


def two_to(exponent: int) -> Fraction:
    """Return 2**exponent as a rational."""
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)


def floor_log2(value: Fraction) -> int:
    """Return floor(log2 |value|) of a non-zero rational, exactly."""
    value = abs(value)
    estimate = value.numerator.bit_length() - value.denominator.bit_length()
    return estimate if two_to(estimate) <= value else estimate - 1


def is_power_of_two(value: float) -> bool:
    """Tell whether a finite non-zero number is ± a power of two."""
    return abs(math.frexp(value)[0]) == 0.5


def powers_of_two(values: Array) -> Array:
    """Tell for each number whether it is ± a power of two."""
    found: Array = np.abs(np.frexp(values)[0]) == 0.5
    return found


def comparable_bits(fmt: Format, output: Array) -> Array:
    """Return the bits of an output with all NaNs alike: their payload may depend on anything."""
    return np.where(np.isnan(output), fmt.bits_dtype.type(fmt.exponent_mask | 1), fmt.bits(output))
