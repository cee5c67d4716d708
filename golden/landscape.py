"""Where the error lives: errors binned by the binade of a coordinate, in bounded memory.

Two coordinates are kept: the magnitude of the exact value, and the operator's own
(:attr:`golden.operator.Operator.coordinate_name`), with its sign. Only measured elements count, those whose exact
value is a non-zero real number.
"""

from collections.abc import Sequence
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from golden.case import Case
from golden.formats import Array
from golden.judge import exact_ulp
from golden.results import Binade, Landscape
from golden.rounding import Golden

#: Results reach from below the smallest fp32 subnormal to beyond the largest number: none lies further out.
_RESULT_LIMIT = 160
#: An operator's coordinate is clipped at 2**-40 and 2**40: what lies further out is counted there.
_COORDINATE_LIMIT = 40


class Share(NamedTuple):
    """What one case adds to a landscape: arrays of one length, one entry a bin that it reaches."""

    bins: Array
    elements: Array
    total: Array  #: sum of |error| in ulp
    largest: Array


class Bins:
    """One landscape under way: dense sums over the binades of one coordinate.

    Bin ``exponent + limit`` is a positive binade; negative ones follow, ``2 * limit + 1`` further.
    """

    def __init__(self, axis: str, signed: bool, limit: int) -> None:
        self._axis, self._signed, self._limit = axis, signed, limit
        self._half = 2 * limit + 1
        size = self._half * (2 if signed else 1)
        self._elements, self._misrounded, self._failures = (np.zeros(size, np.int64) for _ in range(3))
        self._largest = np.zeros(size)
        self._totals: list[tuple[int, Array, Array]] = []  #: (place, bins, sums), added up in the order of the places

    def of(self, values: Array) -> Array:
        """Return the bin of each value; zeros go to the smallest binade, infinities to the largest."""
        exponent = np.where(np.isinf(values), self._limit, np.frexp(values)[1].astype(np.int64) - 1)
        exponent = np.where(values == 0, -self._limit, np.clip(exponent, -self._limit, self._limit))
        return exponent + self._limit + np.where((values < 0) & self._signed, self._half, 0)

    def shares(self, bins: Array, errors: Array, owners: Array, count: int) -> list[Share]:
        """Return what elements with these errors (in ulp, not negative) add, for each of their ``count`` owners.

        Of an owner errors are summed up in order; ``owners`` rise.
        """
        size = len(self._elements)
        keys = owners * size + bins
        counts = np.bincount(keys, minlength=count * size)
        used = np.flatnonzero(counts)
        counts, total, largest = counts[used], np.bincount(keys, errors, count * size)[used], np.zeros(0)
        if used.size:
            # Grouped by sorting: maximum.at takes four times as long.
            largest = np.maximum.reduceat(errors[np.argsort(keys, kind="stable")], np.cumsum(counts) - counts)
        ends = np.searchsorted(used, np.arange(count + 1) * size).tolist()
        return [
            Share(used[at:end] - owner * size, counts[at:end], total[at:end], largest[at:end])
            for owner, (at, end) in enumerate(pairwise(ends))
        ]

    def add(self, share: Share, sign: int = 1, place: int = 0) -> None:
        """Add a share, or take it out again; a maximum stays, which one of greater errors will replace.

        ``place``: of its case. The landscape is the same in whatever order cases are added.
        """
        self._elements[share.bins] += sign * share.elements
        self._totals.append((place, share.bins, sign * share.total))
        if sign > 0:
            self._largest[share.bins] = np.maximum(self._largest[share.bins], share.largest)

    def count(self, misrounded: Array, failing: Array) -> None:
        """Count the elements in these bins as misrounded, and as outside every legal bound."""
        self._misrounded += np.bincount(misrounded, minlength=len(self._misrounded))
        self._failures += np.bincount(failing, minlength=len(self._failures))

    def landscape(self) -> Landscape:
        """Return the binades that hold anything, from the most negative coordinate up."""
        used = np.flatnonzero((self._elements > 0) | (self._failures > 0)).tolist()
        sums = np.zeros(len(self._elements))
        for _, at, total in sorted(self._totals, key=itemgetter(0)):
            sums[at] += total
        found = [self._binade(k, float(sums[k])) for k in used]
        return Landscape(
            self._axis,
            self._signed,
            self._limit,
            sorted(found, key=lambda b: (-1, -b.exponent) if b.negative else (1, b.exponent)),
        )

    def _binade(self, k: int, total: float) -> Binade:
        elements = int(self._elements[k])
        return Binade(
            exponent=k % self._half - self._limit,
            negative=k >= self._half,
            elements=elements,
            misrounded=int(self._misrounded[k]),
            failures=int(self._failures[k]),
            max_ulp=float(self._largest[k]) if elements else 0.0,
            # What is taken out was added before, but in another order: nothing may be left below zero.
            mean_ulp=max(total, 0.0) / elements if elements else 0.0,
        )


def all_bins(case: Case) -> list[Bins]:
    """Return the empty landscapes for cases of this operator."""
    result = Bins("result", False, _RESULT_LIMIT)
    name = case.operator.coordinate_name
    return [result, Bins(name, True, _COORDINATE_LIMIT)] if name else [result]


def bins_of(landscapes: Sequence[Bins], pieces: Sequence[tuple[Case, Array]]) -> list[Array]:
    """Return the bins of measured output elements, of cases of one operator and dtype, in each landscape."""
    first = pieces[0][0]
    exact, _ = exact_ulp(
        first.fmt, Golden(*(np.concatenate([c.golden[of][at] for c, at in pieces]) for of in range(2)))
    )
    coordinates = [np.abs(exact)]
    if first.operator.coordinate_name:
        coordinates.append(np.concatenate([c.operator.coordinate(c.scalars, c.operands, at) for c, at in pieces]))
    return [bins.of(values) for bins, values in zip(landscapes, coordinates, strict=True)]
