"""What results are held to: how exactly a platform does single operations, and what else it may do.

The standards of the field state the accuracy of one operation (OpenCL, Vulkan, CUDA: docs/platform-profiles.md) and
leave it to the user to compose. Here it is composed: bounds of whole orders follow from these figures
(:mod:`golden.running_error`).
"""

import math
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Annotated, Literal

import msgspec
import numpy as np

from golden.document import Document
from golden.formats import Array, Format

Rounding = Literal["nearest", "toward-zero", "either"]
Operation = Literal["add", "multiply", "divide", "reciprocal", "convert"]
#: No unit is better than half an ulp; from 2**10 on a result of fp16 would say nothing.
Figure = Annotated[float, msgspec.Meta(ge=0.5, le=512)]
#: The correctly rounded result may be half an ulp off, so less can be asked of nobody.
Limit = Annotated[float, msgspec.Meta(ge=0.5)]


class Flush(Enum):
    """Which subnormal numbers are replaced by zero, of the same sign: operands, results, both or none."""

    NONE = (False, False)
    OPERANDS = (True, False)
    RESULTS = (False, True)
    BOTH = (True, True)

    @property
    def operands(self) -> bool:
        """Subnormal operands count as zero (DAZ)."""
        return self.value[0]

    @property
    def results(self) -> bool:
        """Subnormal results become zero (FTZ)."""
        return self.value[1]


@dataclass(frozen=True)
class Unit:
    """How exactly one operation is done: what may become of an exact result.

    ``figure``: the worst error in ulp of the result. 0.5 is correct rounding; up to 1 the result is one of the two
    numbers beside the exact one, and that itself if it is a number; beyond, any number that near. ``rounding``: what
    a result halfway between two numbers may become (figure 0.5), or any inexact one (larger figures): "nearest" is
    to even, and to either side where the figure is larger. ``exact_powers``: dividing by a power of two is exact,
    where the quotient is a number of the format.
    """

    figure: float = 0.5
    rounding: Rounding = "nearest"
    exact_powers: bool = True

    @property
    def exact(self) -> bool:
        """Tell whether results that are numbers of the format are exact."""
        return self.figure <= 1

    @property
    def correct(self) -> bool:
        """Tell whether this is correct rounding, ties to even."""
        return self.figure <= 0.5 and self.rounding == "nearest"

    def lowest(self, fmt: Format, z: Array) -> Array:
        """Return the lowest number that may come out where ``z`` (float64) is the exact result."""
        with np.errstate(all="ignore"):
            nearest = fmt.cast(z)
            down = _down(fmt, nearest, z)
            if self.correct:
                return nearest
            if self.figure <= 0.5:
                up = -_down(fmt, -nearest, -z)
                tie = (down != up) & (z - down.astype(np.float64) == up.astype(np.float64) - z)
                lower = down if self.rounding == "either" else np.where(z < 0, up, down)
                return np.where(tie, lower, nearest)
            edge = z - self.figure * fmt.ulp_of(np.abs(z))
            found = -_down(fmt, -fmt.cast(edge), -edge)
            if self.rounding == "nearest":  # others make the largest number of what overflows
                found = np.where(edge <= -fmt.overflow_value, -fmt.dtype.type(np.inf), found)
            if self.figure <= 1:
                found = np.maximum(found, down)
            found = np.where(z >= 0, np.maximum(found, 0), found)  # no unit gets the sign wrong
            if self.rounding != "nearest":
                found = np.minimum(found, np.where(z > 0, fmt.dtype.type(fmt.largest), found))
            if self.rounding == "toward-zero":
                found = np.where(z < 0, -_down(fmt, -nearest, -z), found)
            return np.where(np.isfinite(z), found, nearest)

    def highest(self, fmt: Format, z: Array) -> Array:
        """Return the highest number that may come out; every unit is symmetric about zero."""
        return -self.lowest(fmt, -z)


def _down(fmt: Format, nearest: Array, z: Array) -> Array:
    """Return the largest number not above z, given the nearest."""
    below: Array = np.nextafter(nearest, fmt.dtype.type(-np.inf))
    return np.where(nearest.astype(np.float64) > z, below, nearest)


