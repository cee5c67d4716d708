"""Which evaluation order of an operator gives the bits of a build."""

from collections import Counter
from typing import NamedTuple

from golden.case import Case
from golden.formats import Array
from runners.models import MODELS, models


class Matches(NamedTuple):
    """How many elements of an output have the bits of each model, out of how many."""

    by_model: dict[str, int]
    total: int


def matches(case: Case, output: Array) -> Matches:
    """Count the elements of an output that are not zero anyway."""
    fmt, counted = case.fmt, case.golden.value != 0
    got, found = fmt.bits(output), {}
    for name, model in models(case.operator).items():
        wanted = fmt.bits(model.evaluate(case.operator, fmt, case.scalars, case.operands))
        found[name] = int((wanted == got)[counted].sum())
    return Matches(found, int(counted.sum()))


class OrderShares:
    """Counts how often a target's bits are those of each reference model, on cases where the models differ."""

    def __init__(self) -> None:
        self._matches = Counter[str]()
        self._total = 0

    def add(self, matches: Matches) -> None:
        """Count what an output's elements are like."""
        self._matches.update(matches.by_model)
        self._total += matches.total

    def names(self) -> list[str]:
        """Return the models that match best, of equal ones those that others have, too; none if nothing was counted."""
        best = [name for name, count in self._matches.items() if count == self._top and self._total]
        return [name for name in best if name in MODELS] or best

    def share(self) -> float:
        """Return the share of elements that the best models match."""
        return self._top / self._total if self._total else 0.0

    @property
    def _top(self) -> int:
        return max(self._matches.values(), default=0)

    def best(self) -> str:
        """Return the best match in words, such as ``formula (100 % of 2000 elements)``; "" if nothing was counted."""
        names = " = ".join(self.names()) if self.share() >= 0.5 else "none of the models" if self._total else ""
        return f"{names} ({100 * self.share():.4g} % of {self._total} elements)" if names else ""
