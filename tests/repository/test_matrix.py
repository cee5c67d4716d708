"""The accuracy matrix: deterministic, honest about what it is and what was lacking, and right about who agrees."""

import copy
import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests import ROOT
from tests.helpers.command import golden

PUBLISHED = ROOT / "reports/published"


@pytest.fixture
def matrix(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("matrix", PUBLISHED / "matrix.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "matrix", module)
    spec.loader.exec_module(module)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return module


def make(matrix: ModuleType, folder: Path) -> dict[str, str]:
    matrix.main(["--suite", "smoke", "--out", str(folder / "out"), "--work", str(folder / "work")])
    return {path.name: path.read_text(encoding="utf-8") for path in (folder / "out").iterdir()}


@pytest.mark.confirm
def test_models_side_by_side(
    matrix: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    targets = [
        matrix.Target("model formula", "reference:formula"),
        matrix.Target("model fp32-inside", "reference:fp32-inside", why="fp16 is wider"),
        matrix.Target("model <exact>", "reference:exact", why="it is & stays exact"),
        matrix.Target("adapter", "python:no_such_module:x", why="never told"),
        matrix.Target("board", "exec:qemu-none ./{}", (("--target", "none-gcc"),), "qemu-none"),
        matrix.Target("odd", "exec:./{}", (("--target", "no-such-triple"),)),
    ]
    monkeypatch.setattr(matrix, "TARGETS", targets)
    monkeypatch.setattr(matrix, "golden", lambda work, *words: golden("--no-config", *words, cwd=work))
    made = make(matrix, tmp_path / "é")
    assert set(made) == {"matrix.md", "matrix.html"}
    text, page = made["matrix.md"], made["matrix.html"]
    for content in (text, page):
        assert "no measurement of FT78NE or MT7004" in content and str(tmp_path) not in content
        assert "adapter: there is no module" in content and "board: there is no qemu-none." in content
        assert "never told" not in content and "odd: " in content
    # In fp32 the two are the same computation; in fp16 they are not.
    fp32, fp16 = (text.partition(f"## smoothl1lossgrad, {t}")[2].partition("\n## ")[0] for t in ("fp32", "fp16"))
    assert "Same bits: model formula, model fp32-inside.\n" in fp32
    assert "Same bits: model formula.\n" in fp16
    assert "than model formula: model fp32-inside and model <exact>, with the same bits, in " in fp16  # in this suite
    assert "| model <exact> | correctly-rounded 0.5 | " in fp16
    assert "model &lt;exact&gt;" in page and "it is &amp; stays exact" in page and "<exact>" not in page
    assert "| all of diff-dy |" in fp16 and "formula ≤ 1.47" in fp16
    # Nothing is judged again that was judged, and the bytes are the same.
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "é/work").rglob("results.json")}
    assert len(stamps) == 3 and make(matrix, tmp_path / "é") == made
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
    # Something else is judged anew.
    (tmp_path / "é" / "work" / "model-formula.key").write_text("older code")
    assert make(matrix, tmp_path / "é") == made
    assert [p.parent.name for p, t in stamps.items() if p.stat().st_mtime_ns != t] == ["model-formula-results"]


def test_the_worse_storage_counts_and_bits_are_compared_by_class(matrix: ModuleType) -> None:
    tally = {"grade": "formula", "max_ulp": 2.0}
    entry = {"operator": "op", "dtype": "fp16", "groups": {"a=1": tally}, "bits": {"x": "1", "y": "2"}}
    run: dict[str, Any] = {
        "entry_points": [{**copy.deepcopy(entry), "symbol": s, "storage": s[-1]} for s in ("f_s", "f_p")]
    }
    other = copy.deepcopy(run)
    other["entry_points"][0]["groups"]["a=1"] = {"grade": "fails", "max_ulp": 1.0}
    other["entry_points"][1]["bits"]["y"] = "3"
    (table,) = matrix.tables({"one": run, "two": other, "three": copy.deepcopy(other)}, [])
    assert [row.cells for row in table.rows] == [(("formula", "2"),), (("fails", "2"),), (("fails", "2"),)]
    assert table.same == ("one",)
    assert table.other == (("two and three, with the same bits,", "in 1 of 2 classes: y"),)


@pytest.mark.confirm
def test_a_build_is_made_with_the_first_compiler_that_can(
    matrix: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc on this machine")
    monkeypatch.setattr(matrix, "TARGETS", [matrix._native("native", "no-such-compiler", "gcc")])
    text = make(matrix, tmp_path)["matrix.md"]
    assert "| native | GCC" in text and "| conforms |" in text and "lacked" not in text
    results = json.loads((tmp_path / "work/native-results/results.json").read_text())
    assert results["target"] == "./native"


def test_what_is_published_names_every_target(matrix: ModuleType) -> None:
    text = (PUBLISHED / "matrix.md").read_text(encoding="utf-8")
    for target in matrix.TARGETS:
        assert f"| {target.name} |" in text or f"- {target.name}: " in text, target.name
