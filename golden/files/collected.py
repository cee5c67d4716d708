"""Cases of one operator and dtype out of one vector file or several, and a choice of them.

Each case is read where it lies, when its turn comes: large files are not held in memory.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, overload

from golden.case import Case, Head
from golden.errors import VectorError
from golden.files.vectors import VectorFile, case_digest
from golden.operator import Operator

C = TypeVar("C", "Collected", VectorFile)


@dataclass(frozen=True)
class Collected:
    """Cases of one operator and dtype. ``heads`` say what ``cases`` are; ``every``: those of all that were collected.

    What is drawn for a run is drawn from ``every``, so that a case is called in the same ways whatever is chosen.
    """

    operator: Operator
    dtype: str
    heads: Sequence[Head]
    cases: Sequence[Case]
    every: Sequence[Head]

    def only(self, wanted: Callable[[Head], bool]) -> "Collected":
        """Return a choice of the cases, in their order; the same object where that is all of them."""
        return _only(self, wanted)


def subset(file: VectorFile, wanted: Callable[[Head], bool]) -> VectorFile:
    """Return a file with the cases alone that are wanted; the file itself where that is all of them."""
    return _only(file, wanted)


def _only(given: C, wanted: Callable[[Head], bool]) -> C:
    places = [place for place, head in enumerate(given.heads) if wanted(head)]
    if len(places) == len(given.heads):
        return given
    heads = [given.heads[place] for place in places]
    return replace(given, heads=heads, cases=_Scattered([(given.cases, place) for place in places]))


def collect(files: Iterable[VectorFile]) -> dict[tuple[str, str], Collected]:
    """Return the cases of files by operator and dtype, in the order of the files; one that several have counts once.

    Raises :class:`VectorError` where two files have different cases of one id.
    """
    kinds: dict[tuple[str, str], list[VectorFile]] = {}
    for file in files:
        kinds.setdefault((file.operator.name, file.dtype), []).append(file)
    return {kind: _together(same) for kind, same in kinds.items()}


def _together(files: Sequence[VectorFile]) -> Collected:
    first = files[0]
    if len(files) == 1:
        return Collected(first.operator, first.dtype, first.heads, first.cases, first.heads)
    heads: list[Head] = []
    places: list[tuple[Sequence[Case], int]] = []
    known: dict[str, tuple[VectorFile, int]] = {}
    for file in files:
        for place, head in enumerate(file.heads):
            if head.id not in known:
                known[head.id] = file, place
                heads.append(head)
                places.append((file.cases, place))
                continue
            other, there = known[head.id]
            if case_digest(file.cases[place]) != case_digest(other.cases[there]):
                raise VectorError(
                    f"{other.path} and {file.path} have different cases of the id {head.id}: leave one of them out."
                )
    return Collected(first.operator, first.dtype, heads, _Scattered(places), heads)


@dataclass(frozen=True, eq=False)
class _Scattered(Sequence[Case]):
    """Cases that lie in sequences, each at a place of one of them."""

    places: Sequence[tuple[Sequence[Case], int]]

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Case: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Case]: ...
    def __getitem__(self, index: int | slice) -> Case | Sequence[Case]:
        if isinstance(index, slice):
            return _Scattered(self.places[index])
        cases, place = self.places[index]
        return cases[place]
