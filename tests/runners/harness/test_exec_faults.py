"""What a harness can do wrong at the other end of its pipes: each has a name, none stops the run or hangs it."""

import os
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from golden.errors import MachineError, TargetError, UsageError
from golden.operator import entry_points
from runners.calling.call import Call, Invocation
from runners.calling.from_case import call_for
from runners.harness import session as execute
from runners.harness.session import ExecSession
from tests.helpers.fake_harness import FAKE, SYMBOL


def command(fault: str, marker: Path | None = None) -> str:
    return shlex.join([sys.executable, str(FAKE), fault, *([str(marker)] if marker else [])])


def call(n: int = 4, invocations: int = 1) -> Call:
    operands = {name: np.ones(n, np.float32) for name in ("dy", "x1", "x2")}
    plan = [Invocation() for _ in range(invocations)]
    return call_for(entry_points()[SYMBOL], {"length": n, "beta": 1.0}, operands, plan)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("banner", "sent what is no frame: .* beginning with 'Welcome to the board!"),
        ("nothing", "ended with exit code 7; it wrote: no such board"),
        ("version", "speaks version 9 of the protocol, and this golden version 1"),
        ("order", "states no known byte order"),
        ("int", "has an int of 16 bits"),
        ("hello-crc", "hello frame whose payload has a wrong CRC"),
        ("header-crc", "frame whose header has a wrong CRC"),
        ("hello-short", "hello frame that is too short"),
        ("hello-long", "hello frame that is too long"),
        ("absurd", "announced a frame of 2147483648 bytes where at most 65536 can come"),
        ("type", "unknown type 77"),
        ("judge-type", "unknown type 1"),
        ("truncated", r"exit code 7 in the middle of a frame \(50 bytes of it had come\)"),
        ("twice", "spoke before it was asked"),
        ("result", "spoke before it was asked"),
        ("trouble", "cannot work: there is no memory for operands"),
        ("silent", "did not greet within 1 s"),
        ("slow-hello", "did not greet within 1 s"),
        ("pointers", "unknown size of a pointer .7."),
        ("half-abi", "unknown half .9."),
        ("names-twice", "names an entry point twice"),
        ("canaries", "unknown number of canary bytes .4294967295."),
        ("hello-nan", "unknown floating-point environment .2143289344."),
    ],
)
def test_a_harness_that_does_not_greet_as_it_must(fault: str, says: str) -> None:
    started = time.monotonic()
    with pytest.raises(TargetError, match=says):
        ExecSession(command(fault), patience=1.0 if fault in ("silent", "slow-hello") else 30.0)
    assert time.monotonic() - started < 25


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("garbage", "The harness sent what is no frame: 19 bytes beginning with 'Segmentation fault.'"),
        ("garbage-inside", "The harness sent"),
        ("crc", "sent a result frame whose payload has a wrong CRC"),
        ("result-header-crc", "sent a frame whose header has a wrong CRC"),
        ("long", "announced a frame of 1073741824 bytes"),
        ("half", "ended with exit code 3 in the middle of a frame"),
        ("serial", "sent a result that nobody asked for"),
        ("index", "sent a result that nobody asked for"),
        ("size", "sent 18 bytes of output where 16 belong"),
        ("no-output", "sent a first result without output"),
        ("argument", "beside argument 40, which is no operand"),
        ("short", "sent a result frame that is too short"),
        ("again", "sent a hello frame in the middle of its work"),
        ("gave-up", "gave up: the CRC of a frame is wrong"),
        ("fault", f"{SYMBOL} crashed with SIGBUS"),
        ("fault-twice", f"{SYMBOL} crashed with SIGBUS"),
        ("fault-none", "sent a fault frame that names no signal ('\ufffd[2Jgreen')"),
        ("environment", "unknown floating-point environment (2143289344)"),
        ("flags", "unknown set of flags (257)"),
        ("count", "unknown number of disturbances (65535)"),
        ("offset", "found a change before dy that is not there (byte 4)"),
        ("far", "found a change after dy that is not there (byte 4611686018427387904)"),
        ("inside-output", "found a change inside dx1 that is not there (byte 0)"),
        ("failed-index", "sent a result that nobody asked for"),
        ("escape", "gave up: \ufffd[2J\ufffd\ufffdconforms"),
        ("sigkill", f"{SYMBOL} was killed with SIGKILL, not by golden"),
        ("flood", "sent what is no frame"),
        ("flood-frames", "sent a result that nobody asked for"),
        ("closed", "closed its output without ending"),
        ("killed", f"{SYMBOL} crashed with SIGTERM."),
        ("exits", f"{SYMBOL} ended with exit code 3."),
    ],
)
def test_a_harness_that_goes_wrong_in_a_call_is_started_again(fault: str, says: str, tmp_path: Path) -> None:
    session = ExecSession(command(fault, tmp_path / "marker"), timeout=20.0)
    try:
        if fault == "sigkill":
            assert [o.status for o in session.run(call(invocations=28))] == ["ok"] * 28
        session.submit(call(invocations=3))
        session.submit(call())
        first, second = session.collect(), session.collect()
    finally:
        session.close()
    bad = next(o for o in first if o.status != "ok")
    assert bad.status == ("exit" if fault in ("half", "exits") else "crash")
    assert says in bad.message
    # What is right before it stays right; a fresh harness goes on with the rest.
    assert [o.status for o in first].count("ok") == 2 and [o.status for o in second] == ["ok"]
    if fault in ("exits", "half"):
        assert "the last words" in bad.stderr


