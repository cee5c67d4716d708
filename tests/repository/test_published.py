"""``make published``: deterministic, honest about where it ran, and clear about what the machine lacks."""

import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests import ROOT
from tests.helpers.command import golden, one_operator

PUBLISHED = ROOT / "reports/published"


@pytest.fixture
def regenerate(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("regenerate", PUBLISHED / "regenerate.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "regenerate", module)
    spec.loader.exec_module(module)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return module


def with_one_operator(work: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Half of a suite is as good for this, and the program names suites alone."""
    return golden("--no-config", *("--vectors" if word == "--suite" else word for word in words), cwd=work)


@pytest.mark.confirm
def test_same_input_same_bytes(regenerate: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc on this machine")
    builds = [
        regenerate.Build("gcc-O2", ("no-such-compiler", "gcc"), "-O2"),
        regenerate.Build("small", ("gcc",), "-O1 -DGOLDEN_FP32_ONLY"),
        regenerate.Build("other", ("no-such-compiler",), "-O2"),
    ]
    monkeypatch.setattr(regenerate, "BUILDS", builds)
    monkeypatch.setattr(regenerate, "golden", with_one_operator)
    made = []
    for number in range(2):
        folder = tmp_path / f"run{number}" / "é"
        suite = one_operator(folder / "work").name
        regenerate.main(["--suite", suite, "--out", str(folder / "out"), "--work", str(folder / "work")])
        made.append({path.name: path.read_bytes() for path in (folder / "out").iterdir()})
    assert made[0] == made[1]
    names = {"builds.md", "builds.html", "builds-host.md", "builds-FT78NE.md", "builds-MT7004.md"}
    assert set(made[0]) == names
    for name, content in made[0].items():
        text = content.decode()
        assert str(tmp_path) not in text and str(ROOT) not in text, name
        assert not re.search(r"Run time|20\d\d-\d\d-\d\d", text), name
        assert ("executed on" if name == "builds-host.md" else "measurement of") in text, name
    index = made[0]["builds.md"].decode()
    assert "| `gcc-O2` |" in index and "conforms, formula" in index and f"made for {platform.machine()} (" in index
    assert "- `other`: The C compiler 'no-such-compiler' that --cc names was not found." in index
    assert re.search(r"\| `small` .* fails, .*\| conforms, ", index)  # the fp16 entry points are missing
    for name in ("host", "MT7004"):
        assert "gcc-O2.so" in made[0][f"builds-{name}.md"].decode()


@pytest.mark.confirm
def test_a_compiler_without_fp16_serves_the_platform_that_has_none(
    regenerate: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gcc = shutil.which("gcc")
    if gcc is None:
        pytest.skip("no gcc on this machine")
    old = tmp_path / "old-cc"
    old.write_text(
        f'#!/bin/sh\ncase "$*" in *FP32_ONLY*) ;; *) set -- "$@" -D_Float16=none;; esac\nexec "{gcc}" "$@"\n'
    )
    old.chmod(0o755)
    monkeypatch.setattr(regenerate, "BUILDS", [regenerate.Build("old", (str(old),), "-O1")])
    regenerate.main(["--suite", "smoke", "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"builds.md", "builds-FT78NE.md"}
    index = (tmp_path / "out/builds.md").read_text()
    assert "- `old`: fp32 only: " in index and "has no fp16 type" in index
    assert re.search(r"\| not built \| conforms, \w+, [\d.]+ \| not built \|", index)


def test_what_is_published_is_named_small_and_honest() -> None:
    index = (PUBLISHED / "README.md").read_text()
    for path in PUBLISHED.iterdir():
        if path.name not in ("README.md", "__pycache__"):
            assert f"]({path.name}{'/' if path.is_dir() else ''})" in index, path.name
    for path in (PUBLISHED / name for name in ("builds.md", "builds.html", "builds-FT78NE.md", "builds-MT7004.md")):
        assert "measurement of" in path.read_text(encoding="utf-8"), path.name
    assert sum(path.stat().st_size for path in PUBLISHED.rglob("*") if path.is_file()) < 2_000_000
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)`", index):
        assert re.search(rf"^{target}:", makefile, re.M), target
