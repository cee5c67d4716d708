"""The engine of ``golden sweep``: every point of a space computed by a target and judged, in blocks, by many processes.

The result does not depend on how: blocks are made from their numbers, tallies add up exactly (:mod:`runners.blocks`).
An interrupted sweep leaves its state (which tasks are done, and what they gave) and can be resumed.
"""

import contextlib
import hashlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Generator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from golden.errors import TargetError, UsageError, unknown_name
from golden.results import Library, Number, write_atomically
from golden.sweepfile import SweepResult
from runners.blocks import BlockTally
from runners.evaluate import Evaluated, Evaluator, Work
from runners.library import HalfAbi, LibrarySession
from runners.native import load
from runners.probe import probe_half_abi
from runners.reference import MODELS
from runners.spaces import Space

STATE_SCHEMA = "golden-sweep-state/1"
#: Points that a process takes at a time.
TASK = 1 << 25
#: Seconds between two savings of the state.
_SAVING = 10.0


class State(msgspec.Struct):
    """What an interrupted sweep leaves. ``digest``: of target, space and judgement; ``done``: one bit a task."""

    schema: str
    digest: str
    done: str
    tally: dict[str, Any]
    seconds: float
    kernel_seconds: float
    findings: list[str]


@dataclass(frozen=True)
class Progress:
    """How far a sweep is: points done of all, points a second, seconds left."""

    done: int
    total: int
    rate: float
    left: float


def open_work(
    target: str,
    space: Space,
    *,
    half_abi: str = "auto",
    reduction_enum: str = "sum-mean-none",
    flush: bool = False,
    timeout: float = 10.0,
    judge: str = "auto",
) -> tuple[Work, Library]:
    """Turn what a user names as TARGET into work: a shared library's path, or ``reference:MODEL``.

    Raises :class:`UsageError` for a name that means nothing and :class:`TargetError` for a library that cannot be
    loaded or lacks the entry point.
    """
    work = Work(space=space, reduction_enum=reduction_enum, flush=flush, timeout=timeout, judge=judge)  # type: ignore[arg-type]
    kind, separator, name = target.partition(":")
    if separator and kind == "reference":
        if name not in MODELS:
            raise unknown_name("reference model", name, MODELS)
        return msgspec.structs.replace(work, model=name), Library()
    if separator and kind == "exec" and not Path(target).exists():
        raise UsageError("A sweep needs a library or reference:MODEL: exec: is too slow for whole input spaces.")
    path = Path(target)
    with LibrarySession(path, timeout=timeout) as session:
        symbol = space.entry.symbol
        if symbol not in session.symbols:
            raise TargetError(f"{target} has no {symbol}; it has {', '.join(sorted(session.symbols)) or 'nothing'}.")
        abi: HalfAbi = "uint16" if half_abi == "uint16" else "float16"
        if half_abi == "auto" and space.fmt.width == 16 and probe_half_abi(session) == "uint16":
            abi = "uint16"
        return msgspec.structs.replace(work, path=str(path.resolve()), half_abi=abi), session.library


def sweep(
    target: str,
    work: Work,
    library: Library,
    *,
    jobs: int = 0,
    state: Path | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] = lambda step: None,
) -> SweepResult:
    """Sweep a space; ``target`` is for the result, the work comes from :func:`open_work`.

    ``jobs``: processes that judge, each with a library process of its own; 0: one a core. With 1 the work is done
    here. ``state``: file for resuming, written every few seconds and removed at the end; ``resume``: go on from it.

    An interrupt (KeyboardInterrupt) ends the sweep early; the result then lacks the footer ``complete``. Raises
    :class:`UsageError` if there is no state to resume or it is of another sweep, :class:`TargetError` if the library
    crashes or hangs.
    """
    load()  # compile once, before the processes start
    sweeping = _Sweep(target, work, library, state)
    if resume:
        sweeping.resume()
    return sweeping.run(jobs or os.cpu_count() or 1, progress)


