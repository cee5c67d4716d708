"""Reference models: legal evaluations of the operators simulated in NumPy, as if they were a library."""

from dataclasses import dataclass

import numpy as np

from golden.errors import UsageError, nearest
from golden.formats import FP32, Array, Format
from golden.operator import Operands, Operator, Pointer, Scalars, entry_points, operators
from golden.results import CONTRACTS
from golden.terms import Flush
from golden.working import WorkingPrecision
from runners.calling.call import Call, Outcome, PointerArgument
from runners.calling.session import AnsweringSession


@dataclass(frozen=True)
class Model:
    """How a model computes: an evaluation order (none: the oracle), in which arithmetic."""

    summary: str
    order: str | None
    wide: bool = False
    flush: bool = False

    def evaluate(self, operator: Operator, fmt: Format, scalars: Scalars, operands: Operands) -> Array:
        """Return the output elements (flat, of the storage format)."""
        if self.order is None:
            return operator.oracle(fmt, scalars, operands).value
        inner = WorkingPrecision(FP32 if self.wide else fmt, Flush.BOTH if self.flush else Flush.NONE)
        return operator.evaluate(self.order, inner, fmt, scalars, operands)


MODELS: dict[str, Model] = {
    "exact": Model("the correctly rounded result", None),
    "formula": Model("the page's order, every operation rounded", "formula"),
    "product-first": Model("multiply before dividing", "product-first"),
    "gradient-first": Model("divide the upstream gradient first", "gradient-first"),
    "reciprocal": Model("multiply by a rounded reciprocal", "reciprocal"),
    "fp32-inside": Model("the page's order in fp32, rounded once to the stored format", "formula", wide=True),
    "flush": Model("the page's order, subnormals replaced by zero", "formula", flush=True),
}


def models(operator: Operator) -> dict[str, Model]:
    """Return the models that an operator has orders for, and one for each order that no model has the name of."""
    orders = operator.orders
    shared = {name: model for name, model in MODELS.items() if model.order is None or model.order in orders}
    own = {name: Model("an order of its own", name) for name in orders if name not in MODELS}
    return {**shared, **own}


class ReferenceSession(AnsweringSession):
    """A model behind the session interface (:class:`runners.calling.session.Session`); nothing can go wrong in it.

    It is evaluated once a case, without memory of its own: nothing but its numbers, and how they depend on
    position and length, is there to be seen.
    """

    unobservable = frozenset(CONTRACTS) - {"position", "small-sizes"}

    stated_half_abi = "float16"
    name = "the model"
    again_possible = True

    def __init__(self, name: str) -> None:
        super().__init__()
        known = {own: model for operator in operators().values() for own, model in models(operator).items()}
        if name not in known:
            near = f" (did you mean {found!r}?)" if (found := nearest(name, known)) else ""
            raise UsageError(f"There is no reference model named {name!r}{near}; there are {', '.join(sorted(known))}.")
        self.model = known[name]
        self.symbols = frozenset(s for s, entry in entry_points().items() if name in models(entry.operator))

    def again(self) -> "ReferenceSession":
        """Return this one: it holds nothing but numbers."""
        return self

    def answer(self, call: Call) -> list[Outcome]:
        """Evaluate a call; every invocation has the same result."""
        entry = entry_points()[call.symbol]
        operator, fmt = entry.operator, entry.fmt
        scalars: dict[str, int | float | str] = {}
        operands: dict[str, Array] = {}
        for parameter, argument in zip(operator.parameters, call.arguments, strict=True):
            if isinstance(argument, PointerArgument):
                if isinstance(parameter, Pointer) and argument.role == "input":
                    operands[argument.name] = np.frombuffer(argument.data, parameter.dtype(fmt))
            elif not isinstance(parameter, Pointer):
                if parameter.kind == "real":
                    bits = np.array([argument.bits], fmt.bits_dtype)
                    scalars[parameter.name] = float(fmt.from_bits(bits)[0])
                else:
                    number = argument.bits
                    scalars[parameter.name] = parameter.names()[number] if parameter.kind == "choice" else number
        output = self.model.evaluate(operator, fmt, scalars, operands).tobytes()
        return [Outcome("ok", output) for _ in call.invocations]
