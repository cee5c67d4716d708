"""The shape that both gradients share: y = a * b / s, with ``s`` a positive scalar divisor.

SmoothL1LossGrad has a = clamp(x1 - x2), b = dy, s = beta; NLLLossGrad with mean has a = w, b = g, s = total_weight.
This module holds the legal evaluation orders of that value in working precision, and derives how far each
may be from the exact value.

Notation: u = 2**-p, eta the smallest subnormal, N the smallest normal number, fl() one rounding to nearest.

**Relative part.** Each operation returns z(1 + d), |d| <= u, while nothing underflows. An order with k roundings
before its last one therefore holds, before that last rounding, some z with |z - y| <= ((1 + u)**k - 1) |y|.
Roundings before the last: ``before`` (0 or 1: whether ``a`` itself was rounded), plus 1 for the quotient or
product in (a/s)*b, (a*b)/s and (b/s)*a, plus 2 with a reciprocal. When s is a power of two, division by it is
exact, and a rounding followed by an exact scaling is one rounding of the scaled value: k = ``before`` for every
order. That needs a normal result: where y is below N, an order that scales last rounds twice, k = ``before`` + 1.

**Underflow.** An intermediate below N may be off by eta/2 instead, absolutely. What follows multiplies it:
a/s underflowing costs eta/2 * |b|; a*b costs eta/2 / s, unless it is a number of the format; b/s costs eta/2 * |a|;
1/s costs eta/2 * |a*b|. At most three more roundings enlarge such a term, by (1 + u)**3 at most. Division by a power
of two not above 1 is a multiplication and cannot underflow.

**Last rounding.** Rounding is monotonic, so the result lies between fl(y - slack) and fl(y + slack): that interval,
and not a multiple of an ulp, is what the judge tests. It implies familiar figures. As |y| is below ulp(y) / u, the
slack is below S = k (1 + u)**(k-1) ulp. With k = 1 that is less than an ulp: the result is within 1.5 ulp, for the
only number of the next binade in reach is its first. With k >= 2 it is within S + 1 ulp, a little more than k + 1: it
may round across a binade, where the spacing doubles.

**Infinite factors.** Where one factor is infinite, y is, unless the other is zero. But 0 * inf is NaN, and what the
infinity is multiplied by may come out as zero: a/s in the documented order, b/s or a * (1/s) in others, where they are
eta/2 or less (1/s itself does not vanish: s < 2 / eta). The slack is infinite there, which lets the result be NaN.

**Flushing.** Where a profile lets subnormals be replaced by zero, any factor, intermediate or result that is or
may come out below N can make the result zero; those elements are marked. Nothing else changes, because zero
is the only value that flushing introduces. Where flushed operands of ``a`` itself move it by up to ``moved``, y moves
by moved * |b| / s, and ``a`` may be that much nearer to N.

**Overflow.** a/s is infinite in the documented order where |a|/s >= (2 - u) 2^emax. That limit has p + 1 bits, so
that its product with s, of 2p + 1 <= 49, is exact in float64, and so is the comparison. Infinity times b is an infinity
of y's sign, or NaN if b is zero, or flushed to zero; those elements are marked. (|a| <= s rules it out, so it takes a
weight that is far beyond total_weight.) Other intermediates have no term: an order that overflows where the documented
one does not is not a legal evaluation of those inputs.
"""

from collections.abc import Callable

import numpy as np

from golden.arithmetic import Arithmetic
from golden.formats import Array, Format, is_power_of_two
from golden.operator import Slack

#: Evaluates a * b / s in working precision.
Order = Callable[[Arithmetic, Array, Array, Array], Array]


def formula(m: Arithmetic, a: Array, b: Array, s: Array) -> Array:
    """Evaluate (a / s) * b, the order that both pages document."""
    return m.multiply(m.divide(a, s), b)


def product_first(m: Arithmetic, a: Array, b: Array, s: Array) -> Array:
    """Evaluate (a * b) / s."""
    return m.divide(m.multiply(a, b), s)


def gradient_first(m: Arithmetic, a: Array, b: Array, s: Array) -> Array:
    """Evaluate (b / s) * a, with b the upstream gradient."""
    return m.multiply(m.divide(b, s), a)


def reciprocal(m: Arithmetic, a: Array, b: Array, s: Array) -> Array:
    """Evaluate (a * (1 / s)) * b."""
    return m.multiply(m.multiply(a, m.divide(m.load(1.0), s)), b)


ORDERS: dict[str, Order] = {
    "formula": formula,
    "product-first": product_first,
    "gradient-first": gradient_first,
    "reciprocal": reciprocal,
}


