"""The C judge: compiled once for this machine, loaded into the judge's own process, bit-identical with NumPy's path.

``c/judge.c`` is this project's code, so it may live where foreign libraries may not. Without a compiler,
or with one that fails, :func:`load` returns None, and the NumPy path does the same work.
"""

import ctypes
import struct
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from golden.formats import Array, Format
from golden.operator import Operands, Operator, Scalars
from golden.terms import Terms
from runners.sweeping.tally import BINS, SUMS, BlockTally, full, numpy_tally, parts, resized, spread
from runners.toolchain.compiled import VECTORS
from runners.toolchain.compiled import load as load_compiled

#: Points that one call may have: keeps the sums within 64 bits.
LIMIT = 1 << 22


class _Job(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("first", "second", "third")),
        *((f"stride_{name}", ctypes.c_int64) for name in ("first", "second", "third")),
        ("output", ctypes.c_void_p),
        ("divisor", ctypes.c_double),
        ("reciprocal", ctypes.c_double),
        ("documented", ctypes.c_double * 2),
        ("legal", ctypes.c_double * 2),
        ("legal_small", ctypes.c_double * 2),
        ("small", ctypes.c_double),
        ("step", ctypes.c_double),
        ("overflow", ctypes.c_double),
        *((n, ctypes.c_int32) for n in ("is_power", "scales_exactly", "fp32", "smooth", "rounded_once", "flush")),
    )


#: np.dtype takes longer to make of a structure than a small block to be judged.
_JOBS = np.dtype(_Job)
#: golden_tally: the sums but for the points; first failure, worst point, points handed back; largest error; histogram.
_TALLY = struct.Struct(f"={len(SUMS) - 1}q 3q f4x {BINS}q")
_OPERANDS = {"smoothl1lossgrad": ("dy", "x1", "x2"), "nlllossgrad": ("loss_grad", "weight")}


