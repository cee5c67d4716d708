"""The C judge on blocks: how rows, parts and operands that serve many points add up."""

import numpy as np
import pytest

from golden.formats import FP16, Array, Format
from golden.pointwise import dense
from golden.terms import Terms
from golden.working import WorkingPrecision
from runners.sweeping import judge as native
from runners.sweeping.tally import BlockTally, full, numpy_tally
from tests.helpers.judged import BOTH, NEEDS_C, POINTS, assert_same, judge, near, nll, patterns, smooth

pytestmark = NEEDS_C


def test_constant_operands_and_every_length_give_the_same_tally() -> None:
    rng = np.random.default_rng(4)
    for n in [*range(20), 2047, 2048, 2049]:
        one = near(FP16, rng, 1, 1)
        call = smooth(FP16, 0.5, near(FP16, rng, 1, n), one, one)
        output = dense("smoothl1lossgrad").evaluate("formula", WorkingPrecision(FP16), FP16, call[0], full(call[1], n))
        output = np.broadcast_to(output, n).copy()
        assert judge().tally(dense("smoothl1lossgrad"), FP16, *call, output, Terms()) == numpy_tally(
            dense("smoothl1lossgrad"), FP16, *call, output, False
        )


def test_adding_is_independent_of_order_and_division() -> None:
    rng = np.random.default_rng(6)
    call = smooth(FP16, 0.1, *(patterns(FP16, rng) for _ in range(3)))
    with np.errstate(all="ignore"):
        output = dense("smoothl1lossgrad").evaluate("reciprocal", WorkingPrecision(FP16), FP16, *call)
    whole = assert_same("smoothl1lossgrad", FP16, call, output)
    for size in (1000, 333):
        parts = []
        for start in range(0, POINTS, size):
            cut = slice(start, start + size)
            part = {k: v[cut] for k, v in call[1].items()}
            scalars = {**call[0], "length": len(part["dy"])}
            parts.append(judge().tally(dense("smoothl1lossgrad"), FP16, scalars, part, output[cut].copy(), Terms()))
            parts[-1].shift(start)
        for order in (parts, parts[::-1]):
            total = BlockTally()
            for found in order:
                total.add(found)
            assert total == whole


