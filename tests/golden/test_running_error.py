"""Legal sets: nothing that an evaluation gives is outside, and they are no wider than what the derivation allows."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

import numpy as np
import pytest

from golden.formats import FORMATS, FP16, FP32, Array, Format
from golden.legal import Part, legal_parts, overflowing
from golden.operator import Scalars, operator
from golden.pointwise import Pointwise, dense
from golden.running_error import RunningError
from golden.terms import Figures, Flush, PlatformArithmetic, Terms, Unit
from golden.working import WorkingPrecision

BOTH = pytest.mark.parametrize("fmt", FORMATS.values(), ids=list(FORMATS))
SMOOTH, NLL = dense("smoothl1lossgrad"), dense("nlllossgrad")
#: Platforms, from correct rounding to units as bad as any in use.
PLATFORMS = {
    "correct": PlatformArithmetic(),
    "estimates": PlatformArithmetic(fp32=Figures(divide=2.5, reciprocal=1.5), fp16=Figures(divide=2.5, reciprocal=2)),
    "truncating": PlatformArithmetic(fp32=Figures(1, 1, 1, 1, 1), fp16=Figures(1, 1, 1, 1, 1), rounding="toward-zero"),
    "faithful": PlatformArithmetic(fp32=Figures(1, 1, 1, 1, 1), fp16=Figures(1, 1, 1, 1, 1), rounding="either"),
    "coarse": PlatformArithmetic(Figures(1, 3, 2.5, 2, 1), Figures(1, 3, 4, 2, 1), exact_powers=False),
}


def bits(fmt: Format, seed: int, n: int, kind: str) -> Array:
    """Random numbers: any bits; small magnitudes, most of them subnormal; or ordinary ones."""
    draw = np.random.Generator(np.random.Philox(seed))
    fraction = draw.integers(0, 1 << (fmt.precision - 1), n)
    sign = draw.integers(0, 2, n) << (fmt.width - 1)
    top = (1 << (fmt.width - fmt.precision)) - 1
    low, high = {"any": (0, top + 1), "small": (0, 12), "ordinary": (fmt.emax - 8, fmt.emax + 8)}[kind]
    found = fraction | draw.integers(low, high, n) << (fmt.precision - 1) | sign
    return fmt.from_bits(found.astype(fmt.bits_dtype))


def inputs(fmt: Format, n: int, kind: str) -> Iterator[tuple[Pointwise, Scalars, dict[str, Array]]]:
    """Points of both operators: ordinary and extreme divisors, powers of two among them."""
    for k, beta in enumerate((0.1, 1 / 3, 0.5, 2.0**-14, 100.0, fmt.largest / 4, fmt.step)):
        operands = {name: bits(fmt, 3 * k + i, n, kind) for i, name in enumerate(("dy", "x1", "x2"))}
        if k % 2:
            operands["x2"] = np.zeros(n, fmt.dtype)
        else:  # differences near beta
            operands["x1"] = fmt.cast(fmt.typed(beta) * np.linspace(-1.5, 1.5, n))
        yield SMOOTH, {"length": n, "beta": fmt.typed(beta)}, operands
    for k, total in enumerate((3.0, 64.0, 0.7, 2.0**-13, fmt.largest / 2, None)):
        operands = {name: bits(fmt, 50 + 3 * k + i, n, kind) for i, name in enumerate(("loss_grad", "weight"))}
        operands["total_weight"] = bits(fmt, 80, n, kind) if total is None else np.full(n, total, fmt.dtype)
        yield NLL, {"batch": n, "reduction_type": "mean"}, operands
    yield NLL, {"batch": n, "reduction_type": "none"}, operands


def inside(parts: Sequence[Part], got: Array) -> Array:
    """Return which results are in one of the parts."""
    found = np.zeros(got.shape, bool)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        for part in parts:
            found[part.at] |= part.holds(got.astype(np.float64))
    return found


def choices(adversarial: bool) -> list[Callable[[int, tuple[int, ...]], Array] | None]:
    """Ways to be as wrong as a unit may: always high, always low, at random."""
    draw = np.random.Generator(np.random.Philox(1))
    ends: list[Callable[[int, tuple[int, ...]], Array]] = [
        lambda k, shape: np.ones(shape, bool),
        lambda k, shape: np.zeros(shape, bool),
        lambda k, shape: draw.random(shape) < 0.5,
    ]
    return [*ends] if adversarial else [None]


def everywhere() -> list[object]:
    """Platforms and kinds of numbers; in the fast suite one of each."""
    fast = {("correct", "any"), ("correct", "small"), ("estimates", "small"), ("truncating", "any")}
    pairs = itertools.product(PLATFORMS, ("any", "small", "ordinary"))
    return [pytest.param(*pair, marks=[] if pair in fast else [pytest.mark.confirm]) for pair in pairs]


@BOTH
@pytest.mark.parametrize(("platform", "kind"), everywhere())
def test_every_evaluation_is_in_its_own_parts(fmt: Format, kind: str, platform: str) -> None:
    """Every order, in every width and flush mode, with operations as bad as the platform lets them be."""
    n, arithmetic = 60, PLATFORMS[platform]
    seen = 0
    for op, scalars, operands in inputs(fmt, n, kind):
        parts = legal_parts(op, fmt, scalars, operands, np.arange(n), Terms(True, arithmetic))
        for order, inner, flush in itertools.product(op.programs(scalars), {fmt, FP32}, Flush):
            own = [p for p in parts if (p.order, p.inner) == (order, inner.name) and p.flush in (flush, Flush.NONE)]
            for choice in choices(platform != "correct"):
                got = op.evaluate(order, WorkingPrecision(inner, flush, arithmetic, choice), fmt, scalars, operands)
                wrong = np.flatnonzero(~inside(own, got))
                assert wrong.size == 0, (op.name, order, inner.name, flush, got[wrong[0]], point(operands, wrong[0]))
                seen += n
    assert seen > 20_000


def point(operands: dict[str, Array], k: int) -> dict[str, str]:
    return {name: values[k].astype(float).hex() for name, values in operands.items()}


@pytest.mark.parametrize("beta", [0.1, 0.5, 3.0])
def test_sets_hold_what_some_evaluation_gives_and_little_more(beta: float) -> None:
    """fp16, both ends of every part against exhaustive choice: with a rounding less, the interval would be too narrow.

    Where operations are as bad as they may, every way of choosing high or low is followed. The ends of a part lie no
    further out than the operations' errors add up to in exact arithmetic.
    """
    fmt, n = FP16, 400
    operands = {"dy": bits(fmt, 1, n, "ordinary"), "x1": bits(fmt, 2, n, "ordinary"), "x2": np.zeros(n, fmt.dtype)}
    operands["x1"] = fmt.cast(beta * np.linspace(-0.99, 0.99, n))
    scalars: Scalars = {"length": n, "beta": fmt.typed(beta)}
    faithful = PLATFORMS["faithful"]
    terms = Terms(False, faithful)
    parts = legal_parts(SMOOTH, fmt, scalars, operands, np.arange(n), terms)
    for order in SMOOTH.programs(scalars):
        (part,) = (p for p in parts if p.order == order and p.inner == "fp16" and p.at.size == n)
        results = []
        for choice in itertools.product((False, True), repeat=5):
            m = WorkingPrecision(fmt, Flush.NONE, faithful, lambda k, shape, c=choice: np.full(shape, c[k]))
            results.append(SMOOTH.evaluate(order, m, fmt, scalars, operands).astype(np.float64))
        lowest, highest = np.min(results, axis=0), np.max(results, axis=0)
        assert (part.low <= lowest).all() and (highest <= part.high).all()
        # Some ends are met; the others lie where every rounding would be off by all that it may.
        assert np.mean(part.low == lowest) > 0.05 and np.mean(part.high == highest) > 0.05
        width = (highest - lowest) / fmt.ulp_of(np.abs(highest))
        assert ((part.high - part.low) / fmt.ulp_of(np.abs(highest)) <= 2 * width + 4).all()


@BOTH
def test_zero_slack_is_golden(fmt: Format) -> None:
    """Powers of two divide exactly: every order rounds the exact product once, and so only golden's bits are left."""
    n, draw = 500, np.random.Generator(np.random.Philox(2))
    for beta in (0.25, 1.0, 64.0):
        dy, x1 = fmt.cast(draw.uniform(1, 8, (2, n)))
        operands = {"dy": dy, "x1": fmt.cast(x1 * beta / 8), "x2": np.zeros(n, fmt.dtype)}
        scalars: Scalars = {"length": n, "beta": beta}
        golden = SMOOTH.oracle(fmt, scalars, operands).value
        for part in legal_parts(SMOOTH, fmt, scalars, operands, np.arange(n), Terms()):
            if part.inner == fmt.name:
                assert np.array_equal(part.low, golden[part.at]) and np.array_equal(part.high, golden[part.at])


