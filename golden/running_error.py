"""Running error analysis: how far an evaluation of a program may be from the exact value, derived from the program.

J. H. Wilkinson's method (N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 3.3), element by element and
with what is special about floating-point numbers kept apart from what is not. A value stands for all that an
intermediate may be. For each element it holds, in float64,

- ``y``: the exact value of the subexpression, to float64's precision: it is within ``err`` of ``y``;
- ``pre``: how far what is about to be rounded may be from the exact value;
- ``post``: how far the rounded number may be from it;
- ``unit``: the figure of that last rounding, in ulp.

Notation: c the number that a kernel has where the program has the exact value t; fl a rounding; ulp as in
:mod:`golden.formats`; N the smallest normal number; A = \\|y\\| + err, which is at least \\|t\\|.

**Operations.** With c1 and c2 within post1 and post2 of t1 and t2, the exact result z of the operation on c1 and c2 is
within ``pre`` of t:

- c1 ± c2: post1 + post2.
- c1 * c2: t1 * (c2 - t2) + (c1 - t1) * c2, at most A1 * post2 + A2 * post1 + post1 * post2.
- c1 / c2: ((c1 - t1) - (t1 / t2) * (c2 - t2)) / c2, at most (post1 + A * post2) / (\\|t2\\| - post2).

**Rounding.** c = fl(z) is within F * ulp(z) of z, F the unit's figure (0.5 for correct rounding), and ulp does not
fall with its argument: post = pre + F * ulp(A + pre). That ulp is never below the smallest subnormal: nothing else has
to be said of underflow. Three results are not rounded at all:

- z = t where pre is 0; if t is a number of the format and the unit is exact for such, c = t. To see this takes y = t:
  err is 0 where float64 has lost nothing, which TwoSum and TwoProduct tell (Knuth, TAOCP 2, 4.2.2; T. J. Dekker, 1971).
- Zero times a finite number, and zero divided by one that is not zero.
- A power of two as a factor or divisor (a number that is known exactly) only changes the exponent of c1: c = 2**k c1
  while that is a normal number. Then fl(z1) scaled is fl of z1 scaled: the last rounding is the one before, with its
  ``pre`` and its unit, scaled. Not so if c1 may have been below N: it was rounded to a coarser grid then, and is just
  a number within post1.

**The last rounding** is monotonic: the result lies between the lowest number that z = y - pre may become and the
highest that y + pre may (:class:`golden.terms.Unit`). Both ends are moved outwards by err and by 2**-40 pre, which is
more than float64 loses in the dozen operations, all of them on positive numbers, that make a ``pre`` of another. Where
pre is 0, nothing but err is left, and it decides nothing but ties that it cannot tell from their neighbours.

**Clamp** neither moves two numbers apart nor commutes wrongly with a rounding that keeps the limit, which is a number:
``pre`` and ``post`` stay. Where z is beyond the limit for certain, c is the limit, exactly.

**Branches.** Some things are not a matter of distance. What may be beyond the largest number, or below N where that
is flushed, what compares with another number either way, and what may vanish under an infinity: there two different
things can happen, and each of them is followed by itself. :func:`golden.legal.evaluate` runs the program once for every
combination that an element needs, which for nearly all is one. So infinities and NaN, and the zeros that flushing
makes, come out as what the program makes of them; they are not rules beside it.

One case is left out: a difference that is zero exactly, of numbers that were rounded, may have either sign; where that
meets an infinity, NaN alone is followed. No operator here multiplies such a difference.

Flushed operands are other operands: where they are, y is the exact value for these, and not near the one without.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from golden.formats import Array, Format, powers_of_two
from golden.oracle import two_product, two_sum
from golden.program import Arithmetic
from golden.terms import Flush, Operation, PlatformArithmetic, Unit

#: Relative error of one float64 operation.
_U = 2.0**-53
#: Kinds of branches that one operation may have.
_COMPARED, _FIRST, _SECOND, _RANGE, _SUBNORMAL, _KINDS = range(6)


@dataclass(slots=True)
class Value:
    """What an intermediate may be, element by element; the fields are explained at the top of this module.

    ``tiny``: it is subnormal, and zero where it is used as an operand. ``coarse``: it may have been rounded below N.
    ``overflow``: an operation before the last one has overflowed; ``infinite``: the last one has.
    """

    y: Array
    err: Array
    pre: Array
    post: Array
    unit: Array
    coarse: Array
    tiny: Array
    overflow: Array
    infinite: Array


class RunningError(Arithmetic[Value]):
    """Evaluates a program with error bounds; ``script`` says which way branches are taken, by their number.

    ``branches`` holds, for each other branch that was met, the elements for which both ways are open; they have gone
    the first way. The number of a branch is that of its operation in the program, and its kind.
    """

    #: How float64 tells what it loses; replaced where that is known before (:mod:`runners.sweeping.trace`).
    two_sum = staticmethod(two_sum)
    two_product = staticmethod(two_product)

    def __init__(
        self,
        fmt: Format,
        flush: Flush = Flush.NONE,
        platform: PlatformArithmetic | None = None,
        script: Mapping[int, bool] | None = None,
    ) -> None:
        self.fmt, self.flush = fmt, flush
        self._platform = platform or PlatformArithmetic()
        self._script = script or {}
        self.branches: dict[int, Array] = {}
        self._operations = 0
        #: Elements with a subnormal operand or result, or one that may be: those that flushing concerns.
        self.subnormal: Array | bool = False

    def numbers(self, values: Any) -> Array:
        """Return numbers as float64."""
        return np.asarray(values, np.float64)

    def load(self, values: Any) -> Value:
        """Take in numbers of the format, or of a narrower one."""
        y = self.numbers(values)
        small = (np.abs(y) < self.fmt.smallest_normal) & (y != 0)
        self.subnormal = self.subnormal | small
        zero, no = np.zeros(y.shape), np.zeros(y.shape, bool)
        return Value(y, zero, zero, zero, zero + 0.5, no, small & self.flush.operands, no, no)

    def narrow(self, values: Any, fmt: Format) -> Value:
        """Take in numbers of a narrower format; where operands are flushed, converting them does so."""
        y = self.numbers(values)
        small = (np.abs(y) < fmt.smallest_normal) & (y != 0)
        self.subnormal = self.subnormal | small
        return self.load(np.where(small, np.copysign(0.0, y), y) if self.flush.operands else y)

    def store(self, a: Value, fmt: Format) -> Value:
        """Round to a narrower format, or leave a value of this one as it is."""
        if fmt is self.fmt:
            return a
        a = self._operand(a)
        return self._rounded(fmt, "convert", a.y, a.err, a.post, (a,))

    def add(self, a: Value, b: Value) -> Value:
        """Return a + b."""
        a, b = self._operand(a), self._operand(b)
        y, lost = self.two_sum(a.y, b.y)
        return self._rounded(self.fmt, "add", y, a.err + b.err + _unless(lost == 0, y), a.post + b.post, (a, b))

    def subtract(self, a: Value, b: Value) -> Value:
        """Return a - b."""
        return self.add(a, self.negate(b))

    def multiply(self, a: Value, b: Value) -> Value:
        """Return a * b."""
        a, b = self._met(self._operand(a), self._operand(b))
        y, lost = self.two_product(a.y, b.y)
        size_a, size_b = np.abs(a.y) + a.err, np.abs(b.y) + b.err
        err = size_a * b.err + size_b * a.err + _unless(lost == 0, y)
        pre = size_a * b.post + size_b * a.post + a.post * b.post
        by_a, by_b = _is_power(a), _is_power(b)
        factor = np.where(by_b, np.abs(b.y), np.abs(a.y))
        moved = _choose(by_b, a, b)
        return self._rounded(self.fmt, "multiply", y, err, pre, (a, b), by_a | by_b, moved, factor)

    def divide(self, a: Value, b: Value) -> Value:
        """Return a / b."""
        return self._quotient("divide", self._operand(a), self._operand(b))

    def reciprocal(self, a: Value) -> Value:
        """Return 1 / a."""
        return self._quotient("reciprocal", self.load(np.ones(a.y.shape)), self._operand(a))

    def negate(self, a: Value) -> Value:
        """Return -a."""
        return Value(-a.y, a.err, a.pre, a.post, a.unit, a.coarse, a.tiny, a.overflow, a.infinite)

    def clamp(self, a: Value, limit: Value) -> Value:
        """Return a between -limit and limit, a number that is known exactly."""
        a, limit = self._operand(a), self._operand(limit)
        top = np.broadcast_to(limit.y, a.y.shape)
        y = np.minimum(np.maximum(a.y, -top), top)
        # Only correct rounding is known to be monotonic.
        reach = np.where(a.unit <= 0.5, a.pre, a.post)
        sure = np.abs(a.y) - a.err - reach >= top
        # An infinity that is held back has done no harm.
        inside = Value(y, a.err, a.pre, a.post, a.unit, a.coarse, a.tiny, a.overflow, a.infinite)
        return _choose(sure, self.load(np.where(sure, y, 0.0)), inside)

    def select(self, a: Value, b: Value, then: Value, otherwise: Value) -> Value:
        """Return ``then`` where a > b."""
        x, y = self._operand(a), self._operand(b)
        apart, reach = x.y - y.y, x.err + y.err + x.post + y.post
        # Rounding is monotonic and b a number: what is not above b is not so when it is rounded either.
        below = np.where((y.post == 0) & (x.unit <= 0.5), x.err + y.err + x.pre, reach)
        above = apart > reach
        unsure = ~above & ~(apart + below <= 0) & np.isfinite(apart)
        self._operations += 1
        return _choose((above | unsure) & ~self._branch(_COMPARED, unsure), then, otherwise)

    def _quotient(self, name: Operation, a: Value, b: Value) -> Value:
        b = self._divisor(b)
        a = self._vanished(_FIRST, a, (b.y == 0) & (b.post == 0))
        y = a.y / b.y
        p, lost = self.two_product(y, b.y)
        least = np.maximum(np.abs(b.y) - b.err - b.post, 0)
        least = np.where(b.post > 0, np.maximum(least, self.fmt.step), least)
        err = (a.err + np.abs(y) * b.err) / np.maximum(np.abs(b.y) - b.err, 0) + _unless((p == a.y) & (lost == 0), y)
        pre = (a.post + (np.abs(y) + err) * b.post) / least
        power = _is_power(b)
        return self._rounded(self.fmt, name, y, err, pre, (a, b), power, a, 1 / np.abs(b.y))

    def _operand(self, a: Value) -> Value:
        """Return a value as an operand: zero where it is subnormal and flushed."""
        if not self.flush.operands or not a.tiny.any():
            return a
        return self._zeroed(a, a.tiny)

    @staticmethod
    def _zeroed(a: Value, where: Array) -> Value:
        zero = np.zeros(a.y.shape)
        nothing = Value(
            np.copysign(0.0, a.y), zero, zero, zero, zero + 0.5, where & False, where & False, a.overflow, a.infinite
        )
        return _choose(where, nothing, a)

    def _met(self, a: Value, b: Value) -> tuple[Value, Value]:
        """Where an infinity is multiplied by what may have vanished, follow both."""
        if not (np.isinf(a.y).any() or np.isinf(b.y).any()):
            return a, b
        return self._vanished(_FIRST, a, np.isinf(b.y)), self._vanished(_SECOND, b, np.isinf(a.y))

    def _divisor(self, b: Value) -> Value:
        """Where a divisor may have vanished, follow both."""
        return self._vanished(_SECOND, b, np.ones(b.y.shape, bool)) if b.post.any() else b

    def _vanished(self, kind: int, a: Value, where: Array) -> Value:
        may = where & (np.abs(a.y) - a.err - a.post <= 0) & (a.y != 0)
        gone = self._branch(kind, may)
        return self._zeroed(a, gone) if gone.any() else a

    def _branch(self, kind: int, unsure: Array) -> Array:
        """Return which elements take the other way at a branch that is open to some."""
        number = self._operations * _KINDS + kind
        if number in self._script:
            return unsure & self._script[number]
        if unsure.any():
            self.branches[number] = unsure
        return unsure & False

    def _rounded(
        self,
        fmt: Format,
        name: Operation,
        y: Array,
        err: Array,
        pre: Array,
        operands: tuple[Value, ...],
        scaling: Array | None = None,
        moved: Value | None = None,
        factor: Array | None = None,
    ) -> Value:
        """Round the result of an operation; where ``scaling``, it is ``moved`` times ``factor``, a power of two."""
        self._operations += 1
        unit = self._platform.unit(fmt, name)
        shape = y.shape
        finite = np.isfinite(y)
        err, pre = np.where(finite, err, 0.0), np.where(finite, pre, 0.0)
        size = np.abs(y)
        figure = np.full(shape, unit.figure)
        divides = name in ("divide", "reciprocal")
        top = np.where(finite, size + err + pre, 0.0)
        rounding = figure * fmt.ulp_of(top)
        known = scaling if scaling is not None and divides and unit.exact_powers else False
        exact = (unit.exact | known) & (err == 0) & (pre == 0) & (fmt.cast(y).astype(np.float64) == y)
        if scaling is not None and divides and not unit.exact_powers:
            exact &= ~scaling
        exact |= (y == 0) & (err == 0) & (pre == 0)
        coarse = (size - err - pre < fmt.smallest_normal) & finite & ~exact
        before, post = pre, pre + np.where(exact | ~finite, 0.0, rounding)
        if (
            scaling is not None
            and moved is not None
            and factor is not None
            and (unit.exact_powers if divides else unit.exact)
        ):
            free = scaling & ~coarse & ~exact & finite & ((top < fmt.largest) | unit.correct)
            scaled = np.where(moved.coarse, moved.post, moved.pre) * factor
            before, post = np.where(free, scaled, pre), np.where(free, moved.post * factor, post)
            figure = np.where(free, np.where(moved.coarse, 0.5, moved.unit), figure)
        figure = np.where(exact | ~finite, 0.5, figure)
        overflow = np.zeros(shape, bool)
        for a in operands:
            overflow = overflow | a.overflow | a.infinite
        result = Value(y, err, before, post, figure, coarse, np.zeros(shape, bool), overflow, np.zeros(shape, bool))
        self._settle_range(fmt, unit, result, finite)
        self._settle_subnormal(fmt, result, finite)
        return result

    def _settle_range(self, fmt: Format, unit: Unit, a: Value, finite: Array) -> None:
        """Make infinities of what is, or may be, beyond the largest number."""
        size, reach = np.abs(a.y), a.err + a.pre
        loose = (a.unit > 0.5) | (unit.figure > 0.5)
        ulp = 2 * (fmt.overflow_value - fmt.largest)  # that of the binade beyond
        worst = np.maximum(a.unit, unit.figure)
        least = np.where(loose, fmt.largest - (worst - 1) * ulp, fmt.overflow_threshold)
        may = finite & (size + reach >= least)
        if not may.any():
            return
        sure = np.where(loose, fmt.overflow_value + worst * ulp, fmt.overflow_threshold)
        # What truncates makes the largest number of all that is beyond it; or not: both are followed.
        must = finite & (size - reach >= sure) & ~(loose & (unit.rounding != "nearest"))
        gone = must | self._branch(_RANGE, may & ~must)
        # What stays finite may be far from where it was rounded: it is just a number.
        a.post = np.where(may, np.maximum(a.post, size + reach - fmt.largest), a.post)
        a.coarse = a.coarse | may
        a.y = np.where(gone, np.copysign(np.inf, a.y), a.y)
        for field in ("err", "pre", "post"):
            setattr(a, field, np.where(gone, 0.0, getattr(a, field)))
        a.coarse = a.coarse & ~gone
        a.infinite = gone

    def _settle_subnormal(self, fmt: Format, a: Value, finite: Array) -> None:
        """Find what is, or may be, below the smallest normal number, and flush it as the mode says."""
        size, normal = np.abs(a.y), fmt.smallest_normal
        reach = np.where(a.unit <= 0.5, a.pre, a.post)  # what is correctly rounded does not fall below N
        may = finite & ~a.infinite & (size - a.err - reach < normal) & ((a.y != 0) | (a.post > 0))
        self.subnormal = self.subnormal | may
        if self.flush is Flush.NONE or not may.any():
            return
        must = may & (size + a.err + a.post < normal)
        small = must | self._branch(_SUBNORMAL, may & ~must)
        if self.flush.results:
            zeroed = self._zeroed(a, small)
            for field in Value.__slots__:
                setattr(a, field, getattr(zeroed, field))
        else:
            a.tiny = small


def _unless(exact: Array, y: Array) -> Array:
    """Return the error of a float64 operation, unless it was exact; where it underflowed, that too."""
    return np.where(exact, 0.0, np.abs(y) * _U + 2.0**-1000)


def _is_power(a: Value) -> Array:
    found: Array = (a.post == 0) & (a.err == 0) & powers_of_two(a.y)
    return found


def _choose(where: Array, a: Value, b: Value) -> Value:
    """Return a where told so, b elsewhere."""
    return Value(*(np.where(where, getattr(a, name), getattr(b, name)) for name in Value.__slots__))


def interval(fmt: Format, value: Value, platform: PlatformArithmetic) -> tuple[Array, Array]:
    """Return the lowest and the highest number that a result may be, as float64; NaN where it is NaN."""
    with np.errstate(all="ignore"):
        reach = np.where(np.isfinite(value.y), value.pre * (1 + 2.0**-40) + value.err, 0.0)
        low, high = value.y - reach, value.y + reach
        lowest = highest = low
        for figure in np.unique(value.unit).tolist():
            of, unit = value.unit == figure, Unit(figure, platform.rounding)
            lowest = np.where(of, _lowest(fmt, unit, low, high), lowest)
            highest = np.where(of, -_lowest(fmt, unit, -high, -low), highest)
    return lowest, highest


def _lowest(fmt: Format, unit: Unit, low: Array, high: Array) -> Array:
    """Return the lowest number that an exact result between two may become.

    z - F ulp(z) rises with z but where ulp doubles: the first power of two above ``low`` may become less than it does.
    """
    found = unit.lowest(fmt, low).astype(np.float64)
    if unit.figure > 0.5:
        next_power = 2 * fmt.ulp_of(low) * 2.0 ** (fmt.precision - 1)
        crossed = (low > 0) & (next_power <= high)
        found = np.where(crossed, np.minimum(found, unit.lowest(fmt, next_power).astype(np.float64)), found)
    return found


def modes(may_flush: bool) -> Iterator[Flush]:
    """Yield the ways in which a platform may treat subnormal numbers, that of the standard first."""
    yield Flush.NONE
    if may_flush:
        yield from (Flush.OPERANDS, Flush.RESULTS, Flush.BOTH)
