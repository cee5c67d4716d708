"""Reproducers: one C file that shows the failure of a defective build, and none in the healthy one."""

import dataclasses
import shutil
import subprocess
from pathlib import Path

import msgspec
import numpy as np
import pytest

from golden.case import Case
from golden.errors import UsageError
from golden.files.manifest import read_suite, suite_folder
from golden.files.vectors import VectorFile
from golden.formats import FORMATS
from golden.judge import judge_all
from golden.legal import legal_ranges
from golden.operator import entry_points, operator
from golden.profile import load_profile
from golden.results import Failure, Results
from golden.terms import Terms
from reports.repro import choose_symbol, render_repro
from runners.calling.plan import invocations
from runners.judging.validate import Settings, validate
from runners.library.session import LibrarySession
from runners.toolchain.build import build_library, include_dir
from tests.helpers import results_factory
from tests.mutants.mutants import MUTANTS
from tests.mutants.variant import build

COMPILER = shutil.which("gcc") or shutil.which("cc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler (gcc or cc) on this machine")
STRICT = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
HOST = load_profile("host")

#: Wrappers around the healthy kernel, which is compiled under the name ``good``; each defect is one of a kind.
SMOOTHL1 = "{half} *dy, {half} *dx1, {half} *x1, {half} *x2, int length, {half} beta{mask}"
NLL = "{half} *l, {half} *g, int *labels, {half} *w, {half} *t, {half} *out, int batch, int class_num, int r{mask}"
DEFECTS = {
    "swapped": ("fp_smoothl1lossgrad_p", "good(dy, dx1, x2, x1, length, beta);"),
    "drops the last element": ("hp_smoothl1lossgrad_s", "good(dy, dx1, x1, x2, length - 1, beta, core_mask);"),
    "wrong with core mask 1": (
        "fp_smoothl1lossgrad_s",
        "good(dy, dx1, x1, x2, length, beta, core_mask); if (core_mask != 0xff && length) dx1[0] = 3e30f;",
    ),
    "loses a result": (
        "hp_smoothl1lossgrad_p",
        "good(dy, dx1, x1, x2, length, beta); if (length) dx1[length / 2] = 0;",
    ),
    "writes beyond": ("hp_smoothl1lossgrad_p", "good(dy, dx1, x1, x2, length, beta); dx1[length] = dx1[0];"),
    "reads beyond": (
        "fp_smoothl1lossgrad_p",
        "volatile float seen = x1[length]; (void)seen; good(dy, dx1, x1, x2, length, beta);",
    ),
    "writes an input": ("fp_nlllossgrad_p", "good(l, g, labels, w, t, out, batch, class_num, r); labels[0] = 0;"),
    "adds to the output": (
        "fp_nlllossgrad_s",
        "for (int i = 0; i < batch; i++) out[(long)i * class_num + labels[i]] -= w[labels[i]];"
        "(void)good; (void)l; (void)g; (void)t; (void)r; (void)core_mask;",
    ),
    "sum and mean exchanged": ("hp_nlllossgrad_p", "good(l, g, labels, w, t, out, batch, class_num, r < 2 ? !r : 2);"),
    "sign dropped": (
        "hp_nlllossgrad_s",
        "good(l, g, labels, w, t, out, batch, class_num, r, core_mask);"
        "for (long i = 0; i < (long)batch * class_num; i++) out[i] = -out[i];",
    ),
    "rounds upward ever after": (
        "hp_smoothl1lossgrad_p",
        "good(dy, dx1, x1, x2, length, beta); fesetround(FE_UPWARD);",
    ),
    "aborts": ("fp_smoothl1lossgrad_s", "good(dy, dx1, x1, x2, length, beta, core_mask); if (length == 9) abort();"),
    "exits": ("fp_nlllossgrad_p", "good(l, g, labels, w, t, out, batch, class_num, r); if (batch == 3) exit(0);"),
    "forks": ("hp_smoothl1lossgrad_p", "good(dy, dx1, x1, x2, length, beta); if (length == 33) fork();"),
    "hangs": ("fp_smoothl1lossgrad_p", "good(dy, dx1, x1, x2, length, beta); while (length == 9) pause();"),
}