def one(fmt: Format, scalars: Scalars, terms: Terms, **numbers: float) -> list[Part]:
    operands = {name: np.array([value], fmt.dtype) for name, value in numbers.items()}
    return legal_parts(dense("smoothl1lossgrad" if "dy" in numbers else "nlllossgrad"), fmt, scalars, operands,
                       np.arange(1), terms)  # fmt: skip


def test_what_lies_between_two_parts_is_not_legal() -> None:
    """A subnormal operand is flushed, or it is not: half of the exact value is what no platform gives."""
    x1 = float(FP16.from_bits(np.array([0x0221], np.uint16))[0])
    parts = one(FP16, {"length": 1, "beta": FP16.typed(0.1)}, Terms(True), dy=191.6, x1=x1, x2=0.0)
    assert inside(parts, np.float16([0.0623])) and inside(parts, np.float16([0.0]))
    for between in (0.03114, 0.001, 0.06, 0.0625, -0.03114):
        assert not inside(parts, np.float16([between])), between
    kept = one(FP16, {"length": 1, "beta": FP16.typed(0.1)}, Terms(False), dy=191.6, x1=x1, x2=0.0)
    assert not inside(kept, np.float16([0.0]))


def test_an_order_that_leaves_the_pages_range_is_told() -> None:
    scalars: Scalars = {"batch": 1, "class_num": 1, "reduction_type": "mean"}
    parts = one(FP16, scalars, Terms(), loss_grad=-15830.0, weight=4.5, total_weight=3.0)
    beyond = {p.order for p in parts if p.overflow.any()}
    assert beyond == {"product-first", "reciprocal-last"}
    assert all(np.isinf(p.low).all() for p in parts if p.overflow.any())
    operands = {name: np.float16([v]) for name, v in (("loss_grad", -15830), ("weight", 4.5), ("total_weight", 3))}
    where = (dense("nlllossgrad"), FP16, scalars, operands, 0)
    assert overflowing(*where, "product-first") == "weight * loss_grad = -71244"
    assert overflowing(*where, "formula") == ""
    # The page's own order may do it: that is what the page says.
    own = one(FP16, scalars, Terms(), loss_grad=0.5, weight=60000.0, total_weight=0.25)
    assert {p.order for p in own if p.overflow.any()} >= {"formula"}


