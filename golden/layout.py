"""What sweeps and hunts need to know of an operator: which numbers its operands take, and how points become calls.

A point is one output element that a program computes: a number for each operand. A call computes many points, and
writes elements that are none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from golden.formats import Array


@dataclass(frozen=True)
class Domain:
    """Which numbers a parameter takes.

    ``usual``: where it has one value and nothing else is asked for. ``zero``: the page allows ±0; else no call is made
    with it. In ``required`` cases: ``positive`` numbers only; no smaller than the magnitude of the operand ``above``.
    ``minus``: the operand that this one is subtracted from, so that the two should also lie close together. ``near``:
    the scalar that decides how large numbers matter: fp32 ones are chosen between 2**-12 and 2**2 times it.
    """

    usual: float = 1.0
    zero: bool = True
    positive: bool = False
    above: str = ""
    minus: str = ""
    near: str = ""


@dataclass(frozen=True)
class Arrangement:
    """A way of having a call compute n points.

    ``sizes``: the int scalars that are n; the others are 1. ``index``: int32 operands, for n points. Point i is element
    ``stride(n)`` * i of the output.
    """

    sizes: tuple[str, ...]
    index: Mapping[str, Callable[[int], Array]] = field(default_factory=dict)
    stride: Callable[[int], int] = lambda n: 1


@dataclass(frozen=True)
class NamedSpace:
    """A sweep's space with a name: the two operands that take every fp16 value, the outer one first.

    ``about``: for people. ``fixed``: values of operands that do not vary, if others than usual. ``refused``: why these
    scalars have no such space, or "".
    """

    varying: tuple[str, str]
    about: str
    fixed: Mapping[str, float] = field(default_factory=dict)
    refused: str = ""
