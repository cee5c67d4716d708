"""A harness that misbehaves: a program of its own, whose frames are made here and not by the code under test.

``python fake_harness.py FAULT [MARKER]``: with a MARKER, a path, only the first process misbehaves.
"""

import os
import signal
import struct
import sys
import time
import zlib
from pathlib import Path

SYMBOL = "fp_smoothl1lossgrad_p"
FAKE = Path(__file__)


def frame(kind: int, payload: bytes, *, magic: bytes = b"GLDH", length: int | None = None) -> bytes:
    head = magic + struct.pack("<II", kind, len(payload) if length is None else length)
    return head + struct.pack("<I", zlib.crc32(head)) + payload + struct.pack("<I", zlib.crc32(payload))


def string(text: str) -> bytes:
    return struct.pack("<H", len(text)) + text.encode()


def hello(version: int = 1, order: bytes = b"\4\3\2\1", int_size: int = 4, capacity: int = 1 << 20) -> bytes:
    sizes = bytes([8, int_size, 1, 3])
    numbers = struct.pack("<IIIQ", 1, 1024, 0, capacity)
    names = string("fake") + string("none") + struct.pack("<H", 1) + string(SYMBOL)
    return struct.pack("<I", version) + order + sizes + numbers + names


def result(serial: int, index: int, output: bytes | None, disturbances: bytes = b"") -> bytes:
    head = struct.pack("<IIIHH", serial, index, 1, output is not None, len(disturbances) // 12)
    return frame(17, head + disturbances + (output or b""))


def flipped(whole: bytes, position: int) -> bytes:
    return whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :]


GREETINGS = {
    "banner": b"Welcome to the board!\n" + frame(16, hello()),
    "nothing": b"",
    "version": frame(16, hello(version=9)),
    "order": frame(16, hello(order=b"\2\1\4\3")),
    "int": frame(16, hello(int_size=2)),
    "hello-crc": flipped(frame(16, hello()), 40),
    "header-crc": flipped(frame(16, hello()), 9),
    "hello-short": frame(16, hello()[:-3]),
    "hello-long": frame(16, hello() + b"x"),
    "absurd": frame(16, b"", length=1 << 31),
    "type": frame(77, b""),
    "judge-type": frame(1, b""),
    "truncated": frame(16, hello())[:50],
    "twice": frame(16, hello()) * 2,
    "pointers": frame(16, hello()[:8] + b"\7" + hello()[9:]),
    "half-abi": frame(16, hello()[:10] + b"\x09" + hello()[11:]),
    "names-twice": frame(16, hello()[: -2 - len(string(SYMBOL))] + struct.pack("<H", 2) + string(SYMBOL) * 2),
    "canaries": frame(16, hello()[:16] + b"\xff" * 4 + hello()[20:]),
    "hello-nan": frame(16, hello()[:12] + b"\0\0\xc0\x7f" + hello()[16:]),
    "result": result(1, 0, b""),
    "trouble": frame(19, b"there is no memory for operands"),
}


