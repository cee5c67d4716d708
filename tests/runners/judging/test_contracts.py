"""Contracts are counted as often as they were checked, broken ones are named, and blind spots are said."""

import platform
from pathlib import Path

import numpy as np
import pytest

from golden.files.vectors import read_vectors
from golden.profile import load_profile
from golden.results import CONTRACTS, Contract, EntryPointResult, Results
from runners.calling.call import Finding, Invocation, Outcome
from runners.calling.plan import invocations
from runners.judging.contracts import Contracts
from runners.judging.validate import Settings
from runners.models import ReferenceSession
from tests.helpers.command import needs_compiler
from tests.helpers.validating import SMOKE, case_with, run, run_library

DOWNWARD = {"aarch64": "0x800000"}.get(platform.machine(), "0x400")
PLAIN = "good(dy, dx1, x1, x2, length, beta);"


def entry(results: Results, symbol: str = "fp_smoothl1lossgrad_p") -> EntryPointResult:
    return next(e for e in results.entry_points if e.symbol == symbol)


def contracts(results: Results, symbol: str = "fp_smoothl1lossgrad_p") -> dict[str, Contract]:
    return {c.name: c for c in entry(results, symbol).contracts}


def broken(results: Results) -> set[str]:
    return {name for name, c in contracts(results).items() if c.broken}


@needs_compiler
def test_every_contract_of_a_good_build_is_checked_as_often_as_the_plan_says(tmp_path: Path) -> None:
    results = run_library(tmp_path, PLAIN)
    assert results.verdict == "conforms"
    (file,) = [read_vectors(SMOKE / "smoothl1lossgrad-fp32.h5")]
    profile = load_profile("FT78NE")
    for e in file.operator.entry_points():
        if e.fmt.name != "fp32":
            continue
        found = contracts(results, e.symbol)
        plans = [invocations(case, e, profile, plain=True) for case in file.cases]
        calls = sum(map(len, plans))
        for name in ("returns", "outside-access", "outside-write", "inputs-unchanged", "fp-environment", "processes"):
            assert found[name] == Contract(name, calls), name
        assert found["output-written"] == Contract("output-written", len(file.cases))
        # What differs from the first invocation, in any respect, is a comparison.
        masks = sum(i.core_mask != plan[0].core_mask for plan in plans for i in plan[1:])
        assert ("core-mask" in found) == e.has_core_mask
        assert not e.has_core_mask or found["core-mask"].checked == masks > 0
        fills = sum(i.fill != plan[0].fill for plan in plans for i in plan[1:])
        assert found["output-fill"].checked == fills > 0
        again = sum(i == plan[0] for plan in plans for i in plan[1:])
        assert found["repetition"].checked == again >= len(file.cases)
        places = [[(i.placement, i.offset, i.skew) for i in plan] for plan in plans]
        assert found["placement"].checked == sum(p != plan[0] for plan in places for p in plan[1:]) > 0
        assert ("storage" in found) == (e.storage == "private")
        assert "unread-operands" not in found and "untouched-operands" not in found, "the operator has none"
        assert {c.broken for c in found.values()} == {0}
    assert contracts(results)["storage"].checked == len(file.cases)


@needs_compiler
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (PLAIN + " dx1[length] = 0;", {"outside-write", "returns"}),
        (PLAIN + " if (length) *(volatile float *)(x1 + length);", {"outside-access", "returns"}),
        ("if (length) x1[0] = 1; " + PLAIN, {"inputs-unchanged", "returns"}),
        ("if (length > 4) { length--; } " + PLAIN, {"output-written", "output-fill", "placement", "storage"}),
        (f"extern int fesetround(int); {PLAIN} fesetround({DOWNWARD});", {"fp-environment"}),
        (
            "static int calls; " + PLAIN + " if (length == 31 && calls++ % 2) dx1[3] = -dx1[3] + 1;",
            {"repetition"},  # in the order that is drawn from this run's --draw
        ),
    ],
    ids=["overrun", "read-past", "input-written", "unwritten", "environment", "unsteady"],
)
def test_what_is_broken_is_named(code: str, expected: set[str], tmp_path: Path) -> None:
    found = broken(run_library(tmp_path, code))
    assert found - {"small-sizes", "position"} == expected


