"""Whether judged results show subnormals kept, or replaced by zero: a build may do one here and the other there."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from golden.case import Case
from golden.formats import Array
from golden.judge import judge
from golden.terms import Terms

#: Elements of an entry point that are looked at for one that proves a thing.
_LOOKED_AT = 40


class Seen(NamedTuple):
    """An element that shows what becomes of subnormal results."""

    symbol: str
    case: str
    element: int
    exact: str
    got: str

    def __str__(self) -> str:
        return f"{self.symbol} gives {self.got} for {self.exact} ({self.case}, element {self.element})"


class Subnormals:
    """Looks through the results of one entry point for the first of each: one that was kept, one that was flushed.

    Only normal operands count: those that are subnormal may be flushed on their own account. A zero counts if no legal
    order gives it without flushing.
    """

    def __init__(self, symbol: str, terms: Terms) -> None:
        self.kept: Seen | None = None
        self.flushed: Seen | None = None
        self._symbol = symbol
        self._terms = msgspec.structs.replace(terms, flush=False)
        self._left = _LOOKED_AT

    def add(self, outputs: Sequence[tuple[Case, Array]]) -> None:
        """Look at outputs of the entry point, each of a case."""
        if (self.kept and self.flushed) or not self._left or not outputs:
            return
        tiny = outputs[0][0].fmt.smallest_normal
        want = np.concatenate([case.golden.value for case, _ in outputs])
        got = np.concatenate([output for _, output in outputs])
        small = (np.abs(want) < tiny) & (want != 0) & (np.abs(got) < tiny)
        ends = np.cumsum([output.size for _, output in outputs])
        for zero in (False, True):
            for at in np.flatnonzero(small & ((got == 0) == zero)).tolist():
                if (self.flushed if zero else self.kept) or not self._left:
                    break
                number = int(np.searchsorted(ends, at, side="right"))
                case, output = outputs[number]
                self._look(case, output, at - int(ends[number]) + output.size)

    def _look(self, case: Case, output: Array, index: int) -> None:
        operands = case.operator.inputs_of(case.scalars, case.operands, index).values()
        tiny = case.fmt.smallest_normal
        if any(0 < abs(float(v)) < tiny for v in operands if isinstance(v, np.floating)):
            return
        self._left -= 1
        seen = Seen(self._symbol, case.id, index, str(case.golden.value[index]), str(output[index]))
        if output[index]:
            self.kept = seen
            return
        judged = judge(case, output, self._terms)
        if index in judged.at[judged.failing]:
            self.flushed = seen


def told(probed: str, seen: Sequence[Subnormals]) -> tuple[str, str]:
    """Return what becomes of subnormals, by a probe and judged results; and where, if not the same everywhere."""
    kept = [s.kept for s in seen if s.kept]
    flushed = [s.flushed for s in seen if s.flushed]
    words = {"preserve"} if kept else set()
    words |= {"flush"} if flushed else set()
    found = words | ({probed} & {"preserve", "flush"})
    if len(found) < 2:
        return next(iter(found), probed), ""
    if not (kept and flushed):
        other = "flushes them" if kept else "keeps them"
        return "mixed", f"Subnormal results are not all treated alike: a probe {other}, but {(kept or flushed)[0]}."
    both = next(((s.flushed, s.kept) for s in seen if s.flushed and s.kept), (flushed[0], kept[0]))
    return "mixed", f"Subnormal results are flushed here and kept there: {both[0]}, but {both[1]}."
