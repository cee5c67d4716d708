"""The search of ``golden hunt``: Hypothesis looks for the region where a build is worst, an evolution for the bits.

A region says for each operand which binade it is in and what its leading bits are; what follows is filled at random, a
few hundred points at once, because a call computes them for the price of one. Hypothesis chooses the regions, directed
(``hypothesis.target``) at the largest error in ulp; as many points again are drawn anywhere, for what no gradient
leads to. The worst points found are then varied bit by bit, the worst of those again, and so on. The winner is made
simple, operand by operand, as long as it stays as bad: fewer significant bits, exponents nearer to zero. Nothing but
the seed, the build and the installed Hypothesis decides.
"""

import hashlib
import math
from collections.abc import Callable

import hypothesis
import msgspec
import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from golden.errors import TargetError
from golden.formats import FP16, Array, Format, is_power_of_two
from runners.hunting.points import SHARING, Points

#: Points a round of the evolution, how many of them live on, and rounds by default.
POPULATION, PARENTS, ROUNDS = 4096, 256, 50
#: Regions that Hypothesis looks at for each round of the evolution, and points in each.
REGIONS, REGION = 4, 512
#: Leading bits of a significand that a region fixes.
LEADING = 5
#: A simpler point is at least this share as bad.
KEPT = 0.99
#: fp32 operands stay within 2**±60, as in the required tier.
_LIMIT = 60


class Region(msgspec.Struct, frozen=True):
    """Where points are: biased exponent and leading bits of every operand, and how what is subtracted follows.

    ``second``: "free", "zero" (differences of any size, exactly), or "near" (a few places from what it is subtracted
    from).
    """

    exponents: tuple[int, ...]
    leading: tuple[int, ...]
    second: str


def _regions(points: Points) -> st.SearchStrategy[Region]:
    """Describe the regions of an entry point to Hypothesis; the simplest are near 1."""
    fmt, k = points.fmt, len(points.names)
    one = fmt.emax
    exponents = [st.integers(0, 2 * one) if fmt is FP16 else st.integers(one - _LIMIT, one + _LIMIT - 1)] * k
    for column in range(k):
        if (scalar := points.near(column)) and fmt is not FP16:
            middle = one + math.frexp(scalar)[1]
            exponents[column] = st.integers(max(middle - 13, 1), middle + 1)
    leading = [st.integers(0, (1 << LEADING) - 1)] * k
    second = st.sampled_from(("zero", "free", "near") if _subtracted(points) else ("free",))
    return st.builds(Region, st.tuples(*exponents), st.tuples(*leading), second)


def _subtracted(points: Points) -> list[tuple[int, int]]:
    """Return the columns that are subtracted from another, each with that one."""
    return [(i, points.names.index(p.domain.minus)) for i, p in enumerate(points.varying) if p.domain.minus]


def _filled(stream: np.random.Philox, points: Points, region: Region) -> Array:
    """Return the points of a region, bit patterns [REGION, operand]."""
    fmt, k = points.fmt, len(points.names)
    raw = stream.random_raw(REGION * k).reshape(REGION, k)
    rest = fmt.precision - 1 - LEADING
    centre = np.array(
        [e << (fmt.precision - 1) | head << rest for e, head in zip(region.exponents, region.leading, strict=True)]
    )
    bits = centre + (raw >> np.uint64(32)).astype(np.int64) % (1 << rest)
    bits |= np.where(raw & np.uint64(1) == 1, fmt.sign_mask, 0)
    for column, minuend in _subtracted(points):
        if region.second == "zero":
            bits[:, column] = 0
        elif region.second == "near":
            bits[:, column] = bits[:, minuend] + (raw[:, column] >> np.uint64(8)).astype(np.int64) % 65 - 32
    return _legal(bits.astype(fmt.bits_dtype), points)