class Figures(msgspec.Struct, Document, frozen=True, forbid_unknown_fields=True):
    """Worst errors of single operations in one format, in ulp of the result."""

    add: Figure = 0.5
    multiply: Figure = 0.5
    divide: Figure = 0.5
    reciprocal: Figure = 0.5
    convert: Figure = 0.5


class PlatformArithmetic(msgspec.Struct, Document, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """A platform's arithmetic: the table ``[arithmetic]`` of a profile. The default is correct rounding."""

    fp32: Figures = Figures()
    fp16: Figures = Figures()
    rounding: Rounding = "nearest"
    exact_powers: bool = True

    def unit(self, fmt: Format, operation: Operation) -> Unit:
        """Return how an operation is done whose result has a format."""
        return _unit(self, fmt.name, operation)


@cache
def _unit(arithmetic: PlatformArithmetic, dtype: str, operation: Operation) -> Unit:
    figure = getattr(getattr(arithmetic, dtype), operation)
    return Unit(figure, arithmetic.rounding, arithmetic.exact_powers)


class Accept(msgspec.Struct, Document, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """What results are accepted: more than the page allows, or less than all that is legal.

    ``range``: whether any order may overflow in an intermediate, or the documented one only. ``nan``: whether results
    that have to be NaN may be anything. ``grade``: the least that each element must have. ``max_ulp``: by dtype, the
    largest error of an element that is measured as a distance; of what is legal only because the platform may flush
    subnormals, or because of ``range`` and ``nan``, none is.
    """

    range: Literal["documented", "any-order"] = "documented"
    nan: Literal["propagate", "unspecified"] = "propagate"
    grade: Literal["correctly-rounded", "faithful", "formula", "legal"] = "legal"
    max_ulp: dict[str, Limit] = {}

    def limit(self, dtype: str) -> float:
        """Return the largest error of a dtype; infinity where none is given."""
        return self.max_ulp.get(dtype, math.inf)

    def told(self) -> str:
        """Return what is accepted less than all that is legal, as profiles write it; the rest is in :class:`Terms`."""
        found = [f"grade = {self.grade}"] if self.grade != "legal" else []
        return ", ".join(found + [f"max-ulp.{dtype} = {limit:g}" for dtype, limit in sorted(self.max_ulp.items())])


class Terms(msgspec.Struct, frozen=True):
    """What results are held to, of a profile and of the command line.

    ``flush``: subnormal operands, intermediates and results may be replaced by zero. ``any_range``: an order may
    overflow in an intermediate where the page's does not. ``any_nan``: where NaN is to be propagated, any result does.
    """

    flush: bool = False
    arithmetic: PlatformArithmetic = PlatformArithmetic()
    any_range: bool = False
    any_nan: bool = False

    def told(self, usual: "Terms | None" = None) -> str:
        """Return what is not as in other terms (those of a platform that rounds correctly) as profiles write it."""
        usual = usual or Terms(self.flush)
        found = ["subnormals = flush"] if self.flush and not usual.flush else []
        mine, theirs = self.arithmetic, usual.arithmetic
        for dtype in ("fp32", "fp16"):
            for name in Figures.__struct_fields__:
                figure = getattr(getattr(mine, dtype), name)
                if figure != getattr(getattr(theirs, dtype), name):
                    found.append(f"{dtype}.{name} = {figure:g}")
        if mine.rounding != theirs.rounding:
            found.append(f"rounding = {mine.rounding}")
        if mine.exact_powers != theirs.exact_powers:
            found.append(f"exact-powers = {str(mine.exact_powers).lower()}")
        if self.any_range and not usual.any_range:
            found.append("range = any-order")
        if self.any_nan and not usual.any_nan:
            found.append("nan = unspecified")
        return ", ".join(found)

    @classmethod
    def of(cls, subnormals: str, arithmetic: PlatformArithmetic, accept: Accept) -> "Terms":
        """Return the terms that a platform's entries mean."""
        return cls(subnormals != "preserve", arithmetic, accept.range == "any-order", accept.nan == "unspecified")
