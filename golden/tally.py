"""Accumulates judged cases into the statistics of a report row; merging is plain addition.

Cases may come in any order: of equal ones the first in the suite counts, and sums are rounded as in its order.
"""

import math
from bisect import insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from golden import histogram
from golden.case import Case
from golden.formats import Array
from golden.histogram import BINS
from golden.judge import CORRECT, FAILS, Judged, Kind, element, grade_name, judge_all
from golden.landscape import Bins, Share, all_bins, bins_of
from golden.results import Element, Landscape, Tally
from golden.slices import slices
from golden.terms import Terms

#: What was found is kept for cases with up to that many output elements.
_SMALL_CASE = 1 << 12
#: The worst cases that are kept, each with its worst element.
KEPT_WORST = 10


@dataclass
class _Errors:
    """Error statistics of a set of elements that have a real, non-zero exact value."""

    measured: int = 0
    total: float = 0.0
    signed: float = 0.0
    largest: float = 0.0
    histogram: Array = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, other: "_Errors", factor: int = 1) -> None:
        self.measured += factor * other.measured
        self.total += factor * other.total
        self.signed += factor * other.signed
        self.histogram = self.histogram + factor * other.histogram


def _errors(signed: Array) -> _Errors:
    errors = _Errors()
    for at in slices(signed.size):
        part = signed[at].astype(np.float64)
        magnitude = np.abs(part)
        counts = np.bincount(np.minimum(histogram.bins_of(magnitude), BINS - 1), minlength=BINS)
        largest = max(errors.largest, float(magnitude.max()))
        errors.add(_Errors(magnitude.size, float(magnitude.sum()), float(part.sum()), 0.0, counts))
        errors.largest = largest
    return errors


class _Move(NamedTuple):
    """What differing elements of a block take out of a landscape and put in; which are misrounded, and which fail."""

    out: Share
    into: Share
    misrounded: Array
    failing: Array


class Measured:
    """What a judged output adds to every row: computed once, however many there are.

    ``errors`` and ``shares`` (for each block, of each landscape) are those of golden's own bits; ``was`` and ``now``
    those of the elements that differ, by golden's bits and by what was got, and ``worst`` is the position of the worst.
    """

    def __init__(self, case: Case, judged: Judged) -> None:
        value, residual = case.golden
        measured = np.isfinite(value) & ~np.isnan(residual) & ((value != 0) | (residual != 0))
        self.judged = judged
        self.errors = _errors(-residual[measured])
        self.shares = self._shares(case, measured)
        self.moves: list[list[_Move]] = []
        self.worst = -1
        if judged.at.size:
            replaced = measured[judged.at]
            numeric = np.flatnonzero(replaced & ~np.isnan(judged.signed))
            self.was = _errors(-residual[judged.at[replaced]])
            self.now = _errors(judged.signed[numeric])
            self.misrounded = int((judged.grade != CORRECT).sum())
            self.failures = int((judged.grade == FAILS).sum())
            self.kinds = np.bincount(judged.kind, minlength=len(Kind))
            if numeric.size:
                self.worst = int(numeric[np.argmax(np.abs(judged.signed[numeric]))])
            if case.tier == "required":  # no row of others has landscapes
                self.moves = [self._moves(case, judged, part) for part in _parts(np.flatnonzero(replaced))]

    @staticmethod
    def _shares(case: Case, measured: Array) -> list[list[Share]]:
        landscapes, residual = all_bins(case), case.golden.residual
        shares = []
        for block in slices(measured.size):
            index = block.start + np.flatnonzero(measured[block])
            places = bins_of(case, landscapes, index)
            shares.append([b.share(at, np.abs(residual[index])) for b, at in zip(landscapes, places, strict=True)])
        return shares

    @staticmethod
    def _moves(case: Case, judged: Judged, positions: Array) -> list[_Move]:
        """Return how the differing measured elements at some positions move in the landscapes to what was got."""
        index, landscapes = judged.at[positions], all_bins(case)
        was = np.abs(case.golden.residual[index]).astype(np.float64)
        now, grade = np.abs(judged.signed[positions]), judged.grade[positions]
        numeric = ~np.isnan(now)
        return [
            _Move(b.share(at, was), b.share(at[numeric], now[numeric]), at[grade != CORRECT], at[grade == FAILS])
            for b, at in zip(landscapes, bins_of(case, landscapes, index), strict=True)
        ]


def _parts(positions: Array) -> Iterator[Array]:
    for block in slices(positions.size):
        yield positions[block]


class Judgements:
    """Judges the outputs of a run, in which entry points for both storages mostly give the same bits.

    Of small cases what was found is kept until it has been asked for once more. ``terms``: see :func:`judge_all`.
    """

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._kept: dict[str, tuple[bytes, Measured]] = {}

    def of(self, outputs: Sequence[tuple[Case, Array]]) -> list[Measured]:
        """Judge outputs, each of a case, together; the case's id tells it from all others."""
        contents = [output.tobytes() if output.size <= _SMALL_CASE else b"" for _, output in outputs]
        found: dict[int, Measured] = {}
        for number, ((case, _), content) in enumerate(zip(outputs, contents, strict=True)):
            kept = self._kept.pop(case.id, None)
            if kept is not None and kept[0] == content:
                found[number] = kept[1]
        left = [number for number in range(len(outputs)) if number not in found]
        for number, judged in zip(left, judge_all([outputs[number] for number in left], self._terms), strict=True):
            case = outputs[number][0]
            found[number] = Measured(case, judged)
            if contents[number]:
                self._kept[case.id] = contents[number], found[number]
        return [found[number] for number in range(len(outputs))]


