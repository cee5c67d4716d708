"""Bulk files: written and read one case at a time, in bounded memory, and whole or not at all."""

import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from generators.suite import generator, make_case
from golden.case import Case
from golden.errors import UsageError, VectorError
from golden.files.hdf5 import GrowingFile
from golden.files.names import PUBLIC_SEED as SEED
from golden.files.vectors import case_digest, read_vectors, write_vectors
from golden.formats import FORMATS, FP16
from golden.operator import operator, operators
from tests.helpers.small_files import digests, small_cases

SMOOTH, NLL = operator("smoothl1lossgrad"), operator("nlllossgrad")
KINDS = [(name, dtype) for name in operators() for dtype in FORMATS]


def row_of(file: h5py.File, position: int) -> np.void:
    return file["cases"][position]  # type: ignore[no-any-return]


@pytest.fixture
def bulk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("golden.files.vectors.HELD", 4096)
    cases = [case for case in generator("smoothl1lossgrad")("smoke", FP16) if case.size]
    write_vectors(tmp_path / "bulk.h5", "smoke", SMOOTH, "fp16", cases, SEED)
    return tmp_path / "bulk.h5"


@pytest.mark.parametrize("name", ["operands/dy", "operands/x2", "golden", "residual"])
def test_damage_is_found_when_its_case_is_reached(name: str, bulk: Path) -> None:
    expected, victim = digests(read_vectors(bulk)), 20
    with h5py.File(bulk, "r+") as file:
        column = name.removeprefix("operands/").replace("residual", "golden")
        at = row_of(file, victim)[f"{column}_offset"]
        file[name][at] += 1
    read = read_vectors(bulk)
    others = [i for i in range(len(expected)) if i != victim]
    assert [case_digest(read.cases[i]) for i in others] == [expected[i] for i in others]
    for _ in range(2):
        with pytest.raises(VectorError, match="does not match its digest") as raised:
            read.cases[victim]
        assert str(bulk) in str(raised.value) and read.heads[victim].id in str(raised.value)
    with pytest.raises(VectorError, match=read.heads[victim].id):
        digests(read)


def test_a_file_that_is_cut_after_it_was_opened(bulk: Path) -> None:
    read = read_vectors(bulk)
    content = bulk.read_bytes()
    bulk.write_bytes(content[: len(content) // 2])
    with pytest.raises(VectorError, match=str(bulk)):
        digests(read)
    bulk.unlink()
    with pytest.raises(VectorError, match=str(bulk)):
        read.cases[0]


def test_damage_ends_a_command_with_its_exit_code(bulk: Path, tmp_path: Path) -> None:
    with h5py.File(bulk, "r+") as file:
        file["golden"][row_of(file, -1)["golden_offset"]] += 1
    last = read_vectors(bulk).heads[-1].id

    def golden(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "golden.cli", *map(str, arguments), "--vectors", str(bulk)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    run = golden("validate", "reference:exact", "--out", tmp_path / "out")
    assert run.returncode == 4 and last in run.stderr and "Traceback" not in run.stderr
    assert not (tmp_path / "out" / "results.json").exists()
    assert golden("show", last).returncode == 4
    assert golden("show", read_vectors(bulk).heads[0].id).returncode == 0
    assert last in golden("list", "cases").stdout


def test_what_fails_midway_leaves_the_old_file_and_nothing_else(bulk: Path) -> None:
    old, cases = bulk.read_bytes(), small_cases()

    def broken() -> Iterator[Case]:
        yield from cases
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_vectors(bulk, "smoke", SMOOTH, "fp16", broken(), SEED)
    assert bulk.read_bytes() == old and list(bulk.parent.iterdir()) == [bulk]


def test_a_full_disk_is_a_sentence_and_leaves_nothing(bulk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit on the size of files says when there is no room; 10 MB of cases and the 8 MB that must be free."""
    monkeypatch.setattr("golden.files.vectors.HELD", 1 << 20)
    monkeypatch.setattr("golden.files.hdf5.RESERVED", 1 << 20)  # so that some of it is written before there is no more
    old, limits = bulk.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    operands = {name: FP16.cast(np.linspace(1, 2, 100_000)) for name in ("dy", "x1", "x2")}
    case = make_case(SMOOTH, FP16, "required", "k", (), "p", {"length": 100_000, "beta": 1.0}, operands)
    for size in (2_000, 8_500_000, 10_000_000, 14_000_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            with pytest.raises(UsageError, match="Cannot write"):
                write_vectors(bulk, "smoke", SMOOTH, "fp16", [case] * 8, SEED)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert bulk.read_bytes() == old and list(bulk.parent.iterdir()) == [bulk]


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_arrays_grow_by_any_steps(chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that begin and end anywhere in a chunk, none that leaves anything behind it, and no room kept in vain."""
    monkeypatch.setattr("golden.files.hdf5.RESERVED", 1 << 10)
    random = np.random.default_rng(chunk)
    expected = {name: np.empty(0, dtype) for name, dtype in (("a", "<f2"), ("b", "<i4"))}
    file = GrowingFile(tmp_path / "grown.h5")
    for name, values in expected.items():
        file.create(name, values.dtype, chunk)
    for size in [0, 1, chunk - 1, chunk, chunk + 1, 5 * chunk, *random.integers(0, 9 * chunk, 200)]:
        for name, values in expected.items():
            part = np.arange(len(values), len(values) + size).astype(values.dtype)
            file.extend(name, part)
            expected[name] = np.append(values, part)
            free = (tmp_path / "grown.h5").stat().st_blocks * 512 - file.hdf5.id.get_filesize()
            assert free > 7 << 20  # of the 8 MB that are kept for HDF5's structures
    file.finish()
    file.close()
    with h5py.File(tmp_path / "grown.h5") as read:
        for name, values in expected.items():
            assert read[name].dtype == values.dtype and np.array_equal(read[name][...], values)
        used = sum(values.nbytes for values in expected.values())
    assert used < (tmp_path / "grown.h5").stat().st_size < 3 * used + (1 << 16) + 900 * 64


#: Writes and reads 16 cases of 2**18 elements, 84 MB of arrays, in a process that may hold less than half of that.
BOUNDED = """
import resource
import sys
from pathlib import Path
import golden.files.vectors
from generators.smoothl1lossgrad import CLASSES, FP16, OPERATOR, _case
from golden.formats import FP32
golden.files.vectors.HELD = 4 << 20
def cases():
    for beta in range(1, 17):
        yield from _case(FP32, "uniform-bits", beta, 1 << 18, CLASSES["uniform-bits"])
path = Path(sys.argv[1])
for case in _case(FP32, "uniform-bits", 0.5, 40, CLASSES["uniform-bits"]):
    golden.files.vectors.write_vectors(path, "s", OPERATOR, "fp32", [case], "s")  # everything is imported now
words = Path("/proc/self/status").read_text().split()
now = int(words[words.index("VmData:") + 1]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (now + (36 << 20), -1))
golden.files.vectors.write_vectors(path, "s", OPERATOR, "fp32", cases(), "s")
read = golden.files.vectors.read_vectors(path)
assert sum(case.golden.value.size for case in read.cases) == 16 << 18 == sum(head.size for head in read.heads)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts all private memory on Linux only")
def test_memory_is_bounded_by_the_largest_case(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BOUNDED, tmp_path / "large.h5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
