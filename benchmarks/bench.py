"""Rates of generating, judging and sweeping; as figures, and as ratios to a memory copy and to NumPy of the same run.

What is compared is timed in turns, a few times, and the best counts: so that other work on the machine, and its
clock, do to all the same. One core: processor time of the judge's thread; two cores: wall-clock time of two threads.
Nothing is written.
"""

import os
import platform
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from tabulate import tabulate

from generators import smoothl1lossgrad
from generators.samplers import log_uniform
from generators.stream import Stream
from golden.case import Case
from golden.errors import UsageError
from golden.files.sweeps import SweepResult
from golden.formats import FORMATS, Array, Format
from golden.judge import judge
from golden.operator import Operands, Scalars
from golden.operators.smoothl1lossgrad import OPERATOR
from golden.pointwise import dense
from golden.tally import Accumulator
from golden.terms import Terms
from golden.working import WorkingPrecision
from runners.sweeping.engine import open_work, sweep
from runners.sweeping.judge import NativeJudge, load
from runners.sweeping.processes import Processes
from runners.sweeping.space import Axis, make_space
from runners.sweeping.tally import numpy_tally
from runners.toolchain.build import build_library, find_compiler

ELEMENTS = 1 << 20
ROUNDS = 150
#: What is judged: operator, beta or reduction, and how its results came about: "exact", or an order of evaluation.
DATA: tuple[tuple[str, str, float | str, str], ...] = (
    ("smoothl1, beta 0.1, exact", "smoothl1lossgrad", 0.1, "exact"),
    ("smoothl1, beta 0.1, formula", "smoothl1lossgrad", 0.1, "formula"),
    ("nll none, exact", "nlllossgrad", "none", "exact"),
    ("nll mean, formula", "nlllossgrad", "mean", "formula"),
)
Key = TypeVar("Key", bound=Hashable)
Work = Callable[[], object]


def rates(work: dict[Key, Work], rounds: int, clock: Callable[[], float], elements: int = ELEMENTS) -> dict[Key, float]:
    """Run all in turns; return each one's best rate in million elements a second."""
    best = dict.fromkeys(work, float("inf"))
    for _ in range(rounds):
        for name, function in work.items():
            start = clock()
            function()
            best[name] = min(best[name], clock() - start)
    return {name: elements / seconds / 1e6 for name, seconds in best.items()}


def operands(fmt: Format, name: str, what: float | str) -> tuple[Scalars, Operands]:
    rng, beta = np.random.default_rng(1), fmt.typed(0.1)
    dy, x1, x2 = (fmt.cast(rng.normal(size=ELEMENTS) * s) for s in (1.0, beta, beta / 3))
    if name == "smoothl1lossgrad":
        return {"length": ELEMENTS, "beta": fmt.typed(float(what))}, {"dy": dy, "x1": x1, "x2": x2}
    scalars: Scalars = {"batch": ELEMENTS, "class_num": 1, "reduction_type": str(what)}
    return scalars, {"loss_grad": dy, "weight": x1, "total_weight": np.array([3.7], fmt.dtype)}


def both(work: Callable[[int], object]) -> Work:
    """Return what does work(0) and work(1) at once, two times each."""
    pool = ThreadPoolExecutor(2)
    together = threading.Barrier(2)

    def part(which: int) -> None:
        together.wait()
        for _ in range(2):
            work(which)

    return lambda: list(pool.map(part, (0, 1)))


def judging() -> list[tuple[str, ...]]:
    """Rates of the C judge for data in memory."""
    native = load()
    judges = [NativeJudge() for _ in range(2)] if native else []
    rows: list[tuple[str, ...]] = []
    for fmt in FORMATS.values():
        for label, name, what, kind in DATA:
            view, (scalars, given) = dense(name), operands(fmt, name, what)
            output: Array = (
                view.oracle(fmt, scalars, given).value
                if kind == "exact"
                else view.evaluate(kind, WorkingPrecision(fmt), fmt, scalars, given)
            )
            arguments = (view, fmt, scalars, given, output, Terms())
            misrounded = (native.tally if native else numpy_tally)(*arguments).misrounded / ELEMENTS
            arrays = sum(values.size > 1 for values in (*given.values(), output))
            copies = [(np.empty(arrays * ELEMENTS, fmt.dtype), np.ones(arrays * ELEMENTS, fmt.dtype)) for _ in range(2)]
            one: dict[str, Work] = {"copy": lambda c=copies: np.copyto(*c[0])}  # type: ignore[misc]
            two: dict[str, Work] = {"copy": both(lambda k, c=copies: np.copyto(*c[k]))}  # type: ignore[misc]
            if native:
                one["C"] = lambda a=arguments: judges[0].tally(*a)  # type: ignore[misc]
                two["C"] = both(lambda k, a=arguments: judges[k].tally(*a))  # type: ignore[misc]
            slow = rates({"NumPy": lambda a=arguments: numpy_tally(*a)}, 2, time.thread_time)["NumPy"]  # type: ignore[misc]
            single = rates(one, ROUNDS, time.thread_time)
            double = rates(two, ROUNDS, time.perf_counter, 4 * ELEMENTS)
            fast, fast2 = single.get("C", float("nan")), double.get("C", float("nan"))
            figures = (f"{misrounded:.1%}", f"{fast:.0f}", f"{fast2:.0f}", f"{fast / single['copy']:.2f}")
            rows.append(
                (fmt.name, label, *figures, f"{fast2 / double['copy']:.2f}", f"{slow:.1f}", f"{fast / slow:.0f}")
            )
    return rows


