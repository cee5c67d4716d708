"""The command line as a user meets it: exit codes, one clear sentence, files that are there whole or not at all."""

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from golden.files.results import read_results, write_results
from golden.files.sweeps import write_sweep
from golden.operator import entry_points, operators
from golden.profile import load_profile
from runners.toolchain.build import build_library, include_dir
from tests import ROOT
from tests.helpers import small_report
from tests.helpers.command import COMPILER, SMALLEST, cases_of, golden, needs_compiler, one_sentence


@needs_compiler
@pytest.mark.parametrize("platform", ["host", "FT78NE", pytest.param("mt7004", marks=pytest.mark.confirm)])
def test_own_build_conforms(kernels: Path, platform: str, tmp_path: Path) -> None:
    done = golden("validate", kernels, "--platform", platform, "--suite", "smoke", "--out", tmp_path / "o")
    assert done.returncode == 0, done.stderr + done.stdout
    results = json.loads((tmp_path / "o/results.json").read_text())
    assert results["verdict"] == "conforms" and results["complete"] is True
    assert [e["symbol"] for e in results["entry_points"]] == [e.symbol for e in load_profile(platform).required()]
    assert sum(e["cases"] for e in results["entry_points"]) == 2 * cases_of(
        "smoke", "fp32" if platform == "FT78NE" else ""
    )
    for name in ("report.md", "report.html", "junit.xml"):
        assert (tmp_path / "o" / name).stat().st_size > 1000
    keys = {"symbol", "operator", "dtype", "storage", "status", "grade", "max_ulp", "misrounded", "elements", "cases"}
    assert all(keys | {"failures"} <= set(entry) for entry in results["entry_points"])
    assert {"path", "sha256"} <= set(results["library"])
    assert {"half_abi", "reduction_enum", "subnormals", "evaluation_order"} <= set(results["probe"])