def defective(name: str, folder: Path) -> Path:
    symbol, body = DEFECTS[name]
    operator = symbol.split("_")[1]
    types = {"half": "half" if symbol[0] == "h" else "float", "mask": ", int core_mask" * symbol.endswith("_s")}
    parameters = (SMOOTHL1 if operator == "smoothl1lossgrad" else NLL).format(**types)
    source = folder / "defect.c"
    source.write_text(
        f"#include <fenv.h>\n#include <stdlib.h>\n#include <unistd.h>\n"
        f'#define {symbol} good\n#include "{operator}.c"\n#undef {symbol}\n'
        f"void {symbol}({parameters});\nvoid {symbol}({parameters})\n{{ {body} }}\n"
    )
    other = next(p for p in include_dir().glob("*.c") if p.stem != operator)
    flags = ["-w", "-D_GNU_SOURCE", f"-I{include_dir()}", "-lm"]
    return build_library(folder / "defect.so", sources=[source, other], cflags=flags)


@pytest.fixture(scope="module")
def suite() -> list[VectorFile]:
    return read_suite(suite_folder("smoke"))


def judged(library: Path, files: list[VectorFile], timeout: float = 2.0) -> Results:
    with LibrarySession(library, timeout=timeout) as session:
        settings = Settings(HOST, "smoke", timeout=timeout)
        return validate(library.name, session, session.library, files, settings)


def find(files: list[VectorFile], name: str) -> Case:
    return next(case for file in files for case in file.cases if case.id == name)


def render(results: Results, case: Case, symbol: str) -> str:
    plan = invocations(case, entry_points()[symbol], load_profile(results.platform.name))
    return render_repro(results, case, symbol, plan, results.platform.terms)


def run(
    program: str, library: Path, folder: Path, *flags: str, compiler: str = str(COMPILER)
) -> subprocess.CompletedProcess[str]:
    source, binary = folder / "repro.c", folder / "repro"
    source.write_text(program)
    command = [compiler, *STRICT, *flags, f"-I{include_dir()}", str(source), str(library), "-o", str(binary)]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    assert compiled.returncode == 0 and not compiled.stderr, compiled.stderr
    return subprocess.run([binary], capture_output=True, text=True, timeout=60, check=False)


#: What the program says about a defect, besides the symbol.
SAYS = {
    "writes beyond": "beyond its",
    "reads beyond": "crashed with SIGSEGV",
    "writes an input": "labels[0] of",
    "rounds upward ever after": "floating-point environment",
    "aborts": "aborted",
    "exits": "ended the process",
    "forks": "a process was left behind",
    "hangs": "did not return",
}


#: Wrong values as others are.
ALIKE = (
    *("loses a result", "sign dropped", "drops the last element", "swapped", "adds to the output"),
    *("sum and mean exchanged", "writes beyond", "aborts"),
)


@needs_compiler
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.confirm if n in ALIKE else ()) for n in DEFECTS])
def test_a_reproducer_shows_the_defect_and_nothing_in_the_healthy_build(
    name: str, suite: list[VectorFile], kernels: Path, tmp_path: Path
) -> None:
    library = defective(name, tmp_path)
    symbol = DEFECTS[name][0]
    files = [f for f in suite if f.operator.name in symbol and f.dtype[-2:] in fmt_of(symbol)]
    results = judged(library, files, 0.5 if name == "hangs" else 2.0)
    entry = next(e for e in results.entry_points if e.symbol == symbol)
    failure = next(f for f in entry.failing if f.case)
    case = find(suite, failure.case)
    assert choose_symbol(results, case) == symbol
    program = render(results, case, symbol)
    shown = run(program, library, tmp_path)
    assert shown.returncode == 1, shown.stdout + shown.stderr
    assert symbol in shown.stdout and "FAILS" in shown.stdout and "RIGHT" not in shown.stdout
    assert SAYS.get(name, "elements wrong") in shown.stdout or "crashed with SIGSEGV" in shown.stdout
    if failure.first is not None and name != "wrong with core mask 1":
        assert failure.first.expected.bits in shown.stdout
    right = run(program, kernels, tmp_path)
    assert right.returncode == 0, right.stdout
    assert (
        right.stdout
        == f"RIGHT: {symbol} is right in all {program.count(', 0xa5, ') + program.count(', 0x5a, ')} calls\n"
    )


def fmt_of(symbol: str) -> str:
    return {"h": "16", "f": "32"}[symbol[0]]


