"""Runs and judges the calls of tasks."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import msgspec

from golden.case import Head
from golden.errors import TargetError
from golden.operator import entry_points
from golden.results import EntryPointResult, Failure, Finding
from golden.selfcheck import check_arithmetic
from golden.tally import Judgements
from runners.calling.call import Call, Mode
from runners.calling.from_case import HalfAbi, call_for
from runners.calling.session import Session
from runners.fuzzing.drawn import Job, Recipe, jobs
from runners.judging.verdict import EntryPointVerdict
from runners.judging.xfail import Xfail
from runners.targets import open_target

#: Calls that are on their way to the target while earlier ones are judged: so many, or of so many bytes.
_AHEAD, _AHEAD_BYTES = 40, 4 << 20
#: Sizes below this one are features each.
_SIZES = 1 << 11


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """What is fuzzed, and how: everything that another process needs to run tasks.

    ``path``: the library's file, of digest ``sha256``, or "" for another ``target``.
    """

    recipe: Recipe
    target: str
    path: str = ""
    sha256: str = ""
    half_abi: HalfAbi = "float16"
    numbering: str = ""
    timeout: float = 10.0
    sandbox: Mode = "auto"
    noun: ClassVar[str] = "run"

    def moved(self, path: str) -> "Work":
        """Return the same with the library in another file."""
        return msgspec.structs.replace(self, path=path)

    def named(self, blocks: range) -> str:
        """Say which calls tasks are."""
        size = self.recipe.task
        return f"The calls from {blocks.start * size} to {blocks.stop * size - 1}"

    def prepare(self) -> None:
        """Do nothing: there is nothing that processes share."""

    def evaluator(self) -> "Evaluator":
        """Return something that runs tasks."""
        return Evaluator(self)

    def open(self) -> Session:
        """Open the target; raises :class:`TargetError` if it is not the library that was fuzzed so far."""
        session, library = open_target(self.path or self.target, self.timeout, sandbox=self.sandbox)
        if self.sha256 and library.sha256 != self.sha256:
            session.close()
            raise TargetError(
                f"{self.target} is not the library that this began with: its SHA-256 begins {library.sha256[:12]}, "
                f"not {self.sha256[:12]}. Fuzz the new one from the start, without --resume."
            )
        return session

    def call(self, job: Job) -> Call:
        """Return the call of a job."""
        case = job.case
        made = call_for(
            job.entry, case.scalars, case.operands, job.plan, half_abi=self.half_abi, numbering=self.numbering
        )
        return msgspec.structs.replace(made, name=case.id)


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
        judgements, none = Judgements(work.recipe.profile.terms), Xfail([])
        verdicts = {
            s: EntryPointVerdict(e, work.recipe.profile, False, none, session.unobservable, judgements, group=by_class)
            for s, e in entry_points().items()
            if s in work.recipe.symbols
        }
        made: dict[str, tuple[int, Job]] = {}
        waiting: deque[tuple[int, Job, int]] = deque()
        under_way = 0

        def collect() -> None:
            nonlocal under_way
            place, job, size = waiting.popleft()
            under_way -= size
            verdicts[job.entry.symbol].add(job.case, job.plan, session.collect(), place)

        for place, job in enumerate(jobs(work.recipe, task, session.plain)):
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
        if (at := made.get(f"{symbol} {failure.case}")) is None:
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
