"""Results are believed as far as their parts go: an edited file, and a profile under another's name, are told."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from golden.files.results import read_results
from golden.profile import load_profile
from golden.sources import judge
from tests import ROOT
from tests.helpers.command import golden, one_sentence

PROFILES = ROOT / "golden/platforms"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the results files of a run that conforms and of one that fails."""
    out = tmp_path_factory.mktemp("runs")
    for model in ("formula", "flush"):
        golden("validate", f"reference:{model}", "--suite", "smoke", "--out", out / model)
    return {"conforms": out / "formula/results.json", "fails": out / "flush/results.json"}


def first(which: str, /, **changes: object) -> Callable[[dict[str, Any]], None]:
    """Return an edit of the first entry point that has a status."""

    def edit(run: dict[str, Any]) -> None:
        next(e for e in run["entry_points"] if e["status"] == which).update(changes)

    return edit


def whole(**changes: object) -> Callable[[dict[str, Any]], None]:
    """Return an edit of the run."""
    return lambda run: run.update(changes)


@pytest.mark.parametrize(
    ("of", "edit", "words"),
    [
        ("fails", whole(verdict="conforms"), "its verdict is 'conforms', and its entry points come to 'fails'"),
        ("conforms", whole(verdict="fails"), "its verdict is 'fails', and its entry points come to 'conforms'"),
        ("conforms", whole(entry_points=[]), "come to 'fails'"),
        ("fails", first("fail", status="pass", grade="legal"), "passes with failures"),
        ("fails", first("fail", status="pass", grade="legal", failures=0, failing=[]), "passes with failures"),
        ("fails", first("fail", grade="faithful"), "has the grade 'faithful' and the status 'fail'"),
        ("conforms", first("pass", grade="correctly-rounded"), "which its tallies do not allow"),
        ("conforms", first("pass", cases=0), "passes without a case"),
        ("conforms", first("pass", misrounded=0), "has other counts"),
        ("conforms", first("pass", max_ulp=0.1), "has other counts"),
        ("conforms", lambda run: run["entry_points"].pop(), "says nothing about"),
        ("conforms", lambda run: run["entry_points"].append(run["entry_points"][0]), "stands in it twice"),
    ],
)
def test_an_edited_file_is_refused(
    of: str, edit: Callable[[dict[str, Any]], None], words: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    run = json.loads(runs[of].read_text())
    assert read_results(runs[of]).verdict == of
    edit(run)
    (tmp_path / "edited.json").write_text(json.dumps(run))
    done = golden("report", tmp_path / "edited.json")
    assert done.returncode == 2 and one_sentence(done.stderr) and words in done.stderr, done.stderr
    assert "edited.json contradicts itself" in done.stderr and done.stdout == ""


def test_results_tell_what_judged_and_when(runs: dict[str, Path]) -> None:
    results = read_results(runs["conforms"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", results.created)
    assert results.judge == judge() and len(results.judge.digest) == 64
    assert not (ROOT / ".git").exists() or re.fullmatch(r"[0-9a-f]{40}", results.judge.commit)


def test_a_profile_under_a_shipped_name_is_told(tmp_path: Path) -> None:
    text = next(PROFILES.glob("FT78NE.toml")).read_text()
    (tmp_path / "same.toml").write_text(text)
    (tmp_path / "other.toml").write_text(
        text.replace('name = "FT78NE"', 'name = "ft78ne"').replace("cores = ", "cores = 1#")
    )
    assert load_profile("ft78ne").origin == ("shipped", "", False)
    assert load_profile(str(tmp_path / "same.toml")).origin[2] is False
    path = str(tmp_path / "other.toml")
    done = golden("validate", "reference:formula", "--suite", "smoke", "--platform", path, "--out", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    results = read_results(tmp_path / "o/results.json")
    assert results.platform.source == path and len(results.platform.sha256) == 64 and results.platform.impostor
    said = f"as defined by {path} (sha256 {results.platform.sha256[:12]}…), not the profile that ships"
    assert said in results.reason and said in done.stdout
