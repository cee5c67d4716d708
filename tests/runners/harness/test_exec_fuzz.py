"""Frames of an untrusted peer, by the hundred: a good conversation, mutated from a seed; outcomes or one sentence.

The conversation is that of ``fake_harness.py``; what is sent is decided here, so that a seed repeats it. Memory is
measured in the judge: nothing that is sent may make it hold more than what a call owes.
"""

import random
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable

import numpy as np
import pytest

from golden.errors import GoldenError
from golden.formats import FP32
from golden.operator import entry_points
from runners.calling.call import Invocation
from runners.calling.from_case import call_for
from runners.harness import session as execute
from runners.harness.frames import FrameReader, HarnessError, Message
from runners.harness.session import ExecSession
from tests.helpers import fake_harness
from tests.helpers.fake_harness import SYMBOL

#: Numbers that fields are replaced by.
ODD = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x7FC00000)


class _Peer:
    """What :class:`runners.harness.peer.Peer` is to a session, without a process: answers calls with mutated frames."""

    def __init__(self, mutate: Callable[[bytes], bytes]) -> None:
        self.ended, self.signal, self.fault, self.exit_code, self.pid = "", "", "", -1, 0
        self.reader = FrameReader()
        self._mutate = mutate
        self._incoming = bytearray(fake_harness.frame(16, mutate(fake_harness.hello())))

    def send(self, data: bytes) -> None:
        payload = data[16:-4]
        if data[4] == Message.BYE:
            self._incoming += fake_harness.frame(20, b"")
            return
        serial, size = struct.unpack_from("<IH", payload)
        (arguments,) = struct.unpack_from("<H", payload, 6 + size)
        (invocations,) = struct.unpack_from("<I", payload, 8 + size + 8 * arguments + 4)
        for index in range(invocations):
            whole = fake_harness.result(serial, index, bytes(16), struct.pack("<HHq", 0, 0, -4))
            payload = self._mutate(whole[16:-4])
            kind = 17 if len(payload) % 7 else random.Random(payload).choice((16, 17, 18, 19, 20, 21))
            self._incoming += fake_harness.frame(kind, payload)

    def wait(self, seconds: float) -> list[tuple[Message, bytes]]:
        chunk, self._incoming = bytes(self._incoming), bytearray()
        news = []
        try:
            for message in self.reader.feed(chunk):
                news.append(message)
        except HarnessError as error:
            self.ended = str(error)
        if not news and not chunk:
            self.ended = self.ended or "closed its output without ending"
        return news

    def orphans(self) -> int:
        return 0

    def kill(self) -> int:
        return 0

    def take_text(self) -> tuple[str, int]:
        return "", 0

    def last_lines(self) -> str:
        return ""


def mutated(stream: random.Random, payload: bytes) -> bytes:
    """Return a payload with nothing, or a few things, changed in it."""
    whole = bytearray(payload)
    for _ in range(stream.choice((0, 0, 1, 1, 2, 5))):
        at, size = stream.randrange(len(whole) + 1), stream.choice((1, 2, 4, 8))
        match stream.randrange(6):
            case 0:
                del whole[at : at + size]
            case 1:
                whole[at:at] = stream.randbytes(stream.choice((1, 4, 100, 5000)))
            case 2 if at < len(whole):
                whole[at] ^= 1 << stream.randrange(8)
            case 3:
                whole[at : at + size] = (stream.choice(ODD) & (1 << 8 * size) - 1).to_bytes(size, "little")
            case 4:
                whole[at : at + size] = struct.pack("<q", -stream.randrange(1 << 40))[:size]
            case _:
                whole += whole[at : at + 64]
    return bytes(whole)


def call(invocations: int) -> object:
    operands = {name: np.ones(4, FP32.dtype) for name in ("dy", "x1", "x2")}
    return call_for(entry_points()[SYMBOL], {"length": 4, "beta": 1.0}, operands, [Invocation()] * invocations)


@pytest.mark.parametrize("seed", range(20))
def test_mutated_frames_give_outcomes_or_one_sentence(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = random.Random(seed)
    monkeypatch.setattr(execute, "Peer", lambda *_: _Peer(lambda payload: mutated(stream, payload)))
    started, talked, sentences = time.monotonic(), 0, set()
    tracemalloc.start()
    for _ in range(60):
        try:
            session = ExecSession("harness", timeout=0.2)
        except GoldenError as error:
            sentences.add(str(error))
            continue
        if SYMBOL not in session.symbols:
            continue
        for _ in range(4):
            session.submit(call(5))  # type: ignore[arg-type]
        for _ in range(4):
            for outcome in session.collect():
                assert outcome.status in ("ok", "crash", "not-run") and len(outcome.output) == 16 * (
                    outcome.status == "ok"
                )
                assert outcome.message.isprintable()
                talked += 1
        session.close()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert talked > 100 and len(sentences) > 5 and all(s.isprintable() for s in sentences)
    assert peak < 8 << 20 and time.monotonic() - started < 20


@pytest.mark.parametrize("seed", range(20))
def test_mutated_streams_are_cut_into_frames_or_refused(seed: int) -> None:
    """Bytes of whole frames, headers included, in pieces of any size; what is announced is not what is kept."""
    stream = random.Random(seed)
    for _ in range(200):
        payloads = [stream.randbytes(stream.choice((0, 5, 300))) for _ in range(3)]
        raw = mutated(stream, b"".join(fake_harness.frame(17, payload) for payload in payloads))
        if stream.random() < 0.3:  # a header that is right by its CRC
            head = b"GLDH" + struct.pack("<II", stream.choice((0, 2, 16, 17, 99)), stream.choice(ODD))
            raw = head + struct.pack("<I", zlib.crc32(head)) + raw
        reader, at = FrameReader(), 0
        reader.limit = 512
        try:
            while at < len(raw):
                size = stream.choice((1, 7, 64, 1 << 16))
                for kind, payload in reader.feed(raw[at : at + size]):
                    assert kind >= Message.HELLO and len(payload) <= 512
                at += size
                assert len(reader.rest) <= 512 + 20 + size
        except HarnessError as error:
            assert str(error).isprintable()
