"""Same inputs, same bits: at every position of a call, and in longer and shorter calls."""

from collections.abc import Iterator
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from golden.case import Case, Head
from golden.distinct import distinct
from golden.formats import Array, comparable_bits

#: Cases up to this many elements are also compared with each other.
_REMEMBERED = 256


class _Seen(NamedTuple):
    """What a case has shown: the element that contradicts another of it, if one does, or its inputs and results."""

    place: int
    head: Head
    where: int | None
    scope: str = ""
    results: tuple[Array, Array, Array] | None = None  #: inputs, bits and index of at most _REMEMBERED elements


class Positions:
    """Remembers what results some inputs gave; one for each entry point. Cases may come in any order."""

    def __init__(self) -> None:
        self._cases: list[_Seen] = []

    def add(self, case: Case, output: Array, place: int | None = None) -> None:
        """Take a case in; ``place``: where it stands in its suite, if not behind those that were added before."""
        place = len(self._cases) if place is None else place
        fmt = case.fmt
        index, inputs = case.operator.element_inputs(fmt, case.scalars, case.operands)
        where: int | None = None
        seen: tuple[Any, ...] = ()
        if len(index):
            first, which = distinct([*inputs.T])
            bits = comparable_bits(fmt, output)[index]
            differ = np.flatnonzero(bits != bits[first][which])
            where = int(index[differ[0]]) if differ.size else None
            if where is None and len(index) <= _REMEMBERED:
                rows = np.ascontiguousarray(inputs[first])
                keys = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).reshape(-1)
                seen = _scope(case), (keys, bits[first], index[first])
        self._cases.append(_Seen(place, case.head, where, *seen))

    def differing(self) -> Iterator[tuple[Head, int | None]]:
        """Return of every case, in the order of the suite, the first element with other bits than its inputs gave."""
        known: dict[tuple[str, bytes], int] = {}
        for seen in sorted(self._cases, key=attrgetter("place")):
            where = seen.where
            for key, bits, index in zip(*(values.tolist() for values in seen.results or ()), strict=True):
                if known.setdefault((seen.scope, key), bits) != bits:
                    where = index
                    break
            yield seen.head, where


def _scope(case: Case) -> str:
    """Name what besides the element's own inputs a result depends on: the scalars that are no sizes."""
    return case.group
