"""Committed suites: made again bit for bit, complete, inside the documented domain, as their names say."""

import ast
import decimal
import functools
import itertools
import math
import re
from fractions import Fraction
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators import hard, samplers, smoothl1lossgrad
from generators.realistic import exponential
from generators.stream import SEED, Stream
from generators.suite import generator
from golden.blocks import BLOCK
from golden.case import Case
from golden.flags import FLAGS
from golden.formats import FORMATS, FP16, FP32, Array, Format, is_power_of_two
from golden.judge import FAILS, judge
from golden.manifest import NAME, File, Manifest, read_suite
from golden.operator import Arithmetic, operator, operators
from golden.vectorfile import case_digest, write_vectors

ROOT = Path(__file__).resolve().parent.parent
SMOOTH, NLL = "smoothl1lossgrad", "nlllossgrad"
KINDS = [(name, dtype) for name in operators() for dtype in FORMATS]
EVERY_KIND = pytest.mark.parametrize(("name", "dtype"), KINDS)
BOTH = pytest.mark.parametrize("fmt", FORMATS.values(), ids=list(FORMATS))
REQUIRED_BETAS, STRESS_BETAS = (0.1, 0.25, 1 / 3, 0.5, 0.7, 1.0), (2.0**-14, 1e-3, 10.0, 100.0)
REDUCTIONS = {"sum", "mean", "none"}


def divisor_of(case: Case) -> float:
    return float(case.scalars["beta"] if case.operator.name == SMOOTH else case.operands["total_weight"][0])


@functools.cache
def committed(suite: str) -> dict[tuple[str, str], tuple[Case, ...]]:
    return {(f.operator.name, f.dtype): f.cases for f in read_suite(ROOT / "vectors" / suite)}


def core(name: str, fmt: Format, klass: str | None = None) -> list[Case]:
    return [case for case in committed("core")[name, fmt.name] if klass in (None, case.klass)]


def on_label(case: Case) -> Array:
    """Positions of the outputs that are computed."""
    if case.operator.name == SMOOTH:
        return np.arange(case.golden.value.size)
    labels = case.operands["labels"]
    index: Array = np.arange(len(labels)) * int(case.scalars["class_num"]) + labels
    return index


def wide(case: Case, *names: str) -> list[Array]:
    return [case.operands[name].astype(np.float64) for name in names]


# Made again


@EVERY_KIND
@pytest.mark.parametrize("suite", ["smoke", "core"])
def test_committed_suites_are_generated_again(suite: str, name: str, dtype: str, tmp_path: Path) -> None:
    cases = list(generator(name)(suite, FORMATS[dtype]))
    made = {case.id: case_digest(case) for case in cases}
    found = {case.id: case_digest(case) for case in committed(suite)[name, dtype]}
    assert made.keys() == found.keys()
    assert [i for i in made if made[i] != found[i]] == []
    digest = write_vectors(tmp_path / "again.h5", suite, operator(name), dtype, cases, SEED)
    manifest = msgspec.json.decode((ROOT / "vectors" / suite / NAME).read_bytes(), type=Manifest)
    assert manifest.suite == suite and manifest.files[f"{name}-{dtype}.h5"] == File(digest, len(cases))


@EVERY_KIND
def test_cases_of_the_same_id_are_the_same_in_every_suite(name: str, dtype: str) -> None:
    smoke, core_ = ({c.id: case_digest(c) for c in committed(s)[name, dtype]} for s in ("smoke", "core"))
    shared = smoke.keys() & core_.keys()
    assert len(shared) >= 5 and [i for i in shared if smoke[i] != core_[i]] == []


