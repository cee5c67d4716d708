"""The verdict: what decides, what is only reported, and that nothing run is never a pass."""

from pathlib import Path

import numpy as np
import pytest

from golden.case import Case
from golden.errors import TargetError, UsageError
from golden.files.manifest import read_suite, suite_folder
from golden.files.vectors import VectorFile, read_vectors, write_vectors
from golden.formats import FORMATS
from golden.profile import load_profile
from golden.terms import Flush
from golden.working import WorkingPrecision
from runners.calling.plan import invocations
from runners.judging.xfail import read_xfail
from tests.helpers.command import needs_compiler
from tests.helpers.validating import SMOKE, SMOOTH, case_with, run, run_library


def written(tmp_path: Path, cases: list[Case]) -> VectorFile:
    write_vectors(tmp_path / "made.h5", "made", SMOOTH, "fp32", cases, "seed")
    return read_vectors(tmp_path / "made.h5")


@pytest.mark.parametrize(("n", "dy"), [(0, 1.0), (40, 0.0), (40, 7.0)])
def test_constant_results_are_no_evidence(n: int, dy: float, tmp_path: Path) -> None:
    results = run("reference:formula", [written(tmp_path, [case_with(n, dy)])], "FT78NE")
    assert results.verdict == "fails"
    assert {e.status for e in results.entry_points} == {"fail"}
    assert "evidence" in results.entry_points[0].detail


def test_a_single_number_is_evidence(tmp_path: Path) -> None:
    assert run("reference:formula", [written(tmp_path, [case_with(1, 7.0)])], "FT78NE").verdict == "conforms"


def test_no_case_at_all_fails(tmp_path: Path) -> None:
    results = run("reference:formula", [written(tmp_path, [])], "FT78NE")
    assert results.verdict == "fails" and all(e.status == "fail" for e in results.entry_points)


def test_nothing_that_the_platform_requires_is_an_error() -> None:
    with pytest.raises(TargetError, match="no case for this platform"):
        run("reference:formula", [read_vectors(SMOKE / "smoothl1lossgrad-fp16.h5")], "FT78NE")


def test_partial_vectors_are_said_to_be_partial() -> None:
    results = run("reference:formula", [read_vectors(SMOKE / "smoothl1lossgrad-fp32.h5")], "FT78NE")
    assert results.verdict == "conforms" and "do not cover" in results.reason
    assert len(results.entry_points) == 2


def test_stress_decides_only_when_strict() -> None:
    files = [read_vectors(suite_folder("smoke") / "nlllossgrad-fp32.h5")]
    # weight * loss_grad overflows where the result does not.
    relaxed, strict = run("reference:product-first", files), run("reference:product-first", files, strict=True)
    assert relaxed.verdict == "conforms" and {f.kind for f in relaxed.findings} == {"stress-overflow"}
    assert strict.verdict == "fails"


@pytest.mark.parametrize("suite", ["smoke", pytest.param("core", marks=pytest.mark.confirm)])
def test_evaluation_order_is_recognised(suite: str) -> None:
    files = read_suite(suite_folder(suite))
    for model in ("formula", "product-first", "reciprocal", "exact"):
        orders = run(f"reference:{model}", files, "MT7004").probe.evaluation_order
        assert orders and all(model in text.split(" (")[0].split(" = ") for text in orders.values()), orders
        assert all("(100 %" in text for text in orders.values())


def test_plan_covers_masks_alignments_and_fills() -> None:
    profile = load_profile("host")
    shared = SMOOTH.entry_points()[0]
    assert shared.has_core_mask
    masks, offsets, fills, placements, halves, thorough = set(), set(), set(), set(), set(), 0
    for case in read_vectors(suite_folder("core") / "smoothl1lossgrad-fp16.h5").cases:
        plan = invocations(case, shared, profile)
        masks |= {i.core_mask for i in plan}
        offsets |= {i.offset for i in plan}
        fills |= {i.fill for i in plan[:2]}
        placements |= {i.placement for i in plan[:2]}
        assert plan[-1] == plan[0]
        if len(plan) > 127:  # every other mask; the rest is another case's
            thorough += 1
            mine = {i.core_mask for i in plan}
            halves.update(first for first in (1, 2) if mine >= set(range(first, 256, 2)))
            assert plan.count(plan[0]) >= 4
    assert masks >= set(range(1, 256)) and offsets == set(range(16)) and thorough >= 3 and halves == {1, 2}
    assert fills == {0, 1} and placements == {"begin", "end"}


