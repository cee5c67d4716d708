"""Rates of the judge, C and NumPy, one process: figures, and ratios to a memory copy of the same data in the same run.

Rates are by processor time, so that other work on the machine costs little; the ratios are what holds from machine to
machine. ``exact``: every result has golden's bits; ``formula``, ``reciprocal``: a share is misrounded, legally.
Nothing is written.
"""

import os
import time
from collections.abc import Callable

import numpy as np
from tabulate import tabulate

from golden.formats import FORMATS, Array
from golden.operator import Arithmetic
from runners.blocks import numpy_tally
from runners.dense import dense
from runners.native import load

POINTS = 1 << 20
REPEATS = 15


def rate(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Best of several runs, in million points a second of processor time."""
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return POINTS / best / 1e6


def main() -> None:
    native, rng, rows = load(), np.random.default_rng(1), []
    if native is None:
        print("no C compiler: the NumPy path alone")
    for fmt in FORMATS.values():
        beta = fmt.typed(0.1)
        dy, x1, x2 = (fmt.cast(rng.normal(size=POINTS) * s) for s in (1.0, beta, beta / 3))
        source = np.ones(4 * POINTS, fmt.dtype)
        target = np.empty_like(source)
        copied = rate(lambda a=target, b=source: np.copyto(a, b))  # type: ignore[misc]
        total = np.array([3.7], fmt.dtype)
        smooth = ("smoothl1lossgrad", {"length": POINTS, "beta": beta}, {"dy": dy, "x1": x1, "x2": x2})
        nll = {"loss_grad": dy, "weight": x1, "total_weight": total}
        sizes = {"batch": POINTS, "class_num": 1}
        work = [(f"smoothl1 {kind}", *smooth, kind) for kind in ("exact", "formula", "reciprocal")]
        work += [(f"nll {r}", "nlllossgrad", {**sizes, "reduction_type": r}, nll, "formula") for r in ("none", "mean")]
        for label, name, scalars, operands, kind in work:
            view = dense(name)
            with np.errstate(all="ignore"):
                output: Array = (
                    view.oracle(fmt, scalars, operands).value
                    if kind == "exact"
                    else np.ascontiguousarray(view.orders[kind](Arithmetic(fmt), scalars, operands))
                )
            arguments = (view, fmt, scalars, operands, output, False)
            slow = rate(lambda a=arguments: numpy_tally(*a), 2)  # type: ignore[misc]
            fast = rate(lambda a=arguments: native.tally(*a)) if native else float("nan")  # type: ignore[misc]
            rows.append((fmt.name, label, f"{fast:.0f}", f"{fast / copied:.3f}", f"{slow:.1f}", f"{fast / slow:.0f}"))
        rows.append((fmt.name, "memory copy (4 arrays)", f"{copied:.0f}", "1", "", ""))
    headers = ["dtype", "what", "C, M/s a core", "ratio to copy", "NumPy, M/s", "C / NumPy"]
    print(tabulate(rows, headers=headers, disable_numparse=True))
    print(f"{os.cpu_count()} processors; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
