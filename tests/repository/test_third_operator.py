"""The examples: operators from packages of their own, through entry points, with every command."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from golden.files.results import read_results
from golden.results import Results
from tests import ROOT
from tests.helpers.third_operator import install_example

EXAMPLES = ("huber", "subext", "sigmoidgrad")
NAMES = {"huber": "huberlossgrad", "subext": "subext", "sigmoidgrad": "sigmoidgrad"}
#: What makes each kernel wrong.
WRONG = {
    "huber": ("diff < -limit", "diff < 0"),
    "subext": ("(float)input0[i] - (float)product", "(float)product - (float)input0[i]"),
    "sigmoidgrad": ("1.0f - (float)y[i]", "1.0f + (float)y[i]"),
}
#: Runs command lines in one process: it takes longer to start than most of them.
_RUN = """
import contextlib, io, json, sys
from golden.cli import main
done = []
for words in json.load(sys.stdin):
    out = io.TextIOWrapper(io.BytesIO(), write_through=True)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            main(words)
        except SystemExit as end:
            done.append((end.code or 0, out.buffer.getvalue().decode()))
json.dump(done, sys.stdout)
"""
#: An adapter that computes SigmoidGrad in NumPy.
_ADAPTER = """
import numpy as np
operators = {"sigmoidgrad": ("fp16", "fp32"), "subext": ("fp16", "fp32")}
def evaluate(operator, dtype, scalars, operands):
    with np.errstate(all="ignore"):
        if operator == "subext":
            a, b = operands["input0"], operands["input1"]
            return a - b * a.dtype.type(scalars["alpha"])
        dy, y = operands["dy"], operands["y"]
        return dy * y * (1 - y)
