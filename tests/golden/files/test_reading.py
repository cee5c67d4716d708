"""Files that anybody may have made: read within bounds, or refused in one sentence."""

import dataclasses
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click
import h5py
import pytest

from generators.smoothl1lossgrad import CLASSES, _case
from golden.commands.options import complete_case, complete_failing
from golden.errors import GoldenError, VectorError
from golden.files.manifest import open_vectors, write_manifest
from golden.files.names import PUBLIC_SEED as SEED
from golden.files.results import read_results
from golden.files.vectors import read_vectors, write_vectors
from golden.formats import FP16
from golden.operator import operator
from runners.judging.xfail import read_xfail
from runners.library.elf import inspect_library
from tests.fuzz_files import campaign, outcome
from tests.helpers.command import golden
from tests.helpers.small_files import edited, small_cases

SMOOTH = operator("smoothl1lossgrad")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    write_vectors(tmp_path / "v.h5", "mine", SMOOTH, "fp16", small_cases(), SEED)
    return tmp_path / "v.h5"


@pytest.mark.parametrize("read", [read_results, read_xfail, inspect_library, read_vectors])
@pytest.mark.parametrize("kind", ["fifo", "zero", "folder"])
def test_what_is_no_regular_file(read: Any, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()

    def refused(found: Path) -> None:
        with pytest.raises(GoldenError):
            read(found)

    assert outcome(path, refused) == ""


def completing(path: Path) -> None:
    context = click.Context(click.Command("golden"))
    context.params = {"vectors": path, "results": path}
    assert (
        complete_case(context, click.Option(["--x"]), "") == complete_failing(context, click.Option(["--x"]), "") == []
    )


@pytest.mark.parametrize("kind", ["fifo", "zero", "deep", "suite", "sparse"])
def test_completing_reads_within_bounds(kind: str, small: Path, tmp_path: Path) -> None:
    path = tmp_path / "file"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "zero":
        path.symlink_to("/dev/zero")
    elif kind == "deep":
        path.write_text("[" * 100_000)
    elif kind == "suite":
        path.mkdir()
        (path / "manifest.json").symlink_to("/dev/zero")
    else:
        path = small
        with h5py.File(path, "r+") as file:
            dtype = file["cases"].dtype
            del file["cases"]
            file.create_dataset("cases", (1 << 27,), dtype, chunks=(1 << 10,), compression="gzip")
    assert outcome(path, completing) == ""


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("tier", b"optional", "its tier is"),
        ("id", b"\x1b[2J", "row 1 makes no sense"),
        ("flags", b"magic", "no flag 'magic'"),
        ("golden_offset", -1, "the place of golden"),
        ("golden_count", 1 << 40, "the place of golden"),
        ("length", -5, "its length is -5"),
        ("beta", -1.0, "beta is -1"),
        ("beta", 0.1, "no number of fp16"),
    ],
)
def test_rows_that_make_no_sense(column: str, value: object, words: str, small: Path) -> None:
    edited(small, column, value)
    with pytest.raises(VectorError, match=words):
        read_vectors(small)


def test_wrong_golden_data_are_found(small: Path) -> None:
    open_vectors("smoke", small, recheck=True)
    edited(small, "", None)
    for recheck in (False, True):
        with pytest.raises(VectorError, match="are not those of its operands"):
            open_vectors("smoke", small, recheck)


def test_cases_that_ship_cannot_be_others(small: Path) -> None:
    made = [dataclasses.replace(c, tier="stress") for c in small_cases()]
    write_vectors(small, "mine", SMOOTH, "fp16", made, SEED)
    with pytest.raises(VectorError, match="another tier, class or scalar"):
        open_vectors("smoke", small)


def test_a_suite_that_is_generated_here_has_the_cases_of_its_generator(small: Path) -> None:
    """Files of the suite full are nobody's but their maker's: what they must hold is listed, and not made."""
    made = [dataclasses.replace(c, id=f"{c.id}/large") for c in small_cases()]
    listed = [case.head for case in made]
    stress = dataclasses.replace(made[2], tier="stress")
    for cases, words in (
        (made, ""),
        ([*made[:2], stress, *made[3:]], f"case {stress.id} has another tier, class or scalar"),
        ([*made, dataclasses.replace(made[0], id="smoothl1lossgrad/fp16/more")], "fp16/more is none of the suite full"),
        (made[1:], f"lacks the case {made[0].id}"),
    ):
        write_vectors(small, "full", SMOOTH, "fp16", cases, SEED)
        digest = read_vectors(small).digest
        write_manifest(small.parent, "full", {small.name: (digest, len(cases))})
        for path in (small, small.parent):
            with nullcontext() if not words else pytest.raises(VectorError, match=words):
                open_vectors("full", path, heads=lambda *kind: (listed, True))
            open_vectors("full", path, heads=lambda *kind: None)


def test_validating_lists_the_cases_of_the_suite_full(small: Path) -> None:
    (case,) = _case(FP16, "kink", 0.1, 4097, CLASSES["kink"])  # too large for the suites that ship
    for tier, words in (("stress", f"case {case.id} has another tier"), ("required", "it lacks the case")):
        cases = [dataclasses.replace(case, tier=tier)]  # type: ignore[arg-type]
        write_vectors(small, "full", SMOOTH, "fp16", cases, SEED)
        done = golden("validate", "reference:formula", "--vectors", small, "--out", small.parent / "out")
        assert done.returncode == 4 and words in done.stderr, done.stderr


def test_a_declared_size_that_is_not_there(small: Path) -> None:
    with h5py.File(small, "r+") as file:
        del file["golden"]
        file.create_dataset("golden", (10 << 30,), "<f2", chunks=(1 << 16,), compression="gzip", shuffle=True)

    def refused(found: Path) -> None:
        with pytest.raises(VectorError):
            read_vectors(found)

    assert outcome(small, refused) == ""


@pytest.mark.confirm
def test_a_short_campaign(tmp_path: Path) -> None:
    assert campaign(30, 17, tmp_path, 20) == (20, [])