@needs_compiler
def test_what_was_varied_together_is_blamed_together_and_what_cannot_be_the_cause_is_not(tmp_path: Path) -> None:
    found = broken(run_library(tmp_path, PLAIN + " if (length == 31 && ((unsigned long)dx1 & 63)) dx1[5] = 1;"))
    assert "placement" in found and not found & {"repetition", "core-mask"}


def counted(*parts: tuple[Invocation, Outcome]) -> dict[str, Contract]:
    """Count one made-up case of one element, run in these ways."""
    made = case_with(1, 7.0)
    symbol = next(e for e in made.operator.entry_points() if e.symbol == "fp_smoothl1lossgrad_s")
    checks = Contracts(symbol, frozenset())
    plan, outcomes = [i for i, _ in parts], [o for _, o in parts]
    outputs = [np.frombuffer(o.output, np.float32) if o.status == "ok" else None for o in outcomes]
    checks.add(made, plan, outcomes, outputs)
    return {c.name: c for c in checks.result()}


ONE, TWO = (np.float32(x).tobytes() for x in (1, 2))
FIRST = Invocation(core_mask=255)


def test_what_did_not_run_or_did_not_return_is_not_counted_as_checked() -> None:
    found = counted(
        (FIRST, Outcome("ok", ONE)),
        (FIRST, Outcome("crash", findings=[Finding("guard", "beyond")])),
        (FIRST, Outcome("timeout")),
        (FIRST, Outcome("not-run")),
    )
    assert (found["returns"].checked, found["processes"].checked) == (3, 3)
    assert (found["outside-access"].checked, found["outside-access"].broken) == (2, 1)
    assert (found["fp-environment"].checked, found["repetition"].checked) == (1, 0)
    assert found["output-written"].checked == 0, "one filling alone shows nothing"
    other = counted((FIRST, Outcome("ok", ONE)), (Invocation(core_mask=255, fill=1), Outcome("ok", ONE)))
    assert other["output-written"].checked == other["output-fill"].checked == other["small-sizes"].checked == 1


def test_what_the_invocations_with_other_bits_have_in_common_is_blamed() -> None:
    masked, moved = Invocation(core_mask=1), Invocation(core_mask=255, offset=3)
    both, all_three = Invocation(core_mask=1, offset=3), Invocation(core_mask=2, offset=1, fill=1)

    def blamed(**got: bytes) -> set[str]:
        ways = {"masked": masked, "moved": moved, "both": both, "all_three": all_three, "again": FIRST}
        found = counted((FIRST, Outcome("ok", ONE)), *((ways[name], Outcome("ok", out)) for name, out in got.items()))
        return {name for name, c in found.items() if c.broken}

    assert blamed(masked=ONE, moved=ONE, both=ONE, again=ONE) == set()
    assert blamed(masked=TWO, all_three=TWO) == {"core-mask"}, "in both, and alone in one"
    assert blamed(both=TWO, all_three=TWO) == {"core-mask", "placement"}, "cannot be told apart"
    assert blamed(both=TWO, masked=ONE) == {"placement"}, "the mask alone changed nothing"
    assert blamed(again=TWO) == {"repetition"}
    assert blamed(masked=TWO, moved=TWO) == {"core-mask", "placement"}, "nothing in common: either"


def test_a_model_is_not_said_to_keep_contracts_that_nobody_could_see(tmp_path: Path) -> None:
    files = [read_vectors(SMOKE / "smoothl1lossgrad-fp32.h5")]
    results = run("reference:exact", files, "FT78NE")
    found = contracts(results)
    assert ReferenceSession.unobservable < set(CONTRACTS)
    for name, contract in found.items():
        assert contract.observable == (name not in ReferenceSession.unobservable)
        assert contract.observable or (contract.checked, contract.broken) == (0, 0)
    assert found["small-sizes"].checked > 0
    assert Settings(load_profile("host"), "smoke").strict is False
