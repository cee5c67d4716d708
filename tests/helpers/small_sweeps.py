"""Small sweeps for tests: spaces of 2**20 points, wrapped kernels, interrupts, orphans."""

from pathlib import Path

import msgspec

from runners.sweeping.engine import Progress, SweepResult, open_work, sweep
from runners.sweeping.processes import Processes
from runners.sweeping.space import Axis, Space, make_space
from runners.toolchain.build import build_library, include_dir

#: The bundled kernel with something added after each hp_smoothl1lossgrad_p call.
WRAPPER = """
#define hp_smoothl1lossgrad_p inner
#include "smoothl1lossgrad.h"
#undef hp_smoothl1lossgrad_p
#define hp_smoothl1lossgrad_p inner
#include "{source}"
#undef hp_smoothl1lossgrad_p
void hp_smoothl1lossgrad_p(half *dy, half *dx1, half *x1, half *x2, int length, half beta);
void hp_smoothl1lossgrad_p(half *dy, half *dx1, half *x1, half *x2, int length, half beta)
{{
    inner(dy, dx1, x1, x2, length, beta);
    {body}
}}
"""
#: What depends on how a sweep was run.
FUZZY = ("seconds", "kernel_seconds", "rate", "judge", "jobs")


def build(folder: Path, body: str) -> Path:
    source = folder / "kernel.c"
    source.write_text(WRAPPER.format(source=include_dir() / "smoothl1lossgrad.c", body=body))
    return build_library(folder / "kernel.so", sources=[source])


def tiny(name: str = "diff-dy", block: int = 1 << 16, beta: float = 0.1) -> Space:
    """2**20 points: 1024 differences in and beyond the branch, 1024 gradients."""
    axes = (Axis("x1", 0x2A00, 0x3200, 2), Axis("dy", 0, 1 << 16, 64))
    if name == "pairs":
        axes = (Axis("x1", 0x2A00, 0x3200, 2), Axis("x2", 0, 1 << 16, 64))
    return make_space(name, "smoothl1lossgrad", "fp16", beta=beta, axes=axes, block=block)


def run(target: str, space: Space, **options: object) -> SweepResult:
    judge = str(options.pop("judge", "auto"))
    work, library = open_work(target, space, judge=judge)
    pool = Processes(options.pop("jobs", 1))  # type: ignore[arg-type]
    return sweep(target, work, library, pool, **options)  # type: ignore[arg-type]


def steady(result: SweepResult) -> dict[str, object]:
    found = msgspec.to_builtins(result)
    return {k: v for k, v in found.items() if k not in FUZZY}


class Interrupt:
    """Raises KeyboardInterrupt after some tasks, as Ctrl-C would."""

    def __init__(self, after: int) -> None:
        self.left = after
        self.steps: list[Progress] = []

    def __call__(self, step: Progress) -> None:
        self.steps.append(step)
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def orphans() -> list[Path]:
    numbered = [pid for pid in Path("/proc").iterdir() if pid.name.isdigit()]
    return [pid for pid in numbered if _is_bulk(_command(pid)) and _parent(pid) == 1]


def _is_bulk(command: bytes) -> bool:
    return b"runners.process.supervisor" in command and b"blocks" in command


def _command(pid: Path) -> bytes:
    try:
        return (pid / "cmdline").read_bytes()
    except OSError:
        return b""


def _parent(pid: Path) -> int:
    try:
        return int((pid / "stat").read_bytes().rpartition(b")")[2].split()[1])
    except OSError:
        return 0
