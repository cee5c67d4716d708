"""The engine of ``golden sweep``: every point of a space computed by a target and judged, in blocks, by many processes.

The result does not depend on how: blocks are made from their numbers, tallies add up exactly
(:mod:`runners.sweeping.tally`). An interrupted sweep leaves its state (which tasks are done, and what they gave) and
can be resumed.
"""

import contextlib
import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from golden.errors import TargetError, UsageError, unknown_name
from golden.files import reading
from golden.files.atomic import write_atomically
from golden.files.names import NUMBERING_OPTION
from golden.files.sweeps import SweepResult
from golden.operator import choice_words, numberings, operator, page_numbering
from golden.results import Library, Number
from golden.terms import Terms
from runners.calling.call import Mode
from runners.calling.manner import Manner
from runners.judging.probe import choose_half_abi, choose_numbering, takes_half
from runners.library.session import LibrarySession
from runners.models import models
from runners.sweeping.evaluate import Evaluated, Evaluator, Work, identity
from runners.sweeping.pool import Pool
from runners.sweeping.space import Space
from runners.sweeping.tally import BINS, BlockTally

STATE_SCHEMA = "golden-sweep-state/3"
#: Points that an evaluator takes at a time, at least; and the most tasks that a sweep is cut into: the state, and
#: what a cluster's scheduler has to do, stay small for any space.
TASK, TASKS = 1 << 25, 1 << 16
#: Seconds between two savings of the state.
_SAVING = 3.0


class State(msgspec.Struct):
    """What an interrupted sweep leaves. ``digest``: of target, space, judgement, code; ``done``: a bit a task, hex."""

    schema: str
    digest: str
    done: str
    tally: dict[str, Any]
    seconds: float
    kernel_seconds: float
    findings: list[str]
    judges: list[str]
    broken: list[str]


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
    numbering: str = "",
    terms: Terms = Terms(),  # noqa: B008 - frozen
    timeout: float = 10.0,
    judge: str = "auto",
    sandbox: Mode = "auto",
    manner: Manner = Manner(),  # noqa: B008 - immutable
) -> tuple[Work, Library]:
    """Turn what a user names as TARGET into work: a shared library's path, or ``reference:MODEL``.

    ``half_abi`` and ``numbering`` as in :class:`runners.judging.validate.Settings`; ``manner``: how the platform has
    calls made. Raises :class:`UsageError` for a name that means nothing, a build with other numbers of choices or
    calls that the platform has not, and :class:`TargetError` for a library that
    cannot be loaded or lacks the entry point.
    """
    work = Work(space=space, terms=terms, timeout=timeout, judge=judge, sandbox=sandbox)  # type: ignore[arg-type]
    kind, separator, name = target.partition(":")
    if separator and kind == "reference":
        known = models(operator(space.operator))
        if name not in known:
            raise unknown_name("reference model", name, known)
        return msgspec.structs.replace(work, model=name), Library()
    if separator and kind in ("exec", "python") and not Path(target).exists():
        raise UsageError(f"A sweep needs a library or reference:MODEL: {kind}: is too slow for whole input spaces.")
    path, entry = Path(target), space.entry
    _check_manner(space, manner)
    with LibrarySession(path, timeout=timeout, mode=sandbox) as session:
        session.manner = manner
        if entry.symbol not in session.symbols:
            raise TargetError(
                f"{target} has no {entry.symbol}; it has {', '.join(sorted(session.symbols)) or 'nothing'}."
            )
        abi, on_half = choose_half_abi(session, half_abi, takes_half(entry))
        used, on_numbers = numbering or page_numbering(), ""
        if entry.operator.choices:
            numbers, used, on_numbers = choose_numbering(session, used)
            if numbers in numberings() and numbers != used:
                option = f"--{NUMBERING_OPTION} {numbers}"
                raise UsageError(f"{target} numbers {choice_words()} {numbers}, not {used}: sweep with {option}.")
        work = msgspec.structs.replace(
            work,
            path=str(path.resolve()),
            sha256=session.library.sha256,
            half_abi="uint16" if abi == "uint16" else "float16",
            numbering=page_numbering() if used == "auto" else used,
            notes=tuple(filter(None, (on_half, on_numbers))),
            core_mask=manner.one,
            align=manner.align,
            overread=manner.overread,
        )
        return work, session.library


