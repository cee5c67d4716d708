"""The C judge: compiled once for this machine, loaded into the judge's own process, bit-identical with NumPy's path.

``c/judge.c`` and what golden's own programs are traced to (:mod:`runners.sweeping.trace`) is this project's code, so it
may live where foreign libraries may not. Without a compiler, or with one that fails, there is none, and the NumPy path
does the same work.
"""

import ctypes
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from golden.formats import FORMATS, FP32, Array, Format
from golden.operator import Operands, Operator, Scalars
from golden.terms import Terms
from runners.sweeping.lanes import UntraceableError
from runners.sweeping.samples import load as load_samples
from runners.sweeping.tally import BINS, SUMS, BlockTally, full, numpy_tally, parts, resized, spread
from runners.sweeping.trace import functions
from runners.toolchain.compiled import VECTORS
from runners.toolchain.compiled import load as load_compiled

#: Points that one call may have: keeps the sums within 64 bits.
LIMIT = 1 << 22


#: Operands and uniform numbers that a job has room for.
_MOST = 8


class _Job(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_int64),
        ("from", ctypes.c_void_p * _MOST),
        ("stride", ctypes.c_int64 * _MOST),
        ("uniform", ctypes.c_double * _MOST),
        ("reciprocal", ctypes.c_double),
        ("output", ctypes.c_void_p),
    )


#: np.dtype takes longer to make of a structure than a small block to be judged.
_JOBS = np.dtype(_Job)
#: golden_tally: the sums but for the points; first failure, worst point, points handed back; largest error; histogram.
_TALLY = struct.Struct(f"={len(SUMS) - 1}q 3q f4x {BINS}q")


@dataclass(frozen=True)
class Code:
    """Compiled code for an operator's elements.

    ``varying`` names operands, ``uniform`` what a row has one number of. ``divides``: by that, which may not be zero.
    """

    judge: Callable[..., None]
    varying: tuple[str, ...]
    uniform: tuple[str, ...]
    divides: bool


class NativeJudge:
    """The compiled judge; :meth:`tally` is :func:`runners.sweeping.tally.numpy_tally` at the speed of memory.

    It has scratch memory: threads need one each.
    """

    def __init__(self) -> None:
        self._back = np.empty(LIMIT, np.uint32)
        self._found = ctypes.create_string_buffer(_TALLY.size)

    def tally(
        self, operator: Operator, fmt: Format, scalars: Scalars, operands: Operands, output: Array, terms: Terms
    ) -> BlockTally:
        """Judge a block of points; the arguments and the result are those of ``numpy_tally``.

        Operators of which no C code can be made go to NumPy.
        """
        code = code_for(operator, fmt, scalars, terms)
        if code is None or not output.flags.c_contiguous:
            return numpy_tally(operator, fmt, scalars, operands, output, terms)
        numbers = [_numbers(name, scalars, operands) for name in code.uniform]
        rows = _rows(numbers, [operands[name] for name in code.varying], output.size)
        if rows == 0 or (code.divides and any((v == 0).any() for v in numbers)):
            return numpy_tally(operator, fmt, scalars, operands, output, terms)
        if output.size <= LIMIT:
            numbers = [spread(v, rows) for v in numbers]
            return self._block(code, operator, fmt, scalars, operands, output, numbers, rows, terms)
        tally = BlockTally()
        for points, part in _cut(operands, output.size):
            found = self.tally(operator, fmt, scalars, part, output[points], terms)
            found.shift(points.start)
            tally.add(found)
        return tally

    def _block(
        self,
        code: Code,
        operator: Operator,
        fmt: Format,
        scalars: Scalars,
        operands: Operands,
        output: Array,
        numbers: Sequence[Array],
        rows: int,
        terms: Terms,
    ) -> BlockTally:
        jobs: Array = np.zeros(rows, _JOBS)
        jobs["count"], jobs["output"] = output.size // rows, _addresses(output, rows)
        arrays = [np.ascontiguousarray(operands[name], fmt.dtype) for name in code.varying]
        for k, values in enumerate(arrays):
            jobs["from"][:, k], jobs["stride"][:, k] = _addresses(values, rows), int(values.size > rows)
        for k, values in enumerate(numbers):
            jobs["uniform"][:, k] = values
        code.judge(jobs.ctypes.data, rows, self._found, self._back.ctypes.data)
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


