"""Cases of SmoothL1LossGrad: every class at every beta, every length around the vector width, real gradients."""

import math
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import combinations
from typing import NamedTuple

import numpy as np

from generators import drawing, extremal, hard, private, realistic, samplers
from generators.stream import Stream, seed
from generators.suite import Offer, Scalars, make_case
from golden.case import Case, Tier
from golden.formats import FP16, Array, Format, is_power_of_two
from golden.operators.smoothl1lossgrad import OPERATOR
from golden.scaled_product import ORDERS

REQUIRED_BETAS = (0.1, 0.25, 1 / 3, 0.5, 0.7, 1.0)
STRESS_BETAS = (2.0**-14, 1e-3, 10.0, 100.0)
#: fp32 operands of the required tier stay within 2**±60; fp16 uses everything it has.
FP32_LIMIT = 60

SMALL_LENGTHS = range(66)
#: Around multiples of the block sizes that loops are unrolled or tiled by.
BLOCK_LENGTHS = tuple(k * 64 + d for k in (2, 3, 4, 5, 6, 8, 10, 16, 20, 32) for d in (-1, 0, 1))
MEDIUM_LENGTHS = (1000, 4096, 4097)
#: A page of either dtype and up to two elements beside it, several of them, and one more than thousands.
PAGE_LENGTHS = (2046, 2050, *(k * 4096 + d for k in (1, 2, 3) for d in (-2, -1, 1, 2)), 2001, 5001, 9001)
#: Every remainder by 64, after other numbers of whole blocks each.
REMAINDER_LENGTHS = tuple(1088 + 64 * (5 * k % 14) + k for k in range(64))
#: Multiples of 3072 (six cores, three buffers), and lengths that are 0 or 1 modulo nothing in use.
TILE_LENGTHS = (3072, 6144, 5003, 10007)
#: Beyond indices of 15 and 16 bits, and in fp32 of 18.
LARGE_LENGTHS = (32768 + 1, 65536 + 1)
LARGEST_LENGTH = 262144 + 77
#: Those of small lengths: one that divides exactly, and two that do not.
LENGTH_BETAS = (0.1, 0.5, 0.7)
#: Long cases repeat a block of this many triples: prime, so that no vector width or chunk size divides it.
PERIOD = 1021


class Triples(NamedTuple):
    """Operands of one case, flat arrays of one length."""

    dy: Array
    x1: Array
    x2: Array


Sampler = Callable[[Stream, Format, float, int], Triples]


def _with_zero(stream: Stream, fmt: Format, d: Array, dy: Array) -> Triples:
    """Build triples whose exact difference is ``d``: x2 is zero, or d comes from both operands where that is exact."""
    share = samplers.neighbours(fmt, np.where(d == 0, fmt.dtype.type(1), d), stream.integers(len(d), -3, 4))
    wide, x2 = d.astype(np.float64), share.astype(np.float64)
    x1 = fmt.cast(wide + x2)
    exact = (x1.astype(np.float64) - x2 == wide) & np.isfinite(x1) & (stream.integers(len(d), 0, 2) == 1)
    return Triples(dy, np.where(exact, x1, d), np.where(exact, share, fmt.dtype.type(0)))


def _beta_exponent(beta: float) -> int:
    return math.frexp(beta)[1] - 1


def uniform_bits(stream: Stream, fmt: Format, beta: float, n: int) -> Triples:
    """All finite bit patterns alike."""
    limit = None if fmt is FP16 else FP32_LIMIT
    return Triples(*(samplers.uniform_bits(stream, fmt, n, limit) for _ in range(3)))


def non_finite_bits(stream: Stream, fmt: Format, beta: float, n: int) -> Triples:
    """NaNs of every payload and infinities in one operand, any finite bits in the others."""
    operands = [fmt.bits(operand) for operand in uniform_bits(stream, fmt, beta, n)]
    special, which = fmt.bits(samplers.non_finite(stream, fmt, n)), stream.integers(n, 0, len(operands))
    triples = Triples(*(fmt.from_bits(np.where(which == k, special, bits)) for k, bits in enumerate(operands)))
    # An infinity becomes the first NaN where what it gives is open.
    ill = _ill_conditioned(fmt, beta, *triples)
    return triples._replace(dy=fmt.from_bits(fmt.bits(triples.dy) | ill.astype(fmt.bits_dtype)))


