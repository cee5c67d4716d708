"""What cases are drawn from: the same numbers on every machine, by whatever steps they are made."""

import ast
import decimal
import math
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators import hard, samplers, smoothl1lossgrad
from generators.realistic import exponential
from generators.stream import Stream
from golden.formats import FORMATS, FP32, Array, Format
from golden.operator import operator
from golden.slices import SLICE
from tests import ROOT

BOTH = pytest.mark.parametrize("fmt", FORMATS.values(), ids=list(FORMATS))

# Long arrays, made in blocks: the same numbers


@BOTH
@pytest.mark.parametrize("n", [0, 1, SLICE - 1, SLICE, 2 * SLICE + 77])
def test_samplers_draw_one_long_array_after_the_other(fmt: Format, n: int) -> None:
    """Blocks of several arrays are made side by side; the definition draws each array as a whole."""
    made, drawn = Stream("long"), Stream("long")
    for part in (made, drawn):
        part.words(3)
    found = [samplers.log_uniform(made, fmt, n, -30, 12), samplers.log_uniform(made, fmt, n, -3, 4, signed=False)]
    found.append(samplers.uniform_bits(made, fmt, n))
    expected = []
    for low, high, signed in ((-30, 12, True), (-3, 4, False)):
        significand = 1 + drawn.integers(n, 0, 1 << (fmt.precision - 1)) * 2.0 ** (1 - fmt.precision)
        magnitude = np.ldexp(significand, drawn.integers(n, low, high))
        expected.append(fmt.cast(magnitude * drawn.signs(n) if signed else magnitude))
    bits = drawn.integers(n, 0, fmt.exponent_mask).astype(fmt.bits_dtype)
    expected.append(fmt.from_bits(bits | (drawn.integers(n, 0, 2) << (fmt.width - 1)).astype(fmt.bits_dtype)))
    assert [v.tobytes() for v in found] == [v.tobytes() for v in expected]
    assert made.words(1) == drawn.words(1)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 13)), max_size=8))
def test_a_part_ahead_is_what_is_skipped(steps: list[tuple[bool, int]]) -> None:
    stream, whole, position = Stream("ahead"), Stream("ahead").words(200), 0
    for ahead, n in steps:
        source = stream.ahead(n) if ahead else stream
        assert np.array_equal(source.words(n), whole[position : position + n])
        position += n


@BOTH
def test_the_oracle_judges_in_blocks(fmt: Format) -> None:
    n = 2 * SLICE + 1003
    triples = smoothl1lossgrad.uniform_bits(Stream("blocks"), fmt, 0.1, n)._asdict()
    whole = operator("smoothl1lossgrad").oracle(fmt, {"length": n, "beta": fmt.typed(0.1)}, triples)
    for start in range(0, n, 5000):
        part = {name: values[start : start + 5000] for name, values in triples.items()}
        golden = operator("smoothl1lossgrad").oracle(fmt, {"length": len(part["dy"]), "beta": fmt.typed(0.1)}, part)
        for one, other in zip(golden, whole, strict=True):
            assert one.tobytes() == other[start : start + 5000].tobytes()


