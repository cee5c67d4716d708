"""What traced code leaves out, and what it must not."""

import numpy as np
import pytest

from golden.formats import FP16, FP32
from golden.terms import Terms
from runners.sweeping.lanes import Extent, Lanes, Trace, UntraceableError
from runners.sweeping.trace import exact_value, members
from tests.helpers.programs import RATIO, SIGMOID, SUBTRACT


def statements(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.startswith("    const ")]


def test_products_of_few_bits_lose_nothing() -> None:
    """SubExt in fp32: two operations, and an error that is none; no fused product, no second part of it."""
    text = exact_value("precise", SUBTRACT["formula"], FP32, 3, special=False)
    assert "lost_product" not in text and "v1 * v2" in text
    longer = exact_value("precise", SIGMOID["formula"], FP32, 2, special=False)
    assert longer.count("lost_product") == 1, "of 48 and 53 bits; that of 24 and 24 is exact"


def test_equal_statements_are_written_once() -> None:
    once = members("one", [SIGMOID["formula"]], FP32, (FP32,), 2, Terms())
    twice = members("two", [SIGMOID["formula"]] * 2, FP32, (FP32,), 2, Terms())
    assert statements(once) == statements(twice)
    others = members("three", list(SIGMOID.values()), FP32, (FP32,), 2, Terms())
    assert len(statements(others)) < 3 * len(statements(once))


def test_a_divisor_that_may_be_infinite_is_asked_for() -> None:
    """x / infinity is finite, and says nothing of the divisor."""
    text = members("ratio", [RATIO["formula"]], FP32, (FP32,), 3, Terms())
    total = next(line for line in statements(text) if "= v1 + v2;" in line).split()[2]
    assert f"is_finite({total})" in text
    for dividend, asked in (("v0", 2), (np.float64(1), 2)):
        trace = Trace()
        y = trace.variable("v1", FP32)
        x = trace.variable(dividend, FP32) if isinstance(dividend, str) else dividend
        assert np.isfinite(y) and np.isfinite(x / y)
        masks = trace.function("f", ["v0", "v1"], {"open": trace.doubtful()})
        assert masks.count("is_finite") == asked
    trace = Trace()
    x, y = trace.variable("v0", FP32), trace.variable("v1", FP32)
    assert np.isfinite(y) and np.isfinite(x * y)
    assert trace.function("f", ["v0", "v1"], {"open": trace.doubtful()}).count("is_finite") == 1


def test_decisions_and_unknown_functions_are_refused() -> None:
    x = Trace().variable("x", FP32)
    for refused in (lambda: bool(x > 1), lambda: np.sqrt(x), lambda: np.sum(x), lambda: np.nextafter(x, np.float32(1))):
        with pytest.raises(UntraceableError):
            refused()


def test_what_is_known_of_numbers() -> None:
    half = Trace().variable("x", FP16).extent
    assert half == Extent(-24, 16, 11) and half.times(half) == Extent(-48, 32, 22)
    assert half.plus(half) == Extent(-24, 17, 41)
    assert Extent.of(0.75) == Extent(-2, 0, 2) and Extent.of(-6.0) == Extent(1, 3, 2)
    assert half.times(half).fits(FP32) and not half.plus(half).fits(FP32)
    trace = Trace()
    x, y = trace.variable("x", FP32), trace.variable("y", FP32)
    assert trace.two_product(x, y)[1] == 0
    for many, lost in ((31.0, False), (33.0, True)):  # 48 and 5 bits, 48 and 6
        assert isinstance(trace.two_product(x * y, np.float64(many))[1], Lanes) is lost
    assert isinstance(Trace().variable("x", FP16).astype(np.float32), Lanes)
