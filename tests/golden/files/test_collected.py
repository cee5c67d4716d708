"""Several vector files of one operator and dtype: their cases together, each once, and a choice of them."""

from pathlib import Path

import pytest

from golden.case import Case
from golden.errors import VectorError
from golden.files.collected import collect
from golden.files.manifest import digests_of, open_all
from golden.files.vectors import VectorFile, read_vectors, write_vectors
from tests.helpers.validating import SMOKE, SMOOTH, case_with


def file(path: Path, *cases: Case) -> VectorFile:
    write_vectors(path, "made", SMOOTH, "fp32", cases, "seed")
    return read_vectors(path)


def test_cases_of_one_kind_are_taken_together_and_each_once(tmp_path: Path) -> None:
    one = file(tmp_path / "a.h5", case_with(3, 1.0), case_with(4, 2.0))
    other = file(tmp_path / "b.h5", case_with(4, 2.0), case_with(5, 3.0))
    found = collect([one, other])[SMOOTH.name, "fp32"]
    assert [case.size for case in found.cases] == [3, 4, 5] == [head.size for head in found.every]
    assert [case.head for case in found.cases] == list(found.heads)
    some = found.only(lambda head: head.size > 3)
    assert [case.size for case in some.cases[:1]] == [4] and len(some.cases) == len(some.heads) == 2
    assert [head.size for head in some.every] == [3, 4, 5]


def test_different_cases_of_one_id_are_an_error_that_names_both_files(tmp_path: Path) -> None:
    one, other = file(tmp_path / "a.h5", case_with(3, 1.0)), file(tmp_path / "b.h5", case_with(3, 2.0))
    with pytest.raises(VectorError, match=r"a\.h5 and .*b\.h5 have different cases of the id smoothl1.*/n=3: leave"):
        collect([one, other])


def test_kinds_are_apart_and_a_file_is_read_once() -> None:
    paths = [SMOKE / f"smoothl1lossgrad-{dtype}.h5" for dtype in ("fp16", "fp32")]
    files = open_all("core", [*paths, SMOKE])
    assert len(files) == 4 and len(collect(files)) == 4
    assert sorted(digests_of(files)) == sorted(f.path.name for f in files)


def test_files_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
    files = [file(tmp_path / "x/a.h5", case_with(3, 1.0)), file(tmp_path / "y/a.h5", case_with(4, 1.0))]
    assert [*digests_of(files)] == [str(f.path) for f in files]
