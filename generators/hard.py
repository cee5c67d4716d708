"""Hard cases by construction: products and quotients next to a rounding midpoint, or on it.

All work on y = a * b / s, the shape of both operators (:mod:`golden.scaled_product`); ``s`` = 1 gives products.
"""

import math
from functools import cache

import numpy as np

from generators.stream import Stream
from golden.formats import Array, Format
from golden.slices import SLICE, slices


def odd_part(value: float) -> int:
    """Return the odd integer B with |value| = B * 2**k."""
    numerator, _ = abs(value).as_integer_ratio()
    return numerator // (numerator & -numerator)


@cache
def prime_factors(odd: int) -> tuple[int, ...]:
    """Return the different prime factors of an odd number, by trial: fast below 2**24."""
    found, factor = [], 3
    while factor * factor <= odd:
        if odd % factor == 0:
            found.append(factor)
            while odd % factor == 0:
                odd //= factor
        factor += 2
    return (*found, odd) if odd > 1 else tuple(found)


def odd_significands(stream: Stream, fmt: Format, s: float, n: int) -> Array:
    """Return n numbers in [1, 2) whose significands are odd and share no factor with the odd part of s."""
    p, factors = fmt.precision, prime_factors(odd_part(s))
    found = np.empty(0, np.int64)
    while len(found) < n:
        drawn = stream.integers(2 * n + 8, 1 << (p - 2), 1 << (p - 1)) * 2 + 1
        for factor in factors:
            drawn = drawn[drawn // factor * factor != drawn]
        found = np.concatenate([found, drawn])
    return fmt.cast(found[:n].astype(np.float64) * 2.0 ** (1 - p))


def near_midpoint_partners(stream: Stream, fmt: Format, s: float, b: Array) -> Array:
    """Return a in [1, 2) for each b such that a*b/s is next to a rounding midpoint without being one.

    ``b`` must come from :func:`odd_significands`, scaled by any powers of two. With a = D * 2**(1-p), b = G * 2**k
    (G of p bits) and s = B * 2**j, B odd: a*b/s misses the midpoint M (an odd integer of p + 1 bits) by r / (B * 2**t)
    if D * G = M * B * 2**t + r. For each r, D is found modulo B * 2**t by a modular inverse; t makes the sizes
    fit. Equal entries of b get r = ±1, ±2, ... in turn, so that their partners differ.
    """
    p = fmt.precision
    significands = np.ldexp(np.frexp(np.abs(b.astype(np.float64)))[0], p).astype(np.int64)
    picks = stream.integers(len(b), 0, 1 << 30)
    # Entries of one significand take turns, and a turn without a solution passes to the next r. All significands go on
    # together, ``at`` being the entry that each has come to. The fewer they are, the further each looks ahead, at
    # ``depth`` entries in ``width`` turns, and takes what it would have taken one by one.
    order = np.argsort(significands, kind="stable")
    distinct, at = np.unique(significands[order], return_index=True)
    solver = _Solver(p, odd_part(s), distinct)
    end = np.append(at[1:], len(b))
    turn = picks[order[at]] & 1
    solved = np.empty(len(b), np.int64)
    for part in slices(len(distinct)):
        active, depth, width = np.arange(part.start, part.stop), 1, 1
        while active.size:
            entries = order[np.minimum(at[active] + np.arange(depth)[:, None], len(b) - 1)]
            tried = turn[active] + np.arange(1, width + 1)[:, None]
            d = solver.solve(active, tried // 2 * np.where(tried & 1, 1, -1), picks[entries][:, None] >> 1)
            going, columns = np.arange(len(active)), np.arange(len(active))
            used, found = np.zeros(len(active), np.int64), 0
            for step in range(depth):
                going = going[at[active[going]] < end[active[going]]]
                usable = (d[step][:, going] > 0) & (np.arange(width)[:, None] >= used[going])
                first = np.argmax(usable, axis=0)
                done = usable[first, columns[: len(going)]]
                used[going] = np.where(done, first + 1, width)
                first, going = first[done], going[done]
                solved[entries[step, going]] = d[step, first, going]
                at[active[going]] += 1
                found += len(going)
            turn[active] += used
            share = (found + 1) / (int(used.sum()) + 1)
            active = active[at[active] < end[active]]
            lanes = SLICE // 4 // max(1, len(active))
            depth = max(1, min(math.isqrt(int(lanes * share)), len(b)))
            width = max(1, lanes // depth)
    return fmt.cast(solved.astype(np.float64) * 2.0 ** (1 - p))


class _Solver:
    """Finds D of p bits with D * G = M * odd * 2**t + r, M odd and of p + 1 bits, for an array of significands G.

    With p <= 24 every number is below 2**50.
    """

    def __init__(self, p: int, odd: int, significands: Array) -> None:
        self._p = p
        self._moduli = []
        # D * G / (odd * 2**t) has p + 1 bits for one of these t; a negative t asks for D * G * 2**-t instead.
        for t in (p - odd.bit_length(), p - odd.bit_length() - 1):
            modulus, scaled = odd << max(t, 0), significands << max(-t, 0)
            self._moduli.append((modulus, scaled, inverse(scaled, modulus)))

    def solve(self, which: Array, r: Array, pick: Array) -> Array:
        """Return D, or 0 where there is none, for the significands at the positions ``which``.

        ``r`` and ``pick``, which chooses one of several D, broadcast against each other; their last axis is that of
        ``which``.
        """
        p, found = self._p, np.zeros(np.broadcast_shapes(r.shape, pick.shape), np.int64)
        for modulus, scaled, inverses in reversed(self._moduli):  # so that the first t has the last word
            d = inverses[which] * r  # of its class modulo the modulus any number will do: ``first`` makes up for it
            first = -((d - (1 << (p - 1))) // modulus)  # smallest k with d + k * modulus of p bits
            count = ((1 << p) - 1 - d) // modulus - first + 1
            chosen = d + (first + pick % np.maximum(count, 1)) * modulus
            m = (chosen * scaled[which] - r) // modulus
            found = np.where((r != 0) & (count > 0) & (m & 1 == 1) & (m >> p == 1), chosen, found)
        return found


def inverse(values: Array, modulus: int) -> Array:
    """Return the inverses of int64 values modulo a number below 2**25, to which they must be prime.

    Extended Euclid in float64, exact because all numbers are integers below 2**26, and a quotient that is not an
    integer is further from one than its rounding (2**-25 against 2**-28).
    """
    result = np.zeros(values.shape, np.int64)
    if modulus == 1:
        return result
    for part in slices(len(values)):
        b = (values[part] % modulus).astype(np.float64)
        a, x, y = np.full_like(b, modulus), np.zeros_like(b), np.ones_like(b)
        found = np.zeros_like(b)
        with np.errstate(all="ignore"):  # those that have ended go on dividing by zero
            while True:
                found = np.where(b == 1, y, found)
                if not (b > 1).any():
                    break
                q = np.floor(a / b)
                a, b, x, y = b, a - q * b, y, x - q * y
        result[part] = found.astype(np.int64) % modulus
    return result


def near_midpoints(stream: Stream, fmt: Format, s: float, n: int) -> tuple[Array, Array]:
    """Return n pairs (a, b) in [1, 2) with a*b/s next to a midpoint; see :func:`near_midpoint_partners`."""
    b = odd_significands(stream, fmt, s, n)
    return near_midpoint_partners(stream, fmt, s, b), b


def short_significands(stream: Stream, fmt: Format, n: int, least: int = 2) -> Array:
    """Return n odd integers of ``least`` to p - 2 bits: factors that leave room for a partner to make a tie."""
    half = np.left_shift(1, stream.integers(n, least - 1, fmt.precision - 2))
    return fmt.cast((half + stream.integers(n, 0, 1 << 30) % half | 1).astype(np.float64))


def tie_partners(stream: Stream, fmt: Format, a: Array) -> Array:
    """Return b in [1, 2) for each a of :func:`short_significands`: a*b is exactly a midpoint, odd of p + 1 bits.

    Dividing by a power of two keeps the tie. ``a`` may be scaled by any powers of two. An a of k bits has partners of
    at most p + 2 - k bits.
    """
    p, n = fmt.precision, len(a)
    integers = np.ldexp(np.frexp(np.abs(a.astype(np.float64)))[0], p).astype(np.int64)
    integers //= integers & -integers  # their odd parts
    low, high = -(-(1 << p) // integers), ((1 << (p + 1)) - 1) // integers
    b = low + stream.integers(n, 0, 1 << 30) % (high - low + 1)
    b = np.where(b % 2 == 1, b, np.where(b + 1 <= high, b + 1, b - 1))
    return fmt.cast(np.frexp(b.astype(np.float64))[0] * 2)


def ties(stream: Stream, fmt: Format, n: int) -> tuple[Array, Array]:
    """Return n pairs (a, b), a an odd integer and b in [1, 2), whose product is exactly a midpoint."""
    a = short_significands(stream, fmt, n)
    return a, tie_partners(stream, fmt, a)
