"""A wheel, installed: it has what a checkout has, and leaves alone projects that have folders named like golden's."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from golden.shadow import PACKAGES
from golden.sources import judge
from runners.toolchain.build import build_library
from tests import ROOT
from tests.release import build

FILE = ROOT / "vectors/smoke/smoothl1lossgrad-fp32.h5"
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("hatchling") is None, reason="hatchling, which builds wheels, is not installed"
)
needs_cc = pytest.mark.skipif(
    (shutil.which("cc") or shutil.which("gcc")) is None, reason="no C compiler (cc or gcc) on this machine"
)
Run = Callable[..., subprocess.CompletedProcess[str]]

#: A project's test of its own: its packages are its own, and of golden there is the plugin and nothing else.
OWN = """
import sys
from pathlib import Path

def test_own():
    from generators import helper as a{same[0]}
    from reports import helper as b{same[1]}
    from runners import helper as c{same[2]}
    here = str(Path(__file__).resolve().parent.parent)
    assert all(module.__file__.startswith(here) for name, module in locals().items() if name in "abcdef")
    used = {{name for name in sys.modules if name.split(".")[0] == "golden"}}
    assert used == {{"golden", "golden.pytest_plugin"}}, used
"""
#: Modules of golden's that a project may have, too.
SAME = {"generators": "samplers", "reports": "text", "runners": "models"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The source distribution, and the wheel that is made from it."""
    return build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def python(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment with the wheel; what golden needs is that of the tests."""
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    found = folder / "bin/python"
    install = [sys.executable, "-m", "pip", "--python", found, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, built[1]], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "tests.pth").write_text(f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n")
    return found


@pytest.fixture
def run(python: Path, tmp_path: Path) -> Run:
    """Run a program of the environment in the folder of a project."""

    def run(*words: object, **env: str) -> subprocess.CompletedProcess[str]:
        program = python if words[0] == "python" else python.parent / str(words[0])
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "PYTEST", "GOLDEN"))}
        command = [program, *map(str, words[1:])]
        return subprocess.run(
            command, cwd=tmp_path, env={**clean, **env}, capture_output=True, text=True, timeout=120, check=False
        )

    return run


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("good") / "good.so")


def project(folder: Path, regular: bool, same: bool) -> None:
    """Make a project that has folders named like golden's: packages or not, modules of the same names or not."""
    for name in PACKAGES:
        (folder / name).mkdir()
        (folder / name / "helper.py").touch()
        if regular:
            (folder / name / "__init__.py").touch()
        if same:
            (folder / name / f"{SAME[name]}.py").touch()
    (folder / "tests").mkdir()
    more = [f"; from {n} import {SAME[n]} as {v}" if same else "" for n, v in zip(PACKAGES, "def", strict=True)]
    (folder / "tests/test_own.py").write_text(OWN.format(same=more))
    (folder / "pytest.ini").write_text("[pytest]\n")


def test_the_archives_have_what_a_checkout_has(built: tuple[Path, Path]) -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not in a git repository")
    tracked = {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}
    with tarfile.open(built[0]) as archive:
        assert tracked <= {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(built[1]) as wheel:
        names = set(wheel.namelist())
        assert wheel.read("golden/data/commit").decode().strip() == judge().commit
    code = {name for name in tracked if name.startswith(("golden/", *(f"{package}/" for package in PACKAGES)))}
    assert {name for name in code if not name.startswith("reports/published/")} <= names
    assert {f"golden/data/{n}" for n in tracked if re.match("vectors/(smoke|core)/", n)} <= names
    assert not [name for name in names if name.startswith("reports/published/") or "__pycache__" in name]
    # With one, golden's package would hide a project's own of that name.
    assert not {f"{package}/__init__.py" for package in PACKAGES} & names


def test_version_tells_what_judges(run: Run) -> None:
    done, here = run("golden", "--version"), judge()
    commit = f"commit {here.commit[:12]}, " if here.commit else ""
    assert done.stdout == f"golden {here.version} ({commit}sources {here.digest[:12]})\n", done.stderr
    checkout = subprocess.run(
        [sys.executable, "-m", "golden.cli", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert checkout.stdout == done.stdout


WAYS = {
    "script": (["-P", "-m", "pytest"], "", {}),
    "module": (["-m", "pytest"], "", {}),
    "PYTHONPATH": (["-P", "-m", "pytest"], "", {"PYTHONPATH": "."}),
    "pythonpath": (["-P", "-m", "pytest", "-o", "pythonpath=."], "", {}),
    "conftest": (["-P", "-m", "pytest"], "\n", {}),
    "last": (
        ["-P", "-m", "pytest", "--import-mode=importlib"],
        "import sys, pathlib\nsys.path.append(str(pathlib.Path(__file__).parent))\n",
        {},
    ),
}


#: A way first that kinds of projects get in.
KINDLY = ("module", "script", *(way for way in WAYS if way not in ("module", "script")))


def by_turns(ways: Iterable[str], *kinds: object) -> list[Any]:
    """Each way with one kind of project, by turns, and the first with all; the others confirm."""
    return [
        pytest.param(way, *(kind if isinstance(kind, tuple) else (kind,)), marks=() if fast else pytest.mark.confirm)
        for turn, way in enumerate(ways)
        for number, kind in enumerate(kinds)
        for fast in [turn == 0 or turn % len(kinds) == number]
    ]


@pytest.mark.parametrize(("way", "regular"), by_turns([way for way in WAYS if way != "script"], True, False))
def test_an_unused_plugin_leaves_a_project_alone(way: str, regular: bool, run: Run, tmp_path: Path) -> None:
    words, conftest, env = WAYS[way]
    # Of folders that are no packages, at the end of the path, a module that golden has too comes after golden's.
    project(tmp_path, regular, same=regular or way != "last")
    if conftest:
        (tmp_path / "conftest.py").write_text(conftest)
    done = run("python", *words, "-q", "tests", **env)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr


@needs_cc
@pytest.mark.parametrize(("way", "regular", "same"), by_turns(KINDLY, (True, False), (False, True), (False, False)))
def test_a_plugin_in_use_works_or_says_what_is_in_its_way(
    way: str, regular: bool, same: bool, run: Run, library: Path, tmp_path: Path
) -> None:
    words, conftest, env = WAYS[way]
    project(tmp_path, regular, same)
    if conftest:
        (tmp_path / "conftest.py").write_text(conftest)
    shutil.copy(FILE, tmp_path / "v.h5")
    done = run("python", *words, "-q", "v.h5", "--golden-library", library, "-k", "kink", **env)
    if way == "script" or not (regular or (same and way != "last")):
        assert done.returncode == 0 and "passed" in done.stdout, done.stdout + done.stderr
    else:
        assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
        theirs = "generators" if regular else "generators.samplers"
        (said,) = [line for line in done.stderr.splitlines() if line]
        assert said.startswith(f"ERROR: Python finds {theirs} in {tmp_path / 'generators'}"), said


@needs_cc
def test_tests_that_find_golden_in_place_of_their_own_package_are_told(run: Run, library: Path, tmp_path: Path) -> None:
    """The project comes into Python's path when its tests are collected, after golden has imported its own."""
    project(tmp_path, regular=True, same=False)
    (tmp_path / "tests/__init__.py").touch()
    (tmp_path / "tests/test_own.py").write_text("from runners import helper\n")
    shutil.copy(FILE, tmp_path / "v.h5")
    words = ("python", "-P", "-m", "pytest", "-q", "v.h5", "tests", "--golden-library", library)
    done = run(*words)
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert f"golden: Python finds generators in {tmp_path / 'generators'}, not in golden" in done.stdout, done.stdout


@needs_cc
@pytest.mark.parametrize(("regular", "same"), [(True, False), (False, True), (False, False)])
def test_commands_work_or_say_what_is_in_their_way(
    regular: bool, same: bool, run: Run, library: Path, tmp_path: Path
) -> None:
    project(tmp_path, regular, same)
    probe = ("probe", library, "--suite", "smoke")
    if not (regular or same):
        assert (done := run("golden", *probe)).returncode == 0, done.stderr
    for shadowed in (run("golden", *probe, PYTHONPATH="."), run("python", "-m", "golden.cli", *probe)):
        if regular or same:
            theirs = "generators" if regular else "generators.samplers"
            assert shadowed.returncode == 2 and shadowed.stderr.count("\n") == 1
            assert shadowed.stderr.startswith(f"golden: Python finds {theirs} in {tmp_path / 'generators'}")
        else:
            assert shadowed.returncode == 0, shadowed.stderr
    assert run("golden", "--help", PYTHONPATH=".").returncode == 0


@pytest.mark.parametrize(
    ("line", "regular"),
    [
        ("import runners.helper", True),
        pytest.param("from runners import helper", False, marks=pytest.mark.confirm),
        pytest.param("from runners import helper", True, marks=pytest.mark.confirm),
        pytest.param("import runners.helper", False, marks=pytest.mark.confirm),
    ],
)
def test_an_adapter_works_or_says_what_is_in_its_way(line: str, regular: bool, run: Run, tmp_path: Path) -> None:
    project(tmp_path, regular, same=False)
    (tmp_path / "ours.py").write_text(f"{line}\n\ndef zero(operator, dtype, scalars, operands):\n    return 0\n")
    done = run("golden", "probe", "python:ours:zero")
    if regular:
        assert done.returncode == 3
        assert f"runners is golden's here, not {tmp_path / 'runners'}, which ours is after" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
