"""Same inputs, same bits: at every position of a call, and in longer and shorter calls."""

from collections.abc import Iterator
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from golden.case import Case, Head
from golden.distinct import distinct
from golden.formats import Array, comparable_bits

#: Cases up to this many elements are also compared with each other.
_REMEMBERED = 256


class Look(NamedTuple):
    """What a case has shown: the element that contradicts another of it, if one does, or its inputs and results."""

    where: int | None
    results: tuple[Array, Array, Array] | None = None  #: inputs, bits and index of at most _REMEMBERED elements


def look(case: Case, output: Array) -> Look:
    """Compare the elements of an output that have the same inputs."""
    index, inputs = case.operator.element_inputs(case.fmt, case.scalars, case.operands)
    if not len(index):
        return Look(None)
    first, which = distinct([*inputs.T])
    bits = comparable_bits(case.fmt, output)[index]
    differ = np.flatnonzero(bits != bits[first][which])
    if differ.size:
        return Look(int(index[differ[0]]))
    if len(index) > _REMEMBERED:
        return Look(None)
    rows = np.ascontiguousarray(inputs[first])
    keys = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).reshape(-1)
    return Look(None, (keys, bits[first], index[first]))


class Positions:
    """Remembers what results some inputs gave; one for each entry point. Cases may come in any order."""

    def __init__(self) -> None:
        self._cases: list[tuple[int, Head, str, Look]] = []

    def add(self, case: Case, seen: Look, place: int | None = None) -> None:
        """Take in what a case has shown; ``place``: where it stands in its suite, if not behind those added before."""
        self._cases.append((len(self._cases) if place is None else place, case.head, _scope(case), seen))

    def differing(self) -> Iterator[tuple[Head, int | None]]:
        """Return of every case, in the order of the suite, the first element with other bits than its inputs gave."""
        known: dict[tuple[str, bytes], int] = {}
        for _, head, scope, seen in sorted(self._cases, key=itemgetter(0)):
            where = seen.where
            for key, bits, index in zip(*(values.tolist() for values in seen.results or ()), strict=True):
                if known.setdefault((scope, key), bits) != bits:
                    where = index
                    break
            yield head, where


def _scope(case: Case) -> str:
    """Name what besides the element's own inputs a result depends on: the scalars that are no sizes."""
    return case.group
