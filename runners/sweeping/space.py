"""The spaces that a sweep covers: which points there are, in which order, and how a kernel is made to compute them.

A point is one set of operand values; its index says which. A space is cut into blocks of consecutive points, each of
which can be made from its number alone, anywhere. With two axes the index is outer * len(inner) + inner.

SmoothL1LossGrad takes a block in one call. NLLLossGrad writes batch * class_num elements a call, of which a point is
one: with class_num = 1 every sample is a point and the weight is the same for all ("rows"); with as many classes as
samples and labels 0, 1, 2, ... the diagonal of the output is points with a weight each ("diagonal").
"""

import hashlib
import math
from functools import lru_cache
from typing import NamedTuple

import msgspec
import numpy as np

from golden.errors import UsageError, unknown_name
from golden.formats import FORMATS, Array, Format
from golden.operator import STORAGES, EntryPoint, Operands, Operator, Storage, operator
from golden.pointwise import dense
from runners.sweeping.samples import Exponents, sample
from runners.sweeping.tally import spread

#: Points a block, unless an axis is shorter; and samples a call on a diagonal: more would have the kernel write more
#: for each, fewer would leave it less to do than calling it takes.
BLOCK = 1 << 20
DIAGONAL = 32
#: Bit patterns of ±0 in fp16, the one format in which totals vary.
_ZEROS = (0, 0x8000)
#: Exponents of sampled fp32 operands stay within 2**±60, and differences near beta: see Space.operands.
_LIMIT = 60

SPACES: dict[str, str] = {
    "pairs": "smoothl1lossgrad fp16: all 2**32 (x1, x2), for one beta and dy",
    "diff-dy": "smoothl1lossgrad fp16: all 2**32 (x1 - x2, dy), x2 = 0, for one beta",
    "g-w": "nlllossgrad fp16: all 2**32 (gradient, weight); mean with one total_weight",
    "w-total": "nlllossgrad fp16, mean: all 2**32 (weight, total_weight), for one gradient",
    "operand:NAME": "every bit pattern of one operand, the others fixed",
    "random": "a number of sampled points",
}


