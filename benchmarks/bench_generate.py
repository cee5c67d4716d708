"""Rate of ``golden generate --suite full``: as a figure, and as ratios to copying and to writing the same bytes.

An element is an output element of a case; written with it are its operands, golden value and residual. Needs some 6 GB
in the folder for temporary files (TMPDIR), and leaves nothing there. ``a core`` is by processor time, so that other
work on the machine costs little.
"""

import os
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tabulate import tabulate

from generators.suite import generate

NEEDED = 6 << 30
BLOCK = np.ones(64 << 20, np.uint8)


def processor_seconds() -> float:
    """Of this process and of those it has waited for."""
    return sum(os.times()[:4])


def copying(size: int) -> float:
    target = np.empty_like(BLOCK)
    start = processor_seconds()
    for _ in range(size // len(BLOCK)):
        np.copyto(target, BLOCK)
    return processor_seconds() - start


def writing(size: int, folder: Path) -> float:
    start = processor_seconds()
    with (folder / "plain").open("wb") as file:
        for _ in range(size // len(BLOCK)):
            file.write(BLOCK.data)
    return processor_seconds() - start


def main() -> None:
    jobs = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="golden-bench-") as name:
        folder = Path(name)
        if shutil.disk_usage(folder).free < NEEDED:
            sys.exit(f"{folder.parent} has less than 6 GB left: set TMPDIR to a folder that has.")
        processor, started = processor_seconds(), time.monotonic()
        written = generate("full", folder, jobs=jobs)
        wall, processor = time.monotonic() - started, processor_seconds() - processor
        elements, size = sum(w.elements for w in written), sum(w.path.stat().st_size for w in written)
        for file in written:
            file.path.unlink()
        seconds = {"generate": processor, "memory copy": copying(size), "plain file write": writing(size, folder)}
    rows = [(what, f"{elements / s / 1e6:.1f}", f"{processor / s:.3g}") for what, s in seconds.items()]
    print(tabulate(rows, headers=["what", "M elements/s a core", "against generate"], disable_numparse=True))
    print(f"{elements / wall / 1e6:.1f} M elements/s written by {jobs} processes, {size / 1e9:.2f} GB in {wall:.1f} s")
    peak, own = (resource.getrusage(who).ru_maxrss >> 10 for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF))
    print(f"peak memory: {peak} MiB for the largest of the {jobs} processes, {own} MiB for the one that waits for them")
    print(f"{os.cpu_count()} processors; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