def slack(fmt: Format, a: Array, b: Array, s: float, before: Array, flush: bool, moved: Array | float = 0.0) -> Slack:
    """Return the slack of y = a*b/s before the last rounding, as derived at the top of this module.

    ``a`` and ``b`` are float64 arrays of one shape holding the exact factors (``a`` to float64's precision),
    ``s`` is the divisor, ``before`` counts the roundings that ``a`` already has,
    ``moved`` is how far flushed operands may have moved it. Entries that are not finite get none, or infinity where
    NaN is legal.
    """
    overflow = np.isfinite(a) & (np.abs(a) >= fmt.overflow_threshold * abs(s))
    times_zero = overflow & ((b == 0) | flush & (np.abs(b) < fmt.smallest_normal))
    u, eta, normal = fmt.roundoff, fmt.step, fmt.smallest_normal
    with np.errstate(all="ignore"):
        undefined = _undefined(fmt, np.abs(a), np.abs(b), abs(s), flush, moved)
        finite = np.isfinite(a) & np.isfinite(b) & np.isfinite(s)
        a, b = np.where(finite, np.abs(a), 0.0), np.where(finite, np.abs(b), 0.0)
        s = abs(s)
        y = a * b / s
        power = is_power_of_two(s)
        r = 1.0 / s

        def absolute(intermediate: Array, factor: Array | float) -> Array:
            # (1 + u)**3 also covers intermediates that only rounding pushes below N.
            small = intermediate < normal * (1 + u) ** 3
            return np.where(small, (1 + u) ** 3 * eta / 2 * factor, 0.0)

        exact_scaling = power and s <= 1
        quotient = 0.0 if exact_scaling else absolute(a / s, b)
        # A product of two numbers of the format is exact in float64, so it can be seen whether it rounds at all.
        rounds = (before > 0) | (fmt.cast(a * b).astype(np.float64) != a * b)
        product = np.where(rounds, absolute(a * b, r), 0.0)
        scaled = 0.0 if exact_scaling else absolute(b / s, a)
        inverse = absolute(np.asarray(r), a * b)
        one, two = (before, before) if power else (before + 1, before + 2)
        if power:
            # Scaling last is exact only while the result is normal; below, it rounds once more.
            two = np.where(y < normal * (1 + u) ** 3, before + 1, before)
        shift = moved * b * r
        documented = (y + shift) * ((1 + u) ** one - 1) + quotient + shift
        legal = (y + shift) * ((1 + u) ** two - 1) + shift + np.maximum(np.maximum(quotient, product), scaled) + inverse
        may_vanish = np.zeros(y.shape, bool)
        if flush:
            # Subnormal in any legal order, before or after rounding.
            near = np.maximum(a - moved, 0.0)
            inverse_small = np.broadcast_to(r, y.shape)
            least = np.minimum.reduce([near, b, near / s, near * b, b / s, inverse_small, near * b / s])
            may_vanish = (least < normal * (1 + u) ** 3) & (y > 0)
        # A zero factor gives zero in every order.
        documented, legal = np.where(y > 0, documented, 0.0), np.where(y > 0, np.maximum(documented, legal), 0.0)
    documented, legal = np.where(undefined[0], np.inf, documented), np.where(undefined[1], np.inf, legal)
    return Slack(documented, legal, may_vanish, overflow, times_zero)


def product_slack(fmt: Format, a: Array, b: Array, flush: bool) -> Slack:
    """Return the slack of y = a*b, rounded once: none but what flushing gives."""
    with np.errstate(all="ignore"):
        a, b = np.abs(a), np.abs(b)
        y = a * b
        may_vanish = (np.minimum(np.minimum(a, b), y) < fmt.smallest_normal) & (y != 0) & flush
    none = np.where(np.isinf(y) & may_vanish, np.inf, 0.0)
    return Slack(none, none, may_vanish)


def _undefined(fmt: Format, a: Array, b: Array, s: float, flush: bool, moved: Array | float) -> tuple[Array, Array]:
    """Mark where the documented order, or any legal one, may multiply an infinity by zero; magnitudes are given."""
    if not (0 < s < np.inf):
        return np.zeros(a.shape, bool), np.zeros(a.shape, bool)
    infinite = (np.isinf(a) & (b > 0)) | (np.isinf(b) & (a > 0))
    near = np.maximum(a - moved, 0.0)
    # A subnormal 1/s is wrong by eta/2; at most three roundings make things smaller by (1 + u)**3.
    inverse = max(1.0 / s - fmt.step / 2, 0.0)
    vanishing = (fmt.smallest_normal if flush else fmt.step / 2) * (1 + fmt.roundoff) ** 3
    documented, legal = near / s <= vanishing, np.minimum(b / s, near * inverse) <= vanishing
    if flush:
        documented |= np.minimum(near, b) <= vanishing
        legal |= 1.0 / s <= vanishing
    elif is_power_of_two(s) and s <= 1:
        documented = legal = np.zeros(a.shape, bool)
    return infinite & documented, infinite & (documented | legal)
