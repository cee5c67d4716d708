"""Suites: folders of vector files with a manifest that names each, and how they are written."""

import dataclasses
import shutil
import time
from pathlib import Path

import msgspec
import pytest

from generators import suite as suites
from generators.suite import generate, generate_file, heads
from golden.errors import UsageError, VectorError
from golden.files.manifest import NAME, Manifest, read_suite, suite_folder, write_manifest
from golden.files.names import PUBLIC_SEED as SEED
from golden.files.vectors import read_vectors, write_vectors
from golden.operator import Operator, operator
from golden.rounding import Golden
from tests.helpers.kinds import EVERY_KIND, KINDS
from tests.helpers.small_files import small_cases

SMOOTH, NLL = operator("smoothl1lossgrad"), operator("nlllossgrad")


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


@EVERY_KIND
def test_heads_are_listed_without_making_data(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def oracle(self: Operator, *_: object) -> Golden:
        raise AssertionError

    shipped = {s: read_vectors(suite_folder(s) / f"{name}-{dtype}.h5").heads for s in ("smoke", "core")}
    monkeypatch.setattr(type(operator(name)), "oracle", oracle)
    for suite, found in shipped.items():
        assert heads(suite, name, dtype) == (list(found), True)
    started = time.process_time()
    full, _ = heads("full", name, dtype) or ([], False)
    assert time.process_time() - started < 5  # half a second, where nothing else runs
    assert full
    assert max(head.size for head in full) >= 1 << 20 or name not in (SMOOTH.name, NLL.name)
    assert {head.id for head in shipped["core"]} <= {head.id for head in full}
    assert heads("another", name, dtype) is None and heads("full", "another", dtype) is None


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


@pytest.mark.confirm
@pytest.mark.parametrize("held", [64 << 20, 1 << 14])
def test_any_number_of_jobs_writes_the_same_files(held: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("golden.files.vectors.HELD", held)
    files = []
    for jobs in (1, 2, 3):
        written = generate("smoke", tmp_path / str(jobs), jobs=jobs)
        sizes = [sum(head.size for head in file.heads) for file in read_suite(tmp_path / str(jobs))]
        assert sorted(w.elements for w in written) == sorted(sizes) and all(w.rate > 0 for w in written)
        files.append({path.name: path.read_bytes() for path in (tmp_path / str(jobs)).iterdir()})
    assert files[0] == files[1] == files[2] and len(files[0]) == len(KINDS) + 1


def test_two_cases_of_one_id_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [*small_cases(), small_cases()[0]]
    monkeypatch.setattr(suites, "generator", lambda name: lambda suite, fmt: iter(cases))
    with pytest.raises(ValueError, match="two cases"):
        generate_file("smoke", "smoothl1lossgrad", "fp16", tmp_path)
    assert list(tmp_path.iterdir()) == []
