"""Calls that are drawn: sizes, scalars and values from a stream, by a generator's own function or by the description.

A batch is a handful of calls that differ in sizes and values and are alike in every other scalar: their values are
sampled at once, and their golden outputs computed together.
"""

import hashlib
import importlib
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from generators import samplers
from generators.stream import Stream
from generators.suite import generator
from golden.case import Case, Tier
from golden.formats import Array, Format
from golden.operator import Operator
from golden.rounding import Golden

#: Calls of a batch: small ones, or fewer with more elements together than small ones may have.
SMALL, LARGE = 16, 2
#: One batch in so many is of large calls.
_LARGE_EVERY = 16
#: Elements that a small call may have: of any number, and around blocks.
_SMALL_MOST, _BLOCK_MOST = 2048, 16384
#: Sizes that loops are unrolled, tiled or shared by.
_BLOCKS = (*(1 << k for k in range(2, 14)), 3, 5, 12, 20, 24, 40, 48, 96, 100, 192, 320, 384, 1000, 1536, 3072, 5000)


class Drawn(NamedTuple):
    """A call without golden outputs."""

    scalars: dict[str, int | float | str]
    operands: dict[str, Array]


class Batch(NamedTuple):
    """Calls of one class of values, alike in every scalar that is no size."""

    klass: str
    tier: Tier
    calls: list[Drawn]


#: A generator's function ``draw``: (stream, format, output elements of each call, or nearly) -> batch.
Draw = Callable[[Stream, Format, list[int]], Batch]


def draw(op: Operator, fmt: Format, name: str, most: int) -> list[Case]:
    """Draw a batch of calls with up to ``most`` output elements each, and golden outputs; ``name`` decides all."""
    stream = Stream(name)
    sizes = lengths(stream, most)
    klass, tier, calls = (_own(op.name) or _described(op))(stream, fmt, sizes)
    return [
        Case(_named(op, fmt, klass, call), op, fmt.name, tier, klass, (), call.scalars, call.operands, golden)
        for call, golden in zip(calls, _golden(op, fmt, calls), strict=True)
    ]


def lengths(stream: Stream, most: int) -> list[int]:
    """Draw the numbers of elements of a batch's calls: short ones, ones beside multiples of blocks, and any.

    Seldom there are fewer and larger ones.
    """
    large = most > _SMALL_MOST and stream.integers(1, 0, _LARGE_EVERY)[0] == 0
    count, top = (LARGE, most) if large else (SMALL, min(most, _SMALL_MOST))
    kind, block, beside = (v.tolist() for v in (stream.integers(count, 0, 8), stream.words(count), stream.words(count)))
    high = top.bit_length()
    octaves = stream.integers(count, max(high - 7, 0) if large else 0, high)
    any_size = ((1 << octaves) + (stream.unit(count) * (1 << octaves)).astype(np.int64)).tolist()
    found = []
    for k in range(count):
        n = any_size[k]
        if large and kind[k] < 4:
            n -= n % _BLOCKS[block[k] % len(_BLOCKS)]
        elif not large and kind[k] < 4:
            n = beside[k] % 70
        elif not large and kind[k] < 6:
            size = min(
                _BLOCKS[block[k] % len(_BLOCKS)], _BLOCKS[(block[k] >> 32) % len(_BLOCKS)]
            )  # small ones more often
            n = size * (1 + (beside[k] >> 8) % 4) + (0, 0, 1, -1, 0, 1, 2, -2)[beside[k] % 8]
        found.append(min(max(n, 0), most if large else min(most, _BLOCK_MOST)))
    return found


def with_any_bits(stream: Stream, fmt: Format, values: Array) -> Array:
    """Return numbers of which some are replaced by any bit pattern, NaNs with any payload and infinities among them."""
    n = len(values)
    replaced, patterns = stream.integers(n, 0, 8) == 0, stream.words(n)
    wide = (patterns & np.uint64((1 << fmt.width) - 1)).astype(fmt.bits_dtype)
    # Half of them special, NaNs of one bit (the quiet and signalling ones) among them: any pattern of fp32 seldom is.
    payloads = fmt.exponent_mask | np.left_shift(1, np.arange(fmt.precision - 1))
    nans = fmt.from_bits(np.concatenate([payloads, payloads | fmt.sign_mask]).astype(fmt.bits_dtype))
    special = np.concatenate([np.tile(samplers.specials(fmt, extreme=True), 2), nans])
    picked = special[(patterns >> np.uint64(40)).astype(np.int64) % len(special)]
    return np.where(replaced, np.where(patterns >> np.uint64(63) == 1, fmt.from_bits(wide), picked), values)


