"""Calls of a sweep, made in C and in Python: the same arguments, the same pointers, the same results taken."""

import ctypes
import os
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runners.process.call_loop import Gather, Loop, caller, in_python
from runners.toolchain import compiled
from runners.toolchain.build import build_library

#: Notes what a call was given: with a mask, as many integers as the longest entry point has, and one more.
SOURCE = """
#define _GNU_SOURCE
#include <string.h>
#include <time.h>
#include <unistd.h>

static int made;

void note(unsigned short *first, float a, int *second, int i3, int i4, unsigned i5, int i6, float b, int i7,
          unsigned short i8, int i9, int i10, void *last, float c)
{
    memcpy(last, &a, 4);
    memcpy((char *)last + 4, &b, 4);
    memcpy((char *)last + 8, &c, 4);
    int numbers[] = {*first, *second, i3, i4, (int)i5, i6, i7, i8, i9, i10, made++};
    memcpy((char *)last + 12, numbers, sizeof numbers);
}

void rows(unsigned *to, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = 100 * made + i;
    made++;
}

void half_rows(unsigned short *to, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = (unsigned short)(100 * made + i);
    made++;
}

static long nanoseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000000 + t.tv_nsec;
}

void spin(int microseconds)
{
    for (const long end = nanoseconds() + 1000L * microseconds; nanoseconds() < end;)
        ;
}

void nap(int microseconds)
{
    usleep((unsigned)microseconds);
}

void idle(unsigned short *to)
{
    (void)to;
}
"""
SIZE = 12 + 11 * 4  # bytes that note() writes

Caller = Callable[[Loop], float]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calls")
    (folder / "notes.c").write_text(SOURCE)
    return build_library(folder / "notes.so", sources=[folder / "notes.c"])


@pytest.fixture(params=["c", "python"])
def make(request: pytest.FixtureRequest) -> Caller:
    if request.param == "python":
        return in_python
    if compiled.compiler() is None or os.uname().machine not in ("x86_64", "aarch64"):
        pytest.skip("needs a C compiler, for a processor whose calling convention calls.c knows")
    path = compiled.helper()
    assert path
    return caller(path)


@pytest.fixture
def functions(library: Path, tmp_path: Path) -> ctypes.CDLL:
    """A library of this test's own: it counts its calls."""
    copy = tmp_path / "notes.so"
    copy.write_bytes(library.read_bytes())
    return ctypes.CDLL(str(copy))


def prepared(function: Any) -> Any:
    function.restype = None
    return function


def test_arguments_arrive_as_they_are_and_pointers_move(make: Caller, functions: ctypes.CDLL) -> None:
    first, second = (ctypes.c_uint16 * 9)(*range(10, 19)), (ctypes.c_int32 * 9)(*range(-9, 0))
    notes = (ctypes.c_uint8 * (3 * SIZE))()
    signalling = b"\x01\x00\xa0\x7f"  # a NaN that any conversion would make quiet
    a, b, c = (ctypes.c_float.from_buffer_copy(bits) for bits in (signalling, b"\x00\x3c\x00\x00", b"\1\0\0\x80"))
    arguments = [
        *(ctypes.c_void_p(ctypes.addressof(first)), a, ctypes.c_void_p(ctypes.addressof(second)), ctypes.c_int(3)),
        *(ctypes.c_int(-4), ctypes.c_int(-5), ctypes.c_int(6), b, ctypes.c_int(-7), ctypes.c_uint16(0xFFFE)),
        *(ctypes.c_int(9), ctypes.c_int(1 << 30), ctypes.c_void_p(ctypes.addressof(notes)), c),
    ]
    steps = [2, 0, 8, *[0] * 9, SIZE, 0]
    make(Loop(prepared(functions.note), 3, arguments, steps, 1, None))
    for call in range(3):
        written = bytes(notes)[call * SIZE : (call + 1) * SIZE]
        assert written[:12] == signalling + b"\x00\x3c\x00\x00" + b"\1\0\0\x80"
        numbers = struct.unpack("11i", written[12:])
        assert numbers == (10 + call, -9 + 2 * call, 3, -4, -5, 6, -7, 0xFFFE, 9, 1 << 30, call)


@pytest.mark.parametrize("itemsize", [2, 4])
def test_what_each_call_wrote_is_taken_before_the_next(make: Caller, functions: ctypes.CDLL, itemsize: int) -> None:
    element: Any = ctypes.c_uint16 if itemsize == 2 else ctypes.c_uint32
    scratch, taken = (element * 12)(), (element * 13)(*[7] * 13)
    function = prepared(functions.half_rows if itemsize == 2 else functions.rows)
    at, to = ctypes.addressof(scratch), ctypes.addressof(taken)
    make(Loop(function, 3, [ctypes.c_void_p(at), ctypes.c_int(12)], [0, 0], 4, Gather(at, 12, 3, to, itemsize)))
    assert list(taken) == [100 * call + 3 * k for call in range(3) for k in range(4)] + [7]


@pytest.mark.parametrize("times", [3, 100])
def test_the_time_is_the_processors_in_the_calls(make: Caller, functions: ctypes.CDLL, times: int) -> None:
    """Not less than they compute, not more than all of it takes, not what they wait; however busy the machine is."""
    begin = time.process_time()
    seconds = make(Loop(prepared(functions.spin), times, [ctypes.c_int(500)], [0], 1, None))
    assert times * 500e-6 <= seconds <= time.process_time() - begin
    assert make(Loop(prepared(functions.nap), times, [ctypes.c_int(500)], [0], 1, None)) < times * 250e-6


def test_the_time_is_not_that_between_the_calls(make: Caller, functions: ctypes.CDLL) -> None:
    scratch, taken, n = (ctypes.c_uint16 * 4000)(), (ctypes.c_uint16 * 2_000_000)(), 5000
    at, to = ctypes.addressof(scratch), ctypes.addressof(taken)
    begin = time.process_time()
    seconds = make(Loop(prepared(functions.idle), n, [ctypes.c_void_p(at)], [0], 400, Gather(at, 4000, 10, to, 2)))
    assert seconds < (time.process_time() - begin) / 2


def test_a_process_of_a_library_has_no_numpy() -> None:
    code = (
        "import sys, runners.process.supervisor; print([m for m in sys.modules if m.startswith(('numpy', 'golden'))])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_without_a_compiler_python_makes_the_calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert caller("") is in_python
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("GOLDEN_NO_NATIVE", "1")
    assert compiled.helper.__wrapped__() == ""
    monkeypatch.delenv("GOLDEN_NO_NATIVE")
    monkeypatch.setenv("CC", "/bin/false")
    assert compiled.helper.__wrapped__() == ""
