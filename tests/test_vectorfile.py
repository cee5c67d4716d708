"""Vector files: what is written is read back; damage of any kind is a named error, never another result."""

import dataclasses
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import msgspec
import numpy as np
import pytest

from generators import suite as suites
from generators.stream import SEED
from generators.suite import generate, generate_file, generator, make_case
from golden.case import Case
from golden.errors import UsageError, VectorError
from golden.formats import FORMATS, FP16
from golden.growing import GrowingFile
from golden.manifest import NAME, Manifest, read_suite, write_manifest
from golden.operator import operator, operators
from golden.vectorfile import BULK_SCHEMA, SCHEMA, VectorFile, case_digest, read_vectors, write_vectors

SMOOTH, NLL = operator("smoothl1lossgrad"), operator("nlllossgrad")
KINDS = [(name, dtype) for name in operators() for dtype in FORMATS]


def digests(file: VectorFile) -> list[str]:
    return [case_digest(case) for case in file.cases]


def small_cases() -> list[Case]:
    """One short case of every class, and one without elements."""
    chosen: dict[str, Case] = {}
    for case in generator("smoothl1lossgrad")("smoke", FP16):
        if case.golden.value.size <= 33:
            chosen.setdefault(case.klass + str(case.golden.value.size == 0), case)
    return list(chosen.values())


@pytest.fixture(scope="module", params=[SCHEMA, BULK_SCHEMA])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that is held in memory, and the same cases in one that is not."""
    path = tmp_path_factory.mktemp("vectors") / "small.h5"
    with pytest.MonkeyPatch.context() as patch:
        if request.param == BULK_SCHEMA:
            patch.setattr("golden.vectorfile.HELD", 256)
            patch.setattr("golden.vectorfile._CHUNK", 32)  # the unused end of a chunk may be damaged at will
        write_vectors(path, "smoke", SMOOTH, "fp16", small_cases(), SEED)
    with h5py.File(path) as file:
        assert file.attrs["schema"] == request.param.encode()
    return path


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(original, tmp_path / "copy.h5"))


# Round trips


@pytest.mark.parametrize(("held", "chunk"), [(64 << 20, 1 << 16), (1 << 12, 1 << 16), (1 << 14, 8)])
@pytest.mark.parametrize(("name", "dtype"), KINDS)
def test_every_case_is_read_back(
    name: str, dtype: str, held: int, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held in memory; in the file at once; and with parts longer than a chunk, which are written one by one."""
    monkeypatch.setattr("golden.vectorfile.HELD", held)
    monkeypatch.setattr("golden.vectorfile._CHUNK", chunk)
    cases = list(generator(name)("smoke", FORMATS[dtype]))
    digest = write_vectors(tmp_path / "a.h5", "smoke", operator(name), dtype, cases, SEED)
    file = read_vectors(tmp_path / "a.h5", digest)
    assert (file.suite, file.operator.name, file.dtype, file.digest) == ("smoke", name, dtype, digest)
    assert file.path == tmp_path / "a.h5" and len(file.cases) == len(cases)
    assert len(file.heads) == len(cases) == len(file.cases[:])
    for wrote, read, head in zip(cases, file.cases, file.heads, strict=True):
        assert (head.id, head.size, head.group) == (wrote.id, wrote.golden.value.size, wrote.group)
        assert (read.id, read.tier, read.klass, read.flags) == (
            wrote.id,
            wrote.tier,
            wrote.klass,
            wrote.flags,
        )
        assert read.scalars == wrote.scalars and read.dtype == dtype
        assert {k: type(v) for k, v in read.scalars.items()} == {k: type(v) for k, v in wrote.scalars.items()}
        assert read.operands.keys() == wrote.operands.keys()
        for operand, values in wrote.operands.items():
            assert read.operands[operand].dtype == values.dtype and read.operands[operand].shape == values.shape
            assert read.operands[operand].tobytes() == values.tobytes(), (wrote.id, operand)
        assert read.golden.value.tobytes() == wrote.golden.value.tobytes()
        assert read.golden.residual.tobytes() == wrote.golden.residual.tobytes()


def test_the_content_digest_depends_on_the_content_alone(tmp_path: Path) -> None:
    cases = small_cases()
    first = write_vectors(tmp_path / "a.h5", "smoke", SMOOTH, "fp16", cases, SEED)
    assert write_vectors(tmp_path / "elsewhere" / "b.h5", "smoke", SMOOTH, "fp16", cases, SEED) == first
    assert write_vectors(tmp_path / "a.h5", "smoke", SMOOTH, "fp16", cases, SEED) == first
    assert write_vectors(tmp_path / "c.h5", "smoke", SMOOTH, "fp16", cases[::-1], SEED) != first
    assert write_vectors(tmp_path / "c.h5", "smoke", SMOOTH, "fp16", cases[1:], SEED) != first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5", "c.h5", "elsewhere"]