def test_powers_of_two_are_exact_only_where_the_profile_says_so() -> None:
    """Beside a tie: the neighbour is no result of an exact division, and is one of a division that rounds."""
    numbers = [float(FP16.from_bits(np.array([b], np.uint16))[0]) for b in (0x381E, 0xBCDA, 0xBCD5)]
    names = dict(zip(("dy", "x1", "x2"), numbers, strict=True))
    golden, other = FP16.from_bits(np.array([0xA126, 0xA125], np.uint16))
    for exact in (True, False):
        terms = Terms(False, PlatformArithmetic(exact_powers=exact))
        parts = one(FP16, {"length": 1, "beta": 0.25}, terms, **names)
        assert inside(parts, np.array([golden])) and inside(parts, np.array([other])) == (not exact)


@BOTH
def test_single_operations_against_rationals(fmt: Format) -> None:
    """Of loaded numbers: an operation's result is what rounding its exact value once gives, and nothing else."""
    n = 300
    for kind in ("any", "small", "ordinary"):
        a, b = bits(fmt, 11, n, kind), bits(fmt, 12, n, kind)
        for name in ("add", "subtract", "multiply", "divide"):
            program = lambda m, x, y, name=name: getattr(m, name)(x, y)  # noqa: E731
            found = Programmed(program)
            parts = legal_parts(found, fmt, {"length": n}, {"a": a, "b": b}, np.arange(n), Terms())
            for part in (p for p in parts if p.inner == fmt.name):
                for k, low, high in zip(part.at.tolist(), part.low, part.high, strict=True):
                    exact = found.exact(fmt, {"length": n}, {"a": a, "b": b}, k)
                    wanted = float(fmt.from_bits(np.array([fmt.round(exact)], fmt.bits_dtype))[0])
                    assert low == high == wanted or np.isnan([low, high, wanted]).all(), (name, a[k], b[k])


