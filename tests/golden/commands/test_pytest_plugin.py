"""The pytest plugin as its users run it: in a process of its own, on libraries that are right, wrong, or not there."""

import json
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import h5py
import pytest

from golden.files.manifest import read_suite
from golden.files.vectors import read_vectors, write_vectors
from runners.toolchain.build import build_library, include_dir
from tests import ROOT
from tests.helpers.command import WARM
from tests.helpers.small_files import edited

SMOKE = ROOT / "vectors" / "smoke"
FILE = SMOKE / "smoothl1lossgrad-fp32.h5"
CASE = "smoothl1lossgrad/fp32/beta=1/uniform-bits/n=33"
pytestmark = pytest.mark.skipif(
    (shutil.which("cc") or shutil.which("gcc")) is None, reason="no C compiler (cc or gcc) on this machine"
)


def run(
    *arguments: object, cwd: Path, plugins: tuple[str, ...] = (), fresh: bool = False
) -> "subprocess.CompletedProcess[str]":
    """Run pytest as if only this plugin were installed, in a folder without any configuration of ours.

    ``fresh``: in an interpreter that has imported nothing yet.
    """
    words = [word for name in ("golden.pytest_plugin", *plugins) for word in ("-p", name)]
    words += ["-p", "no:cacheprovider", "-q", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    if not fresh:
        return WARM.run("pytest", words, cwd, environment, 120)
    command = [sys.executable, "-m", "pytest", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=120, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a copy of the smoke suite."""
    shutil.copytree(SMOKE, tmp_path / "smoke")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


@pytest.fixture(scope="module")
def swapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library whose fp_smoothl1lossgrad_p exchanges x1 and x2, and which has nothing else."""
    source = tmp_path_factory.mktemp("bad") / "bad.c"
    source.write_text(
        '#define fp_smoothl1lossgrad_p good\n#include "smoothl1lossgrad.c"\n#undef fp_smoothl1lossgrad_p\n'
        "void fp_smoothl1lossgrad_p(float *dy, float *dx1, float *x1, float *x2, int length, float beta)\n"
        "{ good(dy, dx1, x2, x1, length, beta); }\n"
    )
    flags = ["-w", "-DGOLDEN_FP32_ONLY", f"-I{include_dir()}"]
    return build_library(source.with_suffix(".so"), sources=[source], cflags=flags)


def counts(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    words = done.stdout.strip().splitlines()[-1].replace(",", "").split()
    return {word: int(number) for number, word in pairwise(words) if number.isdigit()}


def required_items(dtypes: tuple[str, ...]) -> int:
    return sum(2 * len(file.cases) for file in read_suite(SMOKE) if file.dtype in dtypes)


@pytest.mark.confirm
@pytest.mark.parametrize(("platform", "dtypes"), [("MT7004", ("fp16", "fp32")), ("FT78NE", ("fp32",))])
def test_a_good_library_passes_every_case_that_its_platform_requires(
    platform: str, dtypes: tuple[str, ...], kernels: Path, folder: Path
) -> None:
    done = run("smoke", "--golden-library", kernels, "--golden-platform", platform, cwd=folder)
    assert done.returncode == 0, done.stdout
    assert counts(done) == {"passed": required_items(dtypes)}


def test_without_its_option_it_does_nothing_and_imports_nothing(folder: Path) -> None:
    (folder / "test_nothing.py").write_text(
        "import sys\n"
        "def test_nothing():\n"
        "    heavy = {'numpy', 'h5py', 'msgspec', 'golden.case', 'runners.library.session'}\n"
        "    assert not heavy & set(sys.modules)\n"
    )
    done = run(".", cwd=folder, fresh=True)
    assert done.returncode == 0 and counts(done) == {"passed": 1}, done.stdout
    assert run("smoke", cwd=folder).returncode == 5  # nothing was collected, and pytest says so


def test_ids_and_selection(kernels: Path, folder: Path) -> None:
    options = ("--golden-library", kernels, "--collect-only")
    listed = run("smoke", *options, cwd=folder).stdout.splitlines()
    assert f"smoke/{FILE.name}::fp_smoothl1lossgrad_p::{CASE}" in listed
    chosen = run("smoke", *options, "-k", "uniform-bits and hp_smoothl1lossgrad_s", cwd=folder).stdout.splitlines()
    items = [line for line in chosen if "::" in line]
    assert items and all("::hp_smoothl1lossgrad_s::" in i and "uniform-bits" in i for i in items)
    one = run(f"smoke/{FILE.name}::fp_smoothl1lossgrad_p::{CASE}", *options[:2], cwd=folder)
    assert one.returncode == 0 and counts(one) == {"passed": 1}, one.stdout


def test_a_failure_says_what_is_wrong_and_how_to_see_it_again(swapped: Path, folder: Path) -> None:
    options = ("--golden-library", swapped, "--golden-platform", "FT78NE")
    done = run(f"smoke/{FILE.name}", *options, "-k", f"fp_smoothl1lossgrad_p and {CASE.split('/')[3]}", cwd=folder)
    assert done.returncode == 1
    text = done.stdout
    assert "elements outside every legal bound" in text and "Traceback" not in text and "runtest" not in text
    assert "  expected " in text and "  got      " in text and "  x1 = " in text and "(0x" in text
    again = next(line for line in text.splitlines() if line.startswith("again: "))
    words = again.removeprefix("again: pytest ")
    assert "--golden-platform FT78NE" in words and "::fp_smoothl1lossgrad_p::" in words
    repeated = run(*words.split(), cwd=folder)
    assert repeated.returncode == 1 and counts(repeated) == {"failed": 1}


def test_a_missing_symbol_is_one_clear_failure(swapped: Path, folder: Path) -> None:
    done = run("smoke/nlllossgrad-fp32.h5", "--golden-library", swapped, cwd=folder)
    # The library has no nlllossgrad at all: one failure for each entry point, none for its cases.
    assert done.returncode == 1 and counts(done) == {"failed": 2}, done.stdout
    assert "fp_nlllossgrad_p is not in" in done.stdout and "host requires it" in done.stdout


def test_other_reduction_numbers_are_one_failure_that_names_the_option(folder: Path, other_numbers: Path) -> None:
    arguments = ("smoke/nlllossgrad-fp32.h5", "--golden-library", other_numbers)
    done = run(*arguments, cwd=folder)
    assert counts(done) == {"failed": 2} and "--golden-reduction-enum none-sum-mean" in done.stdout
    for numbers in ("none-sum-mean", "auto"):
        assert run(*arguments, "--golden-reduction-enum", numbers, "-k", "special", cwd=folder).returncode == 0


def test_half_as_uint16(folder: Path, uint16_half: Path) -> None:
    arguments = ("smoke/smoothl1lossgrad-fp16.h5", "-k", "uniform-bits", "--golden-library", uint16_half)
    assert run(*arguments, cwd=folder).returncode == 0
    assert run(*arguments, "--golden-half-abi", "uint16", cwd=folder).returncode == 0
    assert run(*arguments, "--golden-half-abi", "float16", cwd=folder).returncode == 1


def test_damaged_files_are_collection_errors_of_one_sentence(kernels: Path, folder: Path) -> None:
    damaged = folder / "smoke" / FILE.name
    with h5py.File(damaged) as file:  # a byte of the data: one of the unused space between datasets changes nothing
        where = file["operands/x1"].id.get_chunk_info(0).byte_offset
    content = bytearray(damaged.read_bytes())
    content[where] ^= 0x40
    damaged.write_bytes(content)
    done = run(damaged, "--golden-library", kernels, cwd=folder)
    assert done.returncode == 2 and counts(done).get("error") == 1, done.stdout
    assert "damaged" in done.stdout and "Traceback" not in done.stdout


@pytest.mark.parametrize("seconds", ["nan", "inf", "0", "-1"])
def test_a_time_is_finite_and_positive(seconds: str, folder: Path) -> None:
    done = run("smoke", "--golden-library", "none.so", "--golden-timeout", seconds, cwd=folder)
    assert done.returncode == 4 and "--golden-timeout" in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("column", "value", "options", "words"),
    [
        ("", None, (), "are not those of its operands"),
        ("", None, ("--golden-recheck",), "are not those of its operands"),
        ("tier", b"stress", (), "another tier, class or scalar"),
    ],
)
def test_vectors_with_other_answers_are_no_tests(
    column: str, value: object, options: tuple[str, ...], words: str, kernels: Path, folder: Path
) -> None:
    (folder / "smoke" / "manifest.json").unlink()
    os.mkfifo(folder / "smoke" / "manifest.json")
    edited(folder / "smoke/smoothl1lossgrad-fp16.h5", column, value)
    file = "smoke/smoothl1lossgrad-fp16.h5"
    done = run(file, "--golden-library", kernels, "--collect-only", *options, cwd=folder)
    assert done.returncode == 2 and words in done.stdout, done.stdout


def test_a_file_that_the_manifest_does_not_name_and_one_that_is_gone(kernels: Path, folder: Path) -> None:
    names = sorted(p.name for p in (folder / "smoke").glob("*.h5"))
    (folder / "smoke" / names[0]).unlink()
    done = run("smoke", "--golden-library", kernels, cwd=folder)
    assert done.returncode == 2 and f"lacks {names[0]}" in done.stdout, done.stdout
    manifest = folder / "smoke" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["files"][FILE.name]["digest"] = "0" * 64
    manifest.write_text(json.dumps(content))
    done = run(folder / "smoke" / FILE.name, "--golden-library", kernels, cwd=folder)
    assert done.returncode == 2 and "not the file that its manifest names" in done.stdout


def test_a_damaged_case_of_a_bulk_file_fails_alone(
    kernels: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("golden.files.vectors.HELD", 4096)
    read, path = read_vectors(FILE), folder / "bulk.h5"
    write_vectors(path, "smoke", read.operator, read.dtype, read.cases, "seed")
    with h5py.File(path, "r+") as file:
        file["golden"][file["cases"][5]["golden_offset"]] += 1
    done = run(path, "--golden-library", kernels, "-k", "fp_smoothl1lossgrad_p", cwd=folder)
    found = counts(done)
    assert done.returncode == 1 and (found["failed"], found["passed"]) == (1, len(read.cases) - 1), done.stdout
    assert f"case {read.heads[5].id} does not match its digest" in done.stdout and "Traceback" not in done.stdout


def test_what_cannot_be_tested_is_one_sentence(folder: Path, kernels: Path) -> None:
    (folder / "text.so").write_text("no library\n")
    for options, words in (
        (("--golden-library", "none.so"), "No such file"),
        (("--golden-library", "text.so"), "not a shared library"),
        (("--golden-library", kernels, "--golden-platform", "MT7005"), "MT7005"),
    ):
        done = run("smoke", *options, cwd=folder)
        assert done.returncode == 4, done.stdout + done.stderr
        assert words in done.stderr and "Traceback" not in done.stderr + done.stdout


def test_stress_cases_and_expected_failures_do_not_decide(swapped: Path, folder: Path) -> None:
    known = folder / "known.txt"
    known.write_text("fp_smoothl1lossgrad_p *uniform-bits*  # x1 and x2 exchanged\n")
    arguments = (f"smoke/{FILE.name}", "--golden-library", swapped, "-k", "fp_smoothl1lossgrad_p and uniform-bits")
    done = run(*arguments, "--golden-xfail", "known.txt", cwd=folder)
    assert done.returncode == 0 and counts(done).get("xfailed", 0) > 0, done.stdout
    stress = {c.id for f in read_suite(SMOKE) for c in f.cases if c.tier == "stress" and c.dtype == "fp32"}
    selected = next(iter(sorted(c for c in stress if c.startswith("smoothl1"))), None)
    if selected is None:
        pytest.skip("the smoke suite has no stress case of SmoothL1LossGrad")
    item = f"smoke/{FILE.name}::fp_smoothl1lossgrad_p::{selected}"
    assert counts(run(item, "--golden-library", swapped, cwd=folder)) == {"xfailed": 1}
    assert counts(run(item, "--golden-library", swapped, "--golden-strict", cwd=folder)) == {"failed": 1}


def test_own_terms_decide(kernels: Path, folder: Path) -> None:
    arguments = (f"smoke/{FILE.name}", "--golden-library", kernels, "-k", "fp_smoothl1lossgrad_p and maximal-error")
    for words in (("--golden-require", "correctly-rounded"), ("--golden-max-ulp", "fp32=0.6")):
        assert counts(run(*arguments, *words, cwd=folder)).get("failed", 0) > 0
    done = run(*arguments, "--golden-require", "legal", "--golden-max-ulp", "4", "--golden-allow", "nan", cwd=folder)
    assert done.returncode == 0 and counts(done).get("passed", 0) > 0, done.stdout
    done = run(*arguments, "--golden-max-ulp", "fp8=4", cwd=folder)
    assert done.returncode != 0 and "there is no dtype 'fp8'" in done.stderr


def test_properties_in_junit(kernels: Path, folder: Path) -> None:
    item = f"smoke/{FILE.name}::fp_smoothl1lossgrad_p::{CASE}"
    run(item, "--golden-library", kernels, "--junitxml", "j.xml", cwd=folder, plugins=("junitxml",))
    properties = {p.get("name"): p.get("value") for p in ET.parse(folder / "j.xml").iter("property")}
    assert properties["golden_platform"] == "host" and properties["golden_symbol"] == "fp_smoothl1lossgrad_p"
    assert properties["golden_grade"] in ("correctly-rounded", "faithful", "formula")
    assert 0 < float(properties["golden_max_ulp"] or 0) < 4
    case = next(ET.parse(folder / "j.xml").iter("testcase"))
    assert case.get("name") == CASE


def test_a_crash_is_one_failure_and_the_rest_goes_on(folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "crash.c"
    source.write_text(
        '#include <stdlib.h>\n#define fp_smoothl1lossgrad_p good\n#include "smoothl1lossgrad.c"\n'
        "#undef fp_smoothl1lossgrad_p\n"
        "void fp_smoothl1lossgrad_p(float *dy, float *dx1, float *x1, float *x2, int length, float beta)\n"
        "{ if (length == 9) abort(); good(dy, dx1, x1, x2, length, beta); }\n"
    )
    flags = ["-w", "-DGOLDEN_FP32_ONLY", f"-I{include_dir()}"]
    crashing = build_library(tmp_path / "crash.so", sources=[source], cflags=flags)
    done = run(f"smoke/{FILE.name}", "--golden-library", crashing, "-k", "fp_smoothl1lossgrad_p", cwd=folder)
    bad = sum("length/n=9" in line for line in done.stdout.splitlines() if line.startswith("FAILED"))
    found = counts(done)
    cases = next(len(f.cases) for f in read_suite(SMOKE) if f.path.name == FILE.name)
    assert bad == found["failed"] > 0 and found["passed"] + found["failed"] == cases - found.get("xfailed", 0)
    assert "SIGABRT" in done.stdout


@pytest.mark.parametrize("xdist", [False, True])
def test_a_death_after_the_last_call_is_an_error(xdist: bool, folder: Path, tmp_path: Path) -> None:
    if xdist:
        pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    source = tmp_path / "unload.c"
    source.write_text(
        '#include <stdlib.h>\n#include "smoothl1lossgrad.c"\n'
        "__attribute__((destructor)) static void unload(void) { abort(); }\n"
    )
    flags = ["-w", "-DGOLDEN_FP32_ONLY", f"-I{include_dir()}"]
    dying = build_library(tmp_path / "dying.so", sources=[source], cflags=flags)
    arguments = [f"smoke/{FILE.name}", "--golden-library", dying, "-k", "fp_smoothl1lossgrad_p and length"]
    done = run(*arguments, *(["-n", "1"] if xdist else []), cwd=folder, plugins=("xdist",) if xdist else ())
    found = counts(done)
    assert done.returncode == 1 and found["error"] == 1 and found["passed"] > 1 and "failed" not in found
    assert "SIGABRT" in done.stdout and "Traceback" not in done.stdout


@pytest.mark.confirm
def test_in_parallel(kernels: Path, folder: Path) -> None:
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    arguments = ("-n", "2", f"smoke/{FILE.name}", "-k", "length", "--golden-platform", "FT78NE", "--golden-library")
    cases = next(sum("/length/" in c.id for c in f.cases) for f in read_suite(SMOKE) if f.path.name == FILE.name)
    done = run(*arguments, kernels, cwd=folder, plugins=("xdist",))
    assert done.returncode == 0 and counts(done) == {"passed": 2 * cases}, done.stdout
    missing = run(*arguments, "none.so", cwd=folder, plugins=("xdist",))
    assert missing.returncode == 4 and "No such file" in missing.stderr
