"""Which results are legal: for each element a set of numbers, what some legal evaluation of it may give.

An operator's evaluation orders, each of them in the stored format and with intermediates in fp32, and, where a
platform may flush subnormal numbers, each of them for every way of flushing (:class:`golden.terms.Flush`), are
followed by running error analysis (:mod:`golden.running_error`). Each gives a part: all numbers between two, or NaN,
or an infinity. The legal set is the union of the parts; what lies between two parts is not legal.

An order that overflows in an intermediate gives a part that counts only if it is the page's own order: the page's
range is what a build has to have.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partialmethod
from typing import Any

import numpy as np

from golden.formats import FP32, Array, Exact, Format
from golden.operator import Operands, Operator, Points, Scalars
from golden.program import Arithmetic, Program, Words
from golden.rational import Rationals
from golden.running_error import RunningError, Value, interval, modes
from golden.terms import Flush, PlatformArithmetic, Terms


@dataclass(frozen=True)
class Part:
    """What one way of evaluating gives for some elements: every number from ``low`` to ``high``, or NaN if they are.

    ``at``: positions of the elements among those asked for; the arrays are of one length, float64. ``overflow``: where
    an intermediate has overflowed.
    """

    order: str
    documented: bool
    inner: str
    flush: Flush
    at: Array
    low: Array
    high: Array
    overflow: Array

    def holds(self, got: Array) -> Array:
        """Tell which of its elements have a result in it; ``got``: float64, of all that were asked for."""
        mine = got[self.at]
        inside: Array = (self.low <= mine) & (mine <= self.high) | np.isnan(self.low) & np.isnan(mine)
        return inside

    def counts(self, any_range: bool = False) -> Array:
        """Tell for which of its elements it is legal: the page's order may overflow, others only where any may."""
        return ~self.overflow | self.documented | any_range


def legal_parts(
    operator: Operator, fmt: Format, scalars: Scalars, operands: Operands, index: Array, terms: Terms
) -> list[Part]:
    """Return the parts of the legal sets of the output elements ``index`` (flat indices)."""
    return parts_of(operator.programs(scalars), fmt, operator.points(scalars, operands, index), len(index), terms)


def parts_of(programs: Mapping[str, Program], fmt: Format, points: Points, count: int, terms: Terms) -> list[Part]:
    """Return the parts of the legal sets of ``count`` elements, of any calls, that the same programs compute."""
    parts = []
    rest = np.setdiff1d(np.arange(count), points.at, assume_unique=True)
    if rest.size:  # no program computes them: they are zero
        zero = np.zeros(rest.size)
        parts.append(Part("", True, fmt.name, Flush.NONE, rest, zero, zero, zero > 0))
    if not points.at.size:
        return parts
    for number, (order, program) in enumerate(programs.items()):
        for inner in (fmt, FP32) if fmt is not FP32 else (fmt,):
            chosen = np.arange(points.at.size)
            for flush in modes(terms.flush):
                values = [v[chosen] for v in points.values]
                runs, subnormal = evaluate(program, values, fmt, inner, flush, terms.arithmetic)
                for run in runs:
                    low, high = interval(fmt, run.result, terms.arithmetic)
                    at = points.at[chosen[run.at]]
                    parts.append(Part(order, number == 0, inner.name, flush, at, low, high, run.result.overflow))
                if flush is Flush.NONE:
                    chosen = np.flatnonzero(subnormal)
                if not chosen.size:
                    break
    return parts


@dataclass(frozen=True)
class Run:
    """One way of evaluating a program, for the elements (positions in the inputs) that can go it."""

    at: Array
    result: Value


def evaluate(
    program: Program,
    inputs: Sequence[Array],
    fmt: Format,
    inner: Format,
    flush: Flush,
    platform: PlatformArithmetic,
) -> tuple[list[Run], Array]:
    """Evaluate a program in every way that its branches allow.

    ``inputs``: numbers of ``fmt``, one array a variable, all of one length; intermediates are of ``inner``. Returns the
    ways, and the elements for which a subnormal number is met.
    """
    n = len(inputs[0])
    runs: list[Run] = []
    subnormal = np.zeros(n, bool)
    waiting: list[tuple[Array, dict[int, bool]]] = [(np.arange(n), {})]
    with np.errstate(all="ignore"):
        while waiting:
            at, script = waiting.pop()
            m = RunningError(inner, flush, platform, script)
            load = m.load if inner is fmt else lambda values, m=m: m.narrow(values, fmt)
            result = m.store(program(m, *(load(values[at]) for values in inputs)), fmt)
            runs.append(Run(at, result))
            subnormal[at] |= m.subnormal
            for number, unsure in m.branches.items():
                waiting.append((at[unsure], {**script, number: True}))
                script = {**script, number: False}
    return runs, subnormal


