"""Arithmetic of a working precision: what programs of an operator are evaluated in."""

from collections.abc import Callable

import numpy as np

from golden.formats import FORMATS, Array, Format


class Arithmetic:
    """Working-precision arithmetic: every operation rounds to ``fmt``, once, to nearest even.

    ``flush`` replaces subnormal operands and results by zeros of the same sign, as a processor in
    flush-to-zero and denormals-are-zero mode does. NumPy's float16 operations compute in float32 and round
    once more; for one of + - * / that is correct rounding, because 24 >= 2 * 11 + 2 (Figueroa 1995).
    """

    def __init__(self, fmt: Format, flush: bool = False) -> None:
        self.fmt = fmt
        self.flush = flush

    def subtract(self, a: Array, b: Array) -> Array:
        """Return a - b."""
        return self._apply(np.subtract, a, b)

    def multiply(self, a: Array, b: Array) -> Array:
        """Return a * b."""
        return self._apply(np.multiply, a, b)

    def divide(self, a: Array, b: Array) -> Array:
        """Return a / b."""
        return self._apply(np.divide, a, b)

    def load(self, values: Array | float) -> Array:
        """Convert operands to the working format; exact unless they are subnormal and flushed."""
        loaded = np.asarray(values, self.fmt.dtype)
        return self._flushed(loaded) if self.flush else loaded

    def _apply(self, operation: Callable[[Array, Array], Array], a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            result = np.asarray(operation(a, b))
        return self._flushed(result) if self.flush else result

    def _flushed(self, values: Array) -> Array:
        tiny = np.abs(values) < self.fmt.dtype.type(self.fmt.smallest_normal)
        return np.where(tiny, np.copysign(self.fmt.dtype.type(0), values), values)


class OrdinaryArithmetic(Arithmetic):
    """The same on numbers held in float32, for results that are normal numbers: many times NumPy's speed in fp16.

    A float32 operation rounded once more, to 11 bits, is correctly rounded as said for :class:`Arithmetic`. Adding half
    a unit of the last bit that stays, less one of float32 unless that bit is odd, carries into it exactly where
    rounding to nearest even goes up.
    """

    def __init__(self, fmt: Format) -> None:
        super().__init__(fmt)  # nothing to flush
        self._dropped = FORMATS["fp32"].precision - fmt.precision

    def load(self, values: Array | float) -> Array:
        """Convert numbers of the format, exactly."""
        return np.asarray(values, np.float32)

    def _apply(self, operation: Callable[[Array, Array], Array], a: Array, b: Array) -> Array:
        result = np.asarray(operation(a, b))
        if self._dropped:
            bits = result.view(np.int32)
            bits += ((bits >> self._dropped) & 1) + (1 << (self._dropped - 1)) - 1
            bits &= -1 << self._dropped
        return result
