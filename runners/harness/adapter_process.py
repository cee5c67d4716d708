"""A harness in Python: evaluates an object for the judge; ``python -m runners.harness.adapter_process MODULE:OBJECT``.

It speaks the protocol of docs/running-on-a-board.md on its standard input and output; what the object prints goes to
standard error. What an object has to be is in docs/third-party.md.
"""

import contextlib
import importlib
import inspect
import os
import platform
import struct
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple
from zlib import crc32

import numpy as np

from golden.errors import GoldenError, TargetError, nearest
from golden.formats import Array
from golden.operator import EntryPoint, Pointer, Role, entry_points
from golden.shadow import shadows
from runners.calling.call import UNREAD, unread_content
from runners.harness.frames import HEADER, MAGIC, VERSION, Message, frame
from runners.process.fenv import FloatingPoint

#: Evaluates an operator: (operator, dtype, scalars, operands) -> output.
Evaluate = Callable[[str, str, dict[str, int | float | str], dict[str, Array]], Array]

_ENTRY = struct.Struct("<cBHI")
_CAPACITY = 1 << 40  # what an adapter needs is its own affair
_LONGEST = 300  # characters of an exception's text, and of a path
_FRAMES = 3  # lines of a traceback
_OURS = (__file__, importlib.__file__, "<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")


class WrongResultError(Exception):
    """What an object returned is not the output; ``str(error)`` is a predicate."""


class Adapter(NamedTuple):
    """A loaded object."""

    evaluate: Evaluate
    title: str
    entries: dict[str, EntryPoint]


def load(name: str) -> Adapter:
    """Import an object and find out what it offers; raises :class:`TargetError` with a predicate's worth of why not."""
    module_name, _, dotted = name.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except GoldenError:
        raise
    except ImportError as error:
        for package, theirs, _ in shadows():
            if error.name and error.name.split(".")[0] == package:
                here = f"{package} is golden's here, not {theirs}"
                raise TargetError(f"{here}, which {module_name} is after: give that another name") from error
        if not isinstance(error, ModuleNotFoundError):
            raise TargetError(f"importing {module_name} failed: {_described(error)}") from error
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            where = "neither among the installed ones nor in the current folder"
            raise TargetError(f"there is no module {error.name!r}, {where}") from error
        raise TargetError(f"{module_name} needs the module {error.name!r}, which is not installed") from error
    except BaseException as error:
        raise TargetError(f"importing {module_name} failed: {_described(error)}") from error
    owner, path = module_name, [found]
    for word in dotted.split("."):
        if not hasattr(found, word):
            near = nearest(word, [n for n in dir(found) if not n.startswith("_")])
            raise TargetError(f"{owner} has no {word!r}" + (f" (did you mean {near!r}?)" if near else ""))
        found, owner = getattr(found, word), f"{owner}.{word}"
        path.append(found)
    if inspect.isclass(found):
        raise TargetError(f"{owner} is a class: name an instance of it, or a function")
    evaluate = getattr(found, "evaluate", found)
    if not callable(evaluate):
        raise TargetError(f"{owner} is neither callable nor has it a method 'evaluate'")
    # A function says nothing of itself: then what it was taken from does, the module at last, if it is of that kind.
    title = " ".join(filter(None, (_stated(path, key, str) for key in ("name", "version"))))
    offers = getattr(found, "operators", None) or _stated(path, "operators", Mapping)
    return Adapter(evaluate, title or name, _offered(owner, offers))


def _stated(path: Sequence[object], key: str, kind: type) -> Any:
    """Return an attribute of an object or of the nearest of its owners; None where there is none of the kind."""
    stated = (getattr(owner, key, None) for owner in reversed(path))
    return next((value for value in stated if isinstance(value, kind)), None)


def _offered(owner: str, offers: object) -> dict[str, EntryPoint]:
    """Return the entry points that an object serves: all, or those of ``operators``, operator -> dtypes."""
    known = entry_points()
    if offers is None:
        return known
    if not isinstance(offers, Mapping):
        raise TargetError(f"{owner}.operators is no mapping of operators to dtypes, such as {{'subext': ['fp32']}}")
    return {s: e for s, e in known.items() if e.fmt.name in offers.get(e.operator.name, ())}


def _described(error: BaseException) -> str:
    """Return an exception's type and text, and where it was raised: the innermost lines first, none of ours."""
    text = " ".join(str(error).split())[:_LONGEST].rstrip(".")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename not in _OURS]
    places = [f"{_shown(f.filename)}:{f.lineno} in {f.name}" for f in frames[: -_FRAMES - 1 : -1]]
    where = f" ({', called from '.join(places)})" if places else ""
    return (f"{type(error).__name__}: {text}" if text else type(error).__name__) + where


