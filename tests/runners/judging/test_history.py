"""What a process has been through must not matter: state between entry points, and counters that come round."""

import random
from itertools import pairwise
from pathlib import Path

import pytest

from golden.files.vectors import read_vectors
from golden.profile import load_profile
from golden.results import Results
from runners.judging.history import _ROUNDS, IN_A_ROW, _each_after_each, _orders, _ordinal
from runners.judging.validate import Settings, validate
from runners.library.session import LibrarySession
from runners.models import ReferenceSession
from runners.toolchain.build import build_library, include_dir
from tests.helpers.command import needs_compiler
from tests.helpers.validating import SMOKE, run_library

GOOD = "good(dy, dx1, x1, x2, length, beta);"


def entry(results: Results, symbol: str = "fp_smoothl1lossgrad_p") -> tuple[str, str, int, int]:
    found = next(e for e in results.entry_points if e.symbol == symbol)
    history = next(c for c in found.contracts if c.name == "history")
    return found.status, found.detail, history.checked, history.broken


@pytest.fixture
def in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have entry points called in a row that have few cases, too."""
    monkeypatch.setattr("runners.judging.history.FROM_CASES", 0)


@needs_compiler
def test_of_few_cases_none_is_called_in_a_row(tmp_path: Path) -> None:
    checked = entry(run_library(tmp_path, GOOD))[2]
    assert 0 < checked < 1000


@needs_compiler
@pytest.mark.usefixtures("in_a_row")
def test_a_good_build_is_called_in_turn_and_in_a_row(tmp_path: Path) -> None:
    results = run_library(tmp_path, GOOD)
    assert results.verdict == "conforms"
    for symbol in ("fp_smoothl1lossgrad_s", "fp_smoothl1lossgrad_p"):
        assert entry(results, symbol)[2] > IN_A_ROW and entry(results, symbol)[3] == 0


@needs_compiler
@pytest.mark.usefixtures("in_a_row")
@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        (f"static unsigned short n; if (++n) {GOOD}", "fail", "when it is called for the "),
        (f"static unsigned n; if (++n == 66000) abort(); {GOOD}", "crash", "time in a row"),
        (f"static unsigned n; {GOOD} if (++n == 66000 && length) dx1[length] = 1;", "fail", "beside the output"),
    ],
)
def test_what_tens_of_thousands_of_calls_show_is_named(code: str, status: str, words: str, tmp_path: Path) -> None:
    got, detail, _, broken = entry(run_library(tmp_path, code))
    assert (got, broken) == (status, 1) and words in detail, detail


_STATE = """
#include <stdlib.h>
#define fp_smoothl1lossgrad_p good_p
#define fp_smoothl1lossgrad_s good_s
#include "smoothl1lossgrad.c"
#undef fp_smoothl1lossgrad_p
#undef fp_smoothl1lossgrad_s
static int left;
void fp_smoothl1lossgrad_s(float *dy, float *dx1, float *x1, float *x2, int length, float beta, int core_mask)
{ good_s(dy, dx1, x1, x2, length, beta, core_mask); left = length; }
void fp_smoothl1lossgrad_p(float *dy, float *dx1, float *x1, float *x2, int length, float beta)
{ good_p(dy, dx1, x1, x2, length, beta); if (left && left == length)
  for (int i = 0; i < length; i++) if (x1[i] - x2[i] < beta && x2[i] - x1[i] < beta) dx1[i] = WRONG;
  left = 0; }
"""


@needs_compiler
@pytest.mark.parametrize(
    ("wrong", "words"),
    [("1e30f", "outside every legal bound"), ("(x1[i] - x2[i]) * dy[i] / beta", "have other bits")],
)
def test_what_one_entry_point_leaves_to_another_is_named_with_the_call_before(
    wrong: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "kernel.c").write_text(_STATE.replace("WRONG", wrong))
    flags = ["-DGOLDEN_FP32_ONLY", f"-I{include_dir()}", "-Wno-all", "-pthread"]
    library = build_library(tmp_path / "lib.so", sources=[tmp_path / "kernel.c"], cflags=flags)
    files = [read_vectors(SMOKE / "smoothl1lossgrad-fp32.h5")]
    with LibrarySession(library, draw="steady") as session:
        results = validate(str(library), session, session.library, files, Settings(load_profile("FT78NE"), "smoke"))
    status, detail, _, broken = entry(results)
    assert status == "fail" and broken, detail
    assert words in detail and "right after fp_smoothl1lossgrad_s (smoothl1lossgrad/fp32/" in detail, detail
    assert entry(results, "fp_smoothl1lossgrad_s")[0] == "pass"


def test_each_comes_after_each_once() -> None:
    for count in range(1, 9):
        symbols = [f"f{n}" for n in range(count)]
        found = _each_after_each(symbols, random.Random(count))
        assert sorted(pairwise(found)) == sorted((a, b) for a in symbols for b in symbols)
    assert _each_after_each([], random.Random(0)) == []


def test_of_any_two_each_is_the_first_with_some_size() -> None:
    symbols = [f"f{n}" for n in range(8)]
    orders = _orders(symbols, _ROUNDS, random.Random(5))
    for a in symbols:
        for b in symbols:
            assert a == b or any(order.index(a) < order.index(b) for order in orders)


def test_numbers_have_their_endings() -> None:
    assert [_ordinal(n) for n in (1, 2, 3, 11, 112, 65536, 70021)] == [
        *("1st", "2nd", "3rd", "11th", "112th", "65,536th", "70,021st")
    ]


def test_what_cannot_be_seen_is_not_asked_for() -> None:
    assert "history" in ReferenceSession.unobservable
