"""What a sweep finds in a block of points, and how blocks add up.

Adding is associative and commutative, bit for bit: counts and sums are integers, maxima break ties by the smallest
index. So the result is the same for every division of the space into blocks, every number of processes and every
order in which they finish, and for the C judge (:mod:`runners.sweeping.judge`) and the NumPy path below.

An error is held as a float32 (a relative 2**-24) between 2**-126 (no error at all) and 2**127 ulp. The sums behind mean
and bias count each error rounded to whole 2**-22 ulp, and as 2**16 ulp at most: that is what makes them integers.
"""

from collections.abc import Iterator
from operator import add

import msgspec
import numpy as np

from golden.case import Case
from golden.formats import Array, Format
from golden.histogram import bins_of, percentile, stored
from golden.judge import FAILS, FAITHFUL, FORMULA, LEGAL, Kind
from golden.judge import judge as judge_case
from golden.operator import Operands, Operator, Scalars
from golden.results import GRADES, Grade, Tally
from golden.rounding import TINY_RESIDUAL
from golden.terms import Terms

#: Bins of :mod:`golden.histogram` for errors up to 2**127 ulp; 255 is for what has no error.
BINS = 256
#: Whole parts of an ulp that the sums count, and the largest error that they count.
UNITS, CAP = 2.0**22, 2.0**16
_LARGEST = 2.0**127


class BlockTally(msgspec.Struct):
    """Counts over a set of points; an empty one is the neutral element of :meth:`add`.

    ``measured``: points with a real non-zero exact value, a finite golden value and a result that is not NaN; error
    statistics are over these. Kinds are those of :data:`golden.judge.KINDS` (``zero`` counts both zero classes).
    ``faithful``, ``formula``, ``legal``, ``failures`` grade the ``misrounded`` ones. ``total`` and ``bias``: sums of
    the absolute and of the signed error in 2**-22 ulp. ``largest``: largest error in ulp, at the point ``worst``;
    ``first_failure``: the first point outside every legal bound; -1 where there is none.
    """

    points: int = 0
    measured: int = 0
    misrounded: int = 0
    failures: int = 0
    nan: int = 0
    infinity: int = 0
    overflow: int = 0
    zero: int = 0
    zero_sign: int = 0
    faithful: int = 0
    formula: int = 0
    legal: int = 0
    total: int = 0
    bias: int = 0
    largest: float = 0.0
    worst: int = -1
    first_failure: int = -1
    histogram: list[int] = msgspec.field(default_factory=lambda: [0] * BINS)

    def add(self, other: "BlockTally") -> None:
        """Add another set of points."""
        for name in SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.histogram = list(map(add, self.histogram, other.histogram))
        if other.worst >= 0 and (self.worst < 0 or (-other.largest, other.worst) < (-self.largest, self.worst)):
            self.largest, self.worst = other.largest, other.worst
        if other.first_failure >= 0 and not 0 <= self.first_failure < other.first_failure:
            self.first_failure = other.first_failure

    def shift(self, first: int) -> None:
        """Turn positions in a block into indices of the space: ``first`` is the index of the block's first point."""
        self.worst += first if self.worst >= 0 else 0
        self.first_failure += first if self.first_failure >= 0 else 0

    @property
    def grade(self) -> Grade:
        """The best grade that all points allow."""
        counts = (self.failures, self.legal, self.formula, self.faithful)
        found = next((code for code, n in zip((FAILS, LEGAL, FORMULA, FAITHFUL), counts, strict=True) if n), 0)
        return GRADES[found]

    def statistics(self) -> Tally:
        """Return the tally as results files have it; ``worst`` is for the caller to describe."""
        measured = max(self.measured, 1)
        counts = np.array(self.histogram)
        return Tally(
            cases=1,
            elements=self.points,
            measured=self.measured,
            misrounded=self.misrounded,
            failures=self.failures,
            nan=self.nan,
            infinity=self.infinity,
            overflow=self.overflow,
            zero=self.zero,
            zero_sign=self.zero_sign,
            max_ulp=self.largest if self.largest > TINY_RESIDUAL else 0.0,
            mean_ulp=self.total / measured / UNITS,
            p999_ulp=percentile(counts, 0.999),
            bias_ulp=self.bias / measured / UNITS,
            grade=self.grade if self.points else "fails",
            histogram=stored(counts),
        )


