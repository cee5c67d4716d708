"""Inputs by search: the largest error that an evaluation order makes, and inputs on which two given orders differ.

All work on y = a * b / s (:mod:`golden.scaled_product`) in working precision, on ordinary numbers: nothing under- or
overflows in any order. There every order commutes with powers of two in a and b, so the results may be scaled by any
as long as they stay ordinary.

The error of an order is a slowly varying envelope (which binades the intermediates are in) times rounding errors that
look random. So a few hundred climbers that move one significand at a time, by any power of two of its last
place, and keep what is no better, find the top of the envelope first and good rounding errors on it then.
"""

from collections.abc import Callable
from itertools import combinations

import numpy as np

from generators.stream import Stream
from golden.errors import UsageError, unknown_name
from golden.formats import Array, Format, is_power_of_two
from golden.operator import Arithmetic
from golden.scaled_product import ORDERS

#: Climbers by default, and moves of each. With 1,024 climbers the best is within 4 % of the maximum over all fp16
#: significands; few climbers find their equals a little less often.
CLIMBERS, MOVES = 256, 160
#: Numbers tried where one operand is given: an order's error depends on few significands then.
CANDIDATES = 1024


def error(fmt: Format, s: float, order: str, b: Array, a: Array, x2: Array | None = None) -> Array:
    """Return |result - y| in ulp of y for an order of (a - x2) * b / s; in float64, wrong by 2**-28 ulp at most."""
    m, wide = Arithmetic(fmt), a.astype(np.float64)
    if x2 is not None:
        wide, a = wide - x2.astype(np.float64), m.subtract(a, x2)
    y = wide * b.astype(np.float64) / s
    result: Array = ORDERS[order](m, a, b, np.asarray(s, fmt.dtype)).astype(np.float64)
    distance: Array = np.abs(result - y) / fmt.ulp_of(np.abs(y))
    return distance


def worst_products(
    stream: Stream, fmt: Format, s: float, order: str, n: int, climbers: int = CLIMBERS
) -> tuple[Array, Array]:
    """Return n different pairs (a, b), worst first, on which an order's error in a * b / s is as large as found.

    s/4 < a < s, 1 <= b < 2, both positive. n is at most ``climbers``.
    """
    _check(order)
    top = _exponent(s)
    ends = [np.full(climbers, 2.0**top / 2), np.ones(climbers)]
    a, b = _climb(stream, fmt, ends, lambda a, b: error(fmt, s, order, b, a), n)
    return a, b


def worst_differences(
    stream: Stream, fmt: Format, s: float, order: str, n: int, climbers: int = CLIMBERS
) -> tuple[Array, Array, Array]:
    """Return n different triples (x1, x2, b), as :func:`worst_products` does for (x1 - x2) * b / s.

    0 < x1 - x2 < s, x2 negative: the difference has more bits than a number of the format, so that it rounds.
    """
    _check(order)
    top = _exponent(s)
    ends = [np.full(climbers, 2.0**top / 4), -np.ldexp(1.0, top - stream.integers(climbers, 4, 8)), np.ones(climbers)]
    x1, x2, b = _climb(stream, fmt, ends, lambda x1, x2, b: error(fmt, s, order, b, x1, x2), n)
    return x1, x2, b


def telling_apart(stream: Stream, fmt: Format, s: float, first: str, second: str, n: int) -> tuple[Array, Array]:
    """Return n pairs (a, b), s/4 < a < s, 1 <= b < 2, on which two orders give different bits.

    Raises :class:`UsageError` for equal orders, and where s is a power of two: there all orders round once (proof in
    :mod:`golden.scaled_product`) and differ nowhere.
    """
    _check(first)
    _check(second)
    if first == second or is_power_of_two(s):
        raise UsageError(f"{first} and {second} differ on no ordinary input of divisor {s:g}: choose another.")
    m, divisor = Arithmetic(fmt), np.asarray(s, fmt.dtype)
    found: list[Array] = []
    missing = n
    while missing > 0:
        a, b = (_uniform(stream, fmt, np.full(8 * n + 64, end)) for end in (2.0 ** _exponent(s) / 2, 1.0))
        differ = fmt.bits(ORDERS[first](m, a, b, divisor)) != fmt.bits(ORDERS[second](m, a, b, divisor))
        found.append(np.stack([a[differ], b[differ]])[:, :missing])
        missing -= found[-1].shape[1]
    a, b = np.concatenate(found, axis=1)
    return a, b


