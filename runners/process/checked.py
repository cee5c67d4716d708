"""Calls whose registers are looked at, for sweeps: one of a block, where C makes the others.

Imports nothing that a library's process has no other use for.
"""

import ctypes
import mmap
import os
from collections.abc import Callable
from typing import Any

from runners.calling.call import Finding
from runners.process import stub
from runners.process.fenv import FloatingPoint


class Checked:
    """A function of the library, called by :mod:`runners.process.stub`; what calls break is found.

    ``call``: makes the calls of a batch; ``environment``: the floating-point one that they begin in, as ``fenv_t``.
    """

    def __init__(self, function: Callable[..., None], call: Callable[[int, int], object], environment: bytes) -> None:
        self.findings: list[Finding] = []
        self._function = ctypes.cast(function, ctypes.c_void_p).value or 0  # type: ignore[arg-type]
        self._call, self._environment = call, environment
        memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._batch, self._header = memoryview(memory), ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self._preserved = tuple(int.from_bytes(os.urandom(7), "little") for _ in range(6))

    def __call__(self, *arguments: Any) -> None:
        """Make a call with ctypes values."""
        floats = [int.from_bytes(bytes(a), "little") for a in arguments if isinstance(a, ctypes.c_float)]
        integers = [a.value or 0 for a in arguments if not isinstance(a, ctypes.c_float)]
        header = stub.pack_header(self._environment, self._preserved)
        whole = header + stub.pack_frame(self._function, integers, floats)
        self._batch[: len(whole)] = whole
        self._call(self._header, 1)
        after = bytes(self._batch[stub.HEADER + stub.LEFT : len(whole)])
        left = stub.read_left(after, self._preserved, stub.control(self._environment))
        found = [Finding("registers", f"The call did not preserve {name}.") for name in left.broken]
        if left.environment is not None:
            changes = FloatingPoint.differences(self._environment, left.environment)
            found += [Finding("fp-environment", f"The call changed {c}.") for c in changes]
        self.findings += [finding for finding in found if finding not in self.findings]  # calls are many
