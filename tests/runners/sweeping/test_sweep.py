"""Sweeps: the same result however the work is divided, interrupted or judged; and wrong builds found."""

import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest

from golden.errors import TargetError, UsageError
from golden.files.sweeps import read_sweep, write_sweep
from golden.formats import FP16
from runners.process import stub
from runners.sweeping import engine as sweeping
from runners.sweeping import evaluate
from runners.sweeping.engine import open_work, sweep
from runners.sweeping.evaluate import Evaluated, Evaluator, Work
from runners.sweeping.processes import Processes
from runners.sweeping.space import Axis, Space, make_space, spaces
from runners.sweeping.tally import BlockTally
from runners.toolchain import compiled
from runners.toolchain.build import build_library, include_dir
from tests.helpers.small_sweeps import WRAPPER, Interrupt, build, orphans, run, steady, tiny


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    deadline = time.monotonic() + 10
    while (left := orphans()) and time.monotonic() < deadline:
        time.sleep(0.05)  # a library's process follows the judge that started it within moments
    assert left == []


@pytest.fixture
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "TASK", 1 << 17)


@pytest.mark.confirm
def test_the_division_of_the_work_changes_nothing(kernels: Path, small_tasks: None) -> None:
    reference = run(str(kernels), tiny())
    assert reference.points == reference.tally.elements == 1 << 20 and reference.complete
    assert reference.tally.misrounded > 10000 and reference.bound_exceeded == 0
    assert steady(run(str(kernels), tiny(block=3 << 10))) == steady(reference)
    assert steady(run(str(kernels), tiny(), judge="numpy")) == steady(reference)
    assert steady(run(str(kernels), tiny(), jobs=3)) == steady(reference)


@pytest.mark.confirm
def test_neither_does_any_other_division(kernels: Path, small_tasks: None) -> None:
    reference = steady(run(str(kernels), tiny()))
    for block in (1 << 10, 1 << 20):
        assert steady(run(str(kernels), tiny(block=block))) == reference, block
    assert steady(run(str(kernels), tiny(), jobs=2)) == reference


def test_a_model_gives_what_a_kernel_of_its_order_gives(kernels: Path) -> None:
    kernel, model = run(str(kernels), tiny("pairs")), run("reference:formula", tiny("pairs"))
    assert kernel.tally == model.tally and kernel.tally.max_ulp > 1


SPACES_TO_RUN = [
    make_space("g-w", "nlllossgrad", "fp16",
               axes=(Axis("weight", 0, 1 << 16, 4096), Axis("loss_grad", 0, 1 << 16, 64))),
    make_space("g-w", "nlllossgrad", "fp16", reduction="mean", fixed={"total_weight": 3.0},
               axes=(Axis("loss_grad", 0, 1 << 16, 8192), Axis("weight", 0, 1 << 16, 64))),
    make_space("g-w", "nlllossgrad", "fp16", reduction="sum", storage="shared",
               axes=(Axis("loss_grad", 0, 1 << 16, 8192), Axis("weight", 0, 1 << 16, 64))),
    make_space("g-w", "nlllossgrad", "fp16", reduction="mean", fixed={"total_weight": 0.3}, block=1 << 12,
               axes=(Axis("loss_grad", 0x3000, 0x3007), Axis("weight", 0x3000, 0x33E8))),
    make_space("w-total", "nlllossgrad", "fp16", reduction="mean",
               axes=(Axis("total_weight", 0, 1 << 16, 8192), Axis("weight", 0, 1 << 16, 64))),
    make_space("operand:dy", "smoothl1lossgrad", "fp32", beta=0.3, fixed={"x1": 0.1234, "x2": 0.01},
               storage="shared", axes=(Axis("dy", 0, 1 << 32, 1 << 15),)),
    make_space("operand:x2", "smoothl1lossgrad", "fp32", fixed={"x1": 0.5}, axes=(Axis("x2", 0, 1 << 32, 1 << 15),)),
    make_space("operand:loss_grad", "nlllossgrad", "fp32", axes=(Axis("loss_grad", 0, 1 << 32, 1 << 15),)),
    make_space("operand:weight", "nlllossgrad", "fp32", reduction="mean", fixed={"loss_grad": 0.1, "total_weight": 7.3},
               axes=(Axis("weight", 0, 1 << 32, 1 << 18),)),
    make_space("random", "smoothl1lossgrad", "fp32", beta=0.3, samples=(1 << 16) + 77, block=1 << 14),
    make_space("random", "smoothl1lossgrad", "fp16", beta=0.3, samples=1 << 16, block=1 << 14),
    make_space("random", "nlllossgrad", "fp32", samples=1 << 14, block=1 << 12),
    make_space("random", "nlllossgrad", "fp32", reduction="mean", samples=(1 << 14) + 33, block=1 << 12),
]  # fmt: skip


