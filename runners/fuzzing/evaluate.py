"""Runs and judges the calls of tasks."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from golden.case import Head
from golden.operator import entry_points
from golden.results import EntryPointResult, Failure, Finding
from golden.selfcheck import check_arithmetic
from golden.tally import Judgements
from runners.fuzzing.drawn import Job, Work, jobs
from runners.judging.verdict import EntryPointVerdict
from runners.judging.xfail import Xfail

#: Calls that are on their way to the target while earlier ones are judged: so many, or of so many bytes.
_AHEAD, _AHEAD_BYTES = 40, 4 << 20
#: Sizes below this one are features each.
_SIZES = 1 << 11


class Failing(NamedTuple):
    """A call that failed: the task, its place there, the job, and why."""

    task: int
    place: int
    job: Job
    failure: Failure

    @property
    def kind(self) -> tuple[str, str]:
        """What failures are told apart by: the entry point, and in which way it fails."""
        return self.job.entry.symbol, self.failure.kind


@dataclass
class Evaluated:
    """What a task gave.

    ``calls`` that were drawn, made in ``ways``; ``features`` of them; ``failing``: the smallest call of each kind.
    """

    task: int
    calls: int = 0
    ways: int = 0
    elements: int = 0
    entries: list[EntryPointResult] = field(default_factory=list)
    noted: list[tuple[Finding, int]] = field(default_factory=list)
    features: set[str] = field(default_factory=set)
    failing: list[Failing] = field(default_factory=list)


def by_class(case: Head) -> str:
    """Return the row that a drawn call counts in: scalars are as many as calls."""
    return case.klass


def evaluate(work: Work, task: int) -> Evaluated:
    """Run and judge the calls of a task in a fresh process of the target."""
    found, session = Evaluated(task), work.open()
    try:
        judgements, none = Judgements(work.profile.terms), Xfail([])
        verdicts = {
            s: EntryPointVerdict(e, work.profile, False, none, session.unobservable, judgements, group=by_class)
            for s, e in entry_points().items()
            if s in work.symbols
        }
        made: dict[str, tuple[int, Job]] = {}
        waiting: deque[tuple[int, Job, int]] = deque()
        under_way = 0

        def collect() -> None:
            nonlocal under_way
            place, job, size = waiting.popleft()
            under_way -= size
            verdicts[job.entry.symbol].add(job.case, job.plan, session.collect(), place)

        for place, job in enumerate(jobs(work, task, session.plain)):
            call = work.call(job)
            session.submit(call)
            waiting.append((place, job, call.size))
            under_way += call.size
            made[f"{job.entry.symbol} {job.case.id}"] = place, job
            found.calls += 1
            found.ways += len(job.plan)
            found.elements += job.case.size
            found.features.update(_features(job))
            while len(waiting) > _AHEAD or (under_way > _AHEAD_BYTES and len(waiting) > 2):
                collect()
        while waiting:
            collect()
        for verdict in verdicts.values():
            verdict.judge()
    finally:
        closing = session.close()
    heads = {job.case.id: job.case.head for _, job in made.values()}
    for seen in closing:
        if seen.symbol in verdicts:
            verdicts[seen.symbol].died(heads.get(seen.call), seen.message)
        else:
            found.noted.append((Finding(f"close-{seen.kind}", "", "warning", seen.message), 1))
    for symbol, verdict in verdicts.items():
        result = verdict.so_far(sum(key.startswith(f"{symbol} ") for key in made))
        if not result.cases:
            continue
        result.bits.clear()
        found.entries.append(result)
        found.noted += verdict.noted()
        found.failing += _smallest(symbol, task, result.failing, made)
    check_arithmetic()
    return found


def _smallest(symbol: str, task: int, failing: Sequence[Failure], made: Mapping[str, tuple[int, Job]]) -> list[Failing]:
    """Return the smallest call of each kind of failure of an entry point."""
    found: dict[str, Failing] = {}
    for failure in failing:
        if (at := made.get(f"{symbol} {failure.case}")) is None or failure.tier != "required":
            continue
        old = found.get(failure.kind)
        if old is None or at[1].case.size < old.job.case.size:
            found[failure.kind] = Failing(task, *at, failure)
    return list(found.values())


def _features(job: Job) -> Iterator[str]:
    """Name what a call has, so that it can be told when nothing new comes any more."""
    symbol, case, first = job.entry.symbol, job.case, job.plan[0]
    named = " ".join(str(case.scalars[s.name]) for s in case.operator.choices)
    yield f"{symbol}: {case.klass} {named} {case.size.bit_length()}"
    yield f"{symbol}: mask {first.core_mask}"
    yield f"{symbol}: {first.placement} {first.offset} {first.skew}"
    for s in case.operator.scalars:
        if s.kind == "int" and int(case.scalars[s.name]) < _SIZES:
            yield f"{symbol}: {s.name} {case.scalars[s.name]}"


class Evaluator:
    """Runs tasks one after the other; each has a process of the target of its own."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def evaluate(self, blocks: range) -> list[Evaluated]:
        """Run tasks; raises :class:`golden.errors.GoldenError` if the target cannot be opened any more."""
        return [evaluate(self._work, task) for task in blocks]

    def close(self) -> None:
        """Do nothing: no task leaves anything behind."""
