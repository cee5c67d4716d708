"""What the collections of builds share: they are judged one by one by several processes, and tabulated as Markdown."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tests import ROOT


class Judged(Protocol):
    """What judging a build showed: see the collections."""

    @property
    def name(self) -> str: ...
    @property
    def verdict(self) -> str: ...
    @property
    def skipped(self) -> str: ...
    @property
    def wrong(self) -> str: ...
    @property
    def seconds(self) -> float: ...


O = TypeVar("O", bound=Judged)  # noqa: E741


def in_processes(jobs: int, work: Callable[..., O], arguments: Iterable[tuple[Any, ...]]) -> Iterator[O]:
    """Call a function in ``jobs`` processes, once for each tuple of arguments, and yield what they give as it comes."""
    with ProcessPoolExecutor(jobs) as pool:
        futures: list[Future[O]] = [pool.submit(work, *given) for given in arguments]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def told(outcomes: Iterable[O], total: int, remark: Callable[[O], str] = lambda _: "") -> dict[str, O]:
    """Say of outcomes on stderr as they come, and return them by name."""
    found: dict[str, O] = {}
    for done in outcomes:
        found[done.name] = done
        state = f"WRONG: {done.wrong}" if done.wrong else done.skipped or done.verdict + remark(done)
        print(f"[{len(found)}/{total}] {done.seconds:5.1f} s {done.name}: {state}", file=sys.stderr)
    return found


def parser(program: str, description: str | None, only: str) -> argparse.ArgumentParser:
    """Return a parser of what all collections are given."""
    made = argparse.ArgumentParser(prog=f"python -m {program}", description=description)
    made.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    made.add_argument("--only", nargs="+", metavar="NAME", help=only)
    made.add_argument("--out", type=Path, metavar="FILE.md")
    return made


def publish(report: str, out: Path | None, outcomes: Iterable[Judged]) -> int:
    """Print a report, and write it if asked; returns the program's exit code."""
    print(report)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(report)
    wrong = [o.wrong for o in outcomes]
    return int(not wrong or any(wrong))


def made(since: float) -> str:
    """Say from what, when and how long a report was made; ``since``: by the monotonic clock."""
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    today = time.strftime("%Y-%m-%d")
    return f"commit {asked.stdout.strip() or 'unknown'}, {today}, {time.monotonic() - since:.0f} s"


def table(head: Sequence[str], rows: Iterable[Iterable[object]]) -> list[str]:
    """Return the lines of a table, and an empty one."""
    return [_row(head), _row("---" for _ in head), *map(_row, rows), ""]


def _row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(str(c).replace('|', chr(92) + '|') for c in cells)} |"