def _check_manner(space: Space, manner: Manner) -> None:
    """Raise :class:`UsageError` if the calls of a sweep are such as the platform's profile excludes."""
    plan, page = space.plan(dict(space.operands(0)), space.step), space.entry.operator
    length = int(plan.scalars[page.length_name])
    if not manner.lengths.takes(length):
        raise UsageError(
            f"This sweep calls with {page.length_name} {length}; the profile says: {manner.lengths}. Validate with "
            "vectors instead, or sweep another space."
        )
    size = space.entry.fmt.itemsize
    if plan.calls > 1 and (wrong := [k for k in (*plan.steps.values(), plan.width) if k * size % manner.align]):
        raise UsageError(
            f"The operands of this sweep's calls lie {wrong[0] * size} bytes apart, and the profile aligns them to "
            f"{manner.align}. Validate with vectors instead, or sweep another space."
        )


def sweep(
    target: str,
    work: Work,
    library: Library,
    pool: Pool,
    *,
    state: Path | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] = lambda step: None,
) -> SweepResult:
    """Sweep a space; ``target`` is for the result, the work comes from :func:`open_work`.

    ``pool``: where blocks are evaluated (:class:`runners.sweeping.processes.Processes`,
    :class:`runners.sweeping.cluster.Cluster`). ``state``: file for resuming, written every few seconds, for the caller
    to remove when it has the result; ``resume``: go on from it.

    An interrupt (KeyboardInterrupt) ends the sweep early; the result then lacks the footer ``complete``. Raises
    :class:`UsageError` if there is no state to resume, or it is of another sweep, or it would be lost without
    ``resume``; :class:`TargetError` if the library crashes or hangs; and what the pool raises.
    """
    sweeping = _Sweep(target, work, library, state)
    sweeping.take_state(resume)
    return sweeping.run(pool, progress)


