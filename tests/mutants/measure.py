"""Measures how far quotients of a build are from the exact ones, in ulp of the exact one.

``python -m tests.mutants.measure LIBRARY fp16|fp32 divide|reciprocal [--whole]`` calls SmoothL1LossGrad of a library,
which is x1 / beta where dy = 1, x2 = 0 and abs(x1) <= beta, and prints what it found as JSON. The library is loaded in
this process, so tests run it in one of its own. ``--whole``:

- fp16, and reciprocals of both dtypes: every quotient of two mantissas (of 1 and a mantissa), subnormal ones too. What
  is found is the largest error.
- fp32 quotients: a sample of 2.6e8, so what is found is a lower bound. Drawn mantissas, half of the numerators just below the
  divisor; mantissas of few ones or zeros; subnormal quotients; and the hard cases of rounding: for every divisor the numerators
  with 2^24 A = M B + c for integers A, B of 24 bits and abs(c) <= 16, next to numbers and midpoints.

``bound`` is an upper bound for fp32, where a quotient is the rounded product of a and an approximation y of 1 / b.
The largest b * abs(y - 1 / b), in units of 2^-24, is known: 1 / b was measured for each of the 2^23 mantissas b. Call it
E. For 1 <= b < 2 and a <= b the quotient is in (0.5, 1] or 1, its ulp is 2^-24, and a y differs from a / b by
(a / b) b abs(y - 1 / b) <= E ulp; its rounding adds half an ulp (truncation: one). Where a y is above 1 and a / b below,
numbers are twice as far apart: half an ulp more, if it rounds away from a / b to more than 1, so that a y >= 1 + 2^-24 and
1 - a / b <= (E - 1) 2^-24. Then B - A < E - 1 for the integers of 24 bits: where E <= 5 the sample has these quotients, all.
Other exponents are the same numbers, scaled. A subnormal result is rounded twice: half an ulp, and half of the error or less.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from tests import ROOT
from tests.mutants.run import FOLDER

SOURCE = Path(__file__).with_name("measure.c")
#: How far from numbers and midpoints hard numerators lie (``measure_hard``).
REACH = 16
SEED = 0x601DE4
DIGITS = {"fp16": 11, "fp32": 24}


class Worst(ctypes.Structure):
    """``struct worst`` of measure.c."""

    _fields_ = (("a", ctypes.c_double), ("b", ctypes.c_double), ("got", ctypes.c_double), ("error", ctypes.c_double))


class Measure(ctypes.Structure):
    """``struct measure`` of measure.c."""

    _fields_ = (
        ("fp", ctypes.c_void_p),
        ("hp", ctypes.c_void_p),
        ("quotients", ctypes.c_uint64),
        ("worst", Worst),
        ("power", Worst),
        ("inverse", Worst),
        ("above", ctypes.c_double),
    )


@dataclass(frozen=True)
class Measured:
    """The worst quotient: ``got`` for a / b, its error in ulp.

    ``power``: the largest error where b is a power of two and the quotient not subnormal; ``above``: that of quotients
    above the exact one; ``inverse``: E of the module's text.
    """

    quotients: int
    a: float
    b: float
    got: float
    error: float
    power: float
    inverse: float
    above: float

    def bound(self, toward_zero: bool) -> float:
        """Return the largest error in ulp that any quotient a * y of fp32 can have; see the module."""
        normal = self.inverse + (1.0 if toward_zero else 0.5) + (0.5 if self.inverse > 5 else 0.0)
        return max(self.error, normal, (1.0 if toward_zero else 0.5) + normal / 2)


def measured(library: Path, dtype: str, operation: str, whole: bool) -> Measured:
    """Measure a library in a process of its own."""
    compiled = _compiled(FOLDER)
    words = [sys.executable, "-m", "tests.mutants.measure", str(library), dtype, operation, "--compiled", str(compiled)]
    words += ["--whole"] * whole
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return Measured(**json.loads(done.stdout))


def _compiled(folder: Path) -> Path:
    """Compile measure.c, if it is newer than what is there."""
    output = folder / "measure.so"
    if not output.is_file() or output.stat().st_mtime < SOURCE.stat().st_mtime:
        folder.mkdir(parents=True, exist_ok=True)
        flags = ("-O2", "-std=gnu11", "-fPIC", "-shared", "-fno-math-errno", "-ffp-contract=off")
        # Compiled beside and renamed: two processes may do so at once.
        made = folder / f"measure-{os.getpid()}.so"
        subprocess.run(["gcc", *flags, str(SOURCE), "-o", str(made), "-lm"], check=True)
        made.replace(output)
    return output


def _measure(code: ctypes.CDLL, entry: int, dtype: str, operation: str, whole: bool) -> Measure:
    found, half = Measure(), dtype == "fp16"
    at = ctypes.byref(found)
    code.measure_start(at, ctypes.c_void_p(entry), half)
    real = ctypes.c_double
    # The largest power of two, and how far below 1 a quotient becomes subnormal.
    top, least = (2.0**15, -14) if half else (2.0**127, -126)
    code.measure_inverses(at, DIGITS[dtype], 1 if whole or half else 1001, real(1))
    if operation == "reciprocal":
        for scale in (top, top / 2):
            code.measure_inverses(at, DIGITS[dtype], 1 if whole or half else 1001, real(scale))
    elif half:
        code.measure_pairs(at, 1 if whole else 3, real(1), real(1))
        for lost in range(1, 13):
            # a / (b top) is subnormal; both are normal numbers.
            code.measure_pairs(at, 1 if whole else 37, real(top * 2.0 ** (least - lost)), real(top))
    else:
        code.measure_hard(at, 0, 1 if whole else 997, REACH)
        code.measure_drawn(at, ctypes.c_uint64(SEED), 8192 if whole else 64, 4096, real(1), real(1))
        for lost in range(1, 26):
            scale = real(top * 2.0 ** (least - lost))
            code.measure_drawn(at, ctypes.c_uint64(SEED + lost), 256 if whole else 4, 2048, scale, real(top))
        if whole:
            code.measure_plain(at)
    return found


def main() -> None:
    """Measure the library that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.measure")
    parser.add_argument("library", type=Path)
    parser.add_argument("dtype", choices=list(DIGITS))
    parser.add_argument("operation", choices=["divide", "reciprocal"])
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--compiled", type=Path)
    given = parser.parse_args()
    code = ctypes.CDLL(str(given.compiled or _compiled(FOLDER)))
    symbol = "hp_smoothl1lossgrad_p" if given.dtype == "fp16" else "fp_smoothl1lossgrad_p"
    entry = ctypes.cast(ctypes.CDLL(str(given.library.resolve()))[symbol], ctypes.c_void_p).value or 0
    found = _measure(code, entry, given.dtype, given.operation, given.whole)
    worst = found.worst
    print(
        json.dumps(
            asdict(
                Measured(
                    found.quotients, worst.a, worst.b, worst.got, worst.error, found.power.error, found.inverse.error, found.above
                )
            )
        )
    )


if __name__ == "__main__":
    main()
