"""Accumulates judged cases into the statistics of a report row; merging is plain addition.

Cases may come in any order: of equal ones the first in the suite counts, and sums are rounded as in its order.
"""

import math
from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, NamedTuple, TypeVar

import numpy as np

from golden import histogram
from golden.case import Case
from golden.formats import Array
from golden.histogram import BINS
from golden.judge import CORRECT, FAILS, Judged, Kind, element, grade_name, judge_all
from golden.landscape import Bins, Share, all_bins, bins_of
from golden.operator import Operator
from golden.results import Element, Landscape, Tally
from golden.slices import together
from golden.terms import Terms

T = TypeVar("T")

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
        self.histogram += factor * other.histogram


def _errors(sets: Sequence[Array]) -> list[_Errors]:
    """Return the statistics of sets of elements from their errors, worked out together."""
    found = [_Errors() for _ in sets]
    for block in together([signed.size for signed in sets]):
        parts = [sets[number][at].astype(np.float64) for number, at in block]
        bins = np.minimum(histogram.bins_of(np.abs(np.concatenate(parts))), BINS - 1)
        rows = np.bincount(bins + BINS * _owners(parts), minlength=BINS * len(parts)).reshape(-1, BINS)
        for (number, _), part, row in zip(block, parts, rows, strict=True):
            magnitude = np.abs(part)
            found[number].add(_Errors(part.size, float(magnitude.sum()), float(part.sum()), 0.0, row))
            found[number].largest = max(found[number].largest, float(magnitude.max()))
    return found


def _owners(parts: Sequence[Array]) -> Array:
    """Return for each element of all parts the number of its part."""
    return np.repeat(np.arange(len(parts)), [part.size for part in parts])


class _Move(NamedTuple):
    """What differing elements of a block take out of a landscape and put in; which are misrounded, and which fail."""

    out: Share
    into: Share
    misrounded: Array
    failing: Array


@dataclass
class Measured:
    """What a judged output adds to every row: computed once, however many there are.

    ``errors`` and ``shares`` (for each block, of each landscape) are those of golden's own bits; ``was`` and ``now``
    those of the elements that differ, by golden's bits and by what was got, and ``worst`` is the position of the worst.
    """

    judged: Judged
    errors: _Errors
    was: _Errors
    now: _Errors
    worst: int
    shares: list[list[Share]] = field(default_factory=list)
    moves: list[list[_Move]] = field(default_factory=list)
    _known: dict[Callable[[Case, Array], Any], Any] = field(default_factory=dict)

    def once(self, work: Callable[[Case, Array], T], case: Case, output: Array) -> T:
        """Return what follows from the case and this output alone, worked out when it is first asked for."""
        if work not in self._known:
            self._known[work] = work(case, output)
        return self._known[work]  # type: ignore[no-any-return]


def measure(outputs: Sequence[tuple[Case, Judged]]) -> list[Measured]:
    """Return what judged outputs, each of a case, add to every row, worked out together."""
    golden, positions, numeric = [], [], []
    for case, judged in outputs:
        value, residual = case.golden
        measured = np.isfinite(value) & ~np.isnan(residual) & ((value != 0) | (residual != 0))
        golden.append(np.flatnonzero(measured))
        positions.append(np.flatnonzero(measured[judged.at]))
        numeric.append(positions[-1][~np.isnan(judged.signed[positions[-1]])])
    cases, judgements = [case for case, _ in outputs], [judged for _, judged in outputs]
    replaced = [judged.at[at] for judged, at in zip(judgements, positions, strict=True)]
    errors = _errors([-case.golden.residual[at] for case, at in zip(cases, golden, strict=True)])
    was = _errors([-case.golden.residual[at] for case, at in zip(cases, replaced, strict=True)])
    signed = [judged.signed[at] for judged, at in zip(judgements, numeric, strict=True)]
    worst = [int(at[np.argmax(np.abs(s))]) if at.size else -1 for at, s in zip(numeric, signed, strict=True)]
    found = list(map(Measured, judgements, errors, was, _errors(signed), worst))
    groups: dict[tuple[Operator, str], list[int]] = {}
    for number, case in enumerate(cases):
        if case.tier == "required":  # no row of others has landscapes
            groups.setdefault((case.operator, case.dtype), []).append(number)
    for numbers in groups.values():
        _locate([(cases[n], found[n], golden[n], positions[n]) for n in numbers])
    return found


