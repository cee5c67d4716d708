"""The table of what sizes and scalars are there for: whole, and right about what only one row kills."""

import pytest

from golden.case import Head
from golden.files.manifest import read_suite
from tests import ROOT
from tests.mutants.purposes import SCALARS, SIZES, Row, render, row_of


@pytest.fixture(scope="module")
def heads() -> list[Head]:
    return [head for file in read_suite(ROOT / "vectors/core") for head in file.heads]


@pytest.mark.parametrize("rows", [SIZES, SCALARS], ids=["sizes", "scalars"])
def test_every_case_is_in_a_row_and_every_row_has_cases(rows: tuple[Row, ...], heads: list[Head]) -> None:
    assert {row_of(rows, head) for head in heads} == set(rows)


def test_only_what_fails_in_no_other_row_is_killed_alone(heads: list[Head]) -> None:
    def of(length: int) -> list[Head]:
        return [h for h in heads if h.klass == "length" and h.scalars.get("length") == length]

    text = render(heads, {"tails": of(3) + of(4), "tiles": of(3072), "both": of(3) + of(3072), "unlisted": []})
    rows = {line.split(" | ")[1]: line.split(" | ")[4:] for line in text.splitlines() if line.startswith("| smooth")}
    assert rows["0 to 65"] == ["2", "1", "`tails` |"]
    assert rows["3072, 6144, 5003, 10007"] == ["2", "1", "`tiles` |"]
    assert rows["32769, 65537, 262221"] == ["0", "0", " |"]
