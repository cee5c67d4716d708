"""What an operator computes for one element: a small program, evaluated in several arithmetics.

An operator describes each of its legal evaluation orders as a program over a handful of operations. The program is
written once; what it means depends on the arithmetic that it is given:

========================================================  =====================================================
:class:`golden.working.WorkingPrecision`                  what a kernel computes that rounds every operation
:class:`golden.rational.Rationals`                        the exact value: the readable specification
:class:`golden.double_double.DoubleDouble`                the exact value, as near as two float64 come
:class:`golden.running_error.RunningError`                which results an evaluation may have at most
:class:`golden.program.Words`                             the formula, for people
========================================================  =====================================================

Each of them handles whole arrays of elements at once, or one. A sum over elements would be one more operation, with
the number of terms and the order of adding as its parameters; no operator here has one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

V = TypeVar("V")


class Arithmetic(ABC, Generic[V]):
    """The operations that programs are made of. All operands are values of the same arithmetic."""

    @abstractmethod
    def load(self, values: Any) -> V:
        """Take in numbers: a variable of the program, or a constant that every format holds exactly."""

    @abstractmethod
    def add(self, a: V, b: V) -> V:
        """Return a + b."""

    @abstractmethod
    def subtract(self, a: V, b: V) -> V:
        """Return a - b."""

    @abstractmethod
    def multiply(self, a: V, b: V) -> V:
        """Return a * b."""

    @abstractmethod
    def divide(self, a: V, b: V) -> V:
        """Return a / b."""

    @abstractmethod
    def reciprocal(self, a: V) -> V:
        """Return 1 / a: a division that platforms may do more coarsely, or more exactly, than others."""

    @abstractmethod
    def negate(self, a: V) -> V:
        """Return -a, which is exact in every format."""

    @abstractmethod
    def clamp(self, a: V, limit: V) -> V:
        """Return a held between -limit and limit, which is positive; NaN stays NaN."""

    @abstractmethod
    def select(self, a: V, b: V, then: V, otherwise: V) -> V:
        """Return ``then`` where a > b, ``otherwise`` elsewhere, also where a or b is NaN."""


#: Computes one element from its variables, in any arithmetic.
Program = Callable[..., Any]


class Words(Arithmetic[str]):
    """Programs as text: every value is the expression that makes it.

    ``steps`` holds the arithmetic operations so far, in order, each with its text.
    """

    def __init__(self) -> None:
        self.steps: list[str] = []

    def load(self, values: Any) -> str:
        """Return a variable's name, or a constant's number."""
        return values if isinstance(values, str) else f"{float(values):g}"

    def add(self, a: str, b: str) -> str:
        """Return a + b."""
        return self._step(f"{a} + {b}")

    def subtract(self, a: str, b: str) -> str:
        """Return a - b."""
        return self._step(f"{a} - {_factor(b)}")

    def multiply(self, a: str, b: str) -> str:
        """Return a * b."""
        return self._step(f"{_factor(a)} * {_factor(b)}")

    def divide(self, a: str, b: str) -> str:
        """Return a / b."""
        return self._step(f"{_factor(a)} / {_factor(b)}")

    def reciprocal(self, a: str) -> str:
        """Return 1 / a."""
        return self._step(f"1 / {_factor(a)}")

    def negate(self, a: str) -> str:
        """Return -a."""
        return f"-{_factor(a)}"

    def clamp(self, a: str, limit: str) -> str:
        """Return the clamp as a function."""
        return f"clamp({a}, {limit})"

    def select(self, a: str, b: str, then: str, otherwise: str) -> str:
        """Return the choice as C writes it."""
        return f"{a} > {b} ? {then} : {otherwise}"

    def _step(self, text: str) -> str:
        self.steps.append(text)
        return text


def _factor(text: str) -> str:
    """Put an operand in parentheses unless it is a name, a number or a function."""
    depth = 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == " " and depth == 0:
            return f"({text})"
    return f"({text})" if text.startswith("-") else text
