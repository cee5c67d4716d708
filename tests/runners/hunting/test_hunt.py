"""The hunt: finds what is wrong or worst, shrinks it, repeats itself, and writes vectors that the rest accepts."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from golden.commands import catalogue
from golden.errors import TargetError, UsageError
from golden.files.vectors import read_vectors
from golden.formats import FORMATS
from golden.judge import judge
from golden.profile import load_profile
from golden.terms import Terms
from runners.hunting.hunt import hunt
from runners.judging.validate import Settings, validate
from runners.library.session import LibrarySession
from runners.models import ReferenceSession
from runners.targets import open_target
from runners.toolchain.build import build_library, include_dir
from tests.helpers.command import golden

ROUNDS = 6


@pytest.fixture
def session(kernels: Path) -> Iterator[LibrarySession]:
    with LibrarySession(kernels) as opened:
        yield opened


@pytest.mark.parametrize(
    "symbol",
    [
        "hp_smoothl1lossgrad_p",
        pytest.param("fp_smoothl1lossgrad_s", marks=pytest.mark.confirm),
        pytest.param("hp_nlllossgrad_s", marks=pytest.mark.confirm),
        "fp_nlllossgrad_p",
    ],
)
def test_what_is_found_is_a_vector_that_validate_and_show_accept(
    session: LibrarySession, kernels: Path, tmp_path: Path, symbol: str
) -> None:
    found, case = hunt(session, symbol, tmp_path, rounds=ROUNDS)
    assert not found.fails and 1 < found.ulp <= found.bound and found.ulp >= 0.99 * found.found_ulp
    file = read_vectors(Path(found.file))
    assert [c.id for c in file.cases] == [found.case] and file.cases[0].klass == "hunted"
    assert found.case.startswith(f"{case.operator.name}/{case.dtype}/{case.group}/hunted/n=1/")
    assert any("ulp" in line for line in catalogue.describe(catalogue.find([file], found.case), None, 8, Terms()))
    other, library = open_target(str(kernels), 10.0)
    try:
        results = validate(str(kernels), other, library, [file], Settings(load_profile("MT7004"), found.file))
    finally:
        other.close()
    assert results.verdict == "conforms"
    entry = next(e for e in results.entry_points if e.symbol == symbol)
    assert entry.max_ulp == pytest.approx(found.ulp)


def test_the_same_seed_finds_the_same(session: LibrarySession) -> None:
    first, second = (hunt(session, "hp_smoothl1lossgrad_p", seed=7, rounds=ROUNDS) for _ in range(2))
    assert first[0] == second[0]
    assert hunt(session, "hp_smoothl1lossgrad_p", seed=8, rounds=ROUNDS)[0].case != first[0].case


@pytest.mark.confirm
def test_a_model_can_be_hunted_and_a_wider_order_is_worse() -> None:
    formula, reciprocal = (
        hunt(ReferenceSession(name), "fp_smoothl1lossgrad_p", rounds=2 * ROUNDS)[0]
        for name in ("formula", "reciprocal")
    )
    assert 1.5 < formula.ulp < 3 and reciprocal.ulp > formula.ulp
    exact, _ = hunt(ReferenceSession("exact"), "fp_smoothl1lossgrad_p", rounds=ROUNDS)
    assert 0.499 < exact.found_ulp <= 0.5 and 0.49 < exact.ulp <= 0.5


def test_underflow_of_an_intermediate_is_found_in_fp16() -> None:
    found, case = hunt(ReferenceSession("formula"), "hp_smoothl1lossgrad_p", beta=0.7, rounds=10)
    assert found.ulp > 16 and not found.fails
    values = {name: float(v[0]) for name, v in case.operands.items()}
    assert abs(values["x1"] - values["x2"]) / 0.7 < 2.0**-14 and abs(values["dy"]) > 1


BROKEN = """
#include "{source}"
void fp_smoothl1lossgrad_p(float *dy, float *dx1, float *x1, float *x2, int length, float beta)
{{
    for (int i = 0; i < length; i++) {{
        float d = x1[i] - x2[i];
        dx1[i] = d > beta ? dy[i] : d < -beta ? -dy[i] : d / beta * dy[i];
        if (d > 0.75f * beta && d < 0.78125f * beta && dy[i] > 2.0f)
            dx1[i] = -dx1[i];
    }}
}}
"""


def test_a_rare_wrong_sign_is_found_and_shrunk(tmp_path: Path) -> None:
    source = tmp_path / "kernel.c"
    text = BROKEN.format(source=include_dir() / "smoothl1lossgrad.h")
    source.write_text(text)
    with LibrarySession(build_library(tmp_path / "kernel.so", sources=[source])) as session:
        found, case = hunt(session, "fp_smoothl1lossgrad_p", beta=1.0, rounds=20, seed=1)
    assert found.fails and found.ulp > 1e6
    bits = 0
    for name in ("dy", "x1", "x2"):
        numerator, _ = abs(float(case.operands[name][0])).as_integer_ratio()
        bits += (numerator // (numerator & -numerator)).bit_length() if numerator else 0
    assert bits <= 24, case.operands  # 72 before shrinking


def test_a_wrong_result_counts_for_more_than_a_large_legal_error(tmp_path: Path) -> None:
    """Underflow is legally 300 ulp off at beta = 0.7; a result that is 32 ulp off where nothing underflows is not."""
    source = tmp_path / "kernel.c"
    source.write_text(f"""