def one_by_one(stream: Stream, fmt: Format, s: float, b: Array) -> list[float]:
    """What near_midpoint_partners does, for one entry after the other and with Python's integers."""
    p, odd, turns, found = fmt.precision, hard.odd_part(s), {}, []
    significands = [int(abs(v) / 2.0 ** (np.frexp(v)[1] - p)) for v in b.astype(np.float64).tolist()]
    for g, pick in zip(significands, stream.integers(len(b), 0, 1 << 30).tolist(), strict=True):
        d = None
        while d is None:
            turns[g] = turns.get(g, pick & 1) + 1
            r = turns[g] // 2 * (1 if turns[g] & 1 else -1)
            for t in (p - odd.bit_length(), p - odd.bit_length() - 1):
                modulus, scaled = odd << max(t, 0), g << max(-t, 0)
                first = pow(scaled, -1, modulus) * r % modulus if modulus > 1 else 0
                choices = range(first + -(-((1 << (p - 1)) - first) // modulus) * modulus, 1 << p, modulus)
                if not (r and choices):
                    continue
                chosen = choices[(pick >> 1) % len(choices)]
                if (m := (chosen * scaled - r) // modulus) & 1 and m >> p == 1:
                    d = chosen
                    break
        found.append(d * 2.0 ** (1 - p))
    return found


@BOTH
@pytest.mark.parametrize("s", [0.1, 0.7, 1.0, 10.0, 64.0, -10.5])
@pytest.mark.parametrize("one_gradient", [False, True])
def test_partners_are_found_as_one_by_one(fmt: Format, s: float, one_gradient: bool) -> None:
    s, n = fmt.typed(s), 300
    b = hard.odd_significands(Stream("partners"), fmt, s, n) * fmt.dtype.type(-0.25)
    b = np.resize(b[:1], n) if one_gradient else b
    found = hard.near_midpoint_partners(Stream("b"), fmt, s, b)
    assert found.tolist() == one_by_one(Stream("b"), fmt, s, b)
    distances = []  # from the midpoint, in halves of an ulp
    for one, other in zip(found.tolist(), b.tolist(), strict=True):
        y = abs(Fraction(one) * Fraction(other) / Fraction(s))
        halves = y / Fraction(2) ** (math.floor(math.log2(y)) - fmt.precision)
        distances.append(abs(halves - (halves // 2 * 2 + 1)))
    assert min(distances) > 0
    if fmt is FP32 or not one_gradient:  # 300 partners of one gradient are many for fp16
        assert np.median(np.array(distances, float)) < 0.01


@given(st.integers(1, (1 << 25) - 1), st.lists(st.integers(1, (1 << 25) - 1), min_size=1, max_size=50))
def test_inverses(modulus: int, values: list[int]) -> None:
    prime = [v for v in values if math.gcd(v, modulus) == 1] or [1]
    found = hard.inverse(np.array(prime, np.int64), modulus).tolist()
    assert found == [pow(v, -1, modulus) if modulus > 1 else 0 for v in prime]


# Randomness and arithmetic that are the same everywhere


def test_streams_are_the_names_own() -> None:
    first, second = Stream("a"), Stream("b")
    apart = [first.words(3).tolist(), second.words(2).tolist(), first.words(1).tolist()]
    assert apart[0] + apart[2] == Stream("a").words(4).tolist() and apart[1] == Stream("b").words(2).tolist()
    assert apart[0] != apart[1] and Stream("a").words(0).size == 0
    # Written down: a change here changes every random vector.
    assert Stream("a").words(2).tolist() == [3831272076040529992, 14958813474776669741]


@pytest.mark.parametrize("low", [-3, 0, 1000])
@pytest.mark.parametrize("size", [1, 2, 3, 1 << 10, 1 << 23, (1 << 23) + 1, 1 << 31, (1 << 32) - 1, 1 << 32])
def test_integers_are_the_words_scaled(low: int, size: int) -> None:
    words = Stream("integers").words(500).tolist()
    expected = [low + ((word >> 32) * size >> 32) for word in words]
    assert Stream("integers").integers(500, low, low + size).tolist() == expected


def test_permutations_of_equal_words_are_stable(monkeypatch: pytest.MonkeyPatch) -> None:
    words = Stream("equal").words(1000)
    assert np.array_equal(Stream("equal").permutation(1000), np.argsort(words, kind="stable"))
    monkeypatch.setattr(Stream, "words", lambda self, n: words[:n] & np.uint64(7))
    assert np.array_equal(Stream("equal").permutation(1000), np.argsort(words & np.uint64(7), kind="stable"))


@pytest.mark.parametrize("odd", [1, 3, 9, 49, 625, 819, 4093 * 4091, 3355443, 13421773, (1 << 24) - 1])
def test_prime_factors(odd: int) -> None:
    factors = hard.prime_factors(odd)
    assert all(all(f % k for k in range(2, math.isqrt(f) + 1)) for f in factors) and len(set(factors)) == len(factors)
    rest = odd
    for factor in factors:
        assert rest % factor == 0
        while rest % factor == 0:
            rest //= factor
    assert rest == 1


def test_distributions_are_made_of_exact_steps() -> None:
    n, stream = 100_000, Stream("distributions")
    normal = stream.normal(n)
    words = Stream("distributions").words(3 * n)
    pieces = sum(((words >> np.uint64(16 * k)) & np.uint64(0xFFFF)).astype(np.int64) for k in range(4))
    expected = (2 * pieces.reshape(n, 3).sum(axis=1) - 12 * 65535) / 2**17
    assert np.array_equal(normal, expected) and np.abs(normal).max() <= 6
    assert abs(normal.mean()) < 0.015 and abs(normal.var() - 1) < 0.015
    assert 0.66 < np.mean(np.abs(normal) < 1) < 0.70
    unit = stream.unit(n)
    assert unit.min() >= 0 and unit.max() < 1 and abs(unit.mean() - 0.5) < 0.005
    assert np.array_equal(unit * 2.0**53, np.floor(unit * 2.0**53))
    assert set(stream.integers(1000, -3, 4).tolist()) == set(range(-3, 4))
    assert stream.integers(1000, 0, 1 << 32).max() > 1 << 31 and set(stream.signs(99).tolist()) == {1.0, -1.0}
    assert sorted(stream.permutation(500).tolist()) == list(range(500))
    assert set(stream.choice(200, [2.0, 5.0]).tolist()) == {2.0, 5.0}


def test_the_exponential_is_accurate() -> None:
    x = np.linspace(-32, 32, 2001)
    with decimal.localcontext(prec=40):
        exact = [decimal.Decimal(v).exp() for v in x.tolist()]
        ratio = [float(decimal.Decimal(v) / e - 1) for v, e in zip(exponential(x).tolist(), exact, strict=True)]
    assert np.abs(ratio).max() < 2e-13


#: Results of these may differ between machines and NumPy versions in the last bit, or altogether.
UNSTEADY = re.compile(
    r"(exp|exp2|expm1|log|log2|log10|log1p|pow|power|sin|cos|tan|tanh|sqrt|cbrt|hypot|dot|matmul|einsum|inner|vdot|"
    r"tensordot|softmax|mean|std|var|default_rng|Generator|RandomState|seed|random|uniform|standard_normal|rand|randn)"
)


@pytest.mark.parametrize("path", sorted((ROOT / "generators").glob("*.py")), ids=lambda path: path.stem)
def test_generators_use_steady_arithmetic_only(path: Path) -> None:
    """No function of a mathematics library, no matrix product, no distribution of NumPy's."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.MatMult):
            found.append("@")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value)
            numeric = owner in ("np", "math", "np.random", "np.linalg", "numpy", "random")
            if numeric and UNSTEADY.fullmatch(node.func.attr):
                found.append(f"{owner}.{node.func.attr}")
    assert found == []
