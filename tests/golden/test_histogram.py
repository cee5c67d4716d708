"""Bins of errors, against their definition in exact rationals."""

from fractions import Fraction

import numpy as np
import pytest

from golden.formats import FP32
from golden.histogram import BINS, FINE, bins_of, percentile, stored, upper_edge


def edges(number: int) -> tuple[Fraction, Fraction]:
    """Return the lower and the upper edge of a bin, by the definition."""
    if number < FINE:
        return Fraction(number, 32), Fraction(number + 1, 32)
    return Fraction(4 * 2 ** (number - FINE)), Fraction(4 * 2 ** (number - FINE + 1))


@pytest.mark.parametrize("beside", [-1, 0, 1])
def test_every_bin_holds_what_lies_between_its_edges(beside: int) -> None:
    first = [float(edges(number)[0]) for number in range(BINS)]
    values = [np.nextafter(v, beside * np.inf) if beside else v for v in first]
    for value, found in zip(values, bins_of(np.abs(np.array(values))).tolist(), strict=True):
        low, high = edges(found)
        assert low <= abs(Fraction(float(value))) < high


def test_upper_edges_are_exact_and_reach_beyond_any_error() -> None:
    assert [Fraction(upper_edge(number)) for number in range(BINS)] == [edges(number)[1] for number in range(BINS)]
    # An infinity, counted as the first number beyond the largest, in the place of the smallest subnormal one.
    assert upper_edge(BINS - 1) > FP32.overflow_value / FP32.step


def test_percentiles_are_upper_edges_and_empty_bins_are_not_stored() -> None:
    counts = np.zeros(BINS, np.int64)
    assert percentile(counts, 0.999) == 0.0 and stored(counts) == {}
    counts[[0, 16, FINE]] = 997, 2, 1
    shares = [percentile(counts, share) for share in (0.5, 0.997, 0.998, 0.999, 1.0)]
    assert shares == [1 / 32, 1 / 32, 17 / 32, 17 / 32, 8]
    assert stored(counts) == {"0.03125": 997, "0.53125": 2, "8": 1}