def test_case_digests_notice_everything() -> None:
    operands = {name: FP16.cast(np.array([1.0, 2.0])) for name in ("dy", "x1", "x2")}
    found = set()
    for changed in (None, "dy", "x1", "x2"):
        for tier, klass, path, beta in (
            ("required", "a", "p", 0.5),
            ("stress", "a", "p", 0.5),
            ("required", "b", "p", 0.5),
            ("required", "a", "q", 0.5),
            ("required", "a", "p", 1.0),
        ):
            moved = {k: v + FP16.dtype.type(k == changed) for k, v in operands.items()}
            case = make_case(SMOOTH, FP16, tier, klass, (), path, {"length": 2, "beta": beta}, moved)  # type: ignore[arg-type]
            found.add(case_digest(case))
    assert len(found) == 20
    value, residual = case.golden
    for golden in (case.golden._replace(value=-value), case.golden._replace(residual=residual + 1)):
        found.add(case_digest(dataclasses.replace(case, golden=golden)))
    assert len(found) == 22


def test_an_empty_file_of_cases_is_a_file(tmp_path: Path) -> None:
    write_vectors(tmp_path / "none.h5", "smoke", NLL, "fp32", [], SEED)
    assert read_vectors(tmp_path / "none.h5").cases == ()


def test_a_case_without_flags_is_read_back(tmp_path: Path) -> None:
    (case, *_) = small_cases()
    digest = write_vectors(tmp_path / "a.h5", "mine", SMOOTH, "fp16", [dataclasses.replace(case, flags=())], SEED)
    assert read_vectors(tmp_path / "a.h5", digest).cases[0].flags == ()


def test_what_does_not_fit_its_column_is_refused(tmp_path: Path) -> None:
    operands = {name: FP16.cast(np.zeros(1)) for name in ("dy", "x1", "x2")}
    long = make_case(SMOOTH, FP16, "required", "k", (), "x" * 200, {"length": 1, "beta": 1.0}, operands)
    with pytest.raises(ValueError, match="too long"):
        write_vectors(tmp_path / "long.h5", "smoke", SMOOTH, "fp16", [long], SEED)
    assert list(tmp_path.iterdir()) == []


# Damage


def refused(path: Path, expected: VectorFile) -> bool:
    """Tell whether a damaged file is refused by name; to read it as something else is forbidden."""
    try:
        read = read_vectors(path)
        found = digests(read)
    except VectorError as error:
        assert str(path) in str(error)
        return True
    assert (read.digest, read.suite, read.dtype) == (expected.digest, expected.suite, expected.dtype)
    assert read.operator is expected.operator and found == digests(expected)
    return False