@needs_compiler
def test_the_worst_mismatch_comes_first_with_bits_and_hex_floats(suite: list[VectorFile], tmp_path: Path) -> None:
    library = defective("swapped", tmp_path)
    results = judged(library, [f for f in suite if f.operator.name == "smoothl1lossgrad" and f.dtype == "fp32"])
    entry = next(e for e in results.entry_points if e.symbol == "fp_smoothl1lossgrad_p")
    failure = next(f for f in entry.failing if f.kind == "value")
    assert failure.first is not None
    program = render(results, find(suite, failure.case), entry.symbol)
    first = failure.first
    for text in (first.expected.bits, first.got.bits, first.expected.hex, failure.message.split(";")[0]):
        assert text in program
    lines = run(program, library, tmp_path).stdout.splitlines()
    assert lines[0].startswith("run 1 of") and f"{failure.elements} of " in lines[0]
    assert lines[1].startswith("  dx1[") and "expected 0x" in lines[1] and ", got 0x" in lines[1]
    assert any(f"expected {first.expected.bits}" in line and f"got {first.got.bits}" in line for line in lines)


@pytest.mark.confirm
@needs_compiler
def test_it_works_without_guard_pages(suite: list[VectorFile], kernels: Path, tmp_path: Path) -> None:
    library = defective("writes beyond", tmp_path)
    results = judged(library, [f for f in suite if f.operator.name == "smoothl1lossgrad" and f.dtype == "fp16"])
    entry = next(e for e in results.entry_points if e.symbol == "hp_smoothl1lossgrad_p")
    case = find(suite, next(f.case for f in entry.failing if f.case))
    program = render(results, case, entry.symbol)
    shown = run(program, library, tmp_path, "-DREPRO_PORTABLE")
    assert shown.returncode == 1 and "was written, beyond its" in shown.stdout
    assert run(program, kernels, tmp_path, "-DREPRO_PORTABLE").returncode == 0
    exact = run(program, kernels, tmp_path, "-DREPRO_PORTABLE", "-DREPRO_MARGIN=0")
    assert exact.returncode == 0


@needs_compiler
def test_address_sanitizer_sees_reads_beyond_the_portable_operands(
    suite: list[VectorFile], kernels: Path, tmp_path: Path
) -> None:
    library = defective("reads beyond", tmp_path)
    case = next(c for f in suite for c in f.cases if c.dtype == "fp32" and "length/n=9" in c.id)
    program = render(judged(kernels, [f for f in suite if in_file(f, case)]), case, "fp_smoothl1lossgrad_p")
    # The library itself has no instrumentation; its source is compiled into the program.
    source = (tmp_path / "defect.c").rename(tmp_path / "with_asan.c")
    (tmp_path / "repro.c").write_text(program)
    flags = ["-fsanitize=address", "-g", "-DREPRO_PORTABLE", "-DREPRO_MARGIN=0", "-w", "-D_GNU_SOURCE"]
    command = [str(COMPILER), *flags, f"-I{include_dir()}", str(tmp_path / "repro.c"), str(source), "-lm"]
    built = subprocess.run([*command, "-o", str(tmp_path / "asan")], capture_output=True, text=True, check=False)
    if built.returncode:
        pytest.skip(f"no AddressSanitizer with {COMPILER}")
    assert library.exists()
    shown = subprocess.run([tmp_path / "asan"], capture_output=True, text=True, check=False)
    assert "heap-buffer-overflow" in shown.stderr and shown.returncode != 0


def in_file(file: VectorFile, case: Case) -> bool:
    return (file.operator, file.dtype) == (case.operator, case.dtype)


@needs_compiler
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize(
    "symbol", [s for s in entry_points() if s.split("_")[1] in ("smoothl1lossgrad", "nlllossgrad")]
)
def test_it_is_right_about_healthy_builds_whatever_half_is(
    compiler: str, symbol: str, suite: list[VectorFile], uint16_half: Path, tmp_path: Path
) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not on PATH")
    results = results_factory.results()
    chosen = [c for f in suite for c in f.cases if c.operator.name in symbol and c.dtype[-2:] == fmt_of(symbol)]
    wanted = ("special-values", "subnormal") if compiler == "gcc" else ("shape/b=0", "length/n=0")
    for case in {c.id: c for w in wanted if (c := next((c for c in chosen if w in c.id), None))}.values():
        shown = run(render(results, case, symbol), uint16_half, tmp_path, "-DGOLDEN_HALF_UINT16", compiler=compiler)
        assert shown.returncode == 0, (case.id, shown.stdout)


