"""Drawn bytes: what outputs hold before a call, and what lies beside operands. Recognising a test by them fails."""

import random

import numpy as np

#: Bytes of drawn patterns; longer ones repeat it.
_BLOCK = 1 << 16
#: And are kept as often repeated as that.
_LONG = 1 << 21


class Patterns:
    """Drawn bytes: what outputs hold before a call, and what lies beside operands.

    Outputs hold numbers, normal and of any size: neither zero, which is what most results are, nor NaN, which would
    pass where the result has to be NaN; and no two alike, so that a kernel cannot tell them from what a program
    leaves there. The second fill is the complement of the first: no byte is the same under both.
    """

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self._seed = seed
        generator = np.random.Generator(np.random.Philox(self.random.getrandbits(128)))
        self._beside = generator.integers(1, 256, _BLOCK, np.uint8).tobytes()
        self._places: dict[int, int] = {}
        self._fills: dict[int, tuple[bytes, ...]] = {size: _numbers(generator, size) for size in (2, 4)}
        self._starts: dict[tuple[int, int], int] = {}

    def beside(self, slot: int, first: int, last: int) -> bytes:
        """Return bytes of what lies in a region beside the operand of an argument, another pattern for each.

        Without zeros: zero is what most overruns write.
        """
        start = self._places.get(slot)
        if start is None:
            start = self._places[slot] = self._place(f"beside {slot}", _BLOCK)
        return _repeated(self._beside, (start + first) % _BLOCK, last - first)

    def fill(self, itemsize: int, size: int, number: int) -> bytes:
        """Return a fill of an output, the third of zeros: the same for the same size, so that calls can be repeated."""
        if number == 2:
            return bytes(size)
        start = self._starts.get((itemsize, size))
        if start is None:
            start = self._place(f"fill {itemsize} {size}", _BLOCK // itemsize) * itemsize
            self._starts[itemsize, size] = start
        kind = itemsize if itemsize in self._fills else 4
        blocks = self._fills[kind]
        if len(blocks[number]) < start + size <= _LONG:  # large outputs are filled again and again
            blocks = self._fills[kind] = tuple(_repeated(block, 0, _LONG) for block in blocks)
        return _repeated(blocks[number], start, size)

    def _place(self, name: str, below: int) -> int:
        """Draw where a pattern begins; not from what was drawn before, since several processes may share a run."""
        return random.Random(f"{self._seed} {name}").randrange(below)


def _numbers(generator: np.random.Generator, itemsize: int) -> tuple[bytes, bytes]:
    bits = generator.integers(0, 1 << 8 * itemsize, _BLOCK // itemsize, f"u{itemsize}")
    mantissa, width = (10, 5) if itemsize == 2 else (23, 8)
    exponent = bits >> mantissa & (1 << width) - 1
    odd = (exponent == 0) | (exponent == (1 << width) - 1)
    bits ^= odd.astype(bits.dtype) << mantissa  # neither all zeros nor all ones, nor so in the complement
    return bits.tobytes(), (~bits).tobytes()


def _repeated(block: bytes, start: int, size: int) -> bytes:
    if start + size <= len(block):
        return block[start : start + size]
    return (block[start:] + block * (size // len(block) + 1))[:size]
