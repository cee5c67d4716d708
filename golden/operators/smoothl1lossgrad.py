"""SmoothL1LossGrad: the gradient of the smooth L1 loss with respect to the prediction x1.

With diff = x1 - x2, the page defines dx1 = dy where diff > beta, -dy where diff < -beta, (diff / beta) * dy where
-beta <= diff <= beta. For beta > 0 that is exactly clamp(diff, -beta, beta) * dy / beta, if the clamp propagates NaN:
no branch matches a NaN, and a NaN must not be swallowed.

Bounds: this is a scaled product (:mod:`golden.scaled_product`) with a = clamp(diff), b = dy, s = beta. x1 - x2
rounds once unless it is a number of the format (``before``). Subtraction cannot underflow. Rounding is monotonic
and beta is a number of the format, so rounding the difference cannot carry it past beta: the saturated branches
return ±dy exactly, and so does (beta / beta) * dy. Orders that clamp first and then multiply and divide may
not; the widest legal bound therefore applies to the saturated elements too, the documented one does not.
A subnormal x1 or x2 that is flushed moves the difference by less than N each (``moved``).

x1 * (1/beta) - x2 * (1/beta) is not a legal order: cancellation makes its error unbounded.
"""

from fractions import Fraction
from functools import partial

import numpy as np

from golden import exact as ex
from golden import scaled_product
from golden.arithmetic import Arithmetic
from golden.formats import FP16, Array, Exact, Format
from golden.operator import Evaluate, Golden, Operands, Operator, Pointer, Role, Scalar, Scalars, Slack
from golden.rounding import golden_values, round_quotient_of_three
from golden.slices import slices


def _evaluate(order: scaled_product.Order, m: Arithmetic, scalars: Scalars, operands: Operands) -> Array:
    """Evaluate the page's three branches, with the middle one in the given order."""
    dy, x1, x2 = (m.load(operands[name]) for name in ("dy", "x1", "x2"))
    beta = m.load(float(scalars["beta"]))
    diff = m.subtract(x1, x2)
    middle = order(m, diff, dy, beta)
    saturated = np.where(diff > beta, dy, -dy)
    # A NaN difference takes the middle branch, which propagates it. A NaN dy does so in all of them.
    return np.where(np.abs(diff) > beta, saturated, middle)


