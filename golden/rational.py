"""Programs on exact values: rationals, with IEEE's rules for what a rational cannot say."""

from fractions import Fraction
from typing import Any

from golden import exact as ex
from golden.formats import Exact
from golden.program import Arithmetic


class Rationals(Arithmetic[Exact]):
    """Exact arithmetic on single values; see :mod:`golden.exact` for NaN, infinities and signed zeros."""

    def load(self, values: Any) -> Exact:
        """Take in an exact value, or a finite number."""
        if isinstance(values, Fraction):
            return values
        number = float(values)
        return Fraction(number) if number and not (ex.is_nan(number) or ex.is_infinite(number)) else number

    def add(self, a: Exact, b: Exact) -> Exact:
        """Return a + b."""
        return ex.subtract(a, ex.negate(b))

    def subtract(self, a: Exact, b: Exact) -> Exact:
        """Return a - b."""
        return ex.subtract(a, b)

    def multiply(self, a: Exact, b: Exact) -> Exact:
        """Return a * b."""
        return ex.multiply(a, b)

    def divide(self, a: Exact, b: Exact) -> Exact:
        """Return a / b."""
        return ex.divide(a, b)

    def reciprocal(self, a: Exact) -> Exact:
        """Return 1 / a."""
        return ex.divide(Fraction(1), a)

    def negate(self, a: Exact) -> Exact:
        """Return -a."""
        return ex.negate(a)

    def clamp(self, a: Exact, limit: Exact) -> Exact:
        """Return a between -limit and limit."""
        return ex.negate(limit) if ex.negate(limit) > a else limit if a > limit else a

    def select(self, a: Exact, b: Exact, then: Exact, otherwise: Exact) -> Exact:
        """Return ``then`` where a > b."""
        return then if a > b else otherwise
