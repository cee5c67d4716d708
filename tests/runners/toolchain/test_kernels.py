"""The bundled C kernels and how they are built.

The test process loads no library: each library is linked to a small C driver that runs in its own process.
"""

import itertools
import platform
import re
import shutil
import stat
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from golden.errors import UsageError
from golden.operator import entry_points, operators
from runners.toolchain.build import build_library, find_compiler, include_dir, kernel_sources
from tests import ROOT

PAGES = sorted((ROOT / "tests/pages").glob("*.c"))
INSTALLED = [name for name in ("gcc", "clang") if shutil.which(name)]

# Compilers and flags that have each been seen to choose other instructions for fp16.
BUILDS = [
    ("gcc", "-O0"),
    ("gcc", "-O3"),
    ("gcc", "-O2 -fexcess-precision=fast"),
    ("gcc", "-O2 -fexcess-precision=standard -DGOLDEN_THREADS -pthread"),
    ("gcc", "-O3 -march=native"),
    ("gcc", "-O3 -march=native -DGOLDEN_HALF_UINT16"),
    ("gcc", "-O0 -DGOLDEN_HALF_UINT16"),
    ("clang", "-O0 -march=native"),
    ("clang", "-O3 -march=native"),
    ("clang", "-O3 -march=native -DGOLDEN_HALF_UINT16"),
]
if platform.machine() == "x86_64":
    # Conversions in hardware, arithmetic in float: between no fp16 at all and native fp16.
    BUILDS.append(("gcc", "-O3 -march=native -mno-avx512fp16"))

Build = Callable[..., Path]


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Build a library once for each compiler and flags; skip what this machine cannot build."""
    made: dict[tuple[str, str], Path] = {}

    def get(cc: str = "", flags: str = "") -> Path:
        if cc and cc not in INSTALLED:
            pytest.skip(f"{cc} is not installed")
        if (cc, flags) not in made:
            path = tmp_path_factory.mktemp("library") / "libkernels.so"
            try:
                made[cc, flags] = build_library(path, cc or None, ["-Werror", *flags.split()])
            except UsageError as error:
                if "has no fp16 type" in str(error) and cc == "clang":
                    pytest.skip(str(error))
                raise
        return made[cc, flags]

    return get


def compile_program(library: Path, source: str, flags: str = "", cc: str = "") -> Path:
    """Compile C text against the headers, link it to a library, and return the program's path."""
    compiler = [cc] if cc else find_compiler()
    program = library.with_name(f"program{len(list(library.parent.iterdir()))}")
    words = [w for w in flags.split() if w.startswith(("-D", "-m", "-pthread"))]
    run(
        *compiler, "-std=c11", "-O1", "-Wall", "-Werror", *words, f"-I{include_dir()}", "-x", "c", "-",
        "-x", "none", str(library), f"-Wl,-rpath,{library.parent}", "-o", str(program), stdin=source.encode(),
    )  # fmt: skip
    return program


def run(*command: str, stdin: bytes = b"") -> bytes:
    """Run a program that must succeed and return what it wrote."""
    result = subprocess.run(command, input=stdin, capture_output=True, check=False)
    assert result.returncode == 0, f"{command}: status {result.returncode}\n{result.stderr.decode()}"
    return result.stdout


# What the headers promise


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
@pytest.mark.parametrize("cc", ["gcc", "clang"])
def test_example_programs_of_the_pages_compile_and_link_unmodified(
    page: Path, cc: str, build: Build, tmp_path: Path
) -> None:
    if cc not in INSTALLED:
        pytest.skip(f"{cc} is not installed")
    assert len(PAGES) == 4
    library = build()
    warnings = subprocess.run(
        [cc, "-Wall", "-I", include_dir(), page, library, "-o", tmp_path / "program"],
        capture_output=True, text=True, check=True,
    ).stderr  # fmt: skip
    assert warnings == ""
    assert (tmp_path / "program").exists()