class Programmed(Pointwise):
    """An operator of one program of a and b."""

    def __init__(self, program: Callable[..., object]) -> None:
        super().__init__(operator("smoothl1lossgrad"))
        self._program = program

    def variables(self, scalars: Scalars) -> tuple[str, ...]:
        return ("a", "b")

    def programs(self, scalars: Scalars) -> dict[str, Callable[..., object]]:
        return {"formula": self._program}

    def correctly_rounded(self, fmt: Format, scalars: Scalars, values: Sequence[Array]) -> object:  # type: ignore[override]
        return super(Pointwise, self).correctly_rounded(fmt, scalars, values)


@BOTH
@pytest.mark.parametrize(
    ("figure", "rounding"),
    [  # what a unit cuts off may be nearly an ulp: none of 0.75 truncates
        pair
        for pair in itertools.product([0.5, 0.75, 1.0, 1.5, 2.5], ["nearest", "toward-zero", "either"])
        if pair != (0.75, "toward-zero")
    ],
)
def test_units_against_rationals(fmt: Format, rounding: str, figure: float) -> None:
    """Every number beside an exact result, held against the definition of a unit."""
    unit = Unit(figure, rounding)  # type: ignore[arg-type]
    values = [Fraction(float(v)) for v in bits(fmt, 3, 30, "ordinary")] + [
        Fraction(k, 4) * Fraction(fmt.step) for k in range(-9, 10) if k
    ]
    for base, eighths in itertools.product(values, range(8)):
        exact = base + Fraction(eighths, 8) * fmt.ulp(base)
        if exact == 0:
            continue
        near = fmt.decode(fmt.round(exact))
        around = np.float64(float(near)) + np.arange(-6, 7) * float(fmt.ulp(exact)) / 2
        allowed = [v for v in sorted(set(fmt.cast(around).astype(float).tolist())) if may_become(fmt, unit, exact, v)]
        z = np.array([float(exact)])
        got = float(unit.lowest(fmt, z)[0]), float(unit.highest(fmt, z)[0])
        assert got == (allowed[0], allowed[-1]), (exact, allowed)


def may_become(fmt: Format, unit: Unit, exact: Fraction, value: float) -> bool:
    """The definition in :class:`golden.terms.Unit`, in rationals."""
    number, away = Fraction(value), abs(Fraction(value) - exact) / fmt.ulp(exact)
    representable = fmt.is_representable(exact)
    if value and (number > 0) != (exact > 0):
        return False
    if unit.figure <= 1 and representable:
        return number == exact
    if unit.figure == 0.5:
        below, above = (abs(Fraction(float(v)) - exact) for v in (unit_down(fmt, exact), unit_up(fmt, exact)))
        if below == above:
            if unit.rounding == "nearest":
                return fmt.decode(fmt.round(exact)) == number or (value == 0 and fmt.round(exact) & ~fmt.sign_mask == 0)
            if unit.rounding == "toward-zero":
                return number == min(
                    (unit_down(fmt, exact), unit_up(fmt, exact)), key=lambda v: abs(Fraction(float(v)))
                )
        return abs(number - exact) == min(below, above)
    beside = unit.figure > 1 or value in (unit_down(fmt, exact), unit_up(fmt, exact))
    inward = unit.rounding != "toward-zero" or abs(number) <= abs(exact)
    return beside and inward and away <= unit.figure


def unit_down(fmt: Format, exact: Fraction) -> float:
    near = float(fmt.from_bits(np.array([fmt.round(exact)], fmt.bits_dtype))[0])
    return near if Fraction(near) <= exact else float(np.nextafter(fmt.dtype.type(near), fmt.dtype.type(-np.inf)))


def unit_up(fmt: Format, exact: Fraction) -> float:
    return -unit_down(fmt, -exact)


def test_branches_are_numbered_alike_in_every_run() -> None:
    """A branch of one operation keeps its number, whatever elements a run has: else a script would lead astray."""
    fmt = FP16
    m = RunningError(fmt, Flush.RESULTS)
    edge = np.array([fmt.smallest_normal * 1.5, 1.0])
    m.multiply(m.multiply(m.load(edge), m.load(np.array([0.7, 0.7]))), m.load(np.array([0.95235, 0.95235])))
    alone = RunningError(fmt, Flush.RESULTS)
    alone.multiply(alone.multiply(alone.load(edge[:1]), alone.load(np.array([0.7]))), alone.load(np.array([0.95235])))
    assert list(m.branches) == list(alone.branches) != []