def code_for(operator: Operator, fmt: Format, scalars: Scalars, terms: Terms) -> Code | None:
    """Return compiled code for an operator's elements; None where that is not possible or not wanted."""
    sizes = dict.fromkeys((s.name for s in operator.scalars if s.kind == "int"), 1)  # which no program depends on
    return _code(_Page(operator), fmt.name, tuple({**scalars, **sizes}.items()), terms)


class _Page:
    """A dense operator as a key: views of one page are alike."""

    def __init__(self, view: Operator) -> None:
        self.view, self.page = view, getattr(view, "page", view)

    def __hash__(self) -> int:
        return id(self.page)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Page) and self.page is other.page


@lru_cache(maxsize=256)
def _code(key: _Page, dtype: str, scalars: tuple[tuple[str, int | float | str], ...], terms: Terms) -> Code | None:
    operator, fmt = key.view, FORMATS[dtype]
    try:
        text, varying, uniform = source(operator, fmt, dict(scalars), terms)
    except UntraceableError:
        return None
    library = _loaded(text)
    if library is None:
        return None
    judge = library.golden_judge
    judge.restype = None
    judge.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p]
    return Code(judge, varying, uniform, operator.scaled(dict(scalars)) is not None)


@lru_cache(maxsize=256)
def _loaded(text: str) -> ctypes.CDLL | None:
    return load_compiled(Path(__file__).with_name("c") / "judge.c", VECTORS, text)


def source(
    operator: Operator, fmt: Format, scalars: Scalars, terms: Terms
) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Return what comes before ``judge.c``, and the names of the operands that vary and of the uniform numbers.

    Raises :class:`UntraceableError` for an operator with a ``correctly_rounded`` of its own that is no scaled product.
    """
    shape, names = operator.scaled(scalars), operator.variables(scalars)
    page = getattr(operator, "page", operator)
    if shape is None and type(page).correctly_rounded is not Operator.correctly_rounded:
        raise UntraceableError("an own oracle")
    operands = {p.name for p in operator.inputs}
    uniform = tuple(n for n in names if n not in operands or (shape is not None and n == shape.s))
    varying = tuple(n for n in names if n not in uniform)
    if max(len(uniform), len(varying)) > _MOST:
        raise UntraceableError("more variables than a job has room for")
    places = [
        f"load((value)[{varying.index(n)}] + (i))" if n in varying else f"splat((job)->uniform[{uniform.index(n)}])"
        for n in names
    ]
    settings = {
        "FP32": int(fmt is FP32),
        "VARY": len(varying),
        "UNIFORM": len(uniform),
        "SCALED": int(shape is not None),
    }
    if shape is not None:
        settings |= {"FIRST": varying.index(shape.b), "SECOND": varying.index(shape.a)}
        settings |= {"THIRD": varying.index(shape.minus) if shape.minus else 0}
        settings |= {"CLAMPED": int(bool(shape.minus)), "NEGATED": int(shape.negative)}
    head = "".join(f"#define {name} {value}\n" for name, value in settings.items())
    head += f"#define VARIABLES(value, i, job) {', '.join(places)}\n"
    return f'{head}#include "rules.h"\n\n{functions(operator, fmt, scalars, terms)}', varying, uniform


def _cut(operands: Operands, n: int) -> Iterator[tuple[slice, dict[str, Array]]]:
    """Cut a block that is too large: into its rows, or one row into pieces."""
    if any(1 < values.size < n for values in operands.values()):
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
def _numbers(name: str, scalars: Scalars, operands: Operands) -> Array:
    """Return a uniform number: one for all rows, or one each."""
    return np.asarray(operands[name] if name in operands else [scalars[name]]).astype(np.float64)


def _rows(numbers: Sequence[Array], values: Sequence[Array], n: int) -> int:
    """Return how many rows there are if every array has an entry for all, a row or a point; else 0."""
    sizes = {*(v.size for v in numbers), *(array.size for array in values if array.size != n)} - {1}
    return 0 if len(sizes) > 1 else max(sizes, default=1)


def _addresses(values: Array, rows: int) -> Array | int:
    """Return where each row's entries begin; one for all serves all rows."""
    first = values.ctypes.data
    return first if rows == 1 or values.size == 1 else first + np.arange(rows) * (values.size // rows * values.itemsize)


def load() -> NativeJudge | None:
    """Return a C judge; None where nothing can be compiled, or is not wanted."""
    return NativeJudge() if load_samples() is not None else None
