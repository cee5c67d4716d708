"""What a harness sees of a call: memory, environment, text, ends; with kernels that do one thing wrong each."""

import contextlib
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from golden.operator import entry_points
from runners.calling.call import FILLS, Invocation, Outcome
from runners.calling.from_case import call_for
from runners.calling.placement import Regions, remainders
from runners.calling.session import Session
from runners.harness.frames import FrameReader, Message, encode_call, frame
from runners.harness.session import ExecSession
from runners.library.session import LibrarySession
from runners.toolchain.build import build_harness, build_library

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
    for n, text in ((9, "hello from a kernel"), (10, "GLDH and no frame\ufffd")):
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
    first, second = run(session, n, Invocation(), Invocation(fill=1))
    assert first.status == status and first.message.startswith(SYMBOL) and says in first.message
    assert second.status == ("not-run" if status == "timeout" else status)
    assert run(session, 24)[0].status == "ok"
    session.close()


@native
def test_a_harness_that_nobody_can_kill_ends_itself(broken: Path) -> None:
    operands = {name: np.ones(13, np.float32) for name in ("dy", "x1", "x2")}
    call = call_for(entry_points()[SYMBOL], {"length": 13, "beta": 2.0}, operands, [Invocation()])
    places, unit = remainders(call)
    sent = frame(Message.CALL, encode_call(1, call, 1, False, unit, places))
    done = subprocess.run([str(broken)], input=sent, capture_output=True, check=False, timeout=60)
    messages = list(FrameReader().feed(done.stdout))
    assert done.returncode == -signal.SIGALRM and messages[-1] == (Message.FAULT, b"SIGALRM")


def alive(group: int) -> list[str]:
    """Return the processes of a group that still run; dead ones that nobody has waited for do not count."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, number = file.read_text().rpartition(")")[2].split()[:3]
            found += [file.parent.name] if int(number) == group and state != "Z" else []
    return found


@native
def test_processes_that_a_call_leaves_are_found_and_do_not_answer(broken: Path) -> None:
    for n in (14, 15):
        session = ExecSession(str(broken))
        assert findings(run(session, n)[0]) == [("forked", "", None)]
        assert [o.status for o in run(session, 24, *[Invocation()] * 5)] == ["ok"] * 5
        assert session._peer is not None
        group = session._peer.pid
        left = [f.kind for f in session.close()]
        # The copy of case 14 ends by itself, as soon as the system lets it.
        assert left == ["left-process"] or (n == 14 and left == [])
        deadline = time.monotonic() + 10
        while alive(group) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not alive(group)


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


@native
def test_the_fill_shows_what_is_not_written(broken: Path) -> None:
    session = ExecSession(str(broken))
    for fill in (0, 1):
        output = run(session, 23, Invocation(fill=fill))[0].output  # type: ignore[arg-type]
        assert output[-4:] == bytes([FILLS[fill]]) * 4
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