def shared_out(values: Sequence[Array], sizes: Sequence[int]) -> list[tuple[Array, ...]]:
    """Cut arrays of one length into parts of given sizes, one after the other."""
    ends = np.cumsum(sizes)[:-1]
    return list(zip(*(np.split(v, ends) for v in values), strict=True))


@cache
def _own(name: str) -> Draw | None:
    """Return the function ``draw`` of an operator's generator; None where it has none."""
    found: Draw | None = getattr(importlib.import_module(generator(name).__module__), "draw", None)
    return found


def _described(op: Operator) -> Draw:
    """Return what draws calls of an operator by nothing but its description.

    Values: numbers about the usual ones, of any magnitude, close to what they are subtracted from, or with any bits.
    """

    def drawn(stream: Stream, fmt: Format, sizes: list[int]) -> Batch:
        scalars: dict[str, int | float | str] = {}
        for s in op.scalars:
            if s.kind == "real":
                octave, share = int(stream.integers(1, -4, 4)[0]), float(stream.unit(1)[0])
                scalars[s.name] = fmt.typed(float(s.default) * (1 + share) * 2.0**octave)
            elif s.kind == "choice":
                scalars[s.name] = s.names()[int(stream.integers(1, 0, len(s.names()))[0])]
        klass = ("normal", "log-uniform", "close", "any-bits")[int(stream.integers(1, 0, 4)[0])]
        arrangement = op.arrangements(scalars)[-1]
        calls = []
        for n in sizes:
            given = {**op.sizes(arrangement, n), **scalars}
            shapes = op.shapes(given)
            operands = {name: make(n) for name, make in arrangement.index.items()}
            for p in op.numbers:
                count = math.prod(shapes[p.name])
                usual = fmt.typed(p.domain.usual)
                values = fmt.cast(stream.normal(count) * usual)
                if klass == "log-uniform":
                    values = samplers.log_uniform(stream, fmt, count, -8, 8)
                if klass == "close" and p.domain.minus in operands and operands[p.domain.minus].size == count:
                    values = samplers.neighbours(fmt, operands[p.domain.minus], stream.integers(count, -8, 9))
                if klass == "any-bits":
                    values = with_any_bits(stream, fmt, values)
                if p.domain.positive:
                    values = np.where(np.isnan(values), usual, np.abs(values))
                if not p.domain.zero:
                    values = np.where(values == 0, usual, values)
                operands[p.name] = values.astype(fmt.dtype)
            calls.append(Drawn(given, operands))
        return Batch(klass, "required", calls)

    return drawn


def _golden(op: Operator, fmt: Format, calls: Sequence[Drawn]) -> list[Golden]:
    """Compute the golden outputs of calls that the same program computes, together."""
    sizes = [op.output_size(scalars) for scalars, _ in calls]
    points = [op.points(*call, np.arange(n)) for call, n in zip(calls, sizes, strict=True)]
    columns = [np.concatenate(column) for column in zip(*(p.values for p in points), strict=True)]
    found = op.correctly_rounded(fmt, calls[0].scalars, columns)
    ends = np.cumsum([p.at.size for p in points])
    golden = []
    for n, p, end in zip(sizes, points, ends.tolist(), strict=True):
        one = Golden(np.zeros(n, fmt.dtype), np.zeros(n, np.float32))
        mine = slice(end - p.at.size, end)
        one.value[p.at], one.residual[p.at] = found.value[mine], found.residual[mine]
        golden.append(one)
    return golden


def _named(op: Operator, fmt: Format, klass: str, call: Drawn) -> str:
    """Return a case's id, made of its content."""
    content = hashlib.sha256(repr(sorted(call.scalars.items())).encode())
    for p in op.inputs:
        content.update(np.ascontiguousarray(call.operands[p.name]).data)
    sizes = "/".join(f"{s.name}={call.scalars[s.name]}" for s in op.scalars if s.kind == "int")
    return f"{op.name}/{fmt.name}/{op.group(call.scalars)}/drawn-{klass}/{sizes}/{content.hexdigest()[:10]}"
