"""What a library can reach from its process, and what its calls leave there: each by a kernel that tries."""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from golden.errors import MachineError
from runners.calling.call import Invocation
from runners.library.arena import Patterns
from runners.library.session import LibrarySession
from runners.process import sandbox, stub
from tests.helpers.broken_kernels import COMPILER, END, PREAMBLE, expected, make

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler: none of gcc, cc, clang is on PATH")

KERNELS = r"""
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <locale.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
KERNEL(fine) { ADD; }
KERNEL(forks) { ADD; o[0] = fork(); }
KERNEL(runs) { ADD; system("true"); }
KERNEL(opens_socket) { ADD; o[0] = socket(AF_INET, SOCK_STREAM, 0); }
KERNEL(kills_all) { ADD; kill(-1, SIGKILL); }
static uintptr_t page(void *p) { return (uintptr_t)p & ~4095ul; }
KERNEL(opens_guard) {
    ADD; char *g = (char *)page(o + n - 1) + 4096;
    if (!mprotect(g, 4096, PROT_READ | PROT_WRITE)) { g[0] = 1; mprotect(g, 4096, PROT_NONE); }
}
KERNEL(maps_over) {
    ADD; char *g = (char *)page(o + n - 1) + 4096;
    mmap(g, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}
KERNEL(opens_input) { ADD; if (!mprotect((void *)page(x), 4096, PROT_READ | PROT_WRITE)) x[0] = 9; }
static void caught(int s) { _exit(0); }
KERNEL(handles) { ADD; signal(SIGSEGV, caught); }
KERNEL(writes_file) { ADD; o[0] = open(FOLDER "/left", O_CREAT | O_WRONLY, 0600) >= 0; }
KERNEL(reads_golden) { ADD; o[0] = open(GOLDEN, O_RDONLY) >= 0; }
KERNEL(reads_parent) {
    ADD; char p[64]; snprintf(p, sizeof p, "/proc/%d/mem", getppid()); o[0] = open(p, O_RDONLY) >= 0;
}
KERNEL(changes_folder) { ADD; chdir("/"); }
KERNEL(sets_variable) { ADD; setenv("LEFT", "1", 1); }
KERNEL(sets_timer) { ADD; alarm(1000); }
KERNEL(leaves_open) { ADD; open("/dev/null", O_RDONLY); }
KERNEL(catches) { ADD; signal(SIGUSR1, caught); }
static void *spin(void *p) { for (;;) pause(); }
KERNEL(leaves_thread) { ADD; pthread_t t; pthread_create(&t, 0, spin, 0); }
KERNEL(renames) { ADD; prctl(PR_SET_NAME, "another"); }
KERNEL(reschedules) { ADD; struct sched_param p = {0}; sched_setscheduler(0, SCHED_BATCH, &p); }
KERNEL(binds) { ADD; cpu_set_t s; CPU_ZERO(&s); CPU_SET(sched_getcpu(), &s); sched_setaffinity(0, sizeof s, &s); }
KERNEL(outlives) { ADD; prctl(PR_SET_PDEATHSIG, 0); }
KERNEL(adopts) { ADD; prctl(PR_SET_CHILD_SUBREAPER, 1); }
KERNEL(locks) { ADD; static char own[8192]; mlock((void *)page(own + 4096), 4096); }
KERNEL(other_locale) { ADD; setlocale(LC_ALL, "C"); }
KERNEL(other_stack) { ADD; static char own[65536]; stack_t s = {own, 0, sizeof own}; sigaltstack(&s, 0); }
KERNEL(times_itself) { ADD; struct itimerval t = {{1000}, {1000}}; setitimer(ITIMER_PROF, &t, 0); }
KERNEL(loads) { ADD; dlopen("libutil.so.1", RTLD_NOW); }
KERNEL(stays) { ADD; Dl_info me; dladdr((void *)stays, &me); dlopen(me.dli_fname, RTLD_NOW | RTLD_NODELETE); }
KERNEL(names_parent) {
    ADD; char p[64]; snprintf(p, sizeof p, "/proc/%d/cmdline", getppid()); o[0] = open(p, O_RDONLY) >= 0;
}
KERNEL(watches) { ADD; o[0] = syscall(SYS_inotify_init1, 0); }
KERNEL(asks_limits) { ADD; o[0] = syscall(SYS_prlimit64, getppid(), RLIMIT_NOFILE, 0, &(struct rlimit){0}); }
KERNEL(asks_own_limits) { ADD; syscall(SYS_prlimit64, getpid(), RLIMIT_NOFILE, 0, &(struct rlimit){0}); }
KERNEL(leaks) { ADD; *(volatile char *)malloc(1000) = 1; }
KERNEL(floods) { ADD; *(volatile char *)malloc(1 << 22) = 1; }
KERNEL(divides) { ADD; feraiseexcept(FE_DIVBYZERO); }
#ifdef __x86_64__
KERNEL(clobbers_rbx) { ADD; asm volatile("xor %ebx, %ebx"); }
KERNEL(clobbers_r15) { ADD; asm volatile("movq $7, %r15"); }
KERNEL(sets_direction) { ADD; asm volatile("std"); }
KERNEL(fills_x87) { ADD; asm volatile("fldz"); }
#endif
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sandbox")
    golden = Path(sandbox.__file__).parents[2] / "golden" / "judge.py"
    (source := folder / "kernels.c").write_text(PREAMBLE + KERNELS)
    macros = [f'-DFOLDER="{folder}"', f'-DGOLDEN="{golden}"']
    command = [str(COMPILER), "-O0", "-w", "-shared", "-fPIC", *macros, "-o", folder / "kernels.so", source]
    subprocess.run([*command, "-lm", "-lpthread"], check=True)
    return folder / "kernels.so"


def names() -> list[str]:
    return [line.split("(")[1].split(")")[0] for line in KERNELS.splitlines() if line.startswith("KERNEL(")]


@pytest.fixture
def session(library: Path) -> Iterator[LibrarySession]:
    with LibrarySession(library, symbols=names(), timeout=5) as opened:
        yield opened


def needs(session: LibrarySession, layer: str) -> None:
    if layer not in session.layers:
        pytest.skip(f"this machine has no {layer}: {sandbox.LAYERS[layer]}")


@pytest.mark.parametrize(
    ("symbol", "kind", "words"),
    [
        ("forks", "forked", "tried to start a process (clone), and was refused"),
        ("runs", "forked", "tried to start a process"),
        ("opens_socket", "refused", "tried to open a connection (socket), and was refused"),
        ("kills_all", "intrusion", "tried to send a signal to another process (kill), and was refused"),
        ("opens_guard", "guard", "change the memory that operands lie in (mprotect), and was refused"),
        ("maps_over", "guard", "change the memory that operands lie in (mmap), and was refused"),
        ("opens_input", "guard", "change the memory that operands lie in (mprotect), and was refused"),
        ("handles", "guard", "handle the signal of a bad access itself (rt_sigaction), and was refused"),
        ("writes_file", "refused", "tried to write a file (open"),
        (
            "watches",
            "refused",
            "tried to share or watch something outside its process (inotify_init1), and was refused",
        ),
        ("asks_limits", "refused", "tried to change its user or its limits (prlimit64), and was refused"),
    ],
)
def test_a_system_call_that_no_kernel_needs_is_named(
    session: LibrarySession, symbol: str, kind: str, words: str
) -> None:
    needs(session, "seccomp")
    found = session.run(make(symbol))[0].findings
    assert any(f.kind == kind and words in f.message for f in found), found
    again = session.run(make("fine"))[0]
    assert (again.output, again.findings) == (expected(), [])


def test_a_guard_that_is_opened_and_closed_again_is_found_without_seccomp(library: Path) -> None:
    with LibrarySession(library, symbols=names(), mode="off") as session:
        outcome = session.run(make("opens_guard"))[0]
        assert [(f.kind, f.operand, f.element) for f in outcome.findings] == [("output-overrun", "o", 33)]
        assert session.run(make("fine"))[0].findings == []


def test_an_input_cannot_be_made_writable(library: Path) -> None:
    with LibrarySession(library, symbols=names(), mode="off") as session:
        outcome = session.run(make("opens_input"))[0]
        assert (outcome.status, outcome.output, outcome.findings) == ("ok", expected(), [])  # mprotect fails


@pytest.mark.parametrize("symbol", ["writes_file", "reads_golden", "reads_parent", "names_parent"])
def test_files_and_the_supervisor_are_out_of_reach(session: LibrarySession, library: Path, symbol: str) -> None:
    needs(session, "namespaces" if symbol.endswith("_parent") else "landlock")
    assert np.frombuffer(session.run(make(symbol))[0].output, "<f4")[0] == 0
    assert not (library.parent / "left").exists()
    if symbol == "reads_golden":
        with LibrarySession(library, symbols=names(), mode="off") as free:
            assert np.frombuffer(free.run(make(symbol))[0].output, "<f4")[0] == 1


@pytest.mark.parametrize(
    ("symbol", "kind"),
    [
        ("changes_folder", "state-directory"),
        ("sets_variable", "state-environment"),
        ("sets_timer", "state-timers"),
        ("leaves_open", "state-descriptors"),
        ("catches", "state-signals"),
        ("leaves_thread", "state-threads"),
        pytest.param("divides", "exception-flags", marks=pytest.mark.skipif(not stub.NATIVE, reason="x86-64 only")),
    ],
)
def test_what_a_call_leaves_in_its_process_is_told(session: LibrarySession, symbol: str, kind: str) -> None:
    assert kind in [
        f.kind for f in session.run(make(symbol, END, END))[1].findings + session.run(make(symbol))[0].findings
    ]


@pytest.mark.parametrize(
    ("symbol", "kinds"),
    [
        ("fine", []),
        ("asks_own_limits", []),
        ("renames", ["state-name"]),
        ("reschedules", ["state-scheduling"]),
        pytest.param(
            "binds",
            ["state-scheduling"],
            marks=pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor"),
        ),
        ("outlives", ["state-parent"]),
        ("adopts", ["state-parent"]),
        ("locks", ["state-locked"]),
        ("other_locale", ["state-locale"]),
        ("other_stack", ["state-signals"]),
        ("times_itself", ["state-timers"]),
        ("loads", ["state-libraries"]),
        ("stays", ["state-libraries"]),
    ],
)
def test_what_calls_have_left_in_their_process_is_told_by_its_end(library: Path, symbol: str, kinds: list[str]) -> None:
    session = LibrarySession(library, symbols=names())
    found = session.run(make(symbol))[0].findings + session.close()
    assert [f.kind for f in found] == kinds, found


def test_memory_that_every_call_loses_is_told_at_the_end(library: Path) -> None:
    for symbol, kinds in (("leaks", ["state-memory"]), ("fine", [])):
        session = LibrarySession(library, symbols=names())
        for _ in range(300):
            session.run(make(symbol))
        assert [f.kind for f in session.close()] == kinds


def test_who_would_soon_have_taken_all_memory_fails(library: Path) -> None:
    session = LibrarySession(library, symbols=names(), memory=1 << 28)
    assert all(session.run(make("floods"))[0].status == "ok" for _ in range(40))
    (found,) = session.close()
    assert (found.kind, found.symbol) == ("crash", "floods") and "hardly any left" in found.message


@pytest.mark.skipif(not stub.NATIVE, reason="registers are looked at on x86-64")
@pytest.mark.parametrize(
    ("symbol", "words"),
    [
        ("clobbers_rbx", "did not preserve rbx"),
        ("clobbers_r15", "did not preserve r15"),
        ("sets_direction", "did not preserve the direction flag"),
        ("fills_x87", "did not preserve the x87 registers"),
    ],
)
def test_what_the_calling_convention_preserves_is_checked(session: LibrarySession, symbol: str, words: str) -> None:
    outcomes = session.run(make(symbol, END, Invocation(placement="begin")))
    assert [[f.kind for f in o.findings] for o in outcomes] == [["registers"]] * 2
    assert words in outcomes[0].findings[0].message
    assert session.run(make("fine"))[0].findings == []


@pytest.mark.skipif(platform.machine() != "x86_64" or not shutil.which("objcopy"), reason="needs x86-64 and objcopy")
def test_the_stub_is_what_its_source_assembles_to(tmp_path: Path) -> None:
    source = Path(stub.__file__).with_name("call_x86_64.S")
    subprocess.run([str(COMPILER), "-c", source, "-o", tmp_path / "stub.o"], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", tmp_path / "stub.o", tmp_path / "stub.bin"], check=True)
    assert (tmp_path / "stub.bin").read_bytes() == stub._X86_64


def test_the_library_that_runs_is_the_copy_that_was_taken(library: Path, tmp_path: Path) -> None:
    path = tmp_path / "replaced.so"
    shutil.copy(library, path)
    with LibrarySession(path, symbols=names()) as session:
        path.write_bytes(b"another file")
        session.restart()
        assert session.run(make("fine"))[0].output == expected()


def test_fills_are_drawn_complementary_and_numbers() -> None:
    one, other = Patterns("1"), Patterns("2")
    for size, form, bits in ((2, "<f2", "<u2"), (4, "<f4", "<u4")):
        first = np.frombuffer(one._fills[size][0], bits)
        second = np.frombuffer(one._fills[size][1], bits)
        assert (first ^ second == np.iinfo(first.dtype).max).all() and len(set(first.tolist())) > first.size // 3
        for fill in (first, second):
            numbers = fill.view(form)
            assert np.isfinite(numbers).all() and (np.abs(numbers) >= np.finfo(form).tiny).all()
        assert one._fills[size] == Patterns("1")._fills[size] != other._fills[size]


def test_layers_that_are_required_and_absent_are_an_error(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sandbox.LAYERS, "moat", "water")
    with pytest.raises(MachineError, match="no moat"):
        LibrarySession(library, symbols=names(), mode="require")