def worst_partners(stream: Stream, fmt: Format, s: float, b: Array) -> Array:
    """Return for each b an a, s/4 < a < s, on which an order's error is large: the orders take turns along b."""
    a = _candidates(stream, fmt, s, len(b))
    ulps = np.stack([error(fmt, s, order, b[:, None], a) for order in ORDERS])
    return _chosen(a, ulps[np.arange(len(b)) % len(ORDERS), np.arange(len(b))])


def telling_partners(stream: Stream, fmt: Format, s: float, b: Array) -> Array:
    """Return for each b an a, s/4 < a < s, on which orders differ: each pair of orders in turn along b.

    Where no a in a thousand tells that pair apart, any pair will do. For a power of two s none differs.
    """
    m, divisor, a = Arithmetic(fmt), np.asarray(s, fmt.dtype), _candidates(stream, fmt, s, len(b))
    wide = np.broadcast_to(b[:, None], a.shape)
    results = [fmt.bits(order(m, a, wide, divisor)) for order in ORDERS.values()]
    differ = np.stack([x != y for x, y in combinations(results, 2)])
    own = differ[np.arange(len(b)) % len(differ), np.arange(len(b))]
    return _chosen(a, 2 * own + differ.any(axis=0))


def _candidates(stream: Stream, fmt: Format, s: float, n: int) -> Array:
    """Draw [n, CANDIDATES] numbers between s/4 and s."""
    return _uniform(stream, fmt, np.full(n * CANDIDATES, 2.0 ** _exponent(s) / 2)).reshape(n, CANDIDATES)


def _chosen(candidates: Array, score: Array) -> Array:
    """Return the best candidate of each row, the first one of equals."""
    chosen: Array = candidates[np.arange(len(candidates)), np.argmax(score, axis=1)]
    return chosen


def _climb(stream: Stream, fmt: Format, ends: list[Array], badness: Callable[..., Array], n: int) -> tuple[Array, ...]:
    """Move significands from a random start; ``ends``: the lower end of the binade that each number stays in."""
    rows = [_uniform(stream, fmt, end) for end in ends]
    worst = badness(*rows)
    climbers = len(worst)
    for _ in range(MOVES):
        column, sign = stream.integers(climbers, 0, len(rows)), 1 - 2 * stream.integers(climbers, 0, 2)
        step = np.left_shift(1, stream.integers(climbers, 0, fmt.precision - 1)) * sign
        moved = [np.where(column == i, _stepped(fmt, row, step), row) for i, row in enumerate(rows)]
        now = badness(*moved)
        better = now >= worst
        rows = [np.where(better, new, old) for new, old in zip(moved, rows, strict=True)]
        worst = np.where(better, now, worst)
    distinct = np.unique(np.stack([fmt.bits(row) for row in rows]), axis=1, return_index=True)[1]
    best = distinct[np.lexsort((distinct, -worst[distinct]))][:n]
    return tuple(row[best] for row in rows)


def _uniform(stream: Stream, fmt: Format, ends: Array) -> Array:
    """Draw numbers from the binades that begin at ``ends``."""
    return fmt.cast(ends * (1 + stream.integers(len(ends), 0, 1 << (fmt.precision - 1)) * 2.0 ** (1 - fmt.precision)))


def _stepped(fmt: Format, values: Array, step: Array) -> Array:
    """Return numbers with ``step`` added to their significands, which wrap around within their binades."""
    bits = fmt.bits(values).astype(np.int64)
    return fmt.from_bits(((bits & ~fmt.fraction_mask) | (bits + step & fmt.fraction_mask)).astype(fmt.bits_dtype))


def _exponent(s: float) -> int:
    return int(np.frexp(s)[1]) - 1


def _check(order: str) -> None:
    if order not in ORDERS:
        raise unknown_name("evaluation order", order, ORDERS)
