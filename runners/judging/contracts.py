"""Counts what was checked beside the numbers: how often each contract, and in how many cases it was broken."""

from collections import Counter
from collections.abc import Iterable, Sequence

from golden.case import Case, Head
from golden.formats import Array, comparable_bits
from golden.operator import EntryPoint, Operator, Role
from golden.results import CONTRACTS, Contract, Failure
from runners.calling.call import Invocation, Outcome

#: Which findings and failures break which contract.
_BROKEN_BY = {
    "crash": "returns",
    "timeout": "returns",
    "guard": "outside-access",
    "output-underrun": "outside-write",
    "output-overrun": "outside-write",
    "input-written": "inputs-unchanged",
    "touched": "untouched-operands",
    "fp-environment": "fp-environment",
    "registers": "registers",
    "intrusion": "processes",
    "forked": "processes",
    "left-process": "processes",
    "unwritten": "output-written",
}
#: Memory is watched during a call that crashes too; what a call leaves behind is looked at when it has returned.
_WATCHED = ("outside-access", "outside-write", "inputs-unchanged")
#: Contracts that an invocation checks by being compared with the first: what must not change a bit.
_VARIED = ("core-mask", "placement", "output-fill", "unread-operands")


class Contracts:
    """The contracts of one entry point.

    ``unobservable``: those that its session cannot see; ``aliases``: the platform lets the output lie on an input.
    """

    def __init__(self, entry: EntryPoint, unobservable: frozenset[str], aliases: bool = False) -> None:
        applies = {
            "aliasing": aliases,
            "core-mask": entry.has_core_mask,
            "unread-operands": any(p.role is Role.UNREAD for p in entry.operator.pointers),
            "untouched-operands": type(entry.operator).untouched is not Operator.untouched,
            "storage": entry.storage == "private",  # which is judged after the shared one
        }
        self._names = [name for name in CONTRACTS if applies.get(name, True)]
        self._unobservable = unobservable
        self._checked: Counter[str] = Counter()
        self._broken: dict[str, set[str]] = {name: set() for name in CONTRACTS}

    def add(
        self, case: Case, plan: Sequence[Invocation], outcomes: Sequence[Outcome], outputs: Sequence[Array | None]
    ) -> None:
        """Count what the invocations of a case have checked, and what the runner found broken."""
        status = Counter(outcome.status for outcome in outcomes)
        for name in ("returns", "processes"):
            self._checked[name] += len(outcomes) - status["not-run"]
        for name in _WATCHED:
            self._checked[name] += status["ok"] + status["crash"]
        for name in ("fp-environment", "registers"):
            self._checked[name] += status["ok"]
        pairs = list(zip(plan, outcomes, strict=True))
        self._checked["untouched-operands"] += sum(bool(i.unreadable) and o.status in ("ok", "crash") for i, o in pairs)
        self._checked["output-written"] += len({i.fill for i, o in pairs if o.status == "ok"} - {2}) == 2
        for outcome in outcomes:
            if outcome.findings:
                self._break(case, (finding.kind for finding in outcome.findings))
        self._checked["small-sizes"] += case.golden.value.size <= 1
        if outputs[0] is not None:
            self._compare(case, plan, outcomes, outputs)

    def problems(self, case: Head, problems: Sequence[Failure]) -> None:
        """Take in why a case fails."""
        self._break(case, (problem.kind for problem in problems))
        if problems and case.size <= 1:
            self._broken["small-sizes"].add(case.id)

    def compared(self, name: str, case: Head, equal: bool, times: int = 1) -> None:
        """Count a comparison that was made elsewhere, so many times."""
        self._checked[name] += times
        if not equal:
            self._broken[name].add(case.id)

    def broken(self, name: str) -> bool:
        """Tell whether a case has broken a contract."""
        return bool(self._broken[name])

    def result(self) -> list[Contract]:
        """Return every contract that this entry point can break."""
        return [
            Contract(name, observable=False)
            if name in self._unobservable
            else Contract(name, self._checked[name], len(self._broken[name]))
            for name in self._names
        ]

    def _break(self, case: Head, kinds: Iterable[str]) -> None:
        for kind in kinds:
            if kind in _BROKEN_BY:
                self._broken[_BROKEN_BY[kind]].add(case.id)

    def _compare(
        self, case: Case, plan: Sequence[Invocation], outcomes: Sequence[Outcome], outputs: Sequence[Array | None]
    ) -> None:
        """Count comparisons with the first invocation by what was varied, and blame what cannot be excluded.

        Most invocations vary several things at once. Where bits differ, the cause is among the things varied in
        every invocation with other bits and in none with the same; where that leaves nothing, any of them.
        """
        first, judged = plan[0], outputs[0]
        assert judged is not None
        reference = None
        same: set[str] = set()
        differing: list[set[str]] = []
        for invocation, outcome, output in zip(plan[1:], outcomes[1:], outputs[1:], strict=True):
            if output is None:
                continue
            varied = _varied(first, invocation) or {"repetition"}
            self._checked.update(varied)
            equal = outcome.output == outcomes[0].output
            if not equal:
                reference = comparable_bits(case.fmt, judged) if reference is None else reference
                equal = bool((comparable_bits(case.fmt, output) == reference).all())
            if equal:
                same |= varied
            else:
                differing.append(varied)
        if differing:
            blamed = set.intersection(*differing) - same or set.union(*differing) - same or set.union(*differing)
            for name in blamed:
                self._broken[name].add(case.id)


def _place(invocation: Invocation) -> tuple[object, ...]:
    """Return what says where operands lie."""
    return invocation.placement, invocation.offset, invocation.skew, invocation.grid, invocation.alone


def _varied(first: Invocation, other: Invocation) -> set[str]:
    """Name the contracts that the differences between two invocations test."""
    mask, placement, fill, unread = _VARIED
    varied = {mask} if first.core_mask != other.core_mask else set()
    if _place(first) != _place(other):
        varied.add(placement)
    if other.alias:
        varied.add("aliasing")
    if first.fill != other.fill:
        varied.add(fill)
    if first.unread != other.unread:
        varied.add(unread)
    return varied