class _Sweep:
    def __init__(self, target: str, work: Work, library: Library, state: Path | None) -> None:
        self._target, self._work, self._library, self._path = target, work, library, state
        space = work.space
        self._per_task = max(1, TASK // space.step)
        self._done = np.zeros(-(-space.blocks // self._per_task), bool)
        self._found = Evaluated(BlockTally())
        self._seconds = 0.0
        # The judgement counts, not the machine: path and judge may differ when a sweep is resumed.
        what = (space.digest(), library.sha256, work.model, work.flush, work.half_abi, work.reduction_enum, TASK)
        self._digest = hashlib.sha256(repr(what).encode()).hexdigest()

    def resume(self) -> None:
        """Take the state file in."""
        path = self._path
        if path is None or not path.is_file():
            raise UsageError(f"There is nothing to resume: {path} does not exist. Sweep without --resume.")
        try:
            state = msgspec.json.decode(path.read_bytes(), type=State)
            tally = msgspec.convert({**state.tally, **{n: int(state.tally[n]) for n in ("total", "bias")}}, BlockTally)
        except (msgspec.MsgspecError, OSError, KeyError, ValueError) as error:
            raise UsageError(f"{path} is damaged ({error}). Sweep without --resume.") from error
        if state.schema != STATE_SCHEMA or state.digest != self._digest or len(state.done) != len(self._done):
            raise UsageError(f"{path} is of another sweep (target, space or options differ). Sweep without --resume.")
        self._done = np.array([c == "1" for c in state.done], bool)
        self._found = Evaluated(tally, state.kernel_seconds, state.findings)
        self._seconds = state.seconds

    def run(self, jobs: int, progress: Callable[[Progress], None]) -> SweepResult:
        """Do what is left, and describe what was found."""
        started, before, saved = time.monotonic(), self._points(), time.monotonic()
        earlier = self._seconds
        complete = True
        try:
            with contextlib.closing(self._evaluated(min(jobs, max(1, int((~self._done).sum()))))) as tasks:
                for task, found in tasks:
                    self._done[task] = True
                    self._found.tally.add(found.tally)
                    self._found.kernel_seconds += found.kernel_seconds
                    self._found.findings = sorted({*self._found.findings, *found.findings})
                    now = time.monotonic()
                    self._seconds = earlier + now - started
                    if now - saved > _SAVING:
                        self._save()
                        saved = now
                    done, total = self._points(), self._work.space.points
                    rate = (done - before) / max(now - started, 1e-9)
                    progress(Progress(done, total, rate, (total - done) / max(rate, 1e-9)))
        except KeyboardInterrupt:
            complete = False
        finally:
            if not (complete and self._done.all()):
                self._save()
        result = self._result(jobs, complete and bool(self._done.all()))
        if result.complete and self._path is not None:
            self._path.unlink(missing_ok=True)
        return result

    def _points(self) -> int:
        space = self._work.space
        per_task = self._per_task * space.step
        last = space.points - (len(self._done) - 1) * per_task
        return int(self._done.sum()) * per_task - (per_task - last if self._done[-1:].any() else 0)

    def _blocks(self, task: int) -> range:
        return range(task * self._per_task, min((task + 1) * self._per_task, self._work.space.blocks))

    def _evaluated(self, jobs: int) -> Generator[tuple[int, Evaluated], None, None]:
        """Yield the tasks that were not done yet, as they finish."""
        left = np.flatnonzero(~self._done).tolist()
        if jobs == 1:
            evaluator = Evaluator(self._work)
            try:
                for task in left:
                    yield task, evaluator.evaluate(self._blocks(task))
            finally:
                evaluator.close()
            return
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(jobs, context, _initialise, (self._work,))
        try:
            running: dict[Future[Evaluated], int] = {}
            while left or running:
                while left and len(running) < 2 * jobs:
                    task = left.pop(0)
                    running[pool.submit(_evaluate, self._blocks(task))] = task
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
        except BrokenProcessPool as error:
            raise TargetError("A process of the sweep was killed, as the system does when memory runs out.") from error
        finally:
            processes = list((pool._processes or {}).values())
            for future in running:
                future.cancel()
            for process in processes:  # in the middle of a task, or idle: their libraries die with them
                process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)

    def _save(self) -> None:
        if self._path is None:
            return
        tally = msgspec.structs.asdict(self._found.tally)
        tally |= {name: str(tally[name]) for name in ("total", "bias")}  # may exceed 64 bits
        done = "".join("1" if d else "0" for d in self._done)
        found = self._found
        state = State(STATE_SCHEMA, self._digest, done, tally, self._seconds, found.kernel_seconds, found.findings)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, msgspec.json.encode(state))

    def _result(self, jobs: int, complete: bool) -> SweepResult:
        space, tally = self._work.space, self._found.tally
        statistics, first = tally.statistics(), None
        if complete and (tally.worst >= 0 or tally.first_failure >= 0):
            evaluator = Evaluator(self._work)
            try:
                statistics.worst = evaluator.describe(tally.worst) if tally.worst >= 0 else None
                first = evaluator.describe(tally.first_failure) if tally.first_failure >= 0 else None
            finally:
                evaluator.close()
        native = load() is not None and self._work.judge == "auto"
        return SweepResult(
            target=self._target,
            library=self._library,
            symbol=space.entry.symbol,
            operator=space.operator,
            dtype=space.dtype,
            space=space.name,
            parameters=_parameters(space),
            flush=self._work.flush,
            points=tally.points,
            total_points=space.points,
            share=space.share * tally.points / max(space.points, 1),
            exhaustive=space.exhaustive and complete,
            bound_exceeded=tally.failures,
            tally=statistics,
            first_failure=first,
            findings=self._found.findings,
            seconds=self._seconds,
            kernel_seconds=self._found.kernel_seconds,
            rate=tally.points / max(self._seconds, 1e-9),
            judge="native" if native else "numpy",
            jobs=jobs,
            complete=complete,
        )


_evaluator: Evaluator | None = None


def _initialise(work: Work) -> None:
    """Prepare a process of the pool; an interrupt is for the process that began the sweep."""
    global _evaluator  # noqa: PLW0603 - a pool process has one job, and no other place to keep it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _evaluator = Evaluator(work)


def _evaluate(blocks: range) -> Evaluated:
    assert _evaluator is not None
    return _evaluator.evaluate(blocks)


def _parameters(space: Space) -> dict[str, Number | str | int]:
    from golden.judge import number  # noqa: PLC0415

    fmt = space.fmt
    found: dict[str, Number | str | int] = {}
    for name, value in space.scalars.items():
        found[name] = value if isinstance(value, str) else number(fmt, value)
    for name, bits in space.fixed.items():
        found[name] = number(fmt, fmt.from_bits(np.array([bits], fmt.bits_dtype))[0])
    if not space.axes:
        found |= {"samples": space.samples, "seed": space.seed}
    return found
