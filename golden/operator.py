"""What an operator is: entry points, operand roles, shapes, exact formula, oracle, legal orders.

One instance of :class:`Operator` describes one page of the vendor's documentation. Everything else in the
project (generators, runners, judge, reports) works from this description alone, so an operator is added by
adding one file to ``golden/operators/``, or in another package through the entry-point group
``golden.operators``.
"""

import hashlib
import importlib
import importlib.metadata
import json
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from golden.arithmetic import Arithmetic
from golden.errors import unknown_name
from golden.formats import FORMATS, Array, Exact, Format

#: Values of a case's scalars by name: an int, a float that is exactly the typed number, or a reduction's name.
Scalars = Mapping[str, int | float | str]
#: Operand arrays by parameter name, each of the shape that the operator states.
Operands = Mapping[str, Array]
Storage = Literal["shared", "private"]
STORAGES: tuple[Storage, ...] = ("shared", "private")


class Role(StrEnum):
    """What a kernel may do with the memory behind a pointer."""

    INPUT = "input"
    OUTPUT = "output"
    #: Passed for its size only; its content must not influence anything. Vectors do not store it.
    UNREAD = "unread"


@dataclass(frozen=True)
class Pointer:
    """A pointer parameter. ``element`` is ``real`` (the entry point's dtype) or ``int32``."""

    name: str
    role: Role
    element: Literal["real", "int32"] = "real"

    def dtype(self, fmt: Format) -> np.dtype[Any]:
        """Return the NumPy dtype of the elements."""
        return fmt.dtype if self.element == "real" else np.dtype("<i4")


@dataclass(frozen=True)
class Scalar:
    """A scalar parameter: a C ``int``, a number of the entry point's dtype, or a reduction's number."""

    name: str
    kind: Literal["int", "real", "reduction"]


Parameter = Pointer | Scalar

#: The two readings of the reduction numbers; the first is the one the gradient's page states.
REDUCTION_ENUMS: dict[str, dict[str, int]] = {
    "sum-mean-none": {"sum": 0, "mean": 1, "none": 2},
    "none-sum-mean": {"none": 0, "sum": 1, "mean": 2},
}


@dataclass(frozen=True)
class EntryPoint:
    """One exported C function: an operator in one dtype for one kind of memory."""

    operator: "Operator"
    fmt: Format
    storage: Storage

    @property
    def symbol(self) -> str:
        """Return the C name, such as ``hp_smoothl1lossgrad_s``."""
        return f"{self.fmt.prefix}_{self.operator.name}_{self.storage[0]}"

    @property
    def has_core_mask(self) -> bool:
        """Tell whether the last parameter is ``int core_mask``."""
        return self.storage == "shared"

    @property
    def prototype(self) -> str:
        """Return the C prototype as the page writes it."""
        real = "half" if self.fmt.name == "fp16" else "float"
        words = []
        for p in self.operator.parameters:
            if isinstance(p, Pointer):
                words.append(f"{real if p.element == 'real' else 'int'} *{p.name}")
            else:
                words.append(f"{real if p.kind == 'real' else 'int'} {p.name}")
        return f"void {self.symbol}({', '.join(words + ['int core_mask'] * self.has_core_mask)})"


class Golden(NamedTuple):
    """Correctly rounded outputs with what rounding removed.

    ``value`` has the entry point's dtype; ``residual`` is ``(exact - value) / ulp(exact)`` as float32, wrong by
    at most 2**-25 in itself, and NaN where the exact value is NaN or infinite. An infinity that is a rounded
    finite value counts as 2**(emax + 1). Both are flat, in C order.
    """

    value: Array
    residual: Array


class Slack(NamedTuple):
    """How far an evaluation may be from the exact value before its last rounding, in absolute units.

    Float64 arrays, one entry an output element: ``formula`` for the documented order, ``legal`` for the widest
    legal order. The result may be any number between the roundings of ``y - slack`` and ``y + slack``
    (rounding is monotonic); zero slack means that only the correctly rounded value will do. Where y is infinite, a
    slack of infinity lets the result be NaN too: an infinite factor may meet one that has underflowed to zero.
    ``flush`` marks elements whose result may be replaced by zero because it is (or may come out) subnormal.
    ``overflow`` marks elements of which the documented order itself makes infinity times a number: if y is not zero,
    infinity with its sign will do; ``undefined`` those of them whose number is zero or may be flushed: NaN will do.
    """

    formula: Array
    legal: Array
    flush: Array
    overflow: Array = np.zeros((), bool)
    undefined: Array = np.zeros((), bool)


#: Evaluates the operator in working precision in one order: (arithmetic, scalars, operands) -> output values.
Evaluate = Callable[[Arithmetic, Scalars, Operands], Array]


