"""The C judge against the NumPy path: every count, sum, maximum and histogram bin the same, whatever the input."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from generators import hard
from generators.samplers import specials
from generators.stream import Stream
from golden import tally
from golden.case import Case
from golden.formats import FORMATS, FP16, FP32, Format
from golden.judge import judge as judge_case
from golden.legal import legal_parts
from golden.pointwise import dense
from golden.terms import Terms
from golden.working import WorkingPrecision
from runners.sweeping import judge as native
from runners.sweeping import samples
from runners.sweeping.space import Axis, Space, make_space
from runners.sweeping.tally import BINS, BlockTally, full, numpy_tally
from runners.toolchain import compiled
from tests import ROOT
from tests.helpers.judged import BOTH, NEEDS_C, POINTS, Call, assert_same, judge, near, nll, patterns, smooth

BETAS = (0.1, 0.5, 1.0, 1 / 3, 1000.0)
#: One format and way with subnormal numbers; the others confirm.
BY_TURNS = pytest.mark.parametrize(
    ("fmt", "flush"),
    [
        pytest.param(
            f,
            flush,
            id=f"{'flush' if flush else 'preserve'}-{f.name}",
            marks=pytest.mark.confirm if flush or f is FP16 else (),
        )
        for f in FORMATS.values()
        for flush in (False, True)
    ],
)
pytestmark = NEEDS_C


def calls(fmt: Format, rng: np.random.Generator) -> list[tuple[str, Call]]:
    found: list[tuple[str, Call]] = []
    for beta in (*BETAS, fmt.step, fmt.largest, 3 * fmt.smallest_normal):
        found.append(("smoothl1lossgrad", smooth(fmt, beta, *(patterns(fmt, rng) for _ in range(3)))))
        b = fmt.typed(beta)
        found.append(("smoothl1lossgrad", smooth(fmt, b, near(fmt, rng, 1), near(fmt, rng, b), near(fmt, rng, b / 3))))
    for reduction, total in (
        ("none", 1.0), ("sum", 1.0), ("mean", 3.7), ("mean", 2.0), ("mean", -0.25), ("mean", fmt.smallest_normal / 3),
        ("mean", np.inf), ("mean", np.nan), ("mean", fmt.largest),
    ):  # fmt: skip
        found.append(("nlllossgrad", nll(fmt, reduction, patterns(fmt, rng), patterns(fmt, rng), total)))
        found.append(("nlllossgrad", nll(fmt, reduction, near(fmt, rng, 1), near(fmt, rng, 1), total)))
    return found


@BOTH
def test_every_order_gives_the_same_tally(fmt: Format) -> None:
    for k, (name, call) in enumerate(calls(fmt, np.random.default_rng(1))):
        for order in dense(name).orders[k % 3 :: 3]:  # NumPy takes its time
            with np.errstate(all="ignore"):
                output = dense(name).evaluate(order, WorkingPrecision(fmt), fmt, *call)
            assert_same(name, fmt, call, output)


@BY_TURNS
def test_damaged_results_give_the_same_tally(fmt: Format, flush: bool) -> None:
    rng = np.random.default_rng(2)
    union = BlockTally()
    for name, call in calls(fmt, rng)[::2]:
        output = dense(name).oracle(fmt, *call).value
        bits = fmt.bits(output)
        hit = rng.integers(0, POINTS, POINTS // 2)
        flips = np.left_shift(1, rng.integers(0, fmt.width, hit.size)).astype(fmt.bits_dtype)
        bits[hit] ^= flips
        bits[rng.integers(0, POINTS, 300)] = fmt.bits(specials(fmt, True))[rng.integers(0, 12, 300)]
        union.add(assert_same(name, fmt, call, output, flush))
    for kind in ("nan", "infinity", "overflow", "zero", "zero_sign", "failures", "faithful", "formula", "legal"):
        assert getattr(union, kind) > 0, kind


@BOTH
def test_specials_in_every_operand_give_the_same_tally(fmt: Format) -> None:
    some = specials(fmt, True)
    grid = [v.reshape(-1) for v in np.meshgrid(some, some, some)]
    for beta in BETAS:
        call = smooth(fmt, beta, *grid)
        golden = dense("smoothl1lossgrad").oracle(fmt, *call).value
        for output in (golden, np.roll(golden, 1), -golden, np.resize(some, golden.size)):
            assert_same("smoothl1lossgrad", fmt, call, output)
    for total in (3.0, 0.5):  # the largest weight by 0.5 is infinite
        call = nll(fmt, "mean", grid[0], grid[1], total)
        golden = dense("nlllossgrad").oracle(fmt, *call).value
        for output in (golden, np.roll(golden, 1), -golden, *(np.full_like(golden, x) for x in (np.nan, np.inf))):
            for flush in (False, True):
                assert_same("nlllossgrad", fmt, call, output, flush)


@BOTH
def test_hard_cases_and_their_neighbours_give_the_same_tally(fmt: Format) -> None:
    stream = Stream("native")
    for beta in BETAS[:3]:
        b = fmt.typed(beta)
        for a, dy in (hard.near_midpoints(stream, fmt, b, 499), hard.ties(stream, fmt, 499)):
            scale = 2.0 ** (np.floor(np.log2(b)) - np.floor(np.log2(np.abs(a.astype(float)).max())) - 1)
            x1 = fmt.cast(a.astype(float) * scale)
            # The last two move a tie by less than float64 shows: a single cast of the quotient is then wrong.
            tiny = fmt.smallest_normal
            for offset in (0.0, b * 2.0**-fmt.precision, tiny, -tiny):
                x2 = fmt.cast(np.full(len(x1), offset))
                call = smooth(fmt, b, dy, x1, x2)
                golden = dense("smoothl1lossgrad").oracle(fmt, *call).value
                for step in (-2, -1, 0, 1, 2):
                    output = fmt.from_bits((fmt.bits(golden).astype(np.int64) + step).astype(fmt.bits_dtype))
                    assert_same("smoothl1lossgrad", fmt, call, output)
            call = nll(fmt, "mean", dy, a, b)
            golden = dense("nlllossgrad").oracle(fmt, *call).value
            for step in (-2, -1, 0, 1, 2):
                output = fmt.from_bits((fmt.bits(golden).astype(np.int64) + step).astype(fmt.bits_dtype))
                assert_same("nlllossgrad", fmt, call, output)


@BOTH
def test_results_at_the_edge_of_the_legal_interval_give_the_same_tally(fmt: Format) -> None:
    """Every part of the legal set: the C code's bounds are NumPy's, bit by bit."""
    rng = np.random.default_rng(3)
    tiny = nll(fmt, "mean", near(fmt, rng, fmt.smallest_normal), near(fmt, rng, 1), 0.3)  # results below N
    small = smooth(fmt, 1000.0, near(fmt, rng, 1000), near(fmt, rng, 100 * fmt.smallest_normal), near(fmt, rng, 1e-30))
    calls = [*worked(fmt, rng, POINTS), ("nlllossgrad", tiny), ("smoothl1lossgrad", small)]
    for name, call in calls:
        op = dense(name)
        golden = op.oracle(fmt, *call)
        parts = legal_parts(op, fmt, *call, np.arange(POINTS), Terms())
        edges = np.full((2 * len(parts), POINTS), 0, np.int64) + fmt.bits(golden.value)
        for k, part in enumerate(parts):
            edges[2 * k, part.at], edges[2 * k + 1, part.at] = (fmt.bits(fmt.cast(v)) for v in (part.low, part.high))
        for _ in range(4):  # an edge of one part each, and its neighbours
            bits = edges[rng.integers(0, len(edges), POINTS), np.arange(POINTS)] + rng.integers(-1, 2, POINTS)
            assert_same(name, fmt, call, fmt.from_bits(bits.astype(fmt.bits_dtype)))


def worked(fmt: Format, rng: np.random.Generator, n: int) -> list[tuple[str, Call]]:
    """Calls with ordinary operands, and an exact divisor, a rounded one and none."""
    found: list[tuple[str, Call]] = []
    for beta in (0.1, 0.5):
        b = fmt.typed(beta)
        call = smooth(fmt, b, near(fmt, rng, 1, n), near(fmt, rng, b, n), near(fmt, rng, b / 3, n))
        found.append(("smoothl1lossgrad", call))
    for reduction, total in (("mean", 3.7), ("mean", -2.0), ("none", 1.0)):
        found.append(("nlllossgrad", nll(fmt, reduction, near(fmt, rng, 1, n), near(fmt, rng, 1, n), total)))
    return found


#: Ends of vectors, of what is counted together, of the C code's blocks and of their parts.
EDGES = (0, 1, 7, 8, 15, 16, 31, 32, 63, 64, 255, 256, 511, 512, 1023, 1024, 2046, 2047, 2048, 4095, 4096, 4097, 4098)


@pytest.mark.confirm
@BY_TURNS
def test_any_number_of_elements_to_grade_gives_the_same_tally(fmt: Format, flush: bool) -> None:
    """None, a few (counted one by one), many (counted in vectors) and all, at the ends of everything."""
    rng = np.random.default_rng(8)
    union = BlockTally()
    for name, call in worked(fmt, rng, POINTS):
        golden = fmt.bits(dense(name).oracle(fmt, *call).value)
        everything = rng.permutation(POINTS)
        chosen = [np.array(EDGES), np.arange(POINTS), *(everything[:n] for n in (0, 1, 2, 31, 32, 33, 500, 3000))]
        for number, which in enumerate([*([e] for e in EDGES), *chosen]):
            for step in (1, -1, 2, -3) if len(which) > 1 else ((1, -1, 2, -3)[number % 4],):
                bits = golden.copy()
                bits[which] += np.array(step).astype(fmt.bits_dtype)
                found = assert_same(name, fmt, call, fmt.from_bits(bits), flush)
                assert found.misrounded == len(which)
                union.add(found)
    for grade in ("faithful", "formula", "legal", "failures"):
        assert getattr(union, grade) > 0, grade


@BOTH
def test_every_grade_is_the_one_of_the_judge(fmt: Format) -> None:
    """Element by element, so that two wrong grades cannot make up for each other."""
    rng, n = np.random.default_rng(9), 300
    names = ("faithful", "formula", "legal", "failures")
    for name, call in worked(fmt, rng, n):
        golden = dense(name).oracle(fmt, *call)
        output = fmt.from_bits(fmt.bits(golden.value) + rng.integers(-2, 3, n).astype(fmt.bits_dtype))
        case = Case("", dense(name), fmt.name, "required", "sweep", (), dict(call[0]), call[1], golden)
        grades = dict(zip(*(v.tolist() for v in judge_case(case, output, Terms())[:3:2]), strict=True))
        for i in range(n):
            one = {k: v if k == "total_weight" else v[i : i + 1] for k, v in call[1].items()}
            scalars = {k: 1 if k in ("length", "batch") else v for k, v in call[0].items()}
            found = judge().tally(dense(name), fmt, scalars, one, output[i : i + 1].copy(), Terms())
            wanted = {grade: int(grades.get(i, 0) == code) for code, grade in enumerate(names, 1)}
            assert {grade: getattr(found, grade) for grade in names} == wanted, i


@BOTH
def test_results_beside_overflow_give_the_same_tally(fmt: Format) -> None:
    total = fmt.bits(np.array([3.0], fmt.dtype))[0]
    w = fmt.from_bits((int(total) + np.arange(-40, 41)).astype(fmt.bits_dtype))
    g = fmt.cast(np.full(w.size, fmt.largest) * np.where(np.arange(w.size) % 3, 1, -1))
    call = nll(fmt, "mean", g, w, 3.0)
    golden = fmt.bits(dense("nlllossgrad").oracle(fmt, *call).value).astype(np.int64)
    found = BlockTally()
    for step in range(-4, 2):
        found.add(assert_same("nlllossgrad", fmt, call, fmt.from_bits((golden + step).astype(fmt.bits_dtype))))
    assert found.infinity > 0 and found.overflow > 0 and found.legal > 0


@BOTH
def test_numbers_where_the_exact_value_overflows(fmt: Format) -> None:
    """Largest numbers beside exact values about the overflow threshold: legal up to where no order comes back from."""
    rng, found = np.random.default_rng(10), BlockTally()
    threshold, spacing = fmt.overflow_threshold, fmt.overflow_value - fmt.largest
    for divisor in (3.7, 2.0, fmt.largest):
        total, sign = fmt.typed(divisor), rng.choice([-1, 1], POINTS)
        w = fmt.cast(np.minimum(total * rng.uniform(1.1, 2, POINTS), fmt.largest)).astype(np.float64)
        g = fmt.cast((threshold + spacing * rng.uniform(-1, 8, POINTS)) * total / w)
        call = nll(fmt, "mean", g, fmt.cast(w * -sign), total)
        for steps in (0, 7, 3000):
            output = fmt.from_bits((fmt.bits(np.full(POINTS, fmt.largest, fmt.dtype)) - steps).astype(fmt.bits_dtype))
            output *= sign.astype(fmt.dtype)
            output[::97] *= -1
            found.add(assert_same("nlllossgrad", fmt, call, output))
    assert found.infinity > 10_000 and found.formula > 100 and found.legal > 100 and found.failures > 10_000


def test_one_wrong_element_is_the_worst_wherever_it_is() -> None:
    rng = np.random.default_rng(5)
    call = smooth(FP32, 0.1, near(FP32, rng, 1), near(FP32, rng, 0.05), near(FP32, rng, 0.01))
    golden = dense("smoothl1lossgrad").oracle(FP32, *call).value
    for at in (0, 7, 8, 2047, 2048, POINTS - 1):
        output = golden.copy()
        output[at] *= 2
        found = assert_same("smoothl1lossgrad", FP32, call, output)
        assert (found.worst, found.first_failure, found.misrounded, found.failures) == (at, at, 1, 1)


def test_histogram_bins_are_those_of_reports() -> None:
    error = np.array([0, 1e-9, 1 / 32, 0.5, 0.999, 3.99, 4, 5, 7.99, 8, 1e3, 2.0**100])
    counts = tally._errors([error])[0].histogram
    found = BlockTally()
    from runners.sweeping.tally import _measure

    _measure(found, error.astype(np.float32), np.ones(error.size, bool))
    assert found.histogram == counts[:BINS].tolist() and counts[BINS:].sum() == 0


@pytest.fixture
def anew() -> Iterator[None]:
    """Compile anew: before a test, and after it."""
    native._loaded.cache_clear()
    native._code.cache_clear()
    yield
    native._loaded.cache_clear()
    native._code.cache_clear()


@pytest.mark.usefixtures("anew")
def test_without_a_compiler_there_is_no_native_judge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name, fmt, (scalars, _) = (
        "smoothl1lossgrad",
        FP32,
        smooth(FP32, 0.1, *[near(FP32, np.random.default_rng(1), 1)] * 3),
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert samples.load.__wrapped__() is None and native.code_for(dense(name), fmt, scalars, Terms()) is None
    monkeypatch.setenv("CC", "/bin/false")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    native._loaded.cache_clear()
    native._code.cache_clear()
    assert samples.load.__wrapped__() is None and native.code_for(dense(name), fmt, scalars, Terms()) is None


@pytest.mark.confirm
@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize(
    ("flags", "fmt"),
    [
        pytest.param(flags, fmt, id=f"{name}-{fmt.name}")
        for name, flags in (("sse2", ("-march=x86-64",)), ("avx2", ("-march=x86-64-v3",)), ("default", ()))
        for fmt in FORMATS.values()
    ],
)
def test_portable_builds_give_the_same_tally(
    flags: tuple[str, ...], fmt: Format, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if flags and os.uname().machine != "x86_64":
        pytest.skip("an x86-64 flag")
    if "-v3" in "".join(flags) and b" avx2 " not in compiled.processor():
        pytest.skip("needs a processor with AVX2")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(native, "VECTORS", (flags,))
    for name, call in calls(fmt, np.random.default_rng(7))[::3]:
        with np.errstate(all="ignore"):
            output = dense(name).evaluate("reciprocal", WorkingPrecision(fmt), fmt, *call).copy()
        fmt.bits(output)[::50] ^= fmt.bits_dtype.type(1 << 5)
        assert_same(name, fmt, call, output)
    assert len(list((tmp_path / "golden").glob("judge-*"))) >= 3


def test_loading_leaves_the_floating_point_environment_alone() -> None:
    script = (
        "import numpy as np; from golden.pointwise import dense; from golden.formats import FP32; "
        "from golden.terms import Terms; "
        "from runners.sweeping import judge; "
        "assert judge.code_for(dense('smoothl1lossgrad'), FP32, {'length': 1, 'beta': 0.5}, Terms()); "
        "assert np.float64(2.0**-1074) * np.float64(1) > 0 and np.float32(2.0**-149) * np.float32(1) > 0"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def differing(space: Space, order: str, blocks: range) -> list[int]:
    """Return the blocks of which the C judge and NumPy say different things."""
    view, fmt, found = space.view, space.fmt, []
    for block in blocks:
        operands = full(space.operands(block), space.step)
        scalars = space.call_scalars(space.step)
        with np.errstate(all="ignore"):
            output = view.evaluate(order, WorkingPrecision(fmt), fmt, scalars, operands)
        of_numpy = numpy_tally(view, fmt, scalars, operands, output, Terms())
        if judge().tally(view, fmt, scalars, operands, output, Terms()) != of_numpy:
            found.append(block)
    return found


def in_processes(space: Space, order: str) -> list[int]:
    cuts = range(0, space.blocks, 64)
    with ProcessPoolExecutor(2) as pool:
        parts = [range(at, min(at + 64, space.blocks)) for at in cuts]
        futures = [pool.submit(differing, space, order, part) for part in parts]
        return [block for future in futures for block in future.result()]


@pytest.mark.slow
def test_fp16_exhaustively() -> None:
    """Every (diff, dy) at beta = 0.1, where all grades occur: C says what NumPy says."""
    space = make_space("diff-dy", "smoothl1lossgrad", "fp16", beta=0.1)
    assert space.exhaustive and space.points == 1 << 32
    assert in_processes(space, "reciprocal") == []


@pytest.mark.slow
def test_a_billion_fp32_elements() -> None:
    total = 0
    for name, order, options in (
        ("smoothl1lossgrad", "formula", {"beta": 0.1}),
        ("smoothl1lossgrad", "gradient-first", {"beta": 0.7}),
        ("smoothl1lossgrad", "product-first", {"beta": 1.0}),
        ("nlllossgrad", "formula", {"reduction": "mean"}),
        ("nlllossgrad", "formula", {"reduction": "none"}),
    ):
        space = make_space("random", name, "fp32", samples=200 << 20, **options)  # type: ignore[arg-type]
        assert in_processes(space, order) == [], (name, options)
        total += space.points
    assert total >= 10**9


def test_axes_leave_out_a_total_of_zero() -> None:
    axis = Axis("total_weight", 0, 1 << 16, without=(0, 0x8000))
    bits = axis.bits(0, len(axis))
    assert len(axis) == len(bits) == 65534 and 0 not in bits and 0x8000 not in bits
