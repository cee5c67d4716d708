"""The judge: one output element against its exact value.

Equal bits pass. Otherwise the classes (NaN, infinity, zero) must agree, and a number must lie in the interval that
the operator's derived slack allows around the exact value (:class:`golden.operator.Slack`). Errors are in ulp as
:mod:`golden.formats` defines them.

The exact value is read back from golden value and residual. The residual is wrong by at most 2**-25 ulp and the
float64 evaluation of the slack by less than that again; every non-zero slack is therefore widened by 2**-24 ulp, so
that no legal result is refused. A zero slack is not widened: it demands the golden bits.
"""

from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from golden.case import Case
from golden.formats import Array, Format
from golden.operator import Golden, Slack
from golden.results import GRADES, Element, Grade, Number
from golden.slices import slices

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
    in ulp, NaN where that is not a number; ``bound``: largest legal error in ulp.
    """

    at: Array
    kind: Array
    grade: Array
    signed: Array
    bound: Array

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


def judge(case: Case, output: Array, flush: bool) -> Judged:
    """Judge one output array (flat, of the case's dtype) of a case.

    ``flush``: the platform lets subnormals be replaced by zero.
    """
    fmt, golden = case.fmt, case.golden
    differing = np.flatnonzero(fmt.bits(output) != fmt.bits(golden.value))
    none = np.empty(0)
    parts = [Judged(differing[:0], np.empty(0, np.int8), np.empty(0, np.int8), none, none)]
    for at in slices(differing.size):
        index = differing[at]
        expected = Golden(golden.value[index], golden.residual[index])
        slack = case.operator.slack(fmt, case.scalars, case.operands, index, flush)
        with np.errstate(all="ignore"):
            parts.append(_judge_elements(fmt, index, output[index], expected, slack))
    return Judged(*map(np.concatenate, zip(*parts, strict=True)))


def _judge_elements(fmt: Format, index: Array, output: Array, expected: Golden, slack: Slack) -> Judged:
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

    # From 1.5 * 2**(emax + 1) on the residual no longer tells the exact value; no legal order comes back from there.
    far = want_infinite & (np.abs(expected.residual) >= 2.0 ** (fmt.precision - 2))
    slack = slack._replace(formula=np.where(far, 0.0, slack.formula), legal=np.where(far, 0.0, slack.legal))
    magnitude = np.abs(exact)
    along = np.where(np.signbit(exact), -got, got)
    low, high = _interval(fmt, magnitude, slack.legal, ulp)
    documented_low, documented_high = _interval(fmt, magnitude, slack.formula, ulp)
    vanished = slack.flush & (got == 0)
    undefined = want_infinite & ~real & np.isnan(got)
    overflowed = slack.overflow & (exact != 0) & np.isposinf(along) | slack.undefined & np.isnan(got)
    # Where the slack is zero only golden's bits will do, and these differ.
    reached = (slack.legal > 0) & (low <= along) & (along <= high)
    legal = real & (reached | vanished | overflowed) | undefined & np.isinf(slack.legal)
    within = (slack.formula > 0) & (documented_low <= along) & (along <= documented_high)
    documented = real & (within | vanished | overflowed) | undefined & np.isinf(slack.formula)

    counted = np.where(np.isinf(got), np.copysign(fmt.overflow_value, got), got)
    measurable = np.isin(kind, (Kind.VALUE, Kind.OVERFLOW, Kind.ZERO)) & real
    signed = np.where(measurable, (counted - exact) / ulp, np.nan)
    grade = np.select(
        [np.isin(kind, (Kind.NAN_BITS, Kind.ZERO_SIGN)), ~legal, np.abs(signed) < 1, documented],
        [CORRECT, FAILS, FAITHFUL, FORMULA],
        default=LEGAL,
    ).astype(np.int8)
    top = np.where(np.isinf(high) | (slack.overflow & (exact != 0)), fmt.overflow_value, high)
    bound = np.where(slack.legal > 0, np.maximum(top - magnitude, magnitude - low) / ulp, 0.5)
    bound = np.where(slack.flush, np.maximum(bound, magnitude / ulp), bound)
    return Judged(index, kind, grade, signed, np.where(real, bound, 0.0))


def _interval(fmt: Format, magnitude: Array, slack: Array, ulp: Array) -> tuple[Array, Array]:
    widened = slack + np.where(slack > 0, ulp * 2.0**-24, 0.0)
    return fmt.cast(magnitude - widened).astype(np.float64), fmt.cast(magnitude + widened).astype(np.float64)


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