#define hp_smoothl1lossgrad_p inner
#include "{include_dir() / "smoothl1lossgrad.c"}"
#undef hp_smoothl1lossgrad_p
void hp_smoothl1lossgrad_p(half *dy, half *dx1, half *x1, half *x2, int length, half beta);
void hp_smoothl1lossgrad_p(half *dy, half *dx1, half *x1, half *x2, int length, half beta)
{{
    inner(dy, dx1, x1, x2, length, beta);
    for (int i = 0; i < length; i++)
        if (dy[i] > 1 && x1[i] > x2[i] + beta)
            ((unsigned short *)dx1)[i] ^= 32;
}}
""")
    with LibrarySession(build_library(tmp_path / "kernel.so", sources=[source])) as session:
        found, _ = hunt(session, "hp_smoothl1lossgrad_p", beta=0.7, rounds=8)
    assert found.fails and found.ulp <= 64


def test_what_is_reported_is_what_the_judge_says(session: LibrarySession) -> None:
    found, case = hunt(session, "hp_nlllossgrad_p", reduction="mean", rounds=ROUNDS)
    order = case.operator
    from golden.working import WorkingPrecision

    with np.errstate(all="ignore"):
        output = order.evaluate(
            "formula", WorkingPrecision(FORMATS["fp16"]), FORMATS["fp16"], case.scalars, case.operands
        )
    judged = judge(case, output, Terms())
    assert abs(float(judged.signed[0])) == pytest.approx(found.ulp)
    assert float(judged.bound[0]) == found.bound


def test_unknown_and_missing_symbols(session: LibrarySession, fp32_only: Path) -> None:
    with pytest.raises(UsageError, match="no entry point"):
        hunt(session, "fp_nothing_p")
    with LibrarySession(fp32_only) as smaller, pytest.raises(TargetError, match="has no hp_nlllossgrad_p"):
        hunt(smaller, "hp_nlllossgrad_p")


def test_a_crash_is_one_error_and_not_searched_again(tmp_path: Path) -> None:
    source = tmp_path / "kernel.c"
    source.write_text(f"""
#include "{include_dir() / "smoothl1lossgrad.h"}"
void fp_smoothl1lossgrad_p(float *dy, float *dx1, float *x1, float *x2, int length, float beta)
{{
    (void)dy, (void)x1, (void)x2, (void)length, (void)beta;
    dx1[0] = *(volatile float *)0;
}}
""")
    with LibrarySession(build_library(tmp_path / "kernel.so", sources=[source])) as session:
        with pytest.raises(TargetError, match="SIGSEGV") as caught:
            hunt(session, "fp_smoothl1lossgrad_p", rounds=ROUNDS)
        assert "Validate the library first" in str(caught.value) and caught.value.__context__ is None


def test_all_symbols_are_checked_before_any_is_searched(kernels: Path, tmp_path: Path) -> None:
    symbols = ["--symbol", "fp_smoothl1lossgrad_p", "--symbol", "fp_nothing_p"]
    started = time.monotonic()
    done = golden("hunt", kernels, *symbols, "--out", tmp_path)
    assert done.returncode == 2 and done.stdout == "" and "no entry point named 'fp_nothing_p'" in done.stderr
    assert list(tmp_path.iterdir()) == [] and time.monotonic() - started < 10


@pytest.mark.parametrize("json", [pytest.param(False, marks=pytest.mark.confirm), True])
def test_what_was_found_before_a_crash_is_kept(tmp_path: Path, json: bool) -> None:
    (tmp_path / "half.py").write_text(
        "from tests.python_targets import formula\n"
        "def f(operator, dtype, scalars, operands):\n"
        "    if dtype == 'fp32':\n        raise RuntimeError('no fp32')\n"
        "    return formula(operator, dtype, scalars, operands)\n"
    )
    symbols = ["--symbol", "hp_nlllossgrad_p", "--symbol", "fp_nlllossgrad_p", "--rounds", "2"]
    done = golden("hunt", "python:half:f", *symbols, "--out", tmp_path / "out", *["--json"] * json, cwd=tmp_path)
    assert done.returncode == 3 and "RuntimeError: no fp32" in done.stderr
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["hp_nlllossgrad_p-hunted.h5"]
    if json:
        assert [found["symbol"] for found in msgspec.json.decode(done.stdout)] == ["hp_nlllossgrad_p"]
    else:
        assert done.stdout.startswith("hp_nlllossgrad_p: ")


@pytest.mark.confirm
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_was_found_before_an_interrupt_is_kept(kernels: Path, tmp_path: Path, number: int) -> None:
    symbols = ["--symbol", "hp_nlllossgrad_p", "--symbol", "fp_nlllossgrad_p", "--symbol", "hp_smoothl1lossgrad_p"]
    words = (kernels, *symbols, "--rounds", "5", "--out", tmp_path)
    command = [sys.executable, "-m", "golden.cli", "hunt", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as hunting:
        assert hunting.stdout is not None and hunting.stderr is not None
        line = hunting.stdout.readline()
        hunting.send_signal(number)
        errors = hunting.stderr.read()
    assert hunting.returncode == 130 and errors.strip() == "golden: interrupted"
    assert line.startswith("hp_nlllossgrad_p: ") and (tmp_path / "hp_nlllossgrad_p-hunted.h5").is_file()


@pytest.mark.confirm
def test_a_build_that_numbers_reductions_otherwise_is_hunted_with_its_numbers(tmp_path: Path) -> None:
    built = tmp_path / "other.so"
    assert golden("build", "-o", built, "--cflags=-DGOLDEN_REDUCTION_NONE_SUM_MEAN").returncode == 0
    for words, code in (((), 1), (("--reduction-enum", "none-sum-mean"), 0), (("--reduction-enum", "auto"), 0)):
        done = golden("hunt", built, "--symbol", "fp_nlllossgrad_p", "--rounds", "2", *words, "--out", tmp_path)
        assert done.returncode == code, done.stdout
        assert ("numbers reductions none-sum-mean" in done.stderr) == ("auto" in words)
