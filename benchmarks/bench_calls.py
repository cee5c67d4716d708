"""Times small calls, and validation of the suite core: ``python benchmarks/bench_calls.py [--against CHECKOUT]``.

Small calls are those of the suite core's cases of at most 64 output elements, invoked as validation does, from building
a call to its outcomes. With another checkout of golden (it needs no installation of its own) both are timed in turns,
and the ratio is told. A library is compiled for it from this one's kernels.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SMALL, AHEAD = 64, 40


def small_calls(library: Path) -> None:
    """Print the number of invocations a second, as JSON, for the golden that is imported."""
    from golden.files.manifest import open_vectors
    from golden.profile import load_profile
    from runners.calling.plan import invocations
    from runners.library.session import LibrarySession

    profile = load_profile("MT7004")
    files = {(f.operator.name, f.dtype): f for f in open_vectors("core", None)}
    work = [
        (entry, case.scalars, dict(case.operands), invocations(case, entry, profile))
        for entry in profile.required()
        for case in files[entry.operator.name, entry.fmt.name].cases
        if case.golden.value.size <= SMALL and sum(o.nbytes for o in case.operands.values()) < 4096
    ]
    session = LibrarySession(library)
    rates = []
    for _ in range(3):
        start = time.perf_counter()
        for one in work[:AHEAD]:
            session.submit(session.call_for(*one))
        for number in range(len(work)):
            if any(outcome.status != "ok" for outcome in session.collect()):
                sys.exit("a call failed")
            if number + AHEAD < len(work):
                session.submit(session.call_for(*work[number + AHEAD]))
        rates.append(sum(len(one[3]) for one in work) / (time.perf_counter() - start))
    session.close()
    print(json.dumps(max(rates)))


def run(checkout: Path, *arguments: str) -> tuple[str, float]:
    """Run Python with the golden of a checkout; returns what it prints, and seconds."""
    start = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=checkout, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout, time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, metavar="CHECKOUT")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", type=Path, metavar="LIBRARY", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.measure:
        small_calls(chosen.measure)
        return
    checkouts = [ROOT] + ([chosen.against.resolve()] if chosen.against else [])
    rates: dict[Path, list[float]] = {c: [] for c in checkouts}
    seconds: dict[Path, list[float]] = {c: [] for c in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "kernels.so"
        run(ROOT, "-m", "golden.cli", "--no-config", "build", "-o", str(library))
        validate = ["-m", "golden.cli", "--no-config", "validate", str(library), "--platform", "MT7004", "--quiet"]
        for turn in range(chosen.rounds):
            for checkout in checkouts[:: 1 if turn % 2 else -1]:
                rates[checkout].append(json.loads(run(checkout, __file__, "--measure", str(library))[0]))
                seconds[checkout].append(run(checkout, *validate, "--out", folder)[1])
    for checkout in checkouts:
        rate, took = statistics.median(rates[checkout]), statistics.median(seconds[checkout])
        print(f"{checkout.name}: {rate:,.0f} invocations a second in small calls; validate core {took:.2f} s")
    if chosen.against:
        here, there = checkouts
        faster = sorted(a / b for a, b in zip(rates[here], rates[there], strict=True))
        longer = sorted(a / b for a, b in zip(seconds[here], seconds[there], strict=True))
        print(
            f"small calls: {statistics.median(faster):.2f} times as many a second ({faster[0]:.2f} to {faster[-1]:.2f})"
        )
        print(f"validate core: {statistics.median(longer):.2f} times as long ({longer[0]:.2f} to {longer[-1]:.2f})")


if __name__ == "__main__":
    main()
