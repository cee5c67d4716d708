"""Libraries as targets: loading, unloading, what cannot be loaded, and that nothing stays behind."""

import os
import platform
import shutil
import signal
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from golden.errors import TargetError, UsageError
from golden.operator import entry_points, numberings
from runners.calling.call import Finding, Invocation, PointerArgument, ScalarArgument
from runners.calling.from_case import call_for
from runners.library.session import LibrarySession
from tests import ROOT
from tests.conftest import Compile
from tests.helpers.broken_kernels import (
    COMPILER,
    END,
    KERNELS,
    LOADING,
    expected,
    has_ended,
    make,
    open_session,
    run_one,
)

pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="no C compiler: none of gcc, cc, clang is on PATH"),
    pytest.mark.timeout(120),
]

# Loading and unloading


def test_symbols_are_those_asked_for_and_there(shared: LibrarySession, broken_kernels: Path) -> None:
    assert "healthy" in shared.symbols and shared.load_findings == []
    with LibrarySession(broken_kernels) as session:
        assert session.symbols == frozenset()
        assert session.close() == []
        assert session.close() == []


def test_the_library_is_described(shared: LibrarySession, broken_kernels: Path) -> None:
    described = shared.library
    assert described.path == str(broken_kernels) and len(described.sha256) == 64
    assert described.machine.startswith("EM_")
    assert "GCC" in described.compiler or "clang" in described.compiler


def test_a_constructor_that_changes_the_environment_is_found(compile_c: Compile) -> None:
    library = compile_c("constructor_flushes", LOADING["constructor_flushes"] + KERNELS)
    with open_session(library) as session:
        assert [f.kind for f in session.load_findings] in (["fp-environment"] * 2, ["fp-environment"])
        assert session.load_findings[0].message == "Loading the library changed flush-to-zero from off to on."
        # It is not set back (nor blamed on a call): this is what every program gets that loads the library.
        outcome = run_one(session, "healthy")
        assert (outcome.output, outcome.findings) == (expected(), [])


def test_a_library_with_signal_handlers_of_its_own_hides_nothing(compile_c: Compile) -> None:
    with open_session(compile_c("constructor_handles", LOADING["constructor_handles"] + KERNELS)) as session:
        outcome = run_one(session, "read_past_x")
        assert outcome.signal == "SIGSEGV" and outcome.findings[0].element == 33


def test_a_constructor_that_prints_is_found(compile_c: Compile) -> None:
    with open_session(compile_c("constructor_prints", LOADING["constructor_prints"])) as session:
        assert [f.message for f in session.load_findings] == ["7 bytes were printed on stdout."]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "constructor_crashes",
            "crashed with SIGSEGV reading address 0x0 (a null pointer) while it was being",
        ),
        ("constructor_exits", "ended its process with exit code 0 while it was being loaded"),
        ("constructor_hangs", "did not finish loading in 0.5 s"),
        ("undefined", "undefined symbol: nowhere"),
    ],
)
def test_a_library_that_cannot_be_loaded_says_why(compile_c: Compile, name: str, text: str) -> None:
    library = compile_c(name, LOADING[name])
    with pytest.raises(TargetError) as error:
        open_session(library, timeout=0.5 if "hangs" in name else 10)
    assert text in str(error.value) and str(library) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_process_forked_by_a_constructor_is_found(compile_c: Compile) -> None:
    with open_session(compile_c("constructor_forks", LOADING["constructor_forks"] + KERNELS), mode="off") as session:
        assert run_one(session, "healthy").output == expected()
        assert "left-process" in [f.kind for f in session.close()]


def test_a_destructor_that_hangs_is_a_remark(compile_c: Compile) -> None:
    session = open_session(compile_c("destructor_hangs", LOADING["destructor_hangs"] + KERNELS), timeout=0.5)
    assert run_one(session, "healthy", timeout=10).output == expected()
    assert session.close() == [Finding("unload", "Unloading the library took over 0.5 s.")]


