"""The integrator's own terms as a user types them: selections, several vectors, policies, and what files say."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from golden.files.results import read_results
from tests import ROOT
from tests.helpers.command import cases_of, golden, one_sentence

SMOKE = ROOT / "vectors/smoke"
CASES = cases_of("smoke", "smoothl1lossgrad")
VECTORS = ("--vectors", SMOKE / "smoothl1lossgrad-fp16.h5", "--vectors", SMOKE / "smoothl1lossgrad-fp32.h5")


@pytest.fixture(scope="module")
def partial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of a selection of which nothing fails."""
    out = tmp_path_factory.mktemp("partial")
    chosen = ("--class", "kink", "--class", "ties", "--case", "*/n=33", "--require", "formula", "--max-ulp", "4")
    done = golden("validate", "reference:formula", *VECTORS, *chosen, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "\npartial: Nothing that was selected for host, held to grade = formula" in done.stdout
    return out


def test_what_was_asked_for_stands_in_results_and_pages(partial: Path) -> None:
    results = read_results(partial / "results.json")
    assert results.verdict == "partial" and results.vectors.paths == [str(path) for path in VECTORS[1::2]]
    assert sorted(results.vectors.digests) == ["smoothl1lossgrad-fp16.h5", "smoothl1lossgrad-fp32.h5"]
    assert {e.dtype for e in results.entry_points} == {"fp16", "fp32"}
    asked = {"class": "kink ties", "case": "*/n=33", "require": "formula", "max-ulp": "fp16=4 fp32=4"}
    assert asked.items() <= results.options.items() and results.option_sources.keys() == {*asked, "vectors"}
    page = (partial / "report.html").read_text()
    for words in ("was judged in part for host", "class kink, class ties, case */n=33", "max-ulp.fp32 = 4"):
        assert words in page
    assert "conforms" not in page.replace("Sign of zero (conforms)", "").replace(".problem.conforms", "")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            lambda run: run.update(verdict="conforms"),
            "its verdict is 'conforms', and its entry points come to 'partial'",
        ),
        (lambda run: run["selection"].update(options={}), "it selects cases and does not say by what"),
        (lambda run: run["selection"].update(cases=0), "it selects more than there is, or nothing"),
        (lambda run: run["selection"].update(of_cases=10**6), "it selects more than there is, or nothing"),
        (lambda run: run["selection"].update(entry_points=3), "it has 4 entry points, and 3 were selected"),
        (lambda run: run["selection"].update(cases=CASES), f"cases, and {CASES} were to be run"),
        (lambda run: run["selection"].update(stopped=True), "it stopped at a failure that it does not have"),
        (lambda run: run.update(selection={}, verdict="conforms"), f"cases, and {CASES} were to be run"),
    ],
)
def test_a_selection_that_contradicts_the_rest_is_refused(
    edit: Callable[[dict[str, Any]], object], words: str, partial: Path, tmp_path: Path
) -> None:
    run = json.loads((partial / "results.json").read_text())
    edit(run)
    (tmp_path / "edited.json").write_text(json.dumps(run))
    done = golden("report", tmp_path / "edited.json")
    assert done.returncode == 2 and one_sentence(done.stderr) and words in done.stderr, done.stderr


def test_a_file_that_runs_shows_its_failures_again(tmp_path: Path) -> None:
    """The vectors that results name are found again, whichever of them has the case."""
    done = golden("validate", "reference:flush", *VECTORS, "--dtype", "fp32", "--fail-fast", "-q", "--out", tmp_path)
    results = read_results(tmp_path / "results.json")
    assert done.returncode == 1 and results.selection.stopped and results.vectors.cases == CASES
    case = results.entry_points[-1].failing[0].case
    shown = golden("repro", tmp_path / "results.json", case)
    assert shown.returncode == 0 and "int main" in shown.stdout, shown.stderr


def test_what_is_legal_is_not_shown_as_a_failure(tmp_path: Path) -> None:
    chosen = ("--class", "ties", "--symbol", "fp_*_s", "--require", "faithful")
    done = golden("validate", "reference:formula", *VECTORS, *chosen, "--out", tmp_path)
    assert done.returncode == 1 and "golden repro" not in done.stdout + (tmp_path / "report.md").read_text()
    assert "legal, but not faithful; element" in done.stdout and "held to grade = faithful" in done.stdout
    case = read_results(tmp_path / "results.json").entry_points[0].failing[0].case
    shown = golden("repro", tmp_path / "results.json", case)
    assert shown.returncode == 2 and one_sentence(shown.stderr) and "has legal results" in shown.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ("--class", "knik"),
            "golden: --class knik: these vectors have nothing of the kind for host; did you mean 'kink'?",
        ),
        (("--max-ulp", "fp8=1"), "'fp8=1': there is no dtype 'fp8'; known are fp16, fp32."),
        (("--max-ulp", "fp16=0.3"), "'fp16=0.3' is no error of at least 0.5 ulp"),
        (("--max-ulp", "nan"), "'nan' is no error of at least 0.5 ulp"),
        (("--require", "faithfull"), "did you mean 'faithful'?"),
        (("--dtype", "fp64"), "'fp64' does not exist"),
    ],
)
def test_mistakes_are_one_sentence_and_leave_earlier_results_alone(
    options: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    (tmp_path / "results.json").write_text("earlier")
    done = golden("validate", "reference:formula", *VECTORS, *options, "--out", tmp_path)
    assert done.returncode == 2 and one_sentence(done.stderr) and words in done.stderr, done.stderr
    assert (tmp_path / "results.json").read_text() == "earlier"


def test_the_command_line_wins_over_a_profile_and_a_configuration_over_defaults(tmp_path: Path) -> None:
    text = (ROOT / "golden/platforms/host.toml").read_text().replace('name = "host"', 'name = "ours"')
    (tmp_path / "ours.toml").write_text(text + '\n[accept]\ngrade = "faithful"\nmax-ulp = { fp32 = 1.0, fp16 = 3 }\n')
    (tmp_path / "golden.toml").write_text(
        '[validate]\nplatform = "ours.toml"\nclass = ["ties"]\nsymbol = "?p_*_s"\nrequire = "formula"\nmax-ulp = 2.5\n'
        f"vectors = {json.dumps([str(path) for path in VECTORS[1::2]])}\nfail-fast = true\n"
    )
    done = golden("validate", "reference:formula", "--max-ulp", "fp32=1.25", "--out", "out", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    results = read_results(tmp_path / "out/results.json")
    assert results.platform.accept.told() == "grade = formula, max-ulp.fp16 = 3, max-ulp.fp32 = 1.25"
    assert results.entry_points[-1].failing[0].kind == "beyond-max-ulp" and results.selection.stopped
    assert results.options["symbol"] == "?p_*_s" and results.option_sources["fail-fast"] == "golden.toml"