"""


class Installed(NamedTuple):
    """A place where all examples are installed, and compiled well and badly."""

    env: dict[str, str]
    folder: Path

    def run(self, *lines: Sequence[object]) -> list[tuple[int, str]]:
        """Return the exit code and the output of each command line."""
        words = json.dumps([[str(word) for word in line] for line in lines])
        command, how = [sys.executable, "-c", _RUN], {"cwd": self.folder, "env": self.env, "timeout": 300}
        done = subprocess.run(command, input=words, capture_output=True, text=True, check=False, **how)  # type: ignore[call-overload]
        assert done.returncode == 0, done.stderr
        return [(code, text) for code, text in json.loads(done.stdout)]

    def results(self, folder: str) -> Results:
        return read_results(self.folder / folder / "results.json")

    def library(self, example: str, kind: str = "good") -> Path:
        return self.folder / f"{example}-{kind}.so"

    def vectors(self, example: str, dtype: str = "fp16") -> Path:
        return self.folder / "vectors" / f"{NAMES[example]}-{dtype}.h5"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler (gcc) on this machine")
    folder = tmp_path_factory.mktemp("third")
    site = folder / "site"
    lines = []
    for example in EXAMPLES:
        install_example(site, example)
        source = (ROOT / "examples" / example / f"{NAMES[example]}.c").read_text()
        assert WRONG[example][0] in source
        for kind, text in (("good", source), ("bad", source.replace(*WRONG[example]))):
            path, library = folder / f"{example}-{kind}.c", folder / f"{example}-{kind}.so"
            path.write_text(text)
            shutil.copy(ROOT / "examples" / example / f"{NAMES[example]}.h", folder)
            flags = ["-O2", "-ffp-contract=off", "-shared", "-fPIC"]
            subprocess.run([compiler, *flags, "-o", library, path], check=True)
        lines.append(
            ("generate", "--suite", "smoke", "--operator", NAMES[example], "--out", folder / "vectors", "--jobs", 1)
        )
    (folder / "adapter.py").write_text(_ADAPTER)
    made = Installed({**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"}, folder)
    for code, text in made.run(*lines):
        assert code == 0, text
    return made


def test_each_is_listed_validated_and_rejected(installed: Installed) -> None:
    lines = [
        ("validate", installed.library(e, kind), "--vectors", installed.vectors(e), "--out", f"{e}-{kind}")
        for e in EXAMPLES
        for kind in ("good", "bad")
    ]
    (_, listed), *done = installed.run(("list", "operators"), *lines)
    for example, number in zip(EXAMPLES, range(0, 6, 2), strict=True):
        name = NAMES[example]
        assert f"hp_{name}_s" in listed
        assert (done[number][0], done[number + 1][0]) == (0, 1), done[number : number + 2]
        for kind in ("good", "bad"):
            results = installed.results(f"{example}-{kind}")
            assert [e.symbol for e in results.entry_points] == [f"hp_{name}_s", f"hp_{name}_p"]
            assert name in (installed.folder / f"{example}-{kind}/report.md").read_text()


def test_suite_files_and_seeds_know_other_operators(installed: Installed) -> None:
    """Keys follow from the description, classes from what the generator offers, if it offers any."""
    tables = {
        "huber": '[huberlossgrad]\ndelta = [0.3]\nlength = [5, "7..8"]\ndtype = "fp16"\n',
        "wrong": "[huberlossgrad]\nbeta = 1\n",
        "none": "[subext]\nalpha = 1\n",
    }
    for name, text in tables.items():
        (installed.folder / f"{name}.toml").write_text(text)
    good, wrong, none, seeded = installed.run(
        ("validate", installed.library("huber"), "--suite", "huber.toml", "--out", "own"),
        ("generate", "wrong.toml"),
        ("generate", "none.toml"),
        *[("generate", "--suite", "smoke", "--seed", "s", "--operator", "subext", "--dtype", "fp16", "--out", "drawn")],
    )
    assert good[0] == seeded[0] == 0 and installed.results("own").vectors.origin == "own", good
    assert {e.symbol: e.cases for e in installed.results("own").entry_points if e.cases} == {
        "hp_huberlossgrad_s": 3,
        "hp_huberlossgrad_p": 3,
    }
    assert wrong[0] == 2 and "no key of [huberlossgrad] named 'beta'" in wrong[1]
    assert none[0] == 2 and "generator of subext offers nothing" in none[1]


@pytest.mark.confirm
def test_each_is_shown_and_probed(installed: Installed) -> None:
    """A half by value and subnormal results tell of a build without any operator that ships."""
    lines = [("list", "cases", "--vectors", installed.vectors(e)) for e in EXAMPLES]
    cases = [text.split()[-1] for _, text in installed.run(*lines)]
    shown = [("show", case, "--vectors", installed.vectors(e)) for case, e in zip(cases, EXAMPLES, strict=True)]
    probed = [("probe", installed.library(e), "--vectors", installed.vectors(e), "--json") for e in EXAMPLES]
    done = installed.run(*shown, *probed)
    assert [code for code, _ in done] == [0] * 6, done
    for text, own in zip((text for _, text in done[:3]), ((), (), ("slope-first", "rest-first")), strict=True):
        assert "\nformula " in text and "\nfp32-inside " in text and "product-first" not in text
        assert all(f"\n{order} " in text for order in own)
    for (_, text), half in zip(done[3:], ("float16", "float16", "unknown"), strict=True):
        traits = json.loads(text)
        assert (traits["half_abi"], traits["subnormals"]) == (half, "preserve")
        assert all(entry["position"] == "independent" for entry in traits["entry_points"])
    assert "formula" in traits["entry_points"][0]["evaluation_order"]


@pytest.mark.confirm
def test_oracle_of_each_is_its_specification(installed: Installed) -> None:
    code = (
        "import numpy as np\n"
        "from golden.formats import FORMATS\n"
        "from golden.operator import operator\n"
        "for name in ('huberlossgrad', 'subext', 'sigmoidgrad'):\n"
        "    op = operator(name)\n"
        "    for fmt in (FORMATS[d] for d in op.dtypes):\n"
        "        bits = np.random.Philox(1).random_raw(500 * len(op.inputs)).astype(fmt.bits_dtype)\n"
        "        columns = fmt.from_bits(bits).reshape(-1, 500)\n"
        "        operands = dict(zip((p.name for p in op.inputs), columns))\n"
        "        scalars = {'length': 500, **op.given(fmt, {})}\n"
        "        golden = op.oracle(fmt, scalars, operands)\n"
        "        for i in range(500):\n"
        "            exact = op.exact(fmt, scalars, operands, i)\n"
        "            if exact == exact: assert fmt.round(exact) == fmt.bits(golden.value)[i], (name, i)\n"
        "            else: assert np.isnan(golden.value[i])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=installed.env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.confirm
def test_the_shipped_suites_do_not_change_with_them(installed: Installed) -> None:
    (code, text), *_ = installed.run(("validate", "reference:exact", "--suite", "smoke", "--out", "shipped"))
    assert code == 0, text


@pytest.mark.confirm
def test_each_has_the_models_of_its_orders(installed: Installed) -> None:
    wanted = {
        ("sigmoidgrad", "slope-first"): (0, "conforms"),
        ("sigmoidgrad", "rest-first"): (0, "conforms"),
        ("subext", "formula"): (0, "conforms"),
        ("huber", "formula"): (0, "conforms"),
        ("huber", "product-first"): (3, "has none of the entry points asked for"),
        ("huber", "product"): (2, "did you mean 'product-first'?"),
    }
    lines = [
        ("validate", f"reference:{model}", "--vectors", installed.vectors(e), "--out", f"{e}-{model}")
        for e, model in wanted
    ]
    for (code, text), (wanted_code, says) in zip(installed.run(*lines), wanted.values(), strict=True):
        assert code == wanted_code and says in text, text


@pytest.mark.confirm
@pytest.mark.parametrize("example", ["subext", "sigmoidgrad"])
def test_each_is_swept_and_hunted(installed: Installed, example: str) -> None:
    """Spaces follow from the parameters; a wrong kernel is found in each."""
    name = NAMES[example]
    first, second = ("input0", "input1") if example == "subext" else ("dy", "y")
    scalars = ("--set", "alpha=0.3") if example == "subext" else ()
    spaces: list[tuple[object, ...]] = [
        ("--space", f"operand:{second}", "--set", f"{first}=0.75"),
        ("--space", "random", "--samples", "2^14", "--dtype", "fp32"),
        ("--space", "random", "--samples", "2^14", "--storage", "shared"),
    ]
    common = ("--operator", name, *scalars, "--quiet", "--jobs", 1)
    done = installed.run(
        *(("sweep", installed.library(example), *common, *s, "--out", f"swept-{i}") for i, s in enumerate(spaces)),
        *(("sweep", installed.library(example, "bad"), *common, *s, "--out", f"bad-{i}") for i, s in enumerate(spaces)),
        ("sweep", installed.library(example), *common, "--space", f"pair:{first},output"),
        ("sweep", "reference:formula", *common, *spaces[1], "--out", "model"),
    )
    assert [code for code, _ in done] == [0, 0, 0, 1, 1, 1, 2, 0], done
    swept, model = (json.loads((installed.folder / f / "sweep.json").read_text()) for f in ("swept-1", "model"))
    assert swept["tally"] == model["tally"]
    hunts = [
        ("hunt", installed.library(example, kind), "--symbol", f"fp_{name}_p", *scalars, "--out", f"hunted-{kind}")
        for kind in ("good", "bad")
    ]
    done = installed.run(*hunts)
    assert [code for code, _ in done] == [0, 1], done
    found = installed.folder / "hunted-bad" / f"fp_{name}_p-hunted.h5"
    (code, text), *_ = installed.run(("validate", installed.library(example, "bad"), "--vectors", found))
    assert code == 1, text


@pytest.mark.confirm
@pytest.mark.parametrize("example", EXAMPLES)
def test_each_is_compared_reported_and_reproduced(installed: Installed, example: str) -> None:
    lines = [
        ("validate", installed.library(example, k), "--vectors", installed.vectors(example), "--out", f"{example}-{k}")
        for k in ("good", "bad")
    ]
    installed.run(*lines)
    good, bad = (installed.folder / f"{example}-{kind}" / "results.json" for kind in ("good", "bad"))
    failing = installed.results(f"{example}-bad").entry_points[1].failing[0].case
    reports = [("report", good, bad, "--format", f, "--out", f"{example}.{f}") for f in ("md", "html", "csv", "latex")]
    done = installed.run(
        ("diff", good, bad),
        ("repro", bad, failing, "-o", f"{example}.c"),
        *reports,
        ("show", failing, "--vectors", installed.vectors(example)),
    )
    assert [code for code, _ in done] == [1, 0, 0, 0, 0, 0, 0], done
    program = installed.folder / f"{example}-repro"
    include = ROOT / "examples" / example
    source = installed.folder / f"{example}.c"
    for kind, code in (("good", 0), ("bad", 1)):
        compiled = ["gcc", "-I", include, source, installed.library(example, kind), "-lm", "-o", program]
        subprocess.run(compiled, check=True)
        ran = subprocess.run([program], capture_output=True, text=True, check=False)
        assert ran.returncode == code, ran.stdout


@pytest.mark.confirm
@pytest.mark.parametrize("example", ["subext", "sigmoidgrad"])
def test_each_is_validated_at_a_distance(installed: Installed, example: str) -> None:
    """Through a pipe, from Python, and from what a board has left."""
    vectors = ("--vectors", installed.vectors(example))
    for kind, code in (("good", 0), ("bad", 1)):
        harness, export = f"{example}-{kind}-harness", installed.folder / f"{example}-{kind}-export"
        build_board_here = (
            "import sys; from pathlib import Path; from tests.helpers.board import build_board, run_board\n"
            "program = build_board(Path(sys.argv[1]), sources=[Path(sys.argv[2])], cflags=['-ffp-contract=off', "
            "'-I' + sys.argv[4]])\nrun_board(program, Path(sys.argv[3]))"
        )
        done = installed.run(
            ("build", "--library", installed.library(example, kind), "-o", harness),
            ("validate", f"exec:./{harness}", *vectors, "--out", f"{harness}-out"),
            ("export", *vectors, "--operator", NAMES[example], "--dtype", "fp16", "--out", export),
        )
        assert [c for c, _ in done] == [0, code, 0], done
        source, include = installed.folder / f"{example}-{kind}.c", ROOT / "examples" / example
        board = [sys.executable, "-c", build_board_here, installed.folder / "board", source, export, include]
        subprocess.run(board, env=installed.env, cwd=ROOT, check=True, timeout=120)
        (judged, text), *_ = installed.run(("validate", f"dump:{export}", "--out", f"{harness}-dumped"))
        assert judged == code, text
    env = {**installed.env, "PYTHONPATH": f"{installed.env['PYTHONPATH']}{os.pathsep}{installed.folder}"}
    python = installed._replace(env=env).run(("validate", "python:adapter:evaluate", *vectors, "--out", "python"))
    assert python[0][0] == 0, python


@pytest.mark.confirm
@pytest.mark.parametrize("kind", ["good", "bad"])
def test_the_plugin_takes_their_vectors(installed: Installed, kind: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "golden.pytest_plugin", "-p", "no:cacheprovider"]
    library = f"--golden-library={installed.library('subext', kind)}"
    done = subprocess.run(
        [*command, library, installed.vectors("subext")], cwd=installed.folder, env=installed.env, capture_output=True,
        text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == (0 if kind == "good" else 1), done.stdout + done.stderr