class Axis(msgspec.Struct, frozen=True, array_like=True):
    """An operand that runs through the bit patterns start, start + step, ... below stop.

    ``total_weight`` leaves out ±0, which is outside the documented domain and never fed to a kernel.
    """

    operand: str
    start: int
    stop: int
    step: int = 1

    def __len__(self) -> int:
        patterns = range(self.start, self.stop, self.step)
        return len(patterns) - (sum(zero in patterns for zero in _ZEROS) if self.operand == "total_weight" else 0)

    def bits(self, first: int, stop: int) -> Array:
        """Return the patterns number ``first`` to ``stop``, uint32[stop - first]."""
        if self.operand == "total_weight":
            return _totals(self)[first:stop]
        patterns = np.arange(stop - first, dtype=np.uint32)
        patterns *= np.uint32(self.step)
        patterns += np.uint32(self.start + first * self.step)
        return patterns

    def covers(self, fmt: Format) -> bool:
        """Tell whether this is every pattern of a format."""
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
    def view(self) -> Operator:
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
        if len(rows) > 1 and "beta" in self.scalars:  # its kernels take an entry a point
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
        size = {"length": n} if "beta" in self.scalars else {"batch": n, "class_num": 1}
        return {**size, **self.scalars}

    def plan(self, operands: dict[str, Array], n: int) -> CallPlan:
        """Return how the kernel computes n points with these operands."""
        if "beta" in self.scalars:
            arrays = {name: spread(values, n) for name, values in operands.items()}
            return CallPlan(1, self.call_scalars(n), arrays, dict.fromkeys(arrays, 0), n, 1, n)
        reduction = str(self.scalars["reduction_type"])
        g, w, total = operands["loss_grad"], operands["weight"], operands["total_weight"]
        inner = len(self.axes[-1]) if self.axes else n
        scalars: dict[str, int | float | str]
        if reduction == "none" and self._dense():
            labels = np.zeros(inner, np.int32)
            arrays = {"loss_grad": g[:inner], "labels": labels, "weight": w}
            scalars = {"batch": inner, "class_num": 1, "reduction_type": reduction}
            steps = {"loss_grad": 0, "labels": 0, "weight": 1, "total_weight": 0}
            return CallPlan(n // inner, scalars, {**arrays, "total_weight": total}, steps, inner, 1, inner)
        k = math.gcd(n, inner, DIAGONAL)  # a row is a whole number of calls
        arrays = {"labels": np.arange(k, dtype=np.int32), "weight": spread(w, n)}
        steps = {"labels": 0, "weight": k}
        for name, values in (("loss_grad", g), ("total_weight", total)):
            if name == "loss_grad" and reduction == "none":
                arrays[name], steps[name] = spread(values, n), k
            else:  # each call takes one
                arrays[name], steps[name] = (spread(values, n // k), 1) if values.size > 1 else (values, 0)
        scalars = {"batch": k, "class_num": k, "reduction_type": reduction}
        return CallPlan(n // k, scalars, arrays, steps, k, k + 1, k * k)

    def _dense(self) -> bool:
        """Tell whether all points of a call have one weight."""
        return bool(self.axes) and self.axes[-1].operand == "loss_grad"

    def _names(self) -> tuple[str, ...]:
        return ("dy", "x1", "x2") if "beta" in self.scalars else ("loss_grad", "weight", "total_weight")

    def _numbers(self, bits: Array) -> Array:
        return self.fmt.from_bits(bits.astype(self.fmt.bits_dtype))

    def _placed(self, name: str, n: int, places: Operands) -> Array:
        """Return where an operand is to be made."""
        return places[name] if name in places else np.empty(n, self.fmt.dtype)

    def _sampled(self, block: int, n: int, places: Operands) -> dict[str, Array]:
        """Sample what is not fixed.

        fp16: all bit patterns alike. fp32: exponents alike, within 2**±60; x1 and x2 within 2**-12 .. 2**2 of beta,
        where differences matter, or subnormal where beta is near that. One gradient or total serves a block where a
        call takes only one.
        """
        found = {}
        for number, name in enumerate(self._names()):
            if name in self.fixed:
                continue
            single = name == "total_weight" or (name == "loss_grad" and self.scalars.get("reduction_type") != "none")
            found[name] = np.empty(1, self.fmt.dtype) if single else self._placed(name, n, places)
            sample(found[name], self.seed, block, number, self._exponents(name))
            if name == "total_weight" and found[name] == 0:  # outside the documented domain
                found[name][:] = 1
        return found

    def _exponents(self, name: str) -> Exponents | None:
        """Return the exponents that sampled numbers have; None: any bits."""
        if self.dtype == "fp16":
            return None
        low, high = 127 - _LIMIT, 127 + _LIMIT
        if name in ("x1", "x2"):
            middle = 127 + math.frexp(float(self.scalars["beta"]))[1]
            low, high = max(middle - 13, 0), min(max(middle + 2, 1), 254)
        return Exponents(low, high - low)


@lru_cache(maxsize=4)
def _totals(axis: Axis) -> Array:
    """Return an axis' patterns without those of ±0."""
    patterns: Array = np.arange(axis.start, axis.stop, axis.step, dtype=np.uint32)
    patterns = patterns[~np.isin(patterns, _ZEROS)]
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
    beta: float = 1.0,
    reduction: str = "none",
    fixed: dict[str, float] | None = None,
    samples: int = 1 << 30,
    seed: int = 0,
    axes: tuple[Axis, ...] | None = None,
    block: int = BLOCK,
) -> Space:
    """Build a space by name (see :data:`SPACES`).

    ``fixed`` gives operands that do not vary their value (default 1; x2 of ``diff-dy`` is 0). ``axes`` restricts
    the bit patterns. Raises :class:`UsageError` for names and combinations that do not exist.
    """
    if dtype not in FORMATS:
        raise unknown_name("dtype", dtype, FORMATS)
    if storage not in STORAGES:
        raise unknown_name("storage", storage, STORAGES)
    fmt, view = FORMATS[dtype], dense(operator_name)
    smooth = view.name == "smoothl1lossgrad"
    names = ("dy", "x1", "x2") if smooth else ("loss_grad", "weight", "total_weight")
    scalars: dict[str, float | str] = {"beta": fmt.typed(beta)} if smooth else {"reduction_type": reduction}
    if smooth and not (scalars["beta"] != 0 and 0 < fmt.typed(beta) <= fmt.largest):
        raise UsageError(f"beta {beta} is outside the documented domain: give a positive number of {dtype}.")
    if not smooth and reduction not in ("sum", "mean", "none"):
        raise unknown_name("reduction", reduction, ("sum", "mean", "none"))
    varying = _varying(name, names, smooth, fmt, reduction)
    if name == "random":
        varying = tuple(n for n in names if n not in (fixed or {}))
    values = dict.fromkeys(names, 1.0) | ({"x2": 0.0} if name == "diff-dy" else {}) | (fixed or {})
    unknown = [n for n in values if n not in names]
    if unknown:
        raise unknown_name("operand", unknown[0], names)
    held = {n: int(fmt.bits(np.array([v], fmt.dtype))[0]) for n, v in values.items() if n not in varying}
    if name == "random":
        if not smooth and reduction != "mean":
            held.setdefault("total_weight", int(fmt.bits(np.array([1], fmt.dtype))[0]))
        if samples < 1:
            raise UsageError("A sample needs at least one point.")
        return Space(name=name, operator=view.name, dtype=dtype, storage=storage, scalars=scalars, fixed=held,
                     samples=samples, seed=seed, block=block)  # fmt: skip
    if not smooth and reduction == "mean" and "total_weight" in held and values["total_weight"] == 0:
        raise UsageError("total_weight 0 is outside the documented domain.")
    if axes is None:
        axes = tuple(Axis(n, 0, 1 << fmt.width) for n in varying)
    if tuple(a.operand for a in axes) != varying:
        raise UsageError(f"The axes of {name} are {', '.join(varying)}.")
    return Space(name=name, operator=view.name, dtype=dtype, storage=storage, scalars=scalars, fixed=held,
                 axes=axes, seed=seed, block=block)  # fmt: skip


def _varying(name: str, names: tuple[str, ...], smooth: bool, fmt: Format, reduction: str) -> tuple[str, ...]:
    """Return the operands that vary in a space, outer one first."""
    if name == "random":
        return names
    if name.startswith("operand:"):
        operand = name.removeprefix("operand:")
        if operand not in names:
            raise unknown_name("operand", operand, names)
        if operand == "total_weight" or (operand == "loss_grad" and reduction != "none"):
            raise UsageError(f"A call takes one {operand} with this reduction: sweep g-w or w-total in fp16 instead.")
        return (operand,)
    both = {"pairs": ("x1", "x2"), "diff-dy": ("x1", "dy")} if smooth else {
        "g-w": ("weight", "loss_grad") if reduction == "none" else ("loss_grad", "weight"),
        "w-total": ("total_weight", "weight"),
    }  # fmt: skip
    if name not in both:
        raise unknown_name("space", name, [*both, *(f"operand:{n}" for n in names), "random"])
    if fmt.width != 16:
        raise UsageError(f"{name} has 2**64 points in {fmt.name}: sweep one operand, or sample at random.")
    if name == "w-total" and reduction != "mean":
        raise UsageError("total_weight is used with the reduction mean only.")
    return both[name]
