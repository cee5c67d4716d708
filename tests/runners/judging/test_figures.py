"""What a failing build would conform with: found for builds of known arithmetic, and not claimed for others."""

from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from golden.case import Case
from golden.files.manifest import read_suite
from golden.formats import FORMATS, FP32, Array
from golden.judge import judge
from golden.operator import EntryPoint, operator
from golden.profile import Calling, load_profile
from golden.terms import Figures, Flush, PlatformArithmetic, Terms
from golden.working import WorkingPrecision
from runners.calling.call import Invocation, Outcome
from runners.judging.figures import Illegal, would_conform
from runners.judging.verdict import EntryPointVerdict
from runners.judging.xfail import read_xfail
from tests.helpers.command import ROOT

Compute = Callable[[Case], Array]


def cases(name: str, dtype: str) -> list[Case]:
    found = [f for f in read_suite(ROOT / "vectors" / "smoke") if (f.operator.name, f.dtype) == (name, dtype)]
    return [case for file in found for case in file.cases if case.tier == "required"]


def told(name: str, dtype: str, compute: Compute, terms: Terms | None = None) -> str:
    """Judge results of all required cases, and say what they would conform with."""
    terms = terms or Terms()
    illegal = Illegal(EntryPoint(operator(name), FORMATS[dtype], "private"))
    for case in cases(name, dtype):
        output = compute(case)
        judged = judge(case, output, terms)
        if judged.failing.size:
            illegal.add(case, judged.at[judged.failing], output)
    assert not illegal.empty
    return would_conform(illegal, terms)


def build(
    order: str, flush: Flush = Flush.NONE, arithmetic: PlatformArithmetic | None = None, *, high: bool = True
) -> Compute:
    """Results of an order, with every operation as high, or as low, as the platform lets it be."""

    def compute(case: Case) -> Array:
        choice = None if arithmetic is None else lambda k, shape: np.full(shape, high)
        m = WorkingPrecision(case.fmt, flush, arithmetic, choice)
        return case.operator.evaluate(order, m, case.fmt, case.scalars, case.operands)

    return compute


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("nlllossgrad", "product-first"),
        pytest.param("smoothl1lossgrad", "gradient-first", marks=pytest.mark.confirm),
    ],
)
def test_flushing_and_range_are_policies(name: str, order: str) -> None:
    """In fp16: fp32 cases of subnormals are stress."""
    for flush in (Flush.OPERANDS, Flush.RESULTS, Flush.BOTH):
        assert told(name, "fp16", build("formula", flush)) == "subnormals = flush"
    assert told(name, "fp16", build(order)) == "range = any-order"


@pytest.mark.parametrize("figure", [1.5, 2.5])
def test_the_figure_of_a_coarse_division_is_named(figure: float) -> None:
    """It is not below what the division was off by at least once, and not above what it may be off by."""
    arithmetic = PlatformArithmetic(fp32=Figures(divide=figure))
    words = told("smoothl1lossgrad", "fp32", build("formula", Flush.NONE, arithmetic))
    name, _, value = words.partition(" = ")
    assert name == "fp32.divide" and 0.5 < float(value) <= figure
    assert float(value) > figure - 0.5
    # Held to what it is, nothing fails; held to a little less than was named, something does.
    exact = Terms(False, PlatformArithmetic(fp32=Figures(divide=float(value))))
    less = Terms(False, PlatformArithmetic(fp32=Figures(divide=round(float(value) - 0.01, 2))))
    failing = dict.fromkeys((exact, less), 0)
    for case in cases("smoothl1lossgrad", "fp32"):
        output = build("formula", Flush.NONE, arithmetic)(case)
        for terms in failing:
            failing[terms] += judge(case, output, terms).failing.size
    assert failing[exact] == 0 < failing[less]


def test_truncation_is_named() -> None:
    ones = Figures(1, 1, 1, 1, 1)
    truncating = PlatformArithmetic(fp32=ones, fp16=ones, rounding="toward-zero")

    def compute(case: Case) -> Array:
        m = WorkingPrecision(FP32, Flush.NONE, truncating, lambda k, shape: np.zeros(shape, bool))
        return case.operator.evaluate("formula", m, case.fmt, case.scalars, case.operands)

    words = told("smoothl1lossgrad", "fp32", compute)
    assert words.endswith("rounding = toward-zero") and "fp32.divide = 1" in words


