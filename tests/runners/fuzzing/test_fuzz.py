"""Fuzzing: the same seed makes the same calls, what is legal never fails, what fails is made small and kept."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from golden.errors import UsageError
from golden.files.manifest import read_suite
from golden.operator import entry_points
from golden.profile import load_profile
from golden.results import Probe, Results
from runners.fuzzing.drawn import Drawing, Recipe
from runners.fuzzing.engine import Settings, fuzz, open_work
from runners.fuzzing.evaluate import Work
from runners.sweeping.processes import Processes
from runners.targets import open_target
from tests import ROOT
from tests.helpers.command import golden, needs_compiler
from tests.reports import test_repro

#: Of the bundled kernels with a defect each: the entry point, and its body.
DEFECTS = {
    "a tile": (
        "fp_smoothl1lossgrad_p",
        "good(dy, dx1, x1, x2, length, beta); if (length % 48 == 47) dx1[length - 1] = 0;",
    ),
    "a beta": ("hp_smoothl1lossgrad_s", "good(dy, dx1, x1, x2, length, beta > 1 ? (half)1 : beta, core_mask);"),
    "what came before": (
        "fp_nlllossgrad_p",
        "static int last; good(l, g, labels, w, t, out, batch, class_num, r);"
        "if (last > 9 && batch > 0 && batch < 4) out[labels[0]] = 0; last = batch;",
    ),
    "an abort": ("fp_smoothl1lossgrad_p", "good(dy, dx1, x1, x2, length, beta); if (length == 61) abort();"),
}


def recipe(*symbols: str, calls: int = 0, seed: str = "test") -> Recipe:
    chosen = symbols or tuple(entry_points())
    draw, profile = "generators.drawing:draw", load_profile("host")
    return Recipe(seed=seed, profile=profile, symbols=chosen, draw=draw, calls=calls, bytes=1 << 14, task=200)


def run(target: str, out: Path, made: Recipe, jobs: int = 1, resume: bool = False, **settings: Any) -> Results:
    session, library = open_target(target, 5.0)
    try:
        work, probe, remarks = open_work(
            session, library, Work(recipe=made, target=target, timeout=1.0), "auto", "auto"
        )
        there = session.symbols
    finally:
        session.close()
    ends = replace(Settings(None, out, resume), **settings)
    return fuzz(work, library, there, probe, remarks, Processes(jobs), ends)


def steady(results: Results) -> dict[str, object]:
    document: dict[str, object] = msgspec.to_builtins(results)
    return {k: v for k, v in document.items() if k not in ("created", "seconds")}


def calls(made: Recipe, task: int = 0) -> list[tuple[str, str, list[object]]]:
    return [(j.entry.symbol, j.case.id, list(j.plan)) for j in Drawing(made, task, True).jobs()]


def test_the_same_seed_makes_the_same_calls() -> None:
    first = calls(recipe())
    assert first == calls(recipe()) and len(first) == 200
    assert first != calls(recipe(seed="other")) and first != calls(recipe(), 1)
    assert len(calls(recipe(calls=250), 1)) == 50
    # All entry points, in turns that are drawn, and operands and masks in many ways.
    assert {symbol for task in range(4) for symbol, *_ in calls(recipe(), task)} == {*entry_points()}
    ways = [way for _, _, plan in first for way in plan]
    assert {way.placement for way in ways} == {"begin", "end", "plain"} and {way.fill for way in ways} == {0, 1, 2}  # type: ignore[attr-defined]
    assert (
        len({way.core_mask for way in ways}) > 50
        and len({(way.offset, way.skew, way.grid, way.alone) for way in ways}) > 100
    )  # type: ignore[attr-defined]


def test_the_number_of_processes_changes_nothing(kernels: Path, tmp_path: Path) -> None:
    one, two = (run(str(kernels), tmp_path / str(n), recipe(calls=500, seed="all"), n) for n in (1, 2))
    assert steady(one) == steady(two)
    assert one.verdict == "conforms" and one.drawn and one.drawn.calls == one.vectors.cases == 500
    assert sum(e.cases for e in one.entry_points) == 500 and one.drawn.ways > 1000
    assert all(c.checked for e in one.entry_points for c in e.contracts if c.name in ("returns", "placement"))


def test_resuming_gives_the_result_of_a_whole_run(tmp_path: Path) -> None:
    made = recipe("hp_smoothl1lossgrad_p", "fp_nlllossgrad_s", calls=600)
    whole, out = run("reference:formula", tmp_path / "whole", made), tmp_path / "parts"
    part = run("reference:formula", out, msgspec.structs.replace(made, calls=200))
    assert part.drawn and part.drawn.calls == 200
    # What ends it is not part of what it is: a run may go on for longer, and its seed is the state's.
    again = run("reference:formula", out, msgspec.structs.replace(made, seed="ignored"), resume=True)
    assert steady(again) == steady(whole) and again.drawn and again.drawn.calls == 600
    with pytest.raises(UsageError, match="is of another run"):
        run("reference:reciprocal", out, made, resume=True)
    (out / "fuzz.state").write_text("{")
    with pytest.raises(UsageError, match="is damaged"):
        run("reference:formula", out, made, resume=True)
    with pytest.raises(UsageError, match="nothing to resume"):
        run("reference:formula", tmp_path / "none", made, resume=True)


@pytest.mark.parametrize(
    "model", ["formula", *(pytest.param(m, marks=pytest.mark.confirm) for m in ("reciprocal", "exact"))]
)
def test_nothing_legal_fails(model: str, tmp_path: Path) -> None:
    found = run(f"reference:{model}", tmp_path, recipe(calls=1000 if model == "formula" else 20_000))
    assert found.verdict == "conforms", [e.detail for e in found.entry_points]


@needs_compiler
@pytest.mark.parametrize(
    "name", ["a tile", *(pytest.param(n, marks=pytest.mark.confirm) for n in ("a beta", "an abort"))]
)
def test_a_defect_is_found_made_small_and_kept(
    name: str, kernels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(test_repro.DEFECTS, name, DEFECTS[name])
    symbol = DEFECTS[name][0]
    library = test_repro.defective(name, tmp_path)
    found = run(str(library), tmp_path / "out", recipe(symbol, calls=800))
    assert found.verdict == "fails" and found.entry_points[0].status == ("crash" if name == "an abort" else "fail")
    witness = next(f for f in found.findings if f.kind == "witness")
    folder = tmp_path / "out/failures"
    cases = [case for file in read_suite(folder) for case in file.cases]
    case = next(case for case in cases if case.id == witness.case)
    assert case.klass == "fuzzed" and str(folder) in witness.message and "Only after" not in witness.message
    length = int(case.scalars["length"])
    assert {"a tile": length % 48 == 47 and length <= 191, "a beta": length == 1, "an abort": length == 61}[name]
    again = golden("validate", library, "--vectors", folder, "--out", tmp_path / "again", "--timeout", "1")
    assert again.returncode == 1 and symbol in again.stdout
    assert golden("validate", kernels, "--vectors", folder, "--out", tmp_path / "good").returncode == 0
    assert golden("show", case.id, "--vectors", folder).returncode == 0


def test_what_is_made_small_stays_a_call_of_the_platform(tmp_path: Path) -> None:
    profile = tmp_path / "sixteens.toml"
    profile.write_text((ROOT / "golden/platforms/host.toml").read_text() + "\n[calling]\nlengths = { multiple = 16 }\n")
    made = msgspec.structs.replace(recipe("fp_smoothl1lossgrad_p", calls=200), profile=load_profile(str(profile)))
    found = run("reference:flush", tmp_path / "out", made)
    cases = [case for file in read_suite(tmp_path / "out/failures") for case in file.cases]
    assert found.verdict == "fails" and cases and all(int(case.scalars["length"]) % 16 == 0 for case in cases)


@needs_compiler
def test_what_depends_on_the_calls_before_is_found_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(test_repro.DEFECTS, "before", DEFECTS["what came before"])
    library = test_repro.defective("before", tmp_path)
    found = run(str(library), tmp_path / "out", recipe("fp_nlllossgrad_p", calls=200))
    witnesses = [f.message for f in found.findings if f.kind == "witness"]
    assert found.verdict == "fails" and any(
        "Only after fp_nlllossgrad_p with nlllossgrad/fp32/" in text and "/batch=" in text for text in witnesses
    ), witnesses


def test_the_command(kernels: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--calls", "100", "--max-bytes", "4096", "--jobs", "1", "--out", out)
    done = golden("fuzz", kernels, "--symbol", "fp_*_p", "--seed", "a", *options)
    assert done.returncode == 0 and "100 calls drawn, made in" in done.stdout, done.stderr
    results = msgspec.json.decode((out / "results.json").read_bytes(), type=Results)
    assert [e.symbol for e in results.entry_points] == ["fp_nlllossgrad_p", "fp_smoothl1lossgrad_p"]
    assert results.options["seed"] == "a" and (out / "report.html").is_file() and (out / "junit.xml").is_file()
    assert results.verdict == "partial" and "on 2 of 8 entry points" in results.reason
    done = golden("fuzz", kernels, "--class", "ties", "--symbol", "fp_s*_p", "--seed", "a", *options)
    assert done.returncode == 0 and "partial: Nothing that was selected" in done.stdout and "class ties" in done.stdout
    done = golden(
        "fuzz", "reference:flush", "--operator", "nlllossgrad", "--dtype", "fp16", "--seed", "a", *options, "--json"
    )
    assert done.returncode == 1 and msgspec.json.decode(done.stdout)["verdict"] == "fails"
    assert "results of another run" in done.stderr and (out / "previous/results.json").is_file()
    case = next(
        f.case for f in msgspec.json.decode((out / "results.json").read_bytes(), type=Results).entry_points[0].failing
    )
    assert golden("repro", out / "results.json", case, "--symbol", "hp_nlllossgrad_s").returncode == 0


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--time", "1", "--calls", "1"), 2, "--time and --calls: give one of them."),
        (("--symbol", "xp_*"), 2, "host requires no entry point like this"),
        (("--resume",), 2, "There is nothing to resume"),
        (("--time", "nan"), 2, "nan is no number of seconds"),
        (("--max-bytes", "1"), 2, "--max-bytes"),
        (("--class", "hard*to"), 2, "No values are drawn of a class like hard*to."),
    ],
)
def test_what_makes_no_sense_is_one_sentence(words: tuple[str, ...], code: int, says: str, tmp_path: Path) -> None:
    done = golden("fuzz", "reference:formula", *words, "--out", tmp_path)
    assert done.returncode == code and says in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.confirm
def test_an_interrupt_leaves_a_state_that_goes_on(kernels: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "golden.cli", "fuzz", str(kernels), "--time", "100", "--out", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as running:
        while not (tmp_path / "fuzz.state").is_file():
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        assert running.stderr is not None
        assert "Go on with --resume." in running.stderr.read()
    assert running.returncode == 130
    done = golden("fuzz", kernels, "--time", "1", "--out", tmp_path, "--resume")
    assert done.returncode == 0, done.stderr


def test_probing_is_told(tmp_path: Path) -> None:
    found = run("reference:formula", tmp_path, recipe("fp_smoothl1lossgrad_p", calls=100))
    assert found.probe == Probe("float16", "sum-mean-none", "preserve")


@pytest.mark.confirm
def test_a_cluster_finds_what_this_machine_finds(kernels: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    found = []
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        for number, words in enumerate((("--scheduler", cluster.scheduler_address), ("--jobs", "1"))):
            out = tmp_path / str(number)
            done = golden("fuzz", kernels, "--calls", "3000", "--seed", "x", "--out", out, *words)
            assert done.returncode == 0, done.stderr
            found.append(steady(msgspec.json.decode((out / "results.json").read_bytes(), type=Results)))
    assert found[0] == found[1]