def test_truncation_at_any_length(original: Path, tmp_path: Path) -> None:
    content, path = original.read_bytes(), tmp_path / "cut.h5"
    lengths = {0, 1, 8, 64, 512, len(content) // 2, len(content) - 1}
    lengths |= set(np.linspace(2, len(content) - 2, 100).astype(int).tolist())
    for length in sorted(lengths):
        path.write_bytes(content[:length])
        with pytest.raises(VectorError, match="damaged or not a vector file"):
            read_vectors(path)


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_flipped_bytes(original: Path, tmp_path: Path, mask: int) -> None:
    """Some 300 places for each mask: all of the first bytes, where the structure is, and some of the rest."""
    content, path, expected = original.read_bytes(), tmp_path / "flipped.h5", read_vectors(original)
    places = sorted(set(range(96)) | set(np.linspace(96, len(content) - 1, 220).astype(int).tolist()))
    noticed = 0
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= mask
        path.write_bytes(damaged)
        noticed += refused(path, expected)
    assert noticed > len(places) / 2


def test_flipped_bytes_of_attributes(original: Path, tmp_path: Path) -> None:
    """Attributes are no part of the content digest, so they must be where HDF5 itself keeps a checksum."""
    content, path, expected = original.read_bytes(), tmp_path / "flipped.h5", read_vectors(original)
    assert b"GCOL" not in content  # no global heap: it has no checksum
    for word in (b"smoke", SEED.encode(), b"smoothl1lossgrad", expected.digest.encode()):
        start = content.index(word)
        for place in range(start - 8, start + len(word)):
            damaged = bytearray(content)
            damaged[place] ^= 1 << place % 8
            path.write_bytes(damaged)
            assert refused(path, expected), (word, place)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_byte_flipped(original: Path, tmp_path: Path) -> None:
    content, path, expected = original.read_bytes(), tmp_path / "flipped.h5", read_vectors(original)
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        refused(path, expected)


def the_other_schema(file: h5py.File) -> None:
    file.attrs["schema"] = BULK_SCHEMA if file.attrs["schema"] == SCHEMA.encode() else SCHEMA


def set_attribute(name: str, value: str) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        file.attrs[name] = value

    return edit


def without_attribute(name: str) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        del file.attrs[name]

    return edit


def change_one(name: str) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        file[name][-1] = file[name][0]

    return edit


def replace(name: str, dtype: str) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        values = file[name][...]
        del file[name]
        file[name] = values.astype(dtype)

    return edit


def remove(name: str) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        del file[name]

    return edit


def shorten(name: str) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        values = file[name][:-1]
        del file[name]
        file[name] = values

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (set_attribute("schema", "golden-vectors/2"), "has 'golden-vectors/2'; this version reads"),
        (the_other_schema, "does not match its digest"),
        (without_attribute("schema"), "has no schema"),
        (set_attribute("content_digest", "0" * 64), "does not match its digest"),
        (without_attribute("content_digest"), "damaged or not a vector file"),
        (set_attribute("spec_digest", "0" * 64), "stale"),
        (set_attribute("operator", "nlllossgrad"), "stale"),
        (set_attribute("operator", "softmaxgrad"), "does not know"),
        (set_attribute("dtype", "fp64"), "does not know"),
        (set_attribute("dtype", "fp32"), "another type"),
        (change_one("golden"), "does not match its digest"),
        (change_one("residual"), "does not match its digest"),
        (change_one("operands/dy"), "does not match its digest"),
        (change_one("cases"), "does not match its digest"),
        (replace("golden", "<f4"), "another type"),
        (replace("residual", "<f8"), "another type"),
        (replace("operands/x1", "<i2"), "another type"),
        (shorten("golden"), "does not match its digest"),
        (shorten("cases"), "does not match its digest"),
        (remove("operands/x2"), "damaged or not a vector file"),
        (remove("cases"), "damaged or not a vector file"),
    ],
)
def test_edited_files(edit: Callable[[h5py.File], None], message: str, copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        edit(file)
    with pytest.raises(VectorError, match=message) as raised:
        digests(read_vectors(copy))
    assert str(copy) in str(raised.value) and "enerate" in str(raised.value)
    assert raised.value.exit_code == 4


def test_a_stale_specification(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator's description has changed since the file was written."""
    read_vectors(copy)
    monkeypatch.setattr(type(SMOOTH), "formula", "something else")
    with pytest.raises(VectorError, match="stale"):
        read_vectors(copy)


@pytest.mark.parametrize("content", [b"", b"not a vector file\n", b"\x89HDF\r\n\x1a\n", bytes(4096)])
def test_files_of_another_kind(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.h5"
    path.write_bytes(content)
    with pytest.raises(VectorError, match=r"other\.h5 is damaged or not a vector file"):
        read_vectors(path)


def test_an_hdf5_file_of_someone_else(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.arange(10)
    with pytest.raises(VectorError, match="no schema"):
        read_vectors(tmp_path / "other.h5")


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.h5", tmp_path):
        with pytest.raises(UsageError, match="There is no vector file") as raised:
            read_vectors(path)
        assert str(path) in str(raised.value) and raised.value.exit_code == 2


# Bulk files


def row_of(file: h5py.File, position: int) -> np.void:
    return file["cases"][position]  # type: ignore[no-any-return]


@pytest.fixture
def bulk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("golden.vectorfile.HELD", 4096)
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
    monkeypatch.setattr("golden.vectorfile.HELD", 1 << 20)
    monkeypatch.setattr("golden.growing.RESERVED", 1 << 20)  # so that some of it is written before there is no more
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
    monkeypatch.setattr("golden.growing.RESERVED", 1 << 10)
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
import golden.vectorfile
from generators.smoothl1lossgrad import CLASSES, FP16, OPERATOR, _case
from golden.formats import FP32
golden.vectorfile.HELD = 4 << 20
def cases():
    for beta in range(1, 17):
        yield from _case(FP32, "uniform-bits", beta, 1 << 18, CLASSES["uniform-bits"])
path = Path(sys.argv[1])
for case in _case(FP32, "uniform-bits", 0.5, 40, CLASSES["uniform-bits"]):
    golden.vectorfile.write_vectors(path, "s", OPERATOR, "fp32", [case], "s")  # everything is imported now
words = Path("/proc/self/status").read_text().split()
now = int(words[words.index("VmData:") + 1]) << 10
resource.setrlimit(resource.RLIMIT_DATA, (now + (36 << 20), -1))
golden.vectorfile.write_vectors(path, "s", OPERATOR, "fp32", cases(), "s")
read = golden.vectorfile.read_vectors(path)
assert sum(case.golden.value.size for case in read.cases) == 16 << 18 == sum(head.size for head in read.heads)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts all private memory on Linux only")
def test_memory_is_bounded_by_the_largest_case(tmp_path: Path) -> None:
    command = [sys.executable, "-c", BOUNDED, tmp_path / "large.h5"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# Suites


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suite")
    generate("smoke", folder)
    return folder


@pytest.fixture
def edited(suite: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(suite, tmp_path / "suite"))


def test_a_whole_suite(suite: Path) -> None:
    files = read_suite(suite)
    assert [(f.operator.name, f.dtype) for f in files] == sorted(KINDS)
    manifest = msgspec.json.decode((suite / NAME).read_bytes(), type=Manifest)
    assert {n: f.cases for n, f in manifest.files.items()} == {f.path.name: len(f.cases) for f in files}


def test_consistent_edits_are_found_by_the_manifest(edited: Path) -> None:
    """Golden data changed and every digest in the file made anew: only the manifest knows."""
    path = edited / "smoothl1lossgrad-fp16.h5"
    cases = list(read_vectors(path).cases)
    value = cases[3].golden.value.copy()
    value[0] = 1.5
    cases[3] = dataclasses.replace(cases[3], golden=cases[3].golden._replace(value=value))
    write_vectors(path, "smoke", SMOOTH, "fp16", cases, SEED)
    read_vectors(path)
    with pytest.raises(VectorError, match="not the file that its manifest names"):
        read_suite(edited)


def test_a_file_that_the_manifest_names_is_missing(edited: Path) -> None:
    (edited / "nlllossgrad-fp32.h5").unlink()
    with pytest.raises(VectorError, match=r"lacks nlllossgrad-fp32\.h5"):
        read_suite(edited)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"schema": "golden-manifest/1"}',
        b'{"schema": "x", "suite": "s", "files": {}}',
    ],
)
def test_a_damaged_manifest(edited: Path, content: bytes) -> None:
    (edited / NAME).write_bytes(content)
    with pytest.raises(VectorError, match=r"manifest\.json"):
        read_suite(edited)


def test_an_empty_manifest_is_no_suite(edited: Path) -> None:
    write_manifest(edited, "smoke", {})
    with pytest.raises(VectorError, match="no files"):
        read_suite(edited)


def test_no_manifest(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(UsageError, match=r"no manifest\.json"):
            read_suite(folder)


# Writing


def test_a_part_of_a_suite_gets_no_manifest(tmp_path: Path) -> None:
    generate("smoke", tmp_path, ["nlllossgrad"], ["fp16"])
    assert [p.name for p in tmp_path.iterdir()] == ["nlllossgrad-fp16.h5"]


def test_an_unwritable_folder_is_named_and_left_alone(tmp_path: Path) -> None:
    """Permissions stop nobody who is root; a regular file in the path stops everyone."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(UsageError, match="Cannot write") as raised:
        generate_file("smoke", "nlllossgrad", "fp16", blocked / "deeper")
    assert str(blocked) in str(raised.value) and "--out" in str(raised.value)
    with pytest.raises(UsageError, match="Cannot write"):
        write_vectors(blocked / "a.h5", "smoke", SMOOTH, "fp16", small_cases(), SEED)
    assert [p.name for p in tmp_path.iterdir()] == ["file"] and blocked.read_text() == "in the way"


def test_a_destination_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.h5").mkdir()
    with pytest.raises(UsageError, match="Cannot write"):
        write_vectors(tmp_path / "a.h5", "smoke", SMOOTH, "fp16", small_cases(), SEED)
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize("held", [64 << 20, 1 << 14])
def test_any_number_of_jobs_writes_the_same_files(held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("golden.vectorfile.HELD", held)
    files = []
    for jobs in (1, 2, 3):
        written = generate("smoke", tmp_path / str(jobs), jobs=jobs)
        sizes = [sum(head.size for head in file.heads) for file in read_suite(tmp_path / str(jobs))]
        assert sorted(w.elements for w in written) == sorted(sizes) and all(w.rate > 0 for w in written)
        files.append({path.name: path.read_bytes() for path in (tmp_path / str(jobs)).iterdir()})
    assert files[0] == files[1] == files[2] and len(files[0]) == 5


def test_two_cases_of_one_id_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [*small_cases(), small_cases()[0]]
    monkeypatch.setattr(suites, "generator", lambda name: lambda suite, fmt: iter(cases))
    with pytest.raises(ValueError, match="two cases"):
        generate_file("smoke", "smoothl1lossgrad", "fp16", tmp_path)
    assert list(tmp_path.iterdir()) == []
