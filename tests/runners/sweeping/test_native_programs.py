"""The C judge of any program, by any terms: the tally is NumPy's, and C settles what is ordinary itself."""

from typing import Any

import numpy as np
import pytest

from golden.formats import FORMATS, Array, Format
from golden.operator import Operator, Scalars
from golden.pointwise import Pointwise
from golden.program import Program
from golden.rounding import Golden
from golden.terms import Figures, PlatformArithmetic, Terms
from golden.working import WorkingPrecision
from runners.sweeping import judge as native
from runners.sweeping.tally import BlockTally, numpy_tally
from tests.helpers.judged import BOTH, NEEDS_C, judge, near, patterns
from tests.helpers.programs import PROGRAMS, Elementwise

pytestmark = NEEDS_C
COUNT = 523
TERMS = {
    "default": Terms(),
    "flush": Terms(flush=True),
    "estimate": Terms(arithmetic=PlatformArithmetic(Figures(divide=2.5), Figures(divide=2.5, multiply=1.0))),
    "truncating": Terms(arithmetic=PlatformArithmetic(*[Figures(1.0, 1.0, 1.0)] * 2, rounding="toward-zero")),
    "powers": Terms(arithmetic=PlatformArithmetic(rounding="either", exact_powers=False)),
}


def operands(fmt: Format, operator: Operator, kind: str, rng: np.random.Generator) -> dict[str, Array]:
    scale = {"near": 1.0, "subnormal": fmt.smallest_normal, "large": fmt.largest**0.5}.get(kind)
    made = [patterns(fmt, rng, COUNT) if scale is None else near(fmt, rng, scale, COUNT) for _ in operator.inputs]
    return {p.name: values for p, values in zip(operator.inputs, made, strict=True)}


def outputs(fmt: Format, operator: Operator, scalars: Scalars, given: dict[str, Array], rng: Any) -> list[Array]:
    """What the orders give, golden, and golden with damaged bits."""
    golden = operator.oracle(fmt, scalars, given).value
    bits = fmt.bits(golden).copy()
    hit = rng.integers(0, COUNT, COUNT // 2)
    bits[hit] ^= np.left_shift(1, rng.integers(0, fmt.width, hit.size)).astype(fmt.bits_dtype)
    found = [operator.evaluate(order, WorkingPrecision(fmt), fmt, scalars, given) for order in operator.orders]
    return [np.ascontiguousarray(v) for v in (golden, fmt.from_bits(bits), *found)]


def same(
    fmt: Format, operator: Operator, scalars: Scalars, given: dict[str, Array], output: Array, terms: Terms
) -> Any:
    expected = numpy_tally(operator, fmt, scalars, given, output, terms)
    assert judge().tally(operator, fmt, scalars, given, output, terms) == expected
    return expected


@BOTH
@pytest.mark.parametrize("terms", TERMS.values(), ids=list(TERMS))
@pytest.mark.parametrize("operator", PROGRAMS.values(), ids=list(PROGRAMS))
def test_any_program_gives_the_same_tally(operator: Operator, terms: Terms, fmt: Format) -> None:
    rng, union = np.random.default_rng(1), BlockTally()
    for kind in ("patterns", "near", "subnormal", "large"):
        for number in (0.7, fmt.smallest_normal / 4) if operator.scalars[1:] else (1.0,):
            scalars = {"length": COUNT} | {s.name: fmt.typed(number) for s in operator.scalars if s.kind == "real"}
            assert native.code_for(operator, fmt, scalars, terms) is not None
            given = operands(fmt, operator, kind, rng)
            for output in outputs(fmt, operator, scalars, given, rng):
                union.add(same(fmt, operator, scalars, given, output, terms))
    assert union.nan > 0 and union.failures > 0
    assert union.faithful > 0 or operator is PROGRAMS["choice"], "one rounding, all in all"


@BOTH
@pytest.mark.parametrize("terms", [TERMS["default"], TERMS["estimate"]], ids=["default", "estimate"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_ordinary_elements_are_settled_in_c(
    name: str, terms: Terms, fmt: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, operator = np.random.default_rng(2), PROGRAMS[name]
    scalars = {"length": COUNT} | {s.name: fmt.typed(0.7) for s in operator.scalars if s.kind == "real"}
    given = {p.name: fmt.cast(rng.uniform(0.25, 0.75, COUNT)) for p in operator.inputs}
    handed: list[int] = []
    monkeypatch.setattr(native, "numpy_tally", lambda *a: handed.append(a[4].size) or numpy_tally(*a))
    for output in outputs(fmt, operator, scalars, given, rng):
        judge().tally(operator, fmt, scalars, given, output, terms)
    assert sum(handed) <= 0.02 * COUNT * (2 + len(operator.orders))


def random_program(rng: np.random.Generator) -> Program:
    """Return a program of up to five operations on two operands and a number, or on what it has computed."""
    steps = [(int(rng.integers(7)), *rng.integers(0, 3 + k, 4).tolist()) for k in range(rng.integers(2, 6))]

    def program(m: Any, a: Any, b: Any, s: Any) -> Any:
        values = [a, b, s]
        for operation, *chosen in steps:
            w, x, y, z = (values[k] for k in chosen)
            name = ("add", "subtract", "multiply", "divide", "reciprocal", "clamp", "select")[operation]
            taken = {"reciprocal": (w,), "clamp": (w, s), "select": (w, x, y, z)}.get(name, (w, x))
            values.append(getattr(m, name)(*taken))
        return values[-1]

    return program


@pytest.mark.parametrize("seed", range(24))
def test_random_programs_give_the_same_tally(seed: int) -> None:
    rng = np.random.default_rng(seed)
    programs = {"formula": random_program(rng), "other": random_program(rng)}
    operator, fmt = Pointwise(Elementwise(f"random{seed}", "a b", "s", programs)), list(FORMATS.values())[seed % 2]
    terms = list(TERMS.values())[seed % len(TERMS)]
    for kind in ("patterns", "near"):
        scalars = {"length": COUNT, "s": fmt.typed(float(rng.choice([0.3, 2.0])))}
        given = operands(fmt, operator, kind, rng)
        for output in outputs(fmt, operator, scalars, given, rng):
            same(fmt, operator, scalars, given, output, terms)


def test_an_operator_with_an_oracle_of_its_own_goes_to_numpy() -> None:
    """Its residuals may differ from those of the traced program in their last bits."""

    class Own(Elementwise):
        def correctly_rounded(self, fmt: Format, scalars: Scalars, values: Any) -> Golden:
            return super().correctly_rounded(fmt, scalars, values)

    own = Pointwise(Own("own", "a b", "alpha", {"formula": lambda m, a, b, s: m.add(a, b)}))
    assert native.code_for(own, FORMATS["fp32"], {"length": 1, "alpha": 1.0}, Terms()) is None