def _shown(path: str) -> str:
    """Return a path from the current folder, or the end of a long one."""
    inside = path.removeprefix(os.getcwd() + os.sep)  # noqa: PTH109
    return inside if len(inside) <= _LONGEST else f"...{inside[-_LONGEST:]}"


class Argument(NamedTuple):
    """One argument as the judge sends it. ``number``: elements of an operand, or bits of a scalar."""

    kind: bytes
    role: int
    itemsize: int
    number: int


class Request(NamedTuple):
    """A call, decoded: ``invocations`` are (content of unread operands, places of the pointers)."""

    serial: int
    entry: EntryPoint
    arguments: list[Argument]
    unit: int
    invocations: list[tuple[int, tuple[int, ...]]]
    data: memoryview


def decode_call(payload: bytes, entries: Mapping[str, EntryPoint]) -> Request:
    """Decode the payload of a call; raises KeyError for an entry point that is not offered."""
    serial, length = struct.unpack_from("<IH", payload)
    entry = entries[payload[6 : 6 + length].decode()]
    at = 6 + length
    (count,) = struct.unpack_from("<H", payload, at)
    arguments = [Argument(*_ENTRY.unpack_from(payload, at + 2 + _ENTRY.size * i)) for i in range(count)]
    at += 2 + _ENTRY.size * count
    unit, _, repeats = struct.unpack_from("<HHI", payload, at)
    at += 8
    pointers = sum(a.kind == b"p" for a in arguments)
    row = struct.Struct(f"<IBBH{pointers}Q")
    invocations = []
    for _ in range(repeats):
        _, _, unread, _, *places = row.unpack_from(payload, at)
        invocations.append((unread, tuple(places)))
        at += row.size
    return Request(serial, entry, arguments, unit, invocations, memoryview(payload)[at:])


def scalars_of(request: Request) -> dict[str, int | float | str]:
    """Return the scalars of a call by name; a choice by its own name."""
    entry, found = request.entry, dict[str, int | float | str]()
    for p, argument in zip(entry.operator.parameters, request.arguments, strict=False):
        if isinstance(p, Pointer):
            continue
        if p.kind == "real":
            bits = np.array([argument.number], entry.fmt.bits_dtype)
            found[p.name] = float(entry.fmt.from_bits(bits)[0])
        else:
            number = argument.number - (argument.number >> 31 << 32)
            found[p.name] = dict(enumerate(p.names()))[number] if p.kind == "choice" else number
    return found


class Operand(NamedTuple):
    """An array for the object, and what it has to hold afterwards."""

    slot: int
    array: Array
    content: bytes


def place(request: Request, index: int, scalars: Mapping[str, int | float | str]) -> dict[str, Operand]:
    """Lay the operands of an invocation out; ``operands`` have the page's shape, or are flat where longer than that."""
    entry, at = request.entry, 0
    unread, places = request.invocations[index]
    remaining = iter(places)
    shapes = entry.operator.shapes(scalars)
    found = {}
    for slot, (p, argument) in enumerate(zip(entry.operator.parameters, request.arguments, strict=False)):
        if not isinstance(p, Pointer):
            continue
        remainder, size = next(remaining), argument.number * argument.itemsize
        if p.role is Role.OUTPUT:
            continue
        dtype = p.dtype(entry.fmt)
        if p.role is Role.INPUT:
            content = bytes(request.data[at : at + size])
            at += size
        else:
            content = unread_content(UNREAD[unread], argument.itemsize, size)
        memory = np.empty(size + 2 * max(request.unit, 1), np.uint8)
        start = (remainder - memory.ctypes.data) % max(request.unit, 1)
        memory[start : start + size] = np.frombuffer(content, np.uint8)
        array = memory[start : start + size].view(dtype)
        fits = argument.number == int(np.prod(shapes[p.name], dtype=np.int64))
        found[p.name] = Operand(slot, array.reshape(shapes[p.name]) if fits else array, content)
    return found


def checked(output: object, entry: EntryPoint, shape: Sequence[int]) -> bytes:
    """Return the bytes of what an object returned; raises :class:`WrongResultError`."""
    wanted = entry.fmt.dtype
    if not isinstance(output, np.ndarray):
        raise WrongResultError(f"returned {type(output).__name__}, not a NumPy array")
    if output.dtype != wanted:
        raise WrongResultError(f"returned an array of {output.dtype}, not of {wanted}")
    if output.shape != tuple(shape):
        raise WrongResultError(f"returned an array of shape {list(output.shape)}, not {list(shape)}")
    return output.tobytes()


