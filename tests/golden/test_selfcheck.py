"""The judge checks itself: wrong arithmetic and a machine that lacks something end with 5, and write nothing."""

import itertools
import json
import os
import platform
import resource
import shutil
import struct
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import pytest

from golden import selfcheck
from tests import ROOT
from tests.helpers.command import COMPILER, golden, needs_compiler, one_sentence

#: MXCSR: flush-to-zero with denormals-are-zero, each alone, rounding upward and towards zero.
MODES = {"ftz+daz": 0x8040, "ftz": 0x8000, "daz": 0x0040, "upward": 0x4000, "toward-zero": 0x6000}
_MODE = (
    "#include <xmmintrin.h>\n__attribute__((constructor)) static void f(void) { _mm_setcsr(_mm_getcsr() | MODE); }\n"
)
_NO_MEMFD = "#include <errno.h>\nint memfd_create(const char *n, unsigned f) { errno = EPERM; return -1; }\n"
needs_sse = pytest.mark.skipif(
    COMPILER is None or platform.machine() != "x86_64", reason="needs a C compiler and the MXCSR of x86-64"
)
COMMANDS = [
    ("validate", "reference:formula", "--suite", "smoke", "--out"),
    ("generate", "--suite", "smoke", "--jobs", "1", "--out"),
    ("sweep", "reference:formula", "--space", "random", "--samples", "4096", "--out"),
    ("hunt", "reference:formula", "--symbol", "fp_smoothl1lossgrad_p", "--out"),
    ("probe", "reference:formula", "--suite", "smoke"),
]


def compiled(folder: Path, source: str, *flags: str) -> Path:
    """Compile a C text into a shared library."""
    (folder / "preloaded.c").write_text(source)
    library = folder / "preloaded.so"
    command = [str(COMPILER), "-shared", "-fPIC", *flags, "-o", str(library), str(folder / "preloaded.c")]
    subprocess.run(command, check=True)
    return library


def limited(limit: int, value: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command under a resource limit."""
    program = f"import resource; resource.setrlimit({limit}, ({value}, {value})); "
    program += f"from golden.cli import main; main({[str(a) for a in arguments]!r})"
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=60, check=False
    )


@needs_sse
@pytest.mark.parametrize(
    ("mode", "command"),
    [
        pytest.param(mode, command, id=f"{command[0]}-{mode}", marks=() if turn % 2 else pytest.mark.confirm)
        for turn, (command, mode) in enumerate(itertools.product(COMMANDS, ("ftz+daz", "upward")), 1)
    ],
)
def test_a_preloaded_mode_ends_with_5_and_no_file(mode: str, command: tuple[str, ...], tmp_path: Path) -> None:
    library, out = compiled(tmp_path, _MODE, f"-DMODE={MODES[mode]:#x}"), tmp_path / "o"
    arguments = (*command, out) if command[-1] == "--out" else command
    done = golden(*arguments, env={"LD_PRELOAD": str(library)})
    assert done.returncode == 5 and one_sentence(done.stderr), (done.returncode, done.stderr)
    assert ("Flush-to-zero is on" if "ftz" in mode else "not rounded to nearest") in done.stderr
    assert "LD_PRELOAD" in done.stderr and not out.exists() and done.stdout == ""


@needs_sse
@pytest.mark.parametrize("mode", ["daz", *(pytest.param(m, marks=pytest.mark.confirm) for m in MODES if m != "daz")])
def test_every_mode_is_seen_and_doctor_tells(mode: str, tmp_path: Path) -> None:
    done = golden("doctor", "--json", env={"LD_PRELOAD": str(compiled(tmp_path, _MODE, f"-DMODE={MODES[mode]:#x}"))})
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 5 and checks["arithmetic"]["state"] == "missing", checks["arithmetic"]


@needs_sse
def test_a_mode_that_is_switched_on_midway_is_seen_before_results_are_written(tmp_path: Path) -> None:
    library = compiled(tmp_path, _MODE, "-DMODE=0x8040")
    program = (
        "import ctypes, runners.judging.validate as v\n"
        "old = v.EntryPointVerdict.result\n"
        f"def result(self, *told): ctypes.CDLL({str(library)!r}); return old(self, *told)\n"
        "v.EntryPointVerdict.result = result\n"
        f"from golden.cli import main; main(['validate', 'reference:formula', '--suite', 'smoke', '--out', "
        f"{str(tmp_path / 'o')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 5 and "Flush-to-zero" in done.stderr, done.stderr
    assert not (tmp_path / "o/results.json").exists()


def test_what_must_come_out_is_exact_and_takes_no_time() -> None:
    for width, kind in ((16, "e"), (32, "f"), (64, "d")):
        for number in (Fraction(1), Fraction(1, 3), Fraction(-7, 5), Fraction(1, 1 << 14), Fraction(3, 1 << 24)):
            packed = struct.pack(f"<{kind}", float(number))
            if width == 64 or float(number) == number:  # packing rounds twice otherwise
                assert int.from_bytes(packed, "little") == selfcheck._rounded(number, width)
    selfcheck.check_arithmetic()
    started = time.process_time()
    for _ in range(10):
        selfcheck.check_arithmetic()
    assert (time.process_time() - started) / 10 < 0.01


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [(resource.RLIMIT_NOFILE, 12, "ulimit -n"), (resource.RLIMIT_AS, 100_000 << 10, "ulimit -v")],
)
@pytest.mark.parametrize(
    "command", ["validate", *(pytest.param(c, marks=pytest.mark.confirm) for c in ("probe", "sweep", "hunt"))]
)
def test_a_limit_is_no_verdict(limit: int, value: int, words: str, command: str, tmp_path: Path) -> None:
    out = () if command == "probe" else ("--out", tmp_path / "o")
    done = limited(limit, value, command, "reference:formula", *out)
    assert done.returncode == 5 and one_sentence(done.stderr) and words in done.stderr, done.stderr
    assert not (tmp_path / "o").exists()


@needs_compiler
def test_memfd_refused(tmp_path: Path) -> None:
    library = compiled(tmp_path, _NO_MEMFD)
    done = golden("validate", "reference:formula", "--out", tmp_path / "o", env={"LD_PRELOAD": str(library)})
    assert done.returncode == 5 and one_sentence(done.stderr) and "memfd_create" in done.stderr, done.stderr


def test_no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", refuse)
    assert "ulimit -u" in selfcheck.machine_fault()


def test_no_proc(tmp_path: Path) -> None:
    unshare = shutil.which("unshare")
    probe = ["unshare", "-m", "umount", "-l", "/proc"]
    if unshare is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no mount namespaces for this user")
    inner = f"umount -l /proc; exec {sys.executable} -m golden.cli validate reference:formula --out {tmp_path / 'o'}"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", inner], capture_output=True, text=True, cwd=ROOT, check=False, timeout=60
    )
    assert done.returncode == 5 and one_sentence(done.stderr) and "/proc" in done.stderr, done.stderr


@pytest.mark.parametrize("error", ["OSError(24, 'x')", "OSError(12, 'x')", "BlockingIOError(11, 'x')", "MemoryError()"])
def test_what_runs_out_later_is_of_this_machine(error: str) -> None:
    program = f"import golden.cli as c\ndef fail(*_): raise {error}\n"
    program += "c.require_machine = fail\nc.main(['validate', 'reference:formula'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 5 and one_sentence(done.stderr), done.stderr
