"""Histogram of errors: bins of 1/32 ulp up to 4 ulp, then one an octave.

``fine`` bins lie below 4 ulp: bin ``k`` holds errors from ``k / 32`` on and below ``(k + 1) / 32``. Bin ``FINE + k``
holds those from ``4 * 2**k`` on and below twice that. The C judge bins in the same way.
"""

import numpy as np

from golden.formats import Array

_PER_ULP, _LIMIT = 32, 4
#: Bins below 4 ulp.
FINE = _PER_ULP * _LIMIT
#: Bins for errors up to 2**278 ulp: an infinity of fp32 in the place of a subnormal number is 2**277 off.
BINS = FINE + 276


def bins_of(magnitudes: Array) -> Array:
    """Return the bin of each error (float64, in ulp, not negative and finite)."""
    octave = FINE + np.frexp(magnitudes / _LIMIT)[1] - 1
    fine = (np.minimum(magnitudes, _LIMIT) * _PER_ULP).astype(np.int64)
    return np.where(magnitudes < _LIMIT, fine, octave)


def upper_edge(bin_index: int) -> float:
    """Return the upper edge of a bin in ulp."""
    if bin_index < FINE:
        return (bin_index + 1) / _PER_ULP
    return float(_LIMIT * 2 ** (bin_index - FINE + 1))


def percentile(counts: Array, share: float) -> float:
    """Return the upper edge, in ulp, of the bin that completes a share of all counts; 0.0 where there are none."""
    total = int(counts.sum())
    return upper_edge(int(np.searchsorted(np.cumsum(counts), share * total))) if total else 0.0


def stored(counts: Array) -> dict[str, int]:
    """Return counts as results have them: upper edges as text, and only bins that are not empty."""
    return {f"{upper_edge(b):g}": int(counts[b]) for b in np.flatnonzero(counts).tolist()}
