"""Harnesses end to end: built here, for this machine and for emulated ones, and run through ``exec:``."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from golden.cli import cli
from golden.errors import UsageError
from golden.files.manifest import suite_folder
from golden.files.results import read_results
from golden.operator import entry_points
from golden.results import Results
from reports.diff import bits
from runners.harness.session import ExecSession
from runners.toolchain.build import build_harness, find_compiler, include_dir, write_harness_sources
from tests.mutants import run as mutants
from tests.mutants.mutants import MUTANTS
from tests.mutants.test_mutants import FAST as PARTS

#: Triple -> emulator, what hello says of half, and of the machine.
TARGETS = {
    "aarch64-linux-gnu": ("qemu-aarch64", "float16", "aarch64 (64-bit, little-endian)"),
    "arm-linux-gnueabihf": ("qemu-arm", "float16", "arm (32-bit, little-endian)"),
    "riscv64-linux-gnu": ("qemu-riscv64", "uint16", "riscv64 (64-bit, little-endian)"),
    "s390x-linux-gnu": ("qemu-s390x", "uint16", "s390x (64-bit, big-endian)"),
}
#: Defects that a harness sees with canaries and copies, of every kind; then a sample of memory, tails and core masks.
#: A file of smoke kills each of the former.
FAST = ("sl1-fp-writes-beyond", "sl1-fp-tail-formula", "cores-last-skipped", "nll-fp-no-zero-fill", "sl1-hp-endless")
SAMPLE = (
    *("sl1-hp-tail-skipped", "sl1-fp-tail-doubled", "sl1-hp-tail-shifted", "sl1-fp-tail-unsaturated"),
    *("sl1-hp-rounded-up", "sl1-fp-last-vector-back", "sl1-fp-block-127", "sl1-hp-block-256"),
    *("cores-four-counted", "cores-bit-as-rank", "cores-more-than-items", "cores-ceiling-unclipped"),
    *("cores-gap", "cores-seven", "cores-mask-7e", "sl1-hp-writes-before", "sl1-hp-diff-in-x1"),
    *("sl1-fp-zero-unwritten", "sl1-hp-accumulates", "sl1-hp-uninitialised"),
)
#: One that never ends takes its time through every kind of target: here it confirms.
CHOSEN = [pytest.param(n, marks=pytest.mark.confirm if n.endswith("-endless") else ()) for n in FAST]
CHOSEN += [pytest.param(n, marks=pytest.mark.slow) for n in SAMPLE]

native = pytest.mark.skipif(shutil.which("cc") is None and shutil.which("gcc") is None, reason="no C compiler on PATH")


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


def validate(target: str, out: Path, *options: str) -> tuple[Results, Result]:
    done = CliRunner().invoke(
        cli,
        ["validate", target, *(() if "--vectors" in options else ("--suite", "smoke")), "--out", str(out), *options],
    )
    return read_results(out / "results.json"), done


@pytest.fixture(scope="module")
def here(harness: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path]:
    """The results of the harness on this machine, and the folder of its reports."""
    out = tmp_path_factory.mktemp("here")
    results, done = validate(f"exec:{harness}", out)
    assert done.exit_code == 0
    return results, out


@pytest.mark.confirm
@native
def test_a_native_harness_gives_the_verdict_and_the_bits_of_the_library(
    here: tuple[Results, Path], kernels: Path, tmp_path: Path
) -> None:
    results, out = here
    library, _ = validate(str(kernels), tmp_path / "library")
    assert results.verdict == "conforms" and len(results.entry_points) == len(entry_points())
    assert bits(library, results).startswith("The same bits from ") and "Other" not in bits(library, results)
    model, _ = validate("reference:product-first", tmp_path / "model")
    assert "Other bits than before from hp_nlllossgrad_s (in " in bits(library, model)
    blind = [f for f in results.findings if f.kind == "not-observable"]
    assert len(blind) == 1 and blind[0].severity == "info" and "reads outside operands" in blind[0].message
    assert not [f for f in library.findings if f.kind == "not-observable"]
    assert "reads outside operands" in (out / "report.md").read_text(encoding="utf-8")
    assert results.library.machine.startswith(results.host.machine) and "gcc" in results.library.compiler


@pytest.mark.confirm
@pytest.mark.parametrize("triple", TARGETS)
def test_an_emulated_target_gives_the_verdict_and_the_bits_of_this_machine(
    triple: str, here: tuple[Results, Path], tmp_path: Path
) -> None:
    emulator, half_abi, machine = TARGETS[triple]
    for program in (f"{triple}-gcc", emulator):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on PATH")
    built = tmp_path / "harness"
    done = CliRunner().invoke(cli, ["build", "--target", triple, "-o", str(built)])
    assert done.exit_code == 0 and done.output.strip() == str(built)
    there, done = validate(f"exec:{emulator} {built}", tmp_path / "there")
    assert done.exit_code == 0 and there.verdict == "conforms"
    assert [(e.symbol, e.grade) for e in there.entry_points] == [(e.symbol, e.grade) for e in here[0].entry_points]
    assert bits(here[0], there).startswith("The same bits from ")
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
    assert session.symbols == {symbol for symbol in entry_points() if has_half or symbol.startswith("fp_")}
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
@pytest.mark.parametrize("command", [["probe"], ["hunt", "--symbol", "fp_smoothl1lossgrad_p", "--rounds", "4"]])
def test_probe_and_hunt_take_a_harness(command: list[str], harness: Path, tmp_path: Path) -> None:
    options = ["--suite", "smoke"] if command == ["probe"] else ["--out", str(tmp_path)]
    done = CliRunner().invoke(cli, [command[0], f"exec:{harness}", *command[1:], *options])
    assert done.exit_code == 0, done.output
    assert ("half abi: float16" if command == ["probe"] else "fp_smoothl1lossgrad_p") in done.output


@native
@pytest.mark.parametrize("name", CHOSEN)
def test_a_defective_build_is_rejected_through_a_harness(name: str, tmp_path: Path) -> None:
    suite, part = ("smoke", PARTS[name]) if name in FAST else ("core", "")
    endless = name.endswith("-endless")
    mutant = next(m for m in MUTANTS if m.name == name)
    outcome = mutants.check(mutant, None, tmp_path, "exec", suite, part, 0.3 if endless else mutants.TIMEOUT)
    assert outcome.verdict == "fails" and mutants.killers(outcome) and endless == ("timeout" in outcome.kinds)


def test_a_platform_without_addresses(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["validate", "exec:true", "--memory", "documented", "--out", str(tmp_path)])
    assert isinstance(done.exception, UsageError) and "host documents no addresses" in str(done.exception)


@pytest.mark.confirm
@native
@pytest.mark.parametrize("file", ["nlllossgrad-fp16.h5", ""])
def test_a_suite_at_documented_addresses(file: str, harness: Path, kernels: Path, tmp_path: Path) -> None:
    options = ("--memory", "documented", "--platform", "MT7004", "--vectors", str(suite_folder("smoke") / file))
    for target in (f"exec:{harness}", str(kernels)):
        results, done = validate(target, tmp_path / "out", *options)
        assert done.exit_code == 0 and results.verdict == "conforms" and results.options["memory"] == "documented"
