"""HuberLossGrad: dx1 = clamp(x1 - x2, -delta, delta) * dy.

One subtraction and one product. The subtraction rounds at most once (relative error u), so before its last rounding
the product is within u * |y| of the exact value: the slack, for the one order there is. Where the difference is exact
there is none, and only the correctly rounded result will do.
"""

from fractions import Fraction

import numpy as np
from golden.arithmetic import Arithmetic

from golden import exact as ex
from golden.formats import Array, Exact, Format
from golden.operator import Golden, Operands, Operator, Pointer, Role, Scalar, Scalars, Slack
from golden.rounding import golden_values


def _formula(m: Arithmetic, scalars: Scalars, operands: Operands) -> Array:
    dy, x1, x2 = (m.load(operands[name]) for name in ("dy", "x1", "x2"))
    delta = m.load(float(scalars["delta"]))
    return m.multiply(np.minimum(np.maximum(m.subtract(x1, x2), -delta), delta), dy)


class HuberLossGrad(Operator):
    """fp16 only: there x1 - x2 and its product with dy are exact in float64."""

    name = "huberlossgrad"
    title = "HuberLossGrad"
    summary = "gradient of the Huber loss"
    formula = "dx1 = clamp(x1 - x2, -delta, delta) * dy"
    dtypes = ("fp16",)
    parameters = (
        Pointer("dy", Role.INPUT),
        Pointer("dx1", Role.OUTPUT),
        Pointer("x1", Role.INPUT),
        Pointer("x2", Role.INPUT),
        Scalar("length", "int"),
        Scalar("delta", "real"),
    )
    orders = {"formula": _formula}  # noqa: RUF012 - declarative, never mutated

    def shapes(self, scalars: Scalars) -> dict[str, tuple[int, ...]]:
        """All four operands are ``[length]``."""
        return {p.name: (int(scalars["length"]),) for p in self.pointers}

    def group(self, scalars: Scalars) -> str:
        """Cases are reported by delta."""
        return f"delta={float(scalars['delta']):.4g}"

    def exact(self, fmt: Format, scalars: Scalars, operands: Operands, index: int) -> Exact:
        """Return dx1[index] as exact arithmetic."""
        dy, x1, x2 = (fmt.decode(int(fmt.bits(operands[name])[index])) for name in ("dy", "x1", "x2"))
        delta, diff = Fraction(float(scalars["delta"])), ex.subtract(x1, x2)
        if not ex.is_nan(diff):
            diff = delta if diff > delta else -delta if diff < -delta else diff
        return ex.multiply(diff, dy)

    def oracle(self, fmt: Format, scalars: Scalars, operands: Operands) -> Golden:
        """Return dx1 correctly rounded: 41 + 11 bits fit into float64, and one cast rounds."""
        with np.errstate(invalid="ignore"):
            dy, x1, x2 = (operands[name].astype(np.float64) for name in ("dy", "x1", "x2"))
            exact = np.clip(x1 - x2, -float(scalars["delta"]), float(scalars["delta"])) * dy
        return golden_values(fmt, fmt.cast(exact), exact)

    def slack(self, fmt: Format, scalars: Scalars, operands: Operands, index: Array, flush: bool) -> Slack:
        """Return u * |y| where the difference rounds, and nothing elsewhere."""
        with np.errstate(all="ignore"):
            dy, x1, x2 = (operands[name][index].astype(np.float64) for name in ("dy", "x1", "x2"))
            diff = x1 - x2
            rounds = (fmt.cast(diff).astype(np.float64) != diff) & (np.abs(diff) < float(scalars["delta"]))
            y = np.abs(np.where(np.isfinite(diff * dy), diff * dy, 0.0))
            slack = np.where(rounds, y * fmt.roundoff, 0.0)
            least = np.minimum(np.minimum(np.abs(diff), np.abs(dy)), y)
        return Slack(slack, slack, (least < fmt.smallest_normal) & (y > 0) & flush)

    def inputs_of(self, scalars: Scalars, operands: Operands, index: int) -> dict[str, int | float | str]:
        """Return dy, x1, x2 of the element and delta."""
        return {**{p.name: operands[p.name][index] for p in self.inputs}, "delta": scalars["delta"]}

    def element_inputs(self, fmt: Format, scalars: Scalars, operands: Operands) -> tuple[Array, Array]:
        """Return the bits of (dy, x1, x2) of every element."""
        rows = np.stack([fmt.bits(operands[p.name]) for p in self.inputs], axis=1)
        return np.arange(len(rows)), rows


OPERATOR = HuberLossGrad()
