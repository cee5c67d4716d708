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
import math
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property
from itertools import product
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from golden.errors import UsageError, unknown_name
from golden.flags import FLAGS
from golden.formats import FORMATS, Array, Exact, Format
from golden.layout import Arrangement, Domain, NamedSpace
from golden.oracle import correctly_rounded
from golden.program import Program
from golden.rational import Rationals
from golden.rounding import Golden
from golden.scaled_product import ScaledProduct
from golden.working import WorkingPrecision

#: Output elements that are computed at a time.
_PART = 1 << 20
#: Values of a case's scalars by name: an int, a float that is exactly the typed number, or a choice's name.
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
    domain: Domain = Domain()  # noqa: RUF009 - frozen

    def dtype(self, fmt: Format) -> np.dtype[Any]:
        """Return the NumPy dtype of the elements."""
        return fmt.dtype if self.element == "real" else np.dtype("<i4")


@dataclass(frozen=True)
class Scalar:
    """A scalar parameter: a C ``int``, a number of the entry point's dtype, or a choice: an ``int`` for a name.

    ``option``: what the command line calls it, if not by its name. ``default``: what it is in sweeps unless given, and
    ``hunted`` in hunts. ``numberings``: of a choice, the names that the numbers 0, 1, ... may stand for in a build; the
    page's come first. A numbering's own name is its names with dashes between.
    """

    name: str
    kind: Literal["int", "real", "choice"]
    option: str = ""
    default: float | str = 1.0
    hunted: float | str | None = None
    numberings: tuple[tuple[str, ...], ...] = ()

    @property
    def word(self) -> str:
        """What users call it."""
        return self.option or self.name

    def names(self, numbering: str = "") -> tuple[str, ...]:
        """Return a choice's names by their numbers: of a numbering, or the page's if it has none so named."""
        return next((names for names in self.numberings if "-".join(names) == numbering), self.numberings[0])


Parameter = Pointer | Scalar


