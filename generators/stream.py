"""Deterministic randomness: the same numbers for the same name, on every machine and NumPy version.

NumPy guarantees the raw output of its bit generators, but not the distributions made of it; so only
``random_raw`` is used, and everything else is made here of integer operations and exact float64 operations.
"""

import copy
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from golden.files.names import PUBLIC_SEED, seed_stated
from golden.formats import Array

_SEED: ContextVar[str] = ContextVar("seed", default="")


@contextmanager
def seeded(text: str) -> Iterator[None]:
    """Have streams depend on a private seed, too; "" is the public one. Whoever keeps what they made keys it by it."""
    token = _SEED.set(text)
    try:
        yield
    finally:
        _SEED.reset(token)


def seed() -> str:
    """Return the private seed in use; "" for the public one."""
    return _SEED.get()


def seed_part() -> str:
    """Return what ids of a private seed begin with, as their data are others, such as ``seed=1a2b3c4d/``; or ""."""
    return f"seed={seed_stated(seed())[-64:][:8]}/" if seed() else ""


class Stream:
    """A random stream that belongs to one name (a case's id): adding a case leaves every other one's data alone."""

    def __init__(self, name: str) -> None:
        # A private seed itself makes the data: files and results state its digest, which must not suffice.
        key = f"{PUBLIC_SEED} {name} {seed()}" if seed() else f"{PUBLIC_SEED} {name}"
        self._key = int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little")
        self._seek(0)

    def _seek(self, position: int) -> None:
        """Go on with the word at ``position``."""
        self._position = position
        self._bits: np.random.Philox | None = None

    def ahead(self, n: int) -> "Stream":
        """Return a stream of its own over the next n words, which this one skips.

        What draws several long arrays one after the other can so make them side by side, block by block.
        """
        part = copy.copy(self)
        part._seek(self._position)
        self._seek(self._position + n)
        return part

    def words(self, n: int) -> Array:
        """Return n uniform 64-bit words (uint64)."""
        if self._bits is None:
            # Philox counts, and makes four words of each count.
            self._bits = np.random.Philox(key=self._key)
            self._bits.advance(self._position // 4)
            self._bits.random_raw(self._position % 4)
        self._position += n
        return self._bits.random_raw(n) if n else np.empty(0, np.uint64)

    def integers(self, n: int, low: int, high: int) -> Array:
        """Return n integers in [low, high), as int64; high - low must be at most 2**32."""
        return within(self.words(n), low, high)

    def unit(self, n: int) -> Array:
        """Return n numbers in [0, 1) with 53 random bits, as float64."""
        result: Array = (self.words(n) >> np.uint64(11)).astype(np.float64) * 2.0**-53
        return result

    def signs(self, n: int) -> Array:
        """Return n random signs, ±1.0."""
        return 1.0 - 2.0 * self.integers(n, 0, 2)

    def normal(self, n: int) -> Array:
        """Return n nearly normal numbers, mean 0 and variance 1, as float64.

        The sum of twelve uniform numbers (Irwin-Hall): exact in integers, so it needs no logarithm whose
        last bit could depend on the machine. It ends at ±6.
        """
        pieces = self.words(3 * n).view("<u2").reshape(n, 12).astype(np.int64).sum(axis=1)
        result: Array = (2 * pieces - 12 * 65535) * 2.0**-17
        return result

    def choice(self, n: int, values: Sequence[float] | Array) -> Array:
        """Return n entries of ``values``, with replacement."""
        table = np.asarray(values)
        result: Array = table[self.integers(n, 0, len(table))]
        return result

    def permutation(self, n: int) -> Array:
        """Return a permutation of range(n), as int64."""
        words = self.words(n)
        order = np.argsort(words)  # the fastest there is; only a stable one is the same everywhere if words are equal
        ascending = words[order]
        return np.argsort(words, kind="stable") if (ascending[1:] == ascending[:-1]).any() else order


def within(words: Array, low: int, high: int) -> Array:
    """Turn random words, in place, into integers as :meth:`Stream.integers` returns them."""
    size = high - low
    if size & (size - 1) == 0 and size > 1:  # the same in one step
        words >>= np.uint64(65 - size.bit_length())
    else:
        words >>= np.uint64(32)
        words *= np.uint64(size)
        words >>= np.uint64(32)
    result: Array = words.view(np.int64)
    if low:
        result += low
    return result
