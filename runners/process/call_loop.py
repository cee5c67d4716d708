"""The calls of a block, in the library's process: in C (``call_loop.c``), or in Python where there is no compiler.

Both do the same: call, take what the call wrote, move the pointers on. The time counted is the processor's, inside the
calls. Imports nothing that a library's process has no other use for, such as NumPy: it starts the sooner.
"""

import ctypes
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

#: Arguments that compiled calls can have; see call_loop.c.
_INTEGERS, _FLOATS = 12, 4


class Gather(NamedTuple):
    """Every ``every``-th of ``written`` elements at address ``source`` goes to address ``sink``, call after call."""

    source: int
    written: int
    every: int
    sink: int
    itemsize: int


class Loop(NamedTuple):
    """Calls of a ctypes function; ``steps``: bytes that each argument, a pointer, moves by from one to the next.

    ``calls``: how many; ``width``: elements that each gives.
    """

    function: Callable[..., None]
    calls: int
    arguments: Sequence[Any]
    steps: Sequence[int]
    width: int
    gather: Gather | None


class _Calls(ctypes.Structure):
    _fields_ = (
        ("function", ctypes.c_void_p),
        ("calls", ctypes.c_int64),
        ("integers", ctypes.c_int64 * _INTEGERS),
        ("steps", ctypes.c_int64 * _INTEGERS),
        ("floats", ctypes.c_float * _FLOATS),
        ("sink", ctypes.c_void_p),
        ("source", ctypes.c_void_p),
        ("width", ctypes.c_int64),
        ("gather", ctypes.c_int64),
        ("itemsize", ctypes.c_int64),
    )


def caller(path: str) -> Callable[[Loop], float]:
    """Return what makes calls and tells the processor seconds spent in them; ``path`` is :func:`.compiled.helper`'s."""
    if not path:
        return in_python
    compiled_calls = ctypes.CDLL(path).golden_call
    compiled_calls.restype = ctypes.c_int64

    def in_c(loop: Loop) -> float:
        c = _Calls(ctypes.cast(loop.function, ctypes.c_void_p), loop.calls, width=loop.width)  # type: ignore[arg-type]
        integers = floats = 0
        for argument, step in zip(loop.arguments, loop.steps, strict=True):
            if isinstance(argument, ctypes.c_float):  # its bits, not its value: a signalling NaN stays one
                ctypes.memmove(ctypes.byref(c, _Calls.floats.offset + 4 * floats), ctypes.byref(argument), 4)
                floats += 1
            else:
                c.integers[integers], c.steps[integers] = argument.value, step
                integers += 1
        if loop.gather is not None:
            c.sink, c.source = loop.gather.sink, loop.gather.source
            c.gather, c.itemsize = loop.gather.every, loop.gather.itemsize
        return int(compiled_calls(ctypes.byref(c))) * 1e-9

    return in_c


def in_python(loop: Loop) -> float:
    """Make calls; return the processor seconds spent in them."""
    moving = [(a, step) for a, step in zip(loop.arguments, loop.steps, strict=True) if step]
    gather = loop.gather
    if gather is not None:
        form: Literal["H", "I"] = "H" if gather.itemsize == 2 else "I"
        source = _view(gather.source, gather.written * gather.itemsize).cast(form)[:: gather.every]
        sink = _view(gather.sink, loop.calls * loop.width * gather.itemsize).cast(form)
    seconds = 0.0
    for call in range(loop.calls):
        begin = time.process_time()
        loop.function(*loop.arguments)
        seconds += time.process_time() - begin
        if gather is not None:
            sink[call * loop.width : (call + 1) * loop.width] = source
        for pointer, step in moving:
            pointer.value += step
    return seconds


def _view(address: int, size: int) -> memoryview:
    return memoryview((ctypes.c_ubyte * size).from_address(address)).cast("B")
