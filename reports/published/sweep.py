"""Sweep the bundled fp16 kernels over whole input spaces and publish what was found: ``make sweeps``.

Only the ``golden`` command line is used. Times belong to the machine that is named beside them; everything else is the
same wherever the same compiler's code runs. A row more is one more entry of ``SWEEPS``.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FLAGS = "-O3 -march=native"
SMOOTH = ("--operator", "smoothl1lossgrad", "--dtype", "fp16")
NLL = ("--operator", "nlllossgrad", "--dtype", "fp16")
#: What is swept: (name of the file, what it holds, options of ``golden sweep``).
SWEEPS: list[tuple[str, str, tuple[str, ...]]] = [
    *(
        (
            f"smoothl1lossgrad-fp16-{space}-beta-{beta}",
            f"{'all (diff, dy)' if space == 'diff-dy' else 'all (x1, x2), dy 0.7'}, beta {beta}",
            (*SMOOTH, "--space", space, "--beta", beta, *(("--set", "dy=0.7") if space == "pairs" else ())),
        )
        for space in ("diff-dy", "pairs")
        for beta in ("0.1", "0.5", "1.0")
    ),
    ("nlllossgrad-fp16-g-w-none", "all (g, w), reduction none", (*NLL, "--space", "g-w", "--reduction", "none")),
    (
        "nlllossgrad-fp16-g-w-mean-3",
        "all (g, w), reduction mean, total_weight 3",
        (*NLL, "--space", "g-w", "--reduction", "mean", "--set", "total_weight=3"),
    ),
    (
        "nlllossgrad-fp16-w-total-mean-0.7",
        "all (w, total_weight but ±0), reduction mean, loss_grad 0.7",
        (*NLL, "--space", "w-total", "--reduction", "mean", "--set", "loss_grad=0.7"),
    ),
]
HEAD = """# Exhaustive sweeps of the bundled fp16 kernels

Every bit pattern of both varying operands: the maxima are upper bounds. Build: the bundled kernels, {compiler},
`{flags}`, private entry points, swept on {machine}; a build for this host, no measurement of a DSP. *seconds* is
wall-clock time, *kernel* the processor time in the kernel's own calls, summed over the processes. *NaN* counts results
that are NaN where the exact value is infinite: an infinite gradient times a quotient that underflows is 0 * inf in
the page's own order, and legal there. Made by `make sweeps`.

| entry point | space | points | misrounded | max ulp | outside bounds | NaN | seconds | kernel | M points/s |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|
"""


def golden(work: Path, *arguments: str) -> None:
    """Run the command line in the folder of the build, so that no path of this machine gets into a result."""
    done = subprocess.run([sys.executable, "-m", "golden.cli", "--no-config", *arguments], cwd=work, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"golden {' '.join(arguments)} ended with {done.returncode}")


def processor() -> str:
    """Describe the machine without naming it."""
    name = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line[:10] == "model name"]
        name = models[0] if models else name
    return f"{os.cpu_count()} cores of {name}"


def row(result: dict[str, Any], what: str) -> str:
    """Return one line of the table."""
    cells = (
        result["symbol"], what, f"{result['points']:,}", f"{result['tally']['misrounded']:,}",
        f"{result['tally']['max_ulp']:.6g}", f"{result['bound_exceeded']:,}", str(result["tally"]["nan"]),
        f"{result['seconds']:.1f}", f"{result['kernel_seconds']:.1f}", f"{result['rate'] / 1e6:.0f}",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |\n"


def main(arguments: list[str] | None = None) -> None:
    """Build, sweep and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="sweep only what has this in its name, and rewrite the table")
    chosen = parser.parse_args(arguments)
    work, folder = ROOT / "build" / "sweeps", HERE / "sweeps"
    work.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    golden(work, "build", "-o", "fast.so", f"--cflags={FLAGS}", "--quiet")
    rows, compiler = [], ""
    for name, what, options in SWEEPS:
        if chosen.only in name:
            golden(work, "sweep", "./fast.so", *options, "--out", name)
            (work / name / "sweep.json").replace(folder / f"{name}.json")
        result = json.loads((folder / f"{name}.json").read_text())
        compiler = result["library"]["compiler"]
        rows.append(row(result, what))
    text = HEAD.format(compiler=compiler.replace("GCC: ", "gcc "), flags=FLAGS, machine=processor()) + "".join(rows)
    unfinished = HERE / ".sweeps.md.tmp"
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(HERE / "sweeps.md")


if __name__ == "__main__":
    main()
