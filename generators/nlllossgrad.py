"""Cases of NLLLossGrad: shapes and partitions, labels and weights, and the numbers of its product and quotient."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations, cycle, islice
from typing import NamedTuple

import numpy as np

from generators import drawing, extremal, hard, private, realistic, samplers
from generators.stream import Stream
from generators.suite import Offer, Scalars, make_case
from golden.case import Case, Tier
from golden.formats import FP16, Array, Format, is_power_of_two
from golden.operators.nlllossgrad import OPERATOR
from golden.scaled_product import ORDERS

REDUCTIONS = ("sum", "mean", "none")
#: fp32 operands of the required tier stay within 2**±60; fp16 uses everything it has.
FP32_LIMIT = 60

#: Batches around the core count and no multiple of it, against class counts of every small kind.
BATCHES = (0, 1, 2, 3, 5, 7, 8, 9, 13, 16, 31, 33)
CLASS_COUNTS = (1, 2, 3, 10, 33)
#: (batch, class_num): the page's example; labels above 127, 255; batch * class_num above 2**15, 2**16.
LARGE_SHAPES = ((32, 1000), (3, 257), (11, 257), (257, 257), (4097, 10))
#: For one reduction each, in turn: labels above 32767 and 65535, products above 2**18; for none, with a gradient for
#: each sample, a batch above 65535 and one that is divided among cores by thousands.
HUGE_SHAPES = ((2, 40000), (3, 70000), (65537, 1), (1, 70000), (263, 1009), (11003, 3))
#: For one reduction each, in turn, with few samples: numbers that a rounded reciprocal gets wrong, multiples of 64 and
#: 128 and their neighbours, numbers of 8 and 9 bits, those of data sets and vocabularies.
CLASS_NUMS = (
    *(41, 47, 55, 61, 82, 83, 97, 109, 122),
    *(63, 64, 65, 127, 128, 129, 191, 192, 193, 255, 256, 384, 512, 640, 1024, 1152),
    *(20, 80, 91, 100, 150, 200, 300, 365, 999, 1000, 1001, 21841, 30522, 32000, 50257),
)

WEIGHTS = ("distinct", "ones", "zeros", "nan-unlabelled", "inf-unlabelled")
LABELS = ("equal", "first", "last", "permuted", "random")
#: Divisors of the numeric classes: no powers of two, one that is, one below 1, and a sum of negative weights.
TOTALS = (3.0, 10.5, 64.0, 0.7, -10.5)
#: Divides products of ordinary operands into the subnormal range of fp32.
LARGE_TOTAL = 12288.0


def labels_of(kind: str, stream: Stream, batch: int, classes: int) -> Array:
    """Return int32 labels ``[batch]`` of one kind; ``permuted`` visits classes in a shuffled order."""
    if kind == "permuted":
        return stream.permutation(classes)[np.arange(batch) % classes].astype(np.int32)
    if kind == "random":
        return stream.integers(batch, 0, classes).astype(np.int32)
    fixed = {"first": 0, "last": classes - 1, "equal": classes // 2}[kind]
    return np.full(batch, fixed, np.int32)


def weights_of(kind: str, stream: Stream, fmt: Format, labels: Array, classes: int) -> Array:
    """Return weights ``[classes]`` of one kind; ``distinct`` differ for neighbouring and for most other classes.

    Distinct weights are distinct numbers in [0.5, 1) as far as fp16 has them (512), so that taking another class's
    weight shows in the result.
    """
    distinct = fmt.cast(0.5 + (np.arange(classes) * 167 % 509 + 1) * 2.0**-10)
    if kind == "ones":
        return np.ones(classes, fmt.dtype)
    if kind == "zeros":
        return np.where(np.arange(classes) % 2 == 0, fmt.dtype.type(0), distinct)
    if kind.endswith("unlabelled"):
        unused = np.ones(classes, bool)
        unused[labels] = False
        return np.where(unused, fmt.dtype.type(np.nan if kind[0] == "n" else np.inf), distinct)
    return distinct


def cases(suite: str, fmt: Format) -> Iterator[Case]:
    """List the cases of one suite and format."""
    for reduction in REDUCTIONS:
        yield from _shape_cases(suite, fmt, reduction)
        yield from _selection_cases(suite, fmt, reduction)
        yield from _number_cases(suite, fmt, reduction)
        yield from _realistic_cases(suite, fmt, reduction)


def _shape_cases(suite: str, fmt: Format, reduction: str) -> Iterator[Case]:
    if suite == "smoke":
        shapes = [(0, 3), (1, 1), (1, 10), (3, 10), (7, 33), (9, 3), (33, 10), (3, 257)]
    else:
        turn = REDUCTIONS.index(reduction)
        shapes = [(b, c) for b in BATCHES for c in CLASS_COUNTS]
        shapes += [_large(*shape) for shape in (*LARGE_SHAPES, *HUGE_SHAPES[turn::3])]
        shapes += [(2 + k % 4, c) for k, c in enumerate(CLASS_NUMS)][turn::3]
        # Around multiples of the block sizes that loops over samples are unrolled or tiled by.
        few = private.size_near(f"{OPERATOR.name}/classes", 3, 3, 10)
        shapes += [(64 * k + d, few) for k in (1, 2, 4) for d in (-1, 0, 1)]
    if suite == "full":
        shapes += [_large(*shape) for shape in ((1 << 14, 1000), (1 << 20, 3), (8, 1 << 20))]
    for batch, classes in dict.fromkeys(shapes):
        path = f"{reduction}/shape/b={batch}/c={classes}"
        made = partial(_of_shape, fmt, path, reduction, batch, classes)
        large = classes > 127 or batch * classes > 32767
        flags = ("empty",) if batch == 0 else ("partition", "weight-mixup", "zero-fill") + ("index-width",) * large
        yield _build(fmt, "required", "shape", flags, path, reduction, made, batch, classes)


def _large(batch: int, classes: int) -> tuple[int, int]:
    """Return a shape; with a private seed one of the same kind: large sizes grow, small ones are what they are."""
    grown = (
        private.size_near(f"{OPERATOR.name}/{batch}x{classes}", n, low=n) if n > 127 else n for n in (batch, classes)
    )
    return next(grown), next(grown)


def _of_shape(fmt: Format, path: str, reduction: str, batch: int, classes: int) -> dict[str, Array]:
    stream = Stream(f"{OPERATOR.name}/{fmt.name}/{path}")
    labels = labels_of("random" if batch * classes % 2 else "permuted", stream, batch, classes)
    if batch > 1 and classes > 33:
        labels[1] = 0  # the first index of a row: a rounded quotient of it is that of the row before
    if batch and classes > 127:
        labels[-1] = classes - 1  # the widest label there is
    return _operands(stream, fmt, reduction, labels, weights_of("distinct", stream, fmt, labels, classes))


def _selection_cases(suite: str, fmt: Format, reduction: str) -> Iterator[Case]:
    """Kinds of weights against kinds of labels, at a shape with idle classes and repeated labels."""
    batch, classes = private.size_near(OPERATOR.name, 12, 12, 17), private.size_near(OPERATOR.name, 17, 17, 30)
    pairs = [(w, lab) for w in WEIGHTS for lab in LABELS]
    if suite == "smoke":
        pairs = [
            ("distinct", "permuted"),
            ("zeros", "random"),
            ("nan-unlabelled", "last"),
            ("inf-unlabelled", "first"),
        ]
    for weights, label_kind in pairs:
        path = f"{reduction}/selection/weights={weights}/labels={label_kind}"
        stream = Stream(f"{OPERATOR.name}/{fmt.name}/{path}")
        labels = labels_of(label_kind, stream, batch, classes)
        operands = _operands(stream, fmt, reduction, labels, weights_of(weights, stream, fmt, labels, classes))
        exposed = ("selection", "nan-swallowed") if "unlabelled" in weights else ("weight-mixup", "zero-fill")
        flags = (*exposed, "position")
        yield _build(fmt, "required", "selection", flags, path, reduction, operands, batch, classes)


def _operands(stream: Stream, fmt: Format, reduction: str, labels: Array, weight: Array) -> dict[str, Array]:
    """Complete the operands with gradients that are not 1 and a total_weight that no kernel could guess.

    For mean the total is the sum of the picked weights in half of the cases, and deliberately not in the others;
    for the other reductions it is a number that would show if it were used.
    """
    batch = len(labels)
    g = samplers.log_uniform(stream, fmt, batch if reduction == "none" else 1, -3, 4)
    picked = float(np.where(np.isfinite(weight[labels]), weight[labels], 0).astype(np.float64).sum())
    other = 0.37 * batch + 1.625 + stream.integers(1, 0, 64)[0] / 64
    total = picked if reduction == "mean" and picked > 0 and stream.integers(1, 0, 2)[0] else other
    return {"loss_grad": g, "labels": labels, "weight": weight, "total_weight": fmt.cast(np.array([total]))}


# Numeric classes: gradients first, one for each sample (none) or one for all (sum, mean); then weights that suit them.


def _bits_gradients(stream: Stream, fmt: Format, total: float, n: int) -> Array:
    return samplers.uniform_bits(stream, fmt, n, None if fmt is FP16 else FP32_LIMIT)


def _non_finite_gradients(stream: Stream, fmt: Format, total: float, n: int) -> Array:
    finite, special = _bits_gradients(stream, fmt, total, n), samplers.non_finite(stream, fmt, n)
    bits = np.where(stream.integers(n, 0, 2) == 0, fmt.bits(finite), fmt.bits(special))
    return fmt.from_bits(bits)


def _log_gradients(stream: Stream, fmt: Format, total: float, n: int) -> Array:
    return samplers.log_uniform(stream, fmt, n, -7, 8)


def _normal_gradients(stream: Stream, fmt: Format, total: float, n: int) -> Array:
    return samplers.normal(stream, fmt, n)


def _hard_gradients(stream: Stream, fmt: Format, total: float, n: int) -> Array:
    odd = hard.odd_significands(stream, fmt, total, n).astype(np.float64)
    return fmt.cast(np.ldexp(odd * stream.signs(n), stream.integers(n, -3, 4)))


def _short_gradients(stream: Stream, fmt: Format, total: float, n: int) -> Array:
    short = hard.short_significands(stream, fmt, n, _tie_bits(fmt, total)).astype(np.float64)
    return fmt.cast(np.ldexp(short * stream.signs(n), -np.frexp(short)[1]))


def _tie_bits(fmt: Format, total: float) -> int:
    """Return how many bits gradients need to have ties with weights a * total, a * total being exact.

    A tie is a * g of p + 1 bits; a gradient of k bits has partners of at most p + 2 - k, and those times a total of t
    bits have at most p + 2 - k + t, which must not exceed p.
    """
    bits = hard.odd_part(total).bit_length()
    return bits + 2 if bits > 1 else 2


def _small_gradients(stream: Stream, fmt: Format, total: float, n: int) -> Array:
    low = fmt.emin // 2 if fmt is FP16 else -72
    return samplers.log_uniform(stream, fmt, n, low - 3, low + 2)


def _low_gradients(stream: Stream, fmt: Format, total: float, n: int) -> Array:
    # The smallest ordinary operands: their product is normal, and total_weight makes it subnormal.
    low = -FP32_LIMIT if fmt is not FP16 else fmt.emin // 2
    return samplers.log_uniform(stream, fmt, n, low, low + 3)


def _low_weights(stream: Stream, fmt: Format, total: float, g: Array) -> Array:
    low = -FP32_LIMIT if fmt is not FP16 else fmt.emin // 2
    return samplers.log_uniform(stream, fmt, len(g), low, low + 3, signed=False)


def _subnormal_gradients(stream: Stream, fmt: Format, total: float, n: int) -> Array:
    plain = samplers.log_uniform(stream, fmt, n, -3, 6)
    return np.where(stream.integers(n, 0, 2) == 0, plain, samplers.subnormals(stream, fmt, n))


def _large_gradients(stream: Stream, fmt: Format, total: float, n: int) -> Array:
    top = fmt.emax + 1 if fmt is FP16 else FP32_LIMIT
    return samplers.log_uniform(stream, fmt, n, top - 6, top)


def _top_gradients(stream: Stream, fmt: Format, total: float, n: int) -> Array:
    return samplers.log_uniform(stream, fmt, n, fmt.emax - 3, fmt.emax + 1)


def _unit_weights(stream: Stream, fmt: Format, total: float, g: Array) -> Array:
    # Up to 1: g * w stays in range. Where total_weight is below 1, g / total_weight may still leave it.
    return samplers.log_uniform(stream, fmt, len(g), -12, 0, signed=False)


def _non_finite_weights(stream: Stream, fmt: Format, total: float, g: Array) -> Array:
    finite, special = _unit_weights(stream, fmt, total, g), samplers.non_finite(stream, fmt, len(g))
    bits = np.where((stream.integers(len(g), 0, 2) == 0) & ~np.isfinite(g), fmt.bits(finite), fmt.bits(special))
    # What is open otherwise: an infinity with what may be flushed to zero.
    return fmt.from_bits(
        np.where(_well_conditioned(fmt, g, fmt.from_bits(bits)), bits, bits.dtype.type(fmt.exponent_mask | 1))
    )


def _log_weights(stream: Stream, fmt: Format, total: float, g: Array) -> Array:
    return samplers.log_uniform(stream, fmt, len(g), -6, 4, signed=False)


def _normal_weights(stream: Stream, fmt: Format, total: float, g: Array) -> Array:
    return np.abs(samplers.normal(stream, fmt, len(g)))


def _hard_weights(stream: Stream, fmt: Format, total: float, g: Array) -> Array:
    a = hard.near_midpoint_partners(stream, fmt, total, g).astype(np.float64)
    return fmt.cast(np.ldexp(a, stream.integers(len(g), -4, 1)))


def _tie_weights(stream: Stream, fmt: Format, total: float, g: Array) -> Array:
    return fmt.cast(hard.tie_partners(stream, fmt, g).astype(np.float64) * abs(total) / 4)


def _distinguishing_gradients(stream: Stream, fmt: Format, total: float, n: int) -> Array:
    pairs = islice(cycle(combinations(ORDERS, 2)), n)
    return np.concatenate([extremal.telling_apart(stream, fmt, abs(total), *pair, 1)[1] for pair in pairs])


def _distinguishing_weights(stream: Stream, fmt: Format, total: float, g: Array) -> Array:
    return extremal.telling_partners(stream, fmt, abs(total), g)


def _worst_gradients(stream: Stream, fmt: Format, total: float, n: int) -> Array:
    searches = [extremal.Search(order, False, 1) for order in islice(cycle(ORDERS), n)]
    return np.concatenate([b for _, _, b in extremal.worst(stream, fmt, abs(total), searches)])


def _worst_weights(stream: Stream, fmt: Format, total: float, g: Array) -> Array:
    return extremal.worst_partners(stream, fmt, abs(total), g)


def _small_weights(stream: Stream, fmt: Format, total: float, g: Array) -> Array:
    low = fmt.emin // 2 if fmt is FP16 else -72
    return samplers.log_uniform(stream, fmt, len(g), low - 3, low + 1, signed=False)


def _subnormal_weights(stream: Stream, fmt: Format, total: float, g: Array) -> Array:
    plain = samplers.log_uniform(stream, fmt, len(g), -3, 6, signed=False)
    return np.where(np.abs(g) < fmt.smallest_normal, plain, np.abs(samplers.subnormals(stream, fmt, len(g))))


def _tiny_weights(stream: Stream, fmt: Format, total: float, g: Array) -> Array:
    bottom = fmt.emin - 6 if fmt is FP16 else -FP32_LIMIT
    return samplers.log_uniform(stream, fmt, len(g), bottom, bottom + 12, signed=False)


def _overflowing_weights(stream: Stream, fmt: Format, total: float, g: Array) -> Array:
    return samplers.log_uniform(stream, fmt, len(g), -1, 4, signed=False)


class _Class(NamedTuple):
    gradients: Callable[[Stream, Format, float, int], Array]
    weights: Callable[[Stream, Format, float, Array], Array]
    flags: tuple[str, ...]
    reductions: tuple[str, ...] = REDUCTIONS
    stress: tuple[str, ...] = ()  #: reductions or dtypes that make the class stress


CLASSES: dict[str, _Class] = {
    "uniform-bits": _Class(_bits_gradients, _unit_weights, ("scaling", "sign", "overflow")),
    "non-finite-bits": _Class(_non_finite_gradients, _non_finite_weights, ("nan-swallowed", "special-values")),
    "log-uniform": _Class(_log_gradients, _log_weights, ("scaling", "rounding", "narrow-arithmetic")),
    "normal": _Class(_normal_gradients, _normal_weights, ("sign", "scaling", "reduction-mixup")),
    "hard-to-round": _Class(_hard_gradients, _hard_weights, ("rounding", "narrow-arithmetic")),
    "ties": _Class(_short_gradients, _tie_weights, ("rounding",)),
    "order-distinguishing": _Class(
        _distinguishing_gradients, _distinguishing_weights, ("evaluation-order",), reductions=("mean",)
    ),
    "maximal-error": _Class(_worst_gradients, _worst_weights, ("rounding", "evaluation-order"), reductions=("mean",)),
    # Subnormal results of fp32 need operands below 2**-60.
    "subnormal-results": _Class(_small_gradients, _small_weights, ("underflow",), stress=("fp32",)),
    "subnormal-quotients": _Class(_low_gradients, _low_weights, ("underflow",), reductions=("mean",)),
    "subnormal-operands": _Class(_subnormal_gradients, _subnormal_weights, ("underflow",), stress=("fp32",)),
    "tiny-weight-large-gradient": _Class(_large_gradients, _tiny_weights, ("underflow", "rounding")),
    "loss-scaled": _Class(_large_gradients, _unit_weights, ("overflow", "sign")),
    # A product that overflows is the result for none and sum. For mean the page's own order keeps it finite, and
    # that is the range that a build has to have: (g * w) / total_weight leaves it.
    "large-products": _Class(_top_gradients, _overflowing_weights, ("overflow",), stress=("fp32",)),
}


#: Classes that exist for :data:`LARGE_TOTAL` only.
UNDERFLOWING = ("subnormal-quotients",)
#: Classes that need a divisor that rounds.
DIVIDING = ("order-distinguishing", "maximal-error")


def _number_cases(suite: str, fmt: Format, reduction: str) -> Iterator[Case]:
    sizes = private.sizes_near(OPERATOR.name, {"smoke": (24,), "core": (24, 64), "full": (24, 64, 1024)}[suite])
    totals: tuple[float, ...] = (1.0,)
    drawn = private.drawn_scalars(OPERATOR.name)[2 : 3 if suite == "smoke" else 4]
    if reduction == "mean":
        written = TOTALS[:1] if suite == "smoke" else TOTALS
        totals = (*written, *drawn, LARGE_TOTAL)
    for total in totals:
        for klass, spec in CLASSES.items():
            if reduction not in spec.reductions or (klass in UNDERFLOWING) != (total == LARGE_TOTAL):
                continue
            # Any seed has as many cases, and few numbers have ties.
            if not has_inputs(fmt, klass, fmt.typed(total)) or (klass == "ties" and total in drawn):
                continue
            tier: Tier = "stress" if {reduction, fmt.name} & set(spec.stress) else "required"
            for n in sizes[: None if suite == "full" or total in (1.0, TOTALS[0], LARGE_TOTAL) else 1]:
                path = f"{reduction}/{klass}/" + (f"total={total:g}/" if reduction == "mean" else "") + f"n={n}"
                for named, g in _upstreams(fmt, path, spec, reduction, fmt.typed(total), n):
                    made = partial(_suited, spec, fmt, named, reduction, g, total, n)
                    yield _build(fmt, tier, klass, spec.flags, named, reduction, made, n, n)
        if total != LARGE_TOTAL:
            yield from _special_cases(fmt, reduction, total)


def has_inputs(fmt: Format, klass: str, total: float) -> bool:
    """Tell whether a class has inputs for a total: powers of two divide exactly, and long totals have no ties."""
    if klass in DIVIDING:
        return not is_power_of_two(total)
    return klass != "ties" or _tie_bits(fmt, total) <= fmt.precision - 2


def _upstreams(
    fmt: Format, path: str, spec: _Class, reduction: str, total: float, n: int
) -> Iterator[tuple[str, Callable[[], Array]]]:
    """Yield (path, gradients) of a class: one gradient a sample for none; sum and mean get three calls of one each.

    Such a call is named by the bits of its gradient.
    """
    stream = Stream(f"{OPERATOR.name}/{fmt.name}/{path}/gradients")
    if reduction == "none":
        yield path, lambda: spec.gradients(stream, fmt, total, n)
        return
    drawn = spec.gradients(stream, fmt, total, 6)
    while len(np.unique(fmt.bits(drawn))) < 3:  # any seed has as many
        drawn = np.concatenate([drawn, spec.gradients(stream, fmt, total, 6)])
    _, first = np.unique(fmt.bits(drawn), return_index=True)
    for g in drawn[np.sort(first)[:3]]:
        yield f"{path}/{_bits_name(fmt, g)}", partial(np.reshape, g, 1)


def _bits_name(fmt: Format, g: Array) -> str:
    return f"g=0x{int(fmt.bits(g.reshape(1))[0]):0{fmt.width // 4}x}"


def _special_cases(fmt: Format, reduction: str, total: float) -> Iterator[Case]:
    """Every special gradient with every special weight, and special totals; see :func:`_well_conditioned`."""
    flags = ("nan-swallowed", "special-values")
    values = samplers.specials(fmt, extreme=fmt is FP16)
    totals = [total]
    if reduction == "mean" and total == TOTALS[0]:
        totals += [float("inf"), float("nan")]
    for divisor in totals:
        prefix = f"{reduction}/special-values" + (f"/total={divisor:g}" if reduction == "mean" else "")
        for g in values:
            w = values[_well_conditioned(fmt, g, values)]
            path = f"{prefix}/{_bits_name(fmt, g)}"
            made = partial(_special, fmt, path, reduction, g, w, divisor)
            tier: Tier = "required" if divisor > 0 else "stress"  # no sum of such weights
            yield _build(fmt, tier, "special-values", flags, path, reduction, made, len(w), len(w))


def _special(fmt: Format, path: str, reduction: str, g: Array, w: Array, total: float) -> dict[str, Array]:
    upstream = np.resize(g, len(w) if reduction == "none" else 1)
    return _numbers(fmt, reduction, upstream, w, total, Stream(f"{OPERATOR.name}/{fmt.name}/{path}"))


def _well_conditioned(fmt: Format, g: Array, w: Array) -> Array:
    """Tell which special weights have one result with this gradient, whatever the legal order.

    Left out: infinite factors with one that may be flushed to zero, alone or as weight / total_weight, and finite
    pairs whose product or quotient overflows in one legal order and not in another.
    """
    with np.errstate(invalid="ignore"):
        size, other = np.abs(w.astype(np.float64)), np.abs(g.astype(np.float64))
        vanishing = np.isinf(other) & (size > 0) & (size < 2.0**7 * fmt.smallest_normal)
        vanishing |= np.isinf(size) & (other > 0) & (other < fmt.smallest_normal)
        overflowing = np.isfinite(size) & (size > 2.0**12) & np.isfinite(other)
    keep: Array = ~(vanishing | overflowing)
    return keep


def _suited(
    spec: _Class, fmt: Format, path: str, reduction: str, g: Callable[[], Array], total: float, n: int
) -> dict[str, Array]:
    """Return the operands of a class: its gradients, and weights that suit them."""
    upstream, stream = g(), Stream(f"{OPERATOR.name}/{fmt.name}/{path}")
    w = spec.weights(stream, fmt, fmt.typed(total), np.resize(upstream, n))
    if total < 0:  # as a sum of weights is where these are negative
        w = -w
    return _numbers(fmt, reduction, upstream, w, total, stream)


def _numbers(fmt: Format, reduction: str, g: Array, w: Array, total: float, stream: Stream) -> dict[str, Array]:
    """Give every weight a class of its own, named by one sample, in shuffled order."""
    labels = stream.permutation(len(w)).astype(np.int32)
    weight = np.empty_like(w)
    weight[labels] = w
    # Where total_weight is not used it holds a number that would show if it were.
    used = total if reduction == "mean" else 3.25
    return {"loss_grad": g, "labels": labels, "weight": weight, "total_weight": fmt.cast(np.array([used]))}


def _realistic_cases(suite: str, fmt: Format, reduction: str) -> Iterator[Case]:
    for step, found in enumerate(realistic.classifier(1 if suite == "smoke" else 6)):
        operands = {k: v if v.dtype == np.int32 else fmt.cast(v) for k, v in found.items()}
        if reduction != "none":
            operands["loss_grad"] = operands["loss_grad"][:1]
        path = f"{reduction}/classifier/step={step}"
        batch = len(operands["labels"])
        yield _build(fmt, "required", "classifier", ("realistic",), path, reduction, operands, batch, realistic.CLASSES)


def _build(
    fmt: Format,
    tier: Tier,
    klass: str,
    flags: tuple[str, ...],
    path: str,
    reduction: str,
    operands: dict[str, Array] | Callable[[], dict[str, Array]],
    batch: int,
    classes: int,
) -> Case:
    scalars: dict[str, int | float | str] = {"batch": batch, "class_num": classes, "reduction_type": reduction}
    return make_case(OPERATOR, fmt, tier, klass, flags, path, scalars, operands)


#: Classes that :func:`draw` draws from: those whose inputs need no search.
DRAWN = tuple(k for k in CLASSES if k not in (*DIVIDING, *UNDERFLOWING))
_VOCABULARIES = (2, 3, 10, 64, 100, 128, 256, 257, 512, 1000, 1024, 21841, 30522, 32000, 50257, 65537)


def draw(stream: Stream, fmt: Format, sizes: list[int]) -> drawing.Batch:
    """Draw a batch of calls: see :mod:`generators.drawing`; ``sizes`` are of the output, nearly."""
    reduction = REDUCTIONS[int(stream.integers(1, 0, 3)[0])]
    total = _drawn_total(stream, fmt)
    known = [k for k in DRAWN if reduction in CLASSES[k].reductions and has_inputs(fmt, k, total)]
    klass = known[int(stream.integers(1, 0, len(known))[0])]
    spec, any_bits = CLASSES[klass], int(stream.integers(1, 0, 5)[0]) == 0
    tier: Tier = "stress" if {reduction, fmt.name} & set(spec.stress) else "required"
    shapes = [_drawn_shape(stream, n) for n in sizes]
    upstreams = [batch if reduction == "none" else 1 for batch, _ in shapes]
    g = spec.gradients(stream, fmt, total, sum(upstreams))
    mine = drawing.shared_out([g], upstreams)
    one = np.ones(1, fmt.dtype)  # where there are no samples
    suited = [np.resize(own if own.size else one, classes) for (own,), (_, classes) in zip(mine, shapes, strict=True)]
    w = spec.weights(stream, fmt, total, np.concatenate(suited))
    if any_bits:
        klass, g, w = "any-bits", drawing.with_any_bits(stream, fmt, g), drawing.with_any_bits(stream, fmt, w)
    upstream = drawing.shared_out([g], upstreams)
    weights = drawing.shared_out([w], [classes for _, classes in shapes])
    calls = []
    for (batch, classes), (own,), (drawn,) in zip(shapes, upstream, weights, strict=True):
        kinds = stream.integers(3, 0, 15).tolist()
        labels = labels_of(LABELS[kinds[0] % 5], stream, batch, classes)
        unused = np.ones(classes, bool)
        unused[labels] = False
        weight = drawn
        if kinds[1] < 3:  # whatever the weight of a class that no label names: it has no influence
            weight = np.where(unused, fmt.dtype.type((np.nan, np.inf, 0.0)[kinds[1]]), drawn)
        scalars: dict[str, int | float | str] = {"batch": batch, "class_num": classes, "reduction_type": reduction}
        given = total if reduction == "mean" else (3.25, np.nan, 0.0, -1.0, np.inf)[kinds[2] % 5]
        operands = {"loss_grad": own, "labels": labels, "weight": weight}
        calls.append(drawing.Drawn(scalars, {**operands, "total_weight": fmt.cast(np.array([given]))}))
    return drawing.Batch(klass, tier, calls)


def _drawn_total(stream: Stream, fmt: Format) -> float:
    """Draw a total of weights: one of the usual positive ones, or any from 2**-4 to 2**12."""
    kind, fraction = int(stream.integers(1, 0, 3)[0]), float(stream.unit(1)[0])
    if kind == 0:
        return fmt.typed(TOTALS[int(fraction * (len(TOTALS) - 1))])
    return fmt.typed((1 + float(stream.unit(1)[0]) if kind == 1 else 1.0) * 2.0 ** int(16 * fraction - 4))


def _drawn_shape(stream: Stream, n: int) -> tuple[int, int]:
    """Draw (batch, class_num) of about n elements: any number of classes, few, or as many as vocabularies have."""
    kind, fraction = int(stream.integers(1, 0, 4)[0]), float(stream.unit(1)[0])
    classes = int((n + 1) ** fraction)
    if kind == 0:
        classes = _VOCABULARIES[int(len(_VOCABULARIES) * fraction)]
    elif kind == 1:
        classes = 2 + int(299 * fraction)
    classes = max(1, min(classes, n))
    return n // classes, classes


#: Different pairs of gradient and weight in a case of a suite file: searching for them takes time.
_PAIRS = 512


def _offered(stream: Stream, fmt: Format, klass: str, scalars: Scalars) -> dict[str, Array]:
    """Return operands of a class at a shape: pairs of gradient and weight in turn, for labels in shuffled order."""
    batch, classes, reduction = int(scalars["batch"]), int(scalars["class_num"]), str(scalars["reduction_type"])
    pairs = min(batch, classes, _PAIRS)
    labels = stream.permutation(classes)[np.arange(batch) % max(pairs, 1)].astype(np.int32)
    weight = weights_of("distinct", stream, fmt, labels, classes)
    if klass == "shape" or not pairs:
        if batch and klass == "shape":
            labels = stream.integers(batch, 0, classes).astype(np.int32)
            labels[-1] = classes - 1  # the widest label there is
        return _operands(stream, fmt, reduction, labels, weight)
    spec, low = CLASSES[klass], klass in UNDERFLOWING
    able = [t for t in TOTALS if t > 0 and has_inputs(fmt, klass, fmt.typed(t))]
    total = 1.0 if reduction != "mean" else LARGE_TOTAL if low else float(stream.choice(1, able)[0])
    g = spec.gradients(stream, fmt, fmt.typed(total), pairs if reduction == "none" else 1)
    weight[labels[:pairs]] = spec.weights(stream, fmt, fmt.typed(total), np.resize(g, pairs))
    used = total if reduction == "mean" else 3.25
    upstream = np.resize(g, batch if reduction == "none" else 1)
    return {"loss_grad": upstream, "labels": labels, "weight": weight, "total_weight": fmt.cast(np.array([used]))}


OFFER = Offer(
    classes={
        "shape": (("partition", "weight-mixup", "zero-fill"), ()),
        **{name: (spec.flags, tuple(d for d in OPERATOR.dtypes if d in spec.stress)) for name, spec in CLASSES.items()},
    },
    usual="shape",
    operands=_offered,
    scalars={"reduction_type": REDUCTIONS},
    sizes=((24, 24), (64, 64)),
    has_inputs=lambda fmt, klass, scalars: klass == "shape" or scalars["reduction_type"] in CLASSES[klass].reductions,
)
