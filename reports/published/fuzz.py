"""Fuzz the bundled kernels and PyTorch, and publish what was covered: ``make fuzz``.

Ten minutes each for the kernels as GCC and as Clang build them, and for PyTorch where it is installed. Only the
``golden`` command line is used. Seeds are stated: the same version of golden draws the same calls, so that whoever
doubts a row can repeat it; how many there are in ten minutes depends on the machine.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
#: What a build conforms to under, where the terms of the page are not its own.
OVERFLOW = ("--allow", "overflow")


#: How the page begins.
HEAD = (
    "# Drawn calls",
    "",
    "What `golden fuzz` found in builds for this kind of machine, executed there: **no measurement of FT78NE or "
    "MT7004**. No DSP, and no library of its vendor, was involved. Written by `make fuzz`. Where nothing fails, every "
    "error lies within what some legal order of the page's operations gives, under the terms that are named.",
    "",
)


@dataclass(frozen=True)
class Target:
    """What is fuzzed: compiled by the first of ``compilers`` that can, or named; under which terms, and why these."""

    name: str
    compilers: tuple[str, ...] = ()
    target: str = ""
    options: tuple[str, ...] = ()
    why: str = ""


TARGETS = (
    Target("bundled kernels, gcc -O2", ("gcc",)),
    Target("bundled kernels, clang -O2", ("clang", "clang-19", "clang-16", "clang-15")),
    Target(
        "PyTorch CPU",
        target="python:runners.adapters.pytorch:cpu",
        options=OVERFLOW,
        why="its NLLLossGrad divides the gradient first, which overflows where the page's order does not",
    ),
)


def golden(work: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line in a folder, so that no path of this machine gets into a report."""
    command = [sys.executable, "-m", "golden.cli", "--no-config", *arguments]
    return subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)


def fuzzed(target: Target, seconds: float, work: Path) -> dict[str, Any] | str:
    """Fuzz a target; return its results, or what is missing."""
    named = target.target or "kernels.so"
    if not target.compilers and not importlib.util.find_spec("torch"):
        return "torch is not installed"
    said = ""
    for compiler in target.compilers:
        built = golden(work, "build", "-o", named, "--cc", compiler, "--cflags=-O2", "--quiet")
        if not built.returncode:
            break
        said = said or built.stderr.strip().rstrip(".")
    else:
        if said:
            return said
    out = target.name.replace(" ", "-").replace(",", "")
    options = ("--time", f"{seconds:g}", "--seed", f"published {target.name}", *target.options, "--quiet")
    done = golden(work, "fuzz", named, *options, "--out", out)
    if done.returncode not in (0, 1):
        raise SystemExit(f"golden fuzz {named} ended with {done.returncode}: {done.stderr}")
    results: dict[str, Any] = json.loads((work / out / "results.json").read_text(encoding="utf-8"))
    return results


def rows(results: dict[str, Any]) -> Iterator[str]:
    """Yield a row for each entry point."""
    for e in results["entry_points"]:
        yield (
            f"| `{e['symbol']}` | {e['status']} | {e['grade']} | {e['cases']:,} | {e['elements']:,} | "
            f"{e['max_ulp']:.4g} | {e['failures']} |"
        )


def section(target: Target, results: dict[str, Any], seconds: float) -> Iterator[str]:
    """Yield what is said of one target."""
    drawn, options = results["drawn"], " ".join(target.options)
    yield f"## {target.name}"
    yield ""
    if options:
        yield f"With `{options}`: {target.why}."
        yield ""
    quiet = f"none of them new in the last {drawn['quiet']:,} calls" if drawn["quiet"] else "new ones to the end"
    yield (
        f"**{results['verdict']}**: {results['reason']} In {seconds:g} s: {drawn['calls']:,} calls, made in "
        f"{drawn['ways']:,} ways (masks, places, fills), {drawn['elements']:,} elements. {drawn['features']:,} "
        f"features were seen (an entry point with a class and a magnitude of sizes, with a size, a mask or a place of "
        f"operands), {quiet}. Seed `{results['options']['seed']}`, "
        f"{results['options'].get('jobs', os.cpu_count())} processes, {results['host']['machine']}."
    )
    yield ""
    yield "| entry point | status | grade | calls | elements | max ulp | failing |"
    yield "|---|---|---|---|---|---|---|"
    yield from rows(results)
    yield ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Fuzz all targets and write ``fuzz.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="for each target")
    parser.add_argument("--out", type=Path, default=HERE / "fuzz.md")
    parser.add_argument("--work", type=Path, default=ROOT / "build/fuzz")
    options = parser.parse_args(arguments)
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    lines = [*HEAD]
    for target in TARGETS:
        found = fuzzed(target, options.seconds, work)
        if isinstance(found, str):
            lines += [f"## {target.name}", "", f"Not fuzzed: {found}.", ""]
        else:
            lines += section(target, found, options.seconds)
        print(lines[-2], file=sys.stderr)
    options.out.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
