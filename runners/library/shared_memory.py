"""Libraries in sweeps, the judge's side: operands in memory shared with a library's process, a few bytes a block.

The judge fills the operands of a block, tells the process (:mod:`runners.process.block_worker`) to make the calls, and
judges one block while the next is computed.
"""

import contextlib
import fcntl
import mmap
import os
import time
from collections.abc import Sequence
from typing import Any

from runners.calling.call import Finding, Mode
from runners.library.image import Image
from runners.library.nursery import START, Nursery, refusal
from runners.process import sandbox
from runners.process.block_worker import SLOTS, Done, Map, Operand, Run, decode_reply
from runners.process.endings import signal_name
from runners.process.messages import Ended, Fault, Load, Loaded, Refused, Trouble
from runners.process.supervisor import Setting
from runners.process.system import SEAL_FUTURE_WRITE

#: Addresses where nothing is watched: operands of blocks lie anywhere.
_ELSEWHERE = 0x4000 << 32


class BlockError(Exception):
    """The library cannot go on: ``str(error)`` is a predicate, such as "crashed with SIGSEGV reading dy[7]"."""


def _seal(fd: int, role: str) -> None:
    """Leave it to the judge to change what it has mapped: the worker can neither resize it, nor write to an input.

    Where the system knows no such seal there is still the worker's mapping, which is read-only.
    """
    for seals in (fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW, 0 if role == "output" else SEAL_FUTURE_WRITE):
        with contextlib.suppress(OSError):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)


class BlockLibrary:
    """A library in a worker for blocks, set up for one entry point; the judge's side.

    ``arguments``: in C order, (name, role, itemsize, count) of pointers and None for scalars. :attr:`memory` has, by
    operand name, the shared memory of each slot. ``helper``: what makes the calls, as
    :func:`runners.process.call_loop.caller` takes it. ``align`` and ``overread``: as in an
    invocation. Raises :class:`BlockError` if the library cannot be loaded.
    """

    def __init__(
        self,
        image: Image,
        symbol: str,
        arguments: Sequence[tuple[str, str, int, int] | None],
        core_mask: int | None,
        helper: str,
        timeout: float = 10.0,
        mode: Mode = "auto",
        align: int = 1,
        overread: int = 0,
    ) -> None:
        self.timeout = timeout
        self._closed = False
        self._replies: list[Any] = []
        self._refused: list[str] = []
        self._loaded = False
        flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
        files: list[int] = []
        operands: list[Operand | None] = []
        self.memory: dict[str, list[memoryview]] = {}
        for argument in arguments:
            operand = Operand(*argument, len(files), align, overread) if argument else None
            operands.append(operand)
            if operand is None:
                continue
            files.append(fd := os.memfd_create(operand.name, flags))
            os.ftruncate(fd, SLOTS * operand.span)
            whole = memoryview(mmap.mmap(fd, SLOTS * operand.span))
            _seal(fd, operand.role)
            size, span = operand.itemsize * operand.count, operand.span
            starts = [slot * span + operand.start for slot in range(SLOTS)]
            self.memory[operand.name] = [whole[at : at + size] for at in starts]
        readable = [*image.readable, *([helper] if helper else [])]
        setting = Setting("blocks", mode, _ELSEWHERE, readable, sandbox.hidden_folders())
        self._nursery = Nursery(setting, [image.descriptor], decode_reply)
        try:
            self._nursery.spawn()
            self._nursery.hand_over(Load(image.address, [symbol], 4 << 30), files)
            for fd in files:
                os.close(fd)
            loaded = self._receive(START)
            if not isinstance(loaded, Loaded) or loaded.error or symbol not in loaded.symbols:
                raise BlockError(f"cannot be loaded ({getattr(loaded, 'error', '') or f'it has no {symbol}'})")
            self._loaded = True
            self._nursery.allow([])
            self._send(Map(symbol, operands, core_mask, helper))
            self.findings: list[Finding] = list(loaded.findings)
            self._receive(START)
        except BaseException:
            self.close()
            raise

    def start(self, run: Run) -> None:
        """Have the worker run calls; what goes wrong with it shows in :meth:`wait`."""
        self._send(run)

    def wait(self) -> Done:
        """Wait for the oldest run; raises :class:`BlockError` for a crash, an exit, or silence beyond the time-out."""
        done = self._receive(self.timeout)
        if not isinstance(done, Done):
            raise BlockError("sent an answer that nobody asked for")
        return done

    def close(self) -> None:
        """End the worker with everything that the library has started; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._nursery.destroy()
        self._nursery.close()

    def _send(self, message: object) -> None:
        try:
            self._nursery.send(message)
        except (OSError, ValueError) as error:  # another thread has closed it
            raise BlockError("was ended") from error

    def _receive(self, timeout: float) -> Any:
        deadline = time.monotonic() + timeout
        while not self._replies:
            try:
                news = self._nursery.wait(max(0.0, deadline - time.monotonic()))
            except (OSError, ValueError) as error:  # another thread has closed it
                raise BlockError("was ended") from error
            if not news and time.monotonic() >= deadline:
                raise BlockError(f"did not return within {timeout:g} s")
            for event in news:
                if isinstance(event, Refused):
                    self._take_refused(event)
                elif isinstance(event, Loaded | Done | Fault | Trouble | Ended):
                    self._replies.append(event)
        reply = self._replies.pop(0)
        if isinstance(reply, Fault):
            raise BlockError(f"crashed with {signal_name(reply.signal)} {_access(reply)}")
        if isinstance(reply, Trouble):
            raise BlockError(f"left its process unable to go on ({reply.message})")
        if isinstance(reply, Ended):
            raise BlockError(_ending(reply))
        return reply

    def _take_refused(self, event: Refused) -> None:
        finding = refusal(event)
        if self._loaded and finding not in self.findings:
            self.findings.append(finding)


def _ending(end: Ended) -> str:
    if end.note:
        return end.note
    if end.signal:
        return f"crashed with {signal_name(end.signal)}"
    return f"ended its process with exit code {end.code}"


def _access(fault: Fault) -> str:
    verb = {"read": "reading", "write": "writing"}.get(fault.access, "accessing")
    if fault.operand:
        return f"{verb} {fault.operand}[{fault.element}]"
    return f"{verb} address {fault.address:#x}" if fault.address is not None else "at no address of its own"
