"""The judge: one output element against its exact value.

Equal bits pass. Otherwise the result must be a member of the element's legal set (:mod:`golden.legal`), which is
made only for the elements that differ. Errors are in ulp as :mod:`golden.formats` defines them; the exact value that
they are measured from is read back from golden value and residual.
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from golden.case import Case
from golden.distinct import distinct
from golden.formats import Array, Format
from golden.legal import Part, legal_parts, overflowing, parts_of
from golden.operator import Points
from golden.program import Words
from golden.results import GRADES, Element, Grade, Number
from golden.rounding import Golden
from golden.slices import together
from golden.terms import Flush, Terms

#: At most this many failing cases of an entry point are kept in a results file.
KEPT_FAILURES = 200


class Kind(IntEnum):
    """How an element with other bits than golden differs."""

    VALUE = 0
    ZERO_SIGN = 1
    NAN = 2
    INFINITY = 3
    OVERFLOW = 4
    ZERO = 5
    NONZERO = 6
    NAN_BITS = 7


#: What each kind means; the order is that of :class:`Kind`.
KINDS: dict[str, str] = {
    "value": "a number of the right class whose distance to the exact value was measured",
    "zero-sign": "a zero of the other sign; either sign conforms",
    "nan": "NaN on one side only",
    "infinity": "the exact result is infinite or beyond the largest number, the result is not that infinity",
    "overflow": "infinite although the exact value rounds to a finite number",
    "zero": "zero although the exact value rounds to a non-zero number",
    "nonzero": "not zero although the exact value is zero",
    "nan-bits": "NaN with another payload; every NaN conforms",
}

CORRECT, FAITHFUL, FORMULA, LEGAL, FAILS = range(len(GRADES))


class Judged(NamedTuple):
    """What was found about the elements whose bits differ from golden; arrays of one length.

    ``at``: flat output index; ``kind``: :class:`Kind`; ``grade``: position in ``GRADES``; ``signed``: (got - exact)
    in ulp, NaN where that is not a number; ``bound``: the largest legal error in ulp on that side of the exact value,
    in the nearest part of the legal set, 0 where nothing but golden's bits is legal; ``beyond``: an order gives this,
    but overflows on the way where the page's does not; ``allowed``: accepted only because the terms allow more than
    the page; ``flushed``: legal only because the platform may flush subnormal numbers.
    """

    at: Array
    kind: Array
    grade: Array
    signed: Array
    bound: Array
    beyond: Array
    allowed: Array
    flushed: Array

    @property
    def held(self) -> Array:
        """Positions of the elements whose distance counts under any terms: they are legal without a leave."""
        return np.flatnonzero(~np.isnan(self.signed) & ~self.allowed & ~self.flushed & (self.grade != FAILS))

    @property
    def failing(self) -> Array:
        """Positions (in these arrays) of the elements outside every legal bound."""
        return np.flatnonzero(self.grade == FAILS)


def exact_ulp(fmt: Format, golden: Golden) -> tuple[Array, Array]:
    """Return the exact values and their ulp as float64, from golden values and residuals (0 where not finite).

    The exact value is in the binade of its golden value, except where that is a power of two reached by
    rounding up: then it is in the binade below.
    """
    finite = ~np.isnan(golden.residual)
    residual = np.where(finite, golden.residual, 0).astype(np.float64)
    value = np.where(finite, golden.value, 0).astype(np.float64)
    value = np.where(np.isinf(value), np.copysign(fmt.overflow_value, value), value)
    fraction, exponent = np.frexp(value)
    rounded_up = (np.abs(fraction) == 0.5) & (residual * np.sign(value) < 0)
    exponent = np.where(value == 0, fmt.emin, np.maximum(exponent - 1 - rounded_up, fmt.emin))
    ulp = np.ldexp(1.0, exponent - fmt.precision + 1)
    return value + residual * ulp, ulp


def judge(case: Case, output: Array, terms: Terms) -> Judged:
    """Judge one output array (flat, of the case's dtype) of a case: what differs from golden, by the given terms."""
    return judge_all([(case, output)], terms)[0]


class _Piece(NamedTuple):
    """Elements of the output of a case."""

    case: Case
    output: Array
    at: Array


def judge_all(outputs: Sequence[tuple[Case, Array]], terms: Terms) -> list[Judged]:
    """Judge outputs, each of a case, as :func:`judge` does; elements that the same programs compute, together."""
    found: list[list[Judged]] = [[] for _ in outputs]
    differing = [np.flatnonzero(case.fmt.bits(got) != case.fmt.bits(case.golden.value)) for case, got in outputs]
    groups: dict[tuple[Any, ...], list[int]] = {}
    for number, (case, _) in enumerate(outputs):
        groups.setdefault((case.fmt, *case.operator.programs(case.scalars).items()), []).append(number)
    for numbers in groups.values():
        for block in together([differing[number].size for number in numbers]):
            pieces = [_Piece(*outputs[numbers[k]], differing[numbers[k]][at]) for k, at in block]
            for (k, _), judged in zip(block, _judge_pieces(pieces, terms), strict=True):
                found[numbers[k]].append(judged)
    none = np.empty(0)
    codes, flags = np.empty(0, np.int8), np.empty(0, bool)
    nothing = Judged(np.empty(0, np.int64), codes, codes, none, none, flags, flags, flags)
    return [Judged(*map(np.concatenate, zip(*parts, strict=True))) if parts else nothing for parts in found]


def _judge_pieces(pieces: Sequence[_Piece], terms: Terms) -> Iterator[Judged]:
    """Judge elements that the same programs compute."""
    first = pieces[0].case
    ends = np.cumsum([p.at.size for p in pieces])
    found = [p.case.operator.points(p.case.scalars, p.case.operands, p.at) for p in pieces]
    places = [points.at + end - p.at.size for points, end, p in zip(found, ends, pieces, strict=True)]
    columns = zip(*(points.values for points in found), strict=True)
    points = Points(np.concatenate(places), tuple(map(np.concatenate, columns)))
    expected = Golden(*(np.concatenate([p.case.golden[of][p.at] for p in pieces]) for of in range(2)))
    at, output = (np.concatenate(of) for of in ([p.at for p in pieces], [p.output[p.at] for p in pieces]))
    chosen, which = _alike(points, output, expected)
    points, output, expected = _of(points, chosen, at.size), output[chosen], Golden(*(v[chosen] for v in expected))
    parts = parts_of(first.operator.programs(first.scalars), first.fmt, points, chosen.size, terms)
    with np.errstate(all="ignore"):
        judged = _judge_elements(first.fmt, at[chosen], output, expected, parts, terms)
    judged = Judged(at, *(values[which] for values in judged[1:]))
    for piece, end in zip(pieces, ends, strict=True):
        yield Judged(*(values[end - piece.at.size : end] for values in judged))


def _alike(points: Points, output: Array, expected: Golden) -> tuple[Array, Array]:
    """Tell apart what differs in inputs, in what was got or in what was expected; see :func:`distinct`."""
    computed = np.zeros(output.size, np.uint8)
    computed[points.at] = 1
    columns = [computed, *(v.view(f"u{v.itemsize}") for v in (output, *expected))]
    for value in points.values:
        column = np.zeros(output.size, f"u{value.itemsize}")
        column[points.at] = value.view(column.dtype)
        columns.append(column)
    return distinct(columns)


def _of(points: Points, chosen: Array, count: int) -> Points:
    """Return what some of ``count`` elements are computed from; places are those among the chosen ones then."""
    order = np.full(count, -1)
    order[points.at] = np.arange(points.at.size)
    mine = order[chosen]
    return Points(np.flatnonzero(mine >= 0), tuple(v[mine[mine >= 0]] for v in points.values))


def _judge_elements(
    fmt: Format, index: Array, output: Array, expected: Golden, parts: Sequence[Part], terms: Terms
) -> Judged:
    got = output.astype(np.float64)
    exact, ulp = exact_ulp(fmt, expected)
    want_nan, want_infinite = np.isnan(expected.value), np.isinf(expected.value)
    real = ~np.isnan(expected.residual)  # the exact value is a real number
    kind = np.select(
        [
            want_nan & np.isnan(got),
            want_nan | np.isnan(got),
            want_infinite,
            np.isinf(got),
            (got == 0) & (expected.value == 0),
            (got == 0) & real,
            (exact == 0) & real,
        ],
        [Kind.NAN_BITS, Kind.NAN, Kind.INFINITY, Kind.OVERFLOW, Kind.ZERO_SIGN, Kind.ZERO, Kind.NONZERO],
        default=Kind.VALUE,
    ).astype(np.int8)
    counted = np.where(np.isinf(got), np.copysign(fmt.overflow_value, got), got)
    measurable = np.isin(kind, (Kind.VALUE, Kind.OVERFLOW, Kind.ZERO)) & real
    signed = np.where(measurable, (counted - exact) / ulp, np.nan)

    members = _members(fmt, got, np.where(real, exact, np.nan), ulp, parts)
    # Golden's own class of result conforms whatever the orders give.
    same = np.isin(kind, (Kind.NAN_BITS, Kind.ZERO_SIGN))
    beyond = members.any_range & ~members.legal
    allowed = beyond & terms.any_range | want_nan & ~np.isnan(got) & terms.any_nan
    grade = np.select(
        [same, ~(members.legal | allowed), np.abs(signed) < 1, members.documented],
        [CORRECT, FAILS, FAITHFUL, FORMULA],
        default=LEGAL,
    ).astype(np.int8)
    flushed = members.legal & ~members.unflushed & ~same
    return Judged(index, kind, grade, signed, np.where(real, members.bound, 0.0), beyond, allowed & ~same, flushed)


class _Members(NamedTuple):
    """Which results are in a part of the page's order, in any that counts (unflushed), in any; and how wide."""

    documented: Array
    legal: Array
    unflushed: Array
    any_range: Array
    bound: Array


def _members(fmt: Format, got: Array, exact: Array, ulp: Array, parts: Sequence[Part]) -> _Members:
    documented, legal, unflushed, beyond = (np.zeros(got.shape, bool) for _ in range(4))
    within, before = np.full(got.shape, -np.inf), np.zeros(got.shape)
    top = fmt.overflow_value
    side = np.where(np.clip(got, -top, top) < exact, -1.0, 1.0)
    error = (np.clip(got, -top, top) - exact) * side
    for part in parts:
        at, inside, counts = part.at, part.holds(got), part.counts()
        legal[at] |= inside & counts
        if part.flush is Flush.NONE:
            unflushed[at] |= inside & counts
        documented[at] |= inside & part.documented
        beyond[at] |= inside
        edge = np.clip(np.where(side[at] < 0, part.low, part.high), -top, top)
        reach = (edge - exact[at]) * side[at]
        within[at] = np.where(inside & counts, np.fmax(within[at], reach), within[at])
        before[at] = np.where(counts & (reach < error[at]), np.fmax(before[at], reach), before[at])
    # Half an ulp at most is what rounding once gives: golden's bits.
    before = np.where(before / ulp > 0.5, before, 0.0)
    bound = np.where(legal, np.maximum(within, 0.0), before) / ulp
    return _Members(documented, legal, unflushed, beyond, bound)


def overflow_of(case: Case, output: Array, judged: Judged, position: int, terms: Terms) -> str:
    """Say which operation has overflowed on the way to a result that an order gives beyond the page's range; or ""."""
    if not judged.beyond[position]:
        return ""
    index = judged.at[position : position + 1]
    got = output[index].astype(np.float64)
    for part in legal_parts(case.operator, case.fmt, case.scalars, case.operands, index, terms):
        if (part.holds(got) & part.overflow).any():
            where = case.operator, case.fmt, case.scalars, case.operands, int(index[0])
            if found := overflowing(*where, part.order):
                page = case.operator.documented(case.scalars)(Words(), *case.operator.variables(case.scalars))
                return f"{found} overflows {case.fmt.name}; {page}, as the page writes it, does not"
    return ""


def grade_name(code: int) -> Grade:
    """Return the name of a grade's position."""
    return GRADES[code]


def element(case: Case, output: Array, judged: Judged, position: int) -> Element:
    """Describe one differing element (``position`` in the arrays of ``judged``) for people and programs."""
    index = int(judged.at[position])
    signed = float(judged.signed[position])
    return Element(
        case=case.id,
        klass=case.klass,
        index=index,
        inputs=readable_inputs(case, index),
        expected=number(case.fmt, case.golden.value[index]),
        got=number(case.fmt, output[index]),
        kind=list(KINDS)[int(judged.kind[position])],
        ulp=0.0 if np.isnan(signed) else abs(signed),
        bound=float(judged.bound[position]),
    )


def readable_inputs(case: Case, index: int) -> dict[str, Number | int | str]:
    """Return the inputs of one output element with numbers as hex-float and bits."""
    found = case.operator.inputs_of(case.scalars, case.operands, index)
    return {k: number(case.fmt, v) if isinstance(v, float | np.floating) else v for k, v in found.items()}


def number(fmt: Format, value: float | np.floating[Any]) -> Number:
    """Describe one number of a format."""
    typed = np.asarray(value, fmt.dtype)
    wide = float(typed)
    text = "nan" if np.isnan(wide) else wide.hex()
    if "x" in text and np.isfinite(wide):
        mantissa, exponent = text.split("p")
        text = (mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa) + "p" + exponent
    bits = int(fmt.bits(typed.reshape(1))[0])
    return Number(hex=text, bits=f"0x{bits:0{fmt.width // 4}x}", decimal=str(typed))
