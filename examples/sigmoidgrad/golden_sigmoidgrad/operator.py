"""SigmoidGrad: dx = dy * y * (1 - y), with y what the sigmoid gave."""

from collections.abc import Mapping
from typing import TypeVar

from golden.formats import Array
from golden.layout import Domain
from golden.operator import Operands, Operator, Pointer, Role, Scalar, Scalars
from golden.program import Arithmetic, Program

V = TypeVar("V")


def _rest(m: Arithmetic[V], y: V) -> V:
    return m.subtract(m.load(1.0), y)


def _formula(m: Arithmetic[V], dy: V, y: V) -> V:
    return m.multiply(m.multiply(dy, y), _rest(m, y))


def _slope_first(m: Arithmetic[V], dy: V, y: V) -> V:
    return m.multiply(dy, m.multiply(y, _rest(m, y)))


def _rest_first(m: Arithmetic[V], dy: V, y: V) -> V:
    return m.multiply(m.multiply(dy, _rest(m, y)), y)


_PROGRAMS: dict[str, Program] = {"formula": _formula, "slope-first": _slope_first, "rest-first": _rest_first}


class SigmoidGrad(Operator):
    """Description of the page; the three products may be made in any order."""

    name = "sigmoidgrad"
    title = "SigmoidGrad"
    summary = "gradient of the sigmoid with respect to its input"
    formula = "dx = dy * y * (1 - y)"
    coordinate_name = "y"
    orders = tuple(_PROGRAMS)
    parameters = (
        Pointer("dy", Role.INPUT),
        Pointer("y", Role.INPUT, domain=Domain(usual=0.75)),
        Pointer("dx", Role.OUTPUT),
        Scalar("length", "int"),
    )

    def programs(self, scalars: Scalars) -> Mapping[str, Program]:
        """Return the orders of multiplying."""
        return _PROGRAMS

    def coordinate(self, scalars: Scalars, operands: Operands, index: Array) -> Array:
        """Return y: 1 - y cancels towards 1."""
        return operands["y"][index].astype("float64")


OPERATOR = SigmoidGrad()