def log_uniform(stream: Stream, fmt: Format, beta: float, n: int) -> Triples:
    """|diff| from far below beta to a little above it, all magnitudes alike."""
    e = _beta_exponent(beta)
    d = samplers.log_uniform(stream, fmt, n, max(e - 12, fmt.emin), e + 2)
    return _with_zero(stream, fmt, d, samplers.log_uniform(stream, fmt, n, -10, 11))


def normal(stream: Stream, fmt: Format, beta: float, n: int) -> Triples:
    """Normal data scaled to beta: every branch, no structure."""
    x1, x2 = (samplers.normal(stream, fmt, n, beta) for _ in range(2))
    return Triples(samplers.normal(stream, fmt, n), x1, x2)


def kink(stream: Stream, fmt: Format, beta: float, n: int) -> Triples:
    """Diff at ±beta and the numbers next to it, with x2 zero and not."""
    d = samplers.neighbours(fmt, stream.signs(n) * beta, stream.integers(n, -3, 4))
    x2 = samplers.log_uniform(stream, fmt, n, _beta_exponent(beta) - 4, _beta_exponent(beta) + 3)
    x2 = np.where(stream.integers(n, 0, 2) == 1, x2, fmt.dtype.type(0))
    x1 = fmt.cast(d.astype(np.float64) + x2.astype(np.float64))
    return Triples(samplers.log_uniform(stream, fmt, n, -8, 9), x1, x2)


def cancellation(stream: Stream, fmt: Format, beta: float, n: int) -> Triples:
    """x1 a few places from x2: the difference is exact, x1/beta - x2/beta is not."""
    x2 = samplers.log_uniform(stream, fmt, n, -3, 8)
    x1 = samplers.neighbours(fmt, x2, stream.integers(n, -8, 9))
    return Triples(samplers.log_uniform(stream, fmt, n, -6, 7), x1, x2)


def hard_to_round(stream: Stream, fmt: Format, beta: float, n: int) -> Triples:
    """Exact results as near to a rounding midpoint as they can be."""
    a, b = hard.near_midpoints(stream, fmt, beta, n)
    # Scaling by powers of two keeps the distance; |diff| stays below beta.
    d = np.ldexp(a.astype(np.float64) * stream.signs(n), _beta_exponent(beta) - 1 - stream.integers(n, 0, 6))
    dy = np.ldexp(b.astype(np.float64) * stream.signs(n), stream.integers(n, -4, 9))
    return _with_zero(stream, fmt, fmt.cast(d), fmt.cast(dy))


def ties(stream: Stream, fmt: Format, beta: float, n: int) -> Triples:
    """Exact results on a midpoint, and just off it by a tiny x2 that working precision loses.

    diff = k * beta / 2**j exactly, through two operands where k * beta has too many bits for one.
    """
    k, b = hard.ties(stream, fmt, n)
    wide = k.astype(np.float64) * beta * np.ldexp(1.0, -(np.frexp(k.astype(np.float64))[1] + stream.integers(n, 0, 3)))
    x1 = fmt.cast(wide * stream.signs(n))
    x1 = np.where(x1 == 0, fmt.cast(wide), x1)
    x2 = fmt.cast(x1.astype(np.float64) - np.copysign(wide, x1.astype(np.float64)))
    nudge = fmt.cast(x1.astype(np.float64) * 2.0 ** (-fmt.precision - 6) * stream.integers(n, -1, 2))
    x2 = np.where((x2 == 0) & (stream.integers(n, 0, 3) == 0), nudge, x2)
    return Triples(fmt.cast(np.ldexp(b.astype(np.float64) * stream.signs(n), stream.integers(n, -4, 9))), x1, x2)