class NativeJudge:
    """The compiled judge; :meth:`tally` is :func:`runners.sweeping.tally.numpy_tally` at the speed of memory."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        self._judge = library.golden_judge
        self._judge.restype = None
        self._judge.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p]
        self._back = np.empty(LIMIT, np.uint32)
        self._found = ctypes.create_string_buffer(_TALLY.size)
        self._jobs: tuple[object, Array] = (None, np.empty(0))

    def tally(
        self, operator: Operator, fmt: Format, scalars: Scalars, operands: Operands, output: Array, terms: Terms
    ) -> BlockTally:
        """Judge a block of points; the arguments and the result are those of ``numpy_tally``.

        Operators that the C code does not know go to NumPy.
        """
        names = _OPERANDS.get(operator.name)
        divisors = np.empty(0) if names is None else _divisors(scalars, operands)
        rows = 0 if names is None else _rows(divisors, [operands[name] for name in names], output.size)
        if names is None or rows == 0 or (divisors == 0).any() or not output.flags.c_contiguous:
            return numpy_tally(operator, fmt, scalars, operands, output, terms)
        if output.size <= LIMIT:
            return self._block(names, operator, fmt, scalars, operands, output, spread(divisors, rows), terms)
        tally = BlockTally()
        for points, part in _cut(operands, output.size):
            found = self.tally(operator, fmt, scalars, part, output[points], terms)
            found.shift(points.start)
            tally.add(found)
        return tally

    def _block(
        self,
        names: tuple[str, ...],
        operator: Operator,
        fmt: Format,
        scalars: Scalars,
        operands: Operands,
        output: Array,
        divisors: Array,
        terms: Terms,
    ) -> BlockTally:
        rows = divisors.size
        key = (fmt.name, operator.name, scalars.get("reduction_type"), terms, output.size, divisors.tobytes())
        if self._jobs[0] != key:
            self._jobs = key, _jobs(operator, fmt, output.size // rows, divisors, scalars, terms)
        jobs = self._jobs[1]
        arrays = [np.ascontiguousarray(operands[name], fmt.dtype) for name in names]
        for slot, values in zip(("first", "second", "third"), arrays, strict=False):
            jobs[slot], jobs[f"stride_{slot}"] = _addresses(values, rows), int(values.size > rows)
        jobs["output"] = _addresses(output, rows)
        self._judge(jobs.ctypes.data, rows, self._found, self._back.ctypes.data)
        found = _TALLY.unpack(self._found)
        *sums, first_failure, worst, handed_back, largest = found[:-BINS]
        tally = BlockTally(
            **dict(zip(SUMS, [output.size - handed_back, *sums], strict=True)),
            largest=largest,
            worst=worst,
            first_failure=first_failure,
            histogram=list(found[-BINS:]),
        )
        if handed_back:
            index = self._back[:handed_back].astype(np.int64)
            tally.add(_by_numpy(operator, fmt, scalars, operands, output, index, terms))
        return tally


def _cut(operands: Operands, n: int) -> Iterator[tuple[slice, dict[str, Array]]]:
    """Cut a block that is too large: into rows of a total each, or one row into pieces."""
    if "total_weight" in operands and operands["total_weight"].size > 1:
        yield from parts(operands, n)
        return
    for start in range(0, n, LIMIT):
        points = slice(start, min(start + LIMIT, n))
        yield points, {name: v if v.size == 1 else spread(v, n)[points] for name, v in operands.items()}


def _by_numpy(
    operator: Operator, fmt: Format, scalars: Scalars, operands: Operands, output: Array, index: Array, terms: Terms
) -> BlockTally:
    """Judge the few points, their numbers in rising order, that the C code does not settle."""
    tally = BlockTally()
    for points, part in parts(operands, output.size):
        mine = index[(points.start <= index) & (index < points.stop)]
        if mine.size:
            row = full(part, points.stop - points.start)
            chosen = {name: v[mine - points.start] for name, v in row.items()}
            found = numpy_tally(operator, fmt, resized(scalars, mine.size), chosen, output[mine], terms)
            found.worst = int(mine[found.worst]) if found.worst >= 0 else -1
            found.first_failure = int(mine[found.first_failure]) if found.first_failure >= 0 else -1
            tally.add(found)
    return tally


@np.errstate(invalid="ignore")  # signalling NaNs
def _divisors(scalars: Scalars, operands: Operands) -> Array:
    """Return what rows of points divide by."""
    if scalars.get("reduction_type") == "mean":
        return operands["total_weight"].astype(np.float64)
    return np.array([scalars.get("beta", 1)], np.float64)


@np.errstate(invalid="ignore")
def _jobs(operator: Operator, fmt: Format, count: int, divisors: Array, scalars: Scalars, terms: Terms) -> Array:
    """Return a job a divisor, of ``count`` points each: all but the addresses of what is judged."""
    u, smooth, mean = fmt.roundoff, operator.name == "smoothl1lossgrad", scalars.get("reduction_type") == "mean"
    jobs: Array = np.zeros(divisors.size, _JOBS)
    size, power = np.abs(divisors), np.abs(np.frexp(divisors)[0]) == 0.5
    jobs["count"], jobs["divisor"], jobs["reciprocal"] = count, divisors, 1 / divisors
    jobs["is_power"], jobs["scales_exactly"] = power, power & (size <= 1)
    jobs["small"], jobs["step"] = fmt.smallest_normal * (1 + u) ** 3, (1 + u) ** 3 * fmt.step / 2
    growth = np.array([(1 + u) ** k - 1 for k in range(4)])
    for before in (0, 1):
        jobs["documented"][:, before] = growth[before + np.where(power, 0, 1)]
        jobs["legal"][:, before] = growth[before + np.where(power, 0, 2)]
        jobs["legal_small"][:, before] = growth[before + np.where(power, 1, 2)]
    jobs["fp32"], jobs["smooth"], jobs["flush"] = fmt.name == "fp32", smooth, terms.flush
    jobs["rounded_once"] = not smooth and not mean
    jobs["overflow"] = fmt.overflow_threshold * size if mean else np.inf
    return jobs


def _rows(divisors: Array, values: Sequence[Array], n: int) -> int:
    """Return how many rows there are if every array has an entry for all, a row or a point; else 0."""
    sizes = {divisors.size, *(array.size for array in values if array.size != n)} - {1}
    return 0 if len(sizes) > 1 else max(sizes, default=1)


def _addresses(values: Array, rows: int) -> Array | int:
    """Return where each row's entries begin; one for all serves all rows."""
    first = values.ctypes.data
    return first if rows == 1 or values.size == 1 else first + np.arange(rows) * (values.size // rows * values.itemsize)


@cache
def load() -> NativeJudge | None:
    """Return the C judge, compiling it on first use; None where that is not possible or not wanted."""
    library = load_compiled(Path(__file__).with_name("c") / "judge.c", VECTORS)
    return None if library is None else NativeJudge(library)
