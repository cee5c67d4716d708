"""Sampled bits, a block at a time: any block of any operand from its numbers alone, on any machine.

An operand's words are those of 256 streams side by side: word 256 * n + j is number n of stream j. A stream is a
xoshiro128++ generator (D. Blackman, S. Vigna, "Scrambled linear pseudorandom number generators", ACM TOMS 47, 2021). It
begins in the state that Philox4x32-7 (J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011)
makes of a key of 64 bits, the seed, and a counter of 128: j, the block's number in two words, and the operand's.

Philox makes another state of every counter, so no two streams of a seed begin alike. 2**48 points of three operands are
3 * 2**36 streams of 2**12 words: that any two overlap has a probability below 2**(2 * 38 + 12 - 128) = 2**-40, that one
begins in the state of zeros, which it would not leave, one below 2**-90. Compiled (``c/samples.c``) where there is
a compiler, else in NumPy, to the same bits.
"""

import ctypes
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from golden.formats import Array
from runners.toolchain.compiled import VECTORS
from runners.toolchain.compiled import load as load_compiled

#: Streams, which is also how many words a group has.
_STREAMS = 256
_MULTIPLIERS, _STEPS = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 7
_LOWER = 0xFFFFFFFF


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
    groups = -(-content.size // (4 * _STREAMS))
    whole = content.size == 4 * _STREAMS * groups
    words = content.view(np.uint32) if whole else np.empty(_STREAMS * groups, np.uint32)
    make(words, seed, block, operand, exponents or Exponents(0, 0))
    if not whole:
        content[:] = words.view(np.uint8)[: content.size]


@cache
def load() -> Callable[[Array, int, int, int, Exponents], None] | None:
    """Return the compiled sampler, compiling it on first use; None where that is not possible or not wanted."""
    library = load_compiled(Path(__file__).with_name("c") / "samples.c", VECTORS)
    if library is None:
        return None
    function = library.golden_sample
    function.restype = None
    function.argtypes = [
        *(ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint64, ctypes.c_uint64),
        *(ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint32),
    ]

    def make(to: Array, seed: int, block: int, operand: int, exponents: Exponents) -> None:
        function(to.ctypes.data, to.size // _STREAMS, seed, block, operand, *exponents)

    return make


def _in_numpy(to: Array, seed: int, block: int, operand: int, exponents: Exponents) -> None:
    counters = np.arange(_STREAMS, dtype=np.uint64)
    begin = philox((counters, block & _LOWER, block >> 32, operand), (seed & _LOWER, seed >> 32))
    state = np.array(begin).astype(np.uint32)
    for group in to.reshape(-1, _STREAMS):
        group[:] = xoshiro(state)
    if exponents.number:
        chosen = (to >> np.uint32(23) & np.uint32(0xFF)) * np.uint32(exponents.number) >> np.uint32(8)
        to[:] = to & np.uint32(0x807FFFFF) | (chosen + np.uint32(exponents.low)) << np.uint32(23)


def xoshiro(state: Array) -> Array:
    """Return the next word, uint32[n], of each of n xoshiro128++ generators, and move their state, uint32[4, n], on."""
    a, b, c, d = state
    word: Array = _rotated(a + d, 7) + a
    shifted = b << np.uint32(9)
    c ^= a
    d ^= b
    b ^= c
    a ^= d
    c ^= shifted
    d[:] = _rotated(d, 11)
    return word


def _rotated(words: Array, by: int) -> Array:
    rotated: Array = words << np.uint32(by) | words >> np.uint32(32 - by)
    return rotated


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
