"""The shape that both gradients share: y = a * b / s, with ``s`` a positive scalar divisor, and its evaluation orders.

``a`` may be a clamped difference or an operand, ``b`` is the upstream gradient. The
orders are programs (:mod:`golden.program`): what each may give follows from them (:mod:`golden.running_error`).

How far that is while nothing under- or overflows, with u = 2**-p: an order with k roundings before its last one holds,
before that one, some z with |z - y| <= ((1 + u)**k - 1) |y|. Roundings before the last: one if ``a`` itself was
rounded, plus one for the quotient or product in (a/s)*b, (a*b)/s and (b/s)*a, plus two with a reciprocal. When s is a
power of two, dividing by it is exact, and k is what ``a`` has. As |y| is below ulp(y) / u, z is within
S = k (1 + u)**(k-1) ulp. With k = 1 that is less than an ulp: the result is within 1.5 ulp, for the only number of the
next binade in reach is its first. With k >= 2 it is within S + 1 ulp, a little more than k + 1: it may round across a
binade, where the spacing doubles. Element by element the bound is never wider than that, for a rounding is off by half
an ulp of its own binade at most.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from golden.program import Arithmetic

V = TypeVar("V")


@dataclass(frozen=True)
class ScaledProduct:
    """Says which variables of an operator make the scaled product that its exact value is; sweeps are faster for it.

    y = a * b / s, negated where ``negative``. With ``minus``, a is a - minus held between -s and s. ``s`` is one number
    for all elements, and 1 where it is "". The operator's ``correctly_rounded`` has residuals of that in float64.
    """

    a: str
    b: str
    s: str = ""
    minus: str = ""
    negative: bool = False


#: Evaluates a * b / s.
Order = Callable[[Arithmetic[V], V, V, V], V]


def formula(m: Arithmetic[V], a: V, b: V, s: V) -> V:
    """Evaluate (a / s) * b, the order that both pages document."""
    return m.multiply(m.divide(a, s), b)


def product_first(m: Arithmetic[V], a: V, b: V, s: V) -> V:
    """Evaluate (a * b) / s."""
    return m.divide(m.multiply(a, b), s)


def gradient_first(m: Arithmetic[V], a: V, b: V, s: V) -> V:
    """Evaluate (b / s) * a, with b the upstream gradient."""
    return m.multiply(m.divide(b, s), a)


def reciprocal(m: Arithmetic[V], a: V, b: V, s: V) -> V:
    """Evaluate (a * (1 / s)) * b."""
    return m.multiply(m.multiply(a, m.reciprocal(s)), b)


def reciprocal_gradient(m: Arithmetic[V], a: V, b: V, s: V) -> V:
    """Evaluate (b * (1 / s)) * a."""
    return m.multiply(m.multiply(b, m.reciprocal(s)), a)


def reciprocal_last(m: Arithmetic[V], a: V, b: V, s: V) -> V:
    """Evaluate (a * b) * (1 / s)."""
    return m.multiply(m.multiply(a, b), m.reciprocal(s))


#: The orders that vectors tell apart.
ORDERS = {
    "formula": formula,
    "product-first": product_first,
    "gradient-first": gradient_first,
    "reciprocal": reciprocal,
}
#: All that are legal: with a reciprocal, the factors may come in any order.
EVALUATIONS = {**ORDERS, "reciprocal-gradient": reciprocal_gradient, "reciprocal-last": reciprocal_last}
