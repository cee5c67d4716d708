"""The reading examples of vectors/README.md work, and say what the files hold."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from golden.files.names import PUBLIC_SEED as SEED
from golden.files.vectors import read_vectors, write_vectors
from tests import ROOT

VECTORS = ROOT / "vectors"
FILE = VECTORS / "smoke/smoothl1lossgrad-fp32.h5"


@pytest.fixture(params=["held", "bulk"])
def file(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed file, and a bulk one of the same cases."""
    if request.param == "held":
        return FILE
    read, path = read_vectors(FILE), tmp_path / "bulk.h5"
    monkeypatch.setattr("golden.files.vectors.HELD", 4096)
    write_vectors(path, "smoke", read.operator, read.dtype, read.cases, SEED)
    assert b"golden-vectors-bulk/1" in path.read_bytes()
    return path


def test_python_example_reads_every_case(file: Path) -> None:
    script = VECTORS / "examples/read.py"
    done = subprocess.run([sys.executable, script, file], capture_output=True, text=True, check=True)
    cases = read_vectors(FILE).cases
    assert [line.split(" ")[0] for line in done.stdout.splitlines()] == [case.id for case in cases]
    for line, case in zip(done.stdout.splitlines(), cases, strict=True):
        counts = {name: values.size for name, values in case.operands.items()}
        assert str(dict(sorted(counts.items()))) in line and line.endswith(str(case.golden.value[:3]))


def test_readme_shows_the_python_example() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (VECTORS / "README.md").read_text(), re.S)
    assert blocks == [(VECTORS / "examples/read.py").read_text()]


def test_c_example_reads_every_case(file: Path, tmp_path: Path) -> None:
    compiler = shutil.which("h5cc")
    if compiler is None:
        pytest.skip("no HDF5 C compiler wrapper (h5cc of libhdf5-dev) on this machine")
    program = tmp_path / "read"
    source = tmp_path / "read.c"  # h5cc is a script that splits paths at spaces
    shutil.copy(VECTORS / "examples/read.c", source)
    built = subprocess.run(
        [compiler, "-Wall", "-Wextra", "-Werror", "-o", program, source],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    done = subprocess.run([program, file], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    cases = read_vectors(FILE).cases
    assert len(lines) == len(cases)
    for line, case in zip(lines, cases, strict=True):
        name, length, beta, first = line.split(" ")
        assert name == case.id and length == f"n={case.scalars['length']}"
        assert np.float32(beta.removeprefix("beta=")) == case.scalars["beta"]
        value = first.removeprefix("golden[0]=")
        if case.golden.value.size and case.golden.value[0] == case.golden.value[0]:
            assert float.fromhex(value) == float(case.golden.value[0])