class Operator(ABC):
    """Declarative description of one operator; see ``golden/operators/`` for the two that ship."""

    #: C name without prefix and suffix.
    name: str
    title: str
    summary: str
    #: The formula as text, for people.
    formula: str
    parameters: tuple[Parameter, ...]
    dtypes: tuple[str, ...] = ("fp16", "fp32")
    #: What :meth:`coordinate` returns, as text for people; empty where the operator has none.
    coordinate_name: str = ""
    #: Legal evaluation orders by name; the first is the documented one.
    orders: Mapping[str, Evaluate]

    @abstractmethod
    def shapes(self, scalars: Scalars) -> dict[str, tuple[int, ...]]:
        """Return the shape of every pointer parameter by name."""

    @abstractmethod
    def group(self, scalars: Scalars) -> str:
        """Return the row of the report a case belongs to, such as ``beta=0.5`` or ``reduction=mean``."""

    @abstractmethod
    def exact(self, fmt: Format, scalars: Scalars, operands: Operands, index: int) -> Exact:
        """Return one output element as exact arithmetic: the readable specification, and slow."""

    @abstractmethod
    def oracle(self, fmt: Format, scalars: Scalars, operands: Operands) -> Golden:
        """Return every output element correctly rounded, with its residual."""

    @abstractmethod
    def slack(self, fmt: Format, scalars: Scalars, operands: Operands, index: Array, flush: bool) -> Slack:
        """Return the derived slack of the output elements ``index`` (flat indices).

        ``flush``: subnormal operands, intermediates and results may be replaced by zero.
        """

    @abstractmethod
    def inputs_of(self, scalars: Scalars, operands: Operands, index: int) -> dict[str, int | float | str]:
        """Return the operand values that output element ``index`` depends on, by readable name."""

    @abstractmethod
    def element_inputs(self, fmt: Format, scalars: Scalars, operands: Operands) -> tuple[Array, Array]:
        """Return (index, inputs): the bits that the output elements ``index`` depend on, one row each.

        Elements with equal rows must have equal bits, wherever they are. ``inputs`` is unsigned, two-dimensional.
        """

    def coordinate(self, scalars: Scalars, operands: Operands, index: Array) -> Array:
        """Return where in the input space the output elements ``index`` lie: one float64 each.

        Reports show the error against it, so it should be what decides how the operator computes.
        """
        raise NotImplementedError(f"{self.name} names no coordinate")

    def outside(self, scalars: Scalars, operands: Operands) -> str:
        """Return what lies outside the page's domain, such as "beta is -1.0", so that no call can be made of it; or "".

        ``operands`` may be missing: then the scalars alone are asked for. Numbers of any value are inside.
        """
        return ""

    def untouched(self, scalars: Scalars) -> tuple[str, ...]:
        """Return the input operands that these scalars give no reason to touch."""
        return ()

    @property
    def output(self) -> Pointer:
        """The one output operand."""
        return next(p for p in self.pointers if p.role is Role.OUTPUT)

    @cached_property
    def pointers(self) -> tuple[Pointer, ...]:
        """Pointer parameters in C order."""
        return tuple(p for p in self.parameters if isinstance(p, Pointer))

    @cached_property
    def inputs(self) -> tuple[Pointer, ...]:
        """Input operands in C order: what a vector file stores."""
        return tuple(p for p in self.pointers if p.role is Role.INPUT)

    @cached_property
    def scalars(self) -> tuple[Scalar, ...]:
        """Scalar parameters in C order, ``core_mask`` not included."""
        return tuple(p for p in self.parameters if isinstance(p, Scalar))

    def entry_points(self) -> list[EntryPoint]:
        """Return all entry points of the page."""
        return [EntryPoint(self, FORMATS[d], s) for d in self.dtypes for s in STORAGES]

    def output_size(self, scalars: Scalars) -> int:
        """Return the number of output elements."""
        size = 1
        for extent in self.shapes(scalars)[self.output.name]:
            size *= extent
        return size

    def spec_digest(self) -> str:
        """Return a digest of the description: golden data made for another description is stale."""
        content = {
            "name": self.name,
            "formula": self.formula,
            "prototypes": [e.prototype for e in self.entry_points()],
            "roles": {p.name: p.role.value for p in self.pointers},
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@cache
def operators() -> dict[str, Operator]:
    """Return every known operator by name: those shipped, then those of the entry-point group."""
    package = importlib.import_module("golden.operators")
    found = [
        importlib.import_module(f"{package.__name__}.{m.name}").OPERATOR for m in pkgutil.iter_modules(package.__path__)
    ]
    found += [point.load() for point in importlib.metadata.entry_points(group="golden.operators")]
    return {op.name: op for op in sorted(found, key=lambda op: op.name)}


def operator(name: str) -> Operator:
    """Return one operator by name; raises :class:`UsageError` for a name that does not exist."""
    known = operators()
    if name not in known:
        raise unknown_name("operator", name, known)
    return known[name]


def entry_points() -> dict[str, EntryPoint]:
    """Return every entry point of every operator by C symbol."""
    return {e.symbol: e for op in operators().values() for e in op.entry_points()}