class Accumulator:
    """Collects judged cases; :meth:`tally` gives the row.

    ``detailed``: also keep the worst cases and the landscapes, for the row of a whole entry point.
    """

    def __init__(self, detailed: bool = False) -> None:
        self.cases = self.elements = self.failures = self.misrounded = 0
        self.kinds = np.zeros(len(Kind), np.int64)
        self.grade = CORRECT
        self.errors = _Errors()
        self.worst: Element | None = None
        self.largest = 0.0
        self._detailed = detailed
        self._landscapes: list[Bins] = []
        self._sums: list[tuple[int, float, float]] = []  #: (place, total, signed) of every part of the errors
        self._rank_of_worst = (math.inf, 0)
        self._worst: list[tuple[float, int, Element]] = []  #: worst first: (-error, place of the case, element)

    def add(
        self, case: Case, output: Array, judged: Judged, measured: Measured | None = None, place: int | None = None
    ) -> None:
        """Add one judged output array of a case; who adds it to several rows gives what it has ``measured``.

        ``place``: where the case stands in its suite, if not behind those that were added before.
        """
        measured = measured or Measured(case, judged)
        place = self.cases if place is None else place
        self.cases += 1
        self.elements += output.size
        self._add(place, measured.errors)
        self.largest = max(self.largest, measured.errors.largest)
        if self._detailed:
            self._locate(case, measured, place)
        if judged.at.size == 0:
            return
        # Take golden's own contribution of the differing elements out, and put what was got in.
        self._add(place, measured.was, -1)
        self._add(place, measured.now)
        self.misrounded += measured.misrounded
        self.failures += measured.failures
        self.kinds += measured.kinds
        self.grade = max(self.grade, int(judged.grade.max()))
        if measured.worst >= 0 and (rank := (-measured.now.largest, place)) < self._rank_of_worst:
            self._rank_of_worst = rank
            self.worst = element(case, output, judged, measured.worst)
            self.largest = max(self.largest, measured.now.largest)
        if self._detailed:
            self._rank(case, output, judged, place)

    def _add(self, place: int, errors: _Errors, factor: int = 1) -> None:
        self.errors.add(errors, factor)
        self._sums.append((place, factor * errors.total, factor * errors.signed))

    def _locate(self, case: Case, measured: Measured, place: int) -> None:
        """Add a case to the landscapes."""
        self._landscapes = self._landscapes or all_bins(case)
        for shares in measured.shares:
            for bins, share in zip(self._landscapes, shares, strict=True):
                bins.add(share, place=place)
        for moves in measured.moves:
            for bins, move in zip(self._landscapes, moves, strict=True):
                bins.add(move.out, -1, place)
                bins.add(move.into, place=place)
                bins.count(move.misrounded, move.failing)

    def _rank(self, case: Case, output: Array, judged: Judged, place: int) -> None:
        """Keep the case's worst element if it is among the worst: failures without a distance, then by error."""
        error = np.abs(judged.signed)
        error = np.where(np.isnan(error), np.where(judged.grade == FAILS, np.inf, 0.0), error)
        position = int(np.argmax(error))
        rank = (-float(error[position]), place)  # of two equal cases the first in the suite
        if error[position] == 0 or (len(self._worst) == KEPT_WORST and rank >= self._worst[-1][:2]):
            return
        insort(self._worst, (*rank, element(case, output, judged, position)), key=itemgetter(0, 1))
        del self._worst[KEPT_WORST:]

    def worst_cases(self) -> list[Element]:
        """Return the worst element of each of the worst cases, worst first."""
        return [found for _, _, found in self._worst]

    def landscapes(self) -> list[Landscape]:
        """Return where the error lives."""
        return [bins.landscape() for bins in self._landscapes]

    def tally(self) -> Tally:
        """Return the statistics as they are stored."""
        errors, kinds = self.errors, self.kinds
        total = signed = 0.0
        for _, more, more_signed in sorted(self._sums, key=itemgetter(0)):
            total, signed = total + more, signed + more_signed
        return Tally(
            cases=self.cases,
            elements=self.elements,
            measured=errors.measured,
            misrounded=self.misrounded,
            failures=self.failures,
            nan=int(kinds[Kind.NAN]),
            infinity=int(kinds[Kind.INFINITY]),
            overflow=int(kinds[Kind.OVERFLOW]),
            zero=int(kinds[Kind.ZERO] + kinds[Kind.NONZERO]),
            zero_sign=int(kinds[Kind.ZERO_SIGN]),
            max_ulp=self.largest,
            mean_ulp=total / errors.measured if errors.measured else 0.0,
            p999_ulp=histogram.percentile(errors.histogram, 0.999),
            bias_ulp=signed / errors.measured if errors.measured else 0.0,
            grade=grade_name(self.grade) if self.cases else "fails",
            worst=self.worst,
            histogram=histogram.stored(errors.histogram),
        )
