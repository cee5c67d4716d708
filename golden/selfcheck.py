"""Whether this machine and this process can judge: their arithmetic, and what judging takes from the system.

What a Python process loads (LD_PRELOAD, an extension module built with -ffast-math) may switch on flush-to-zero or
another rounding mode for all that follows, and golden values or verdicts would then be wrong without a sign of it.
Everything here is held against integers, which no such mode touches. NumPy is imported late: where memory is short its
import already ends the process.
"""

import fcntl
import mmap
import os
import resource
from contextlib import ExitStack
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from golden.errors import MachineError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Significand bits and smallest exponent of NumPy's floats, by width.
_FORMATS = {16: (11, -14), 32: (24, -126), 64: (53, -1022)}
#: Elements an array: whole vectors of every instruction set, and a tail.
_ELEMENTS = 67
#: What a run opens, starts and maps at a time, with room to spare.
_DESCRIPTORS, _PROCESSES, _ADDRESSES = 64, 4, 256 << 20


def check_arithmetic() -> None:
    """Raise :class:`MachineError` unless products, quotients, sums and casts are exactly rounded, subnormals included.

    In Python's floats, and in NumPy's scalars and arrays of every width. Takes 3 ms the first time, 2 ms then.
    """
    if fault := arithmetic_fault():
        raise MachineError(fault)


def require_machine() -> None:
    """Raise :class:`MachineError` for what a run needs and this machine does not give: files, processes, memory."""
    if fault := machine_fault():
        raise MachineError(fault)


def arithmetic_fault() -> str:
    """Return what is wrong with this process's arithmetic in one sentence; "" where nothing is."""
    for where, operation, width, got, wanted in _computed():
        if got == wanted:
            continue
        zero = not got & ~(1 << width - 1)
        cause = "Flush-to-zero is on" if zero else "Numbers are not rounded to nearest, ties to even,"
        return (
            f"{cause} in this process: {where}: {operation} came out as {got:#0{width // 4 + 2}x}, "
            f"not {wanted:#0{width // 4 + 2}x}. Something that this Python loads (LD_PRELOAD, an extension module "
            "built with -ffast-math) has changed the floating-point mode: run golden without it."
        )
    return ""


