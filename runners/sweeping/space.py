"""The spaces that a sweep covers: which points there are, in which order, and how a kernel is made to compute them.

A point is one set of operand values; its index says which. A space is cut into blocks of consecutive points, each of
which can be made from its number alone, anywhere. With two axes the index is outer * len(inner) + inner.

A call computes points as one of the operator's arrangements says (:class:`golden.layout.Arrangement`).
"""

import hashlib
import math
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import NamedTuple

import msgspec
import numpy as np

from golden.errors import UsageError, unknown_name
from golden.formats import FORMATS, Array, Format
from golden.layout import Arrangement, Domain
from golden.operator import STORAGES, EntryPoint, Operands, Operator, Storage, operator, operators
from golden.pointwise import Pointwise, dense
from runners.sweeping.samples import Exponents, sample
from runners.sweeping.tally import spread

#: Points a block, unless an axis is shorter; and points of a call that writes other elements, too: more would have the
#: kernel write more for each, fewer would leave it less to do than calling it takes.
BLOCK = 1 << 20
DIAGONAL = 32
#: Exponents of sampled fp32 operands stay within 2**±60, unless they are near a scalar: see Space.operands.
_LIMIT = 60


def spaces() -> dict[str, str]:
    """Return the names of all spaces, each with what it is for people."""
    named = {
        name: f"{op.name} fp16, {space.about}"
        for op in operators().values()
        for name, space in op.spaces(op.given(FORMATS[op.dtypes[0]], {})).items()
    }
    return {
        **named,
        "pair:NAME,NAME": "fp16: all pairs of two operands' bit patterns, the others fixed",
        "operand:NAME": "every bit pattern of one operand, the others fixed",
        "random": "a number of sampled points",
    }


class Axis(msgspec.Struct, frozen=True, array_like=True):
    """An operand that runs through the bit patterns start, start + step, ... below stop.

    ``without``: patterns that are left out: those of zeros that are outside the page's domain.
    """

    operand: str
    start: int
    stop: int
    step: int = 1
    without: tuple[int, ...] = ()

    def __len__(self) -> int:
        patterns = range(self.start, self.stop, self.step)
        return len(patterns) - sum(pattern in patterns for pattern in self.without)

    def bits(self, first: int, stop: int) -> Array:
        """Return the patterns number ``first`` to ``stop``, uint32[stop - first]."""
        if self.without:
            return _kept(self)[first:stop]
        patterns = np.arange(stop - first, dtype=np.uint32)
        patterns *= np.uint32(self.step)
        patterns += np.uint32(self.start + first * self.step)
        return patterns

    def covers(self, fmt: Format) -> bool:
        """Tell whether this is every pattern of a format that the operand may have."""
        return (self.start, self.stop, self.step) == (0, 1 << fmt.width, 1)


class CallPlan(NamedTuple):
    """How a block is computed: ``calls`` kernel calls with ``scalars``; operand NAME of call k begins at element
    k * ``steps[NAME]`` of ``arrays[NAME]``. The output of a call is ``width`` points: every ``gather``-th element
    of ``written`` ones."""

    calls: int
    scalars: dict[str, int | float | str]
    arrays: dict[str, Array]
    steps: dict[str, int]
    width: int
    gather: int
    written: int


