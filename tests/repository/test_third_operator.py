"""The worked example of docs/adding-an-operator.md: an operator from a package of its own, through entry points."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from golden.files.results import read_results
from tests import ROOT
from tests.helpers.command import WARM
from tests.helpers.third_operator import EXAMPLE, install_example


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    site = install_example(tmp_path / "site")
    return {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}


def golden(env: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    return WARM.run("golden", [*map(str, arguments)], ROOT, env, 120)


def test_oracle_of_the_example_is_its_specification(installed: dict[str, str]) -> None:
    code = (
        "import math, numpy as np\n"
        "from golden.formats import FP16\n"
        "from golden.operator import operator\n"
        "op = operator('huberlossgrad')\n"
        "bits = np.random.Philox(1).random_raw(1500).astype('<u2')\n"
        "operands = dict(zip(('dy', 'x1', 'x2'), FP16.from_bits(bits).reshape(3, 500)))\n"
        "scalars = {'length': 500, 'delta': 0.5}\n"
        "golden = op.oracle(FP16, scalars, operands)\n"
        "for i in range(500):\n"
        "    exact = op.exact(FP16, scalars, operands, i)\n"
        "    if exact == exact: assert FP16.round(exact) == FP16.bits(golden.value)[i], i\n"
        "    else: assert np.isnan(golden.value[i])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=installed, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_generate_validate_and_report(installed: dict[str, str], tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler (gcc) on this machine")
    assert "hp_huberlossgrad_s" in golden(installed, "list", "operators").stdout
    vectors = tmp_path / "vectors"
    done = golden(installed, "generate", "--suite", "smoke", "--operator", "huberlossgrad", "--out", vectors)
    assert done.returncode == 0, done.stderr
    source = (EXAMPLE / "huberlossgrad.c").read_text()
    for name, text, code in [
        ("good", source, 0),
        ("bad", source.replace("diff < -limit", "diff < 0"), 1),
    ]:
        path, library, out = tmp_path / f"{name}.c", tmp_path / f"{name}.so", tmp_path / name
        path.write_text(text)
        subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, path], check=True)
        done = golden(installed, "validate", library, "--vectors", vectors / "huberlossgrad-fp16.h5", "--out", out)
        assert done.returncode == code, done.stdout + done.stderr
        results = read_results(out / "results.json")
        assert [e.symbol for e in results.entry_points] == ["hp_huberlossgrad_s", "hp_huberlossgrad_p"]
        assert "huberlossgrad" in (out / "report.md").read_text()


def test_the_shipped_suites_do_not_change_with_it(installed: dict[str, str], tmp_path: Path) -> None:
    done = golden(installed, "validate", "reference:exact", "--suite", "smoke", "--out", tmp_path)
    assert done.returncode == 0, done.stdout


def test_show_models_and_hunts_take_the_orders_that_it_has(installed: dict[str, str], tmp_path: Path) -> None:
    done = golden(installed, "generate", "--suite", "smoke", "--operator", "huberlossgrad", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    vectors = tmp_path / "huberlossgrad-fp16.h5"
    case = golden(installed, "list", "cases", "--vectors", vectors).stdout.split()[-1]
    shown = golden(installed, "show", case, "--vectors", vectors)
    assert shown.returncode == 0, shown.stderr
    assert "\nformula " in shown.stdout and "\nfp32-inside " in shown.stdout and "product-first" not in shown.stdout
    for model, code, says in (
        ("formula", 0, "conforms"),
        ("product-first", 3, "has none of the entry points asked for"),
        ("product", 2, "named 'product' (did you mean 'product-first'?); there are exact, flush, formula, fp32-inside"),
    ):
        done = golden(installed, "validate", f"reference:{model}", "--vectors", vectors, "--out", tmp_path / model)
        assert done.returncode == code and says in done.stdout + done.stderr
    done = golden(installed, "hunt", "reference:exact", "--symbol", "hp_huberlossgrad_p", "--out", tmp_path / "hunted")
    assert done.returncode == 2 and "can be neither swept nor hunted" in done.stderr
