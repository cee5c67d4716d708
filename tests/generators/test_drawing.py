"""Drawn calls: their golden outputs are the oracle's, their sizes what was asked for, the same for the same name."""

import math

import numpy as np
import pytest

from generators import drawing, nlllossgrad, smoothl1lossgrad
from generators.stream import Stream
from golden.case import Case
from golden.formats import FORMATS, FP16, Format
from golden.operator import Operator, operator
from golden.rounding import Golden

BOTH = pytest.mark.parametrize("fmt", FORMATS.values(), ids=list(FORMATS))
NAMES = pytest.mark.parametrize("name", ["smoothl1lossgrad", "nlllossgrad"])
MOST = 300


def batches(op: Operator, fmt: Format, count: int, most: int = MOST) -> list[list[Case]]:
    return [drawing.draw(op, fmt, f"test/{k}", most) for k in range(count)]


def same(a: Golden, b: Golden) -> bool:
    return all(np.array_equal(x.view(f"u{x.itemsize}"), y.view(f"u{y.itemsize}")) for x, y in zip(a, b, strict=True))


@BOTH
@NAMES
def test_golden_outputs_are_the_oracles(name: str, fmt: Format) -> None:
    op, seen = operator(name), set()
    for case in (case for batch in batches(op, fmt, 40) for case in batch):
        assert same(case.golden, op.oracle(fmt, case.scalars, case.operands)), case.id
        assert not op.outside(case.scalars, case.operands), case.id
        assert {k: v.size for k, v in case.operands.items()} == {
            k: math.prod(shape) for k, shape in op.shapes(case.scalars).items() if k in case.operands
        }
        assert case.id not in seen or case.size < 3
        seen.add(case.id)
    assert len(seen) > 300


@pytest.mark.parametrize(
    ("name", "fmt"),
    [
        pytest.param(name, fmt, id=f"{name}-{fmt.name}", marks=() if turn else pytest.mark.confirm)
        for name in ("smoothl1lossgrad", "nlllossgrad")
        for fmt in FORMATS.values()
        for turn in [(name == "nlllossgrad") == (fmt is FP16)]
    ],
)
def test_every_class_and_every_small_size_is_drawn(name: str, fmt: Format) -> None:
    op = operator(name)
    cases = [case for batch in batches(op, fmt, 250, 4000) for case in batch]
    module = {"smoothl1lossgrad": smoothl1lossgrad, "nlllossgrad": nlllossgrad}[name]
    assert {*module.DRAWN, "any-bits"} <= {case.klass for case in cases}
    assert all(case.size <= 4000 for case in cases)
    size = "length" if name == "smoothl1lossgrad" else "batch"
    assert set(range(40)) <= {int(case.scalars[size]) for case in cases}
    if name == "nlllossgrad":
        assert {case.scalars["reduction_type"] for case in cases} == {"sum", "mean", "none"}
        assert len({case.scalars["class_num"] for case in cases}) > 150
    else:
        betas = {float(case.scalars["beta"]) for case in cases}
        assert len(betas) > 80 and min(betas) < 2.0**-8 and max(betas) > 2.0**8


def test_the_same_name_draws_the_same_and_another_one_something_else() -> None:
    op = operator("nlllossgrad")
    first, again, other = (drawing.draw(op, FP16, name, MOST) for name in ("a", "a", "b"))
    assert [c.id for c in first] == [c.id for c in again] != [c.id for c in other]


@BOTH
def test_any_bits_have_every_kind_of_nan(fmt: Format) -> None:
    values = drawing.with_any_bits(Stream("any bits"), fmt, np.ones(100_000, fmt.dtype))
    bits = fmt.bits(values)
    nans = bits[np.isnan(values)]
    signalling = nans & fmt.bits_dtype.type(1 << (fmt.precision - 2)) == 0
    assert signalling.sum() > 100 and (~signalling).sum() > 100 and len({*nans.tolist()}) >= 2 * fmt.precision - 2
    assert np.isinf(values).any() and (values == 0).any() and (values == 1).mean() > 0.8


def test_sizes_lie_around_blocks() -> None:
    drawn = [n for k in range(400) for n in drawing.lengths(Stream(f"sizes/{k}"), 1 << 20)]
    for block in (64, 128, 1000, 1024, 3072):
        assert {n - block for n in drawn} >= {-1, 0, 1}, block
    assert max(drawn) > 1 << 16 and 0 in drawn


def test_an_operator_without_a_function_of_its_own_is_drawn_by_its_description(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "_own", lambda name: None)
    for op in (operator("smoothl1lossgrad"), operator("nlllossgrad")):
        cases = [case for batch in batches(op, FP16, 12) for case in batch]
        assert {"close", "any-bits"} <= {case.klass for case in cases}
        assert all(same(case.golden, op.oracle(FP16, case.scalars, case.operands)) for case in cases)
