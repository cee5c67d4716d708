"""Measures how far quotients of a build are from the exact ones, in ulp of the exact one.

``python -m tests.mutants.measure LIBRARY fp16|fp32 divide|reciprocal [--reach N]`` calls SmoothL1LossGrad of a library,
which is x1 / beta where dy = 1, x2 = 0 and abs(x1) <= beta, and prints what it found as JSON. The library is loaded in
this process, so tests run it in one of its own. With a reach of 1 and more:

- fp16, and reciprocals of both dtypes: every quotient of two mantissas (of 1 and a mantissa), subnormal ones too. What
  is found is the largest error.
- fp32 quotients: a sample, 2.8e8 of them with a reach of 16, so what is found is a lower bound. Drawn mantissas, half
  of the numerators just below the divisor; mantissas of few ones or zeros; subnormal quotients; and the hard cases of
  rounding: for every divisor the numerators with 2^24 A = M B + c for integers A, B of 24 bits and abs(c) <= reach,
  next to numbers and midpoints, and B - 1, B - 2, B - 3.

An upper bound for fp32 follows where a quotient is the rounded product of a and an approximation y of 1 / b. The
largest b abs(y - 1 / b), in units of 2^-24, is known: 1 / b was measured for each of the 2^23 mantissas b. Call it E.
For 1 <= b < 2 and a < b the quotient is in (0.5, 1), its ulp is 2^-24, and a y differs from a / b by (a / b) b
abs(y - 1 / b) <= E ulp; its rounding adds half an ulp (truncation: one). Where a y is above 1, numbers are twice as far
apart: half an ulp more, if it rounds away from a / b to more than 1, so that a y >= 1 + 2^-24 and 1 - a / b <=
(E - 1) 2^-24. Then B - A < E - 1: where E <= 4 the sample has these quotients, all. Other exponents are the same
numbers, scaled. A subnormal result is rounded twice: half an ulp, and half of the error or less.

A corrected quotient q + (a - q b) y, where q is such a product, is exact but for its rounding and
abs(a / b - q) abs(1 - b y) <= (E + 1/2) E 2^-24 ulp; the remainder, and without fma its product with y, are rounded,
which adds (E + 1/2) 2^-24 each at most. What is subnormal is rounded once, from q and the sign of the remainder.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests import ROOT
from tests.mutants.run import FOLDER

SOURCE = Path(__file__).with_name("measure.c")
#: Numerators that ``measure_largest`` may have to try.
MOST = 1 << 31
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

    def product(self, truncates: bool) -> float:
        """Return the largest error in ulp that any quotient a * y of fp32 can have."""
        rounding = 1.0 if truncates else 0.5
        normal = self.inverse + rounding + (0.5 if self.inverse > 4 else 0.0)
        return max(self.error, normal, rounding + normal / 2)

    def corrected(self) -> float:
        """Return the largest error in ulp of a quotient that is corrected after the product that was measured."""
        return 0.5 + (self.inverse + 0.5) * (self.inverse + 2) * 2.0**-24


def measured(library: Path, dtype: str, operation: str, reach: int, product: float = 0.0) -> Measured:
    """Measure a library in a process of its own.

    ``product``: where E is above it, every quotient of fp32 whose product a * y could be further from a / b, in ulp, is
    measured too, and E is then what it is.
    """
    words = [sys.executable, "-m", "tests.mutants.measure", str(library), dtype, operation]
    words += ["--compiled", str(_compiled(FOLDER)), "--reach", str(reach), "--product", str(product)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return Measured(**json.loads(done.stdout))


@dataclass(frozen=True)
class Call:
    """``count`` equal elements of SmoothL1LossGrad; the private entry point with ``mask`` 0.

    With a ``reduction`` an element of NLLLossGrad: -dy * x1 for ``none``, -dy * (x1 / beta) for ``mean``.
    """

    dtype: str
    dy: float = 1.0
    x1: float = 0.0
    x2: float = 0.0
    beta: float = 1.0
    count: int = 1
    mask: int = 0
    reduction: str = ""


def results(library: Path, calls: Sequence[Call]) -> list[list[float]]:
    """Return what calls of a library give, made in one process of their own."""
    words = [sys.executable, "-m", "tests.mutants.measure", str(library), "fp32", "calls"]
    words += ["--compiled", str(_compiled(FOLDER))]
    given = json.dumps([asdict(c) for c in calls])
    done = subprocess.run(words, cwd=ROOT, input=given, capture_output=True, text=True, check=True)
    found: list[list[float]] = json.loads(done.stdout)
    return found


def _called(code: ctypes.CDLL, library: ctypes.CDLL, call: Call) -> list[float]:
    half, real = call.dtype == "fp16", ctypes.c_double
    operator = "nlllossgrad" if call.reduction else "smoothl1lossgrad"
    symbol = f"{'hp' if half else 'fp'}_{operator}_{'s' if call.mask else 'p'}"
    entry = ctypes.cast(library[symbol], ctypes.c_void_p)
    if call.reduction:
        code.measure_label.restype = real
        number = {"mean": 1, "none": 2}[call.reduction]
        return [code.measure_label(entry, half, number, real(call.dy), real(call.x1), real(call.beta))]
    out = (real * call.count)()
    values = [real(v) for v in (call.dy, call.x1, call.x2, call.beta)]
    code.measure_call(entry, half, call.mask, call.count, *values, out)
    return list(out)


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


def _measure(code: ctypes.CDLL, entry: int, dtype: str, operation: str, reach: int, product: float) -> Measured:
    found, half = Measure(), dtype == "fp16"
    at, real = ctypes.byref(found), ctypes.c_double
    code.measure_start(at, ctypes.c_void_p(entry), half)
    # The largest power of two, and how far below 1 a quotient becomes subnormal.
    top, least = (2.0**15, -14) if half else (2.0**127, -126)
    step = 1 if half or reach else 1001
    for scale in (1, top / 2, top) if operation == "reciprocal" else (1,):
        code.measure_inverses(at, DIGITS[dtype], step, real(scale))
    inverse = found.inverse.error
    if operation == "divide" and half:
        code.measure_pairs(at, 1 if reach else 3, real(1), real(1))
        for lost in range(1, 13):
            # a / (b top) is subnormal; both are normal numbers.
            code.measure_pairs(at, 1 if reach else 37, real(top * 2.0 ** (least - lost)), real(top))
    elif operation == "divide":
        rows = {0: 64, 1: 512}.get(reach, 8192)
        code.measure_hard(at, 0, 1 if reach else 997, max(reach, 1))
        code.measure_drawn(at, ctypes.c_uint64(SEED), rows, 4096, real(1), real(1))
        for lost in range(1, 26):
            scale = real(top * 2.0 ** (least - lost))
            code.measure_drawn(at, ctypes.c_uint64(SEED + lost), rows // 32, 2048, scale, real(top))
        if reach:
            code.measure_plain(at)
        if reach and 0 < product < inverse:
            code.measure_largest.restype = ctypes.c_int64
            if code.measure_largest(at, real(product), ctypes.c_int64(MOST)) <= MOST:
                inverse = product
    worst = found.worst
    return Measured(found.quotients, worst.a, worst.b, worst.got, worst.error, found.power.error, inverse, found.above)


def main() -> None:
    """Measure the library that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.measure")
    parser.add_argument("library", type=Path)
    parser.add_argument("dtype", choices=list(DIGITS))
    parser.add_argument("operation", choices=["divide", "reciprocal", "calls"])
    parser.add_argument("--reach", type=int, default=16)
    parser.add_argument("--product", type=float, default=0.0)
    parser.add_argument("--compiled", type=Path)
    given = parser.parse_args()
    code = ctypes.CDLL(str(given.compiled or _compiled(FOLDER)))
    library = ctypes.CDLL(str(given.library.resolve()))
    if given.operation == "calls":
        print(json.dumps([_called(code, library, Call(**c)) for c in json.load(sys.stdin)]))
        return
    symbol = "hp_smoothl1lossgrad_p" if given.dtype == "fp16" else "fp_smoothl1lossgrad_p"
    entry = ctypes.cast(library[symbol], ctypes.c_void_p).value or 0
    print(json.dumps(asdict(_measure(code, entry, given.dtype, given.operation, given.reach, given.product))))


if __name__ == "__main__":
    main()
