"""Rates of generating and judging, as figures and as ratios to a plain memory copy of the same run.

Single absolute times say little on a shared machine; the ratios hold when its speed drifts. Nothing is written.
"""

import time
from collections.abc import Callable

import numpy as np
from tabulate import tabulate

from generators import smoothl1lossgrad
from generators.samplers import log_uniform
from generators.stream import Stream
from golden.case import Case
from golden.formats import FORMATS, Format
from golden.judge import judge
from golden.operator import Arithmetic, Golden
from golden.operators.smoothl1lossgrad import OPERATOR
from golden.tally import Accumulator

ELEMENTS = 1 << 20
REPEATS = 5


def rate(work: Callable[[], object], elements: int = ELEMENTS) -> float:
    """Best of several runs, in million elements a second."""
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return elements / best / 1e6


def copy_rate(fmt: Format) -> float:
    """Copy as many bytes as judging one element reads: three operands, golden and output."""
    source = np.ones(5 * ELEMENTS, fmt.dtype)
    target = np.empty_like(source)
    return rate(lambda: np.copyto(target, source))


def make_case(fmt: Format) -> Case:
    beta = fmt.typed(0.1)
    stream = Stream("bench")
    dy, d = (log_uniform(stream, fmt, ELEMENTS, low, low + 12) for low in (-6, -12))
    operands = {"dy": dy, "x1": d, "x2": np.zeros_like(d)}
    scalars: dict[str, int | float | str] = {"length": ELEMENTS, "beta": beta}
    golden: Golden = OPERATOR.oracle(fmt, scalars, operands)
    return Case("bench", OPERATOR, fmt.name, "required", "bench", ("rounding",), scalars, operands, golden)


def main() -> None:
    rows = []
    for fmt in FORMATS.values():
        case = make_case(fmt)
        formula = OPERATOR.orders["formula"](Arithmetic(fmt), case.scalars, case.operands)

        def judging(output: np.ndarray, case: Case = case) -> None:
            accumulator = Accumulator()
            accumulator.add(case, output, judge(case, output, flush=False))

        copied = copy_rate(fmt)
        work: dict[str, Callable[[], object]] = {
            "sample (log-uniform)": lambda fmt=fmt: smoothl1lossgrad.log_uniform(
                Stream("bench"), fmt, fmt.typed(0.1), ELEMENTS
            ),
            "oracle with residual": lambda fmt=fmt, case=case: OPERATOR.oracle(fmt, case.scalars, case.operands),
            "judge again, all bits golden": lambda case=case: judging(case.golden.value),
            "judge, formula order": lambda formula=formula: judging(formula),
        }
        for name, function in work.items():
            speed = rate(function)
            rows.append((fmt.name, name, f"{speed:.1f}", f"{speed / copied:.4f}"))
        rows.append((fmt.name, "memory copy (5 arrays)", f"{copied:.1f}", "1"))
    print(tabulate(rows, headers=["dtype", "what", "M elements/s", "ratio to copy"]))


if __name__ == "__main__":
    main()
