"""Accumulates judged cases into the statistics of a report row; merging is plain addition."""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from golden.case import Case
from golden.formats import Array
from golden.judge import CORRECT, FAILS, Judged, Kind, element, grade_name
from golden.results import Element, Tally

#: Histogram bins: 1/32 ulp wide up to 4 ulp, then one an octave up to 2**200 ulp.
_FINE, _FINE_LIMIT, _OCTAVES = 32, 4, 198
_FINE_BINS = _FINE * _FINE_LIMIT
_BINS = _FINE_BINS + _OCTAVES


@dataclass
class _Errors:
    """Error statistics of a set of elements that have a real, non-zero exact value."""

    measured: int = 0
    total: float = 0.0
    signed: float = 0.0
    largest: float = 0.0
    histogram: Array = field(default_factory=lambda: np.zeros(_BINS, np.int64))

    def add(self, other: "_Errors", factor: int = 1) -> None:
        self.measured += factor * other.measured
        self.total += factor * other.total
        self.signed += factor * other.signed
        self.histogram = self.histogram + factor * other.histogram


def _errors(signed: Array) -> _Errors:
    magnitude = np.abs(signed)
    if magnitude.size == 0:
        return _Errors()
    octave = _FINE_BINS + np.frexp(magnitude / _FINE_LIMIT)[1] - 1
    fine = (np.minimum(magnitude, _FINE_LIMIT) * _FINE).astype(np.int64)
    bins = np.where(magnitude < _FINE_LIMIT, fine, octave)
    counts = np.bincount(np.minimum(bins, _BINS - 1), minlength=_BINS)
    return _Errors(magnitude.size, float(magnitude.sum()), float(signed.sum()), float(magnitude.max()), counts)


def _upper_edge(bin_index: int) -> float:
    if bin_index < _FINE_BINS:
        return (bin_index + 1) / _FINE
    return float(_FINE_LIMIT * 2 ** (bin_index - _FINE_BINS + 1))


@lru_cache(maxsize=65536)
def _baseline(case_id: str, golden_id: int, case: "_ByIdentity") -> tuple[_Errors, Array]:
    """Statistics of a case whose outputs all have golden's bits, and which elements are measured."""
    value, residual = case.case.golden
    measured = np.isfinite(value) & ~np.isnan(residual) & ((value != 0) | (residual != 0))
    return _errors(-residual[measured].astype(np.float64)), measured


@dataclass(frozen=True)
class _ByIdentity:
    """Lets a case be a cache key without comparing its arrays."""

    case: Case

    def __hash__(self) -> int:
        return id(self.case)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByIdentity) and self.case is other.case


class Accumulator:
    """Collects judged cases; :meth:`tally` gives the row."""

    def __init__(self) -> None:
        self.cases = self.elements = self.failures = self.misrounded = 0
        self.kinds = np.zeros(len(Kind), np.int64)
        self.grade = CORRECT
        self.errors = _Errors()
        self.worst: Element | None = None
        self.largest = 0.0

    def add(self, case: Case, output: Array, judged: Judged) -> None:
        """Add one judged output array of a case."""
        baseline, measured = _baseline(case.id, id(case.golden.value), _ByIdentity(case))
        self.cases += 1
        self.elements += output.size
        self.errors.add(baseline)
        self.largest = max(self.largest, baseline.largest)
        if judged.at.size == 0:
            return
        # Take golden's own contribution of the differing elements out, and put what was got in.
        replaced = measured[judged.at]
        was = -case.golden.residual[judged.at][replaced].astype(np.float64)
        self.errors.add(_errors(was), -1)
        numeric = np.flatnonzero(replaced & ~np.isnan(judged.signed))
        now = _errors(judged.signed[numeric])
        self.errors.add(now)
        self.misrounded += int((judged.grade != CORRECT).sum())
        self.failures += int((judged.grade == FAILS).sum())
        self.kinds += np.bincount(judged.kind, minlength=len(Kind))
        self.grade = max(self.grade, int(judged.grade.max()))
        if now.largest > self.largest or (self.worst is None and numeric.size):
            position = int(numeric[np.argmax(np.abs(judged.signed[numeric]))])
            self.worst = element(case, output, judged, position)
            self.largest = max(self.largest, now.largest)

    def tally(self) -> Tally:
        """Return the statistics as they are stored."""
        errors, kinds = self.errors, self.kinds
        nonzero = np.flatnonzero(errors.histogram)
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
            mean_ulp=errors.total / errors.measured if errors.measured else 0.0,
            p999_ulp=_percentile(errors.histogram, 0.999),
            bias_ulp=errors.signed / errors.measured if errors.measured else 0.0,
            grade=grade_name(self.grade) if self.cases else "fails",
            worst=self.worst,
            histogram={f"{_upper_edge(b):g}": int(errors.histogram[b]) for b in nonzero.tolist()},
        )


def _percentile(histogram: Array, share: float) -> float:
    total = int(histogram.sum())
    if total == 0:
        return 0.0
    return _upper_edge(int(np.searchsorted(np.cumsum(histogram), share * total)))
