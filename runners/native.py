"""The C judge: compiled once for this machine, loaded into the judge's own process, bit-identical with NumPy's path.

``runners/native/judge.c`` is this project's code, so it may live where foreign libraries may not. Without a compiler,
or with one that fails, :func:`load` returns None, and the NumPy path does the same work.
"""

import ctypes
import struct
from functools import cache

import numpy as np

from golden.formats import Array, Format, is_power_of_two
from golden.operator import Operands, Operator, Scalars
from runners.blocks import BINS, SUMS, BlockTally, full, numpy_tally
from runners.compiled import VECTORS
from runners.compiled import load as load_compiled

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


#: golden_tally: the sums but for the points; first failure, worst point, points handed back; largest error; histogram.
_TALLY = struct.Struct(f"={len(SUMS) - 1}q 3q f4x {BINS}q")
_OPERANDS = {"smoothl1lossgrad": ("dy", "x1", "x2"), "nlllossgrad": ("loss_grad", "weight")}


class NativeJudge:
    """The compiled judge; :meth:`tally` is :func:`runners.blocks.numpy_tally` at the speed of memory."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        self._judge = library.golden_judge
        self._judge.restype = None
        self._judge.argtypes = [ctypes.c_void_p] * 3
        self._back = np.empty(LIMIT, np.uint32)
        self._found = ctypes.create_string_buffer(_TALLY.size)
        self._jobs: dict[object, _Job] = {}

    def tally(
        self, operator: Operator, fmt: Format, scalars: Scalars, operands: Operands, output: Array, flush: bool
    ) -> BlockTally:
        """Judge a block of points; the arguments and the result are those of ``numpy_tally``.

        Operators that the C code does not know go to NumPy.
        """
        names = _OPERANDS.get(operator.name)
        mean = scalars.get("reduction_type") == "mean"
        divisor = float(scalars["beta"]) if "beta" in scalars else float(operands["total_weight"][0]) if mean else 1.0
        known = names is not None and divisor != 0 and output.flags.c_contiguous
        if names is None or not known:
            return numpy_tally(operator, fmt, scalars, operands, output, flush)
        if output.size <= LIMIT:
            return self._part(names, operator, fmt, scalars, operands, output, divisor, mean, flush)
        tally = BlockTally()
        for start in range(0, output.size, LIMIT):
            stop = min(start + LIMIT, output.size)
            part = {name: v[start:stop] if v.size > 1 else v for name, v in operands.items()}
            found = self._part(names, operator, fmt, scalars, part, output[start:stop], divisor, mean, flush)
            found.shift(start)
            tally.add(found)
        return tally

    def _part(
        self,
        names: tuple[str, ...],
        operator: Operator,
        fmt: Format,
        scalars: Scalars,
        operands: Operands,
        output: Array,
        divisor: float,
        mean: bool,
        flush: bool,
    ) -> BlockTally:
        key = (fmt.name, operator.name, divisor, mean, flush)
        job = self._jobs.get(key)
        if job is None:
            self._jobs.clear()
            job = self._jobs[key] = _job(operator, fmt, divisor, mean, flush)
        arrays = [np.ascontiguousarray(operands[name], fmt.dtype) for name in names]
        job.count, job.output = output.size, output.ctypes.data
        for slot, values in zip(("first", "second", "third"), arrays, strict=False):
            setattr(job, slot, values.ctypes.data)
            setattr(job, f"stride_{slot}", int(values.size > 1))
        self._judge(ctypes.byref(job), self._found, self._back.ctypes.data)
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
            tally.add(self._by_numpy(operator, fmt, scalars, operands, output, self._back[:handed_back], flush))
        return tally

    def _by_numpy(
        self,
        operator: Operator,
        fmt: Format,
        scalars: Scalars,
        operands: Operands,
        output: Array,
        index: Array,
        flush: bool,
    ) -> BlockTally:
        """Judge the few points that the C code does not settle."""
        index = index.astype(np.int64)
        chosen = {name: v[index] if name != "total_weight" else v for name, v in full(operands, output.size).items()}
        size = "length" if "length" in scalars else "batch"
        tally = numpy_tally(operator, fmt, {**scalars, size: index.size}, chosen, output[index], flush)
        tally.worst = int(index[tally.worst]) if tally.worst >= 0 else -1
        tally.first_failure = int(index[tally.first_failure]) if tally.first_failure >= 0 else -1
        return tally


def _job(operator: Operator, fmt: Format, divisor: float, mean: bool, flush: bool) -> _Job:
    """Fill in what depends on the operator, the format and the divisor: the constants of the derived slack."""
    u, power = fmt.roundoff, is_power_of_two(divisor)
    smooth = operator.name == "smoothl1lossgrad"
    growth = [(1 + u) ** k - 1 for k in range(4)]
    job = _Job(divisor=divisor, reciprocal=1 / divisor, is_power=power, scales_exactly=power and abs(divisor) <= 1)
    job.small, job.step = fmt.smallest_normal * (1 + u) ** 3, (1 + u) ** 3 * fmt.step / 2
    for before in (0, 1):
        job.documented[before] = growth[before if power else before + 1]
        job.legal[before] = growth[before if power else before + 2]
        job.legal_small[before] = growth[before + 1 if power else before + 2]
    job.fp32, job.smooth, job.flush = fmt.name == "fp32", smooth, flush
    job.rounded_once = not smooth and not mean
    job.overflow = fmt.overflow_threshold * abs(divisor) if mean else np.inf
    return job


@cache
def load() -> NativeJudge | None:
    """Return the C judge, compiling it on first use; None where that is not possible or not wanted."""
    library = load_compiled("judge", VECTORS)
    return None if library is None else NativeJudge(library)
