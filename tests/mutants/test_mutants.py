"""Defective kernels are rejected and legal ones accepted: a part of the table always, all of it when asked."""

import shutil
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from tests.mutants import run
from tests.mutants.legal import LEGAL, Legal
from tests.mutants.mutants import FAMILIES, MUTANTS
from tests.mutants.variant import StaleVariantError, Variant, defect, sources, stale

BY_NAME = {m.name: m for m in MUTANTS}
LEGAL_BY_NAME = {v.variant.name: v for v in LEGAL}
#: A mutant of every kind of trouble; those of both dtypes, both operators and the cores. Suite smoke kills them.
FAST = (
    "sl1-fp-signed-compare",
    "sl1-fp-huber",
    "sl1-hp-fmin-fmax",
    "sl1-hp-truncates",
    "sl1-fp-tail-formula",
    "cores-last-skipped",
    "cores-divides-by-zero",
    "sl1-fp-writes-beyond",
    "sl1-hp-every-257th",
    "nll-hp-total-fp16-sum",
    "nll-fp-no-zero-fill",
    "sl1-hp-endless",
)
#: What needs the suite core.
FAST_CORE = ("nll-label-int16",)
FAST_LEGAL = ("gcc-O2", "clang-O2-native", "fp32-inside")

gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not on PATH")


def outcomes(mutants: Iterable[Variant], legals: Iterable[Legal], suite: str = "core") -> dict[str, run.Outcome]:
    return {o.name: o for o in run.check_all(mutants, legals, jobs=2, suite=suite)}


@pytest.fixture(scope="module")
def fast() -> dict[str, run.Outcome]:
    found = outcomes((BY_NAME[n] for n in FAST), (LEGAL_BY_NAME[n] for n in FAST_LEGAL), "smoke")
    return found | outcomes((BY_NAME[n] for n in FAST_CORE), ())


@gcc
@pytest.mark.parametrize("name", [*FAST, *FAST_CORE])
def test_a_defective_build_is_rejected(fast: dict[str, run.Outcome], name: str) -> None:
    assert fast[name].wrong == ""
    assert fast[name].verdict == "fails"
    assert run.killers(fast[name])


@gcc
@pytest.mark.parametrize("name", FAST_LEGAL)
def test_a_legal_build_is_accepted(fast: dict[str, run.Outcome], name: str) -> None:
    if fast[name].skipped:
        pytest.skip(fast[name].skipped)
    assert fast[name].wrong == ""
    assert fast[name].verdict == "conforms"


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
    found = outcomes(MUTANTS, LEGAL)
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
