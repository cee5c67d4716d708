"""Operators element by element: for sweeps, where every point is one output element and nothing else is written."""

from collections.abc import Mapping, Sequence

from golden.formats import Array, Format
from golden.operator import Operator, Scalars, operator
from golden.program import Program
from golden.rounding import Golden
from golden.scaled_product import ScaledProduct


class Pointwise(Operator):
    """The elements of an operator that its programs compute; operands carry the programs' variables by name.

    Operands have one entry an element, or one for all. The operator's first size is the number of elements.
    """

    def __init__(self, page: Operator) -> None:
        self.page = page
        self.name, self.title, self.summary, self.formula = page.name, page.title, page.summary, page.formula
        self.parameters, self.dtypes, self.coordinate_name = page.parameters, page.dtypes, ""
        self.orders = page.orders

    def group(self, scalars: Scalars) -> str:
        """Elements are reported as the page's are."""
        return self.page.group(scalars)

    def variables(self, scalars: Scalars) -> tuple[str, ...]:
        """Return those of the page."""
        return self.page.variables(scalars)

    def programs(self, scalars: Scalars) -> Mapping[str, Program]:
        """Return those of the page."""
        return self.page.programs(scalars)

    def untouched(self, scalars: Scalars) -> tuple[str, ...]:
        """Return those of the page."""
        return self.page.untouched(scalars)

    def call_scalars(self, scalars: Scalars, n: int) -> dict[str, int | float | str]:
        """Return the scalars for n points, given those that are no sizes."""
        sizes = {s.name: n if s.name == self.size_name else 1 for s in self.scalars if s.kind == "int"}
        return {**sizes, **scalars}

    def scaled(self, scalars: Scalars) -> ScaledProduct | None:
        """Return what the page's is."""
        return self.page.scaled(scalars)

    def correctly_rounded(self, fmt: Format, scalars: Scalars, values: Sequence[Array]) -> Golden:
        """Return what the page's does."""
        return self.page.correctly_rounded(fmt, scalars, values)


def dense(name: str) -> Pointwise:
    """Return the element-by-element view of an operator; raises :class:`UsageError` for a name that does not exist."""
    return Pointwise(operator(name))
