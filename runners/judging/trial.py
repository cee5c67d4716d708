"""Points that a target computes for a probe: of any operator, with results that golden knows exactly."""

from collections.abc import Sequence
from itertools import islice, product

import numpy as np

from golden.errors import UsageError
from golden.formats import Array
from golden.layout import Domain
from golden.operator import EntryPoint
from golden.pointwise import Pointwise
from runners.calling.from_case import HalfAbi, call_for
from runners.calling.session import Session

#: Combinations that are looked through for telling ones, and how many of those a call computes.
_LOOKED_THROUGH, _POINTS = 1 << 14, 8


class Trial:
    """Points of an entry point: combinations of some numbers, one of each for every operand.

    Operands that a call has one number of, or does not use, have their usual one. ``value`` and ``residual``: what
    golden computes. Raises :class:`UsageError` for scalars outside the page's domain.
    """

    def __init__(self, entry: EntryPoint, levels: Sequence[float], **scalars: float | str) -> None:
        page, self.entry = entry.operator, entry
        self.scalars = {**page.given(entry.fmt, {}), **scalars}
        self._arrangement = page.arrangements(self.scalars)[-1]
        sizes = page.sizes(self._arrangement, 1)
        if wrong := page.outside({**sizes, **self.scalars}, {}):
            raise UsageError(wrong)
        self._single = page.single(self._arrangement, self.scalars)
        fixed = {*self._single, *page.untouched(self.scalars)}
        chosen = [[p.domain.usual] if p.name in fixed else _inside(levels, p.domain) for p in page.numbers]
        rows = np.array(list(islice(product(*chosen), _LOOKED_THROUGH)), entry.fmt.dtype).reshape(-1, len(chosen))
        self.columns = {p.name: rows[:, i].copy() for i, p in enumerate(page.numbers)}
        view = Pointwise(page)
        self.value, self.residual = view.oracle(entry.fmt, view.call_scalars(self.scalars, len(rows)), self.columns)

    def run(self, session: Session, where: Array, half_abi: HalfAbi, numbering: str) -> tuple[Array, Array] | None:
        """Have a target compute some of the points; return which ones, and what it gives, float64 each.

        None where there are none, or the call does not return.
        """
        index = np.flatnonzero(where)
        index = index[np.linspace(0, max(index.size - 1, 0), min(_POINTS, index.size)).astype(np.int64)]
        if not index.size:
            return None
        index = np.resize(index, session.manner.lengths.up(index.size))  # some twice, where calls have to be longer
        page, n = self.entry.operator, index.size
        operands = {k: v[index[:1]] if k in self._single else v[index] for k, v in self.columns.items()}
        operands |= {name: make(n) for name, make in self._arrangement.index.items()}
        scalars = {**page.sizes(self._arrangement, n), **self.scalars}
        plan = [session.manner.invocation()]
        call = call_for(self.entry, scalars, operands, plan, half_abi=half_abi, numbering=numbering)
        outcome = session.run(call)[0]
        if outcome.status != "ok":
            return None
        output = np.frombuffer(outcome.output, self.entry.fmt.dtype)[:: self._arrangement.stride(n)][:n]
        return index, output.astype(np.float64)


def _inside(levels: Sequence[float], domain: Domain) -> list[float]:
    """Return the numbers that an operand takes."""
    return [v for v in levels if (v > 0 or not domain.positive) and (v != 0 or domain.zero)] or [domain.usual]
