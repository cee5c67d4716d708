"""Makes a failing call small: the calls before it that it needs, its sizes and its values, as far as it still fails."""

import contextlib
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky, NoSuchExample

from golden.case import Case
from golden.files.vectors import case_digest
from golden.formats import Array
from golden.results import Failure
from runners.calling.manner import Manner
from runners.calling.session import Session
from runners.fuzzing.drawn import Drawing, Job
from runners.fuzzing.evaluate import Failing, Work
from runners.judging.verdict import EntryPointVerdict
from runners.judging.xfail import Xfail

#: Calls that are tried for one failure, and seconds that this may take.
_TRIED, _SECONDS = 200, 5.0


class Small(NamedTuple):
    """A failing call made small. ``before``: calls that have to be made first, in this order, in a fresh process.

    ``failure``: why it fails now; None where it did not fail again.
    """

    job: Job
    before: list[Job]
    failure: Failure | None


def shrink(work: Work, failing: Failing) -> Small:
    """Make a failing call small: alone in a fresh process if it fails there, else after the calls that it needs."""
    session, deadline = work.open(), time.monotonic() + _SECONDS
    try:
        trial = _Trial(work, session, failing.failure.kind, deadline)
        before: list[Job] = []
        if trial.fails(failing.job, []) is None:
            earlier = list(islice(Drawing(work.recipe, failing.task, session.plain).jobs(), failing.place))
            before = _needed(earlier, lambda some: trial.fails(failing.job, some) is not None)
        found = trial.fails(failing.job, before)
        if found is None:
            return Small(failing.job, [], None)
        start = failing.job._replace(case=_case(failing.job.case, failing.job.case.scalars, failing.job.case.operands))
        job = _smaller(start, lambda job: trial.fails(job, before, fresh=bool(before)) is not None)
        again = trial.fails(job, before)
        return Small(job, before, again) if again else Small(start, before, found)
    finally:
        session.close()


class _Trial:
    """Tells whether calls fail in the way that one did; after the deadline none does."""

    def __init__(self, work: Work, session: Session, kind: str, deadline: float) -> None:
        self._work, self._session, self._kind, self._deadline = work, session, kind, deadline
        self._manner = Manner.of(work.recipe.profile)

    def fails(self, job: Job, before: Sequence[Job], fresh: bool = True) -> Failure | None:
        """Make calls, in a fresh process if that is wanted, and return why the last one fails, if it does."""
        if not self._manner.takes(job.case) or (time.monotonic() > self._deadline and not fresh):
            return None
        if fresh:
            self._session.restart()
        for earlier in before:
            self._session.run(self._work.call(earlier))
        outcomes = self._session.run(self._work.call(job))
        verdict = EntryPointVerdict(job.entry, self._work.recipe.profile, False, Xfail([]), self._session.unobservable)
        verdict.add(job.case, job.plan, outcomes)
        return next((f for f in verdict.so_far(1).failing if f.kind == self._kind), None)


def _needed(earlier: list[Job], fails: Callable[[list[Job]], bool]) -> list[Job]:
    """Return few of the earlier calls after which a call still fails; all of them where it does not fail after them."""
    count = 1
    while count < len(earlier) and not fails(earlier[-count:]):
        count *= 4
    kept = earlier[-count:]
    if not fails(kept):
        return earlier
    size = -(-len(kept) // 2)
    while size and len(kept) > 1:  # leave out ever smaller parts
        at = 0
        while at < len(kept):
            fewer = kept[:at] + kept[at + size :]
            if fewer and fails(fewer):
                kept = fewer
            else:
                at += size
        size = size // 2 if size > 1 else 0
    return kept


def _smaller(job: Job, fails: Callable[[Job], bool]) -> Job:
    """Return a call with smaller sizes and simpler values that still fails; Hypothesis looks for it."""
    case = job.case
    sizes = [s.name for s in case.operator.scalars if s.kind == "int"]
    names = [p.name for p in case.operator.inputs]
    size = st.tuples(*(st.one_of(st.integers(0, int(case.scalars[n])), st.just(int(case.scalars[n]))) for n in sizes))
    ways = st.tuples(*(st.one_of(st.integers(0, 2), st.just(3)) for _ in names))
    tried = settings(
        max_examples=_TRIED, database=None, deadline=None, phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip

    def made(drawn: tuple[tuple[int, ...], tuple[int, ...]]) -> Job | None:
        scalars = {**case.scalars, **dict(zip(sizes, drawn[0], strict=True))}
        shapes = case.operator.shapes(scalars)
        operands = {
            name: _cut(case, case.operands[name], math.prod(shapes[name]), way, min(drawn[0], default=0))
            for name, way in zip(names, drawn[1], strict=True)
        }
        if case.operator.outside(scalars, operands):
            return None
        return Job(job.entry, _case(case, scalars, operands), job.plan)

    best, least = job, (math.inf, math.inf)

    def condition(drawn: tuple[tuple[int, ...], tuple[int, ...]]) -> bool:
        nonlocal best, least
        smaller, rank = made(drawn), (float(sum(drawn[0])), float(sum(drawn[1])))
        if smaller is None or not fails(smaller):
            return False
        if rank < least:
            best, least = smaller, rank
        return True

    with contextlib.suppress(NoSuchExample, Flaky):  # flaky: the time is up, or the target is
        hypothesis.find(st.tuples(size, ways), condition, settings=tried, random=random.Random(0))
    return best


def _cut(case: Case, values: Array, count: int, way: int, smallest: int) -> Array:
    """Return as many of an operand's values as are wanted, made simpler: the simpler, the smaller ``way``.

    Numbers become ones, the first of them, all with short significands, or stay. Indices become zeros, less than the
    smallest size, or stay.
    """
    kept = np.resize(values, count) if values.size else np.zeros(count, values.dtype)
    if values.dtype.kind == "i":
        return kept * 0 if way == 0 else kept % max(smallest, 1) if way == 1 else kept
    if way == 0:
        return np.ones(count, values.dtype)
    if way == 1:
        return np.full(count, kept[0] if count else 0, values.dtype)
    if way == 2:
        short = case.fmt.bits_dtype.type((1 << case.fmt.width) - (1 << case.fmt.precision // 2))
        return case.fmt.from_bits(case.fmt.bits(kept) & short)
    return kept


def _case(case: Case, scalars: dict[str, int | float | str], operands: dict[str, Array]) -> Case:
    """Return a case of the same kind, named by its content."""
    page, golden = case.operator, case.operator.oracle(case.fmt, scalars, operands)
    sizes = "/".join(f"{s.name}={scalars[s.name]}" for s in page.scalars if s.kind == "int")
    prefix = f"{page.name}/{case.dtype}/{page.group(scalars)}/fuzzed/{sizes}"
    named = replace(case, id=prefix, klass="fuzzed", scalars=scalars, operands=operands, golden=golden)
    return replace(named, id=f"{prefix}/{case_digest(named)[:10]}")