@BOTH
def test_adding_cases_changes_no_other(fmt: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {case.id: case_digest(case) for case in generator(SMOOTH)("smoke", fmt)}
    added = {"another": smoothl1lossgrad.CLASSES["normal"], **smoothl1lossgrad.CLASSES}
    monkeypatch.setattr(smoothl1lossgrad, "CLASSES", added)
    after = {case.id: case_digest(case) for case in generator(SMOOTH)("smoke", fmt)}
    assert len(after) == len(before) + 2 and {i: after[i] for i in before} == before


# Inventory


def test_core_is_large_and_small_enough() -> None:
    assert sum(len(cases) for cases in committed("core").values()) >= 2000
    assert sum(path.stat().st_size for path in (ROOT / "vectors" / "core").iterdir()) < 8_000_000
    assert sorted(committed("core")) == sorted(committed("smoke")) == sorted(KINDS)


@EVERY_KIND
@pytest.mark.parametrize("suite", ["smoke", "core"])
def test_ids_flags_and_tiers(suite: str, name: str, dtype: str) -> None:
    cases = committed(suite)[name, dtype]
    assert len({case.id for case in cases}) == len(cases)
    for case in cases:
        assert re.fullmatch(rf"{name}/{dtype}(/[a-z0-9]([a-z0-9.=+-]*[a-z0-9])?)+", case.id), case.id
        assert case.klass in case.id.split("/") and case.tier in ("required", "stress")
        assert case.flags and set(case.flags) <= FLAGS.keys(), case.id
    reached = {flag for case in committed("core")[name, dtype] for flag in case.flags}
    assert {
        "rounding",
        "underflow",
        "overflow",
        "special-values",
        "tail" if name == SMOOTH else "selection",
    } <= reached


def test_every_flag_is_used() -> None:
    assert {f for cases in committed("core").values() for case in cases for f in case.flags} == FLAGS.keys()


@BOTH
def test_smooth_l1_inventory(fmt: Format) -> None:
    cases = core(SMOOTH, fmt)
    for beta, klass in itertools.product(REQUIRED_BETAS + STRESS_BETAS, smoothl1lossgrad.CLASSES):
        if klass in smoothl1lossgrad.ENUMERATED:
            continue
        found = [c for c in cases if c.klass == klass and c.scalars["beta"] == fmt.typed(beta)]
        # Division by a power of two is exact, so that the orders differ nowhere; and fp16 differences below 2**-14
        # are subnormal, where errors in ulp say nothing about an order.
        without = {"order-distinguishing": is_power_of_two(beta), "maximal-error": fmt is FP16 and beta == 2.0**-14}
        assert bool(found) != without.get(klass, False), (beta, klass)
        assert all(c.tier == "stress" for c in found) or beta in REQUIRED_BETAS, (beta, klass)
        demanded = klass not in ("subnormal-operands", "difference-overflow") or fmt is FP16
        assert all(c.tier == "required" for c in found) or beta in STRESS_BETAS or not demanded, (beta, klass)
    assert {"special-values", "special-extremes", "length", "detection-head"} <= {c.klass for c in cases}
    lengths = {int(c.scalars["length"]) for c in cases if c.klass == "length" and c.tier == "required"}
    assert lengths >= {*range(66), 1000, 4096, 4097, 32769, 65537}


@BOTH
def test_nll_inventory(fmt: Format) -> None:
    cases = core(NLL, fmt)
    for reduction in REDUCTIONS:
        found = [c for c in cases if c.scalars["reduction_type"] == reduction and c.tier == "required"]
        shapes = {(int(c.scalars["batch"]), int(c.scalars["class_num"])) for c in found}
        assert {b for b, _ in shapes} >= {0, 1, 2, 3, 7, 9, 13, 31, 33, 4097} and (32, 1000) in shapes
        assert {c for _, c in shapes} >= {1, 2, 3, 10, 33, 1000, 257, 40000, 70000}
        assert max(b * c for b, c in shapes) > 65536
        labels = {int(c.operands["labels"].max(initial=0)) for c in found}
        assert all(any(low < label for label in labels) for low in (127, 255, 32767, 65535))
        kinds = {c.id.split("/")[-2:][0] + c.id.split("/")[-1] for c in found if c.klass == "selection"}
        weights = ("distinct", "ones", "zeros", "nan-unlabelled", "inf-unlabelled")
        order = ("equal", "first", "last", "permuted", "random")
        assert kinds == {f"weights={w}labels={lab}" for w in weights for lab in order}
        classes = {c.klass for c in found}
        assert classes >= {"uniform-bits", "log-uniform", "normal", "hard-to-round", "ties", "loss-scaled"}
        assert classes >= {"special-values", "classifier", "shape"}


@BOTH
def test_nll_weights_labels_and_totals(fmt: Format) -> None:
    for case in core(NLL, fmt, "selection"):
        weight, labels = case.operands["weight"], case.operands["labels"]
        unused = np.setdiff1d(np.arange(len(weight)), labels)
        kind = case.id.split("weights=")[1].split("/")[0]
        if kind in ("distinct", "ones"):
            assert len(np.unique(weight)) == (len(weight) if kind == "distinct" else 1)
        elif kind == "zeros":
            assert 0 < np.count_nonzero(weight == 0) < len(weight)
        else:
            poison = np.isnan(weight) if kind.startswith("nan") else np.isinf(weight)
            assert len(unused) and np.array_equal(np.flatnonzero(poison), unused)
        assert not np.isnan(case.golden.value).any()
        ordered = case.id.split("labels=")[1]
        assert {"equal": len(set(labels)) == 1, "first": (labels == 0).all()}.get(ordered, True)
        assert {"last": (labels == len(weight) - 1).all(), "permuted": len(set(labels)) == 12}.get(ordered, True)
    fits = []
    for case in core(NLL, fmt, "shape"):
        w, g, total = wide(case, "weight", "loss_grad", "total_weight")
        if case.scalars["reduction_type"] == "mean" and case.scalars["batch"]:
            fits.append(fmt.typed(w[case.operands["labels"]].sum()) == total[0])
        else:
            assert total[0] not in (0, 1)
        assert np.count_nonzero(g == 1) <= len(g) // 30
    assert 0.3 < np.mean(fits) < 0.7


# The documented domain


@EVERY_KIND
@pytest.mark.parametrize("suite", ["smoke", "core"])
def test_nothing_outside_the_domain(suite: str, name: str, dtype: str) -> None:
    for case in committed(suite)[name, dtype]:
        shapes = case.operator.shapes(case.scalars)
        assert all(case.operands[p.name].size == np.prod(shapes[p.name]) for p in case.operator.inputs), case.id
        if name == SMOOTH:
            assert 0 < float(case.scalars["beta"]) < np.inf
        else:
            labels = case.operands["labels"]
            assert ((labels >= 0) & (labels < int(case.scalars["class_num"]))).all(), case.id
            assert case.operands["total_weight"][0] != 0 and case.scalars["reduction_type"] in REDUCTIONS
        if dtype == "fp32" and case.tier == "required":
            for values in case.operands.values():
                magnitude = np.abs(values[np.isfinite(values) & (values != 0)].astype(np.float64))
                if values.dtype.kind == "f" and magnitude.size:
                    assert magnitude.min() >= 2.0**-60 and magnitude.max() <= 2.0**60, case.id


# What the classes are for

#: The smallest betas leave a difference below them no room in fp16.
ROOMY = pytest.mark.parametrize("beta", [b for b in REQUIRED_BETAS + STRESS_BETAS if b > 0.05])


def joined(cases: list[Case]) -> tuple[Array, Array]:
    """Values and residuals of the computed outputs of all the cases, as float64."""
    parts = [(c.golden.value[on_label(c)], c.golden.residual[on_label(c)]) for c in cases]
    value, residual = (np.concatenate(part).astype(np.float64) for part in zip(*parts, strict=True))
    return value, np.abs(residual)


def of_beta(fmt: Format, klass: str, beta: float) -> list[Case]:
    return [case for case in core(SMOOTH, fmt, klass) if case.scalars["beta"] == fmt.typed(beta)]


@BOTH
@ROOMY
def test_smooth_l1_hard_ties_and_subnormals(fmt: Format, beta: float) -> None:
    _, residual = joined(of_beta(fmt, "hard-to-round", beta))
    assert np.mean((residual > 0.49) & (residual != 0.5)) > 0.8
    _, residual = joined(of_beta(fmt, "ties", beta))
    assert np.mean(residual == 0.5) > 0.6 and np.mean(residual > 0.48) > 0.95  # the others are nudged
    value, _ = joined(of_beta(fmt, "subnormal-results", beta))
    assert np.mean(np.abs(value) < fmt.smallest_normal) > 0.6


@BOTH
@pytest.mark.parametrize("reduction", sorted(REDUCTIONS))
def test_nll_hard_ties_and_subnormals(fmt: Format, reduction: str) -> None:
    def of(klass: str) -> list[Case]:
        return [case for case in core(NLL, fmt, klass) if case.scalars["reduction_type"] == reduction]

    _, residual = joined(of("hard-to-round"))
    # One gradient serves many weights in sum and mean: fp16 has only so many next to a midpoint.
    nearest = 0.49 if fmt is FP32 or reduction == "none" else 0.45
    assert np.mean((residual > nearest) & (residual != 0.5)) > 0.8
    _, residual = joined(of("ties"))
    assert (residual == 0.5).all()
    totals = {float(c.operands["total_weight"][0]) for c in of("ties")}
    assert reduction != "mean" or totals == {3.0, 10.5, 64.0, -10.5}  # 0.7 has too many bits for ties
    value, _ = joined(of("subnormal-results"))
    assert np.mean(np.abs(value) < fmt.smallest_normal) > 0.6


@EVERY_KIND
def test_order_distinguishing(name: str, dtype: str) -> None:
    """Every element tells at least two orders apart, and every two orders differ somewhere."""
    fmt, tested = FORMATS[dtype], 0
    for case in core(name, fmt, "order-distinguishing"):
        assert not is_power_of_two(divisor_of(case))  # dividing is exact there
        orders = case.operator.orders.values()
        bits = np.stack([fmt.bits(o(Arithmetic(fmt), case.scalars, case.operands))[on_label(case)] for o in orders])
        assert (bits != bits[0]).any(axis=0).all(), case.id
        if bits.shape[1] > 30:
            assert len({row.tobytes() for row in bits}) == len(bits), case.id
        tested += bits.shape[1]
    assert tested > 500


@EVERY_KIND
def test_maximal_error(name: str, dtype: str) -> None:
    """Results of the legal orders lie far from the exact value, though never outside their bounds."""
    fmt, seen = FORMATS[dtype], dict.fromkeys(operator(name).orders, 0.0)
    for case in core(name, fmt, "maximal-error"):
        value, residual = case.golden
        exact = value.astype(np.float64) + residual * fmt.ulp_of(np.abs(value))
        ulps = []
        for order, evaluate in case.operator.orders.items():
            output = evaluate(Arithmetic(fmt), case.scalars, case.operands)
            assert (judge(case, output, False).grade < FAILS).all(), (case.id, order)
            ulps.append((np.abs(output - exact) / fmt.ulp_of(np.abs(exact)))[on_label(case)])
            seen[order] = max(seen[order], float(ulps[-1].max()))
        worst = np.max(ulps, axis=0)
        if name == SMOOTH:
            assert (worst > 1).all(), case.id
        else:  # one gradient serves the whole call: it suits one order, and the weights do what they can
            assert np.median(worst) > 0.95 and worst.max() > 1.1, case.id
    least = {"reciprocal": 1.7, "product-first": 1.23} if name == NLL else {"reciprocal": 2.7}
    assert all(ulps > least.get(order, 1.4 if name == NLL else 1.95) for order, ulps in seen.items()), seen


@pytest.mark.parametrize("suite", ["smoke", "core"])
def test_gradients_that_serve_a_call_are_named_by_their_bits(suite: str) -> None:
    for dtype, fmt in FORMATS.items():
        named = [c for c in committed(suite)[NLL, dtype] if "/g=" in c.id]
        assert {c.group for c in named} == {"reduction=mean", "reduction=sum", "reduction=none"}
        for case in named:
            bits = {int(b) for b in fmt.bits(case.operands["loss_grad"])}
            assert case.id.endswith(f"/g=0x{bits.pop():0{fmt.width // 4}x}") and not bits


@BOTH
def test_kink_and_cancellation(fmt: Format) -> None:
    for case in core(SMOOTH, fmt, "kink"):
        x1, x2 = wide(case, "x1", "x2")
        beta, plain = float(case.scalars["beta"]), x2 == 0
        off = np.abs(np.abs(x1 - x2) - beta)
        ulp = float(fmt.ulp_of(np.array([beta]))[0])
        assert (off <= 3 * ulp + fmt.ulp_of(np.abs(x1)) / 2).all() and (off[plain] <= 3 * ulp).all()
        assert plain.any() and (~plain).any()
        assert (np.abs(x1 - x2) > beta).any() and (np.abs(x1 - x2) < beta).any()
    for case in core(SMOOTH, fmt, "cancellation"):
        x1, x2 = wide(case, "x1", "x2")
        assert (np.abs(x1 - x2) <= 8 * fmt.ulp_of(np.maximum(np.abs(x1), np.abs(x2)))).all()
        assert (fmt.cast(x1 - x2) == x1 - x2).all()


@BOTH
def test_ranges_at_their_ends(fmt: Format) -> None:
    for case in core(SMOOTH, fmt, "difference-overflow"):
        x1, x2, dy = wide(case, "x1", "x2", "dy")
        assert np.mean(np.abs(x1 - x2) > fmt.largest) > 0.4 and np.isfinite([x1, x2]).all()
        assert np.array_equal(case.golden.value, np.where(x1 > x2, dy, -dy))
    top = 2.0 ** (fmt.emax + 1) if fmt is FP16 else 2.0**60
    for name, operand in ((SMOOTH, "dy"), (NLL, "loss_grad")):
        gradients = np.abs(np.concatenate([wide(case, operand)[0] for case in core(name, fmt, "loss-scaled")]))
        assert gradients.max() > 0.9 * top and gradients.min() >= top / 256
    for case in core(SMOOTH, fmt, "subnormal-operands"):
        x1, x2, dy = wide(case, "x1", "x2", "dy")
        small = [(np.abs(v) < fmt.smallest_normal) & (v != 0) for v in (x1 - x2, dy)]
        assert (small[0] | small[1]).all() and small[0].any() and small[1].any()
    for case in core(SMOOTH, fmt, "tiny-diff-large-dy"):
        x1, x2, dy = wide(case, "x1", "x2", "dy")
        assert (np.abs(dy) >= top / 256).all() and (np.abs(x1 - x2) < 2.0 ** (-8 if fmt is FP16 else -45)).all()


@BOTH
def test_special_values_in_every_operand(fmt: Format) -> None:
    for case in core(SMOOTH, fmt, "special-values"):
        for values in case.operands.values():
            assert np.isnan(values).any() and np.isinf(values).any() and (values == 0).any()
            assert {True, False} == set(np.signbit(values[np.isinf(values)]).tolist())
            assert {True, False} == set(np.signbit(values[values == 0]).tolist())
    cases = core(NLL, fmt, "special-values")
    for test in (np.isnan, np.isinf, lambda v: v == 0):
        assert any(test(c.operands["loss_grad"]).any() and not test(c.operands["weight"]).all() for c in cases)
        assert any(test(c.operands["weight"]).any() for c in cases)
    assert any(np.isnan(c.operands["total_weight"]).any() for c in cases)


@BOTH
def test_lengths_shift_one_block(fmt: Format) -> None:
    """Case n + 1 begins one triple later, so that every triple visits every position."""
    cases = {int(c.scalars["length"]): c for c in of_beta(fmt, "length", 0.7)}
    for n, operand in itertools.product(range(1, 65), ("dy", "x1", "x2")):
        assert np.array_equal(cases[n].operands[operand][1:], cases[n + 1].operands[operand][: n - 1])


# Long arrays, made in blocks: the same numbers


@BOTH
@pytest.mark.parametrize("n", [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 77])
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
    n = 2 * BLOCK + 1003
    triples = smoothl1lossgrad.uniform_bits(Stream("blocks"), fmt, 0.1, n)._asdict()
    whole = operator(SMOOTH).oracle(fmt, {"length": n, "beta": fmt.typed(0.1)}, triples)
    for start in range(0, n, 5000):
        part = {name: values[start : start + 5000] for name, values in triples.items()}
        golden = operator(SMOOTH).oracle(fmt, {"length": len(part["dy"]), "beta": fmt.typed(0.1)}, part)
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
