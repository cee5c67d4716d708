"""The guarded worker: each contract has a kernel that breaks it, and a healthy one keeps them all."""

import ctypes
import itertools
import platform
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runners.calling.call import FILLS, Call, Invocation, PointerArgument, ScalarArgument
from runners.library.session import LibrarySession
from runners.process import messages, stub
from tests.helpers.broken_kernels import (
    BEGIN,
    COMPILER,
    END,
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

# Memory


@pytest.mark.parametrize("n", [0, 1, 2, 33, 1023, 1024, 1025, 100_000])
def test_a_healthy_kernel_gives_the_same_bits_in_every_way_of_calling_it(shared: LibrarySession, n: int) -> None:
    ways = [
        Invocation(placement=placement, offset=offset, skew=skew, fill=fill, unread=unread)
        for placement, offset, skew, fill, unread in itertools.product(
            ("end", "begin"), (0, 1, 15), (0, 1, 3), (0, 1), ("nan", "ones")
        )
    ]
    outcomes = shared.run(make("healthy", *ways, Invocation(unreadable=("u",)), n=n))
    assert [o.status for o in outcomes] == ["ok"] * (len(ways) + 1)
    assert {o.output for o in outcomes} == {expected(n)}
    assert [o.findings for o in outcomes] == [[]] * (len(ways) + 1)


def test_core_mask_is_the_last_argument_and_reaches_the_kernel(shared: LibrarySession) -> None:
    ran, idle = shared.run(make("healthy_s", Invocation(core_mask=0x80), Invocation(core_mask=0)))
    assert ran.output == expected()
    assert idle.output == idle.fill and len(idle.fill) == 132
    assert shared.run(make("healthy_s", Invocation(core_mask=0xFFFFFFFF)))[0].output == expected()


@pytest.mark.parametrize(
    ("symbol", "invocation", "broken"),
    [
        ("overrun", END, ("output-overrun", "o", 33)),
        ("underrun", BEGIN, ("output-underrun", "o", -1)),
        ("far_overrun", END, ("output-overrun", "o", 5033)),
        ("far_overrun", BEGIN, ("output-overrun", "o", 5033)),
        ("read_past_x", END, ("guard", "x", 33)),
        ("read_past_w", END, ("guard", "w", 33)),
        ("read_past_u", END, ("guard", "u", 33)),
        ("thread_overreads", END, ("guard", "x", 33)),
        ("read_before_x", BEGIN, ("guard", "x", -1)),
        ("read_before_w", BEGIN, ("guard", "w", -1)),
        ("write_x", END, ("input-written", "x", 2)),
        ("write_x", Invocation(placement="begin", offset=3), ("input-written", "x", 2)),
        ("write_w", BEGIN, ("input-written", "w", 0)),
        ("write_u", END, ("input-written", "u", 1)),
        ("touches_u", Invocation(unreadable=("u",)), ("touched", "u", 1)),
    ],
)
def test_an_access_that_breaks_a_contract_crashes_and_names_the_element(
    shared: LibrarySession, symbol: str, invocation: Invocation, broken: tuple[str, str, int]
) -> None:  # fmt: skip
    outcome = run_one(shared, symbol, invocation)
    assert (outcome.status, outcome.signal, outcome.output) == ("crash", "SIGSEGV", b"")
    assert [(f.kind, f.operand, f.element) for f in outcome.findings] == [broken]
    word = "reading" if "read" in symbol or "touch" in symbol else "writing"
    assert f"{symbol} crashed with SIGSEGV {word} {broken[1]}[{broken[2]}]" in outcome.message


@pytest.mark.parametrize(
    ("symbol", "invocation", "kind", "element"),
    [
        ("overrun", BEGIN, "output-overrun", 33),
        ("overrun", Invocation(offset=1), "output-overrun", 33),
        ("underrun", END, "output-underrun", -1),
        ("underrun", Invocation(placement="begin", offset=1), "output-underrun", -1),
    ],
)
def test_a_write_beside_the_output_in_its_own_page_is_found(
    shared: LibrarySession, symbol: str, invocation: Invocation, kind: str, element: int
) -> None:
    outcome = run_one(shared, symbol, invocation)
    assert (outcome.status, outcome.output) == ("ok", expected())
    assert [(f.kind, f.operand, f.element) for f in outcome.findings] == [(kind, "o", element)]


def test_nothing_is_found_where_nothing_was_touched(shared: LibrarySession) -> None:
    for symbol in ("read_past_x", "touches_u", "unwritten"):
        assert run_one(shared, symbol, BEGIN).findings == []


def test_an_unwritten_element_shows_its_fill(shared: LibrarySession) -> None:
    first, second = shared.run(make("unwritten", Invocation(fill=0), Invocation(fill=1)))
    assert first.output == expected()[:-4] + first.fill[-4:]
    assert second.output == expected()[:-4] + second.fill[-4:]


def test_adding_into_the_output_shows_whatever_the_fill(shared: LibrarySession) -> None:
    outcomes = shared.run(make("accumulated", Invocation(fill=0), Invocation(fill=1)))
    assert outcomes[0].output != outcomes[1].output


def test_fills_differ_in_every_bit_and_are_finite_numbers() -> None:
    a, b, fresh = FILLS
    assert fresh == 0
    assert a ^ b == 0xFF
    for value, form in itertools.product((a, b), ("<f2", "<f4")):
        number = np.frombuffer(bytes([value]) * 4, form)[0]
        assert np.isfinite(number) and number != 0


def test_unread_operands_hold_what_was_asked_for(shared: LibrarySession) -> None:
    nan, ones = shared.run(make("leaks_u", Invocation(unread="nan"), Invocation(unread="ones")))
    assert np.isnan(np.frombuffer(nan.output, "<f4")[0])
    assert np.frombuffer(ones.output, "<f4")[0] == 1.0


def test_empty_operands_have_a_pointer_at_the_guard(shared: LibrarySession) -> None:
    outcome = run_one(shared, "read_first", n=0)
    assert [(f.kind, f.operand, f.element) for f in outcome.findings] == [("guard", "x", 0)]


@pytest.mark.parametrize(
    ("invocation", "addresses"),
    [
        (Invocation(), [4096 - 28] * 4),
        (Invocation(offset=2), [4096 - 36] * 4),
        (Invocation(align=16), [4096 - 32] * 4),
        (Invocation(placement="begin"), [0] * 4),
        (Invocation(placement="begin", offset=15, skew=1), [60, 0, 4, 8]),
    ],
)
def test_operands_lie_where_the_invocation_says(
    shared: LibrarySession, invocation: Invocation, addresses: list[int]
) -> None:
    output = np.frombuffer(run_one(shared, "addresses", invocation, n=7).output, "<f4")
    assert output[:4].tolist() == addresses


def test_regions_are_given_back_once_much_has_gathered(broken_kernels: Path) -> None:
    with open_session(broken_kernels, memory=768 << 20) as session:
        for n in range(1 << 20, (1 << 20) + 40_000, 1024):
            assert run_one(session, "healthy", n=n).output == expected(n)


# How a call can end


@pytest.mark.parametrize(
    ("symbol", "status", "name", "text"),
    [
        ("null", "crash", "SIGSEGV", "reading address 0x0 (a null pointer)"),
        ("aborts", "crash", "SIGABRT", "crashed with SIGABRT"),
        ("traps", "crash", "SIGILL", "crashed with SIGILL"),
        ("divides", "crash", "SIGFPE", "crashed with SIGFPE"),
        ("raises", "crash", "SIGSEGV", "crashed with SIGSEGV"),
        ("kills_itself", "crash", "SIGKILL", "was killed with SIGKILL"),
        ("kills_parent", "timeout", "", "did not return within 1 s"),
        ("overflows", "crash", "SIGSEGV", "crashed with SIGSEGV"),
        ("exits", "exit", "", "exit code 0"),
        ("exits_at_once", "exit", "", "exit code 3"),
        ("closes", "crash", "", "unable to go on|exit code 70"),
        ("scribbles", "crash", "", "descriptor that is not its own"),
        ("scribbles_small", "crash", "", "descriptor that is not its own"),
    ],
)
def test_every_end_of_the_process_becomes_a_status(
    shared: LibrarySession, symbol: str, status: str, name: str, text: str
) -> None:
    outcome = run_one(shared, symbol, timeout=1.0 if symbol == "kills_parent" else 0.0)
    assert outcome.signal == name
    assert outcome.status == status or symbol == "closes"
    assert any(t in outcome.message for t in text.split("|")), outcome.message
    assert outcome.message.startswith(symbol) and outcome.message.endswith(".")
    assert run_one(shared, "healthy").output == expected()


def test_a_jump_to_nowhere_does_not_hurt_the_judge(shared: LibrarySession) -> None:
    assert run_one(shared, "jumps", timeout=1).status in ("crash", "timeout")
    assert run_one(shared, "healthy").output == expected()


@pytest.mark.skipif(platform.machine() != "x86_64", reason="movaps is an x86-64 instruction")
def test_a_misaligned_vector_access_is_explained(shared: LibrarySession) -> None:
    outcome = run_one(shared, "misaligned")
    assert outcome.signal == "SIGSEGV" and "unaligned" in outcome.message


def test_a_crash_costs_only_the_invocation_it_happens_in(shared: LibrarySession) -> None:
    outcomes = shared.run(make("read_past_x", BEGIN, END, END, BEGIN))
    assert [o.status for o in outcomes] == ["ok", "crash", "crash", "ok"]
    assert outcomes[0].output == outcomes[3].output == expected()


def test_a_symbol_that_keeps_crashing_is_not_called_for_ever(broken_kernels: Path) -> None:
    with open_session(broken_kernels, crash_limit=2) as session:
        outcomes = session.run(make("null", *[END] * 4))
        assert [o.status for o in outcomes] == ["crash", "crash", "not-run", "not-run"]
        assert run_one(session, "null").message == "null was not called again after 2 crashes."
        assert run_one(session, "healthy").status == "ok"


def test_100_crashes_take_seconds(shared: LibrarySession) -> None:
    start = time.monotonic()
    for _ in range(100):
        shared.submit(make("null"))
    assert all(shared.collect()[0].status == "crash" for _ in range(100))
    assert time.monotonic() - start < 10


def test_a_hang_costs_its_timeout_then_less_then_nothing(broken_kernels: Path) -> None:
    with open_session(broken_kernels, timeout=1.1) as session:
        begun = time.monotonic()
        outcomes = session.run(make("hangs_late", END, END, first=1))
        assert [o.status for o in outcomes] == ["timeout", "not-run"]
        assert outcomes[0].message == "hangs_late did not return within 1.1 s."
        assert run_one(session, "hangs_late").status == "ok"
        assert run_one(session, "hangs_late", first=1).message == "hangs_late did not return within 1 s."
        assert run_one(session, "hangs_late", first=1, timeout=0.1).status == "timeout"
        assert 2.2 <= time.monotonic() - begun < 10
        begun = time.monotonic()
        assert run_one(session, "hangs_late").status == "not-run"
        assert time.monotonic() - begun < 0.5
        assert run_one(session, "healthy").status == "ok"


def test_time_in_which_nobody_waits_does_not_count(broken_kernels: Path) -> None:
    with open_session(broken_kernels, timeout=0.8) as session:
        for _ in range(3):
            session.submit(make("slow"))
        time.sleep(1.2)
        assert [session.collect()[0].status for _ in range(3)] == ["ok"] * 3


def test_calls_sent_ahead_of_a_crash_are_answered_in_order(shared: LibrarySession) -> None:
    symbols = ["healthy", "null", "healthy", "overrun", "aborts", "exits", "healthy", "healthy"]
    for index, symbol in enumerate(symbols):
        shared.submit(make(symbol, END, BEGIN, n=20 + index))
    for index, symbol in enumerate(symbols):
        outcomes = shared.collect()
        if symbol == "healthy":
            assert [o.output for o in outcomes] == [expected(20 + index)] * 2
        else:
            assert outcomes[0].status != "ok" and symbol in outcomes[0].message


def test_calls_sent_ahead_of_a_crash_run_in_order(broken_kernels: Path) -> None:
    with open_session(broken_kernels) as session:
        for symbol in ["null", *["counts"] * 8]:
            session.submit(make(symbol))
        outputs = [session.collect()[0].output for _ in range(9)]
    assert [np.frombuffer(o, "<f4")[0] for o in outputs[1:]] == list(range(8))


def test_large_operands_pass_in_both_directions_at_once(shared: LibrarySession) -> None:
    for _ in range(6):
        shared.submit(make("healthy", END, BEGIN, n=1 << 20))
    for _ in range(6):
        assert [o.output for o in shared.collect()] == [expected(1 << 20)] * 2


def test_misuse_of_a_session_is_an_error(shared: LibrarySession) -> None:
    with pytest.raises(ValueError, match="has no absent"):
        shared.submit(make("absent"))
    with pytest.raises(ValueError, match="no call"):
        shared.collect()
    shared.submit(make("healthy"))
    with pytest.raises(ValueError, match="collect"):
        shared.run(make("healthy"))
    assert shared.collect()[0].status == "ok"
    assert shared.run(Call("healthy", (), ())) == []


# What else a call can do to its process


@pytest.mark.parametrize("symbol", ["forks", "daemonizes"])
def test_a_process_left_behind_is_found_and_killed(broken_kernels: Path, symbol: str) -> None:
    with open_session(broken_kernels, mode="off") as session:
        outcome = run_one(session, symbol)
        child = int(np.frombuffer(outcome.output, "<i4")[0])
        assert outcome.status == "ok" and child > 0 and not has_ended(child, 0)
        assert "forked" in [f.kind for f in outcome.findings]
        assert "left-process" in [f.kind for f in session.close()]
    assert has_ended(child, 1)


def test_a_process_left_by_a_worker_that_crashed_is_killed_at_once(broken_kernels: Path) -> None:
    with open_session(broken_kernels, mode="off") as session:
        child = int(np.frombuffer(run_one(session, "forks").output, "<i4")[0])
        assert [f.kind for f in run_one(session, "null").findings] == ["left-process"]
        assert has_ended(child, 1)


def test_a_copy_of_the_worker_does_not_answer(broken_kernels: Path) -> None:
    with open_session(broken_kernels, mode="off") as session:
        for _ in range(3):
            outcomes = session.run(make("returns_twice", END, BEGIN))
            assert [o.output for o in outcomes] == [expected()] * 2
        assert run_one(session, "healthy").output == expected()


def test_printed_text_is_kept_apart_and_found(broken_kernels: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with open_session(broken_kernels) as session:
        outcome = run_one(session, "prints")
        assert (outcome.status, outcome.output) == ("ok", expected())
        assert (outcome.stdout, outcome.stderr) == ("hello from the kernel", "trouble\n")
        assert [f.kind for f in outcome.findings] == ["printed", "printed"]
        assert outcome.findings[0].message == "21 bytes were printed on stdout."
        quiet = run_one(session, "healthy")
        assert (quiet.stdout, quiet.stderr, quiet.findings) == ("", "", [])
    assert capfd.readouterr() == ("", "")


def test_text_before_a_crash_is_kept(shared: LibrarySession) -> None:
    outcome = run_one(shared, "prints_then_dies")
    assert (outcome.signal, outcome.stdout) == ("SIGABRT", "last words\n")


def test_100_mb_of_text_neither_block_nor_stay(shared: LibrarySession) -> None:
    outcome = run_one(shared, "prints_a_lot", timeout=30)
    assert outcome.status == "ok"
    assert outcome.stdout == outcome.stderr == "x" * 4096
    assert [f.message.split()[0] for f in outcome.findings] == [str(800 << 16)] * 2


def test_text_without_end_is_a_hang(shared: LibrarySession) -> None:
    outcome = run_one(shared, "prints_forever", timeout=0.5)
    assert outcome.status == "timeout" and outcome.stdout == "y" * 4096


def test_memory_is_limited(broken_kernels: Path) -> None:
    with open_session(broken_kernels, memory=256 << 20) as session:
        assert run_one(session, "healthy").status == "ok"
        assert run_one(session, "blows_up").signal == "SIGABRT"
        assert run_one(session, "takes_all", n=1_000_000).status in ("ok", "crash")
        assert run_one(session, "healthy", n=1_000_000).status in ("ok", "crash")
        assert run_one(session, "null").signal == "SIGSEGV"
        assert run_one(session, "healthy").output == expected()


def test_operands_beyond_the_range_of_addresses_are_refused(broken_kernels: Path) -> None:
    with open_session(broken_kernels) as session:
        arguments = (PointerArgument("o", "output", 4, 1 << 29), ScalarArgument("n", "int32", 0))
        outcome = session.run(Call("healthy", arguments, (END,)))[0]
        assert outcome.status == "not-run" and "2147483648 bytes" in outcome.message
        assert run_one(session, "healthy").output == expected()


def test_a_changed_rounding_mode_is_found_and_set_back(shared: LibrarySession) -> None:
    outcome = run_one(shared, "rounds_up")
    assert outcome.status == "ok"
    assert {f.kind for f in outcome.findings} == {"fp-environment"}
    assert outcome.findings[0].message == "The call changed rounding mode from to nearest to upward."
    assert set(np.frombuffer(run_one(shared, "tells_rounding").output, "<f4")) == {1.0}
    assert run_one(shared, "healthy").findings == []


@pytest.mark.skipif(platform.machine() != "x86_64", reason="written for x86-64's mxcsr")
def test_changed_flush_bits_are_found(shared: LibrarySession) -> None:
    told = [f.message for f in run_one(shared, "flushes").findings]
    assert told == [
        "The call changed flush-to-zero from off to on.",
        "The call changed denormals-are-zero from off to on.",
    ]


def test_status_flags_are_told_and_no_change(shared: LibrarySession) -> None:
    found = run_one(shared, "raises_flags").findings
    assert [(f.kind, f.message) for f in found] == [
        ("exception-flags", "Calls raise the exception flag of a division by zero.")
    ] * stub.NATIVE


def test_threads_may_stay(broken_kernels: Path) -> None:
    with open_session(broken_kernels) as session:
        assert run_one(session, "leaves_thread").status == "ok"
        assert run_one(session, "healthy").output == expected()


def test_a_thread_that_crashes_between_calls_is_found(broken_kernels: Path) -> None:
    with open_session(broken_kernels) as session:
        assert run_one(session, "thread_dies").status == "ok"
        time.sleep(1)
        assert run_one(session, "healthy").output == expected()
        assert [f.kind for f in session.close()] == ["crash"]


# Scalars


def scalar_call(symbol: str, ctype: Any, bits: int) -> Call:
    return Call(
        symbol,
        (
            ScalarArgument("s", ctype, bits),
            PointerArgument("o", "output", 2, 3),
            ScalarArgument("n", "int32", 3),
        ),
        (END,),
    )


HALVES = [
    0x0000,
    0x8000,
    0x3C00,
    0x3555,
    0xB800,
    0x0001,
    0x83FF,
    0x7BFF,
    0x7C00,
    0xFC00,
    0x7E00,
    0x7C01,
    0xFFFF,
]


@pytest.mark.parametrize(("symbol", "ctype"), [("as_float16", "float16"), ("as_uint16", "uint16")])
def test_a_half_by_value_arrives_bit_for_bit(shared: LibrarySession, symbol: str, ctype: str) -> None:
    if symbol not in shared.symbols:
        pytest.skip(f"{COMPILER} has no _Float16")
    for bits in HALVES:
        outcome = shared.run(scalar_call(symbol, ctype, bits))[0]
        assert outcome.output == struct.pack("<3H", *[bits] * 3)


def test_a_wrong_half_abi_does_not_arrive(shared: LibrarySession) -> None:
    """The two conventions really are different: no test above passes by luck."""
    if "as_float16" not in shared.symbols:
        pytest.skip(f"{COMPILER} has no _Float16")
    for symbol, ctype in (("as_float16", "uint16"), ("as_uint16", "float16")):
        outputs = {bits: shared.run(scalar_call(symbol, ctype, bits))[0].output for bits in (0x3C00, 0x3555)}
        assert any(output != struct.pack("<3H", *[bits] * 3) for bits, output in outputs.items())


def test_a_half_scalar_computes(shared: LibrarySession) -> None:
    if "times_float16" not in shared.symbols:
        pytest.skip(f"{COMPILER} has no _Float16")
    x = np.array([1, -2, 0.333, 65504], "<f2")
    arguments = (
        ScalarArgument("s", "float16", 0x3800),
        PointerArgument("x", "input", 2, 4, memoryview(x.tobytes())),
        PointerArgument("o", "output", 2, 4),
        ScalarArgument("n", "int32", 4),
    )
    outcome = shared.run(Call("times_float16", arguments, (END,)))[0]
    assert outcome.output == (x * np.float16(0.5)).tobytes()


def test_other_scalars_arrive_in_order(shared: LibrarySession) -> None:
    arguments = (
        ScalarArgument("a", "int32", -5),
        ScalarArgument("s", "float32", 0x7F800001),
        ScalarArgument("b", "int32", 2**31 - 1),
        PointerArgument("o", "output", 4, 3),
        ScalarArgument("n", "int32", 3),
    )
    outcome = shared.run(Call("as_float32", arguments, (END,)))[0]
    assert outcome.output == struct.pack("<iII", -5, 2**31 - 1, 0x7F800001)


# Speed and frames


def test_an_invocation_costs_microseconds(shared: LibrarySession) -> None:
    """About 35 µs; the limit only catches what would make a whole run slow, on a machine under load."""
    call = make("healthy", *[Invocation(placement=p, fill=q) for p in ("end", "begin") for q in (0, 1)])
    start = time.monotonic()
    for _ in range(500):
        shared.submit(call)
    for _ in range(500):
        shared.collect()
    assert (time.monotonic() - start) / 2000 < 500e-6


def test_frames_come_whole_however_they_are_cut() -> None:
    sent = [messages.Trouble(text) for text in ("", "a", "b" * 1000)]
    stream = b"".join(map(messages.frame, sent))
    for step in (1, 3, 7, len(stream)):
        frames = messages.Frames()
        chunks = [stream[i : i + step] for i in range(0, len(stream), step)]
        bodies = [bytes(body) for chunk in chunks for body in frames.feed(chunk)]
        assert [messages.decode_reply(b) for b in bodies] == sent


def test_a_frame_of_absurd_length_is_refused() -> None:
    with pytest.raises(messages.FrameError, match="4294967295 bytes"):
        list(messages.Frames().feed(b"\xff" * 4))


@pytest.mark.parametrize(
    "body",
    [
        b"\x95\xa4done\x00\x90\x92\x00\x00" + b"\x91" * 100_000 + b"\xc0",  # nested in what is skipped
        b"\x92\xa7trouble\xa1\xff",  # no text
        b"\x92\xa7trouble\xda\x7f\xff" + b"a" * 0x7FFF,  # an essay
        b"\x94\xa4done\x00\x90\x92\xff\x00",  # less than no memory
        b"\x92\xa5start\x00",
    ],
)
def test_a_message_that_makes_no_sense_is_refused(body: bytes) -> None:
    with pytest.raises(messages.FrameError, match="is no message"):
        messages.decode_reply(body)


def test_the_worker_knows_c_structures_by_their_size() -> None:
    from runners.process.faults import SigAction

    assert ctypes.sizeof(SigAction) == 152


def test_in_plain_memory_the_output_holds_zeros_and_what_lies_beside_it_is_inspected(shared: LibrarySession) -> None:
    plain = Invocation(placement="plain", fill=2)
    guarded, fine, last = shared.run(make("healthy", Invocation(), plain, Invocation()))
    assert guarded.output == fine.output == last.output and fine.findings == []
    assert fine.fill == bytes(len(fine.output)) != guarded.fill
    under = shared.run(make("underrun", plain))[0]
    assert ("output-underrun", -1) in [(f.kind, f.element) for f in under.findings]
