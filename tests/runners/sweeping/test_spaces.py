"""Spaces: which points there are, whatever describes them, and how calls are arranged for operators of any layout."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from golden.errors import UsageError
from golden.formats import FP16
from runners.sweeping.space import Axis, make_space, spaces

#: Spaces, and a digest of the operands of their first and last blocks: results of other versions stay comparable.
POINTS: list[tuple[str, str, str, Mapping[str, Any], str]] = [
    ("pairs", "smoothl1lossgrad", "fp16", {}, "889fb1a94d75c33b"),
    ("diff-dy", "smoothl1lossgrad", "fp16", {"beta": 0.3}, "7ad6fc70827925be"),
    ("g-w", "nlllossgrad", "fp16", {}, "6c95793ea3e36e1c"),
    ("g-w", "nlllossgrad", "fp16", {"reduction": "mean"}, "42302a139f6d942b"),
    ("g-w", "nlllossgrad", "fp16", {"reduction": "sum"}, "42302a139f6d942b"),
    ("w-total", "nlllossgrad", "fp16", {"reduction": "mean"}, "33ff78dd3a2b0fc3"),
    ("operand:x1", "smoothl1lossgrad", "fp32", {}, "711205c26a577f5f"),
    ("operand:weight", "nlllossgrad", "fp32", {"reduction": "sum"}, "0b0be2ed3f18336e"),
    ("random", "smoothl1lossgrad", "fp32", {"beta": 0.001, "seed": 5}, "c5faf8c8647aecb3"),
    ("random", "nlllossgrad", "fp32", {"reduction": "sum"}, "2cf8371694d33b64"),
    ("random", "nlllossgrad", "fp16", {"reduction": "mean", "fixed": {"loss_grad": 2}}, "43757a1b68218d0f"),
    ("random", "nlllossgrad", "fp16", {"reduction": "none"}, "3677679280054140"),
]


@pytest.mark.parametrize(("name", "operator", "dtype", "options", "digest"), POINTS)
def test_a_space_keeps_its_points(
    name: str, operator: str, dtype: str, options: Mapping[str, Any], digest: str
) -> None:
    space, content = make_space(name, operator, dtype, **options), hashlib.sha256()
    for block in (0, space.blocks - 1):
        for operand, values in sorted(space.operands(block).items()):
            content.update(operand.encode() + values.tobytes())
    assert content.hexdigest()[:16] == digest


@pytest.mark.parametrize(
    ("name", "operator", "options", "sizes", "single"),
    [
        ("pairs", "smoothl1lossgrad", {}, {"length": 1 << 20}, set()),
        ("g-w", "nlllossgrad", {}, {"batch": 1 << 16, "class_num": 1}, {"weight", "total_weight"}),
        ("pair:loss_grad,weight", "nlllossgrad", {}, {"batch": 32, "class_num": 32}, {"total_weight"}),
        ("g-w", "nlllossgrad", {"reduction": "sum"}, {"batch": 32, "class_num": 32}, {"loss_grad", "total_weight"}),
        ("operand:loss_grad", "nlllossgrad", {"block": 1 << 12}, {"batch": 1 << 12, "class_num": 1}, {"weight"}),
    ],
)
def test_a_call_computes_as_many_points_as_it_can(
    name: str, operator: str, options: Mapping[str, Any], sizes: Mapping[str, int], single: set[str]
) -> None:
    space = make_space(name, operator, "fp16", **options)
    operands = space.operands(0)
    plan = space.plan(operands, space.step)
    assert sizes.items() <= plan.scalars.items() and plan.calls * plan.width == space.step
    for operand in operands:
        assert operand in single or plan.arrays[operand].size > 1 or operand in space.fixed
        assert operand not in single or plan.steps[operand] <= 1
    outputs = plan.scalars["batch"] * plan.scalars["class_num"] if "batch" in sizes else plan.scalars["length"]
    assert plan.written == outputs and plan.gather * (plan.width - 1) < plan.written


def test_zeros_outside_the_domain_are_left_out_and_refused() -> None:
    space = make_space("w-total", "nlllossgrad", "fp16", reduction="mean")
    totals = space.axes[0]
    assert len(totals) == 65534 and not {0, 0x8000} & set(totals.bits(0, len(totals)).tolist())
    for name in ("g-w", "random"):
        with pytest.raises(UsageError, match="total_weight 0 is outside the documented domain"):
            make_space(name, "nlllossgrad", "fp16", reduction="mean", fixed={"total_weight": 0.0})
    unused = make_space("g-w", "nlllossgrad", "fp16", fixed={"total_weight": 0.0})  # it is not looked at
    assert unused.fixed["total_weight"] == 0


def test_any_two_operands_make_a_space() -> None:
    space = make_space("pair:dy,x1", "smoothl1lossgrad", "fp16", axes=(Axis("dy", 1, 4), Axis("x1", 7, 12)))
    operands = space.operands(0)
    assert FP16.bits(operands["dy"]).tolist() == np.repeat([1, 2, 3], 5).tolist()
    assert FP16.bits(operands["x1"]).tolist() == [7, 8, 9, 10, 11] * 3 and operands["x2"].tolist() == [1.0]
    for name in ("pair:dy,dy", "pair:dy", "pair:dy,x1,x2", "operand:dy,x1", "pairs:dy,x1"):
        with pytest.raises(UsageError, match="space"):
            make_space(name, "smoothl1lossgrad", "fp16")
    with pytest.raises(UsageError, match="no operand named 'dx'"):
        make_space("pair:dx,x1", "smoothl1lossgrad", "fp16")
    with pytest.raises(
        UsageError, match=r"one loss_grad with these scalars: sweep g-w or w-total or pair:loss_grad,NAME"
    ):
        make_space("pair:weight,loss_grad", "nlllossgrad", "fp16", reduction="sum")
    with pytest.raises(UsageError, match="scalar of smoothl1lossgrad"):
        make_space("pairs", "smoothl1lossgrad", "fp16", reduction="sum")


def test_the_first_space_of_an_operator_is_its_own() -> None:
    assert make_space("", "smoothl1lossgrad", "fp16").name == "diff-dy"
    assert make_space("", "nlllossgrad", "fp16").name == "g-w"
    assert make_space("", "nlllossgrad", "fp32").name == "random"
    assert set(spaces()) >= {"pairs", "diff-dy", "g-w", "w-total", "pair:NAME,NAME", "operand:NAME", "random"}