def machine_fault() -> str:
    """Return what this machine lacks in one sentence; "" where it lacks nothing."""
    with ExitStack() as stack:
        try:
            mmap.mmap(-1, _ADDRESSES).close()
        except OSError:
            return f"There are no {_ADDRESSES >> 20} MiB of address space left: raise the limit (ulimit -v)."
        if not Path("/proc/self/stat").exists():
            return "/proc is not there, and without it no process can be supervised: mount it."
        if (limit := resource.getrlimit(resource.RLIMIT_NOFILE)[0]) < _DESCRIPTORS and limit != resource.RLIM_INFINITY:
            return f"Only {limit} files may be open at a time, and a run takes {_DESCRIPTORS}: raise it (ulimit -n)."
        try:
            shared = os.memfd_create("golden", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
            stack.callback(os.close, shared)
            fcntl.fcntl(shared, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        except OSError as error:
            return f"memfd_create is refused here ({error.strerror}), and operands need memory that can be sealed."
        try:
            _start(_PROCESSES)
        except OSError as error:
            return f"No {_PROCESSES} processes can be started here ({error.strerror}): raise the limit (ulimit -u)."
    return ""


def _start(count: int) -> None:
    """Have a number of processes at the same time; raises OSError where that is refused."""
    held, released = os.pipe()
    children = []
    try:
        for _ in range(count):
            if not (child := os.fork()):
                os.close(released)
                os.read(held, 1)
                os._exit(0)
            children.append(child)
    finally:
        os.close(released)
        os.close(held)
        for child in children:
            os.waitpid(child, 0)


def _computed() -> "Iterator[tuple[str, str, int, int, int]]":
    """Yield what was computed: where, as what, the width of the result, its bits, and what they must be."""
    import numpy as np  # noqa: PLC0415 - see above

    def bits(result: Any) -> list[int]:
        """Return the different bit patterns of a scalar or an array."""
        return sorted({*np.atleast_1d(result).view(f"u{result.dtype.itemsize}").tolist()})

    with np.errstate(all="ignore"):
        for width in _FORMATS:
            for name, one, other, wanted in _operations(width):
                shown = f"{name.format(f'{one:#x}', f'{other:#x}')} in fp{width}"
                a, b = (np.full(_ELEMENTS, x, f"u{width // 8}").view(f"f{width // 8}") for x in (one, other))
                results = {"NumPy's arrays": _apply(name, a, b), "NumPy's scalars": _apply(name, a[0], b[0])}
                if width == 64:
                    results["Python's floats"] = np.float64(_apply(name, float(a[0]), float(b[0])))
                for where, result in results.items():
                    for got in bits(result):
                        yield where, shown, width, got, wanted
        for source, target, pattern, wanted in _casts():
            a = np.full(_ELEMENTS, pattern, f"u{source // 8}").view(f"f{source // 8}")
            for where, cast in (("NumPy's arrays", a.astype), ("NumPy's scalars", a[0].astype)):
                for got in bits(cast(f"f{target // 8}")):
                    yield where, f"{pattern:#x} from fp{source} to fp{target}", target, got, wanted


def _apply(name: str, a: Any, b: Any) -> Any:
    if "*" in name:
        return a * b
    return a / b if "/" in name else a + b


@cache
def _operations(width: int) -> list[tuple[str, int, int, int]]:
    """Return operations that every wrong mode changes: an operation, the bits of its operands and of its result."""
    p, emin = _FORMATS[width]
    ulp, half, sign = Fraction(2) ** (1 - p), Fraction(1, 2), -1
    normal, least = Fraction(2) ** emin, Fraction(2) ** (emin + 1 - p)
    pairs = {
        "{} * {}": [
            (1 + ulp, 1 + ulp),  # just above a number, and below the midpoint
            (1 + ulp, Fraction(3, 2)),  # a midpoint, to the even number above
            (1 + 3 * ulp, Fraction(3, 2)),  # a midpoint, to the even number below
            (normal, half),  # a subnormal result
            (normal * (2 - ulp), half),  # rounds up to the smallest normal number
            (least, sign * Fraction(3, 2)),  # a midpoint among subnormals
            (3 * least, 1 / normal),  # a subnormal operand, a normal result
        ],
        "{} / {}": [
            (Fraction(1), Fraction(3)),
            (Fraction(sign * 1), Fraction(3)),
            (Fraction(2), Fraction(3)),
            (3 * least, Fraction(2)),
            (Fraction(1), least * Fraction(2) ** (p - 2)),
        ],
        "{} + {}": [(Fraction(1), ulp / 2), (1 + ulp, ulp / 2), (Fraction(sign), ulp / 4), (normal, -least)],
    }
    found = []
    for name, operands in pairs.items():
        for one, other in operands:
            exact = _apply(name, one, other)
            found.append((name, _rounded(one, width), _rounded(other, width), _rounded(exact, width)))
    return found


@cache
def _casts() -> list[tuple[int, int, int, int]]:
    """Return casts: width before and after, the bits before and what they must be after."""
    found = []
    for narrow, wide in ((16, 32), (16, 64), (32, 64)):
        p, emin = _FORMATS[narrow]
        ulp, least = Fraction(2) ** (1 - p), Fraction(2) ** (emin + 1 - p)
        trap = Fraction(2) ** (2 - _FORMATS[wide][0])  # lost where a cast goes through another format
        numbers = [1 + ulp / 2, 1 + 3 * ulp / 2, 1 + ulp / 2 + trap, -1 - ulp / 2 + trap, least / 2, 3 * least / 2]
        numbers += [3 * least, -least / 2 * (1 + trap), Fraction(2) ** emin * (1 - ulp / 4)]
        for number in numbers:
            pattern = _rounded(number, wide)
            found.append((wide, narrow, pattern, _rounded(number, narrow)))
        for number in (3 * least, -least, Fraction(1) + ulp):
            found.append((narrow, wide, _rounded(number, narrow), _rounded(number, wide)))
    return found


def _rounded(number: Fraction, width: int) -> int:
    """Return the bits of a number rounded to nearest, ties to even, by integer arithmetic alone."""
    p, emin = _FORMATS[width]
    size = abs(number)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    exponent = max(exponent - (size < Fraction(2) ** exponent), emin)
    units = round(size / Fraction(2) ** (exponent + 1 - p))
    return (number < 0) << width - 1 | (exponent - emin << p - 1) + units
