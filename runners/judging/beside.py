"""Work that a fork of this process does meanwhile: it has all that was there, and only its result comes back."""

import contextlib
import mmap
import os
import pickle
import signal
from collections.abc import Callable
from types import FrameType
from typing import Generic, TypeVar

from golden.errors import GoldenError, MachineError

T = TypeVar("T")
#: Raises a KeyboardInterrupt in a fork; what a terminal sends to all processes may be ignored by all.
_INTERRUPT = signal.SIGUSR1


class Beside(Generic[T]):
    """Begins ``work`` in a fork of this process. It is given what to call for every step that is done.

    Nothing of foreign code may be in this process: its fork is a judge as well.
    """

    def __init__(self, work: Callable[[Callable[[], None]], T]) -> None:
        self._counted = mmap.mmap(-1, mmap.PAGESIZE)
        self._judge = os.getpid()
        self._answer, end = os.pipe()
        self._text = bytearray()
        self._pid = os.fork()
        if self._pid == 0:
            code = 1
            try:
                _interruptible()
                os.close(self._answer)
                with open(end, "wb") as file:  # noqa: PTH123 (a descriptor)
                    pickle.dump(self._attempt(work), file)
                code = 0
            finally:
                os._exit(code)
        os.close(end)

    def _attempt(
        self, work: Callable[[Callable[[], None]], T]
    ) -> tuple[T | None, tuple[type[GoldenError], str] | None]:
        try:
            return work(self._step), None
        except GoldenError as error:
            return None, (type(error), str(error))

    def _step(self) -> None:
        if os.getppid() != self._judge:
            os._exit(1)  # nobody is left to tell
        self._counted[:8] = (self.done + 1).to_bytes(8, "little")

    @property
    def done(self) -> int:
        """How many steps are done."""
        return int.from_bytes(self._counted[:8], "little")

    def interrupt(self) -> None:
        """Have a KeyboardInterrupt raised in it, if it has not been interrupted: the work may turn it into a result."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, _INTERRUPT)

    def result(self) -> T:
        """Wait for the result, once; raises the work's own error if it is a :class:`GoldenError`, or MachineError.

        Where a KeyboardInterrupt ends the waiting, it may be asked for again.
        """
        while chunk := os.read(self._answer, 1 << 20):
            self._text += chunk
        _, status = os.waitpid(self._pid, 0)
        os.close(self._answer)
        if status or not self._text:
            how = f"killed by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "ended by an error"
            raise MachineError(f"A process that judges was {how}: try again, with --jobs 1 if that goes on.")
        found, error = pickle.loads(self._text)
        if error is not None:
            raise error[0](error[1])
        return found  # type: ignore[no-any-return]


def _interruptible() -> None:
    """Have this process raise one KeyboardInterrupt, whoever asks for it, so that it can tell what there is by then."""
    asking = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in (*asking, _INTERRUPT):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (*asking, _INTERRUPT):
        signal.signal(number, interrupt)
