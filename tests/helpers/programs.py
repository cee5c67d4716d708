"""Small operators that are nobody's: for tests of what works for any program."""

from collections.abc import Mapping

from golden.operator import Operator, Pointer, Role, Scalar, Scalars
from golden.pointwise import Pointwise
from golden.program import Program


class Elementwise(Operator):
    """An operator of flat operands of one length, and numbers; the programs take them in that order."""

    def __init__(self, name: str, operands: str, numbers: str, programs: Mapping[str, Program]) -> None:
        self.name = self.title = self.summary = self.formula = name
        self.parameters = (
            *(Pointer(n, Role.INPUT) for n in operands.split()),
            Pointer("out", Role.OUTPUT),
            Scalar("length", "int"),
            *(Scalar(n, "real") for n in numbers.split()),
        )
        self.orders, self._programs = tuple(programs), programs

    def shapes(self, scalars: Scalars) -> dict[str, tuple[int, ...]]:
        """Every operand has one length."""
        return {p.name: (int(scalars["length"]),) for p in self.pointers}

    def group(self, scalars: Scalars) -> str:
        """There is one row."""
        return "all"

    def programs(self, scalars: Scalars) -> Mapping[str, Program]:
        """Return the programs."""
        return self._programs


SUBTRACT = {"formula": lambda m, a, b, alpha: m.subtract(a, m.multiply(b, alpha))}
SIGMOID = {
    "formula": lambda m, dy, y: m.multiply(m.multiply(dy, y), m.subtract(m.load(1.0), y)),
    "factors-first": lambda m, dy, y: m.multiply(dy, m.multiply(y, m.subtract(m.load(1.0), y))),
    "difference-first": lambda m, dy, y: m.multiply(m.multiply(dy, m.subtract(m.load(1.0), y)), y),
}
RATIO = {
    "formula": lambda m, a, b, c: m.divide(a, m.add(b, c)),
    "reciprocal": lambda m, a, b, c: m.multiply(a, m.reciprocal(m.add(b, c))),
}
CHOICE = {
    "formula": lambda m, a, b, s: m.select(
        m.add(a, b), m.load(0.0), m.multiply(a, b), m.clamp(m.divide(m.negate(a), s), s)
    )
}
#: Element-by-element views, by name.
PROGRAMS = {
    name: Pointwise(Elementwise(name, operands, numbers, programs))
    for name, operands, numbers, programs in (
        ("subtract", "a b", "alpha", SUBTRACT),
        ("sigmoid", "dy y", "", SIGMOID),
        ("ratio", "a b c", "", RATIO),
        ("choice", "a b", "s", CHOICE),
    )
}