@needs_compiler
@pytest.mark.confirm
def test_core_counts_every_case_and_defaults_are_no_news(kernels: Path, tmp_path: Path) -> None:
    (tmp_path / "golden.toml").touch()
    done = golden("validate", kernels, "--out", "o", cwd=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.startswith("entry point")
    results = read_results(tmp_path / "o/results.json")
    assert results.option_sources == {}
    assert sum(e.cases for e in results.entry_points) == 2 * results.vectors.cases >= 4000
    assert results.probe.half_abi == "float16" and results.probe.subnormals == "preserve"


def test_defaults_are_no_news(tmp_path: Path) -> None:
    (tmp_path / "golden.toml").touch()
    done = golden("validate", "reference:formula", "--vectors", SMALLEST, cwd=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stdout.splitlines()[0] == f"options: vectors={SMALLEST} (command line)"
    assert [*read_results(tmp_path / "out/results.json").option_sources] == ["vectors"]


@needs_compiler
@pytest.mark.parametrize(
    "cflags",
    [*(pytest.param(f, marks=pytest.mark.confirm) for f in ("-O0", "-O3 -march=native")), "-DGOLDEN_HALF_UINT16"],
)
def test_other_builds_of_the_same_kernels_conform(cflags: str, tmp_path: Path) -> None:
    library = tmp_path / "lib.so"
    assert golden("build", "-o", library, "--cflags", cflags).returncode == 0
    done = golden("validate", library, "--platform", "MT7004", "--suite", "smoke", "--out", tmp_path)
    assert done.returncode == 0, done.stdout
    abi = read_results(tmp_path / "results.json").probe.half_abi
    assert abi == ("uint16" if "UINT16" in cflags else "float16")


@needs_compiler
def test_fp32_only_library(fp32_only: Path, tmp_path: Path) -> None:
    run = ("validate", fp32_only, "--suite", "smoke", "--out", tmp_path, "--platform")
    assert golden(*run, "FT78NE").returncode == 0
    done = golden(*run, "MT7004")
    assert done.returncode == 1
    missing = [symbol for symbol in entry_points() if symbol.startswith("hp_")]
    entries = read_results(tmp_path / "results.json").entry_points
    assert [e.symbol for e in entries if e.status == "missing"] == missing
    first_screen = (tmp_path / "report.md").read_text().split("\n## What was judged")[0]
    assert all(symbol in first_screen for symbol in missing)


#: Each defect is one wrong argument passed on to the good kernel, which is compiled under the name ``good``.
DEFECTS = {
    "x1 and x2 swapped": ("smoothl1lossgrad", "good(dy, dx1, x2, x1, length, beta);"),
    "beta ignored": ("smoothl1lossgrad", "(void)beta; good(dy, dx1, x1, x2, length, 1.0f);"),
    "minus sign dropped": (
        "nlllossgrad",
        "good(l, g, labels, w, t, out, batch, class_num, reduction);"
        "for (long i = 0; i < (long)batch * class_num; i++) out[i] = -out[i];",
    ),
    "sum and mean exchanged": (
        "nlllossgrad",
        "good(l, g, labels, w, t, out, batch, class_num, reduction < 2 ? 1 - reduction : 2);",
    ),
}
PARAMETERS = {
    "smoothl1lossgrad": "float *dy, float *dx1, float *x1, float *x2, int length, float beta",
    "nlllossgrad": "float *l, float *g, int *labels, float *w, float *t, float *out, int batch, int class_num,"
    " int reduction",
}


@needs_compiler
@pytest.mark.parametrize("defect", DEFECTS)
def test_defects_are_named_on_the_first_screen(defect: str, tmp_path: Path) -> None:
    operator, body = DEFECTS[defect]
    symbol, source = f"fp_{operator}_p", tmp_path / "defect.c"
    source.write_text(
        f'#define {symbol} good\n#include "{operator}.c"\n#undef {symbol}\n'
        f"void {symbol}({PARAMETERS[operator]}) {{ {body} }}\n"
    )
    flags = ["-DGOLDEN_FP32_ONLY", f"-I{include_dir()}"]
    library = build_library(tmp_path / "lib.so", sources=[source], cflags=flags)
    vectors = ROOT / f"vectors/smoke/{operator}-fp32.h5"
    done = golden("validate", library, "--platform", "FT78NE", "--vectors", vectors, "--out", tmp_path)
    assert done.returncode == 1, done.stdout
    entry = next(e for e in read_results(tmp_path / "results.json").entry_points if e.symbol == symbol)
    assert entry.status == "fail" and entry.grade == "fails"
    first = next(f.first for f in entry.failing if f.first)
    first_screen = (tmp_path / "report.md").read_text().split("\n## What was judged")[0]
    for word in (symbol, first.klass, first.case, first.expected.bits, first.got.bits):
        assert word in first_screen, word


@needs_compiler
def test_other_reduction_numbers_are_one_sentence(other_numbers: Path, tmp_path: Path) -> None:
    run = ("validate", other_numbers, "--suite", "smoke", "--out", tmp_path)
    done = golden(*run)
    assert done.returncode == 1
    results = read_results(tmp_path / "results.json")
    assert "--reduction-enum none-sum-mean" in results.reason
    assert sum(e.failures for e in results.entry_points) == 4
    assert golden(*run, "--reduction-enum", "none-sum-mean").returncode == 0
    assert golden(*run, "--reduction-enum", "auto").returncode == 0


#: Models with a suite; those that differ from the documented order by a rounding alone confirm.
MODELS = [
    pytest.param(m, s, marks=pytest.mark.confirm if s == "core" or m in ("product-first", "reciprocal") else ())
    for m in ("exact", "formula", "product-first", "reciprocal", "fp32-inside", "flush")
    for s in ("smoke", "core")
]


@pytest.mark.parametrize(("model", "suite"), MODELS)
def test_reference_models_conform(model: str, suite: str, tmp_path: Path) -> None:
    # Multiplying first overflows in fp16 where the page's order does not.
    allowed = ("--allow", "overflow") if model == "product-first" else ()
    words = ("--platform", "MT7004", "--suite", suite, "--out", tmp_path, *allowed)
    done = golden("validate", f"reference:{model}", *words)
    # An entry point is missing where the model is an order of other operators alone.
    others = {order for op in operators().values() for order in op.orders}
    having = [op.name for op in operators().values() if model in op.orders or model not in others]
    assert done.returncode == (having != [*operators()]), done.stdout
    entries = read_results(tmp_path / "results.json").entry_points
    grades = {e.grade for e in entries if e.operator in having}
    assert "fails" not in grades
    assert bool(allowed) == ("range = any-order" in done.stdout)
    assert (grades == {"correctly-rounded"}) == (model == "exact")


def test_options_that_only_some_targets_have_are_told(tmp_path: Path) -> None:
    done = golden("validate", "reference:exact", "--suite", "smoke", "--recheck", "--sandbox", "off", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "recheck=yes (command line), sandbox (command line)" in done.stdout.splitlines()[0]
    assert read_results(tmp_path / "results.json").options["recheck"] == "yes"


def test_an_order_that_overflows_where_the_page_does_not_fails(tmp_path: Path) -> None:
    options = ("--platform", "MT7004", "--suite", "smoke", "--out", tmp_path)
    done = golden("validate", "reference:gradient-first", *options)
    assert done.returncode == 1
    entries = {e.symbol: e for e in read_results(tmp_path / "results.json").entry_points}
    assert entries["hp_smoothl1lossgrad_s"].status == "fail" and entries["fp_smoothl1lossgrad_s"].status == "pass"
    assert any(f.kind == "overflow" for f in entries["hp_smoothl1lossgrad_s"].failing)


def test_flushing_fails_where_the_profile_preserves(tmp_path: Path) -> None:
    options = ("--platform", "host", "--suite", "smoke", "--out", tmp_path)
    assert golden("validate", "reference:flush", *options).returncode == 1


def test_wrong_inputs(tmp_path: Path) -> None:
    text = tmp_path / "text.so"
    text.write_text("not a library\n")
    cut = tmp_path / "cut.h5"
    cut.write_bytes((ROOT / "vectors/smoke/smoothl1lossgrad-fp16.h5").read_bytes()[:5000])
    out = ("--out", tmp_path / "o")
    cases = [
        (3, "not a shared library", ("validate", text, *out)),
        (2, "No such file", ("validate", tmp_path / "none.so", *out)),
        (4, "damaged", ("validate", "reference:exact", "--vectors", cut, *out)),
        (2, "MT7005", ("validate", "reference:exact", "--platform", "MT7005", *out)),
        (2, "did you mean 'formula'", ("validate", "reference:formla", *out)),
        (2, "no vector file", ("validate", "reference:exact", "--vectors", tmp_path / "none.h5", *out)),
        (2, "suite", ("validate", "reference:exact", "--suite", "cor", *out)),
        (2, "Cannot write", ("validate", "reference:exact", "--out", text / "below")),
        (2, "did you mean 'nlllossgrad'", ("generate", "--operator", "nllossgrad", "--out", tmp_path / "g")),
        (2, "not a whole results file", ("report", text)),
        (2, "did you mean", ("show", "smoothl1lossgrad/fp16/beta=0.5/kink/n=30")),
    ]
    for code, words, arguments in cases:
        done = golden(*arguments)
        assert (done.returncode, words in done.stderr) == (code, True), (arguments, done.stderr)
        assert one_sentence(done.stderr), done.stderr
    assert golden("validate").returncode == 2
    assert golden("validate", "reference:exact", "--half-abi", "int").returncode == 2


@needs_compiler
def test_library_of_another_architecture(tmp_path: Path) -> None:
    cross = shutil.which("aarch64-linux-gnu-gcc")
    if cross is None:
        pytest.skip("no cross compiler (aarch64-linux-gnu-gcc) on this machine")
    library = tmp_path / "arm.so"
    (tmp_path / "a.c").write_text("int x;\n")
    subprocess.run([cross, "-shared", "-o", str(library), str(tmp_path / "a.c")], check=True)
    done = golden("validate", library, "--out", tmp_path)
    assert done.returncode == 3 and "EM_AARCH64" in done.stderr and one_sentence(done.stderr)


@needs_compiler
def test_library_without_any_entry_point_or_with_an_unresolved_symbol(tmp_path: Path) -> None:
    for number, text in enumerate(["int x;\n", "int f(void); int fp_nlllossgrad_p(void) { return f(); }\n"]):
        source = tmp_path / f"s{number}.c"
        source.write_text(text)
        library = tmp_path / f"s{number}.so"
        subprocess.run([COMPILER, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
        done = golden("validate", library, "--out", tmp_path)
        assert done.returncode == 3 and one_sentence(done.stderr), done.stderr


@needs_compiler
def test_no_compiler_is_said_clearly(tmp_path: Path) -> None:
    done = golden("build", "-o", tmp_path / "x.so", env={"PATH": str(tmp_path), "CC": ""})
    assert done.returncode == 2 and "compiler" in done.stderr and one_sentence(done.stderr)


@needs_compiler
def test_interrupt_keeps_partial_results_marked_incomplete(kernels: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "golden.cli", "validate", str(kernels), "--out", str(tmp_path)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(2.0)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 130 and "Traceback" not in errors, errors
    results = tmp_path / "results.json"
    if results.exists():
        assert json.loads(results.read_text())["complete"] is False
        refused = golden("report", results)
        assert refused.returncode == 2 and "incomplete" in refused.stderr


def test_reports_of_several_results(tmp_path: Path) -> None:
    paths = []
    for model in ("exact", "formula"):
        golden("validate", f"reference:{model}", "--vectors", SMALLEST, "--out", tmp_path / model)
        paths.append(tmp_path / model / "results.json")
    for kind in ("md", "html", "csv", "latex", "json"):
        done = golden("report", *paths, "--format", kind)
        assert done.returncode == 0 and "reference:formula" in done.stdout.replace("\\", "")
    out = tmp_path / "deep" / "matrix.html"
    assert golden("report", *paths, "--format", "html", "--out", out).returncode == 0 and out.exists()


def test_list_and_show() -> None:
    listed = golden("list").stdout
    assert "hp_smoothl1lossgrad_s" in listed and "MT7004" in listed and "product-first" in listed
    ids = golden("list", "cases", "kink").stdout.split()
    assert "smoothl1lossgrad/fp16/beta=0.5/kink/n=31" in ids
    shown = golden("show", "smoothl1lossgrad/fp16/beta=0.1/hard-to-round/n=31", "--element", "3").stdout
    assert re.search(r"exact - golden\s+[-+]0\.49", shown) and "product-first" in shown


def test_a_closed_pipe_is_no_traceback() -> None:
    command = f"{shlex.quote(sys.executable)} -m golden.cli list cases --suite smoke | head -1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.count("\n") == 1 and done.stderr == ""


def test_help_has_examples_and_exit_codes() -> None:
    for command in ("build", "generate", "validate", "report", "list", "show"):
        text = golden(command, "--help").stdout
        assert "Examples:" in text and f"golden {command}" in text
    assert "Exit codes:" in golden("validate", "--help").stdout


def test_sweeps_and_results_in_one_report_and_in_chinese(tmp_path: Path) -> None:
    files = (tmp_path / "results.json", tmp_path / "whole.json")
    write_results(files[0], small_report.run())
    write_sweep(files[1], small_report.sweep())
    english, chinese = golden("report", *files), golden("report", *files, "--lang", "zh")
    assert english.returncode == chinese.returncode == 0
    assert "≤ 3072 fails" in english.stdout and "≤ 3072 fails" in chinese.stdout
    assert "Accuracy matrix" in english.stdout and "精度矩阵" in chinese.stdout
    refused = golden("report", *files, "--lang", "zh", "--format", "csv")
    assert refused.returncode == 2 and "Leave --lang out" in refused.stderr
    assert golden("report", *files, "--format", "badge").stdout.startswith("<svg")
    alone = golden("report", files[1], "--format", "badge")
    assert alone.returncode == 2 and "Give a results file too" in alone.stderr
    cut = tmp_path / "sweep.json"
    cut.write_text(files[1].read_text().replace('"complete": true', '"complete": false'))
    refused = golden("report", cut)
    assert refused.returncode == 2 and "incomplete sweep" in refused.stderr
    out = tmp_path / "zh"
    done = golden(
        "validate",
        "reference:formula",
        "--vectors",
        ROOT / "vectors/smoke/nlllossgrad-fp16.h5",
        "--lang",
        "zh",
        "--out",
        out,
    )
    assert done.returncode == 0
    assert '<html lang="zh-CN">' in (out / "report.html").read_text(encoding="utf-8")