class Space(msgspec.Struct, frozen=True, kw_only=True):
    """A space of points for one entry point; see :func:`make_space`. ``fixed``: bits of operands with one value."""

    name: str
    operator: str
    dtype: str
    storage: Storage
    scalars: dict[str, float | str]
    fixed: dict[str, int]
    axes: tuple[Axis, ...] = ()
    samples: int = 0
    seed: int = 0
    block: int = BLOCK

    @property
    def fmt(self) -> Format:
        """The floating-point format."""
        return FORMATS[self.dtype]

    @property
    def entry(self) -> EntryPoint:
        """The entry point that is swept."""
        return EntryPoint(operator(self.operator), self.fmt, self.storage)

    @property
    def view(self) -> Pointwise:
        """The element-by-element view of the operator."""
        return dense(self.operator)

    @property
    def points(self) -> int:
        """Number of points."""
        return math.prod(map(len, self.axes)) if self.axes else self.samples

    @property
    def exhaustive(self) -> bool:
        """Tell whether the axes hold every bit pattern."""
        return bool(self.axes) and all(a.covers(self.fmt) for a in self.axes)

    @property
    def share(self) -> float:
        """Share of all combinations of the varying operands' bit patterns; sampled points may repeat."""
        varying = len(self.axes) or len([p for p in self._names() if p not in self.fixed])
        return self.points / 2.0 ** (self.fmt.width * varying)

    @property
    def step(self) -> int:
        """Points of every block but the last."""
        if len(self.axes) < 2:
            return min(self.block, max(self.points, 1))
        outer, inner = map(len, self.axes)
        return min(outer, max(1, self.block // inner)) * inner

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.points // self.step)

    def digest(self) -> str:
        """Return a digest of everything that says which points there are, and of how they are cut."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()

    def operands(self, block: int, room: Operands | None = None) -> dict[str, Array]:
        """Return the operands of a block's points, as :func:`runners.sweeping.tally.spread` takes them.

        Operands that are in ``room``, where arrays have :attr:`step` entries, are made there if they vary from block to
        block.
        """
        first = block * self.step
        n = min(self.step, self.points - first)
        found = {name: self._numbers(np.array([bits])) for name, bits in self.fixed.items()}
        places = {name: array[:n] for name, array in (room or {}).items()}
        if not self.axes:
            return {**found, **self._sampled(block, n, places)}
        outer, inner = self.axes[0], self.axes[-1]
        if outer is inner:
            found[outer.operand] = self._placed(outer.operand, n, places)
            self.fmt.bits(found[outer.operand])[:] = outer.bits(first, first + n)
            return found
        rows = outer.bits(first // len(inner), (first + n) // len(inner))
        numbers = self._numbers(rows)
        if len(rows) > 1 and outer.operand not in self._arranged()[1]:  # its kernels take an entry a point
            found[outer.operand] = self._placed(outer.operand, n, places)
            found[outer.operand].reshape(len(rows), -1)[:] = numbers[:, None]
        else:
            found[outer.operand] = numbers
        found[inner.operand] = _tiled(inner, self.dtype, len(rows))
        return found

    def repeats(self, name: str) -> bool:
        """Tell whether an argument is the same for every full block."""
        varying = {a.operand for a in self.axes} or set(self._names()) - set(self.fixed)
        return name not in varying or (len(self.axes) == 2 and name == self.axes[1].operand)

    def call_scalars(self, n: int) -> dict[str, int | float | str]:
        """Return the scalars of the dense view for n points."""
        return self.view.call_scalars(self.scalars, n)

    def plan(self, operands: dict[str, Array], n: int) -> CallPlan:
        """Return how the kernel computes n points with these operands."""
        arrangement, single = self._arranged()
        page = operator(self.operator)
        # Points of a call: a row, where a call takes one number of what varies from row to row; else all.
        k = n // max([operands[name].size for name in single], default=1)
        if arrangement.stride(2) > 1:  # it writes elements that are no points, the more the longer it is
            k = math.gcd(k, DIAGONAL)
        arrays = {name: make(k) for name, make in arrangement.index.items()}
        steps = dict.fromkeys(arrays, 0)
        inner = self.axes[1] if len(self.axes) == 2 else None
        for name, values in operands.items():
            if name in single:
                arrays[name], steps[name] = (spread(values, n // k), 1) if values.size > 1 else (values, 0)
            elif inner and name == inner.operand and k == len(inner):  # the same in every call
                arrays[name], steps[name] = values[:k], 0
            else:
                arrays[name], steps[name] = spread(values, n), k
        scalars = {**page.sizes(arrangement, k), **self.scalars}
        return CallPlan(n // k, scalars, arrays, steps, k, arrangement.stride(k), page.output_size(scalars))

    def _arranged(self) -> tuple[Arrangement, frozenset[str]]:
        """Return the cheapest arrangement of calls for these points, and the operands that each call has one of."""
        inner = {self.axes[-1].operand} if self.axes else {n for n in self._names() if n not in self.fixed}
        return arranged(operator(self.operator), self.scalars, inner)

    def _names(self) -> list[str]:
        return [p.name for p in operator(self.operator).numbers]

    def _numbers(self, bits: Array) -> Array:
        return self.fmt.from_bits(bits.astype(self.fmt.bits_dtype))

    def _placed(self, name: str, n: int, places: Operands) -> Array:
        """Return where an operand is to be made."""
        return places[name] if name in places else np.empty(n, self.fmt.dtype)

    def _sampled(self, block: int, n: int, places: Operands) -> dict[str, Array]:
        """Sample what is not fixed.

        fp16: all bit patterns alike. fp32: exponents alike, within 2**±60; where the operand has a scalar that decides
        how large numbers matter, within 2**-12 .. 2**2 of that, or subnormal where it is near that. Where a call takes
        one number, one serves a block.
        """
        found, single = {}, self._arranged()[1]
        for number, p in enumerate(operator(self.operator).numbers):
            if p.name in self.fixed:
                continue
            values = np.empty(1, self.fmt.dtype) if p.name in single else self._placed(p.name, n, places)
            sample(values, self.seed, block, number, self._exponents(p.domain))
            if not p.domain.zero:
                values[values == 0] = 1
            found[p.name] = values
        return found

    def _exponents(self, domain: Domain) -> Exponents | None:
        """Return the exponents that sampled numbers have; None: any bits."""
        if self.dtype == "fp16":
            return None
        low, high = 127 - _LIMIT, 127 + _LIMIT
        if domain.near:
            middle = 127 + math.frexp(float(self.scalars[domain.near]))[1]
            low, high = max(middle - 13, 0), min(max(middle + 2, 1), 254)
        return Exponents(low, high - low)


def arranged(
    page: Operator, scalars: dict[str, float | str], varying: Collection[str]
) -> tuple[Arrangement, frozenset[str]]:
    """Return the cheapest arrangement that takes a number a point of what varies, and what a call has one number of.

    Where none does, the one that takes any points.
    """
    ways = [(a, page.single(a, scalars)) for a in page.arrangements(scalars)]
    return next((way for way in ways if way[1].isdisjoint(varying)), ways[-1])


@lru_cache(maxsize=4)
def _kept(axis: Axis) -> Array:
    """Return an axis' patterns without those that are left out."""
    patterns: Array = np.arange(axis.start, axis.stop, axis.step, dtype=np.uint32)
    patterns = patterns[~np.isin(patterns, axis.without)]
    patterns.flags.writeable = False
    return patterns


@lru_cache(maxsize=4)
def _tiled(axis: Axis, dtype: str, rows: int) -> Array:
    """Return an inner axis' numbers once a row; shared by all blocks, so read-only."""
    fmt = FORMATS[dtype]
    numbers = fmt.from_bits(axis.bits(0, len(axis)).astype(fmt.bits_dtype))
    tiled = np.broadcast_to(numbers, (rows, len(numbers))).reshape(-1)
    tiled.flags.writeable = False
    return tiled


def make_space(
    name: str,
    operator_name: str,
    dtype: str,
    *,
    storage: Storage = "private",
    fixed: Mapping[str, float] | None = None,
    samples: int = 1 << 30,
    seed: int = 0,
    axes: tuple[Axis, ...] | None = None,
    block: int = BLOCK,
    **options: float | str,
) -> Space:
    """Build a space by name (see :func:`spaces`); an empty name is the operator's first.

    ``fixed`` gives operands that do not vary their value, instead of their usual one. ``axes`` restricts the bit
    patterns. ``options``: scalars by the words of the command line. Raises :class:`UsageError` for names and
    combinations that do not exist.
    """
    if dtype not in FORMATS:
        raise unknown_name("dtype", dtype, FORMATS)
    if storage not in STORAGES:
        raise unknown_name("storage", storage, STORAGES)
    fmt, page, fixed = FORMATS[dtype], operator(operator_name), fixed or {}
    if dtype not in page.dtypes:
        raise unknown_name(f"dtype of {page.name}", dtype, page.dtypes)
    scalars, names = page.given(fmt, options), [p.name for p in page.numbers]
    known = page.spaces(scalars)
    name = name or (next(iter(known), "random") if fmt.width == 16 else "random")
    unused = page.untouched(scalars)
    varying = (
        [n for n in names if n not in fixed and n not in unused]
        if name == "random"
        else _varying(name, page, fmt, scalars)
    )
    usual = {p.name: p.domain.usual for p in page.numbers}
    values = {**usual, **(known[name].fixed if name in known else {}), **fixed}
    unknown = [n for n in values if n not in names]
    if unknown:
        raise unknown_name("operand", unknown[0], names)
    held = {n: int(fmt.bits(fmt.cast(np.array([v])))[0]) for n, v in values.items() if n not in varying}
    for p in page.numbers:
        if p.name in held and p.name not in unused and not p.domain.zero and fmt.typed(values[p.name]) == 0:
            raise UsageError(f"{p.name} 0 is outside the documented domain.")
    if name == "random" and samples < 1:
        raise UsageError("A sample needs at least one point.")
    made = Space(name=name, operator=page.name, dtype=dtype, storage=storage, scalars=scalars, fixed=held,
                 seed=seed, block=block)  # fmt: skip
    if name == "random":
        return msgspec.structs.replace(made, samples=samples)
    if axes is None:
        axes = tuple(Axis(n, 0, 1 << fmt.width) for n in varying)
    if [a.operand for a in axes] != varying:
        raise UsageError(f"The axes of {name} are {', '.join(varying)}.")
    zeros = {p.name: () if p.domain.zero else (0, fmt.sign_mask) for p in page.numbers}
    return msgspec.structs.replace(made, axes=tuple(msgspec.structs.replace(a, without=zeros[a.operand]) for a in axes))


def _varying(name: str, page: Operator, fmt: Format, scalars: dict[str, float | str]) -> list[str]:
    """Return the operands that vary in a space, outer one first."""
    known, names = page.spaces(scalars), [p.name for p in page.numbers]
    kind, separator, listed = name.partition(":")
    chosen = listed.split(",") if separator else []
    if name in known:
        chosen = list(known[name].varying)
        if known[name].refused:
            raise UsageError(known[name].refused)
    elif (kind, len(chosen)) not in (("operand", 1), ("pair", 2)) or len(set(chosen)) < len(chosen):
        raise unknown_name("space", name, [*known, *(f"operand:{n}" for n in names), "pair:NAME,NAME", "random"])
    for operand in chosen:
        if operand not in names:
            raise unknown_name("operand", operand, names)
    if len(chosen) == 2 and fmt.width != 16:
        raise UsageError(f"{name} has 2**64 points in {fmt.name}: sweep one operand, or sample at random.")
    if chosen[-1] in arranged(page, scalars, chosen[-1:])[1]:
        pairs = " or ".join([*known, f"pair:{chosen[-1]},NAME"])
        raise UsageError(f"A call takes one {chosen[-1]} with these scalars: sweep {pairs} in fp16 instead.")
    return chosen
