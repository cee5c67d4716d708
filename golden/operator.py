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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from golden.errors import unknown_name
from golden.formats import FORMATS, Array, Exact, Format
from golden.oracle import correctly_rounded
from golden.program import Program
from golden.rational import Rationals
from golden.rounding import Golden
from golden.scaled_product import ScaledProduct
from golden.working import WorkingPrecision

#: Output elements that are computed at a time.
_PART = 1 << 20
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


class Points(NamedTuple):
    """What programs compute some output elements from.

    ``at``: positions, among the elements that were asked for, of those that a program computes; the others are zero.
    ``values``: the program's variables there, one array of the entry point's dtype each.
    """

    at: Array
    values: tuple[Array, ...]


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

    @abstractmethod
    def shapes(self, scalars: Scalars) -> dict[str, tuple[int, ...]]:
        """Return the shape of every pointer parameter by name."""

    @abstractmethod
    def group(self, scalars: Scalars) -> str:
        """Return the row of the report a case belongs to, such as ``beta=0.5`` or ``reduction=mean``."""

    #: Names of the legal evaluation orders, the documented one first; scalars may leave fewer.
    orders: tuple[str, ...] = ("formula",)

    @abstractmethod
    def programs(self, scalars: Scalars) -> Mapping[str, Program]:
        """Return the legal evaluation orders by name, each as a program; the first is the documented one.

        A program computes one output element from the :meth:`variables`.
        """

    def variables(self, scalars: Scalars) -> tuple[str, ...]:
        """Return the names of what programs take: operands of the dtype, then scalars of it, unless overridden."""
        scalar = (s.name for s in self.scalars if s.kind == "real")
        return (*(p.name for p in self.inputs if p.element == "real"), *scalar)

    def points(self, scalars: Scalars, operands: Operands, index: Array) -> Points:
        """Return what the output elements ``index`` (flat indices) are computed from.

        Element by element, unless overridden: element i of the output from element i of every operand, or from its
        only one.
        """
        values = []
        for name in self.variables(scalars):
            if name in operands:
                given = operands[name]
                values.append(given[index] if given.size > 1 else np.broadcast_to(given[:1], index.shape))
            else:
                values.append(np.broadcast_to(np.float64(scalars[name]), index.shape))
        return Points(np.arange(len(index)), tuple(values))

    def correctly_rounded(self, fmt: Format, scalars: Scalars, values: Sequence[Array]) -> Golden:
        """Return what the documented order gives exactly, correctly rounded; ``values``: of its variables.

        Any program's, unless overridden by something faster (:mod:`golden.oracle`).
        """
        return correctly_rounded(fmt, self.documented(scalars), values)

    def scaled(self, scalars: Scalars) -> ScaledProduct | None:
        """Return how the exact value is a scaled product, if it is one."""
        return None

    def documented(self, scalars: Scalars) -> Program:
        """Return the order that the page documents."""
        return next(iter(self.programs(scalars).values()))

    def oracle(self, fmt: Format, scalars: Scalars, operands: Operands) -> Golden:
        """Return every output element correctly rounded, with its residual."""
        n = self.output_size(scalars)
        golden = Golden(np.zeros(n, fmt.dtype), np.zeros(n, np.float32))
        for first in range(0, n, _PART):
            points = self.points(scalars, operands, np.arange(first, min(first + _PART, n)))
            found = self.correctly_rounded(fmt, scalars, points.values)
            golden.value[first + points.at], golden.residual[first + points.at] = found
        return golden

    def evaluate(self, order: str, m: WorkingPrecision, fmt: Format, scalars: Scalars, operands: Operands) -> Array:
        """Return the output elements (flat, of ``fmt``) that an order gives in working precision.

        Where the scalars leave one order only, every name stands for it.
        """
        n = self.output_size(scalars)
        points = self.points(scalars, operands, np.arange(n))
        program = self.programs(scalars).get(order) or self.documented(scalars)
        output = np.zeros(n, fmt.dtype)
        with np.errstate(all="ignore"):
            output[points.at] = m.store(program(m, *(m.load(v.astype(fmt.dtype)) for v in points.values)), fmt)
        return output

    def exact(self, fmt: Format, scalars: Scalars, operands: Operands, index: int) -> Exact:
        """Return one output element as exact arithmetic: the documented order on rationals."""
        points = self.points(scalars, operands, np.array([index]))
        if not points.at.size:
            return 0.0
        values = (fmt.decode(int(fmt.bits(v.astype(fmt.dtype))[0])) for v in points.values)
        found: Exact = self.documented(scalars)(Rationals(), *values)
        return found

    def inputs_of(self, scalars: Scalars, operands: Operands, index: int) -> dict[str, int | float | str]:
        """Return the operand values that output element ``index`` depends on, by readable name."""
        points = self.points(scalars, operands, np.array([index]))
        return {name: v[0] for name, v in zip(self.variables(scalars), points.values, strict=True) if points.at.size}

    def element_inputs(self, fmt: Format, scalars: Scalars, operands: Operands) -> tuple[Array, Array]:
        """Return (index, inputs): the bits that the output elements ``index`` depend on, one row each.

        Elements with equal rows must have equal bits, wherever they are. ``inputs`` is unsigned, two-dimensional.
        """
        points = self.points(scalars, operands, np.arange(self.output_size(scalars)))
        return points.at, np.stack([fmt.bits(v.astype(fmt.dtype)) for v in points.values], axis=1)

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
