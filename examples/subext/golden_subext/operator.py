"""SubExt: output = input0 - input1 * alpha."""

from collections.abc import Mapping
from typing import TypeVar

from golden.layout import Domain
from golden.operator import Operator, Pointer, Role, Scalar, Scalars
from golden.program import Arithmetic, Program

V = TypeVar("V")


def _formula(m: Arithmetic[V], input0: V, input1: V, alpha: V) -> V:
    return m.subtract(input0, m.multiply(input1, alpha))


class SubExt(Operator):
    """Description of the page: element by element, in fp16 and fp32."""

    name = "subext"
    title = "SubExt"
    summary = "extended subtraction"
    formula = "output = input0 - input1 * alpha"
    parameters = (
        Pointer("input0", Role.INPUT),
        Pointer("input1", Role.INPUT, domain=Domain(minus="input0")),
        Pointer("output", Role.OUTPUT),
        Scalar("length", "int"),
        Scalar("alpha", "real", hunted=0.3),
    )

    def programs(self, scalars: Scalars) -> Mapping[str, Program]:
        """Return the one order that there is."""
        return {"formula": _formula}


OPERATOR = SubExt()