#: Fields that add up, in the order of the C judge.
SUMS = [
    "points",
    "measured",
    "misrounded",
    "failures",
    "nan",
    "infinity",
    "overflow",
    "zero",
    "zero_sign",
    "faithful",
    "formula",
    "legal",
    "total",
    "bias",
]


def numpy_tally(
    operator: Operator, fmt: Format, scalars: Scalars, operands: Operands, output: Array, terms: Terms
) -> BlockTally:
    """Judge a block of points with the oracle and the judge of :mod:`golden`: slow, and the definition.

    ``operator``: a dense one (:func:`golden.pointwise.dense`); ``operands`` as :func:`spread` takes them; ``output``:
    one element a point. Positions in the tally are relative to the block.
    """
    operands, scalars = full(operands, output.size), resized(scalars, output.size)
    golden = operator.oracle(fmt, scalars, operands)
    case = Case("", operator, fmt.name, "required", "sweep", (), dict(scalars), operands, golden)
    found = judge_case(case, output, terms)
    value, residual = golden
    measured = np.isfinite(value) & ~np.isnan(residual) & ((value != 0) | (residual != 0))
    measured[found.at[found.kind == Kind.NAN]] = False
    error = np.where(measured, np.copysign(np.maximum(np.abs(residual), TINY_RESIDUAL), -residual), np.float32(0))
    numeric = np.flatnonzero(~np.isnan(found.signed) & measured[found.at])
    signed = found.signed[numeric]
    error[found.at[numeric]] = np.copysign(np.minimum(np.abs(signed), _LARGEST), signed).astype(np.float32)
    tally = BlockTally(points=output.size, measured=int(measured.sum()))
    kinds, grades = np.bincount(found.kind, minlength=len(Kind)), np.bincount(found.grade, minlength=len(GRADES))
    tally.nan, tally.infinity = int(kinds[Kind.NAN]), int(kinds[Kind.INFINITY])
    tally.overflow, tally.zero_sign = int(kinds[Kind.OVERFLOW]), int(kinds[Kind.ZERO_SIGN])
    tally.zero = int(kinds[Kind.ZERO] + kinds[Kind.NONZERO])
    tally.faithful, tally.formula, tally.legal, tally.failures = (int(n) for n in grades[FAITHFUL : FAILS + 1])
    tally.misrounded = int(grades[FAITHFUL:].sum())
    failing = found.at[found.failing]
    tally.first_failure = int(failing.min()) if failing.size else -1
    _measure(tally, error, measured)
    return tally


def _measure(tally: BlockTally, error: Array, measured: Array) -> None:
    """Fill in sums, maximum and histogram of signed float32 errors."""
    distance = np.abs(error)
    units = np.rint(np.minimum(distance[measured].astype(np.float64), CAP) * UNITS).astype(np.int64)
    tally.total = int(units.sum())
    tally.bias = int(np.where(error[measured] < 0, -units, units).sum())
    if measured.any():
        tally.largest, tally.worst = float(distance.max()), int(np.argmax(distance))
    tally.histogram = np.bincount(bins_of(distance[measured].astype(np.float64)), minlength=BINS).tolist()


def spread(values: Array, n: int) -> Array:
    """Return an operand with one entry for each of n points, given one for all, one for each row, or that.

    Rows are of equally many points and follow one another.
    """
    if values.size == n:
        return values
    return np.broadcast_to(values, n) if values.size == 1 else np.repeat(values, n // values.size)


def full(operands: Operands, n: int) -> dict[str, Array]:
    """Return the operands with one entry for each of n points."""
    return {name: spread(values, n) for name, values in operands.items()}


def parts(operands: Operands, n: int) -> Iterator[tuple[slice, dict[str, Array]]]:
    """Cut a block of n points into its rows, if operands have an entry a row; yield which points, and their operands.

    Operands are as :func:`spread` takes them.
    """
    rows = max((values.size for values in operands.values() if values.size < n), default=1)
    for row in range(rows):
        part = {}
        for name, values in operands.items():
            first = row * values.size // rows
            part[name] = values[first : max(first + 1, (row + 1) * values.size // rows)]
        yield slice(row * n // rows, (row + 1) * n // rows), part


def resized(scalars: Scalars, n: int) -> dict[str, int | float | str]:
    """Return the scalars of a dense operator for n points: the first size is their number."""
    size = next(name for name, value in scalars.items() if isinstance(value, int))
    return {**scalars, size: n}