@pytest.mark.parametrize("limit", [native.LIMIT, 1000, 300])
@BOTH
def test_rows_of_a_total_each_are_judged_one_by_one(fmt: Format, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever occurs in some rows alone: failures, equal errors, NaN that goes to NumPy, operands that serve all."""
    monkeypatch.setattr(native, "LIMIT", limit)
    rng, n = np.random.default_rng(8), 700
    specific = [3.7, 2.0, np.inf, -0.25, np.nan, 0.3, fmt.largest, 3.7]
    totals, row = np.array(specific, fmt.dtype), near(fmt, rng, 1, n)
    weight = np.concatenate([row, *(patterns(fmt, rng, n) for _ in specific[2:]), row])
    grads = np.concatenate([row, *(patterns(fmt, rng, n) for _ in specific[2:]), row])
    for grad in (near(fmt, rng, 1, 1), grads, grads[::n]):  # one for all, a point, or a row
        scalars, operands = nll(fmt, "mean", grad, weight)
        operands |= {"total_weight": totals}
        expected, outputs = BlockTally(), []
        for k, total in enumerate(totals):
            share = {name: v.size // len(totals) for name, v in operands.items()}
            one = {
                name: v[k * share[name] : (k + 1) * share[name]] if v.size > 1 else v for name, v in operands.items()
            }
            with np.errstate(all="ignore"):
                output = dense("nlllossgrad").evaluate(
                    "reciprocal", WorkingPrecision(fmt), fmt, {**scalars, "batch": n}, full(one, n)
                )
            output = np.array(output)
            if total == fmt.typed(3.7):
                output[123] = np.inf  # as large an error as there is, in two rows
            elif k in (3, 6):
                output[55:60] = np.nan
            outputs.append(output)
            found = numpy_tally(dense("nlllossgrad"), fmt, {**scalars, "batch": n}, one, output, Terms())
            found.shift(k * n)
            expected.add(found)
        call = {**scalars, "batch": weight.size}, operands
        output = np.concatenate(outputs)
        assert assert_same("nlllossgrad", fmt, call, output) == expected
        assert expected.worst == 123 and expected.failures > 10


@pytest.mark.parametrize("limit", [native.LIMIT, 900])
@BOTH
def test_an_entry_a_row_is_as_good_as_one_a_point(fmt: Format, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "LIMIT", limit)
    rng, n = np.random.default_rng(11), 2800
    used = []
    monkeypatch.setattr(native, "numpy_tally", lambda *a: used.append(a[4].size) or numpy_tally(*a))
    for rows in ((4, n), (n, 4), (4, 4), (7, 1), (1, n), (n, n), (4, 7)):
        first, second = (near(fmt, rng, 1, size) for size in rows)
        for name, call in (
            ("smoothl1lossgrad", smooth(fmt, 0.1, first, second, near(fmt, rng, 1, 1))),
            ("nlllossgrad", nll(fmt, "mean", first, second, 3.7)),
            ("nlllossgrad", nll(fmt, "none", first, second)),
        ):
            size = {"length" if "length" in call[0] else "batch": n}
            wide = {**call[0], **size}, full(call[1], n)
            output = np.array(dense(name).evaluate("formula", WorkingPrecision(fmt), fmt, *wide))
            output[[5, 1234]] *= 2
            assert_same(name, fmt, ({**call[0], **size}, call[1]), output)
            assert assert_same(name, fmt, wide, output).failures == 2
    assert used == [n, n, n], "C knows rows of one size, and NumPy the others"


def test_points_handed_back_keep_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """NaN where the quotient overflows and the gradient is zero: legal or not, NumPy says."""
    handed: list[tuple[int, int]] = []

    def noting(
        operator: object, fmt: object, scalars: dict[str, int], operands: dict[str, Array], *rest: object
    ) -> BlockTally:
        handed.append((int(operands["total_weight"][0] * 10), scalars["batch"]))
        return numpy_tally(operator, fmt, scalars, operands, *rest)  # type: ignore[arg-type]

    totals = FP16.cast(np.array([0.5, 3, 0.25]))
    weight, grad = np.full(300, FP16.largest, np.float16), np.full(300, np.inf, np.float16)
    weight[100:200], grad[100:200] = 1, 1
    scalars, operands = nll(FP16, "mean", grad, weight)
    operands |= {"total_weight": totals}
    output = np.full(300, -np.inf, np.float16)
    output[100:200] = FP16.cast(np.full(100, -1 / 3))
    output[[7, 200, 251]] = np.nan
    output[260] = 1
    monkeypatch.setattr(native, "numpy_tally", noting)
    found = judge().tally(dense("nlllossgrad"), FP16, scalars, operands, output, Terms())
    assert handed == [(5, 1), (2, 3)], "NaN, and a number where the exact value is infinite"
    assert found == numpy_tally(dense("nlllossgrad"), FP16, scalars, operands, output, Terms())
    assert found.first_failure == 7 and found.failures == 4 and found.nan == 3
    for right, first in (([7], 200), ([7, 200, 251], 260)):
        output[right] = -np.inf
        assert judge().tally(dense("nlllossgrad"), FP16, scalars, operands, output, Terms()).first_failure == first


def test_equal_errors_are_won_by_the_smallest_index() -> None:
    parts = [BlockTally(points=1, largest=1.5, worst=at, first_failure=at) for at in (9, 4, 7)]
    for order in (parts, parts[::-1]):
        total = BlockTally()
        for part in order:
            total.add(part)
        assert (total.largest, total.worst, total.first_failure) == (1.5, 4, 4)
    total.add(BlockTally(points=1, largest=2.0, worst=50))
    assert (total.largest, total.worst, total.first_failure) == (2.0, 50, 4)