def test_every_end_is_an_outcome() -> None:
    """A harness killed at every 30th result: one for the system's account would make a build conform that is dying."""
    session = ExecSession(command("sigkill"))
    for _ in range(10):
        session.submit(call(invocations=10))
    outcomes = [o for _ in range(10) for o in session.collect()]
    assert session.close() == [] and session.retries == 0
    assert [i for i, o in enumerate(outcomes) if o.status != "ok"] == [29, 59, 89]
    assert {(o.status, o.signal) for o in outcomes if o.status != "ok"} == {("crash", "SIGKILL")}


def test_what_the_kernel_kills_for_want_of_memory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter(range(100))
    monkeypatch.setattr("runners.harness.peer.memory_kills", lambda: next(counts))
    session = ExecSession(command("sigkill"))
    outcomes = session.run(call(invocations=30))
    session.close()
    assert outcomes[29].message == f"{SYMBOL} was killed with SIGKILL by the system, for want of memory."


def test_a_result_that_refers_to_one_of_another_process_is_refused(tmp_path: Path) -> None:
    session = ExecSession(command("one-less", tmp_path / "marker"))
    first, second = session.run(call(invocations=2))
    session.close()
    assert first.signal == "SIGKILL" and "sent a first result without output" in second.message


@pytest.mark.parametrize("fault", ["daemon", "daemon-exits"])
def test_processes_of_another_session_are_found_and_killed(fault: str, tmp_path: Path) -> None:
    started = time.monotonic()
    session = ExecSession(command(fault, tmp_path / "marker"))
    first, second = session.run(call(invocations=2))
    if fault == "daemon":
        first, second = second, first
    assert [f.kind for f in first.findings] == ["printed", "left-process"] or fault == "daemon-exits"
    assert "left-process" in [f.kind for f in first.findings] and second.status == "ok"
    left = int(first.stderr.split()[0])
    assert [f.kind for f in session.close()] == (["left-process"] if fault == "daemon" else [])
    assert not Path(f"/proc/{left}").exists() and time.monotonic() - started < 15


def test_what_the_machine_cannot_start_is_tried_once_more_and_never_blamed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runners.harness.session._PAUSE", 0.0)
    session = ExecSession(command("none"))
    session.restart()
    real, failures = execute.Peer, [1]

    def peer(*given: object) -> object:
        if failures.pop():
            raise MachineError("no room")
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(execute, "Peer", peer)
    failures[:] = [0, 1]
    assert session.run(call())[0].status == "ok" and session.retries == 1
    session.restart()
    failures[:] = [1, 1]
    with pytest.raises(MachineError):
        session.run(call())
    session.close()


