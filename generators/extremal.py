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

from generators.stream import Stream, within
from golden.blocks import BLOCK
from golden.errors import UsageError, unknown_name
from golden.formats import Array, Format, is_power_of_two
from golden.operator import OrdinaryArithmetic
from golden.scaled_product import ORDERS

#: Climbers by default, and moves of each. With 1,024 climbers the best is within 4 % of the maximum over all fp16
#: significands; few climbers find their equals a little less often.
CLIMBERS, MOVES = 256, 160
#: Numbers tried where one operand is given: an order's error depends on few significands then.
CANDIDATES = 1024


def error(fmt: Format, s: float, order: str, b: Array, a: Array, x2: Array | None = None) -> Array:
    """Return |result - y| in ulp of y for an order of (a - x2) * b / s; in float64, wrong by 2**-28 ulp at most."""
    m = OrdinaryArithmetic(fmt)
    a, b = m.load(a), m.load(b)
    wide = a.astype(np.float64)
    if x2 is not None:
        x2 = m.load(x2)
        wide -= x2
        a = m.subtract(a, x2)
    wide *= b
    wide /= s
    distance: Array = ORDERS[order](m, a, b, m.load(s)) - wide
    ulp = fmt.ulp_of(np.abs(wide, out=wide))
    np.abs(distance, out=distance)
    distance /= ulp
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
    m = OrdinaryArithmetic(fmt)
    found: list[Array] = []
    missing = n
    while missing > 0:
        a, b = (_uniform(stream, fmt, np.full(8 * n + 64, end)) for end in (2.0 ** _exponent(s) / 2, 1.0))
        differ = ORDERS[first](m, a, b, m.load(s)) != ORDERS[second](m, a, b, m.load(s))
        found.append(np.stack([a[differ], b[differ]])[:, :missing])
        missing -= found[-1].shape[1]
    a, b = np.concatenate(found, axis=1).astype(fmt.dtype)
    return a, b


def worst_partners(stream: Stream, fmt: Format, s: float, b: Array) -> Array:
    """Return for each b an a, s/4 < a < s, on which an order's error is large: the orders take turns along b."""
    orders = list(ORDERS)

    def score(first: int, b: Array, a: Array) -> Array:
        score = np.empty(a.shape)
        for k in range(len(orders)):
            turn = slice((k - first) % len(orders), None, len(orders))
            score[turn] = error(fmt, s, orders[k], b[turn], a[turn])
        return score

    return _best_partners(stream, fmt, s, b, score)


def telling_partners(stream: Stream, fmt: Format, s: float, b: Array) -> Array:
    """Return for each b an a, s/4 < a < s, on which orders differ: each pair of orders in turn along b.

    Where no a in a thousand tells that pair apart, any pair will do. For a power of two s none differs.
    """
    m, pairs = OrdinaryArithmetic(fmt), list(combinations(range(len(ORDERS)), 2))

    def score(first: int, b: Array, a: Array) -> Array:
        results = [order(m, a, b, m.load(s)) for order in ORDERS.values()]
        score = np.zeros(a.shape, np.int8)
        for result in results[1:]:
            score |= result != results[0]
        for k, (one, other) in enumerate(pairs):
            turn = slice((k - first) % len(pairs), None, len(pairs))
            score[turn] += results[one][turn] != results[other][turn]
        return score

    return _best_partners(stream, fmt, s, b, score)


def _best_partners(
    stream: Stream, fmt: Format, s: float, b: Array, score: Callable[[int, Array, Array], Array]
) -> Array:
    """Return for each b the a with the best score (the first of equals) of CANDIDATES between s/4 and s.

    ``score`` takes the position of its first b, b as a column, and a row of candidates for each.
    """
    column, found = OrdinaryArithmetic(fmt).load(b)[:, None], np.empty(len(b), fmt.dtype)
    ends = np.full(BLOCK, 2.0 ** _exponent(s) / 2, np.float32)
    for start in range(0, len(b), BLOCK // CANDIDATES):
        part = slice(start, start + BLOCK // CANDIDATES)
        rows = len(found[part])
        candidates = _uniform(stream, fmt, ends[: rows * CANDIDATES]).reshape(rows, CANDIDATES)
        best = np.argmax(score(start, column[part], candidates), axis=1)
        found[part] = candidates[np.arange(rows), best]
    return found


def _climb(stream: Stream, fmt: Format, ends: list[Array], badness: Callable[..., Array], n: int) -> tuple[Array, ...]:
    """Move significands from a random start; ``ends``: the lower end of the binade that each number stays in."""
    rows = np.stack([fmt.bits(_uniform(stream, fmt, end).astype(fmt.dtype)) for end in ends])
    worst = badness(*fmt.from_bits(rows))
    climbers = len(worst)
    draw = stream.words(MOVES * 3 * climbers).reshape(MOVES, 3, climbers)
    column, down = within(draw[:, 0], 0, len(rows)), within(draw[:, 1], 0, 2)
    step = np.left_shift(1, within(draw[:, 2], 0, fmt.precision - 1)) * (1 - 2 * down)
    # A step that is no move leaves its row alone.
    steps = np.where(column[:, None] == np.arange(len(rows))[:, None], step[:, None], 0).astype(fmt.bits_dtype)
    fraction = fmt.bits_dtype.type(fmt.fraction_mask)
    for by in steps:
        moved = rows + by  # significands wrap around within their binades
        moved ^= (moved ^ rows) & ~fraction
        now = badness(*fmt.from_bits(moved))
        better = now >= worst
        np.copyto(rows, moved, where=better)
        np.copyto(worst, now, where=better)
    distinct = np.unique(rows, axis=1, return_index=True)[1]
    best = distinct[np.lexsort((distinct, -worst[distinct]))][:n]
    return tuple(fmt.from_bits(rows[:, best]))


def _uniform(stream: Stream, fmt: Format, ends: Array) -> Array:
    """Draw numbers from the binades that begin at ``ends``, as float32: what lies beyond the format's bits is zero."""
    steps = stream.integers(len(ends), 0, 1 << (fmt.precision - 1))
    steps <<= 24 - fmt.precision
    return (steps.astype(np.int32) | np.asarray(ends, np.float32).view(np.int32)).view(np.float32)


def _exponent(s: float) -> int:
    return int(np.frexp(s)[1]) - 1


def _check(order: str) -> None:
    if order not in ORDERS:
        raise unknown_name("evaluation order", order, ORDERS)
