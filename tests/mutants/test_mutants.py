"""Defective kernels are rejected and legal ones accepted: a part of the table always, all of it when asked."""

import shutil
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.mutants import run
from tests.mutants.legal import LEGAL
from tests.mutants.mutants import FAMILIES, MUTANTS
from tests.mutants.variant import StaleVariantError, Variant, defect, sources, stale

BY_NAME = {m.name: m for m in MUTANTS}
LEGAL_BY_NAME = {v.variant.name: v for v in LEGAL}
SL1_HALF, SL1, NLL_HALF, NLL = (f"{name}lossgrad-fp{width}" for name in ("smoothl1", "nll") for width in (16, 32))
#: A mutant of every kind of trouble; those of both dtypes, both operators and the cores. A file of smoke kills each.
FAST = {
    "sl1-fp-signed-compare": SL1,
    "sl1-fp-huber": SL1,
    "sl1-hp-fmin-fmax": SL1_HALF,
    "sl1-hp-truncates": SL1_HALF,
    "sl1-fp-tail-formula": SL1,
    "cores-last-skipped": SL1_HALF,
    "cores-divides-by-zero": SL1_HALF,
    "sl1-fp-writes-beyond": SL1,
    "sl1-hp-every-257th": SL1_HALF,
    "nll-hp-total-fp16-sum": NLL_HALF,
    "nll-fp-no-zero-fill": NLL,
    "sl1-hp-endless": SL1_HALF,
}
#: What needs a file of core.
FAST_CORE = {"nll-label-int16": NLL_HALF}
FAST_LEGAL = ("gcc-O2", "clang-O2-native", "fp32-inside")

gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not on PATH")


@gcc
@pytest.mark.parametrize("name", [*FAST, *FAST_CORE])
def test_a_defective_build_is_rejected(name: str) -> None:
    suite, part = ("smoke", FAST[name]) if name in FAST else ("core", FAST_CORE[name])
    endless = name.endswith("-endless")
    outcome = run.check(BY_NAME[name], suite=suite, part=part, timeout=0.3 if endless else run.TIMEOUT)
    assert (outcome.wrong, outcome.verdict) == ("", "fails")
    assert run.killers(outcome) and endless == ("timeout" in outcome.kinds)


@gcc
@pytest.mark.parametrize("name", FAST_LEGAL)
def test_a_legal_build_is_accepted(name: str) -> None:
    legal = LEGAL_BY_NAME[name]
    outcome = run.check(legal.variant, legal, suite="smoke")
    if outcome.skipped:
        pytest.skip(outcome.skipped)
    assert (outcome.wrong, outcome.verdict) == ("", "conforms")


@gcc
def test_fast_math_leaves_the_judge_untouched() -> None:
    legal = LEGAL_BY_NAME["gcc-fast-math"]
    outcome = run.check(legal.variant, legal, suite="smoke")
    assert outcome.wrong == ""
    smallest = np.array([2.0**-149, -(2.0**-149)], np.float32)
    assert (smallest + np.float32(0)).tolist() == [2.0**-149, -(2.0**-149)]
    assert 5e-324 / 1 == 5e-324


@pytest.mark.slow
@pytest.mark.timeout(3600)
@gcc
def test_every_defective_build_is_rejected_and_every_legal_one_accepted() -> None:
    found = {o.name: o for o in run.check_all(MUTANTS, LEGAL, jobs=2)}
    assert {o.name: o.wrong for o in found.values() if o.wrong} == {}
    assert len(found) == len(MUTANTS) + len(LEGAL)


def test_every_variant_still_applies_to_the_kernels() -> None:
    assert stale(iter([*MUTANTS, *(v.variant for v in LEGAL)])) == []


def test_a_stale_variant_is_an_error() -> None:
    edit = BY_NAME["sl1-fp-swapped"].edits[0]
    for broken in (
        type(edit)(edit.file, "no such text", "x"),
        type(edit)(edit.file, edit.old, edit.old),
        type(edit)(edit.file, edit.old, "x", times=2),
        type(edit)("nowhere.c", edit.old, "x"),
    ):
        with pytest.raises(StaleVariantError, match="broken"):
            sources(defect("broken", "operands", "a stale text", broken))


def test_there_are_enough_mutants_of_every_family() -> None:
    families = Counter(m.family for m in MUTANTS)
    assert set(families) == set(FAMILIES)
    assert min(families.values()) >= 4
    assert sum(families.values()) >= 80


def test_there_are_enough_legal_builds() -> None:
    assert sum(v.verdict == "conforms" for v in LEGAL) >= 15


def test_every_variant_has_a_name_and_a_change_of_its_own() -> None:
    variants = [*MUTANTS, *(v.variant for v in LEGAL)]
    assert [n for n, count in Counter(v.name for v in variants).items() if count > 1] == []
    contents = Counter(repr((sorted(sources(m).items()), m.flags)) for m in MUTANTS)
    assert max(contents.values()) == 1
    healthy = repr((sorted(sources(Variant("healthy", "", "")).items()), ()))
    assert healthy not in contents
    assert all(v.description and len(v.description) < 260 for v in variants)


def test_the_report_names_survivors_and_what_kills_the_others() -> None:
    mutant, other = MUTANTS[0], MUTANTS[1]
    described = mutant.description.replace("|", "\\|")
    text = run.render(
        {
            mutant.name: run.Outcome(mutant.name, "fails", ("smoothl1lossgrad/kink",), ("value", "guard"), reason="x"),
            other.name: run.Outcome(other.name, "conforms", wrong="conforms: all pass"),
        },
        time.monotonic(),
    )
    assert "1 of 2 defective builds are rejected" in text
    assert f"| {mutant.name} | {mutant.family} | {described} | fails | guard, smoothl1/kink | 1 |" in text
    assert f"| {other.name} | {other.family} | {other.description} | **conforms** |" in text
    assert f"| smoothl1lossgrad/kink | 1 | 1 | {mutant.name} |" in text


def test_libraries_are_built_once(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not on PATH")
    first = run.build(MUTANTS[0], tmp_path)
    stamp = first.stat().st_mtime_ns
    assert run.build(MUTANTS[0], tmp_path) == first
    assert first.stat().st_mtime_ns == stamp
    assert run.build(MUTANTS[1], tmp_path) != first
