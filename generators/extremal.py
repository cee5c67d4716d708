"""Inputs by search: the largest error that an evaluation order makes, and inputs on which two given orders differ.

All work on y = a * b / s (:mod:`golden.scaled_product`) in working precision, on ordinary numbers: nothing under- or
overflows in any order. There every order commutes with powers of two in a and b, so the results may be scaled by any
as long as they stay ordinary.

The error of an order is a slowly varying envelope (which binades the intermediates are in) times rounding errors that
look random. So a few hundred climbers that move one significand at a time, by any power of two of its last
place, and keep what is no better, find the top of the envelope first and good rounding errors on it then.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, groupby
from typing import NamedTuple

import numpy as np

from generators.stream import Stream, within
from golden.errors import UsageError, unknown_name
from golden.formats import Array, Format, is_power_of_two
from golden.scaled_product import ORDERS
from golden.slices import SLICE
from golden.working import OrdinaryPrecision

#: Climbers by default, and moves of each. With 1,024 climbers the best is within 4 % of the maximum over all fp16
#: significands; few climbers find their equals a little less often.
CLIMBERS, MOVES = 256, 160
#: Numbers tried where one operand is given: an order's error depends on few significands then.
CANDIDATES = 1024


class Search(NamedTuple):
    """A search for the worst inputs of one order: ``n`` triples whose difference rounds if ``rounded``, else is x1."""

    order: str
    rounded: bool
    n: int


def error(fmt: Format, s: float, order: str, b: Array, a: Array, x2: Array | None = None) -> Array:
    """Return |result - y| in ulp of y for an order of (a - x2) * b / s; in float64, wrong by 2**-28 ulp at most."""
    return _errors(fmt, s, [(order, slice(None))], b, a, x2)


def _errors(
    fmt: Format, s: float, orders: Iterable[tuple[str, slice]], b: Array, a: Array, x2: Array | None = None
) -> Array:
    """Return the errors as :func:`error` does, of each order on its slice of the arrays."""
    m = OrdinaryPrecision(fmt)
    a, b = m.load(a), m.load(b)
    y = a.astype(np.float64)
    if x2 is not None:
        x2 = m.load(x2)
        y -= x2
        a = m.subtract(a, x2)
    y *= b
    y /= s
    distance = np.empty(y.shape)
    for order, part in orders:
        np.subtract(ORDERS[order](m, a[part], b[part], m.load(s)), y[part], out=distance[part])
    np.abs(distance, out=distance)
    distance /= fmt.ulp_of(np.abs(y, out=y))
    return distance


def worst_products(
    stream: Stream, fmt: Format, s: float, order: str, n: int, climbers: int = CLIMBERS
) -> tuple[Array, Array]:
    """Return n different pairs (a, b), worst first, on which an order's error in a * b / s is as large as found.

    s/4 < a < s, 1 <= b < 2, both positive. n is at most ``climbers``.
    """
    [(a, _, b)] = worst(stream, fmt, s, [Search(order, False, n)], climbers)
    return a, b


def worst_differences(
    stream: Stream, fmt: Format, s: float, order: str, n: int, climbers: int = CLIMBERS
) -> tuple[Array, Array, Array]:
    """Return n different triples (x1, x2, b), as :func:`worst_products` does for (x1 - x2) * b / s.

    0 < x1 - x2 < s, x2 negative: the difference has more bits than a number of the format, so that it rounds.
    """
    [(x1, x2, b)] = worst(stream, fmt, s, [Search(order, True, n)], climbers)
    return x1, x2, b


def worst(
    stream: Stream, fmt: Format, s: float, searches: Sequence[Search], climbers: int = CLIMBERS
) -> list[tuple[Array, Array, Array]]:
    """Return the triples (x1, x2, b) of each search, x2 being zero in products.

    The same as the searches find one after the other with this stream, but faster.
    """
    starts, steps = zip(*(_plan(stream, fmt, s, search, climbers) for search in searches), strict=True)
    rows, fraction = np.concatenate(starts, axis=1), fmt.bits_dtype.type(fmt.fraction_mask)
    orders, end = [], 0
    for order, group in groupby(searches, lambda search: search.order):
        start, end = end, end + climbers * len(list(group))
        orders.append((order, slice(start, end)))

    def badness(rows: Array) -> Array:
        x1, x2, b = fmt.from_bits(rows)
        return _errors(fmt, s, orders, b, x1, x2)

    reached = badness(rows)
    for by in np.concatenate(steps, axis=2):
        moved = rows + by  # significands wrap around within their binades
        moved ^= (moved ^ rows) & ~fraction
        now = badness(moved)
        better = now >= reached
        np.copyto(rows, moved, where=better)
        np.copyto(reached, now, where=better)

    def best(search: Search, rows: Array, reached: Array) -> tuple[Array, Array, Array]:
        distinct = np.unique(rows, axis=1, return_index=True)[1]
        x1, x2, b = fmt.from_bits(rows[:, distinct[np.lexsort((distinct, -reached[distinct]))][: search.n]])
        return x1, x2, b

    own = range(0, rows.shape[1], climbers)
    parts = (np.split(array, own[1:], axis=-1) for array in (rows, reached))
    return [best(*found) for found in zip(searches, *parts, strict=True)]


def _plan(stream: Stream, fmt: Format, s: float, search: Search, climbers: int) -> tuple[Array, Array]:
    """Draw where the climbers of a search start, and their moves.

    Returns bits of the numbers x1, x2 and b, [3, climbers], and what is to be added to them, [MOVES, 3, climbers]; each
    number stays in the binade that it begins in, and the x2 of products stays zero.
    """
    _check(search.order)
    top = _exponent(s)
    ends = {0: np.full(climbers, 2.0**top / 2), 2: np.ones(climbers)}
    if search.rounded:
        ends = {0: ends[0] / 2, 1: -np.ldexp(1.0, top - stream.integers(climbers, 4, 8)), 2: ends[2]}
    rows = np.zeros((3, climbers), fmt.dtype)
    for row, end in ends.items():
        rows[row] = _uniform(stream, fmt, end)
    draw = stream.words(MOVES * 3 * climbers).reshape(MOVES, 3, climbers)
    which, down = within(draw[:, 0], 0, len(ends)), within(draw[:, 1], 0, 2)
    step = (np.left_shift(1, within(draw[:, 2], 0, fmt.precision - 1)) * (1 - 2 * down)).astype(fmt.bits_dtype)
    steps = np.zeros((MOVES, 3, climbers), fmt.bits_dtype)
    for k, row in enumerate(ends):
        np.multiply(step, which == k, out=steps[:, row])
    return fmt.bits(rows), steps


def telling_apart(stream: Stream, fmt: Format, s: float, first: str, second: str, n: int) -> tuple[Array, Array]:
    """Return n pairs (a, b), s/4 < a < s, 1 <= b < 2, on which two orders give different bits.

    Raises :class:`UsageError` for equal orders, and where s is a power of two: there all orders round once (proof in
    :mod:`golden.scaled_product`) and differ nowhere.
    """
    _check(first)
    _check(second)
    if first == second or is_power_of_two(s):
        raise UsageError(f"{first} and {second} differ on no ordinary input of divisor {s:g}: choose another.")
    m = OrdinaryPrecision(fmt)
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

    def score(first: int, b: Array, a: Array) -> Array:
        turns = (slice((k - first) % len(ORDERS), None, len(ORDERS)) for k in range(len(ORDERS)))
        return _errors(fmt, s, zip(ORDERS, turns, strict=True), np.broadcast_to(b, a.shape), a)

    return _best_partners(stream, fmt, s, b, score)


def telling_partners(stream: Stream, fmt: Format, s: float, b: Array) -> Array:
    """Return for each b an a, s/4 < a < s, on which orders differ: each pair of orders in turn along b.

    Where no a in a thousand tells that pair apart, any pair will do. For a power of two s none differs.
    """
    m, pairs = OrdinaryPrecision(fmt), list(combinations(range(len(ORDERS)), 2))

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
    column, found = OrdinaryPrecision(fmt).load(b)[:, None], np.empty(len(b), fmt.dtype)
    ends = np.full(SLICE, 2.0 ** _exponent(s) / 2, np.float32)
    for start in range(0, len(b), SLICE // CANDIDATES):
        part = slice(start, start + SLICE // CANDIDATES)
        rows = len(found[part])
        candidates = _uniform(stream, fmt, ends[: rows * CANDIDATES]).reshape(rows, CANDIDATES)
        best = np.argmax(score(start, column[part], candidates), axis=1)
        found[part] = candidates[np.arange(rows), best]
    return found


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
