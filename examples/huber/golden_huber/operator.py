"""HuberLossGrad: dx1 = clamp(x1 - x2, -delta, delta) * dy."""

from collections.abc import Mapping
from typing import TypeVar

from golden.layout import Domain
from golden.operator import Operands, Operator, Pointer, Role, Scalar, Scalars
from golden.program import Arithmetic, Program

V = TypeVar("V")


def _formula(m: Arithmetic[V], dy: V, x1: V, x2: V, delta: V) -> V:
    return m.multiply(m.clamp(m.subtract(x1, x2), delta), dy)


class HuberLossGrad(Operator):
    """Description of the page; this vendor has it in fp16 only."""

    name = "huberlossgrad"
    title = "HuberLossGrad"
    summary = "gradient of the Huber loss"
    formula = "dx1 = clamp(x1 - x2, -delta, delta) * dy"
    dtypes = ("fp16",)
    parameters = (
        Pointer("dy", Role.INPUT),
        Pointer("dx1", Role.OUTPUT),
        Pointer("x1", Role.INPUT, domain=Domain(near="delta")),
        Pointer("x2", Role.INPUT, domain=Domain(near="delta", minus="x1")),
        Scalar("length", "int"),
        Scalar("delta", "real", default=0.5),
    )

    def programs(self, scalars: Scalars) -> Mapping[str, Program]:
        """Return the one order that there is."""
        return {"formula": _formula}

    def outside(self, scalars: Scalars, operands: Operands) -> str:
        """The page has delta > 0."""
        delta = float(scalars["delta"])
        return "" if 0 < delta < float("inf") else f"delta is {delta}"


OPERATOR = HuberLossGrad()
