"""Vector files: what is written is read back; damage of any kind is a named error, never another result."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from generators.suite import generator, make_case
from golden.errors import UsageError, VectorError
from golden.files.names import PUBLIC_SEED as SEED
from golden.files.vectors import BULK_SCHEMA, SCHEMA, VectorFile, case_digest, read_vectors, write_vectors
from golden.formats import FORMATS, FP16
from golden.operator import operator
from tests.helpers.kinds import EVERY_KIND
from tests.helpers.small_files import digests, small_cases

SMOOTH, NLL = operator("smoothl1lossgrad"), operator("nlllossgrad")


@pytest.fixture(scope="module", params=[SCHEMA, BULK_SCHEMA])
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that is held in memory, and the same cases in one that is not."""
    path = tmp_path_factory.mktemp("vectors") / "small.h5"
    with pytest.MonkeyPatch.context() as patch:
        if request.param == BULK_SCHEMA:
            patch.setattr("golden.files.vectors.HELD", 256)
            patch.setattr("golden.files.vectors._CHUNK", 32)  # the unused end of a chunk may be damaged at will
        write_vectors(path, "smoke", SMOOTH, "fp16", small_cases(), SEED)
    with h5py.File(path) as file:
        assert file.attrs["schema"] == request.param.encode()
    return path


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(original, tmp_path / "copy.h5"))


# Round trips


@pytest.mark.parametrize(("held", "chunk"), [(64 << 20, 1 << 16), (1 << 12, 1 << 16), (1 << 14, 8)])
@EVERY_KIND
def test_every_case_is_read_back(
    name: str, dtype: str, held: int, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held in memory; in the file at once; and with parts longer than a chunk, which are written one by one."""
    monkeypatch.setattr("golden.files.vectors.HELD", held)
    monkeypatch.setattr("golden.files.vectors._CHUNK", chunk)
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


@pytest.mark.parametrize(
    ("mask", "step"), [(0x01, 4), *(pytest.param(mask, 1, marks=pytest.mark.confirm) for mask in (0x01, 0x80, 0xFF))]
)
def test_flipped_bytes(original: Path, tmp_path: Path, mask: int, step: int) -> None:
    """Some 300 places for each mask: all of the first bytes, where the structure is, and some of the rest.

    ``step``: of them, one of so many.
    """
    content, path, expected = original.read_bytes(), tmp_path / "flipped.h5", read_vectors(original)
    places = sorted(set(range(96)) | set(np.linspace(96, len(content) - 1, 220).astype(int).tolist()))
    noticed, places = 0, places[::step]
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
    file.attrs["schema"] = np.bytes_(BULK_SCHEMA if file.attrs["schema"] == SCHEMA.encode() else SCHEMA)


def set_attribute(name: str, value: str) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        file.attrs[name] = np.bytes_(value)

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
        (the_other_schema, "does not match its digest|golden does not write"),
        (without_attribute("schema"), "has no schema"),
        (set_attribute("content_digest", "0" * 64), "does not match its digest"),
        (without_attribute("content_digest"), "does not match its digest"),
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
        (shorten("golden"), "does not match its digest|longer or shorter"),
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
