"""Interrupted sweeps: whatever ends the judge, and whenever, --resume gives the result of a whole run."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from golden.errors import TargetError
from runners.sweeping import engine as sweeping
from runners.sweeping.engine import open_work, sweep
from runners.sweeping.processes import Processes
from runners.sweeping.tally import SUMS, BlockTally
from tests import ROOT
from tests.helpers.small_sweeps import FUZZY, build, run, steady, tiny

#: The command line with small tasks, and with a state that is saved after each.
_MAIN = (
    "import sys; from runners.sweeping import engine; engine.TASK, engine._SAVING = 1 << 20, 0.0; "
    "from golden.cli import main; main(sys.argv[1:])"
)
_OPTIONS = ("--space", "random", "--samples", "2^25", "--beta", "0.1", "--half-abi", "float16", "--seed", "5")


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """32 calls, each of 30 ms at least."""
    return build(tmp_path_factory.mktemp("slow"), "extern int usleep(unsigned); usleep(30000);")


def command(target: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-c", _MAIN, "sweep", str(target), *_OPTIONS, "--out", str(out), *more]


def found(out: Path) -> dict[str, object]:
    return {k: v for k, v in json.loads((out / "sweep.json").read_text()).items() if k not in FUZZY}


def environment(marker: str = "") -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "GOLDEN_TEST_MARKER": marker}


def marked(marker: str) -> list[str]:
    """Command lines of the processes that have inherited a marker."""
    lines = []
    for pid in Path("/proc").iterdir():
        try:
            if pid.name.isdigit() and f"GOLDEN_TEST_MARKER={marker}\0".encode() in (pid / "environ").read_bytes():
                lines.append((pid / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue  # ended meanwhile, or somebody else's
    return [line for line in lines if line]  # an empty one is a zombie's


@pytest.fixture(scope="module")
def whole(slow: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    out = tmp_path_factory.mktemp("whole")
    done = subprocess.run(command(slow, out, "--jobs", "2"), env=environment(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (out / "sweep.state").exists()
    return found(out)


@pytest.mark.confirm
@pytest.mark.parametrize("jobs", ["1", "2"])
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
def test_a_signal_leaves_a_state_that_resumes(
    slow: Path, whole: dict[str, object], tmp_path: Path, number: str, jobs: str
) -> None:
    """To the whole process group, as a terminal or a service manager sends it; SIGKILL to the judge alone."""
    marker, state = str(tmp_path), tmp_path / "sweep.state"
    chance = random.Random(f"{number} {jobs}")
    for turn in range(2):
        child = subprocess.Popen(
            command(slow, tmp_path, "--jobs", jobs, *(["--resume"] if turn else [])),
            env=environment(marker),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A group of its own; and a shell that runs the tests in the background has them ignore interrupts.
            preexec_fn=lambda: (os.setsid(), signal.signal(signal.SIGINT, signal.SIG_DFL)),  # noqa: PLW1509
        )
        deadline, before = time.monotonic() + 60, state.stat().st_mtime_ns if turn else 0
        while not (state.is_file() and state.stat().st_mtime_ns > before) and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(chance.uniform(0.0, 0.4))
        (os.kill if number == "SIGKILL" else os.killpg)(child.pid, getattr(signal, number))
        _, errors = child.communicate(timeout=60)
        assert state.is_file()
        if number == "SIGKILL":
            assert child.returncode == -signal.SIGKILL
        else:
            assert (child.returncode, errors) == (130, b"interrupted: go on with --resume\n")
            assert json.loads((tmp_path / "sweep.json").read_text())["complete"] is False
        deadline = time.monotonic() + 20
        while (left := marked(marker)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert left == []
    again = [*command(slow, tmp_path, "--jobs", "2", "--resume")]
    done = subprocess.run(again, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert found(tmp_path) == whole and not state.exists()


def test_an_interrupt_while_adding_up_counts_a_task_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it strikes: half-way through the sums of a block, of a task, of them all, or in saving the state."""
    monkeypatch.setattr(sweeping, "TASK", 1 << 17)  # two blocks
    monkeypatch.setattr(sweeping, "_SAVING", 0.0)
    expected, state = steady(run("reference:formula", tiny())), tmp_path / "state"
    add, write, left = BlockTally.add, sweeping.write_atomically, 0

    def struck() -> bool:
        nonlocal left
        left -= 1
        return left == 0

    def adding(self: BlockTally, other: BlockTally) -> None:
        if not struck():
            return add(self, other)
        for name in SUMS[: len(SUMS) // 2]:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        raise KeyboardInterrupt

    def writing(path: Path, content: bytes) -> None:
        if struck():
            raise KeyboardInterrupt
        write(path, content)

    functions = {"runners.sweeping.tally.BlockTally.add": adding, "runners.sweeping.engine.write_atomically": writing}
    for attribute, function in functions.items():
        for call in range(1, 11):
            left = call
            with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt):  # out of the last saving
                patch.setattr(attribute, function)
                run("reference:formula", tiny(), state=state)
            assert left <= 0
            assert steady(run("reference:formula", tiny(), state=state, resume=True)) == expected, (attribute, call)
            state.unlink()


def test_a_library_that_changes_under_a_sweep_is_refused(tmp_path: Path) -> None:
    library = build(tmp_path, "")
    work, info = open_work(str(library), tiny())
    build(tmp_path, "dx1[0] = 0;")
    for jobs in (1, 2):
        with pytest.raises(TargetError, match="not the library that the sweep began with"):
            sweep("kernel", work, info, Processes(jobs))
