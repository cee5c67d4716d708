"""Drawn bytes: the same for the same draw whatever was asked for before, and unlike under either fill."""

import numpy as np
import pytest

from runners.library.patterns import Patterns


def test_what_was_asked_for_before_changes_nothing() -> None:
    one, other = Patterns("draw"), Patterns("draw")
    other.fill(2, 400, 1), other.fill(4, 3 << 20, 0), other.beside(3, 0, 50)
    assert one.fill(4, 400, 0) == other.fill(4, 400, 0)
    assert one.beside(1, 7, 90) == other.beside(1, 7, 90)
    assert one.fill(4, 400, 0) != Patterns("another").fill(4, 400, 0)


@pytest.mark.parametrize("size", [4, 1 << 12, 1 << 17, 3 << 20])
@pytest.mark.parametrize("itemsize", [2, 4])
def test_no_byte_is_the_same_under_both_fills(itemsize: int, size: int) -> None:
    patterns = Patterns("draw")
    one, other = (np.frombuffer(patterns.fill(itemsize, size, number), np.uint8) for number in (0, 1))
    assert one.size == size and (one ^ other == 0xFF).all()
    numbers = one.view(np.float16 if itemsize == 2 else np.float32)
    assert np.isfinite(numbers).all() and (numbers != 0).all()