def _locate(outputs: Sequence[tuple[Case, Measured, Array, Array]]) -> None:
    """Add what outputs of cases of one operator and dtype give to landscapes.

    Each comes with its case's measured elements, and the positions of those among the elements that differ.
    """
    cases, found, golden, positions = zip(*outputs, strict=True)
    landscapes = all_bins(cases[0])
    for block in together([at.size for at in golden]):
        pieces = [(cases[number], golden[number][at]) for number, at in block]
        owners, count = _owners([at for _, at in pieces]), len(pieces)
        errors = np.abs(np.concatenate([case.golden.residual[at] for case, at in pieces]))
        places = bins_of(landscapes, pieces)
        shares = [b.shares(at, errors, owners, count) for b, at in zip(landscapes, places, strict=True)]
        for (number, _), *share in zip(block, *shares, strict=True):
            found[number].shares.append(share)
    for block in together([at.size for at in positions]):
        chosen = [(number, positions[number][at]) for number, at in block]
        pieces = [(cases[number], found[number].judged.at[at]) for number, at in chosen]
        owners, count = _owners([at for _, at in pieces]), len(pieces)
        was = np.abs(np.concatenate([case.golden.residual[at] for case, at in pieces])).astype(np.float64)
        now = np.abs(np.concatenate([found[number].judged.signed[at] for number, at in chosen]))
        grade = np.concatenate([found[number].judged.grade[at] for number, at in chosen])
        numeric, ends = ~np.isnan(now), np.cumsum([at.size for _, at in pieces])[:-1]
        moves = []
        for b, at in zip(landscapes, bins_of(landscapes, pieces), strict=True):
            out, into = b.shares(at, was, owners, count), b.shares(at[numeric], now[numeric], owners[numeric], count)
            bins, grades = np.split(at, ends), np.split(grade, ends)
            misrounded = [mine[g != CORRECT] for mine, g in zip(bins, grades, strict=True)]
            failing = [mine[g == FAILS] for mine, g in zip(bins, grades, strict=True)]
            moves.append(list(map(_Move, out, into, misrounded, failing)))
        for (number, _), *move in zip(block, *moves, strict=True):
            found[number].moves.append(move)


class Judgements:
    """Judges the outputs of a run, in which entry points for both storages mostly give the same bits.

    Of small cases what was found is kept until it has been asked for once more. ``terms``: see :func:`judge_all`.
    """

    def __init__(self, terms: Terms) -> None:
        #: Digests of what the shared entry points gave, by case, until they are held against the private ones.
        self.shared: dict[str, bytes] = {}
        self._terms = terms
        self._kept: dict[str, tuple[bytes, Measured]] = {}

    def of(self, outputs: Sequence[tuple[Case, Array]]) -> list[Measured]:
        """Judge outputs, each of a case, together; the case's id tells it from all others."""
        contents = [output.tobytes() if output.size <= _SMALL_CASE else b"" for _, output in outputs]
        known: dict[int, Measured] = {}
        for number, ((case, _), content) in enumerate(zip(outputs, contents, strict=True)):
            kept = self._kept.pop(case.id, None)
            if kept is not None and kept[0] == content:
                known[number] = kept[1]
        left = [number for number in range(len(outputs)) if number not in known]
        judged = judge_all([outputs[number] for number in left], self._terms)
        new = measure([(outputs[number][0], found) for number, found in zip(left, judged, strict=True)])
        for number, measured in zip(left, new, strict=True):
            known[number] = measured
            if contents[number]:
                self._kept[outputs[number][0].id] = contents[number], measured
        return [known[number] for number in range(len(outputs))]


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
        measured = measured or measure([(case, judged)])[0]
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
        self.misrounded += int((judged.grade != CORRECT).sum())
        self.failures += judged.failing.size
        self.kinds += np.bincount(judged.kind, minlength=len(Kind))
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
