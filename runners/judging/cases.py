"""Runs and judges the cases of an entry point: calls sent ahead, in an order that is drawn."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain, cycle, islice
from operator import itemgetter
from typing import NamedTuple

import msgspec

from golden.case import Case, Head
from golden.files.collected import Collected
from golden.operator import EntryPoint
from golden.profile import Profile
from runners.calling.call import Call, Invocation
from runners.calling.from_case import HalfAbi, call_for
from runners.calling.plan import invocations, shuffled, unreadable_cases
from runners.calling.session import Session
from runners.judging.verdict import EntryPointVerdict

#: Calls that are on their way to the worker while the judge works on earlier ones: so many, or of so many bytes, but a
#: few in any case.
_AHEAD, _AHEAD_BYTES, _AHEAD_LEAST = 40, 4 << 20, 3
#: Cases that are run once more where the one before lay, and those that they are chosen from.
_IN_ONE_PLACE, _LOOKED_THROUGH = 6, 400


class _Waiting(NamedTuple):
    """A call that is on its way: the case's place in its file, and the order in which its plan is carried out."""

    place: int
    case: Case
    plan: list[Invocation]
    order: list[int]
    size: int


class Cases:
    """Runs the cases of a session's entry points. ``draw``: what the order is drawn from."""

    def __init__(self, session: Session, profile: Profile, draw: str, half_abi: HalfAbi, numbering: str) -> None:
        self._session, self._profile, self._draw = session, profile, draw
        self._half_abi: HalfAbi = half_abi
        self._numbering = numbering

    def run(self, entry: EntryPoint, file: Collected, verdict: EntryPointVerdict) -> Iterator[None]:
        """Run and judge all cases of an entry point, keeping the worker busy; yields after each.

        Cases and the invocations of each are made in an order that is drawn, so that it tells a library nothing, and
        judged as if in that of the suite and the plan. Nothing of a large case may outlive its turn: it may take
        hundreds of megabytes.
        """
        running: deque[_Waiting] = deque()
        under_way = 0
        places = iter(shuffled(self._draw, entry.symbol, len(file.cases)))
        closed = unreadable_cases(self._draw, entry, file.every)

        def submit() -> None:
            nonlocal under_way
            while len(running) < _AHEAD_LEAST or (len(running) < _AHEAD and under_way < _AHEAD_BYTES):
                place = next(places, None)
                if place is None:
                    return
                running.append(self._submit(entry, file, place, closed))
                under_way += running[-1].size

        submit()
        while running:
            place, case, plan, order, size = running.popleft()
            made = zip(order, self._session.collect(), strict=True)
            outcomes = [outcome for _, outcome in sorted(made, key=itemgetter(0))]
            under_way -= size
            submit()
            verdict.add(case, plan, outcomes, place)
            del case, plan, outcomes, made
            yield
        verdict.judge()
        if self._session.in_place and not verdict.fails:
            # Each alone, operands lie where those of the call before lay, as in most programs; else they never do.
            again = []
            for place in _of_one_size(file.heads):
                case = file.cases[place]
                plan = invocations(case, entry, self._profile)[:1]
                again.append((case, plan, self._session.run(self._call(entry, case, plan))))
            verdict.again(again)

    def _submit(self, entry: EntryPoint, file: Collected, place: int, closed: frozenset[str]) -> _Waiting:
        """Submit a case, its plan in an order that is drawn for it; ``closed``: see :func:`unreadable_cases`."""
        case = file.cases[place]
        plan = invocations(case, entry, self._profile, case.id in closed, self._session.plain, self._session.aliasing)
        order = shuffled(self._draw, f"{entry.symbol} {case.id}", len(plan))
        made = self._call(entry, case, [plan[number] for number in order])
        self._session.submit(made)
        return _Waiting(place, case, plan, order, made.size)

    def _call(self, entry: EntryPoint, case: Case, ways: list[Invocation]) -> Call:
        abi, numbers = self._half_abi, self._numbering
        made = call_for(entry, case.scalars, case.operands, ways, half_abi=abi, numbering=numbers)
        return msgspec.structs.replace(made, name=case.id)


def _of_one_size(heads: Sequence[Head]) -> Iterator[int]:
    """Yield the places of a few cases whose operands have the same sizes."""
    sizes: dict[tuple[object, ...], list[int]] = {}
    for place, head in enumerate(heads[:_LOOKED_THROUGH]):
        if head.tier == "required" and all(math.prod(shape) for shape in head.operator.shapes(head.scalars).values()):
            key = tuple(value for value in head.scalars.values() if isinstance(value, int))
            sizes.setdefault(key, []).append(place)
    most = sorted(sizes.values(), key=len)[-1:]
    return islice(cycle(chain.from_iterable(most)), _IN_ONE_PLACE)
