"""The sampler: known answers of its generator, and the same bits from C and NumPy, however the samples are cut."""

import os
from pathlib import Path

import numpy as np
import pytest

from golden.formats import Array
from runners.sweeping import samples
from runners.sweeping.samples import Exponents, sample
from runners.sweeping.space import make_space
from runners.toolchain import compiled
from tests.helpers.judged import NEEDS_C

#: (counter, key, words) of Philox4x32-7, from the known answers that its authors publish with Random123.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x5207DDC2, 0x45165E59, 0x4D8EE751, 0x8C52F662)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0x4DFCCABA, 0x190A87F0, 0xC47362BA, 0xB6B5242A),
    ),
]
#: Number and value of words of xoshiro128++ from the state (1, 2, 3, 4) on: by hand; then as in PHP's test of its own.
STREAM = [(0, 641), (1, 1573767), (102400, 0x2C873CFA)]


def words(
    n: int, block: int, operand: int, exponents: Exponents | None = None, seed: int = 7, in_c: bool = True
) -> Array:
    """Return sampled words."""
    found = np.empty(n, np.float32)
    sample(found, seed, block, operand, exponents, compiled=in_c)
    return found.view(np.uint32)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers(
    counter: tuple[int, int, int, int], key: tuple[int, int], expected: tuple[int, int, int, int]
) -> None:
    first = np.array([counter[0], 5], np.uint64)
    assert tuple(int(word[0]) for word in samples.philox((first, *counter[1:]), key)) == expected


def test_known_words_of_a_stream() -> None:
    state = np.array([[1, 5], [2, 6], [3, 7], [4, 8]], np.uint32)
    made = [int(samples.xoshiro(state)[0]) for _ in range(STREAM[-1][0] + 1)]
    assert [(n, made[n]) for n, _ in STREAM] == STREAM


@pytest.mark.parametrize("in_c", [pytest.param(True, marks=NEEDS_C), False], ids=["c", "numpy"])
def test_a_word_is_the_one_of_its_number_in_its_stream(in_c: bool) -> None:
    n, seed, block, operand = 256 * 40 + 3, 2**64 - 5, 2**40 + 3, 2
    got = words(n, block, operand, seed=seed, in_c=in_c)
    for j in (0, 1, 2, 15, 16, 17, 254, 255):
        counter = (np.array([j], np.uint64), block & 0xFFFFFFFF, block >> 32, operand)
        state = np.array(samples.philox(counter, (seed & 0xFFFFFFFF, seed >> 32))).astype(np.uint32)
        stream = got[j::256]
        assert [int(word) for word in stream] == [int(samples.xoshiro(state)[0]) for _ in stream]


@NEEDS_C
@pytest.mark.parametrize("exponents", [None, Exponents(67, 120), Exponents(1, 254)])
@pytest.mark.parametrize("n", [0, 1, 255, 256, 257, 4096, 4099])
def test_c_and_numpy_sample_the_same(n: int, exponents: Exponents | None) -> None:
    for seed, block, operand in ((0, 0, 0), (2**64 - 1, 2**64 - 1, 2**32 - 1), (2**63 - 1, 5, 1)):
        mine = words(n, block, operand, exponents, seed)
        assert (mine == words(n, block, operand, exponents, seed, in_c=False)).all()
        assert (mine == words(n + 77, block, operand, exponents, seed)[:n]).all()


@NEEDS_C
@pytest.mark.parametrize("flags", [("-march=x86-64",), ("-march=x86-64-v3",), ()], ids=["sse2", "avx2", "default"])
def test_portable_builds_sample_the_same(
    flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if flags and os.uname().machine != "x86_64":
        pytest.skip("an x86-64 flag")
    if "-v3" in "".join(flags) and b" avx2 " not in compiled.processor():
        pytest.skip("needs a processor with AVX2")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(samples, "VECTORS", (flags,))
    portable = samples.load.__wrapped__()
    assert portable is not None
    for exponents in (Exponents(0, 0), Exponents(67, 120)):
        found = np.empty(256 * 18, np.uint32)
        portable(found, 9, 8, 7, exponents)
        assert (found == words(found.size, 8, 7, exponents if exponents.number else None, 9, in_c=False)).all()


def test_without_a_compiler_numpy_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compiled.DISABLE, "1")
    assert samples.load.__wrapped__() is None


def test_seed_block_and_operand_each_give_other_words() -> None:
    made = [words(1 << 12, b, o, seed=s) for s in (0, 1, 2**32) for b in (0, 1, 2**32) for o in (0, 1, 2)]
    for k, one in enumerate(made):
        for other in made[:k]:
            assert np.count_nonzero(one == other) < 4  # chance: 2**-20 for one
        bits = np.unpackbits(one.view(np.uint8))
        assert abs(float(bits.mean()) - 0.5) < 6 * 0.5 / bits.size**0.5  # six standard deviations


@pytest.mark.parametrize("beta", [2.0**-140, 2.0**-120, 0.1, 1.0, 2.0**125])
def test_sampled_fp32_numbers_have_the_exponents_that_are_promised(beta: float) -> None:
    space = make_space("random", "smoothl1lossgrad", "fp32", beta=beta, samples=1 << 16)
    found = space.operands(0)
    size = np.abs(found["dy"].astype(np.float64))
    assert 2.0**-60 <= size.min() < 2.0**-58 and 2.0**58 < size.max() < 2.0**60
    for name in ("x1", "x2"):
        size = np.abs(found[name].astype(np.float64))
        assert beta <= 2.0**-114 or size.min() >= beta * 2.0**-13
        assert size.max() <= min(2.0**127, max(beta * 2.0**3, 2.0**-126))
        assert len(np.unique(np.frexp(size)[1])) > 3


def test_a_sampled_total_is_never_zero() -> None:
    space = make_space("random", "nlllossgrad", "fp16", reduction="mean", samples=1 << 40, block=1)
    blocks = range(56200, 57200)
    sampled = np.empty((len(blocks), 1), np.float16)
    for row, block in zip(sampled, blocks, strict=True):
        sample(row, 0, block, 2)
    assert np.count_nonzero(sampled == 0) == 2
    assert all(np.all(space.operands(block)["total_weight"] != 0) for block in blocks)
