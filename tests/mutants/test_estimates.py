"""Builds with estimates, truncation and flushing: their figures are the smallest that describe them."""

import math
import shutil
import tomllib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from golden.formats import FORMATS
from golden.profile import load_profile
from tests.mutants.estimates import ALL, ESTIMATES, EXACT, PRODUCT, STEPS, Estimated, Figure, profile_of
from tests.mutants.measure import Call, Measured, measured, results
from tests.mutants.run import FOLDER
from tests.mutants.variant import build, stale

BY_NAME = {e.variant.name: e for e in ESTIMATES}
#: One of each dtype, with other operations than each other.
FAST = ("fp-table-2-corrected", "hp-truncates")
CONFIRM = [e.variant.name for e in ESTIMATES if e.variant.name not in FAST]

gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not on PATH")
every = pytest.mark.parametrize("name", [*FAST, *(pytest.param(n, marks=pytest.mark.confirm) for n in CONFIRM)])


def library(name: str) -> Path:
    return build(BY_NAME[name].variant, FOLDER)


def value(bits: int, dtype: str) -> float:
    kinds = {"fp16": (np.uint16, np.float16), "fp32": (np.uint32, np.float32)}
    unsigned, real = kinds[dtype]
    return float(np.array(bits, unsigned).view(real))


def error(got: float, exact: Fraction, dtype: str) -> float:
    """Return the error in ulp of the exact result."""
    fmt = FORMATS[dtype]
    exponent = math.frexp(float(exact))[1] - 1  # the operands are such that float64 rounds to no other binade
    return float(abs(Fraction(got) - exact) / Fraction(2) ** (max(exponent, fmt.emin) - fmt.precision + 1))


def step_below(figure: Figure) -> float:
    return STEPS[STEPS.index(figure.ulp) - 1]


@gcc
@every
def test_the_next_smaller_step_is_too_small(name: str) -> None:
    estimated = BY_NAME[name]
    shown = [f for f in estimated.figures if f.witness]
    calls, exact = [], []
    for figure in shown:
        dtype, operation = figure.key.split(".")
        witness = figure.witness
        assert witness
        a, b = value(witness.a, dtype), value(witness.b, dtype)
        if operation == "add":
            calls.append(Call(dtype, x1=a, x2=-b))
            exact.append(Fraction(a) + Fraction(b))
        elif operation == "multiply":
            calls.append(Call(dtype, dy=-a, x1=b, reduction="none"))
            exact.append(Fraction(a) * Fraction(b))
        else:
            calls.append(Call(dtype, x1=a, beta=b))
            exact.append(Fraction(a) / Fraction(b))
    for figure, expected, (got,) in zip(shown, exact, results(library(name), calls), strict=True):
        dtype, _ = figure.key.split(".")
        witness = figure.witness
        assert witness and got == value(witness.got, dtype)
        found = error(got, expected, dtype)
        assert found == pytest.approx(witness.error, rel=1e-7)
        assert step_below(figure) < found <= figure.ulp


@gcc
@pytest.mark.parametrize("name", FAST)
def test_a_sample_of_the_quotients_is_within_the_figure(name: str) -> None:
    found = measure(BY_NAME[name], 0)
    assert found.error <= largest(BY_NAME[name])


@gcc
@pytest.mark.confirm
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [n for n in BY_NAME if not BY_NAME[n].flushes])
def test_no_quotient_exceeds_the_figure(name: str) -> None:
    assert_described(name, 1)


@gcc
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", [n for n in BY_NAME if not BY_NAME[n].flushes and BY_NAME[n].dtypes == ("fp32",)])
def test_none_of_hundreds_of_millions_of_quotients_exceeds_the_figure(name: str) -> None:
    assert assert_described(name, 16).quotients >= (10**8 if "inverse" not in name else 2**24)


def largest(estimated: Estimated) -> float:
    """Return the figure of the build's quotients or reciprocals."""
    return estimated.figures[0].ulp if estimated.figures else 0.5


def measure(estimated: Estimated, reach: int) -> Measured:
    product = largest(estimated) - (0.5 if estimated.rounding == "nearest" else 1.0)
    if not estimated.figures or estimated.figures[0].reason != PRODUCT:
        product = 0.0
    operation = "reciprocal" if "inverse" in estimated.variant.name else "divide"
    return measured(library(estimated.variant.name), estimated.dtypes[0], operation, reach, product)


def assert_described(name: str, reach: int) -> Measured:
    estimated = BY_NAME[name]
    figure, truncates = largest(estimated), estimated.rounding != "nearest"
    found = measure(estimated, reach)
    assert found.error <= figure
    assert (found.power == 0) == estimated.powers
    assert found.above == 0 or estimated.rounding != "toward-zero"
    reason = estimated.figures[0].reason if estimated.figures else ALL
    if reason == PRODUCT:
        assert found.product(truncates) <= figure
    elif reason not in (ALL, EXACT):
        assert measure(BY_NAME[reason], reach).corrected() <= figure
    return found