def declarations(header: Path) -> dict[str, str]:
    text = re.sub(r"/\*.*?\*/", " ", header.read_text(encoding="utf-8"), flags=re.S)
    text = re.sub(r"^\s*#.*$", " ", text, flags=re.M)
    found = re.findall(r"void\s+(\w+)\s*\(([^)]*)\)\s*;", text)
    return {name: f"void {name}({' '.join(parameters.split())})" for name, parameters in found}


def test_headers_declare_every_entry_point_as_its_page_does() -> None:
    declared: dict[str, str] = {}
    for name in operators():
        declared |= declarations(include_dir() / f"{name}.h")
    assert declared == {symbol: e.prototype for symbol, e in entry_points().items()}


def exported(library: Path) -> set[str]:
    with library.open("rb") as file:
        table: Any = ELFFile(file).get_section_by_name(".dynsym")
        return {
            s.name
            for s in table.iter_symbols()
            if s["st_shndx"] != "SHN_UNDEF" and s["st_info"]["type"] == "STT_FUNC" and s.name[0] != "_"
        }


@pytest.mark.parametrize("flags", ["", "-DGOLDEN_FP32_ONLY", "-DGOLDEN_HALF_UINT16"])
def test_a_library_exports_its_entry_points_and_nothing_else(flags: str, build: Build) -> None:
    wanted = {s for s in entry_points() if s.startswith("fp_") or "FP32_ONLY" not in flags}
    assert exported(build(flags=flags)) == wanted


@pytest.mark.parametrize("flags", ["", "-DGOLDEN_HALF_UINT16"])
def test_headers_serve_cpp_programs(flags: str, build: Build) -> None:
    if not shutil.which("g++"):
        pytest.skip("g++ is not installed")
    library = build(flags=flags)
    shared = [symbol for symbol in entry_points() if symbol.endswith("_s")]
    calls = "".join(f'  std::printf("%d", {symbol} != nullptr);\n' for symbol in shared)
    headers = "".join(f"#include <{name}.h>\n" for name in operators())
    source = f"#include <cstdio>\n{headers}int main() {{\n  hp_smoothl1lossgrad_p(0, 0, 0, 0, 0, half(0));\n{calls}}}\n"
    run(
        "g++", "-Wall", *flags.split(), f"-I{include_dir()}", "-x", "c++", "-", "-x", "none", str(library),
        f"-Wl,-rpath,{library.parent}", "-o", str(library.with_name("cpp")), stdin=source.encode(),
    )  # fmt: skip
    assert run(str(library.with_name("cpp"))) == b"1" * len(shared)


# What the kernels compute

# A call on stdin and stdout, private storage. Operands that must not be read are null pointers, and every
# operand is followed by NaN, which shows in the result when loss_grad is read beyond its end.
CALL = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <smoothl1lossgrad.h>
#include <nlllossgrad.h>

static void *load(size_t count, size_t size)
{
    char *memory = malloc(count * size + 64);
    memset(memory, 0xff, count * size + 64);
    if (fread(memory, size, count, stdin) != count)
        abort();
    return memory;
}