class _Environment:
    """What single-precision arithmetic does, in the bits of the protocol; without the module's help."""

    def __init__(self) -> None:
        ulp = 2.0**-23
        self._one = np.array([1.0, 1.0, -1.0], np.float32)
        self._little = np.array([0.75 * ulp, 0.25 * ulp, -0.25 * ulp], np.float32)
        self._factors = np.array([2.0**-126, 2.0**-149], np.float32), np.array([0.5, 2.0**30], np.float32)
        self._unit = np.array([0x3F800000, 0x3F800000, 0xBF800000], np.uint32)

    def bits(self) -> int:
        """Return the environment as it is now."""
        with np.errstate(all="ignore"):
            moved = (self._one + self._little).view(np.uint32) != self._unit
            flushed = (self._factors[0] * self._factors[1]).view(np.uint32) == 0
        return int(sum(1 << i for i, seen in enumerate([*moved, *flushed]) if seen))


class Harness:
    """Serves one judge until told goodbye, or until the judge is gone."""

    def __init__(self, incoming: BinaryIO, outgoing: int) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._fp, self._environment = FloatingPoint(), _Environment()

    def send(self, kind: Message, payload: bytes = b"") -> None:
        """Send a message."""
        rest = memoryview(frame(kind, payload))
        while rest:
            rest = rest[os.write(self._outgoing, rest) :]

    def greet(self, adapter: Adapter) -> None:
        """Send the hello; the environment that loading has left is in it."""
        order = struct.pack("=I", 0x01020304)
        text = b"".join(_string(word) for word in (platform.machine(), adapter.title))
        names = b"".join(_string(symbol) for symbol in adapter.entries)
        numbers = struct.pack("<IIIQ", self._environment.bits(), 0, 0, _CAPACITY)
        head = struct.pack("<I", VERSION) + order + bytes([struct.calcsize("P"), 4, 1, 3]) + numbers
        self._fp.keep()
        self.send(Message.HELLO, head + text + struct.pack("<H", len(adapter.entries)) + names)

    def serve(self, adapter: Adapter) -> None:
        """Answer calls until the end."""
        while True:
            header = self._incoming.read(HEADER.size)
            if len(header) < HEADER.size:
                return
            magic, kind, length, crc = HEADER.unpack(header)
            payload = self._incoming.read(length)
            if (
                magic != MAGIC
                or crc != crc32(header[:12])
                or self._incoming.read(4) != crc32(payload).to_bytes(4, "little")
            ):
                self.send(Message.TROUBLE, b"a frame from the judge is damaged")
                return
            if kind == Message.BYE:
                self.send(Message.GOODBYE)
                return
            self._call(adapter, decode_call(payload, adapter.entries))

    def _call(self, adapter: Adapter, request: Request) -> None:
        entry, scalars = request.entry, scalars_of(request)
        shape = entry.operator.shapes(scalars)[entry.operator.output.name]
        previous: bytes | None = None
        for index in range(len(request.invocations)):
            head = struct.pack("<II", request.serial, index)
            operands = place(request, index, scalars)
            arrays = {name: operand.array for name, operand in operands.items()}
            try:
                output = adapter.evaluate(entry.operator.name, entry.fmt.name, dict(scalars), arrays)
                raw = checked(output, entry, shape)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                why = str(error) if isinstance(error, WrongResultError) else f"raised {_described(error)}"
                self._fp.restore()
                self.send(Message.FAILED, head + why.encode("utf-8", "replace"))
                continue
            environment = self._environment.bits()
            self._fp.restore()
            found = [d for o in operands.values() if (d := _changed(o))]
            numbers = struct.pack("<IHH", environment, raw != previous, len(found))
            self.send(Message.RESULT, head + numbers + b"".join(found) + (raw if raw != previous else b""))
            previous = raw


def _changed(operand: Operand) -> bytes:
    """Return the disturbance of an operand whose content changed, or nothing."""
    now = np.frombuffer(operand.array.tobytes(), np.uint8)
    changed = np.flatnonzero(now != np.frombuffer(operand.content, np.uint8))
    return struct.pack("<HHq", operand.slot, 1, int(changed[0])) if changed.size else b""


def _string(text: str) -> bytes:
    raw = text.encode("utf-8", "replace")[:1000]
    return struct.pack("<H", len(raw)) + raw


def main(name: str) -> int:
    """Serve the judge at the other end of the standard streams; returns the exit code."""
    incoming = os.fdopen(os.dup(0), "rb")
    outgoing = os.dup(1)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    sys.path.append(os.getcwd())  # noqa: PTH109 - last: nothing here may stand in for a module of ours
    harness = Harness(incoming, outgoing)
    try:
        adapter = load(name)
    except GoldenError as error:
        harness.send(Message.TROUBLE, str(error).rstrip(".").encode("utf-8", "replace"))
        return 1
    harness.greet(adapter)
    with contextlib.suppress(BrokenPipeError):
        harness.serve(adapter)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
