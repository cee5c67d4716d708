"""Committed suites: made again bit for bit, complete, inside the documented domain, as their names say."""

import functools
import itertools
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest

from generators import smoothl1lossgrad
from generators.suite import generator
from golden.case import Case
from golden.files.manifest import NAME, File, Manifest, read_suite
from golden.files.names import PUBLIC_SEED as SEED
from golden.files.vectors import case_digest, write_vectors
from golden.formats import FORMATS, FP16, FP32, Array, Format, is_power_of_two
from golden.judge import FAILS, judge
from golden.operator import known_flags, operator
from golden.scaled_product import ORDERS
from golden.terms import Terms
from golden.working import WorkingPrecision
from tests import ROOT
from tests.helpers.kinds import EVERY_KIND, KINDS

SMOOTH, NLL = "smoothl1lossgrad", "nlllossgrad"
#: What is asked of the classes that the first two operators have, with figures of their own.
OURS = pytest.mark.parametrize(("name", "dtype"), [kind for kind in KINDS if kind[0] in (SMOOTH, NLL)])
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
@pytest.mark.parametrize("suite", ["smoke", pytest.param("core", marks=pytest.mark.confirm)])
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
    assert len(after) == len(before) + 3 and {i: after[i] for i in before} == before


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
        assert case.flags and set(case.flags) <= known_flags().keys(), case.id


@OURS
def test_flags_that_are_reached(name: str, dtype: str) -> None:
    reached = {flag for case in committed("core")[name, dtype] for flag in case.flags}
    assert reached >= {"rounding", "underflow", "overflow", "special-values", "tail" if name == SMOOTH else "selection"}


def test_every_flag_is_used() -> None:
    assert {f for cases in committed("core").values() for case in cases for f in case.flags} == known_flags().keys()


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
    every = {(int(c.scalars["batch"]), int(c.scalars["class_num"])) for c in cases if c.klass == "shape"}
    assert {b for b, _ in every} >= {4097, 65537} and {c for _, c in every} >= {40000, 70000, 50257, 41, 129, 384}
    widest = {int(c.operands["labels"].max(initial=0)) for c in cases}
    assert all(any(low < label for label in widest) for low in (32767, 65535))
    for reduction in REDUCTIONS:
        found = [c for c in cases if c.scalars["reduction_type"] == reduction and c.tier == "required"]
        shapes = {(int(c.scalars["batch"]), int(c.scalars["class_num"])) for c in found}
        assert {b for b, _ in shapes} >= {0, 1, 2, 3, 7, 9, 13, 31, 33, 257} and (32, 1000) in shapes
        assert {c for _, c in shapes} >= {1, 2, 3, 10, 33, 1000, 257}
        assert max(b * c for b, c in shapes) > 65536
        labels = {int(c.operands["labels"].max(initial=0)) for c in found}
        assert all(any(low < label for label in labels) for low in (127, 255))
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
        elif name == NLL:
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


@OURS
def test_order_distinguishing(name: str, dtype: str) -> None:
    """Every element tells at least two orders apart, and every two orders differ somewhere."""
    fmt, tested = FORMATS[dtype], 0
    for case in core(name, fmt, "order-distinguishing"):
        assert not is_power_of_two(divisor_of(case))  # dividing is exact there
        results = [case.operator.evaluate(o, WorkingPrecision(fmt), fmt, case.scalars, case.operands) for o in ORDERS]
        bits = np.stack([fmt.bits(found)[on_label(case)] for found in results])
        assert (bits != bits[0]).any(axis=0).all(), case.id
        if bits.shape[1] > 30:
            assert len({row.tobytes() for row in bits}) == len(bits), case.id
        tested += bits.shape[1]
    assert tested > 500


@OURS
def test_maximal_error(name: str, dtype: str) -> None:
    """Results of the legal orders lie far from the exact value, though never outside their bounds."""
    fmt, seen = FORMATS[dtype], dict.fromkeys(operator(name).orders, 0.0)
    for case in core(name, fmt, "maximal-error"):
        value, residual = case.golden
        exact = value.astype(np.float64) + residual * fmt.ulp_of(np.abs(value))
        ulps = []
        for order in case.operator.orders:
            output = case.operator.evaluate(order, WorkingPrecision(fmt), fmt, case.scalars, case.operands)
            assert (judge(case, output, Terms()).grade < FAILS).all(), (case.id, order)
            ulps.append((np.abs(output - exact) / fmt.ulp_of(np.abs(exact)))[on_label(case)])
            seen[order] = max(seen[order], float(ulps[-1].max()))
        worst = np.max(ulps, axis=0)
        if name == SMOOTH:
            page = float(case.scalars["beta"]) in map(fmt.typed, REQUIRED_BETAS + STRESS_BETAS)
            assert (worst > 1).all() or (np.median(worst) > 1 and not page), case.id
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
    """One kind a case, so that a known defect of one hides none of another."""
    kinds = {"nan": np.isnan, "infinity": np.isinf, "zero": lambda v: v == 0, "finite": lambda v: v != 0}
    for case in core(SMOOTH, fmt, "special-values"):
        values = np.stack([*case.operands.values()])
        kind = case.id.split("/")[-1]
        has = {name: test(values) for name, test in kinds.items()}
        assert has[kind].any(axis=0).all() and has[kind].any(axis=1).all()
        assert {True, False} == set(np.signbit(values[has[kind]]).tolist())
        for before in [*kinds][: [*kinds].index(kind)]:
            assert not has[before].any()
    quiet = 1 << (fmt.precision - 2)
    for name in (SMOOTH, NLL):
        found = [v for c in core(name, fmt, "non-finite-bits") for n, v in c.operands.items() if n != "labels"]
        payloads = fmt.bits(np.concatenate(found)[np.isnan(np.concatenate(found))]) & fmt.fraction_mask
        assert len(np.unique(payloads)) > 200 and (payloads & quiet == 0).any() and (payloads & quiet != 0).any()
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
