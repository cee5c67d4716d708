"""Arithmetic of a working precision: what a kernel computes, operation by operation."""

from collections.abc import Callable
from typing import Any

import numpy as np

from golden.formats import FORMATS, Array, Format, powers_of_two
from golden.program import Arithmetic
from golden.terms import Flush, Operation, PlatformArithmetic

#: Says for each operation, by its number and the shape of its result, which elements come out as high as they may.
Choice = Callable[[int, tuple[int, ...]], Array]


class WorkingPrecision(Arithmetic[Array]):
    """Every operation rounds to ``fmt``, once, to nearest even; subnormals are flushed as ``flush`` says.

    NumPy's float16 operations compute in float32 and round once more; for one of + - * / that is correct rounding,
    because 24 >= 2 * 11 + 2 (S. A. Figueroa, "When is double rounding innocuous?", 1995).

    With ``choice``, operations are done as badly as ``platform`` lets them: each result is the lowest or the highest
    that its unit may give.
    """

    def __init__(
        self,
        fmt: Format,
        flush: Flush = Flush.NONE,
        platform: PlatformArithmetic | None = None,
        choice: Choice | None = None,
    ) -> None:
        self.fmt, self.flush = fmt, flush
        self._platform, self._choice = platform or PlatformArithmetic(), choice
        self._done = 0

    def load(self, values: Any) -> Array:
        """Take in numbers of the format, or of a narrower one."""
        values = np.asarray(values)
        loaded: Array = values.astype(self.fmt.dtype)
        if self.flush.operands and values.dtype.kind == "f" and values.dtype.itemsize < self.fmt.itemsize:
            # Conversion takes subnormal operands for zero, too.
            narrow = next(f for f in FORMATS.values() if f.itemsize == values.dtype.itemsize)
            return _flushed(loaded, narrow)
        return loaded

    def store(self, values: Array, fmt: Format) -> Array:
        """Round results to a narrower format, or leave them."""
        return values if fmt is self.fmt else self._done_in(fmt, "convert", lambda a: a, values)

    def add(self, a: Array, b: Array) -> Array:
        """Return a + b."""
        return self._done_in(self.fmt, "add", np.add, a, b)

    def subtract(self, a: Array, b: Array) -> Array:
        """Return a - b."""
        return self._done_in(self.fmt, "add", np.subtract, a, b)

    def multiply(self, a: Array, b: Array) -> Array:
        """Return a * b."""
        return self._done_in(self.fmt, "multiply", np.multiply, a, b)

    def divide(self, a: Array, b: Array) -> Array:
        """Return a / b."""
        return self._done_in(self.fmt, "divide", np.divide, a, b)

    def reciprocal(self, a: Array) -> Array:
        """Return 1 / a."""
        return self._done_in(self.fmt, "reciprocal", np.divide, self.fmt.dtype.type(1), a)

    def negate(self, a: Array) -> Array:
        """Return -a."""
        return -a

    def clamp(self, a: Array, limit: Array) -> Array:
        """Return a between -limit and limit (np.fmin and np.fmax would swallow NaN)."""
        a, limit = self._operand(a), self._operand(limit)
        return np.minimum(np.maximum(a, -limit), limit)

    def select(self, a: Array, b: Array, then: Array, otherwise: Array) -> Array:
        """Return ``then`` where a > b."""
        with np.errstate(invalid="ignore"):
            return np.where(self._operand(a) > self._operand(b), then, otherwise)

    def _operand(self, a: Array) -> Array:
        return _flushed(a, self.fmt) if self.flush.operands else a

    def _done_in(self, fmt: Format, name: Operation, operation: Callable[..., Array], *operands: Array) -> Array:
        operands = tuple(map(self._operand, operands))
        with np.errstate(all="ignore"):
            result = np.asarray(operation(*operands)).astype(fmt.dtype)
            if self._choice is not None:
                result = self._chosen(fmt, name, operation, operands, result)
        return _flushed(result, fmt) if self.flush.results else result

    def _chosen(
        self, fmt: Format, name: Operation, operation: Callable[..., Array], operands: tuple[Array, ...], result: Array
    ) -> Array:
        assert self._choice is not None
        unit = self._platform.unit(fmt, name)
        z = np.asarray(operation(*(np.asarray(a, np.float64) for a in operands)))
        high = self._choice(self._done, z.shape)
        self._done += 1
        found = np.where(high, unit.highest(fmt, z), unit.lowest(fmt, z))
        exact = (z == 0) | ~np.isfinite(z)
        if name in ("divide", "reciprocal") and unit.exact_powers:
            exact |= powers_of_two(operands[-1]) & (result == z)
        return np.where(exact, result, found)


def _flushed(values: Array, fmt: Format) -> Array:
    tiny = np.abs(values) < fmt.smallest_normal
    return np.where(tiny, np.copysign(values.dtype.type(0), values), values)


class OrdinaryPrecision(WorkingPrecision):
    """The same on numbers held in float32, for results that are normal numbers: many times NumPy's speed in fp16.

    A float32 operation rounded once more, to 11 bits, is correctly rounded as said for :class:`WorkingPrecision`.
    Adding half a unit of the last bit that stays, less one of float32 unless that bit is odd, carries into it exactly
    where rounding to nearest even goes up.
    """

    def __init__(self, fmt: Format) -> None:
        super().__init__(fmt)
        self._dropped = FORMATS["fp32"].precision - fmt.precision

    def load(self, values: Any) -> Array:
        """Take in numbers of the format, exactly."""
        return np.asarray(values, np.float32)

    def _done_in(self, fmt: Format, name: Operation, operation: Callable[..., Array], *operands: Array) -> Array:
        result = np.asarray(operation(*operands))
        if self._dropped:
            bits = result.view(np.int32)
            bits += ((bits >> self._dropped) & 1) + (1 << (self._dropped - 1)) - 1
            bits &= -1 << self._dropped
        return result