def legal_ranges(
    operator: Operator,
    fmt: Format,
    scalars: Scalars,
    operands: Operands,
    golden: Array,
    terms: Terms,
    index: Array | None = None,
) -> list[list[tuple[int, int]]]:
    """Return the legal set of output elements: ranges of bit patterns (lowest, highest), NaN as one of two NaNs.

    The parts that count together with golden's own bits, joined where they touch. ``golden``: the golden values of the
    elements ``index``; None: of all.
    """
    index = np.arange(golden.size) if index is None else index
    found: list[list[tuple[float, float]]] = [[(v, v)] for v in golden.astype(np.float64).tolist()]
    for part in legal_parts(operator, fmt, scalars, operands, index, terms):
        counts = part.counts(terms.any_range)
        for at, low, high in zip(part.at[counts], part.low[counts], part.high[counts], strict=True):
            found[at].append((float(low), float(high)))
    return [_joined(fmt, ranges) for ranges in found]


def _joined(fmt: Format, ranges: Sequence[tuple[float, float]]) -> list[tuple[int, int]]:
    """Join the ranges of one element, in order; zeros count as one number, whatever their signs."""
    numbers = sorted({(low + 0.0, high + 0.0) for low, high in ranges if not math.isnan(low)})
    joined: list[tuple[float, float]] = []
    for low, high in numbers:
        if joined and low <= float(np.nextafter(fmt.dtype.type(joined[-1][1]), fmt.dtype.type(np.inf))):
            joined[-1] = joined[-1][0], max(joined[-1][1], high)
        else:
            joined.append((low, high))
    if any(math.isnan(low) for low, _ in ranges):
        joined.append((math.nan, math.nan))
    bits = fmt.bits(np.array(joined).reshape(-1).astype(fmt.dtype)).tolist()
    return list(zip(bits[::2], bits[1::2], strict=True))


#: A value's text, and the value.
_Told = tuple[str, Exact]


class _Telling(Arithmetic[_Told]):
    """Exact arithmetic with the text of every value; remembers the first operation that leaves a format's range."""

    def __init__(self, fmt: Format) -> None:
        self._limit = fmt.overflow_threshold
        self._words, self._exact = Words(), Rationals()
        self.found = ""

    def load(self, values: Any) -> _Told:
        return values if isinstance(values, tuple) else (self._words.load(values), self._exact.load(values))

    def negate(self, a: _Told) -> _Told:
        return self._words.negate(a[0]), self._exact.negate(a[1])

    def clamp(self, a: _Told, limit: _Told) -> _Told:
        return self._words.clamp(a[0], limit[0]), self._exact.clamp(a[1], limit[1])

    def select(self, a: _Told, b: _Told, then: _Told, otherwise: _Told) -> _Told:
        return then if a[1] > b[1] else otherwise

    def _done(self, name: str, *operands: _Told) -> _Told:
        text = getattr(self._words, name)(*(a[0] for a in operands))
        value: Exact = getattr(self._exact, name)(*(a[1] for a in operands))
        if isinstance(value, Fraction) and abs(value) >= self._limit and not self.found:
            self.found = f"{text} = {float(value):.6g}"
        return text, value

    add = partialmethod(_done, "add")
    subtract = partialmethod(_done, "subtract")
    multiply = partialmethod(_done, "multiply")
    divide = partialmethod(_done, "divide")
    reciprocal = partialmethod(_done, "reciprocal")


def overflowing(operator: Operator, fmt: Format, scalars: Scalars, operands: Operands, index: int, order: str) -> str:
    """Name the first operation of an order that overflows at an output element, with its exact value, or return ""."""
    points = operator.points(scalars, operands, np.array([index]))
    if not points.at.size:
        return ""
    told = _Telling(fmt)
    decoded = (fmt.decode(int(fmt.bits(v.astype(fmt.dtype))[0])) for v in points.values)
    operator.programs(scalars)[order](told, *zip(operator.variables(scalars), decoded, strict=True))
    return told.found