@pytest.mark.parametrize("flush", [False, True])
@pytest.mark.parametrize("part", ["subnormal", "special-values", "hard-to-round", "loss-scaled", "mean/ties"])
def test_intervals_are_what_the_judge_accepts(part: str, flush: bool, suite: list[VectorFile]) -> None:
    chosen = [c for f in suite for c in f.cases if part in c.id and c.dtype == "fp16"]
    assert chosen
    for case in chosen[:2]:
        fmt = case.fmt
        terms = Terms(flush)
        sets = legal_ranges(case.operator, fmt, case.scalars, case.operands, case.golden.value, terms)
        patterns = np.unique(
            np.concatenate([np.arange(0, 1 << 16, 809), [0, 1, 0x8000, 0x8001, 0x7C00, 0xFC00, 0x7E01]])
        )
        near = fmt.bits(case.golden.value).astype(np.int64)
        tried = [near + offset for offset in range(-3, 4)] + [np.full(near.shape, p) for p in patterns]
        outputs = [(bits & 0xFFFF).astype(fmt.bits_dtype) for bits in tried]
        found = judge_all([(case, fmt.from_bits(output)) for output in outputs], terms)
        for output, judged in zip(outputs, found, strict=True):
            accepted = np.ones(output.shape, bool)
            accepted[judged.at[judged.failing]] = False
            expected = [inside(bits, ranges) for bits, ranges in zip(output.tolist(), sets, strict=True)]
            assert (accepted == expected).all(), (case.id, np.flatnonzero(accepted != expected))


def inside(bits: int, ranges: list[tuple[int, int]]) -> bool:
    """Tell whether an fp16 pattern is in one of the ranges; zeros are one number, and so are NaNs."""
    if (bits & 0x7FFF) > 0x7C00:
        return any((low & 0x7FFF) > 0x7C00 for low, _ in ranges)
    numbers = [(rank(low), rank(high)) for low, high in ranges if (low & 0x7FFF) <= 0x7C00]
    return any(low <= rank(bits) <= high for low, high in numbers)


def test_zero_is_a_range_of_its_own_where_flushing_gives_it() -> None:
    fmt = FORMATS["fp16"]
    operands = {
        "loss_grad": np.array([2.0**15], fmt.dtype),
        "labels": np.zeros(1, np.int32),
        "weight": np.array([2.0**-15], fmt.dtype),
        "total_weight": np.ones(1, fmt.dtype),
    }
    scalars = {"batch": 1, "class_num": 1, "reduction_type": "none"}
    op = operator("nlllossgrad")
    golden = op.oracle(fmt, scalars, operands).value
    for flush, ranges in ((True, [(0xBC00, 0xBC00), (0, 0)]), (False, [(0xBC00, 0xBC00)])):
        assert legal_ranges(op, fmt, scalars, operands, golden, Terms(flush)) == [ranges]


def rank(bits: int) -> int:
    return -(bits & 0x7FFF) if bits & 0x8000 else bits


def test_nan_payloads_are_kept(suite: list[VectorFile]) -> None:
    case = next(c for f in suite for c in f.cases if "special-values/g=0xffc00005" in c.id)
    assert "0xffc00005, /* nan */" in render(results_factory.results(), case, "fp_nlllossgrad_s")


@needs_compiler
def test_text_of_others_cannot_leave_the_comment(suite: list[VectorFile], kernels: Path, tmp_path: Path) -> None:
    case = find(suite, "smoothl1lossgrad/fp32/beta=1/uniform-bits/n=33")
    results = results_factory.hostile()
    evil = '*/ #error "out" /* ??/ \\ /*/ */* \n#error line'
    entry = next(e for e in results.entry_points if e.symbol == "fp_smoothl1lossgrad_s")
    entry.failing = [Failure(case.id, evil, "required", evil, evil, 1)]
    results.library = msgspec.structs.replace(results.library, path=evil)
    plan = invocations(case, entry_points()[entry.symbol], HOST)
    program = render_repro(results, dataclasses.replace(case, id=evil), entry.symbol, plan, Terms())
    assert run(program, kernels, tmp_path).returncode == 0