def test_what_is_no_library_is_named(tmp_path: Path, broken_kernels: Path, compile_c: Compile) -> None:
    content = broken_kernels.read_bytes()
    other_machine = 183 if platform.machine() == "x86_64" else 62
    dependency = compile_c("dependency", "void nowhere(void) {}")
    flags = ("-Wl,--no-as-needed", str(dependency))
    dependent = tmp_path / "dependent.so"
    shutil.copy(compile_c("dependent", LOADING["undefined"], *flags), dependent)
    dependency.unlink()
    cases: dict[str, tuple[bytes, str]] = {
        "text.so": (b"int main(void) { return 0; }\n", "does not begin as an ELF file"),
        "empty.so": (b"", "does not begin as an ELF file"),
        "short.so": (content[:18], "does not begin as an ELF file"),
        "cut.so": (content[: len(content) // 3], "crashed with SIGBUS|cannot be loaded"),
        "header.so": (content[:64], "cannot be loaded"),
        "other.so": (content[:18] + struct.pack("<H", other_machine) + content[20:], "is built for EM_"),
        "narrow.so": (content[:4] + b"\1" + content[5:], "32-bit"),
        "big.so": (content[:5] + b"\2" + content[6:], "big-endian"),
        "damaged.so": (content[:5] + b"\7" + content[6:], "is damaged"),
        "object.o": (content[:16] + b"\1\0" + content[18:], "Link it with -shared"),
    }
    for name, (data, text) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(TargetError, match=text):
            open_session(tmp_path / name)
    with pytest.raises(TargetError, match=r"dependency\.so"):
        open_session(dependent)
    for path in (tmp_path / "missing.so", tmp_path):
        with pytest.raises(UsageError, match="Cannot read the library"):
            open_session(path)


# Nothing stays behind

JUDGE = """
import sys
from pathlib import Path
import numpy as np
from tests.helpers.broken_kernels import make, open_session
session = open_session(Path(sys.argv[1]), mode="off")
child = int(np.frombuffer(session.run(make("forks"))[0].output, "<i4")[0])
daemon = int(np.frombuffer(session.run(make("daemonizes"))[0].output, "<i4")[0])
print(session._worker.nursery.pid, session._worker.nursery.worker, child, daemon, flush=True)
session.run(make("forks_and_hangs", timeout=100))
"""


def test_nothing_survives_a_killed_judge(broken_kernels: Path) -> None:
    root = ROOT
    judge = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(JUDGE), str(broken_kernels)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    with judge:
        assert judge.stdout is not None
        pids = [int(word) for word in judge.stdout.readline().split()]
        assert len(pids) == 4 and not any(has_ended(pid, 0) for pid in pids)
        judge.kill()
    assert all(has_ended(pid) for pid in pids)


def test_a_worker_does_not_need_the_judge_to_die_with_its_nursery(broken_kernels: Path) -> None:
    with open_session(broken_kernels, mode="off") as session:
        session.submit(make("hangs"))
        worker = session._worker.nursery.worker
        os.kill(session._worker.nursery.pid, signal.SIGKILL)
        assert has_ended(worker)


def test_a_worker_killed_from_outside_is_an_outcome_and_leaves_nothing(broken_kernels: Path) -> None:
    with open_session(broken_kernels, mode="off") as session:
        child = int(np.frombuffer(run_one(session, "forks").output, "<i4")[0])
        session.submit(make("slow"))
        os.kill(session._worker.nursery.worker, signal.SIGKILL)
        outcome = session.collect()[0]
        assert (outcome.status, outcome.signal, outcome.output) == ("crash", "SIGKILL", b"")
        assert "killed with SIGKILL" in outcome.message and session.retries == 0
        assert has_ended(child, 1)
        assert run_one(session, "healthy").output == expected()


def test_a_nursery_killed_from_outside_is_replaced_and_leaves_nothing(broken_kernels: Path) -> None:
    with open_session(broken_kernels, mode="off") as session:
        child = int(np.frombuffer(run_one(session, "forks").output, "<i4")[0])
        nursery, worker = session._worker.nursery.pid, session._worker.nursery.worker
        session.submit(make("slow"))
        os.kill(nursery, signal.SIGKILL)
        outcome = session.collect()[0]
        assert outcome.status == "crash" and "supervises" in outcome.message
        assert all(has_ended(pid) for pid in (nursery, worker, child))
        os.kill(session._worker.nursery.pid, signal.SIGKILL)
        time.sleep(0.2)
        assert run_one(session, "healthy").output == expected()


def test_a_closed_session_leaves_no_process_and_no_descriptor(broken_kernels: Path) -> None:
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    session = open_session(broken_kernels, mode="off")
    session.submit(make("hangs"))
    nursery, worker = session._worker.nursery.pid, session._worker.nursery.worker
    assert session.close() == []
    assert has_ended(nursery, 0) and has_ended(worker, 0)
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_a_worker_leaves_no_core_file_behind(shared: LibrarySession) -> None:
    limits = Path(f"/proc/{shared._worker.nursery.pid}/limits").read_text()
    assert next(x for x in limits.splitlines() if x.startswith("Max core")).split()[4:6] == ["0", "0"]


# Calls


def test_calls_are_built_from_the_operators_description() -> None:
    points = entry_points()
    x = np.array([1, 2, 3], "<f2")
    point = points["hp_smoothl1lossgrad_s"]
    names = [p.name for p in point.operator.parameters]
    scalars = {p.name: 0.5 if p.kind == "real" else 3 for p in point.operator.scalars}
    operands = {p.name: x for p in point.operator.inputs}
    call = call_for(point, scalars, operands, [Invocation(core_mask=3)], half_abi="uint16")
    assert [a.name for a in call.arguments] == names and call.symbol == "hp_smoothl1lossgrad_s"
    assert call.invocations == (Invocation(core_mask=3),)
    real = next(a for a in call.arguments if isinstance(a, ScalarArgument) and a.ctype != "int32")
    assert (real.ctype, real.bits) == ("uint16", 0x3800)
    pointers = [a for a in call.arguments if isinstance(a, PointerArgument)]
    assert [(a.role, a.itemsize, a.count) for a in pointers].count(("input", 2, 3)) == 3
    assert [a.data for a in pointers if a.role == "input"] == [x.tobytes()] * 3
    private = call_for(points["fp_smoothl1lossgrad_p"], scalars, operands, [Invocation(core_mask=3)])
    assert private.invocations == (Invocation(),)


@pytest.mark.parametrize("numbers", numberings())
def test_reductions_are_numbered_as_asked(numbers: str) -> None:
    point = entry_points()["fp_nlllossgrad_p"]
    for number, name in enumerate(numbers.split("-")):
        scalars = {p.name: name if p.kind == "choice" else 2 for p in point.operator.scalars}
        shapes = point.operator.shapes(scalars)
        operands = {p.name: np.zeros(shapes[p.name], p.dtype(point.fmt)) for p in point.operator.inputs}
        call = call_for(point, scalars, operands, [END], numbering=numbers)
        kinds = {p.name: p.kind for p in point.operator.scalars}
        sent = [a.bits for a in call.arguments if kinds.get(a.name) == "choice" and isinstance(a, ScalarArgument)]
        assert sent == [number]
        unread = [a for a in call.arguments if isinstance(a, PointerArgument) and a.role == "unread"]
        assert [(a.name, a.count, a.data) for a in unread] == [("logits", int(np.prod(shapes["logits"])), b"")]


# As a profile asks for


def test_an_output_can_lie_on_an_input_which_is_then_no_broken_contract(shared: LibrarySession) -> None:
    plain, first, second, last = shared.run(
        make("healthy", END, *(Invocation(alias=name, fill=2) for name in ("x", "u")), END)
    )
    for outcome in (plain, first, second, last):
        assert (outcome.status, outcome.output, outcome.findings) == ("ok", expected(), [])
    assert first.fill == np.arange(33, dtype="<f4").tobytes() and second.fill == b"\xff" * 132
    (beyond,) = shared.run(make("overrun", Invocation(alias="x", fill=2)))
    assert [f.kind for f in beyond.findings] == ["output-overrun"] and "o[33]" in beyond.findings[0].message


def test_bytes_beyond_operands_can_be_read_and_differ_by_place(shared: LibrarySession) -> None:
    for symbol in ("read_past_x", "read_past_w", "read_past_u"):
        near, none = shared.run(make(symbol, Invocation(overread=4), END))
        assert (near.status, near.output, none.status) == ("ok", expected(), "crash")
    ends, begins = shared.run(make("addresses", Invocation(overread=8), Invocation(placement="begin", overread=8)))
    assert np.frombuffer(ends.output, "<f4")[:4].tolist() == [4096 - 33 * 4 - 8] * 4
    assert np.frombuffer(begins.output, "<f4")[:4].tolist() == [0] * 4


def test_operands_lie_on_grids_and_one_of_them_alone(shared: LibrarySession) -> None:
    ways = [
        Invocation(placement="begin", grid=384),
        Invocation(placement="begin", grid=2048),
        Invocation(placement="begin", alone="w", offset=3, grid=64),
    ]
    got = [np.frombuffer(o.output, "<f4")[:4].tolist() for o in shared.run(make("addresses", *ways))]
    assert got == [[384] * 4, [2048] * 4, [64, 76, 64, 64]]


def test_a_call_is_made_in_a_row_until_it_gives_other_bits(compile_c: Compile) -> None:
    library = compile_c("counting", KERNELS + "KERNEL(counting) { static int c; ADD; if (++c == 5000) o[1] = 0; }")
    with LibrarySession(library, symbols=["counting", "healthy"]) as session:
        session.mix()
        assert session.endure(make("healthy"), expected(), 6000) == (6000, None, ())
        found = session.endure(make("counting"), expected(), 6000)
        assert found is not None and found.calls == 4999 and found.outcome is not None
        assert found.outcome.output[:4] == expected()[:4] and found.outcome.output[4:8] == bytes(4)
        assert run_one(session, "healthy").output == expected(), "and the session goes on"