@needs_compiler
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("good(dy, dx1, x1, x2, length > 1 ? length - 1 : length, beta);", "unwritten"),
        ("good(dy, dx1, x1, x2, length + 1, beta);", "crash"),
        ("good(dy, dx1, x1, x2, length, beta); if (length) x1[0] = 1;", "crash"),
        ("if (length == 7) abort(); good(dy, dx1, x1, x2, length, beta);", "crash"),
        ("if (length == 7) for (;;) ; good(dy, dx1, x1, x2, length, beta);", "timeout"),
        ("good(dy, dx1, x1, x2, length, beta); if (length > 8) dx1[8] *= 1.001f;", "value"),
        (
            "for (int i = 0; i < length; i++) dx1[i] *= 0; good(dy, dx1, x1, x2, length, beta);"
            "for (int i = 0; i < length; i++) dx1[i] += 0;",
            "",
        ),
    ],
)
def test_contracts_decide(code: str, kind: str, tmp_path: Path) -> None:
    results = run_library(tmp_path, code, timeout=0.5 if kind == "timeout" else 2.0)
    entry = next(e for e in results.entry_points if e.symbol == "fp_smoothl1lossgrad_p")
    if not kind:
        assert entry.status == "pass", entry.detail
        return
    assert entry.status == (kind if kind in ("crash", "timeout") else "fail")
    assert kind in {f.kind for f in entry.failing}
    assert results.verdict == "fails"
    other = next(e for e in results.entry_points if e.symbol == "fp_smoothl1lossgrad_s")
    assert other.status == "pass"


@needs_compiler
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        # One ulp more or less is within bounds for most inputs: other bits, no failure.
        (
            "good(dy, dx1, x1, x2, length, beta);"
            "for (int i = length / 8 * 8; i < length; i++) if (x1[i] - x2[i] < beta && x2[i] - x1[i] < beta)"
            "  dx1[i] = (x1[i] - x2[i]) * dy[i] / beta;",
            "position-dependent",
        ),
        (
            "static int calls; float swap = (float)(calls++ & 1);"
            "good(dy, dx1, x1, x2, length, beta);"
            "if (swap) for (int i = 0; i < length; i++) if (x1[i] - x2[i] < beta && x2[i] - x1[i] < beta)"
            "  dx1[i] = (x1[i] - x2[i]) * dy[i] / beta;",
            "storage-dependent",
        ),
    ],
)
def test_other_bits_within_bounds_are_remarks(code: str, kind: str, tmp_path: Path) -> None:
    results = run_library(tmp_path, code)
    found = {f.kind for f in results.findings if f.symbol == "fp_smoothl1lossgrad_p"}
    assert kind in found, results.findings


@needs_compiler
def test_expected_failures_do_not_decide_and_stale_ones_are_named(tmp_path: Path) -> None:
    path = tmp_path / "known.txt"
    path.write_text(
        "# known defects\n\nfp_smoothl1lossgrad_? */length/n=7  # hangs, ticket 7\nfp_* */nothing/*  # fixed long ago\n"
    )
    code = "if (length == 7) abort(); good(dy, dx1, x1, x2, length, beta);"
    results = run_library(tmp_path, code, xfail=path)
    assert results.verdict == "conforms" and "1 expected failure" in results.reason
    assert [f.message for f in results.findings if f.kind == "stale-xfail"] == [
        "known.txt, line 4: no failure is like this (fixed long ago)."
    ]
    path.write_text("* *  # everything\n")
    assert run_library(tmp_path, "abort();", xfail=path).verdict == "fails"


@pytest.mark.parametrize("text", ["fp_a case", "fp_a  # reason", "a b c  # reason"])
def test_expected_failures_need_symbol_case_and_reason(text: str, tmp_path: Path) -> None:
    path = tmp_path / "known.txt"
    path.write_text(f"\n{text}\n")
    with pytest.raises(UsageError, match="line 2"):
        read_xfail(path)


def test_arithmetic_flushes_operands_and_results() -> None:
    fmt = FORMATS["fp32"]
    m = WorkingPrecision(fmt, Flush.BOTH)
    tiny = m.load(np.array([2.0**-130, -(2.0**-140), 2.0**-126], fmt.dtype))
    grown = m.multiply(tiny, m.load(2.0**20))
    assert grown.tolist() == [0.0, -0.0, 2.0**-106] and np.signbit(grown[1])
    assert m.multiply(tiny, m.load(0.5)).tolist() == [0.0, -0.0, 0.0]
