"""Rows that are alike: numbered as comparing each with each would, whatever their hashes."""

import numpy as np
import pytest

from golden import distinct as module
from golden.distinct import distinct
from golden.formats import Array


def numbered(columns: list[Array]) -> list[int]:
    """Return of every row where its like stands first."""
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    return [rows.index(row) for row in rows]


@pytest.mark.parametrize("factor", [int(module._FACTOR), 0], ids=["hashed", "all hashes alike"])
@pytest.mark.parametrize("types", [("u1",), ("u2", "u8"), ("u4", "u1", "u8", "u2")])
def test_rows_are_told_apart(factor: int, types: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FACTOR", np.uint64(factor))
    rng = np.random.default_rng(len(types))
    for size in (0, 1, 2, 300):
        columns = [rng.integers(0, 3, size).astype(t) * np.array(np.iinfo(t).max // 2, t) for t in types]
        first, which = distinct(columns)
        assert first[which].tolist() == numbered(columns)


def test_a_column_alone_makes_a_difference() -> None:
    same = np.zeros(64, np.uint64)
    for column in range(3):
        columns = [same, same, same]
        columns[column] = np.uint64(1) << np.arange(64, dtype=np.uint64)
        assert distinct(columns)[0].size == 64
