"""Every end is an outcome: of a call, or, between two calls and at the end, of the call that was made last."""

import shlex
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from golden.files.manifest import suite_folder
from golden.files.vectors import read_vectors
from golden.profile import load_profile
from golden.results import EntryPointResult, Library, Results
from runners.calling.call import Call, Finding, Invocation, PointerArgument, ScalarArgument
from runners.harness.adapter import CallableSession
from runners.harness.session import ExecSession
from runners.judging.validate import Settings, validate
from runners.library.session import LibrarySession
from runners.toolchain.build import build_harness, build_library, include_dir
from tests.helpers.broken_kernels import COMPILER
from tests.helpers.command import needs_compiler
from tests.helpers.fake_harness import FAKE, SYMBOL

FILE = read_vectors(suite_folder("smoke") / "smoothl1lossgrad-fp32.h5")
#: fp_smoothl1lossgrad_p starts a thread that ends the process when nothing has been called for a while: after more
#: calls than a probe makes, whose library would be unloaded from below the thread.
IDLE = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
#define fp_smoothl1lossgrad_p good
#include "smoothl1lossgrad.c"
#undef fp_smoothl1lossgrad_p
static atomic_int calls, busy;
static void *idle(void *p)
{
    for (int seen = -1, quiet = 0; quiet < 30; usleep(10000)) {
        quiet = seen == calls && !busy ? quiet + 1 : 0;
        seen = calls;
    }
    END;
    return p;
}
void fp_smoothl1lossgrad_p(float *dy, float *dx1, float *x1, float *x2, int length, float beta)
{
    busy = 1;
    good(dy, dx1, x1, x2, length, beta);
    if (calls++ == 20) { pthread_t t; pthread_create(&t, 0, idle, 0); }
    busy = 0;
}
"""
UNLOAD = """
#include <stdlib.h>
#include <signal.h>
#include <unistd.h>
#include "smoothl1lossgrad.c"
__attribute__((destructor)) static void unload(void) { END; }
"""


def compiled(tmp_path: Path, text: str, end: str) -> Path:
    source = tmp_path / "kernel.c"
    source.write_text(f"#define END {end}\n{text}")
    flags = ["-DGOLDEN_FP32_ONLY", f"-I{include_dir()}", "-Wno-all", "-pthread"]
    return build_library(tmp_path / "kernels.so", sources=[source], cflags=flags)


def opened(kind: str, library: Path, tmp_path: Path) -> Any:
    if kind == "library":
        return LibrarySession(library)
    if kind == "exec":
        return ExecSession(str(build_harness(tmp_path / "harness", libraries=[library])))
    return CallableSession("tests.python_targets:idle")


def judged(session: Any, wait: float = 0.0) -> Results:
    """Validate; the session waits so long before it is closed: its last process is the last entry point's then."""
    if wait:
        session.unobservable |= {"history"}
    close = session.close
    session.close = lambda: (time.sleep(wait), close())[1]
    return validate("it", session, Library(), [FILE], Settings(load_profile("FT78NE"), "smoke"))


def entry(results: Results, symbol: str = SYMBOL) -> EntryPointResult:
    return next(e for e in results.entry_points if e.symbol == symbol)


@needs_compiler
@pytest.mark.parametrize("kind", ["library", "exec", "python"])
def test_a_death_between_two_calls_decides(kind: str, tmp_path: Path) -> None:
    noun = {"library": "library", "exec": "harness", "python": "adapter"}[kind]
    library = compiled(tmp_path, IDLE, "abort()") if kind != "python" else tmp_path
    results = judged(opened(kind, library, tmp_path), 1.0)
    found = entry(results)
    assert (results.verdict, found.status, found.grade) == ("fails", "crash", "fails"), results.reason
    (failure,) = found.failing
    says = f"The {noun} died after its call of {SYMBOL}, before another: it crashed with SIGABRT."
    assert failure.message == says and failure.kind == "crash" and failure.case in {head.id for head in FILE.heads}
    assert found.failures == sum(c["failures"] for c in found.classes.values()) == 1
    assert next(c for c in found.contracts if c.name == "returns").broken == 1
    assert failure.case in found.detail and "died" in found.detail
    assert entry(results, "fp_smoothl1lossgrad_s").status == "pass"
    assert not any(f.kind.startswith("close") for f in results.findings)