class SmoothL1LossGrad(Operator):
    """Description of the page; operands are flat arrays of ``length`` elements."""

    name = "smoothl1lossgrad"
    title = "SmoothL1LossGrad"
    summary = "gradient of the smooth L1 loss with respect to the prediction"
    formula = "diff = x1 - x2; dx1 = diff > beta: dy; diff < -beta: -dy; else (diff / beta) * dy"
    coordinate_name = "diff / beta"
    parameters = (
        Pointer("dy", Role.INPUT),
        Pointer("dx1", Role.OUTPUT),
        Pointer("x1", Role.INPUT),
        Pointer("x2", Role.INPUT),
        Scalar("length", "int"),
        Scalar("beta", "real"),
    )
    orders: dict[str, Evaluate] = {  # noqa: RUF012 - declarative, never mutated
        name: partial(_evaluate, order) for name, order in scaled_product.ORDERS.items()
    }

    def shapes(self, scalars: Scalars) -> dict[str, tuple[int, ...]]:
        """All four operands are ``[length]``."""
        return {p.name: (int(scalars["length"]),) for p in self.pointers}

    def group(self, scalars: Scalars) -> str:
        """Cases are reported by beta."""
        return f"beta={float(scalars['beta']):.4g}"

    def exact(self, fmt: Format, scalars: Scalars, operands: Operands, index: int) -> Exact:
        """Return dx1[index] as the page defines it."""
        dy, x1, x2 = (fmt.decode(int(fmt.bits(operands[name])[index])) for name in ("dy", "x1", "x2"))
        beta = Fraction(float(scalars["beta"]))
        diff = ex.subtract(x1, x2)
        if ex.is_nan(diff) or ex.is_nan(dy):
            return float("nan")
        if diff > beta:
            return dy
        if diff < ex.negate(beta):
            return ex.negate(dy)
        return ex.multiply(ex.divide(diff, beta), dy)

    def oracle(self, fmt: Format, scalars: Scalars, operands: Operands) -> Golden:
        """Return dx1 correctly rounded.

        fp16: x1 - x2 has at most 41 significant bits in float64 and times dy at most 52, both exact; a midpoint m
        gives m * beta of at most 23 bits, so a quotient that is not m is further from it than the float64 rounding
        of the division, and one direct cast to fp16 rounds correctly. fp32: see
        :func:`golden.rounding.round_quotient_of_three`.
        """
        beta, n = float(scalars["beta"]), len(operands["dy"])
        golden = Golden(np.empty(n, fmt.dtype), np.empty(n, np.float32))
        for at in slices(n):
            with np.errstate(invalid="ignore"):
                dy, x1, x2 = (operands[name][at].astype(np.float64) for name in ("dy", "x1", "x2"))
                q = _clamp(x1 - x2, beta) * dy / beta
            value = fmt.cast(q) if fmt is FP16 else round_quotient_of_three(x1, x2, dy, beta, fmt, q)
            golden.value[at], golden.residual[at] = golden_values(fmt, value, q)
        return golden

    def slack(self, fmt: Format, scalars: Scalars, operands: Operands, index: Array, flush: bool) -> Slack:
        """Return the slack of dx1[index]; derivation at the top of this file."""
        beta = float(scalars["beta"])
        with np.errstate(all="ignore"):
            dy, x1, x2 = (operands[name][index].astype(np.float64) for name in ("dy", "x1", "x2"))
            diff = x1 - x2
            back = diff - x1
            exact_in_float64 = (x1 - (diff - back)) + (-x2 - back) == 0  # TwoSum's error term
            rounds = ~(exact_in_float64 & (fmt.cast(diff).astype(np.float64) == diff))
            flushed = np.zeros(dy.shape, int)
            if flush:
                flushed = sum((x != 0) & (np.abs(x) < fmt.smallest_normal) for x in (x1, x2))
            # A flushed operand gives another difference: it may round where the exact one does not.
            saturated = (np.abs(diff) >= beta) & (flushed == 0)
            before = np.where(saturated, 0, rounds | (flushed > 0))
            moved = flushed * fmt.smallest_normal
            bounds = scaled_product.slack(fmt, _clamp(diff, beta), dy, beta, before, flush, moved)
            documented = np.where(saturated, 0.0, bounds.formula)
        return bounds._replace(formula=documented)

    def outside(self, scalars: Scalars, operands: Operands) -> str:
        """The page has beta > 0."""
        beta = float(scalars["beta"])
        return "" if 0 < beta < float("inf") else f"beta is {beta}"

    def coordinate(self, scalars: Scalars, operands: Operands, index: Array) -> Array:
        """Return (x1 - x2) / beta: the branches meet at -1 and 1, differences cancel towards 0."""
        with np.errstate(all="ignore"):
            x1, x2 = (operands[name][index].astype(np.float64) for name in ("x1", "x2"))
            return np.asarray((x1 - x2) / float(scalars["beta"]))

    def element_inputs(self, fmt: Format, scalars: Scalars, operands: Operands) -> tuple[Array, Array]:
        """Return the bits of (dy, x1, x2) of every element; beta is the same for all."""
        rows = np.stack([fmt.bits(operands[p.name]) for p in self.inputs], axis=1)
        return np.arange(len(rows)), rows

    def inputs_of(self, scalars: Scalars, operands: Operands, index: int) -> dict[str, int | float | str]:
        """Return dy, x1, x2 of the element and beta."""
        return {**{p.name: operands[p.name][index] for p in self.inputs}, "beta": scalars["beta"]}


def _clamp(diff: Array, beta: float) -> Array:
    # np.minimum and np.maximum propagate NaN (np.fmin and np.fmax would swallow it).
    return np.minimum(np.maximum(diff, -beta), beta)


OPERATOR = SmoothL1LossGrad()