def read_exactly(size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = os.read(0, size - len(data))
        if not chunk:
            sys.exit(0)
        data += chunk
    return data


def read_call() -> tuple[int, int, int]:
    """Return serial, invocations and bytes of output of the next call; ends with goodbye when told to."""
    head = read_exactly(16)
    payload = read_exactly(struct.unpack("<I", head[8:12])[0])
    read_exactly(4)
    if struct.unpack("<I", head[4:8])[0] == 2:
        if "bye-killed" in sys.argv:
            os.abort()
        if "bye-exits" in sys.argv:
            os._exit(3)
        while os.write(1, frame(20, b"")) and "goodbyes" in sys.argv:
            time.sleep(0.05)
        sys.exit(0)
    serial, size = struct.unpack_from("<IH", payload)
    at = 6 + size
    (arguments,) = struct.unpack_from("<H", payload, at)
    counts = [struct.unpack_from("<cBHI", payload, at + 2 + 8 * i) for i in range(arguments)]
    output = sum(n * itemsize for kind, role, itemsize, n in counts if kind == b"p" and role == 1)
    (invocations,) = struct.unpack_from("<I", payload, at + 2 + 8 * arguments + 4)
    return serial, invocations, output


def daemon() -> int:
    """Leave a process behind that is of no group or session of ours and holds our pipes open; returns its number."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if (child := os.fork()) == 0:
            time.sleep(1000)
        os.write(write, struct.pack("<I", child))
        os._exit(0)
    os.wait()
    return int(struct.unpack("<I", os.read(read, 4))[0])


def misbehave(fault: str, serial: int, index: int, output: bytes) -> None:
    good = result(serial, index, output)
    beside = struct.pack("<HHq", 40, 0, -1)
    frames = {
        "garbage": b"Segmentation fault\n",
        "garbage-inside": good[:20] + b"printed by a kernel" + good[20:],
        "crc": flipped(good, 34),
        "result-header-crc": flipped(good, 5),
        "long": frame(17, b"", length=1 << 30),
        "half": good[: len(good) // 2],
        "serial": result(serial + 1, index, output),
        "index": result(serial, index + 1, output),
        "size": result(serial, index, output + b"\0\0"),
        "no-output": result(serial, index, None),
        "argument": result(serial, index, output, beside),
        "short": frame(17, b"\1\0"),
        "again": frame(16, hello()),
        "gave-up": frame(19, b"the CRC of a frame is wrong"),
        "fault": frame(18, b"SIGBUS"),
        "twice-answered": good + good,
        "fault-twice": frame(18, b"SIGBUS") * 2,
        "fault-none": frame(18, b"\x1b[2Jgreen"),
        "environment": frame(17, struct.pack("<IIIHH", serial, index, 0x7FC00000, 1, 0) + output),
        "flags": frame(17, struct.pack("<IIIHH", serial, index, 1, 0x101, 0) + output),
        "count": frame(17, struct.pack("<IIIHH", serial, index, 1, 1, 0xFFFF) + output),
        "offset": result(serial, index, output, struct.pack("<HHq", 0, 0, 4)),
        "far": result(serial, index, output, struct.pack("<HHq", 0, 2, 1 << 62)),
        "inside-output": result(serial, index, output, struct.pack("<HHq", 1, 1, 0)),
        "failed-index": frame(21, struct.pack("<II", serial, 0xFFFFFFFF) + b"raised"),
        "escape": frame(19, b"\x1b[2J\xff\xfeconforms"),
    }
    if fault in frames:
        os.write(1, frames[fault])
    elif fault == "flood":
        while True:
            os.write(1, b"All work and no play makes Jack a dull boy. " * 1000)
    elif fault == "flood-frames":
        while True:
            os.write(1, good)
    elif fault == "flood-text":
        while True:
            os.write(2, b"still thinking\n" * 1000)
    elif fault in {"hang", "deaf"}:
        time.sleep(1000)
    elif fault == "closed":
        os.close(1)
        time.sleep(1000)
    elif fault == "trickle":
        for i in range(1000):
            os.write(1, good[i : i + 1])
            time.sleep(0.1)
    elif fault in ("daemon", "daemon-exits"):
        os.write(2, b"%d\n" % daemon())
        if fault == "daemon":
            return
    elif fault.startswith("bye"):
        return
    elif fault == "dies-after":
        os.write(1, good)
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault in ("sigkill", "one-less"):
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "killed":
        os.kill(os.getpid(), signal.SIGTERM)
    os.write(2, b"the last words\n")
    sys.exit(139 if fault == "fault" else 3)


def main() -> None:
    fault, marker = sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else None
    first = marker is None or not marker.exists()
    if marker is not None:
        marker.touch()
    if fault == "once-only" and not first:
        sys.exit("the board is gone")
    if fault in GREETINGS:
        os.write(1, GREETINGS[fault])
        if fault in ("nothing", "truncated"):
            print("no such board", file=sys.stderr)
            sys.exit(7)
        time.sleep(1000)
    if fault == "slow-hello":
        for byte in frame(16, hello()):
            os.write(1, bytes([byte]))
            time.sleep(0.1)
    if fault == "silent":
        time.sleep(1000)
    os.write(1, frame(16, hello()))
    if fault == "deaf":
        time.sleep(1000)
    results = 0
    while True:
        serial, invocations, size = read_call()
        for index in range(invocations):
            results += 1
            if first and fault not in ("none", "goodbyes") and (fault != "sigkill" or results == 30):
                misbehave(fault, serial, index, bytes(size))
            os.write(1, result(serial, index, None if marker and fault == "one-less" else bytes(size)))


if __name__ == "__main__":
    main()
