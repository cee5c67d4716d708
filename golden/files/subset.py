"""Some cases of a vector file, as a vector file."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import overload

from golden.case import Case, Head
from golden.files.vectors import VectorFile


class _Some(Sequence[Case]):
    """Cases at some places of a sequence, each taken when it is asked for."""

    def __init__(self, cases: Sequence[Case], places: Sequence[int]) -> None:
        self._cases, self._places = cases, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, at: int) -> Case: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Case]: ...
    def __getitem__(self, at: int | slice) -> Case | Sequence[Case]:
        if isinstance(at, slice):
            return _Some(self._cases, self._places[at])
        return self._cases[self._places[at]]


def subset(file: VectorFile, wanted: Callable[[Head], bool]) -> VectorFile:
    """Return the file with the cases alone that are wanted; the file itself where that is all of them."""
    places = [place for place, head in enumerate(file.heads) if wanted(head)]
    if len(places) == len(file.heads):
        return file
    return replace(file, heads=[file.heads[place] for place in places], cases=_Some(file.cases, places))