@pytest.mark.confirm
@needs_compiler
@pytest.mark.parametrize(("end", "says"), [("raise(SIGKILL)", "was killed"), ("_exit(0)", "exit code 0")])
def test_so_does_one_that_looks_harmless(end: str, says: str, tmp_path: Path) -> None:
    results = judged(opened("library", compiled(tmp_path, "#include <signal.h>\n" + IDLE, end), tmp_path), 1.0)
    assert entry(results).status == "crash" and says in entry(results).detail


@needs_compiler
@pytest.mark.parametrize(
    ("end", "decides", "says"),
    [
        (
            "abort()",
            True,
            f"The library died while it was unloaded, after its call of {SYMBOL}: it crashed with SIGABRT.",
        ),
        ("raise(SIGKILL)", True, f"The library died while it was unloaded, after its call of {SYMBOL}: it was killed"),
        ("_exit(3)", False, "The library ended its process with exit code 3 while it was unloaded."),
    ],
)
def test_a_death_while_the_library_is_unloaded_decides(end: str, decides: bool, says: str, tmp_path: Path) -> None:
    results = judged(opened("library", compiled(tmp_path, UNLOAD, end), tmp_path))
    assert results.verdict == ("fails" if decides else "conforms"), results.reason
    remarks = [f.message for f in results.findings if f.kind in ("close-unload", "close-crash")]
    assert bool(remarks) != decides and all(text.startswith(says) for text in remarks)
    for found in results.entry_points:  # each has a process of its own, which ends when the next one's turn comes
        told = [f.message for f in found.failing]
        assert bool(told) == decides
        assert all(text.startswith(says.replace(SYMBOL, found.symbol)) for text in told)


def call() -> Call:
    data = memoryview(np.ones(4, np.float32).tobytes())
    names = [("dy", "input"), ("dx1", "output"), ("x1", "input"), ("x2", "input")]
    pointers = [PointerArgument(n, r, 4, 4, data if r == "input" else memoryview(b"")) for n, r in names]  # type: ignore[arg-type]
    scalars = [ScalarArgument("length", "int32", 4), ScalarArgument("beta", "float32", 0x3F800000)]
    return Call(SYMBOL, (*pointers, *scalars), (Invocation(),), name="a case")


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        ("dies-after", "crash", f"The harness died after its call of {SYMBOL}, before another: it was killed"),
        ("bye-killed", "crash", f"The harness died while it was unloaded, after its call of {SYMBOL}: it crashed with"),
        ("bye-exits", "unload", "The harness ended with exit code 3 after its last call."),
    ],
)
def test_a_harness_is_told_how_it_died(fault: str, kind: str, says: str) -> None:
    session = ExecSession(shlex.join([sys.executable, str(FAKE), fault]))
    assert session.run(call())[0].status == "ok"
    time.sleep(0.3)
    (found,) = session.close()
    assert found.kind == kind and found.message.startswith(says)
    assert (found.symbol, found.call) == ((SYMBOL, "a case") if kind == "crash" else ("", ""))


def test_an_adapter_that_dies_as_its_interpreter_ends() -> None:
    session = CallableSession("tests.python_targets:aborts_at_exit")
    assert session.run(call())[0].status == "ok"
    text = f"The adapter died while it was unloaded, after its call of {SYMBOL}: it crashed with SIGABRT."
    assert session.close() == [Finding("crash", text, symbol=SYMBOL, call="a case")]


@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
def test_where_nothing_was_called_nothing_is_decided(tmp_path: Path) -> None:
    constructor = "__attribute__((constructor)) static void load(void) { pthread_t t; pthread_create(&t, 0, idle, 0); }"
    session = LibrarySession(compiled(tmp_path, IDLE + constructor, "abort()"))
    time.sleep(1.0)
    session.restart()
    assert session.close() == [Finding("crash", "The library crashed with SIGABRT before its first call.")]
