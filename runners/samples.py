"""Sampled bits, a block at a time: any block of any operand from its numbers alone, on any machine.

The generator is Philox4x32-7 (J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011: seven rounds
are enough for every test of BigCrush), which makes four 32-bit words of a key of 64 bits and a counter of 128. The key
is the seed. A counter is a number that counts, the block's in two words, and the operand's. Words are in groups of 64,
of 16 counters each: word k of counter 16 * g + j is word 64 * g + 16 * k + j, so that whole vectors of counters make
whole vectors of words. Compiled (``native/samples.c``) where there is a compiler, else in NumPy, to the same bits.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from golden.formats import Array
from runners.compiled import VECTORS
from runners.compiled import load as load_compiled

_COUNTERS = 16
_GROUP = 4 * _COUNTERS
_GROUP_BYTES = 4 * _GROUP
_MULTIPLIERS, _STEPS = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 7
_LOWER = 0xFFFFFFFF
#: Groups that NumPy makes at a time: few enough for the second-level cache.
_AT_ONCE = 1 << 9


class Exponents(NamedTuple):
    """Biased exponents of fp32 numbers to choose from: ``number`` of them, at most 254, from ``low`` on."""

    low: int
    number: int


def sample(
    to: Array, seed: int, block: int, operand: int, exponents: Exponents | None = None, *, compiled: bool = True
) -> None:
    """Fill an array, fp16[n] or fp32[n], with sampled bits: the same ones, from the first on, whatever n is.

    With ``exponents``, for fp32, sign and fraction are a word's, and its exponent field e, of 8 bits, chooses exponent
    number e * number // 256. ``seed`` and ``block`` have 64 bits, ``operand`` has 32.
    """
    make = (load() if compiled else None) or _in_numpy
    content = to.view(np.uint8)
    whole = content.size // _GROUP_BYTES * _GROUP_BYTES
    make(content[:whole].view(np.uint32), 0, seed, block, operand, exponents or Exponents(0, 0))
    if whole < content.size:
        rest = np.empty(_GROUP, np.uint32)
        make(rest, whole // _GROUP_BYTES, seed, block, operand, exponents or Exponents(0, 0))
        content[whole:] = rest.view(np.uint8)[: content.size - whole]


@cache
def load() -> Callable[[Array, int, int, int, int, Exponents], None] | None:
    """Return the compiled sampler, compiling it on first use; None where that is not possible or not wanted."""
    library = load_compiled("samples", VECTORS)
    if library is None:
        return None
    function = library.golden_sample
    function.restype = None
    function.argtypes = [
        *(ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint64, ctypes.c_uint64),
        *(ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint32),
    ]

    def make(to: Array, first: int, seed: int, block: int, operand: int, exponents: Exponents) -> None:
        function(to.ctypes.data, first, to.size // _GROUP, seed, block, operand, *exponents)

    return make


def _in_numpy(to: Array, first: int, seed: int, block: int, operand: int, exponents: Exponents) -> None:
    groups = to.reshape(-1, 4, _COUNTERS)
    for start in range(0, len(groups), _AT_ONCE):
        part = groups[start : start + _AT_ONCE]
        counters = np.arange(len(part) * _COUNTERS, dtype=np.uint64) + np.uint64((first + start) * _COUNTERS)
        made = philox((counters, block & _LOWER, block >> 32, operand), (seed & _LOWER, seed >> 32))
        for k, word in enumerate(made):
            part[:, k] = word.reshape(-1, _COUNTERS)
        if exponents.number:
            chosen = (part >> np.uint32(23) & np.uint32(0xFF)) * np.uint32(exponents.number) >> np.uint32(8)
            part[:] = part & np.uint32(0x807FFFFF) | (chosen + np.uint32(exponents.low)) << np.uint32(23)


def philox(counter: tuple[Array, int, int, int], key: tuple[int, int]) -> tuple[Array, Array, Array, Array]:
    """Return the four words, uint64[n] each below 2**32, that Philox4x32-7 makes of each counter.

    ``counter``: its words, of which the first is uint64[n]. ``key``: its two words.
    """
    lower, half = np.uint64(_LOWER), np.uint64(32)
    a, b, c, d = (np.broadcast_to(np.asarray(word, np.uint64), counter[0].shape) for word in counter)
    for turn in range(_ROUNDS):
        k, m = (np.uint64(word + turn * step & _LOWER) for word, step in zip(key, _STEPS, strict=True))
        first, second = (word * np.uint64(by) for word, by in zip((a, c), _MULTIPLIERS, strict=True))
        a, b, c, d = second >> half ^ b ^ k, second & lower, first >> half ^ d ^ m, first & lower
    return a, b, c, d