@needs_compiler
def test_a_large_case_is_compact_and_whole(suite: list[VectorFile], kernels: Path, tmp_path: Path) -> None:
    small = find(suite, "smoothl1lossgrad/fp32/beta=1/uniform-bits/n=33")
    times = 200
    operands = {name: np.tile(values, times) for name, values in small.operands.items()}
    golden = type(small.golden)(*(np.tile(part, times) for part in small.golden))
    case = dataclasses.replace(small, scalars={**small.scalars, "length": 33 * times}, operands=operands, golden=golden)
    program = render(results_factory.results(), case, "fp_smoothl1lossgrad_p")
    assert f"{3 * 33 * times} numbers go in, {33 * times} come out." in program
    assert "dy_data[6600]" in program and len(program) < 850_000
    assert run(program, kernels, tmp_path).returncode == 0


def test_choosing_the_entry_point(suite: list[VectorFile]) -> None:
    case = find(suite, "smoothl1lossgrad/fp32/beta=1/uniform-bits/n=33")
    results = results_factory.results()
    assert choose_symbol(results, case) == "fp_smoothl1lossgrad_s"
    entry = next(e for e in results.entry_points if e.symbol == "fp_smoothl1lossgrad_p")
    entry.failing = [Failure(case.id, case.klass, "required", "value", "wrong")]
    assert choose_symbol(results, case) == "fp_smoothl1lossgrad_p"
    assert choose_symbol(results, case, "fp_smoothl1lossgrad_s") == "fp_smoothl1lossgrad_s"
    with pytest.raises(UsageError, match="did you mean 'fp_smoothl1lossgrad_"):
        choose_symbol(results, case, "fp_smoothl1lossgrad_x")
    results.entry_points = [e for e in results.entry_points if e.dtype == "fp16"]
    with pytest.raises(UsageError, match="judged no entry point"):
        choose_symbol(results, case)


def test_what_cannot_be_reproduced_is_said(suite: list[VectorFile]) -> None:
    case = find(suite, "smoothl1lossgrad/fp16/beta=1/uniform-bits/n=33")
    with pytest.raises(UsageError, match="not in the library"):
        render(results_factory.missing(), case, "hp_smoothl1lossgrad_s")
    with pytest.raises(UsageError, match="no entry point for"):
        render(results_factory.results(), case, "fp_smoothl1lossgrad_s")
    with pytest.raises(UsageError, match="no call"):
        render_repro(results_factory.results(), case, "hp_smoothl1lossgrad_s", [], Terms())


def test_reduction_numbers_and_timeout_are_the_runs(suite: list[VectorFile]) -> None:
    case = next(c for f in suite for c in f.cases if c.id.startswith("nlllossgrad/fp32/none/normal"))
    arguments = f"{case.scalars['batch']}, {case.scalars['class_num']}"
    for options, found, number in (
        ({"reduction-enum": "sum-mean-none"}, "none-sum-mean", 2),
        ({"reduction-enum": "none-sum-mean"}, "unknown", 0),
        ({"reduction-enum": "auto"}, "none-sum-mean", 0),
        ({"reduction-enum": "auto"}, "unknown", 2),
    ):
        results = results_factory.results(options={**options, "timeout": "2.5 s"})
        results.probe = msgspec.structs.replace(results.probe, numbering=found)
        program = render(results, case, "fp_nlllossgrad_p")
        assert f"{arguments}, {number});" in " ".join(program.split())
        assert "#define TIMEOUT 3 " in program


@pytest.mark.slow
@pytest.mark.timeout(3600)
@needs_compiler
def test_reproducers_of_many_mutants(tmp_path: Path) -> None:
    """Two of every family, as far as golden reports a failing case; calls that need a history are not among them."""
    files = read_suite(suite_folder("core"))
    shown: dict[str, list[str]] = {}
    for mutant in MUTANTS:
        done = shown.setdefault(mutant.family, [])
        if len(done) == 2 or mutant.family in ("state", "crashes and hangs"):
            continue
        library = build(mutant, tmp_path)
        with LibrarySession(library, timeout=4) as session:
            results = validate(library.name, session, session.library, files, Settings(HOST, "core", timeout=4))
        found = next(((e.symbol, f) for e in results.entry_points for f in e.failing if f.case), None)
        if found is None:
            continue
        symbol, failure = found
        again = run(render(results, find(files, failure.case), symbol), library, tmp_path)
        assert again.returncode == 1, (mutant.name, failure.message, again.stdout)
        assert failure.first is None or failure.first.expected.bits in again.stdout, mutant.name
        done.append(mutant.name)
    assert sum(map(len, shown.values())) >= 20, shown