def order_distinguishing(stream: Stream, fmt: Format, beta: float, n: int) -> Triples:
    """Triples on which each pair of legal evaluation orders in turn gives different bits; none for powers of two."""
    if not has_inputs(fmt, "order-distinguishing", beta):
        return Triples(*(np.empty(0, fmt.dtype) for _ in range(3)))
    pairs = list(combinations(ORDERS, 2))
    parts = [
        extremal.telling_apart(stream, fmt, beta, *pair, size)
        for pair, size in zip(pairs, _shares(n, len(pairs)), strict=True)
    ]
    d, dy = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    d, dy = (fmt.cast(v.astype(np.float64) * stream.signs(n)) for v in (d, dy))
    return Triples(dy, d, np.zeros_like(d))


def maximal_error(stream: Stream, fmt: Format, beta: float, n: int) -> Triples:
    """The largest errors of each legal order, with an exact difference and with one that rounds.

    Where beta is a power of two only the difference rounds. Empty where a quarter of beta is subnormal: scaling is not
    free there.
    """
    exact = () if is_power_of_two(beta) else (False,)
    kinds = [(order, rounded) for order in ORDERS for rounded in (*exact, True)]
    if not has_inputs(fmt, "maximal-error", beta):
        return Triples(*(np.empty(0, fmt.dtype) for _ in range(3)))
    shares = _shares(min(n, 8 * extremal.CLIMBERS), len(kinds))
    searches = [extremal.Search(*kind, share) for kind, share in zip(kinds, shares, strict=True)]
    parts = extremal.worst(stream, fmt, beta, searches)
    x1, x2, dy = (np.resize(np.concatenate(columns), n).astype(np.float64) for columns in zip(*parts, strict=True))
    signs = stream.signs(n)
    return Triples(*(fmt.cast(v) for v in (dy * stream.signs(n), x1 * signs, x2 * signs)))


def has_inputs(fmt: Format, klass: str, beta: float) -> bool:
    """Tell whether a class has inputs for a beta; where it has none, its sampler says why."""
    if klass == "order-distinguishing":
        return not is_power_of_two(beta)
    return klass != "maximal-error" or beta / 4 >= fmt.smallest_normal