def generating() -> list[tuple[str, ...]]:
    """Rates of what makes and judges vectors: NumPy, one thread."""
    rows: list[tuple[str, ...]] = []
    for fmt in FORMATS.values():
        beta = fmt.typed(0.1)
        stream = Stream("bench")
        dy, d = (log_uniform(stream, fmt, ELEMENTS, low, low + 12) for low in (-6, -12))
        given = {"dy": dy, "x1": d, "x2": np.zeros_like(d)}
        scalars: Scalars = {"length": ELEMENTS, "beta": beta}
        golden = OPERATOR.oracle(fmt, scalars, given)
        case = Case("bench", OPERATOR, fmt.name, "required", "bench", ("rounding",), dict(scalars), given, golden)
        formula = OPERATOR.evaluate("formula", WorkingPrecision(fmt), fmt, scalars, given)

        def judging_case(case: Case = case, output: Array = formula) -> None:
            Accumulator().add(case, output, judge(case, output, Terms()))

        copies = (np.empty(5 * ELEMENTS, fmt.dtype), np.ones(5 * ELEMENTS, fmt.dtype))
        work: dict[str, Work] = {
            "sample (log-uniform)": lambda fmt=fmt, b=beta: smoothl1lossgrad.log_uniform(  # type: ignore[misc]
                Stream("bench"), fmt, b, ELEMENTS
            ),
            "oracle with residual": lambda f=fmt, s=scalars, g=given: OPERATOR.oracle(f, s, g),  # type: ignore[misc]
            "judge a case, formula order": judging_case,
            "memory copy (5 arrays)": lambda c=copies: np.copyto(*c),  # type: ignore[misc]
        }
        found = rates(work, 3, time.thread_time)
        copied = found["memory copy (5 arrays)"]
        rows += [(fmt.name, name, f"{rate:.1f}", f"{rate / copied:.4f}") for name, rate in found.items()]
    return rows


def sweeping() -> str:
    """Every fourth x1 with every dy, fp16: rate, and overhead over the kernel's own time."""
    jobs = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as folder:
        try:
            library = build_library(Path(folder) / "kernels.so", cflags=("-O3", "-march=native"))
        except UsageError as error:
            return f"no sweep: {error}"

        def swept(step: int) -> SweepResult:
            axes = (Axis("x1", 0, 1 << 16, step), Axis("dy", 0, 1 << 16))
            space = make_space("diff-dy", "smoothl1lossgrad", "fp16", beta=0.1, axes=axes)
            work, described = open_work(str(library), space)
            return sweep(str(library), work, described, Processes(jobs))

        start = swept(1 << 12).seconds  # a block: processes start, and end
        large = swept(4)
    kernel = large.kernel_seconds / jobs
    a_point = (large.seconds - start - kernel) / large.points
    whole = start + a_point * 2**32
    return (
        f"sweep of 2^30 (diff, dy), beta 0.1, {jobs} processes: {large.rate / 1e6:.0f} M points/s; "
        f"{large.seconds:.1f} s, of which {start:.1f} s are start and {kernel:.1f} s the kernel's own, on as many.\n"
        f"Overhead over the kernel's own time, extrapolated linearly to 2^32 points: {whole:.1f} s."
    )


def machine() -> str:
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.is_file() else ():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    try:
        version = subprocess.run([*find_compiler(), "--version"], capture_output=True, text=True, check=True).stdout
    except (UsageError, OSError, subprocess.SubprocessError):
        version = "no C compiler: NumPy alone"
    compiler = version.splitlines()[0]
    return f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; {compiler}; NumPy {np.__version__}"


def main() -> None:
    print(machine(), "\n")
    headers = ["dtype", "judge", "misrounded", "1 core", "2 cores", "of copy", "of copy, 2", "NumPy", "C / NumPy"]
    print(tabulate(judging(), headers=headers, disable_numparse=True), "\nRates in M elements/s.\n")
    print(sweeping(), "\n")
    print(
        tabulate(generating(), headers=["dtype", "NumPy, one core", "M elements/s", "of copy"], disable_numparse=True)
    )


if __name__ == "__main__":
    main()
