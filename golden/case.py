"""A case: one kernel call with its golden outputs."""

from dataclasses import dataclass
from typing import Literal

from golden.formats import FORMATS, Array, Format
from golden.operator import Operator
from golden.rounding import Golden

Tier = Literal["required", "stress"]


@dataclass(frozen=True)
class Head:
    """What a case is, without its arrays.

    ``id`` is a readable path made of the content (``subext/fp16/alpha=0.3/cancellation/n=36``); ``klass`` names
    what the case is there to expose and ``flags`` the defect families that it can reveal
    (:mod:`golden.flags`); ``tier`` says whether it decides the verdict.
    """

    id: str
    operator: Operator
    dtype: str
    tier: Tier
    klass: str
    flags: tuple[str, ...]
    scalars: dict[str, int | float | str]

    @property
    def fmt(self) -> Format:
        """The floating-point format of the case."""
        return FORMATS[self.dtype]

    @property
    def group(self) -> str:
        """The row of the report that this case belongs to."""
        return self.operator.group(self.scalars)

    @property
    def size(self) -> int:
        """The number of output elements."""
        return self.operator.output_size(self.scalars)


@dataclass(frozen=True)
class Case(Head):
    """One kernel call: operator, dtype, scalars, input operands, golden outputs.

    ``operands`` holds the input operands by parameter name, each flat in C order. Operands are read-only by
    convention.
    """

    operands: dict[str, Array]
    golden: Golden

    @property
    def head(self) -> Head:
        """The same without its arrays."""
        return Head(self.id, self.operator, self.dtype, self.tier, self.klass, self.flags, self.scalars)