def _shares(n: int, parts: int) -> list[int]:
    """Divide n as evenly as can be."""
    return [n // parts + (k < n % parts) for k in range(parts)]


def subnormal_results(stream: Stream, fmt: Format, beta: float, n: int) -> Triples:
    """Normal operands whose result is subnormal or rounds to zero."""
    if fmt is FP16:
        d = samplers.log_uniform(stream, fmt, n, max(_beta_exponent(beta) - 10, fmt.emin), _beta_exponent(beta) + 1)
        return _with_zero(stream, fmt, d, samplers.log_uniform(stream, fmt, n, fmt.emin, fmt.emin + 4))
    # fp32 operands of 2**-60 reach subnormal results only through a difference by cancellation.
    x2 = samplers.log_uniform(stream, fmt, n, -FP32_LIMIT, -FP32_LIMIT + 2)
    x1 = samplers.neighbours(fmt, x2, stream.integers(n, -64, 65))
    return Triples(samplers.log_uniform(stream, fmt, n, -FP32_LIMIT, -FP32_LIMIT + 8), x1, x2)


def subnormal_operands(stream: Stream, fmt: Format, beta: float, n: int) -> Triples:
    """Subnormal differences and gradients against ordinary partners."""
    d = samplers.subnormals(stream, fmt, n)
    dy = samplers.log_uniform(stream, fmt, n, -2, 8)
    swap = stream.integers(n, 0, 3) == 0
    ordinary = samplers.log_uniform(stream, fmt, n, _beta_exponent(beta) - 3, _beta_exponent(beta) + 1)
    return _with_zero(stream, fmt, np.where(swap, ordinary, d), np.where(swap, d, dy))


def tiny_diff_large_dy(stream: Stream, fmt: Format, beta: float, n: int) -> Triples:
    """Small differences that a large gradient makes matter: what diff / beta loses to underflow shows here."""
    top = fmt.emax if fmt is FP16 else FP32_LIMIT
    bottom = fmt.emin - 8 if fmt is FP16 else -FP32_LIMIT
    d = samplers.log_uniform(stream, fmt, n, bottom, bottom + 14)
    return _with_zero(stream, fmt, d, samplers.log_uniform(stream, fmt, n, top - 6, top))


def difference_overflow(stream: Stream, fmt: Format, beta: float, n: int) -> Triples:
    """x1 - x2 beyond the largest number: saturated, and no reason for an infinity in the result."""
    x1 = samplers.log_uniform(stream, fmt, n, fmt.emax - 1, fmt.emax + 1)
    x2 = fmt.cast(-np.copysign(samplers.log_uniform(stream, fmt, n, fmt.emax - 1, fmt.emax + 1).astype(np.float64), x1))
    return Triples(samplers.log_uniform(stream, fmt, n, -6, 7), x1, x2)


def loss_scaled(stream: Stream, fmt: Format, beta: float, n: int) -> Triples:
    """Gradients multiplied by a loss scale, up to the largest number in fp16."""
    top = fmt.emax + 1 if fmt is FP16 else FP32_LIMIT
    dy = samplers.log_uniform(stream, fmt, n, top - 8, top)
    x1, x2 = (samplers.normal(stream, fmt, n, beta) for _ in range(2))
    return Triples(dy, x1, x2)


def special_values(stream: Stream, fmt: Format, beta: float, n: int) -> Triples:
    """Every triple of special values, less those that :func:`_ill_conditioned` names; n is not used."""
    return _cube(samplers.specials(fmt, extreme=fmt is FP16), fmt, beta, keep_ill=False)


def special_extremes(stream: Stream, fmt: Format, beta: float, n: int) -> Triples:
    """The triples of extreme values that required classes leave out; n is not used."""
    return _cube(samplers.specials(fmt, extreme=True), fmt, beta, keep_ill=True)


def _cube(values: Array, fmt: Format, beta: float, keep_ill: bool) -> Triples:
    dy, x1, x2 = (axis.reshape(-1) for axis in np.meshgrid(values, values, values, indexing="ij"))
    keep = _ill_conditioned(fmt, beta, dy, x1, x2) == keep_ill
    if keep_ill and fmt is not FP16:
        keep |= np.maximum(np.abs(x1), np.maximum(np.abs(x2), np.abs(dy))) > 2.0**FP32_LIMIT
    return Triples(dy[keep], x1[keep], x2[keep])


def _of_kind(kind: str, triples: Triples) -> Triples:
    """Return the triples of one of :data:`SPECIAL_KINDS`."""
    has = [np.any([test(operand) for operand in triples], axis=0) for test in (np.isnan, np.isinf, lambda v: v == 0)]
    mine = np.select(has, range(len(has)), len(has)) == SPECIAL_KINDS.index(kind)
    return Triples(*(operand[mine] for operand in triples))


def _ill_conditioned(fmt: Format, beta: float, dy: Array, x1: Array, x2: Array) -> Array:
    """Tell where an infinite gradient meets a difference so small that diff / beta may underflow to zero.

    The page's formula then gives NaN or infinity depending on underflow alone: nothing to require.
    """
    with np.errstate(invalid="ignore"):
        diff = np.abs(x1.astype(np.float64) - x2.astype(np.float64))
        return np.isinf(dy) & (diff > 0) & (diff / max(beta, 1.0) < 2 * fmt.smallest_normal)


class _Class(NamedTuple):
    sampler: Sampler
    flags: tuple[str, ...]
    stress_in: tuple[str, ...] = ()  #: dtypes in which the class is beyond the required tier


CLASSES: dict[str, _Class] = {
    "uniform-bits": _Class(uniform_bits, ("operand-mixup", "branch", "overflow")),
    "non-finite-bits": _Class(non_finite_bits, ("nan-swallowed", "special-values")),
    "log-uniform": _Class(log_uniform, ("operand-mixup", "scaling", "rounding", "narrow-arithmetic")),
    "normal": _Class(normal, ("operand-mixup", "sign", "branch", "scaling", "narrow-arithmetic")),
    "kink": _Class(kink, ("branch", "sign")),
    "cancellation": _Class(cancellation, ("rounding", "scaling")),
    "hard-to-round": _Class(hard_to_round, ("rounding", "narrow-arithmetic")),
    "ties": _Class(ties, ("rounding",)),
    "order-distinguishing": _Class(order_distinguishing, ("evaluation-order",)),
    "maximal-error": _Class(maximal_error, ("rounding", "evaluation-order")),
    "subnormal-results": _Class(subnormal_results, ("underflow",)),
    "subnormal-operands": _Class(subnormal_operands, ("underflow",), stress_in=("fp32",)),
    "tiny-diff-large-dy": _Class(tiny_diff_large_dy, ("underflow", "rounding")),
    "difference-overflow": _Class(difference_overflow, ("overflow", "branch"), stress_in=("fp32",)),
    "loss-scaled": _Class(loss_scaled, ("overflow", "sign")),
    "special-values": _Class(special_values, ("nan-swallowed", "special-values")),
    "special-extremes": _Class(special_extremes, ("special-values",), stress_in=("fp16", "fp32")),
}
#: Classes that enumerate their triples: one size only.
ENUMERATED = ("special-values", "special-extremes")
#: What they are divided into, one case each, so that a known defect hides no other: triples with a NaN, those with an
#: infinity among the rest, those with a zero among the rest of these, and ordinary ones.
SPECIAL_KINDS = ("nan", "infinity", "zero", "finite")
#: What the length classes draw their triples from: something for every defect of values, in one short block.
MIXED = ("normal", "kink", "hard-to-round", "log-uniform", "loss-scaled")


def beta_name(beta: float) -> str:
    """Return the part of a case id that names beta, with four digits."""
    return f"beta={beta:.4g}"


def cases(suite: str, fmt: Format) -> Iterator[Case]:
    """List the cases of one suite and format."""
    yield from _class_cases(suite, fmt)
    yield from _length_cases(suite, fmt)
    yield from _position_cases(fmt)
    yield from _realistic_cases(suite, fmt)


def _class_cases(suite: str, fmt: Format) -> Iterator[Case]:
    sizes = {"smoke": (33,), "core": (31, 97), "full": (31, 97, 4097, 65537)}[suite]
    sizes = private.sizes_near(OPERATOR.name, sizes)
    betas: tuple[float, ...] = (0.1, 1.0) if suite == "smoke" else REQUIRED_BETAS + STRESS_BETAS
    drawn = private.drawn_scalars(OPERATOR.name)  # the largest is of the stress tier's kind
    drawn = drawn[2:3] if suite == "smoke" else drawn[:4]
    for beta in (*betas, *drawn):
        for klass, spec in CLASSES.items():
            if klass in ENUMERATED:
                if beta in (0.1, 1.0, 100.0):
                    yield from _special_cases(fmt, klass, beta, spec)
                continue
            for n in sizes[: 1 if beta in drawn + STRESS_BETAS and suite == "core" else None]:
                yield from _case(fmt, klass, beta, n, spec)
    if suite == "full":
        for klass in ("uniform-bits", "log-uniform", "hard-to-round"):
            yield from _case(fmt, klass, 0.1, 1 << 20, CLASSES[klass])
        yield from _case(fmt, "uniform-bits", 0.1, 1 << 24, CLASSES["uniform-bits"])


def _special_cases(fmt: Format, klass: str, beta: float, spec: _Class) -> Iterator[Case]:
    for kind in SPECIAL_KINDS:
        path, typed = f"{beta_name(beta)}/{klass}/{kind}", fmt.typed(beta)
        stream = Stream(f"{OPERATOR.name}/{fmt.name}/{path}")
        triples = _of_kind(kind, spec.sampler(stream, fmt, typed, 0))
        n = len(triples.dy)
        order = stream.permutation(n)  # defects that depend on a position find other triples there with another seed
        made = partial(Triples, *(operand[order] for operand in triples))
        if n:
            yield _build(fmt, _tier(fmt, beta, spec), klass, spec.flags, path, typed, n, made)


def _tier(fmt: Format, beta: float, spec: _Class) -> Tier:
    return "stress" if beta in STRESS_BETAS or fmt.name in spec.stress_in else "required"


def _case(fmt: Format, klass: str, beta: float, n: int, spec: _Class) -> Iterator[Case]:
    typed = fmt.typed(beta)
    if not has_inputs(fmt, klass, typed):
        return
    path = f"{beta_name(beta)}/{klass}/n={n}"

    def sampled() -> Triples:
        return spec.sampler(Stream(f"{OPERATOR.name}/{fmt.name}/{path}"), fmt, typed, n)

    yield _build(fmt, _tier(fmt, beta, spec), klass, spec.flags, path, typed, n, sampled)


def _length_cases(suite: str, fmt: Format) -> Iterator[Case]:
    """The same triples at every position and length: case n starts the block n triples later."""
    plan: list[tuple[int, tuple[float, ...]]] = []
    if suite == "smoke":
        plan += [(n, (0.7,)) for n in (0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 65)]
    else:
        plan += [(n, LENGTH_BETAS) for n in SMALL_LENGTHS]
        plan += [(n, (0.7,)) for n in BLOCK_LENGTHS]
        plan += [(private.size_near(OPERATOR.name, n, step=64), (0.1, 0.5)) for n in MEDIUM_LENGTHS]
        plan += [(n, (0.7,)) for n in PAGE_LENGTHS if n not in MEDIUM_LENGTHS]
        plan += [(private.size_near(OPERATOR.name, n, 1026, 2047, step=64), (0.7,)) for n in REMAINDER_LENGTHS]
        plan += [(private.size_near(OPERATOR.name, n, step=3072), (0.7,)) for n in TILE_LENGTHS]
        large = LARGE_LENGTHS if fmt is FP16 else (*LARGE_LENGTHS, LARGEST_LENGTH)
        # What these promise is an index of more than 15, 16, or 18, bits.
        plan += [(private.size_near(OPERATOR.name, n, low=n), (0.7,)) for n in large]
    for n, betas in plan:
        for beta in betas:
            flags = ("empty",) if n == 0 else ("tail", "position", "partition") + ("index-width",) * (n > 32767)
            path = f"{beta_name(beta)}/length/n={n}"
            yield _build(fmt, "required", "length", flags, path, fmt.typed(beta), n, partial(_part, fmt, beta, n))


def _part(fmt: Format, beta: float, n: int) -> Triples:
    where = (np.arange(n) + n) % PERIOD
    return Triples(*(operand[where] for operand in _mixed_block(fmt, beta, seed())))


def _position_cases(fmt: Format) -> Iterator[Case]:
    """Three inexact triples in turn: three is prime to every vector width, so each visits every lane."""
    n = private.size_near(OPERATOR.name, 201)
    for beta in REQUIRED_BETAS:
        path, typed = f"{beta_name(beta)}/position/n={n}", fmt.typed(beta)
        made = partial(_in_turn, fmt, typed, path, n)
        yield _build(fmt, "required", "position", ("position", "tail"), path, typed, n, made)


def _in_turn(fmt: Format, beta: float, path: str, n: int) -> Triples:
    stream = Stream(f"{OPERATOR.name}/{fmt.name}/{path}")
    parts = [sampler(stream, fmt, beta, 1) for sampler in (log_uniform, hard_to_round, tiny_diff_large_dy)]
    block = [np.concatenate(operand) for operand in zip(*parts, strict=True)]
    return Triples(*(np.resize(operand, n) for operand in block))


@cache
def _mixed_block(fmt: Format, beta: float, seed: str) -> Triples:
    """Return the block of a beta; ``seed``: the one in use."""
    return _mixed(Stream(f"{OPERATOR.name}/{fmt.name}/block/{beta_name(beta)}"), fmt, fmt.typed(beta))


def _mixed(stream: Stream, fmt: Format, beta: float) -> Triples:
    share = -(-PERIOD // len(MIXED))
    parts = [CLASSES[name].sampler(stream, fmt, beta, share) for name in MIXED]
    order = stream.permutation(share * len(MIXED))[:PERIOD]
    return Triples(*(np.concatenate(operand)[order] for operand in zip(*parts, strict=True)))


def _realistic_cases(suite: str, fmt: Format) -> Iterator[Case]:
    steps = 1 if suite == "smoke" else 6
    for beta in (0.5, 1.0):
        for step, gradients in enumerate(realistic.detection_head(beta, steps)):
            triples = Triples(*(fmt.cast(operand) for operand in gradients))
            length = len(triples.dy)
            path = f"{beta_name(beta)}/detection-head/step={step}"
            made = partial(Triples, *triples)
            yield _build(fmt, "required", "detection-head", ("realistic",), path, fmt.typed(beta), length, made)


def _build(
    fmt: Format,
    tier: Tier,
    klass: str,
    flags: tuple[str, ...],
    path: str,
    beta: float,
    length: int,
    triples: Callable[[], Triples],
) -> Case:
    scalars: dict[str, int | float | str] = {"length": length, "beta": beta}
    return make_case(OPERATOR, fmt, tier, klass, flags, path, scalars, lambda: triples()._asdict())


#: Classes that :func:`draw` draws from: those whose inputs need no search.
DRAWN = tuple(k for k in CLASSES if k not in (*ENUMERATED, "maximal-error", "order-distinguishing"))


def draw(stream: Stream, fmt: Format, sizes: list[int]) -> drawing.Batch:
    """Draw a batch of calls: see :mod:`generators.drawing`. It has one beta, and one class or several mixed."""
    beta = _drawn_beta(stream, fmt)
    choice, n = int(stream.integers(1, 0, len(DRAWN) + 4)[0]), sum(sizes)
    tier: Tier = "required"
    if choice < len(DRAWN):
        klass, spec = DRAWN[choice], CLASSES[DRAWN[choice]]
        tier = "stress" if fmt.name in spec.stress_in else "required"
        values = spec.sampler(stream, fmt, beta, n)
    else:
        klass, share = "mixed", -(-n // len(MIXED))
        parts = [CLASSES[name].sampler(stream, fmt, beta, share) for name in MIXED]
        order = stream.permutation(share * len(MIXED))[:n]
        values = Triples(*(np.concatenate(operand)[order] for operand in zip(*parts, strict=True)))
        if choice % 2:
            klass, values = "any-bits", Triples(*(drawing.with_any_bits(stream, fmt, v) for v in values))
    calls = [
        drawing.Drawn({"length": size, "beta": beta}, Triples(*operands)._asdict())
        for size, operands in zip(sizes, drawing.shared_out(values, sizes), strict=True)
    ]
    return drawing.Batch(klass, tier, calls)


def _drawn_beta(stream: Stream, fmt: Format) -> float:
    """Draw a beta: one of the page's usual ones, one near 1, or any from 2**-10 to 2**10."""
    kind, fraction = int(stream.integers(1, 0, 4)[0]), float(stream.unit(1)[0])
    if kind == 0:
        return fmt.typed(REQUIRED_BETAS[int(fraction * len(REQUIRED_BETAS))])
    if kind == 1:
        return fmt.typed(0.05 + 2 * fraction)
    significand = 1 + float(stream.unit(1)[0]) if kind == 2 else 1.0
    return fmt.typed(significand * 2.0 ** int(20 * fraction - 10))


def _offered(stream: Stream, fmt: Format, klass: str, scalars: Scalars) -> dict[str, Array]:
    """Return operands of a class: what is listed in a shuffled order, and everything once more where it ends."""
    beta, n = float(scalars["beta"]), int(scalars["length"])
    if klass == "length":
        where = (np.arange(n) + n) % PERIOD
        return Triples(*(operand[where] for operand in _mixed(stream, fmt, beta)))._asdict()
    triples = CLASSES[klass].sampler(stream, fmt, beta, n)
    order = stream.permutation(len(triples.dy)) if klass in ENUMERATED else slice(None)
    return {name: np.resize(operand[order], n) for name, operand in triples._asdict().items()}


OFFER = Offer(
    classes={
        "length": (("tail", "position", "partition"), ()),
        **{name: (spec.flags, spec.stress_in) for name, spec in CLASSES.items()},
    },
    usual="length",
    operands=_offered,
    scalars={"beta": REQUIRED_BETAS},
    sizes=((31,), (97,)),
    has_inputs=lambda fmt, klass, scalars: has_inputs(fmt, klass, float(scalars["beta"])),
)