@dataclass(frozen=True)
class EntryPoint:
    """One exported C function: an operator in one dtype for one kind of memory."""

    operator: "Operator"
    fmt: Format
    storage: Storage

    @property
    def symbol(self) -> str:
        """Return the C name, such as ``hp_subext_s``."""
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
    #: Flags of cases that only this operator has, explained.
    flags: ClassVar[Mapping[str, str]] = {}
    #: What :meth:`coordinate` returns, as text for people; empty where the operator has none.
    coordinate_name: str = ""

    def shapes(self, scalars: Scalars) -> dict[str, tuple[int, ...]]:
        """Return the shape of every pointer parameter by name: all have as many elements, unless overridden."""
        return {p.name: (int(scalars[self.size_name]),) for p in self.pointers}

    def group(self, scalars: Scalars) -> str:
        """Return the row of the report a case belongs to, such as ``beta=0.5``: by the scalars that are no sizes."""
        values = ((s.word, scalars[s.name]) for s in self.scalars if s.kind != "int")
        return ", ".join(f"{word}={v if isinstance(v, str) else f'{float(v):.4g}'}" for word, v in values) or "all"

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

    def __reduce__(self) -> Any:
        """Have its copies in other processes be their own operator of that name: operators are told by identity."""
        return (operator, (self.name,)) if operators().get(self.name) is self else object.__reduce_ex__(self, 2)

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

    def arrangements(self, scalars: Scalars) -> tuple[Arrangement, ...]:
        """Return how calls can compute points: the cheapest way first; the last one takes any points.

        Element by element, unless overridden.
        """
        return (Arrangement((self.size_name,)),)

    def spaces(self, scalars: Scalars) -> Mapping[str, NamedSpace]:
        """Return the spaces that a sweep knows by a name of the page's own."""
        return {}

    def single(self, arrangement: Arrangement, scalars: Scalars) -> frozenset[str]:
        """Return the operands that a call arranged so has one number of, however many points it computes."""
        shapes = self.shapes({**scalars, **self.sizes(arrangement, 2)})
        return frozenset(p.name for p in self.numbers if math.prod(shapes[p.name]) == 1)

    def sizes(self, arrangement: Arrangement, n: int) -> dict[str, int]:
        """Return the int scalars of a call that computes n points."""
        return {s.name: n if s.name in arrangement.sizes else 1 for s in self.scalars if s.kind == "int"}

    def given(self, fmt: Format, options: Mapping[str, float | str], *, hunt: bool = False) -> dict[str, float | str]:
        """Return the scalars that are no sizes, from values by the words of the command line; defaults for the rest.

        Raises :class:`UsageError` for a name or value that does not exist, or one outside the page's domain.
        """
        mine = {s.word: s for s in self.scalars if s.kind != "int"}
        if unknown := [word for word in options if word not in mine]:
            raise unknown_name(f"scalar of {self.name}", unknown[0], mine)
        found: dict[str, float | str] = {}
        for word, s in mine.items():
            default = s.default if s.hunted is None or not hunt else s.hunted
            value = options.get(word, default)
            if s.kind == "real":
                found[s.name] = fmt.typed(float(value))
            else:
                if value not in (known := s.names()):
                    raise unknown_name(word, str(value), known)
                found[s.name] = value
        sizes = {s.name: 1 for s in self.scalars if s.kind == "int"}
        if wrong := self.outside({**sizes, **found}, {}):
            raise UsageError(f"{wrong}, outside the documented domain.")
        return found

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
    def numbers(self) -> tuple[Pointer, ...]:
        """Input operands of the entry point's dtype, in C order: what makes a point."""
        return tuple(p for p in self.inputs if p.element == "real")

    @cached_property
    def size_name(self) -> str:
        """The first int scalar: what grows with the number of elements."""
        return next(s.name for s in self.scalars if s.kind == "int")

    @property
    def length_name(self) -> str:
        """The int scalar that a platform's ``lengths`` are about: the first, unless overridden."""
        return self.size_name

    def alike(self, name: str) -> bool:
        """Tell whether an operand is as long as the output whatever the sizes are, so that they may share memory."""
        ints = [s.name for s in self.scalars if s.kind == "int"]
        names = [dict(zip((s.name for s in self.choices), words, strict=True)) for words in self._choices()]
        given = ({n: 2 + 3 * i for i, n in enumerate(ints)} | chosen for chosen in names)
        return all(math.prod((found := self.shapes(g))[name]) == math.prod(found[self.output.name]) for g in given)

    def _choices(self) -> Iterator[tuple[str, ...]]:
        """Return every combination of names of the choices."""
        return product(*(s.names() for s in self.choices))

    @cached_property
    def scalars(self) -> tuple[Scalar, ...]:
        """Scalar parameters in C order, ``core_mask`` not included."""
        return tuple(p for p in self.parameters if isinstance(p, Scalar))

    @cached_property
    def choices(self) -> tuple[Scalar, ...]:
        """Scalar parameters that name something by a number."""
        return tuple(s for s in self.scalars if s.kind == "choice")

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


def numberings() -> list[str]:
    """Return the names of the numberings that choices of any operator may have; the pages' first."""
    choices = [s for op in operators().values() for s in op.choices]
    known = sorted(((at, "-".join(names)) for s in choices for at, names in enumerate(s.numberings)))
    return list(dict.fromkeys(name for _, name in known))


def known_flags() -> dict[str, str]:
    """Return the flags that cases may have, explained; see :mod:`golden.flags`."""
    return {**FLAGS, **{flag: text for op in operators().values() for flag, text in op.flags.items()}}


def choice_words() -> str:
    """Return what users call the choices of operators, in the plural."""
    return ", ".join(dict.fromkeys(f"{s.word}s" for op in operators().values() for s in op.choices)) or "choices"


def page_numbering() -> str:
    """Return the numbering of choices that the pages state; "" where no operator has a choice."""
    return next(iter(numberings()), "")


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
