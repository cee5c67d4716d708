"""SmoothL1LossGrad: the gradient of the smooth L1 loss with respect to the prediction x1.

With diff = x1 - x2, the page defines dx1 = dy where diff > beta, -dy where diff < -beta, (diff / beta) * dy where
-beta <= diff <= beta. For beta > 0 that is exactly clamp(diff, -beta, beta) * dy / beta, if the clamp propagates NaN:
no branch matches a NaN, and a NaN must not be swallowed.

Subtraction cannot underflow, rounding is monotonic and beta is a number of the format: rounding the difference cannot
carry it past beta. So the branches give ±dy exactly where the difference is beyond beta, and so does
(beta / beta) * dy, if division is correctly rounded; orders that clamp first, then multiply and divide, may not.

x1 * (1/beta) - x2 * (1/beta) is not a legal order: cancellation makes its error unbounded.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from golden import scaled_product
from golden.formats import FP16, Array, Format
from golden.layout import Domain, NamedSpace
from golden.operator import Operands, Operator, Pointer, Role, Scalar, Scalars
from golden.program import Arithmetic, Program
from golden.rounding import Golden, golden_values, round_quotient_of_three
from golden.scaled_product import ScaledProduct
from golden.slices import slices

V = TypeVar("V")


def _page(m: Arithmetic[V], dy: V, x1: V, x2: V, beta: V) -> V:
    """Evaluate the page's three branches, the one in the middle as documented."""
    diff = m.subtract(x1, x2)
    middle = scaled_product.formula(m, m.clamp(diff, beta), dy, beta)
    return m.select(diff, beta, dy, m.select(m.negate(beta), diff, m.negate(dy), middle))


def _clamped(order: scaled_product.Order[V], m: Arithmetic[V], dy: V, x1: V, x2: V, beta: V) -> V:
    """Evaluate without branches, with the scaled product in the given order."""
    return order(m, m.clamp(m.subtract(x1, x2), beta), dy, beta)


_PROGRAMS: dict[str, Program] = {
    "formula": _page,
    "clamped": partial(_clamped, scaled_product.formula),
    **{name: partial(_clamped, order) for name, order in scaled_product.EVALUATIONS.items() if name != "formula"},
}


class SmoothL1LossGrad(Operator):
    """Description of the page; operands are flat arrays of ``length`` elements."""

    name = "smoothl1lossgrad"
    title = "SmoothL1LossGrad"
    summary = "gradient of the smooth L1 loss with respect to the prediction"
    formula = "diff = x1 - x2; dx1 = diff > beta: dy; diff < -beta: -dy; else (diff / beta) * dy"
    coordinate_name = "diff / beta"
    orders = tuple(_PROGRAMS)
    parameters = (
        Pointer("dy", Role.INPUT),
        Pointer("dx1", Role.OUTPUT),
        Pointer("x1", Role.INPUT, domain=Domain(near="beta")),
        Pointer("x2", Role.INPUT, domain=Domain(near="beta", minus="x1")),
        Scalar("length", "int"),
        Scalar("beta", "real", hunted=0.1),
    )

    def programs(self, scalars: Scalars) -> Mapping[str, Program]:
        """Return the page's branches, and the scaled product in each order without any."""
        return _PROGRAMS

    def scaled(self, scalars: Scalars) -> ScaledProduct:
        """See the top of this module."""
        return ScaledProduct(a="x1", minus="x2", b="dy", s="beta")

    def correctly_rounded(self, fmt: Format, scalars: Scalars, values: Sequence[Array]) -> Golden:
        """Return dx1 correctly rounded.

        fp16: x1 - x2 has at most 41 significant bits in float64 and times dy at most 52, both exact; a midpoint m
        gives m * beta of at most 23 bits, so a quotient that is not m is further from it than the float64 rounding
        of the division, and one direct cast to fp16 rounds correctly. fp32: see
        :func:`golden.rounding.round_quotient_of_three`.
        """
        beta, n = float(scalars["beta"]), len(values[0])
        golden = Golden(np.empty(n, fmt.dtype), np.empty(n, np.float32))
        for at in slices(n):
            with np.errstate(invalid="ignore"):
                dy, x1, x2 = (v[at].astype(np.float64) for v in values[:3])
                q = _clamp(x1 - x2, beta) * dy / beta
            value = fmt.cast(q) if fmt is FP16 else round_quotient_of_three(x1, x2, dy, beta, fmt, q)
            golden.value[at], golden.residual[at] = golden_values(fmt, value, q)
        return golden

    def outside(self, scalars: Scalars, operands: Operands) -> str:
        """The page has beta > 0."""
        beta = float(scalars["beta"])
        return "" if 0 < beta < float("inf") else f"beta is {beta}"

    def spaces(self, scalars: Scalars) -> Mapping[str, NamedSpace]:
        """Return every pair of x1 and x2, and every difference with every gradient."""
        return {
            "diff-dy": NamedSpace(("x1", "dy"), "all 2**32 (x1 - x2, dy), x2 = 0, for one beta", {"x2": 0.0}),
            "pairs": NamedSpace(("x1", "x2"), "all 2**32 (x1, x2), for one beta and dy"),
        }

    def coordinate(self, scalars: Scalars, operands: Operands, index: Array) -> Array:
        """Return (x1 - x2) / beta: the branches meet at -1 and 1, differences cancel towards 0."""
        with np.errstate(all="ignore"):
            x1, x2 = (operands[name][index].astype(np.float64) for name in ("x1", "x2"))
            return np.asarray((x1 - x2) / float(scalars["beta"]))


def _clamp(diff: Array, beta: float) -> Array:
    # np.minimum and np.maximum propagate NaN (np.fmin and np.fmax would swallow it).
    return np.minimum(np.maximum(diff, -beta), beta)


OPERATOR = SmoothL1LossGrad()