class _Sweep:
    def __init__(self, target: str, work: Work, library: Library, state: Path | None) -> None:
        self._target, self._work, self._library, self._path = target, work, library, state
        space = work.space
        self._per_task = max(1, TASK // space.step, -(-space.blocks // TASKS))
        self._tasks = -(-space.blocks // self._per_task)
        #: Which tasks are done (bit by bit), and what they gave. Replaced as one: an interrupt comes before or after.
        self._sum = 0, Evaluated(BlockTally(), findings=list(work.notes))
        self._seconds = 0.0
        # What decides the bits, not where they are made: machine, path and judge may differ when a sweep is resumed.
        judged = (work.model, work.terms, work.half_abi, work.numbering)
        what = (space.digest(), library.sha256, *judged, self._per_task)
        self._digest = hashlib.sha256(repr((*what, identity())).encode()).hexdigest()

    def take_state(self, resume: bool) -> None:
        """Take the state file in; or, to begin anew, make sure that there is none of this very sweep."""
        path = self._path
        if path is None or not path.is_file():
            if resume:
                raise UsageError(f"There is nothing to resume: {path} does not exist. Sweep without --resume.")
            return
        try:
            state = reading.json_of(reading.read_bytes(path, reading.STATE), State)
            tally = msgspec.convert({**state.tally, **{n: int(state.tally[n]) for n in ("total", "bias")}}, BlockTally)
            done = int(state.done, 16)
            if len(tally.histogram) != BINS or min(tally.points, *tally.histogram) < 0:
                raise ValueError("its tally makes no sense")
        except (msgspec.MsgspecError, OSError, KeyError, TypeError, ValueError) as error:
            if resume:
                raise UsageError(f"{path} is damaged ({error}). Sweep without --resume.") from error
            return
        mine = state.schema == STATE_SCHEMA and state.digest == self._digest and 0 <= done < 1 << self._tasks
        if resume and not mine:
            raise UsageError(
                f"{path} is of another sweep (target, space, options or version of golden differ). "
                "Sweep without --resume."
            )
        if not resume and mine and done:
            raise UsageError(
                f"{path} holds {100 * done.bit_count() / self._tasks:.3g} % of this very sweep: go on with --resume, "
                "or remove the file to begin anew."
            )
        if resume:
            self._sum = done, Evaluated(tally, state.kernel_seconds, state.findings, state.judges, state.broken)
            self._seconds = state.seconds

    def run(self, pool: Pool, progress: Callable[[Progress], None]) -> SweepResult:
        """Do what is left, and describe what was found."""
        before, earlier = self._points(), self._seconds
        started = saved = time.monotonic()
        try:
            self._save()
            with contextlib.closing(pool.evaluate(self._work, self._left())) as evaluated:
                for task, found in evaluated:
                    self._sum = self._sum[0] | 1 << task, self._sum[1].plus(found)
                    now = time.monotonic()
                    self._seconds = earlier + now - started
                    if now - saved > _SAVING:
                        self._save()
                        saved = now
                    done, total = self._points(), self._work.space.points
                    rate = (done - before) / max(now - started, 1e-9)
                    progress(Progress(done, total, rate, (total - done) / max(rate, 1e-9)))
        except KeyboardInterrupt:
            pass
        finally:
            self._save()
        return self._result(pool.jobs)

    def _points(self) -> int:
        space, done = self._work.space, self._sum[0]
        per_task = self._per_task * space.step
        last = space.points - (self._tasks - 1) * per_task
        return done.bit_count() * per_task - (per_task - last if done >> self._tasks - 1 else 0)

    def _left(self) -> Iterator[tuple[int, range]]:
        """Yield the tasks that are not done yet: number and blocks."""
        done, blocks = self._sum[0].to_bytes(self._tasks // 8 + 1, "little"), self._work.space.blocks
        for task in range(self._tasks):
            if not done[task // 8] >> task % 8 & 1:
                yield task, range(task * self._per_task, min((task + 1) * self._per_task, blocks))

    def _save(self) -> None:
        if self._path is None:
            return
        done, found = self._sum
        tally = msgspec.structs.asdict(found.tally)
        tally |= {name: str(tally[name]) for name in ("total", "bias")}  # may exceed 64 bits
        state = State(
            *(STATE_SCHEMA, self._digest, f"{done:x}", tally),
            *(self._seconds, found.kernel_seconds, found.findings, found.judges),
            broken=found.broken,
        )
        write_atomically(self._path, msgspec.json.encode(state))

    def _result(self, jobs: int) -> SweepResult:
        space, (done, found) = self._work.space, self._sum
        tally, complete = found.tally, done.bit_count() == self._tasks
        statistics, first = tally.statistics(), None
        if complete and (tally.worst >= 0 or tally.first_failure >= 0):
            evaluator = Evaluator(self._work)
            try:
                statistics.worst = evaluator.describe(tally.worst) if tally.worst >= 0 else None
                first = evaluator.describe(tally.first_failure) if tally.first_failure >= 0 else None
            finally:
                evaluator.close()
        return SweepResult(
            target=self._target,
            library=self._library,
            symbol=space.entry.symbol,
            operator=space.operator,
            dtype=space.dtype,
            space=space.name,
            parameters=_parameters(space),
            flush=self._work.terms.flush,
            points=tally.points,
            total_points=space.points,
            share=space.share * tally.points / max(space.points, 1),
            exhaustive=space.exhaustive and complete,
            bound_exceeded=tally.failures,
            tally=statistics,
            first_failure=first,
            findings=found.findings,
            broken=found.broken,
            seconds=self._seconds,
            kernel_seconds=found.kernel_seconds,
            rate=tally.points / max(self._seconds, 1e-9),
            judge="+".join(found.judges),
            jobs=jobs,
            complete=complete,
        )


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


def coverage(result: SweepResult) -> str:
    """Say how much of its space a sweep has covered, and so which bound its maximum is."""
    if result.exhaustive:
        return f"all {result.points:,} points, so the maximum is an upper bound"
    share = f"2^{math.log2(result.share):.1f}".removesuffix(".0") if result.share else "none"
    return f"{result.points:,} points, {share} of the space, so the maximum is a lower bound"