#: All of them called from C, and some from Python, where all the others confirm.
CALLED = [(space, "c") for space in SPACES_TO_RUN]
CALLED += [
    pytest.param(space, "python", marks=() if space in SPACES_TO_RUN[1::4] else pytest.mark.confirm)
    for space in SPACES_TO_RUN
]


@pytest.mark.parametrize(("space", "calls"), CALLED, ids=lambda s: str(getattr(s, "name", s)))
def test_every_space_reaches_the_kernel_as_intended(
    kernels: Path, space: Space, calls: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel is the page's order: a mix-up on the way to it would show as a difference from the model."""
    if calls == "python":
        monkeypatch.setattr(evaluate, "helper", lambda: "")
    elif compiled.compiler() is None:
        pytest.skip("needs a C compiler")
    got, model = run(str(kernels), space), run("reference:formula", space)
    assert got.points == space.points and got.bound_exceeded == 0 and got.findings == got.broken == []
    assert got.tally == model.tally
    assert not got.exhaustive and 0 < got.share < 1


def test_full_spaces_are_exhaustive() -> None:
    for name in ("pairs", "diff-dy"):
        space = make_space(name, "smoothl1lossgrad", "fp16")
        assert space.exhaustive and space.points == 1 << 32 and space.share == 1
    assert make_space("g-w", "nlllossgrad", "fp16", reduction="none").points == 1 << 32
    total = make_space("w-total", "nlllossgrad", "fp16", reduction="mean")
    assert total.exhaustive and total.points == 65534 << 16
    operand = make_space("operand:x1", "smoothl1lossgrad", "fp32")
    assert operand.exhaustive and operand.points == 1 << 32
    assert set(spaces()) >= {"pairs", "diff-dy", "g-w", "w-total", "random"}


@pytest.mark.parametrize("space", [tiny(), tiny("pairs"), *SPACES_TO_RUN[:5]], ids=lambda s: s.name)
def test_index_is_outer_times_inner(space: Space) -> None:
    outer, inner = space.axes
    for block in (0, space.blocks - 1):
        operands = space.operands(block)
        n = min(space.step, space.points - block * space.step)
        index = np.arange(block * space.step, block * space.step + n)
        values = operands[outer.operand]
        bits = FP16.bits(np.repeat(values, n // values.size))  # one for all, for each row, or for each point
        assert (bits == outer.bits(0, len(outer))[index // len(inner)]).all()
        assert (FP16.bits(operands[inner.operand]) == inner.bits(0, len(inner))[index % len(inner)]).all()


@pytest.mark.parametrize("jobs", [pytest.param(1, marks=pytest.mark.confirm), 2])
def test_resuming_gives_the_result_of_a_whole_run(kernels: Path, tmp_path: Path, small_tasks: None, jobs: int) -> None:
    state, whole = tmp_path / "state.json", run(str(kernels), tiny())
    partial = run(str(kernels), tiny(), state=state, jobs=jobs, progress=Interrupt(3))
    assert not partial.complete and not partial.exhaustive and 0 < partial.points < whole.points
    assert state.is_file()
    again = run(str(kernels), tiny(), state=state, jobs=jobs, resume=True, progress=Interrupt(2))
    assert not again.complete and again.points > partial.points
    steps = Interrupt(0)
    last = run(str(kernels), tiny(), state=state, jobs=jobs, resume=True, progress=steps)
    assert steady(last) == steady(whole)
    assert state.is_file()  # until the caller has written what was found
    assert steps.steps[-1].done == steps.steps[-1].total == whole.points and steps.steps[0].done > again.points


def test_state_of_another_sweep_is_refused(
    kernels: Path, tmp_path: Path, small_tasks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state.json"
    with pytest.raises(UsageError, match="nothing to resume"):
        run(str(kernels), tiny(), state=state, resume=True)
    run(str(kernels), tiny(), state=state, progress=Interrupt(1))
    with pytest.raises(UsageError, match="another sweep"):
        run(str(kernels), tiny(beta=0.5), state=state, resume=True)
    with pytest.raises(UsageError, match="another sweep"):
        run("reference:formula", tiny(), state=state, resume=True)
    other = tmp_path / "other.so"
    other.write_bytes(kernels.read_bytes() + b"\0")
    with pytest.raises(UsageError, match="another sweep"):
        run(str(other), tiny(), state=state, resume=True)
    with pytest.raises(UsageError, match=r"holds 12\.5 % of this very sweep: go on with --resume"):
        run(str(kernels), tiny(), state=state)
    monkeypatch.setattr(sweeping, "identity", lambda: "0.0.9")
    with pytest.raises(UsageError, match="version of golden"):
        run(str(kernels), tiny(), state=state, resume=True)
    monkeypatch.undo()
    state.write_bytes(state.read_bytes()[:-9])
    with pytest.raises(UsageError, match="damaged"):
        run(str(kernels), tiny(), state=state, resume=True)


@pytest.mark.parametrize("wrong", ["0x1p-3", '__builtin_nanf("")', "-dx1[i]"], ids=["value", "nan", "sign"])
def test_one_wrong_pair_in_a_million_is_found(tmp_path: Path, wrong: str) -> None:
    space = tiny()
    outer, inner = 777, 555
    x1, dy = (int(axis.bits(i, i + 1)[0]) for axis, i in zip(space.axes, (outer, inner), strict=True))
    body = f"""
    const unsigned short a = {x1}, b = {dy};
    for (int i = 0; i < length; i++)
        if (__builtin_memcmp(&x1[i], &a, 2) == 0 && __builtin_memcmp(&dy[i], &b, 2) == 0)
            dx1[i] = (half)({wrong});
    """
    result = run(str(build(tmp_path, body)), space)
    assert result.bound_exceeded == 1 and result.first_failure is not None
    assert result.first_failure.index == outer * 1024 + inner
    assert result.first_failure.inputs["dy"].bits == f"0x{dy:04x}"  # type: ignore[union-attr]
    if "nan" not in wrong:
        assert result.tally.worst == result.first_failure
    assert result.tally.grade == "fails"


def test_a_crash_names_the_access_and_the_points(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"hp_smoothl1lossgrad_p crashed with SIGSEGV reading dy\[65536\].*points"):
        run(str(build(tmp_path, "dx1[0] = dy[length];")), tiny())


def test_the_first_element_beyond_an_operand_cannot_be_read(tmp_path: Path) -> None:
    """Also where the operand does not fill its pages: it ends at the guard."""
    axes = (Axis("x1", 0x3000, 0x3004), Axis("dy", 1, 1001))
    space = make_space("diff-dy", "smoothl1lossgrad", "fp16", axes=axes, block=1000)
    with pytest.raises(TargetError, match=r"reading dy\[1000\]"):
        run(str(build(tmp_path, "dx1[0] = dy[length];")), space)


def test_a_kernel_can_neither_change_nor_resize_what_the_judge_reads(tmp_path: Path) -> None:
    """It tries to make its input writable, then to cut off the memory of every file that it has."""
    library = build(
        tmp_path,
        "extern int mprotect(void *, unsigned long, int), ftruncate(int, long), fsync(int);"
        "char *page = (char *)((unsigned long)x1 & ~4095ul);"
        "for (int fd = 3; fd < 64; fd++) if (!ftruncate(fd, 0)) dx1[1] = 9;"
        "if (!mprotect(page, 4096, 3)) { x1[0] = 9; dx1[0] = 9; }",
    )
    assert run(str(library), tiny()).bound_exceeded == 0


@pytest.mark.parametrize("name", ["operand:x1", "pairs", "random"])
def test_operands_are_made_where_the_kernel_reads_them(name: str, kernels: Path) -> None:
    """What varies from block to block is not copied, and is what it is elsewhere."""
    dtype = "fp16" if name == "pairs" else "fp32"
    space = make_space(name, "smoothl1lossgrad", dtype, beta=0.1, samples=3 << 20)
    library, _ = open_work(str(kernels), space)
    evaluator = Evaluator(library)
    try:
        for block, operands, _, _ in evaluator.outputs(range(3)):
            made = space.operands(block)
            assert all(operands[n].tobytes() == values.tobytes() for n, values in made.items())
            varying = [n for n in operands if not space.repeats(n)]
            assert varying == {"operand:x1": ["x1"], "pairs": ["x1"], "random": ["dy", "x1", "x2"]}[name]
            assert all(
                np.shares_memory(operands[n], np.frombuffer(evaluator._library.memory[n][block % 2], operands[n].dtype))
                for n in varying
            )
    finally:
        evaluator.close()


def test_every_block_of_a_sample_is_another() -> None:
    for operator, options in (
        ("smoothl1lossgrad", {}),
        ("nlllossgrad", {"reduction": "none"}),
        ("nlllossgrad", {"reduction": "mean"}),
    ):
        for dtype in ("fp16", "fp32"):
            space = make_space("random", operator, dtype, **options, samples=4000, block=1000, seed=3)
            seen = [{k: v.tobytes() for k, v in space.operands(b).items() if k not in space.fixed} for b in (0, 1, 2)]
            for name in seen[0]:
                assert len({block[name] for block in seen}) == 3, (operator, dtype, name)
            again = make_space("random", operator, dtype, **options, samples=4000, block=1000, seed=4)
            assert all(again.operands(0)[name].tobytes() != seen[0][name] for name in seen[0])


def test_fixed_operands_of_a_sample_stay_fixed() -> None:
    for operator, options, fixed in (
        ("smoothl1lossgrad", {}, "dy"),
        ("nlllossgrad", {"reduction": "mean"}, "total_weight"),
    ):
        space = make_space("random", operator, "fp32", **options, samples=2000, block=1000, fixed={fixed: 3})
        for block in (0, 1):
            operands = space.operands(block)
            assert operands[fixed].tolist() == [3.0]
            assert all(len(v) > 1 for k, v in operands.items() if k not in (fixed, "loss_grad"))
        assert space.share == 2000 / 2.0**64


def test_a_hang_and_an_exit_are_reported(tmp_path: Path) -> None:
    library = build(tmp_path, "for (volatile int i = 0;;) (void)i;")
    work, info = open_work("reference:exact", tiny())
    stuck = msgspec.structs.replace(work, model="", path=str(library), timeout=0.5)
    with pytest.raises(TargetError, match=r"did not return within 0\.5 s"):
        sweep("kernel", stuck, info, Processes(1))
    gone = msgspec.structs.replace(stuck, path=str(build(tmp_path, "__builtin_trap();")))
    with pytest.raises(TargetError, match=r"crashed with SIG(ILL|TRAP)"):
        sweep("kernel", gone, info, Processes(1))


def test_unwritten_output_is_not_taken_from_an_earlier_block(tmp_path: Path) -> None:
    """The kernel stops writing after two blocks; what those left in the slots must not be judged again."""
    folder = tmp_path / "lazy"
    folder.mkdir()
    source = folder / "kernel.c"
    text = WRAPPER.replace(
        "inner(dy, dx1, x1, x2, length, beta);", "static int n; if (n++ < 2) inner(dy, dx1, x1, x2, length, beta);"
    )
    source.write_text(text.format(source=include_dir() / "smoothl1lossgrad.c", body=""))
    library = build_library(folder / "kernel.so", sources=[source])
    space = make_space(
        "diff-dy", "smoothl1lossgrad", "fp16", axes=(Axis("x1", 0x4000, 0x4008), Axis("dy", 1, 1025)), block=1024
    )
    work, _ = open_work("reference:exact", space)
    evaluator = Evaluator(msgspec.structs.replace(work, model="", path=str(library)))
    try:
        assert evaluator.evaluate(range(2)).tally.failures == 0
        assert evaluator.evaluate(range(2, 4)).tally.failures == 2048
    finally:
        evaluator.close()


def test_a_changed_floating_point_environment_is_a_finding(tmp_path: Path) -> None:
    if FP16 and not Path("/proc/cpuinfo").read_text().count("sse"):
        pytest.skip("x86-64 only")
    library = build(tmp_path, "__builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8000);")
    result = run(str(library), tiny())
    assert any("flush-to-zero" in finding for finding in result.broken)


def test_file_round_trip_and_footer(kernels: Path, tmp_path: Path) -> None:
    result = run(str(kernels), SPACES_TO_RUN[0])
    path = tmp_path / "sweep.json"
    write_sweep(path, result)
    assert read_sweep(path) == result
    assert msgspec.json.decode(path.read_bytes())["complete"] is True
    write_sweep(path, msgspec.structs.replace(result, complete=False))
    with pytest.raises(UsageError, match="incomplete"):
        read_sweep(path)
    path.write_text("{}")
    with pytest.raises(UsageError, match="not a whole"):
        read_sweep(path)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("pears", "smoothl1lossgrad", "fp16"), {}, "pairs"),
        (("pairs", "smoothl1lossgrad", "fp32"), {}, "2\\*\\*64"),
        (("operand:y", "smoothl1lossgrad", "fp32"), {}, "operand"),
        (("operand:total_weight", "nlllossgrad", "fp32"), {"reduction": "mean"}, "w-total"),
        (("w-total", "nlllossgrad", "fp16"), {}, "mean only"),
        (("g-w", "nlllossgrad", "fp16"), {"reduction": "mean", "fixed": {"total_weight": 0.0}}, "domain"),
        (("pairs", "smoothl1lossgrad", "fp16"), {"beta": 0.0}, "domain"),
        (("pairs", "smoothl1lossgrad", "fp64"), {}, "dtype"),
    ],
)
def test_wrong_spaces_are_usage_errors(
    arguments: tuple[str, str, str], options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make_space(*arguments, **options)  # type: ignore[arg-type]


def test_missing_entry_points_are_target_errors(fp32_only: Path) -> None:
    with pytest.raises(TargetError, match="hp_smoothl1lossgrad_p"):
        open_work(str(fp32_only), tiny())
    with pytest.raises(UsageError, match="reference model"):
        open_work("reference:formla", tiny())


def test_evaluators_in_threads_do_not_share(kernels: Path) -> None:
    """As in a cluster's worker. Blocks differ, so that a mix-up of their operands or results would show."""
    space = tiny(block=1 << 14)
    work, _ = open_work(str(kernels), space)

    def tallies(blocks: range) -> list[BlockTally]:
        evaluator = Evaluator(work)
        try:
            return [evaluator.evaluate(range(b, b + 1)).tally for b in blocks]
        finally:
            evaluator.close()

    halves = range(0, space.blocks // 2), range(space.blocks // 2, space.blocks)
    alone = [tallies(half) for half in halves]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(tallies, 2 * halves)) == 2 * alone


@pytest.mark.parametrize("samples", [1, 1 << 25, (1 << 34) + 5, (1 << 48) - 1, 1 << 61])
def test_a_space_of_any_size_is_cut_into_few_tasks_that_cover_it(tmp_path: Path, samples: int) -> None:
    """Whatever a scheduler has to keep, and the state file, stay small."""
    space = make_space("random", "nlllossgrad", "fp32", samples=samples)
    work, library = open_work("reference:formula", space)
    pool = _Listing()
    sweep("reference:formula", work, library, pool, state=tmp_path / "state")
    assert 1 <= len(pool.tasks) <= 1 << 16 and len(pool.tasks) <= -(-samples // sweeping.TASK)
    assert [number for number, _ in pool.tasks] == list(range(len(pool.tasks)))
    starts, stops = [b.start for _, b in pool.tasks], [b.stop for _, b in pool.tasks]
    assert starts == [0, *stops[:-1]] and stops[-1] == space.blocks and all(b for _, b in pool.tasks)
    assert (tmp_path / "state").stat().st_size < 1 << 16


class _Listing:
    """A pool that does nothing but remember what it was asked for."""

    jobs = 1

    def __init__(self) -> None:
        self.tasks: list[tuple[int, range]] = []

    def evaluate(self, work: Work, tasks: Iterator[tuple[int, range]]) -> Generator[tuple[int, Evaluated], None, None]:
        self.tasks += tasks
        yield from ()


def test_work_can_be_sent_elsewhere(kernels: Path) -> None:
    """What another process or machine needs survives JSON: the same blocks give the same tally there."""
    work, _ = open_work(str(kernels), tiny())
    copy = msgspec.json.decode(msgspec.json.encode(work), type=Work)
    results = []
    for each in (work, copy):
        evaluator = Evaluator(each)
        results.append(evaluator.evaluate(range(3, 5)).tally)
        evaluator.close()
    assert copy == work and results[0] == results[1]


#: The bundled NLLLossGrad kernel with something added after each call, of which a block has many.
MANY = """
#define hp_nlllossgrad_p inner
#include "nlllossgrad.h"
#include "{source}"
#undef hp_nlllossgrad_p
#define TYPES half *a, half *b, int *c, half *d, half *e, half *f, int g, int h, int i
void hp_nlllossgrad_p(TYPES);
void hp_nlllossgrad_p(TYPES)
{{
    inner(a, b, c, d, e, f, g, h, i);
    {body}
}}
"""
#: What a call may leave, the words that tell, and whether it decides.
LEFT = {
    "rbx": ('__asm__ volatile("xor %ebx, %ebx");', "did not preserve rbx", True),
    "r15": ('__asm__ volatile("mov $7, %r15");', "did not preserve r15", True),
    "direction": ('__asm__ volatile("std");', "did not preserve the direction flag", True),
    "x87": ('__asm__ volatile("fldz");', "did not preserve the x87 registers", True),
    "mmx": ('__asm__ volatile("pxor %mm0, %mm0");', "did not preserve the x87 registers", True),
    "flush": ("__builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8000);", "changed flush-to-zero from off to", True),
    "late-x87": ('static int n; if (++n > 1) __asm__ volatile("emms\\n\\tfldz");', "preserve the x87 registers", True),
    "folder": ('extern int chdir(const char *); chdir("/");', "changed the current folder", False),
    "locale": ('extern char *setlocale(int, const char *); setlocale(6, "C");', "changed the locale", False),
    "child": ("extern int fork(void), _exit(int); if (fork() == 0) _exit(0);", "process", True),
}


#: Each after one call of a block, or after one of many, by turns; the other confirms.
ONE_OR_MANY = [
    pytest.param(left, calls, marks=() if (turn % 2 == 0) == (calls == "one") else pytest.mark.confirm)
    for turn, left in enumerate(LEFT)
    for calls in ("one", "many")
]


@pytest.mark.skipif(not stub.NATIVE, reason="written for x86-64")
@pytest.mark.parametrize(("left", "calls"), ONE_OR_MANY)
def test_what_calls_leave_is_told_and_decides_as_in_a_validation(tmp_path: Path, calls: str, left: str) -> None:
    body, words, decides = LEFT[left]
    if calls == "one":
        target, space = build(tmp_path, body), tiny()
    else:
        axes = (Axis("loss_grad", 0x3C00, 0x3C80), Axis("weight", 0, 1 << 16, 64))
        space = make_space("g-w", "nlllossgrad", "fp16", reduction="mean", axes=axes)
        source = tmp_path / "many.c"
        source.write_text(MANY.format(source=include_dir() / "nlllossgrad.c", body=body))
        target = build_library(tmp_path / "many.so", sources=[source])
        assert space.plan(dict(space.operands(0)), space.step).calls > 1
    result = run(str(target), space)
    assert result.bound_exceeded == 0 and result.points == space.points
    told, untold = (result.broken, result.findings) if decides else (result.findings, result.broken)
    assert any(words in sentence for sentence in told), result
    assert not any(words in sentence for sentence in untold)
