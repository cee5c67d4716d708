"""Harnesses end to end: built here, for this machine and for emulated ones, and run through ``exec:``."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from golden.cli import cli
from golden.errors import UsageError
from golden.operator import entry_points
from golden.results import Results, read_results
from reports.diff import bits
from runners.build import build_harness, build_library, find_compiler, include_dir, write_harness_sources
from runners.execute import ExecSession
from runners.library import LibrarySession, call_for
from runners.placement import Regions
from runners.protocol import POISONS, Invocation, Outcome, Session
from tests.mutants import run as mutants
from tests.mutants.mutants import MUTANTS

#: Triple -> emulator, what hello says of half, and of the machine.
TARGETS = {
    "aarch64-linux-gnu": ("qemu-aarch64", "float16", "aarch64 (64-bit, little-endian)"),
    "arm-linux-gnueabihf": ("qemu-arm", "float16", "arm (32-bit, little-endian)"),
    "riscv64-linux-gnu": ("qemu-riscv64", "uint16", "riscv64 (64-bit, little-endian)"),
    "s390x-linux-gnu": ("qemu-s390x", "uint16", "s390x (64-bit, big-endian)"),
}
#: Defects that a harness sees with canaries and copies, of every kind; then a sample of memory, tails and core masks.
FAST = ("sl1-fp-writes-beyond", "sl1-fp-tail-formula", "cores-last-skipped", "nll-fp-no-zero-fill", "sl1-hp-endless")
SAMPLE = (
    *("sl1-hp-tail-skipped", "sl1-fp-tail-doubled", "sl1-hp-tail-shifted", "sl1-fp-tail-unsaturated"),
    *("sl1-hp-rounded-up", "sl1-fp-last-vector-back", "sl1-fp-block-127", "sl1-hp-block-256"),
    *("cores-four-counted", "cores-bit-as-rank", "cores-more-than-items", "cores-ceiling-unclipped"),
    *("cores-gap", "cores-seven", "cores-mask-7e", "sl1-hp-writes-before", "sl1-hp-diff-in-x1"),
    *("sl1-fp-zero-unwritten", "sl1-hp-accumulates", "sl1-hp-uninitialised"),
)
SYMBOL = "fp_smoothl1lossgrad_p"

# Misbehaves by its length; dx1 is right otherwise, but for length 23, whose last element is not written.
KERNEL = r"""
#define _GNU_SOURCE
#include <fenv.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
void fp_smoothl1lossgrad_p(float *dy, float *dx1, float *x1, float *x2, int length, float beta)
{
    static int calls;
    calls++;
    for (int i = 0; i < length - (length == 23); i++)
        dx1[i] = (x1[i] - x2[i]) / beta * dy[i];
    switch (length) {
    case 1: dx1[1] = 0; break;
    case 2: dx1[-1] = 0; break;
    case 3: x1[1] = 5; break;
    case 4: x2[-2] = 0; break;
    case 5: x2[6] = 0; break;
    case 6: ((char *)dx1)[6 * 4 + 1000] = 0; break;
    case 7: fesetround(FE_UPWARD); break;
    case 8: raise(SIGSEGV); break;
    case 9: printf("hello from a kernel"); break;
    case 10: { char no[] = "GLDH and no frame"; write(1, no, sizeof no); break; }
    case 11: if (getchar() != EOF) dx1[0] = 7; break;
    case 12: exit(4);
    case 13: for (;;) pause();
    case 14: fork(); break;
    case 15: if (fork() == 0) for (;;) pause(); break;
    case 16: close(0), close(1), close(2); break;
    case 17: for (int i = 3; i < 200; i++) close(i); break;
    case 18: memset(dx1, 0, 1 << 24); break;
    case 19: abort();
    case 20: dx1[0] = (uintptr_t)dy % 128, dx1[1] = (uintptr_t)dx1 % 128, dx1[2] = (uintptr_t)x1 % 128; break;
    case 21: dx1[0] = calls; break;
    case 22: *(volatile float *)(x1 + length); break;
    case 25: case 26: {
        float *p[4] = {dy, dx1, x1, x2};
        for (int i = 0; i < 4; i++) { uint64_t a = (uintptr_t)p[i]; memcpy(dx1 + 2 * i, &a, 8); }
        break;
    }
    }
}
"""

native = pytest.mark.skipif(shutil.which("cc") is None and shutil.which("gcc") is None, reason="no C compiler on PATH")


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("broken")
    source = folder / "broken.c"
    source.write_text(KERNEL, encoding="utf-8")
    return build_harness(folder / "harness", cflags=["-w", "-DHARNESS_MEMORY=(1 << 20)"], sources=[source])


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_harness(tmp_path_factory.mktemp("native") / "harness")


def run(session: Session, n: int, *plan: Invocation) -> list[Outcome]:
    operands = {name: np.arange(1, n + 1, dtype=np.float32) for name in ("dy", "x1", "x2")}
    operands["x2"] = operands["x2"] - 1
    plan = plan or (Invocation(),)
    return session.run(call_for(entry_points()[SYMBOL], {"length": n, "beta": 2.0}, operands, plan))


def findings(outcome: Outcome) -> list[tuple[str, str, int | None]]:
    return [(f.kind, f.operand, f.element) for f in outcome.findings]


@native
def test_what_a_call_does_to_memory_is_found_where_it_is(broken: Path) -> None:
    session = ExecSession(str(broken))
    assert session.symbols == {SYMBOL}
    expected = {
        1: ("output-overrun", "dx1", 1),
        2: ("output-underrun", "dx1", -1),
        3: ("input-written", "x1", 1),
        4: ("guard", "x2", -2),
        5: ("guard", "x2", 6),
        6: ("output-overrun", "dx1", 6 + 250),
    }
    for n, found in expected.items():
        for placement in ("end", "begin"):
            outcome = run(session, n, Invocation(placement=placement), Invocation(offset=3, skew=5))[-1]  # type: ignore[arg-type]
            assert outcome.status == "ok" and findings(outcome) == [found]
    healthy = run(session, 24)[0]
    assert healthy.findings == []
    assert np.frombuffer(healthy.output, np.float32).tolist() == (np.arange(1, 25) / 2).tolist()
    assert session.close() == []


@native
def test_the_environment_is_checked_and_set_back(broken: Path) -> None:
    session = ExecSession(str(broken))
    for _ in range(2):
        outcome = run(session, 7)[0]
        assert [f.message for f in outcome.findings] == ["The call changed rounding mode from to nearest to upward."]
    assert run(session, 24)[0].findings == []
    session.close()


@native
def test_what_kernels_print_and_read_is_no_message(broken: Path) -> None:
    session = ExecSession(str(broken))
    for n, text in ((9, "hello from a kernel"), (10, "GLDH and no frame\0")):
        outcome = run(session, n)[0]
        assert outcome.status == "ok" and outcome.stderr == text
        assert [(f.kind, f.message) for f in outcome.findings] == [
            ("printed", f"{len(text)} bytes were printed on stdout or stderr.")
        ]
    assert np.frombuffer(run(session, 11)[0].output, np.float32)[0] == 0.5
    assert run(session, 16)[0].status == "ok"
    session.close()


@native
@pytest.mark.parametrize(
    ("n", "status", "says"),
    [
        (8, "crash", "crashed with SIGSEGV."),
        (12, "exit", "ended with exit code 4."),
        (13, "timeout", "did not return within 1 s."),
        (17, "exit", "ended with exit code"),
        (18, "crash", "crashed with SIG"),
        (19, "crash", "crashed with SIGABRT."),
    ],
)
def test_an_end_costs_only_its_invocation(broken: Path, n: int, status: str, says: str) -> None:
    session = ExecSession(str(broken), timeout=1.0)
    first, second = run(session, n, Invocation(), Invocation(poison=1))
    assert first.status == status and first.message.startswith(SYMBOL) and says in first.message
    assert second.status == ("not-run" if status == "timeout" else status)
    assert run(session, 24)[0].status == "ok"
    session.close()


@native
def test_processes_that_a_call_leaves_are_found_and_do_not_answer(broken: Path) -> None:
    for n in (14, 15):
        session = ExecSession(str(broken))
        assert findings(run(session, n)[0]) == [("forked", "", None)]
        assert [o.status for o in run(session, 24, *[Invocation()] * 5)] == ["ok"] * 5
        left = session.close()
        assert [f.kind for f in left] == (["left-process"] if n == 15 else [])


@native
def test_operands_are_placed_as_the_invocation_says(broken: Path) -> None:
    session = ExecSession(str(broken))

    def addresses(invocation: Invocation) -> list[float]:
        return np.frombuffer(run(session, 20, invocation)[0].output, np.float32)[:3].tolist()

    assert addresses(Invocation()) == [128 - 80] * 3
    assert addresses(Invocation(align=32)) == [32] * 3
    assert addresses(Invocation(placement="begin")) == [0] * 3
    assert addresses(Invocation(placement="begin", offset=2)) == [8] * 3
    assert addresses(Invocation(placement="begin", offset=1, skew=5)) == [4, 24, 44]
    assert addresses(Invocation(offset=1, skew=5)) == [44, 24, 4]
    session.close()


@native
@pytest.mark.parametrize("runner", ["exec", "library"])
def test_documented_addresses(runner: str, broken: Path, tmp_path: Path) -> None:
    regions = Regions(shared=(0xA0000000, 0xB0000000), private=(0x10000000, 0x18000000))
    if runner == "exec":
        session: Session = ExecSession(str(broken), regions=regions)
    else:
        source = broken.with_name("broken.c")
        session = LibrarySession(build_library(tmp_path / "k.so", cflags=["-w"], sources=[source]), regions=regions)
    for n in (25, 26, 25):
        for offset, placement in ((0, "end"), (3, "begin"), (0, "begin")):
            outcome = run(session, n, Invocation(placement=placement, offset=offset))[0]  # type: ignore[arg-type]
            dy, dx1, x1, x2 = np.frombuffer(outcome.output[:32], np.uint64).tolist()
            assert outcome.findings == []
            assert [a & ~0x7FFFFFF for a in (dy, dx1, x1, x2)] == [0x10000000, 0x18000000] * 2
            assert dy < x1 and dx1 < x2
    if runner == "exec":
        assert (dy, dx1, x1) == (0x10000400, 0x18000400, 0x10000D00)
        assert findings(run(session, 1)[0]) == [("output-overrun", "dx1", 1)]
    assert session.close() == []


@native
def test_documented_addresses_that_are_taken(broken: Path) -> None:
    regions = Regions(shared=(0xA0000000,), private=(0xFFFFFFFF00000000,))
    session = ExecSession(str(broken), regions=regions, crash_limit=2)
    outcome = run(session, 24)[0]
    session.close()
    assert outcome.status == "crash" and "memory at a documented address cannot be had" in outcome.message


def test_a_platform_without_addresses(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["validate", "exec:true", "--memory", "documented", "--out", str(tmp_path)])
    assert isinstance(done.exception, UsageError) and "host documents no addresses" in str(done.exception)


@native
def test_a_suite_at_documented_addresses(harness: Path, tmp_path: Path) -> None:
    for target in (f"exec:{harness}", str(build_library(tmp_path / "k.so"))):
        results, done = validate(target, tmp_path / "out", "--memory", "documented", "--platform", "MT7004")
        assert done.exit_code == 0 and results.verdict == "conforms" and results.options["memory"] == "documented"


@native
def test_the_poison_shows_what_is_not_written(broken: Path) -> None:
    session = ExecSession(str(broken))
    for poison in (0, 1):
        output = run(session, 23, Invocation(poison=poison))[0].output  # type: ignore[arg-type]
        assert output[-4:] == bytes([POISONS[poison]]) * 4
    session.close()


@native
def test_a_restart_makes_a_fresh_process(broken: Path) -> None:
    session = ExecSession(str(broken))
    calls = [np.frombuffer(run(session, 21)[0].output, np.float32)[0] for _ in range(2)]
    session.restart()
    calls.append(np.frombuffer(run(session, 21)[0].output, np.float32)[0])
    session.close()
    assert calls == [1, 2, 1]


@native
def test_reads_outside_are_stated_as_not_observable(broken: Path) -> None:
    session = ExecSession(str(broken))
    assert run(session, 22)[0].findings == []
    assert "reads outside operands" in session.blind
    session.close()


def validate(target: str, out: Path, *options: str) -> tuple[Results, Result]:
    done = CliRunner().invoke(cli, ["validate", target, "--suite", "smoke", "--out", str(out), *options])
    return read_results(out / "results.json"), done


@native
def test_a_native_harness_gives_the_verdict_and_the_bits_of_the_library(harness: Path, tmp_path: Path) -> None:
    results, done = validate(f"exec:{harness}", tmp_path / "exec")
    library, _ = validate(str(build_library(tmp_path / "kernels.so")), tmp_path / "library")
    assert done.exit_code == 0 and results.verdict == "conforms" and len(results.entry_points) == 8
    assert bits(library, results).startswith("The same bits from ") and "Other" not in bits(library, results)
    blind = [f for f in results.findings if f.kind == "not-observable"]
    assert len(blind) == 1 and blind[0].severity == "info" and "reads outside operands" in blind[0].message
    assert not [f for f in library.findings if f.kind == "not-observable"]
    assert "reads outside operands" in (tmp_path / "exec" / "report.md").read_text(encoding="utf-8")
    assert results.library.machine.startswith(results.host.machine) and "gcc" in results.library.compiler


@pytest.mark.parametrize("triple", TARGETS)
def test_an_emulated_target_gives_the_verdict_and_the_bits_of_this_machine(
    triple: str, harness: Path, tmp_path: Path
) -> None:
    emulator, half_abi, machine = TARGETS[triple]
    for program in (f"{triple}-gcc", emulator):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on PATH")
    built = tmp_path / "harness"
    done = CliRunner().invoke(cli, ["build", "--target", triple, "-o", str(built)])
    assert done.exit_code == 0 and done.output.strip() == str(built)
    here, _ = validate(f"exec:{harness}", tmp_path / "here")
    there, done = validate(f"exec:{emulator} {built}", tmp_path / "there")
    assert done.exit_code == 0 and there.verdict == "conforms"
    assert [(e.symbol, e.grade) for e in there.entry_points] == [(e.symbol, e.grade) for e in here.entry_points]
    assert bits(here, there).startswith("The same bits from ")
    assert (there.probe.half_abi, there.library.machine) == (half_abi, machine)


@native
@pytest.mark.parametrize("flag", ["-DGOLDEN_HALF_UINT16", "-DGOLDEN_FP32_ONLY"])
def test_the_harness_tells_what_it_was_built_for(flag: str, tmp_path: Path) -> None:
    build_harness(tmp_path / "harness", cflags=[flag])
    session = ExecSession(str(tmp_path / "harness"))
    session.close()
    has_half = "UINT16" in flag
    assert session.stated_half_abi == ("uint16" if has_half else "none")
    assert session.hello.dtypes == (("fp16", "fp32") if has_half else ("fp32",))
    assert len(session.symbols) == (8 if has_half else 4)
    options = ["--half-abi", "float16", "--platform", "MT7004", "--suite", "smoke"]
    done = CliRunner().invoke(cli, ["validate", f"exec:{tmp_path / 'harness'}", *options, "--out", str(tmp_path / "o")])
    if has_half:
        assert isinstance(done.exception, UsageError) and "half as uint16" in str(done.exception)
    else:
        assert done.exit_code == 1 and "missing" in done.output


@native
@pytest.mark.parametrize("kind", ["static", "shared"])
def test_a_vendors_library_is_linked_whole(kind: str, tmp_path: Path, compiler: Callable[..., None]) -> None:
    source = include_dir() / "smoothl1lossgrad.c"
    if kind == "static":
        compiler("-c", "-O1", source, "-o", tmp_path / "one.o")
        library = tmp_path / "libvendor.a"
        compiler(library, tmp_path / "one.o", program="ar")
    else:
        library = tmp_path / "libvendor.so"
        compiler("-shared", "-fPIC", "-O1", source, "-o", library)
    out = tmp_path / "harness"
    done = CliRunner().invoke(cli, ["build", "--harness", "--library", str(library), "-o", str(out)])
    assert done.exit_code == 0, done.output
    session = ExecSession(str(out))
    session.close()
    assert session.symbols == {s for s in entry_points() if "smoothl1" in s}


@native
def test_the_sources_compile_without_golden(tmp_path: Path, compiler: Callable[..., None]) -> None:
    written = write_harness_sources(tmp_path)
    assert {p.name for p in written} > {"harness.c", "harness_core.c", "harness_table.c", "harness.h"}
    flags = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror")
    sources = [p for p in written if p.suffix == ".c"]
    compiler(*flags, *sources, "-o", tmp_path / "empty", "-lm")
    session = ExecSession(str(tmp_path / "empty"))
    session.close()
    assert session.symbols == frozenset()
    # The core is freestanding: it asks nobody for input, output or memory.
    compiler(*flags, "-ffreestanding", "-c", tmp_path / "harness_core.c", "-o", tmp_path / "core.o")
    listing = compiler("-u", tmp_path / "core.o", program="nm")
    needed = {line.split()[-1] for line in str(listing).splitlines()}
    assert needed <= {"memcpy", "memset", "memcmp", "strlen", "harness_entries", "__stack_chk_fail"}


def test_a_cross_compiler_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for target, says in (("aarch64-linux-gnu", "apt-get install gcc-aarch64-linux-gnu"), ("; ls", "is no target")):
        done = CliRunner().invoke(cli, ["build", "--target", target])
        assert isinstance(done.exception, UsageError) and says in str(done.exception)


@native
def test_commands_that_need_a_library_say_so(harness: Path) -> None:
    done = CliRunner().invoke(cli, ["sweep", f"exec:{harness}"])
    assert isinstance(done.exception, UsageError) and "exec:" in str(done.exception)


@native
@pytest.mark.parametrize("command", [["probe"], ["hunt", "--symbol", SYMBOL, "--beta", "0.5"]])
def test_probe_and_hunt_take_a_harness(command: list[str], harness: Path, tmp_path: Path) -> None:
    options = ["--suite", "smoke"] if command == ["probe"] else ["--out", str(tmp_path)]
    done = CliRunner().invoke(cli, [command[0], f"exec:{harness}", *command[1:], *options])
    assert done.exit_code == 0, done.output
    assert ("half abi: float16" if command == ["probe"] else SYMBOL) in done.output


@native
@pytest.mark.parametrize("name", [*FAST, *(pytest.param(n, marks=pytest.mark.slow) for n in SAMPLE)])
def test_a_defective_build_is_rejected_through_a_harness(name: str, tmp_path: Path) -> None:
    outcome = mutants.check(next(m for m in MUTANTS if m.name == name), folder=tmp_path, through="exec")
    assert outcome.verdict == "fails" and mutants.killers(outcome)


@pytest.fixture
def compiler() -> Callable[..., str]:
    def call(*arguments: object, program: str = "") -> str:
        words = [*(["ar", "rcs"] if program == "ar" else [program] if program else find_compiler())]
        if not program:
            words.append(f"-I{include_dir()}")
        done = subprocess.run([*words, *map(str, arguments)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call