@gcc
@every
def test_a_division_has_the_range_of_ieee(name: str) -> None:
    """Zeros, infinities, NaN, overflow, subnormal operands and results: as a divider has them, but for accuracy."""
    estimated = BY_NAME[name]
    if estimated.flushes:
        return
    bound = largest(estimated)
    if "inverse" in name:
        bound = 2 * bound + 1  # across a binade, and the product is rounded too
    for dtype in estimated.dtypes:
        top, tiny = (2.0**15, 2.0**-24) if dtype == "fp16" else (2.0**127, 2.0**-149)
        least = 2.0 ** FORMATS[dtype].emin
        special = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -3.0]
        cases = [(a, b) for a in special for b in special]
        cases += [
            (tiny, 1.0),
            (3 * tiny, -1.0),
            (7 * tiny, 4.0),
            (least / 2, top),
            (least, 2.0),
            (top, top),
            (-top, 3.0),
        ]
        if "inverse" not in name:  # 1 / b is infinite, or subnormal, as in no other order
            cases += [(tiny, tiny), (3 * tiny, 5 * tiny), (tiny, top), (top, tiny), (top, 0.25), (top, -3 * tiny)]
        calls = [Call(dtype, dy=-1.0, x1=a, beta=b, reduction="mean") for a, b in cases]
        for (a, b), (got,) in zip(cases, results(library(name), calls), strict=True):
            with np.errstate(all="ignore"):
                expected = float(np.float64(a) / np.float64(b))
            if math.isnan(expected):
                assert math.isnan(got), (a, b)
            elif math.isinf(expected) or abs(expected) >= 2 * top:
                assert got == math.copysign(math.inf, expected), (a, b)
            elif expected == 0:
                assert got == 0 and math.copysign(1, got) == math.copysign(1, expected), (a, b)
            else:
                assert error(abs(got), abs(Fraction(a) / Fraction(b)), dtype) <= bound, (a, b)
                assert got == 0 or math.copysign(1, got) == math.copysign(1, expected), (a, b)


#: Where elements of a call with a core mask are flushed: index, elements, cores.
PLACES = {
    "flush-vectors": lambda i, n, k: i - first(i, n, k) < size(i, n, k) // 8 * 8,
    "flush-odd-blocks": lambda i, n, k: i // 64 % 2 == 1,
    "flush-odd-cores": lambda i, n, k: spans(n, k)[i] % 2 == 1,
}


def spans(count: int, cores: int) -> list[int]:
    """Return the core of every element; runners/kernels/cores.h."""
    return [core for core in range(cores) for _ in range(count // cores + (core < count % cores))]


def first(i: int, count: int, cores: int) -> int:
    return spans(count, cores).index(spans(count, cores)[i])


def size(i: int, count: int, cores: int) -> int:
    return spans(count, cores).count(spans(count, cores)[i])


@gcc
@pytest.mark.confirm
@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
@pytest.mark.parametrize("cores", [1, 3])
def test_subnormals_are_flushed_in_some_places(name: str, dtype: str, cores: int) -> None:
    count, half_normal = 301, 2.0 ** (FORMATS[dtype].emin - 1)
    call = Call(dtype, x1=half_normal, beta=1.0, count=count, mask=(1 << cores) - 1)
    (got,) = results(library(name), [call])
    flushed = [PLACES[name](i, count, cores) for i in range(count)]
    assert got == [0 if f else half_normal for f in flushed]
    assert len(set(flushed)) == 2 or (cores == 1 and name == "flush-odd-cores")


@gcc
@pytest.mark.confirm
@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
def test_operands_and_results_are_flushed_apart(dtype: str) -> None:
    least = 2.0 ** FORMATS[dtype].emin
    calls = [
        Call(dtype, dy=least, x1=0.5),  # normal operands, a subnormal result
        Call(dtype, x1=least, x2=-least / 4, beta=2 * least),  # a subnormal operand, normal results
        Call(dtype, dy=least / 2, x1=2.0, beta=1.0),  # moved, not computed
    ]
    assert results(library("flush-operands"), calls) == [[least / 2], [0.5], [least / 2]]
    assert results(library("flush-results"), calls) == [[0], [0.625], [least / 2]]


def test_profiles_are_toml_and_name_what_a_report_will() -> None:
    assert len(ESTIMATES) >= 30
    for estimated in ESTIMATES:
        content = tomllib.loads(profile_of(estimated))
        table = content.get("arithmetic", {})
        assert ("arithmetic" in content) == bool(estimated.arithmetic)
        if estimated.figures:
            key, _, ulp = estimated.names.partition(" = ")
            dtype, operation = key.split(".")
            assert table[dtype][operation] == float(ulp) and dtype in estimated.dtypes
        assert (content["subnormals"] == "unspecified") == estimated.flushes


def test_profiles_load_but_for_their_arithmetic(tmp_path: Path) -> None:
    for estimated in ESTIMATES:
        text, path = profile_of(estimated), tmp_path / "profile.toml"
        path.write_text(text.replace(f"[arithmetic]\n{estimated.arithmetic}\n", ""))
        assert load_profile(str(path)).dtypes == list(estimated.dtypes)


def test_every_build_applies_to_the_kernels_and_is_described_once() -> None:
    assert stale(e.variant for e in ESTIMATES) == []
    assert len(BY_NAME) == len(ESTIMATES)
    assert all(f.ulp in STEPS and (f.witness or f.reason == EXACT) for e in ESTIMATES for f in e.figures)