def test_nothing_is_claimed_for_what_no_arithmetic_gives() -> None:
    def doubled(case: Case) -> Array:
        return case.golden.value * case.fmt.dtype.type(2)

    def elsewhere(case: Case) -> Array:
        output = case.golden.value.copy()
        output[(output == 0).argmax()] += case.fmt.dtype.type(1) if output.size else case.fmt.dtype.type(0)
        return output

    with np.errstate(all="ignore"):
        assert told("smoothl1lossgrad", "fp32", doubled) == ""
        assert told("nlllossgrad", "fp32", lambda c: elsewhere(c) if c.golden.value.size else c.golden.value) == ""


def test_what_terms_allow_is_legal_and_told_apart() -> None:
    """A number for NaN, and an overflow on the way: failures that become what is allowed, and nothing else does."""
    fmt, op = FORMATS["fp16"], operator("nlllossgrad")
    scalars: dict[str, int | float | str] = {"batch": 3, "class_num": 1, "reduction_type": "mean"}
    operands = {
        "loss_grad": np.array([-15830], fmt.dtype),
        "labels": np.zeros(3, np.int32),
        "weight": np.array([4.5], fmt.dtype),
        "total_weight": np.array([3], fmt.dtype),
    }
    golden = op.oracle(fmt, scalars, operands)
    case = Case("x", op, "fp16", "required", "x", (), scalars, operands, golden)
    output = np.array([np.inf, -np.inf, golden.value[2]], fmt.dtype)
    for any_range in (False, True):
        judged = judge(case, output, Terms(any_range=any_range))
        assert judged.at.tolist() == [0, 1] and judged.beyond.tolist() == [True, False]
        assert judged.failing.tolist() == ([1] if any_range else [0, 1])
        assert judged.allowed.tolist() == [any_range, False]
    nan = {**operands, "loss_grad": np.array([np.nan], fmt.dtype)}
    case = Case("x", op, "fp16", "required", "x", (), scalars, nan, op.oracle(fmt, scalars, nan))
    for any_nan in (False, True):
        judged = judge(case, np.ones(3, fmt.dtype), Terms(any_nan=any_nan))
        assert judged.failing.size == (0 if any_nan else 3) and judged.allowed.all() == any_nan


@pytest.mark.parametrize("specials", ["ieee", "finite"])
def test_cases_of_nan_and_infinity_decide_unless_the_platform_promises_nothing(specials: str) -> None:
    """A build that gets them wrong, alone."""
    profile = load_profile("host")
    profile = msgspec.structs.replace(profile, calling=Calling(specials=specials))  # type: ignore[arg-type]
    special = next(c for c in cases("smoothl1lossgrad", "fp32") if "special-values" in c.id)
    ordinary = next(c for c in cases("smoothl1lossgrad", "fp32") if c.klass == "normal")
    for case, decides in ((special, specials == "ieee"), (ordinary, True)):
        verdict = EntryPointVerdict(EntryPoint(case.operator, case.fmt, "private"), profile, False, read_xfail(None))
        wrong = np.full(case.golden.value.size, 12345, case.fmt.dtype)
        verdict.add(case, [Invocation()], [Outcome("ok", wrong.tobytes())])
        assert (verdict.result(1).failures == 1) == decides


def test_estimates_that_are_not_exact_for_powers_of_two_are_named_as_such() -> None:
    arithmetic = PlatformArithmetic(fp32=Figures(divide=40), exact_powers=False)
    words = told("smoothl1lossgrad", "fp32", build("formula", Flush.NONE, arithmetic))
    name, _, value = words.removesuffix(", exact-powers = false").partition(" = ")
    assert name == "fp32.divide" and 2.5 < float(value) <= 40 and words.endswith(", exact-powers = false")


def test_alike_elements_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large case repeats its data: as many different ones as in a small one do not make it hopeless."""
    case = cases("smoothl1lossgrad", "fp32")[0]
    at = np.arange(case.golden.value.size)
    monkeypatch.setattr("runners.judging.figures.LIMIT", at.size)
    illegal = Illegal(EntryPoint(operator("smoothl1lossgrad"), FORMATS["fp32"], "private"))
    illegal.add(case, np.tile(at, 50), case.golden.value)
    assert not illegal.hopeless
    illegal.add(case, at, case.golden.value)
    assert illegal.hopeless