#define SMOOTH(kernel, real)                                                          \
    if (strcmp(argv[1], #kernel) == 0) {                                              \
        real *beta = load(1, sizeof(real)), *dy = load(n, sizeof(real));              \
        real *x1 = load(n, sizeof(real)), *x2 = load(n, sizeof(real));                \
        real *dx1 = malloc(n * sizeof(real) + 1);                                     \
        memset(dx1, 0xa5, n * sizeof(real));                                          \
        kernel(dy, dx1, x1, x2, (int)n, *beta);                                       \
        fwrite(dx1, sizeof(real), n, stdout);                                         \
    }
#define NLL(kernel, real)                                                             \
    if (strcmp(argv[1], #kernel) == 0) {                                              \
        const size_t classes = strtoul(argv[3], NULL, 10);                            \
        const int reduction = atoi(argv[4]), none = atoi(argv[5]), mean = atoi(argv[6]); \
        real *loss_grad = load(none ? n : 1, sizeof(real));                           \
        real *weight = load(classes, sizeof(real));                                   \
        real *total = mean ? load(1, sizeof(real)) : NULL;                            \
        int *labels = load(n, sizeof(int));                                           \
        real *grad = malloc(n * classes * sizeof(real) + 1);                          \
        memset(grad, 0xa5, n * classes * sizeof(real));                               \
        kernel(NULL, loss_grad, labels, weight, total, grad, (int)n, (int)classes, reduction); \
        fwrite(grad, sizeof(real), n * classes, stdout);                              \
    }

int main(int argc, char **argv)
{
    const size_t n = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
    SMOOTH(fp_smoothl1lossgrad_p, float)
    SMOOTH(hp_smoothl1lossgrad_p, half)
    NLL(fp_nlllossgrad_p, float)
    NLL(hp_nlllossgrad_p, half)
    return 0;
}
"""


def formula(dy: Any, x1: Any, x2: Any, beta: Any) -> Any:
    """Evaluate SmoothL1LossGrad step by step in the operands' own type."""
    with np.errstate(all="ignore"):
        diff = x1 - x2
        inside = (diff / beta) * dy
    assert inside.dtype == dy.dtype
    return np.where(diff > beta, dy, np.where(diff < -beta, -dy, inside))


def same(got: Any, expected: Any) -> Any:
    """Compare bits, any NaN being equal to any other."""
    bits = f"u{expected.itemsize}"
    return (got.view(bits) == expected.view(bits)) | (np.isnan(got) & np.isnan(expected))


def triples(dtype: type, beta: Any) -> tuple[Any, Any, Any]:
    """Return 600 random triples around the kink, and all triples of special values."""
    rng = np.random.default_rng(20240607)
    x2 = rng.normal(0, 1, 600).astype(dtype)
    x1 = (x2 + rng.uniform(-1.25, 1.25, 600) * beta).astype(dtype)
    dy = (rng.uniform(1, 2, 600) * 2.0 ** rng.integers(-10, 10, 600)).astype(dtype)
    info = np.finfo(dtype)
    finite = [0.0, info.smallest_subnormal, info.smallest_normal, beta, 1.0, 1.5, info.max]
    special = np.array([s * v for v in [*finite, np.inf] for s in (1, -1)] + [np.nan], dtype)
    grid = np.array(list(itertools.product(special, repeat=3)), dtype).T
    return tuple(np.concatenate(pair) for pair in zip((dy, x1, x2), grid, strict=True))  # type: ignore[return-value]


@pytest.mark.parametrize(("cc", "flags"), BUILDS)
def test_every_operation_of_smoothl1lossgrad_is_rounded_to_its_type(cc: str, flags: str, build: Build) -> None:
    library = build(cc, flags)
    program = str(compile_program(library, CALL, flags, cc))
    order_matters = 0
    for symbol, dtype in (("hp_smoothl1lossgrad_p", np.float16), ("fp_smoothl1lossgrad_p", np.float32)):
        for value in (0.1, 1 / 3, 0.7, 1.0, 2.0**-14):
            beta = dtype(value)
            dy, x1, x2 = triples(dtype, beta)
            expected = formula(dy, x1, x2, beta)
            operands = b"".join(a.tobytes() for a in (beta, dy, x1, x2))
            got = np.frombuffer(run(program, symbol, str(dy.size), stdin=operands), dtype)
            wrong = np.flatnonzero(~same(got, expected))
            assert wrong.size == 0, [
                (symbol, float(beta), *(float(a[i]) for a in (dy, x1, x2, got, expected))) for i in wrong[:3]
            ]
            if dtype is np.float16:
                with np.errstate(over="ignore"):
                    wide = formula(*(a.astype(np.float32) for a in (dy, x1, x2)), np.float32(beta))
                    order_matters += np.count_nonzero(~same(wide.astype(np.float16), expected))
    # Else the inputs could not tell fp16 arithmetic from fp32 arithmetic.
    assert order_matters > 300


@pytest.mark.parametrize(("cc", "flags"), [*BUILDS, ("gcc", "-O2 -DGOLDEN_REDUCTION_NONE_SUM_MEAN")])
def test_nlllossgrad_computes_its_formula(cc: str, flags: str, build: Build) -> None:
    library = build(cc, flags)
    program = str(compile_program(library, CALL, flags, cc))
    rng = np.random.default_rng(7)
    order_matters = 0
    numbers = ("none-sum-mean" if "NONE_SUM_MEAN" in flags else "sum-mean-none").split("-")
    for (symbol, dtype), reduction, (batch, classes) in itertools.product(
        (("hp_nlllossgrad_p", np.float16), ("fp_nlllossgrad_p", np.float32)),
        numbers,
        ((0, 3), (1, 1), (37, 2), (50, 33), (40, 40000)),
    ):
        gradient = rng.uniform(0.1, 3, batch if reduction == "none" else 1).astype(dtype)
        weight = rng.uniform(0.1, 3, classes).astype(dtype)
        total = dtype(rng.uniform(5, 50))
        labels = rng.integers(0, classes, batch).astype(np.int32)
        if batch > 2:
            labels[:2] = 0, classes - 1
            # Outside the domain: their rows stay zero. A kernel that took them for indices would write into
            # each other's row.
            labels[-2:] = classes, -1
            weight[0] = np.nan
        legal = (labels >= 0) & (labels < classes)
        picked = weight[labels[legal]]
        upstream = gradient[legal] if reduction == "none" else gradient[0]
        expected = np.zeros((batch, classes), dtype)
        values = -(upstream * (picked / total)) if reduction == "mean" else -upstream * picked
        expected[np.flatnonzero(legal), labels[legal]] = values
        operands = [gradient, weight, *([total] if reduction == "mean" else []), labels]
        got = run(
            program, symbol, str(batch), str(classes), str(numbers.index(reduction)),
            str(int(reduction == "none")), str(int(reduction == "mean")),
            stdin=b"".join(a.tobytes() for a in operands),
        )  # fmt: skip
        assert same(np.frombuffer(got, dtype), expected.ravel()).all(), (symbol, reduction, batch, classes)
        if reduction == "mean" and dtype is np.float16:
            wide = -(np.float32(upstream) * (picked.astype(np.float32) / np.float32(total)))
            order_matters += np.count_nonzero(~same(wide.astype(np.float16), values))
    assert order_matters > 10


# A program that knows the calling convention, and not the headers.
CONVENTION = r"""
#include <stdint.h>
#include <stdio.h>
#include <string.h>
void hp_smoothl1lossgrad_p(HALF *dy, HALF *dx1, HALF *x1, HALF *x2, int length, HALF beta);

static HALF from_bits(uint16_t bits)
{
    HALF number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

int main(void)
{
    HALF dy = from_bits(0x4200), x1 = from_bits(0x3400), x2 = from_bits(0), dx1 = x2;
    hp_smoothl1lossgrad_p(&dy, &dx1, &x1, &x2, 1, from_bits(0x3a00));
    uint16_t bits;
    memcpy(&bits, &dx1, sizeof bits);
    printf("%04x", bits);
    return 0;
}
"""


@pytest.mark.parametrize(
    ("flags", "half"), [("", "_Float16"), ("-DGOLDEN_HALF_UINT16", "uint16_t")], ids=["_Float16", "uint16_t"]
)
def test_half_is_passed_by_value_as_announced(flags: str, half: str, build: Build) -> None:
    # 0.25 / 0.75 * 3, each operation rounded: 0x1.554p-2 * 3 = 0x1.fffp-1, a tie that goes up to 1.
    assert run(str(compile_program(build(flags=flags), CONVENTION, f"-DHALF={half}"))) == b"3c00"


# How the work is divided

PARTITION = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <smoothl1lossgrad.h>
#include <nlllossgrad.h>
#include <cores.h>
#include <pthread.h>

#define CHECK(condition)                                                                \
    if (!(condition)) {                                                                 \
        fprintf(stderr, "line %d: mask %x, %d items\n", __LINE__, (unsigned)mask, n);   \
        exit(1);                                                                        \
    }

enum { MOST = 64, CLASSES = 3, GUARD = 16 };
static int times[MOST], span_of[MOST];
static pthread_t thread_of[MOST];


static void count(const void *call, size_t begin, size_t end)
{
    (void)call;
    for (size_t i = begin; i < end; i++) {
        times[i]++;
        span_of[i] = (int)begin;
    }
    thread_of[begin] = pthread_self();
}

static void check_spans(int mask, int n)
{
    int cores = 0, spans = 0, least = MOST, most = 0;
    for (int bit = 0; bit < 32; bit++)
        cores += (unsigned)mask >> bit & 1;
    memset(times, 0, sizeof times);
    run_on_cores(count, NULL, (size_t)n, mask);
    for (int i = 0; i < n; i++)
        CHECK(times[i] == (cores != 0))
    for (int i = 0, size; cores != 0 && i < n; i += size, spans++) {
        for (size = 0; i + size < n && span_of[i + size] == i; size++) {}
        CHECK(size > 0)
        least = size < least ? size : least;
        most = size > most ? size : most;
#ifdef GOLDEN_THREADS
        CHECK(!pthread_equal(thread_of[i], pthread_self()))
        CHECK(i == 0 || !pthread_equal(thread_of[i], thread_of[0]))
#endif
    }
    CHECK(spans == (cores < n ? cores : n) || cores == 0)
    CHECK(spans == 0 || most - least <= 1)
}

/* Two buffers with guards on both sides, filled differently: an element that no core writes shows. */
#define COMPARE(elements, private_call, shared_call)                                    \
    memset(p_memory, 0xa5, sizeof p_memory);                                            \
    memset(s_memory, 0x5a, sizeof s_memory);                                            \
    private_call;                                                                       \
    shared_call;                                                                        \
    CHECK(memcmp(p, s, (elements) * sizeof *p) == 0 || mask == 0)                       \
    for (size_t i = 0; i < sizeof s_memory; i++)                                        \
        CHECK(s_memory_bytes[i] == 0x5a || (mask != 0 && i >= GUARD * sizeof *p &&      \
              i < (GUARD + (elements)) * sizeof *p))                                    \
    for (size_t i = 0; i < (elements) * sizeof *p; i++)                                 \
        CHECK(mask == 0 || s_memory_bytes[GUARD * sizeof *p + i] ==                     \
              ((unsigned char *)p)[i])

#define CHECK_KERNELS(real, prefix, number)                                             \
    static void prefix##_check(int mask, int n)                                         \
    {                                                                                   \
        static real p_memory[MOST * CLASSES + 2 * GUARD], s_memory[MOST * CLASSES + 2 * GUARD]; \
        real *p = p_memory + GUARD, *s = s_memory + GUARD;                              \
        const unsigned char *s_memory_bytes = (const unsigned char *)s_memory;          \
        real a[MOST], b[MOST], c[MOST];                                                 \
        int labels[MOST];                                                               \
        for (int i = 0; i < MOST; i++) {                                                \
            a[i] = number(1 + i), b[i] = number((i % 5) * 0.25f), c[i] = number(0.3f);  \
            labels[i] = i % CLASSES;                                                    \
        }                                                                               \
        COMPARE((size_t)n, prefix##_smoothl1lossgrad_p(a, p, b, c, n, c[0]),            \
                prefix##_smoothl1lossgrad_s(a, s, b, c, n, c[0], mask))                 \
        for (int reduction = 0; reduction < 3; reduction++) {                           \
            COMPARE((size_t)n * CLASSES,                                                \
                    prefix##_nlllossgrad_p(NULL, a, labels, a, c, p, n, CLASSES, reduction), \
                    prefix##_nlllossgrad_s(NULL, a, labels, a, c, s, n, CLASSES, reduction, mask)) \
        }                                                                               \
    }

static half to_half_bits(float x)
{
    const _Float16 number = (_Float16)x;
    half bits;
    memcpy(&bits, &number, sizeof bits);
    return bits;
}
#define SAME(x) (x)

CHECK_KERNELS(float, fp, SAME)
CHECK_KERNELS(half, hp, to_half_bits)

int main(void)
{
    static const int sparse[] = {(int)0x80000001, (int)0x40010100, -1, (int)0x80000000, 0x0ff00000};
    for (int n = 0; n <= 20; n += n < FROM ? 1 : STEP) {
        for (int mask = 0; mask <= 255; mask++) {
            check_spans(mask, n);
            fp_check(mask, n);
            hp_check(mask, n);
        }
        for (size_t i = 0; i < sizeof sparse / sizeof *sparse; i++) {
            check_spans(sparse[i], n);
            fp_check(sparse[i], n);
            hp_check(sparse[i], n);
        }
    }
    check_spans(-1, MOST);
    check_spans(-1, MOST - 1);
    /* Nothing is read or written where there is nothing to do. */
    for (int n = -1; n <= 0; n++) {
        fp_smoothl1lossgrad_s(NULL, NULL, NULL, NULL, n, 1, 0xff);
        fp_smoothl1lossgrad_p(NULL, NULL, NULL, NULL, n, 1);
        hp_smoothl1lossgrad_s(NULL, NULL, NULL, NULL, n, 1, 0xff);
        hp_smoothl1lossgrad_p(NULL, NULL, NULL, NULL, n, 1);
        for (int reduction = 0; reduction < 3; reduction++) {
            fp_nlllossgrad_s(NULL, NULL, NULL, NULL, NULL, NULL, n, 3, reduction, 0xff);
            fp_nlllossgrad_p(NULL, NULL, NULL, NULL, NULL, NULL, n, 3, reduction);
            hp_nlllossgrad_s(NULL, NULL, NULL, NULL, NULL, NULL, 3, n, reduction, 0xff);
            hp_nlllossgrad_p(NULL, NULL, NULL, NULL, NULL, NULL, n, 3, reduction);
        }
    }
    fp_nlllossgrad_p(NULL, NULL, NULL, NULL, NULL, NULL, 3, 3, 7);
    puts("done");
    return 0;
}
"""


THREADS = "-DGOLDEN_THREADS -pthread"


@pytest.mark.parametrize(
    ("flags", "grid"),
    [
        ("", "-DFROM=20 -DSTEP=1"),
        ("-DGOLDEN_HALF_UINT16", "-DFROM=20 -DSTEP=1"),
        (THREADS, "-DFROM=2 -DSTEP=7"),  # starting threads takes a while
        pytest.param(THREADS, "-DFROM=20 -DSTEP=1", marks=pytest.mark.confirm),
    ],
)
def test_every_core_mask_gives_the_bits_of_the_private_kernel(flags: str, grid: str, build: Build) -> None:
    library = build(flags=flags)
    assert run(str(compile_program(library, PARTITION, f"{flags} {grid} -pthread"))) == b"done\n"


# How a library is built


def test_a_path_with_spaces_and_chinese_characters(tmp_path: Path) -> None:
    output = tmp_path / "新 目录" / "内核 1" / "库 (fp).so"
    assert build_library(output) == output
    assert exported(output) == set(entry_points())
    assert [p.name for p in output.parent.iterdir()] == [output.name]


def test_relative_path_and_compiler_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "used"
    real = find_compiler()[0]
    script = executable(tmp_path / "my cc", f': > "{marker}"; exec {real} "$@"')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CC", f"'{script}' -O1")
    assert build_library(Path("lib.so")) == Path("lib.so")
    assert (tmp_path / "lib.so").exists()
    assert marker.exists()
    marker.unlink()
    monkeypatch.setenv("CC", str(script))  # a path with a space, not quoted, is a path all the same
    build_library(Path("lib.so"))
    assert marker.exists()
    marker.unlink()
    build_library(Path("lib.so"), cc=real)  # an argument beats the environment
    assert not marker.exists()


def test_flags_of_the_user_win_and_variant_sources_find_the_headers(tmp_path: Path) -> None:
    variant = tmp_path / "smoothl1lossgrad.c"
    variant.write_text((include_dir() / variant.name).read_text(encoding="utf-8"), encoding="utf-8")
    output = build_library(tmp_path / "a.so", cflags=["-DGOLDEN_FP32_ONLY", "-std=gnu99"], sources=[variant])
    assert exported(output) == {"fp_smoothl1lossgrad_s", "fp_smoothl1lossgrad_p"}


def test_the_same_build_gives_the_same_bytes(tmp_path: Path) -> None:
    first = build_library(tmp_path / "a.so").read_bytes()
    assert build_library(tmp_path / "elsewhere" / "b.so").read_bytes() == first


def test_sources_are_the_kernels() -> None:
    assert [p.name for p in kernel_sources()] == [f"{name}.c" for name in operators()]
    assert all(p.parent == include_dir() for p in kernel_sources())


def executable(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def refused(output: Path, *parts: str, cc: str | None = None, cflags: Sequence[str] = ()) -> None:
    """Check that a build is refused with one sentence that has these parts, and leaves nothing behind."""
    before = output.read_bytes() if output.is_file() else None
    with pytest.raises(UsageError) as caught:
        build_library(output, cc, cflags)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "\n" not in message
    assert all(part in message for part in parts), message
    assert (output.read_bytes() if output.is_file() else None) == before
    assert not output.parent.is_dir() or not list(output.parent.glob(".golden-build-*"))


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    refused(tmp_path / "a.so", "No C compiler", "cc, gcc, clang", "install", "--cc", "$CC")


def test_the_named_compiler_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "a.so"
    refused(output, "'no-such-cc'", "--cc", "not found", cc="no-such-cc")
    refused(output, "cannot be read", cc='"gcc')
    monkeypatch.setenv("CC", "/no/such/cc -O2")
    refused(output, "'/no/such/cc -O2'", "$CC", "not found")
    not_a_program = executable(tmp_path / "cc", "")
    not_a_program.write_bytes(b"\x7fELF")
    refused(output, str(not_a_program), "cannot be run", cc=str(not_a_program))


def test_a_compiler_without_fp16(tmp_path: Path) -> None:
    # An old compiler: the type is unknown, and so is the macro that announces it.
    script = executable(tmp_path / "oldcc", f'exec {find_compiler()[0]} -U__FLT16_MAX__ -D_Float16=no_such_type "$@"')
    output = tmp_path / "a.so"
    refused(output, str(script), "no fp16 type", "_Float16", "GCC 12", "-DGOLDEN_FP32_ONLY", cc=str(script))
    build_library(output, str(script), ["-DGOLDEN_HALF_UINT16"])
    assert exported(output) == set(entry_points())
    build_library(output, str(script), ["-DGOLDEN_FP32_ONLY"])
    assert exported(output) == {s for s in entry_points() if s.startswith("fp_")}
    # The pages' programs call fp_ functions only: they compile there too.
    for page in PAGES:
        run(str(script), f"-I{include_dir()}", str(page), str(output), "-o", str(tmp_path / "program"))


def test_a_compilation_that_fails(tmp_path: Path) -> None:
    output = tmp_path / "a b.so"
    output.write_bytes(b"an older library")
    refused(output, "could not compile", "-bogus", f"run: {find_compiler()[0]}", "a b.so'", cflags=["-bogus"])
    refused(output, "could not compile", "no message", cc=str(executable(tmp_path / "mute", "exit 1")))
    refused(output, "wrote no library", "-fsyntax-only", cflags=["-fsyntax-only"])
    refused(output, "could not compile", "error:", cflags=["-Dlength=*"])


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("text", encoding="utf-8")
    refused(file / "a.so", str(file), "is a file where a folder is needed", "choose another path")
    refused(file / "deeper" / "a.so", str(file), "cannot be written")
    refused(tmp_path, str(tmp_path), "it is a folder")
    assert file.read_text(encoding="utf-8") == "text"
    refused(Path("/proc/a.so"), "/proc/a.so", "cannot be written", "choose another path")
