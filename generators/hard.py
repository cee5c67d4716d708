"""Hard cases by construction: products and quotients next to a rounding midpoint, on it, or order-distinguishing.

All work on y = a * b / s, the shape of both operators (:mod:`golden.scaled_product`); ``s`` = 1 gives products.
"""

import math
from itertools import combinations

import numpy as np

from generators.stream import Stream
from golden.formats import Array, Format
from golden.operator import Arithmetic
from golden.scaled_product import ORDERS


def odd_part(value: float) -> int:
    """Return the odd integer B with |value| = B * 2**k."""
    numerator, _ = abs(value).as_integer_ratio()
    return numerator // (numerator & -numerator)


def odd_significands(stream: Stream, fmt: Format, s: float, n: int) -> Array:
    """Return n numbers in [1, 2) whose significands are odd and share no factor with the odd part of s."""
    p, odd = fmt.precision, odd_part(s)
    found: list[int] = []
    while len(found) < n:
        drawn = (stream.integers(2 * n + 8, 1 << (p - 2), 1 << (p - 1)) * 2 + 1).tolist()
        found += [g for g in drawn if math.gcd(g, odd) == 1]
    return fmt.cast(np.array(found[:n], np.float64) * 2.0 ** (1 - p))


def near_midpoint_partners(stream: Stream, fmt: Format, s: float, b: Array) -> Array:
    """Return a in [1, 2) for each b such that a*b/s is next to a rounding midpoint without being one.

    ``b`` must come from :func:`odd_significands`, scaled by any powers of two. With a = D * 2**(1-p), b = G * 2**k
    (G of p bits) and s = B * 2**j, B odd: a*b/s misses the midpoint M (an odd integer of p + 1 bits) by r / (B * 2**t)
    if D * G = M * B * 2**t + r. For each r, D is found modulo B * 2**t by a modular inverse; t makes the sizes
    fit. Equal entries of b get r = ±1, ±2, ... in turn, so that their partners differ.
    """
    p, odd = fmt.precision, odd_part(s)
    significands = np.ldexp(np.frexp(np.abs(b.astype(np.float64)))[0], p).astype(np.int64).tolist()
    turn: dict[int, int] = {}
    solved: list[int] = []
    for g, pick in zip(significands, stream.integers(len(b), 0, 1 << 30).tolist(), strict=True):
        d = None
        while d is None:
            turn[g] = turn.get(g, pick & 1) + 1
            r = turn[g] // 2 * (1 if turn[g] & 1 else -1)
            d = _solve(p, odd, g, r, pick >> 1)
        solved.append(d)
    return fmt.cast(np.array(solved, np.float64) * 2.0 ** (1 - p))


def _solve(p: int, odd: int, g: int, r: int, pick: int) -> int | None:
    """Find D of p bits with D * g = M * odd * 2**t + r, M odd and of p + 1 bits."""
    # D * g / (odd * 2**t) has p + 1 bits for one of these t; a negative t asks for D * g * 2**-t instead.
    for t in (p - odd.bit_length(), p - odd.bit_length() - 1):
        modulus, scaled = odd << max(t, 0), g << max(-t, 0)
        d = pow(scaled, -1, modulus) * r % modulus if modulus > 1 else 0
        first = -(-((1 << (p - 1)) - d) // modulus)  # smallest k with d + k * modulus of p bits
        count = ((1 << p) - 1 - d) // modulus - first + 1
        if count <= 0:
            continue
        d += (first + pick % count) * modulus
        m = (d * scaled - r) // modulus
        if m & 1 and m.bit_length() == p + 1:
            return d
    return None


def near_midpoints(stream: Stream, fmt: Format, s: float, n: int) -> tuple[Array, Array]:
    """Return n pairs (a, b) in [1, 2) with a*b/s next to a midpoint; see :func:`near_midpoint_partners`."""
    b = odd_significands(stream, fmt, s, n)
    return near_midpoint_partners(stream, fmt, s, b), b


def short_significands(stream: Stream, fmt: Format, n: int) -> Array:
    """Return n odd integers of 2 to p - 2 bits: factors that leave room for a partner to make a tie."""
    half = np.left_shift(1, stream.integers(n, 1, fmt.precision - 2))
    return fmt.cast((half + stream.integers(n, 0, 1 << 30) % half | 1).astype(np.float64))


def tie_partners(stream: Stream, fmt: Format, a: Array) -> Array:
    """Return b in [1, 2) for each a of :func:`short_significands`: a*b is exactly a midpoint, odd of p + 1 bits.

    Dividing by a power of two keeps the tie. ``a`` may be scaled by any powers of two.
    """
    p, n = fmt.precision, len(a)
    numerators = [odd_part(v) for v in a.tolist()]
    integers = np.array(numerators, np.int64)
    low, high = -(-(1 << p) // integers), ((1 << (p + 1)) - 1) // integers
    b = low + stream.integers(n, 0, 1 << 30) % (high - low + 1)
    b = np.where(b % 2 == 1, b, np.where(b + 1 <= high, b + 1, b - 1))
    return fmt.cast(np.frexp(b.astype(np.float64))[0] * 2)


def ties(stream: Stream, fmt: Format, n: int) -> tuple[Array, Array]:
    """Return n pairs (a, b), a an odd integer and b in [1, 2), whose product is exactly a midpoint."""
    a = short_significands(stream, fmt, n)
    return a, tie_partners(stream, fmt, a)


def distinguishing(
    fmt: Format, s: float, a: Array, b: Array, n: int, pairs: list[tuple[str, str]] | None = None
) -> tuple[Array, Array]:
    """Select up to n of the candidate factors (a, b) on which legal evaluation orders give different bits.

    ``pairs`` names the orders to tell apart (default: every pair of :data:`golden.scaled_product.ORDERS`), and
    gets equal shares as far as the candidates allow, the rest being filled with any that differ. The result may
    be shorter than n, and empty where no order can be told from another (s = 1).
    """
    m, divisor = Arithmetic(fmt), np.asarray(s, fmt.dtype)
    results = {name: fmt.bits(order(m, a, b, divisor)) for name, order in ORDERS.items()}
    wanted = pairs or list(combinations(ORDERS, 2))
    chosen: dict[int, None] = {}
    share = n // len(wanted)
    for limit in (share, n):
        for first, second in wanted:
            differ = np.flatnonzero(results[first] != results[second])[:limit]
            chosen.update(dict.fromkeys(differ.tolist()))
    index = np.array(sorted(list(chosen)[:n]), np.int64)
    return a[index], b[index]


def distinguishing_partners(stream: Stream, fmt: Format, s: float, b: Array, candidates: Array) -> Array:
    """Choose for each b one of its candidates (rows of ``candidates`` [len(b), k]) that tells orders apart.

    Entry i looks for the i-th pair of orders first (in turn), then for any pair; where no candidate does,
    its first one is returned.
    """
    m, divisor = Arithmetic(fmt), np.asarray(s, fmt.dtype)
    wide = np.broadcast_to(b[:, None], candidates.shape)
    results = {name: fmt.bits(order(m, candidates, wide, divisor)) for name, order in ORDERS.items()}
    differ = np.stack([results[x] != results[y] for x, y in combinations(ORDERS, 2)])
    own = differ[np.arange(len(b)) % len(differ), np.arange(len(b))]
    score = 2 * own + differ.any(axis=0)
    chosen: Array = candidates[np.arange(len(b)), np.argmax(score, axis=1)]
    return chosen
