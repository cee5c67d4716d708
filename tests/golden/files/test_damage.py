"""Random damage: vector files, libraries, and processes killed at any moment. Nothing wrong comes out, nothing is left.

The fast run does a few of each; the slow run does 200 files, 50 libraries and 50 kills.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from golden.errors import VectorError
from golden.files.results import read_results
from golden.files.vectors import case_digest, read_vectors
from tests import ROOT

VECTORS = ROOT / "vectors/smoke/smoothl1lossgrad-fp16.h5"
needs_compiler = pytest.mark.skipif(not (shutil.which("cc") or shutil.which("gcc")), reason="no C compiler (cc, gcc)")


def counts(few: int, many: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("count", [few, pytest.param(many, marks=pytest.mark.slow)])


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Flip bits, overwrite a stretch, cut the end off, drop a stretch or repeat one."""
    changed = bytearray(data)
    at, length = draw.randrange(len(data)), draw.randrange(1, 200)
    kind = draw.randrange(5)
    if kind == 0:
        for _ in range(draw.randrange(1, 5)):
            changed[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif kind == 1:
        changed[at : at + length] = draw.randbytes(len(changed[at : at + length]))
    elif kind == 2:
        del changed[at:]
    elif kind == 3:
        del changed[at : at + length]
    else:
        changed[at:at] = changed[at : at + length]
    return bytes(changed)


def cli(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "golden.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def descendants(marker: str) -> list[int]:
    """Find processes, whatever their parent, that carry a marker in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                if marker.encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@counts(40, 200)
def test_damaged_vector_files_are_refused_or_read_right(count: int, tmp_path: Path) -> None:
    draw, original = random.Random(count), VECTORS.read_bytes()
    good = [case_digest(case) for case in read_vectors(VECTORS).cases]
    refused = 0
    for number in range(count):
        path = tmp_path / f"{number}.h5"
        path.write_bytes(damaged(original, draw))
        try:
            assert [case_digest(case) for case in read_vectors(path).cases] == good
        except VectorError:
            refused += 1
    assert refused > count * 0.8
    path.write_bytes(original[: len(original) // 2])
    done = cli("validate", "reference:exact", "--vectors", path, "--out", tmp_path / "out")
    assert done.returncode == 4 and "Traceback" not in done.stderr


@pytest.mark.confirm
@needs_compiler
@counts(2, 50)
def test_damaged_libraries_never_conform_wrongly(count: int, kernels: Path, tmp_path: Path) -> None:
    draw = random.Random(count)
    original = kernels.read_bytes()
    codes = []
    for number in range(count):
        library, out = tmp_path / f"{number}.so", tmp_path / f"out{number}"
        library.write_bytes(damaged(original, draw))
        done = cli("validate", library, "--vectors", VECTORS, "--timeout", "2", "--out", out)
        codes.append(done.returncode)
        assert done.returncode in (0, 1, 3) and "Traceback" not in done.stderr, (number, done.stderr)
        if done.returncode == 0:
            # Damage that no entry point under test can notice: every one was run, in full.
            assert all(e.status == "pass" and e.cases for e in read_results(out / "results.json").entry_points)
        assert not list(out.glob(".*"))
    assert set(codes) != {0}


@pytest.mark.confirm
@needs_compiler
@counts(2, 50)
def test_kill_at_any_moment_leaves_nothing(count: int, kernels: Path, tmp_path: Path) -> None:
    draw = random.Random(count)
    out = tmp_path / "out"
    for number in range(count):
        marker = f"GOLDEN_TEST_MARKER=kill-{os.getpid()}-{number}"
        environment = {**os.environ, "GOLDEN_TEST_MARKER": marker.split("=")[1]}
        command = [sys.executable, "-m", "golden.cli", "validate", kernels, "--vectors", VECTORS, "--out", out]
        child = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        time.sleep(draw.uniform(0.0, 1.2))
        victims = descendants(marker)
        victim = child.pid if number % 2 == 0 or not victims else draw.choice(victims)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
        _, errors = child.communicate(timeout=120)
        assert "Traceback" not in errors, errors
        # A stray kill of a helper process is survived or said, never a crash of the judge.
        assert child.returncode in (0, 1, 3, -signal.SIGKILL), (child.returncode, errors)
        deadline = time.monotonic() + 10
        while descendants(marker) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not descendants(marker), "a process was left behind"
        if (out / "results.json").exists():
            json.loads((out / "results.json").read_text())
    out.mkdir(exist_ok=True)
    (out / ".results.json.999999999.tmp").write_text("what a process killed while writing leaves")
    assert cli("validate", kernels, "--vectors", VECTORS, "--out", out).returncode == 0
    assert not list(out.glob(".*"))
    assert read_results(out / "results.json").complete