@pytest.mark.parametrize("fault", ["hang", "flood-text", "deaf", "trickle"])
def test_a_harness_that_does_not_answer_is_timed_out(fault: str, tmp_path: Path) -> None:
    session = ExecSession(command(fault, tmp_path / "marker" if fault != "deaf" else None), timeout=0.5)
    started = time.monotonic()
    try:
        outcomes = session.run(call(n=1 << 14, invocations=3))
    finally:
        session.close()
    assert [o.status for o in outcomes] == ["timeout", "not-run", "not-run"]
    assert outcomes[0].message == f"{SYMBOL} did not return within 0.5 s."
    assert len(outcomes[0].stderr) <= 4096 and time.monotonic() - started < 20


def test_a_symbol_that_always_hangs_or_crashes_is_given_up() -> None:
    session = ExecSession(command("hang"), timeout=0.2)
    messages = [session.run(call())[0].message for _ in range(4)]
    session.close()
    assert messages[3] == f"{SYMBOL} was not called again after 3 time-outs."
    session = ExecSession(command("garbage"), crash_limit=2)
    messages = [o.message for o in session.run(call(invocations=2)) + session.run(call())]
    session.close()
    assert messages[2] == f"{SYMBOL} was not called again after 2 crashes."


def test_a_harness_that_cannot_be_started_again_leaves_the_rest_not_run(tmp_path: Path) -> None:
    session = ExecSession(command("once-only", tmp_path / "marker"))
    session.submit(call(invocations=2))
    session.submit(call())
    first, second = session.collect(), session.collect()
    session.close()
    assert [o.status for o in first + second] == ["exit", "not-run", "not-run"]
    assert "could not be started again: it ended with exit code 1" in second[0].message


def test_an_answer_that_comes_twice_is_found_before_the_next_call(tmp_path: Path) -> None:
    session = ExecSession(command("twice-answered", tmp_path / "marker"))
    assert session.run(call())[0].status == "ok"
    time.sleep(0.2)
    assert session.run(call())[0].status == "ok"
    text = f"The harness died after its call of {SYMBOL}, before another: it "
    assert any(f.message.startswith(text) and f.symbol == SYMBOL for f in session.close())


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("no-such-program --x", TargetError, "no-such-program cannot be run: No such file"),
        ("/etc/passwd", TargetError, "/etc/passwd cannot be run: Permission denied"),
        ("", UsageError, "comes the command"),
        ("harness 'open", UsageError, "cannot be read: No closing quotation"),
        (shlex.join([sys.executable, "-c", "import sys; sys.exit(127)"]), TargetError, "ended with exit code 127"),
    ],
)
def test_a_command_that_starts_nothing(text: str, kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        ExecSession(text)


def test_a_call_larger_than_the_target_is_not_run() -> None:
    session = ExecSession(command("none"))
    session.submit(call(1 << 18))
    session.submit(call())
    large, small = session.collect(), session.collect()
    session.close()
    assert large[0].status == "not-run" and "the harness has 1048576" in large[0].message
    assert small[0].status == "ok"


def test_a_goodbye_has_an_end() -> None:
    session = ExecSession(command("goodbyes"), timeout=0.5)
    assert session.run(call())[0].status == "ok"
    started = time.monotonic()
    assert [f.message for f in session.close()] == ["The harness took over 0.5 s to end."]
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("fault", ["none", "exits", "nothing"])
def test_no_descriptor_is_left(fault: str) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    if fault == "nothing":
        for text in (command(fault), "no-such-program"):
            with pytest.raises(TargetError):
                ExecSession(text)
    else:
        session = ExecSession(command(fault))
        session.run(call(invocations=3))
        session.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_no_process_is_left() -> None:
    session = ExecSession(command("hang"), timeout=0.2)
    assert session._peer is not None
    group = session._peer.pid
    session.run(call())
    session.close()
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


def test_misuse_of_a_session_is_an_error() -> None:
    session = ExecSession(command("none"))
    with pytest.raises(ValueError, match="no call was submitted"):
        session.collect()
    session.submit(call())
    for misuse in (session.restart, lambda: session.run(call())):
        with pytest.raises(ValueError, match="collect the submitted calls first"):
            misuse()
    assert session.collect()[0].status == "ok"
    session.restart()
    assert session.run(call())[0].status == "ok"
    assert session.close() == [] and session.close() == []
