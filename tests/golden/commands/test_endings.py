"""However a run ends, nothing that another run has left can be read as its own, and its exit code is its verdict's."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from golden.files.results import read_results
from tests import ROOT
from tests.helpers.command import SMALLEST, golden, one_sentence

VALIDATE = ("validate", "reference:formula", "--vectors", str(SMALLEST))
REPORTS = ("results.json", "report.md", "report.html", "junit.xml")
#: Makes a run that never ends by itself: every case of core, a while each. A file beside its folder says that it runs.
_SLOW = (
    "import pathlib, time, sys, runners.judging.validate as v\n"
    "old = v.EntryPointVerdict.add\n"
    "def add(self, *a): pathlib.Path(sys.argv[-1] + '.runs').touch(); time.sleep(0.02); return old(self, *a)\n"
    "v.EntryPointVerdict.add = add\n"
    "from golden.cli import main; main(sys.argv[1:])\n"
)


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        signal.SIGKILL,
        *(pytest.param(s, marks=pytest.mark.confirm) for s in (signal.SIGHUP, signal.SIGINT)),
    ],
)
def test_no_report_of_another_run_stays(number: signal.Signals, tmp_path: Path) -> None:
    out, runs = tmp_path / "out", tmp_path / "out.runs"
    assert golden(*VALIDATE, "--out", out).returncode == 0
    command = [sys.executable, "-c", _SLOW, "validate", "reference:formula", "--out", str(out)]
    run = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not runs.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    run.send_signal(number)
    _, said = run.communicate(timeout=30)
    assert (out / "previous/report.html").is_file() and read_results(out / "previous/results.json")
    assert not any((out / name).exists() for name in REPORTS[1:])
    if number != signal.SIGKILL:
        assert run.returncode == 130 and "interrupted" in said, said
        assert "incomplete" in golden("report", out / "results.json").stderr


def test_one_generation_is_kept_and_said(tmp_path: Path) -> None:
    for told in ("", "are in", "in place of those before"):
        done = golden(*VALIDATE, "--out", tmp_path)
        assert done.returncode == 0 and told in done.stderr and done.stderr.count("\n") == bool(told)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*REPORTS, "previous"])
    (tmp_path / "text.so").write_text("no library\n")
    assert golden("validate", tmp_path / "text.so", "--out", tmp_path).returncode == 3
    assert not (tmp_path / "results.json").exists()


@pytest.mark.parametrize(
    "slip",
    [
        ("validate", "reference:formul"),
        ("validate", "nowhere.so"),
        ("validate", "reference:formula", "--suite", "smok"),
        ("validate", "reference:formula", "--platform", "hots"),
        ("validate", "python:nothing"),
        ("sweep", "reference:formul"),
        ("sweep", "reference:formula", "--space", "randon"),
        ("sweep", "nowhere.so"),
    ],
)
def test_a_slip_of_the_pen_leaves_results_where_they_are(slip: tuple[str, ...], tmp_path: Path) -> None:
    for name in (*REPORTS, "sweep.json"):
        (tmp_path / name).write_text("another run's")
    done = golden(*slip, "--out", tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*REPORTS, "sweep.json"])


def test_a_sweep_leaves_none_of_another(tmp_path: Path) -> None:
    sweep = ("sweep", "reference:formula", "--space", "random", "--samples", "4096", "--out", tmp_path)
    assert golden(*sweep).returncode == 0
    assert golden("sweep", ROOT / "README.md", "--out", tmp_path).returncode == 3
    assert not (tmp_path / "sweep.json").exists() and (tmp_path / "previous/sweep.json").is_file()


@pytest.mark.parametrize(
    ("model", "code", "options"),
    [
        ("formula", 0, ("--json",)),
        ("flush", 1, ()),
        pytest.param("formula", 0, (), marks=pytest.mark.confirm),
        pytest.param("flush", 1, ("--json",), marks=pytest.mark.confirm),
    ],
)
def test_a_pipe_that_nobody_reads_keeps_the_verdict(
    model: str, code: int, options: tuple[str, ...], tmp_path: Path
) -> None:
    gone, pipe = os.pipe()
    os.close(gone)
    words = ["validate", f"reference:{model}", "--vectors", str(SMALLEST), *options]
    done = subprocess.run(
        [sys.executable, "-m", "golden.cli", *words, "--out", str(tmp_path)],
        stdout=pipe,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        check=False,
    )
    os.close(pipe)
    assert (done.returncode, done.stderr) == (code, b"")


@pytest.mark.parametrize("closed", [">&-", pytest.param("2>&-", marks=pytest.mark.confirm), ">&- 2>&- <&-"])
def test_closed_streams(closed: str, tmp_path: Path) -> None:
    line = f"exec {sys.executable} -m golden.cli {' '.join(VALIDATE)} --out {tmp_path} {closed}"
    assert subprocess.run(["sh", "-c", line], capture_output=True, cwd=ROOT, check=False).returncode == 0
    assert read_results(tmp_path / "results.json").complete


@pytest.mark.parametrize("seconds", ["nan", "inf", "0", "-1", "1e400"])
def test_a_time_is_finite_and_positive(seconds: str, tmp_path: Path) -> None:
    done = golden("validate", "reference:formula", "--timeout", seconds, "--out", tmp_path)
    assert done.returncode == 2 and one_sentence(done.stderr) and "--timeout" in done.stderr
    (tmp_path / "golden.toml").write_text(f"[validate]\ntimeout = {seconds}\n")
    done = golden("validate", "reference:formula", "--out", tmp_path / "o", cwd=tmp_path)
    assert done.returncode == 2 and one_sentence(done.stderr) and "timeout" in done.stderr