def _anywhere(stream: np.random.Philox, points: Points, n: int) -> Array:
    """Draw bit patterns [n, operand]: all alike in fp16; exponents alike in fp32, or near a scalar."""
    fmt, k = points.fmt, len(points.names)
    raw = stream.random_raw(n * k).reshape(n, k)
    if fmt is FP16:
        # Every second row: magnitudes with any number of leading zeros, which makes subnormals as likely as the rest.
        length = np.where(np.arange(n)[:, None] % 2 == 1, (raw >> np.uint64(32)) % np.uint64(16), np.uint64(15))
        bits = raw & (np.left_shift(np.uint64(1), length) - np.uint64(1) | np.uint64(0x8000))
    else:
        exponent = np.uint64(127 - _LIMIT) + (raw >> np.uint64(32)) % np.uint64(2 * _LIMIT)
        for column in range(k):
            if scalar := points.near(column):
                low = np.uint64(max(127 + math.frexp(scalar)[1] - 13, 1))
                exponent[:, column] = low + (raw[:, column] >> np.uint64(32)) % np.uint64(14)
        bits = (raw & np.uint64(0x807FFFFF)) | exponent << np.uint64(23)
    for column, _ in _subtracted(points):
        bits[: n // 4, column] = 0  # differences of any size, exactly
    return _legal(bits.astype(fmt.bits_dtype), points)


def _explored(points: Points, seed: int, regions: int, progress: Callable[[float], None]) -> tuple[Array, Array]:
    """Return the worst points of the regions that Hypothesis chose, and how bad they are."""
    best = np.empty((0, len(points.names)), points.fmt.bits_dtype)
    worst = np.empty(0)
    stopped: list[TargetError] = []

    @hypothesis.seed(seed)
    @settings(max_examples=regions, database=None, deadline=None, phases=(Phase.generate, Phase.target),
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @hypothesis.given(_regions(points))
    def explore(region: Region) -> None:
        nonlocal best, worst
        if stopped:
            return
        stream = _stream(seed, points.entry.symbol, repr(region))
        found = _grouped(points, np.concatenate([_filled(stream, points, region), _anywhere(stream, points, REGION)]))
        try:
            bad = points.badness(found)
        except TargetError as error:  # raised from here it would be taken for a falsified property, and tried again
            stopped.append(error)
            return
        best, worst = _worst(np.concatenate([best, found]), np.concatenate([worst, bad]))
        largest = float(bad[:REGION].max())
        hypothesis.target(math.log2(max(largest, 2.0**-200)), label="log2 of the error in ulp")
        progress(float(worst[0]))

    explore()
    if stopped:
        raise stopped[0]
    return best, worst


def _stream(seed: int, *names: str) -> np.random.Philox:
    return np.random.Philox(key=[seed, int.from_bytes(hashlib.sha256("/".join(names).encode()).digest()[:7])])


def _worst(points: Array, bad: Array) -> tuple[Array, Array]:
    """Return the PARENTS worst of some points, each once, worst first."""
    points, first = np.unique(points, axis=0, return_index=True)
    bad = bad[first]
    order = np.argsort(-bad, kind="stable")[:PARENTS]
    return points[order], bad[order]


def _legal(bits: Array, points: Points) -> Array:
    """Move points into the required domain.

    NaN, infinities, what is not positive or zero but should be, and fp32 numbers beyond 2**±60 become one; a number
    that another has to be above, and is not, is exchanged with it, sign kept.
    """
    fmt = points.fmt
    magnitude = bits & fmt.bits_dtype.type(~fmt.sign_mask & ((1 << fmt.width) - 1))
    outside = magnitude >= fmt.exponent_mask
    if fmt is not FP16:
        low, high = (127 - _LIMIT) << 23, (127 + _LIMIT) << 23
        outside |= (magnitude != 0) & ((magnitude < low) | (magnitude > high))
    for column, p in enumerate(points.varying):
        if p.domain.positive or not p.domain.zero:
            outside[:, column] |= magnitude[:, column] == 0
        if p.domain.positive:
            outside[:, column] |= bits[:, column] != magnitude[:, column]
    one = fmt.bits(np.ones(1, fmt.dtype))[0]
    bits = np.where(outside, one, bits)
    for column, p in enumerate(points.varying):
        if p.domain.above:
            lower = points.names.index(p.domain.above)
            magnitude = bits[:, lower] & fmt.bits_dtype.type(fmt.sign_mask - 1)
            above = magnitude > bits[:, column]
            bits[:, lower] = np.where(above, bits[:, column] | (bits[:, lower] ^ magnitude), bits[:, lower])
            bits[:, column] = np.where(above, magnitude, bits[:, column])
    return bits


def _grouped(points: Points, bits: Array) -> Array:
    """Give rows that are computed in one call what a call has a single number of: that of the first."""
    firsts = bits[np.arange(len(bits)) // SHARING * SHARING]
    bits[:, points.shared] = firsts[:, points.shared]
    return _legal(bits, points)


def _varied(stream: np.random.Philox, points: Points, parents: Array, n: int) -> Array:
    """Return n children of the parents' rows."""
    fmt, k = points.fmt, parents.shape[1]
    raw = stream.random_raw(4 * n).reshape(4, n)
    rows = np.arange(n)
    children = parents[(raw[0] % np.uint64(len(parents))).astype(np.int64)].astype(np.int64)
    column = (raw[1] % np.uint64(k)).astype(np.int64)
    old = children[rows, column]
    bit = np.left_shift(1, (raw[2] % np.uint64(fmt.width)).astype(np.int64))
    step = (raw[3] % np.uint64(33)).astype(np.int64) - 16
    fraction = fmt.fraction_mask
    other = parents[(raw[3] % np.uint64(len(parents))).astype(np.int64), column].astype(np.int64)
    fresh = (old & ~fraction) | ((raw[3] >> np.uint64(8)).astype(np.int64) & fraction)
    how = (raw[1] >> np.uint64(8)) % np.uint64(4)
    children[rows, column] = np.select([how == 0, how == 1, how == 2], [old ^ bit, old + step, fresh], default=other)
    return _legal((children & ((1 << fmt.width) - 1)).astype(fmt.bits_dtype), points)


def search(points: Points, seed: int, rounds: int, progress: Callable[[int, float], None]) -> tuple[Array, float]:
    """Return the bit patterns of the worst point found, and how bad it is; ``progress`` gets round and worst so far.

    Raises :class:`TargetError` if a call does not return.
    """
    best, worst = _explored(points, seed, REGIONS * rounds, lambda bad: progress(0, bad))
    stream = _stream(seed, points.entry.symbol)
    for turn in range(rounds):
        progress(turn + 1, float(worst[0]))
        varied = _grouped(points, _varied(stream, points, best, POPULATION))
        best, worst = _worst(np.concatenate([best, varied]), np.concatenate([worst, points.badness(varied)]))
    return best[0], float(worst[0])


def _complexity(fmt: Format, row: Array) -> tuple[int, int, int]:
    """Order inputs by how readable they are: significant bits, distance of the exponents from 1, minus signs."""
    bits = exponents = signs = 0
    for value in fmt.from_bits(row.copy()).astype(np.float64).tolist():
        if value:
            numerator, _ = abs(value).as_integer_ratio()
            odd = numerator // (numerator & -numerator)
            bits += odd.bit_length() + (0 if is_power_of_two(value) else 1)
            exponents += abs(math.frexp(value)[1] - 1)
        signs += value < 0
    return bits, exponents, signs


def _simpler(fmt: Format, row: Array) -> Array:
    """Return candidates that are simpler than a row in one operand, simplest first."""
    found = []
    for column, value in enumerate(fmt.from_bits(row.copy()).astype(np.float64).tolist()):
        fraction, exponent = math.frexp(value)
        options = [0.0, 1.0, abs(value)]
        for kept in range(1, fmt.precision):
            scaled = math.ldexp(fraction, kept)
            options += [math.ldexp(math.floor(scaled), exponent - kept), math.ldexp(math.ceil(scaled), exponent - kept)]
        options += [math.ldexp(fraction, e) for e in range(-12, 13)]
        for option in options:
            candidate = row.copy()
            candidate[column] = fmt.bits(fmt.cast(np.array([option])))[0]
            found.append(candidate)
    for shift in range(-12, 13):  # operands whose exponents must move together
        wide = fmt.from_bits(row.copy()).astype(np.float64)
        wide[1:] = np.ldexp(wide[1:], shift)
        found.append(fmt.bits(fmt.cast(wide)))
    finite = [r for r in found if np.isfinite(fmt.from_bits(r)).all()]
    ranks = [(_complexity(fmt, r), r.tolist()) for r in finite]
    ranked = sorted(rank for rank in ranks if rank[0] < _complexity(fmt, row))
    return np.array([bits for _, bits in ranked], fmt.bits_dtype).reshape(-1, len(row))


def shrink(points: Points, row: Array, bad: float) -> Array:
    """Make a point as simple as it can be while it stays as bad as it is; it never becomes worse to read."""
    while True:
        candidates = _legal(_simpler(points.fmt, row), points)
        if len(candidates) == 0:
            return row
        good = np.flatnonzero(points.badness(candidates) >= KEPT * bad)
        simpler = [i for i in good.tolist() if _complexity(points.fmt, candidates[i]) < _complexity(points.fmt, row)]
        if not simpler:
            return row
        row = candidates[simpler[0]]
