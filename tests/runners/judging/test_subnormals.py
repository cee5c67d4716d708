"""What becomes of subnormals is what judged results show, not only what a probe has seen."""

import numpy as np
import pytest

from golden.case import Case
from golden.files.vectors import read_vectors
from golden.profile import load_profile
from runners.judging.subnormals import Subnormals, told
from runners.models import MODELS
from tests.helpers.validating import SMOKE, run

TERMS = load_profile("FT78NE").terms


def seen(*models: str) -> Subnormals:
    """Look at smoke's fp32 cases as these models compute them, each at the elements after the one before."""
    found = Subnormals("fp_smoothl1lossgrad_p", TERMS)
    outputs = []
    cases: list[Case] = [c for c in read_vectors(SMOKE / "smoothl1lossgrad-fp32.h5").cases if c.tier == "required"]
    for case in cases:
        parts = [MODELS[m].evaluate(case.operator, case.fmt, case.scalars, case.operands) for m in models]
        index = np.arange(case.golden.value.size)
        outputs.append((case, np.choose(index * len(models) // max(index.size, 1), parts)))
    found.add(outputs)
    return found


def test_one_way_throughout_corrects_a_probe_that_saw_nothing() -> None:
    assert told("unknown", [seen("formula")]) == ("preserve", "")
    assert told("unknown", [seen("flush")]) == ("flush", "")
    assert told("unknown", []) == ("unknown", "")


def test_both_ways_are_mixed_and_said_to_be_where() -> None:
    word, where = told("preserve", [seen("flush", "formula")])
    assert word == "mixed" and "fp_smoothl1lossgrad_p gives " in where and where.count("element") == 2
    word, where = told("preserve", [seen("flush")])
    assert word == "mixed" and "a probe keeps them, but fp_smoothl1lossgrad_p gives" in where
    word, where = told("unknown", [seen("formula"), seen("flush")])
    assert word == "mixed"


@pytest.mark.parametrize(("model", "word"), [("formula", "preserve"), ("flush", "flush")])
def test_results_say_it(model: str, word: str) -> None:
    files = [read_vectors(SMOKE / "smoothl1lossgrad-fp32.h5")]
    results = run(f"reference:{model}", files, platform="FT78NE")
    assert results.probe.subnormals == word and not [f for f in results.findings if f.kind == "subnormals"]
