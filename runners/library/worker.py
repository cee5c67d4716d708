"""The worker that a library is in, as the judge knows it: what it has said, how it ended, and the next one."""

import time
from collections.abc import Callable, Sequence

import msgspec

from golden.errors import MachineError, TargetError
from runners.calling.call import Call, Finding, Invocation
from runners.library.arena import Arena, Placed
from runners.library.batches import Registers
from runners.library.image import Image
from runners.library.nursery import START, News, Nursery, refusal
from runners.library.outgoing import Process
from runners.process import messages, stub
from runners.process.endings import Ending, describe_end, memory_kills
from runners.process.messages import Done, Ended, Fault, Loaded, Ready, Refused, Started, Trouble
from runners.process.supervisor import Setting


class Worker:
    """One worker after the other, each with the library of ``image``.

    ``load``: the request to load it; ``preserved``: what calls find in the registers that they have to preserve.
    ``take`` is given answers to calls and each worker's end, and tells whether that was due.
    """

    def __init__(
        self,
        setting: Setting,
        image: Image,
        load: messages.Load,
        preserved: tuple[int, ...],
        take: Callable[[Done | Ended], bool],
    ) -> None:
        self._setting, self._image, self._load, self._preserved, self._take = setting, image, load, preserved, take
        self.nursery = Nursery(setting, [image.descriptor])
        self.alive = False  # there is one
        self.loaded: Loaded | None = None  # its answer to Load
        self.process: Process | None = None  # once it has loaded the library
        self.words: Fault | Trouble | None = None  # its last words
        self.end = Ended(0, 0, 0, 0)  # of the last one
        self._announced = False  # the supervisor knows that loading is over
        self._refused: list[Finding] = []

    # From its start to its end

    def start(self, mappings: list[messages.Mapping], files: Sequence[int]) -> int:
        """Start one and have it load the library; the answer comes with the other news.

        ``mappings`` and ``files``: see :class:`runners.process.messages.Load`. Returns how often it was tried again.
        """
        retries = 0
        while True:
            if self.nursery.lost:
                self.nursery.close()
                self.nursery = Nursery(self._setting, [self._image.descriptor])
            try:
                self.nursery.spawn()
                break
            except ConnectionError:  # killed since we last looked
                self.nursery.lost = True
                retries += 1
        self.alive, self.loaded, self.process, self.words = True, None, None, None
        self._memory_kills = memory_kills()
        self.nursery.hand_over(msgspec.structs.replace(self._load, mappings=mappings), files)
        return retries

    def first_load(self, seconds: float) -> Loaded:
        """Wait for the first one's answer to Load; raises TargetError or MachineError for anything but success."""
        path = self._image.library.path
        if not self.has_loaded(seconds):
            self.nursery.kill()
            raise TargetError(f"{path} did not finish loading in {seconds:g} s: its own start-up code hangs.")
        if self.loaded is None:
            raise TargetError(
                f"{path} {self.ending().predicate} while it was being loaded. Check that the file is whole, "
                "and what its constructors do."
            )
        if self.loaded.machine:
            raise MachineError(f"This machine cannot run a library: {self.loaded.error}. See 'golden doctor'.")
        if self.loaded.error:
            reason = self.loaded.error.removeprefix(f"{self._load.path}: ")
            raise TargetError(f"{path} cannot be loaded: {reason}.")
        return self.loaded

    def has_loaded(self, seconds: float) -> bool:
        """Wait for the answer to Load, or for the end; returns whether that came in time."""
        return self.wait_until(lambda: self.nursery.worker > 0, START) and self.wait_until(
            lambda: self.loaded is not None, seconds
        )

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> bool:
        """Wait until ``ready``, or for the end; returns whether it came in time: other news gain none."""
        deadline = time.monotonic() + seconds
        while self.alive and not ready() and (left := deadline - time.monotonic()) > 0:
            self.wait(left)
        return not self.alive or ready()

    def allow(self, ranges: list[tuple[int, int]]) -> None:
        """Let it map these ranges of the memory that is watched from now on."""
        if ranges or not self._announced:
            self.nursery.allow(ranges)
            self._announced = True

    def wait(self, seconds: float) -> bool:
        """Take news in; returns whether something came that was waited for."""
        return self._follow(self.nursery.wait(seconds))

    def kill(self) -> Ended:
        """End it, having taken in what it said before; its end, which is returned, is not given to ``take``."""
        *replies, end = self.nursery.kill()
        assert isinstance(end, Ended)
        self._follow(replies, ended=True)
        self._gone(end)
        return end

    def _gone(self, end: Ended) -> None:
        self.alive, self.end, self._announced = False, end, False

    # What it says

    def _follow(self, news: Sequence[News], ended: bool = False) -> bool:
        """Take news in, ``ended`` if it is gone; return whether something came that was waited for.

        The library can write to the worker's socket. What it says there decides nothing; an answer that is not due,
        such as one to calls that have not returned, ends the process.
        """
        heard = forged = False
        for event in news:
            if isinstance(event, Refused):
                self._refused.append(refusal(event))
                continue
            if isinstance(event, Ended):
                self._gone(event)
                self._take(event)
            elif forged or (isinstance(event, Fault | Trouble) and self.words is not None):
                continue
            elif isinstance(event, Fault | Trouble):
                self.words = event
            elif isinstance(event, Loaded) and self.loaded is None and _sensible(event):
                self.loaded = event
                if not event.error:
                    self.process = Process(event.symbols, Registers(self._preserved, event.environment))
            elif not (isinstance(event, Started | Ready) or (isinstance(event, Done) and self._take(event))):
                forged = True
                continue
            heard = True
        if forged and self.alive and not ended:
            self.words = Trouble("an answer came that nobody had asked for")
            self._follow(self.nursery.kill())
        return heard or forged

    def ending(
        self, call: Call | None = None, invocation: Invocation | None = None, places: Sequence[Placed] = ()
    ) -> Ending:
        """Describe the last end; ``places``: where the operands of the call lay that was running."""
        operand = None
        if isinstance(self.words, Fault) and self.words.address is not None:
            operand = Arena.locate(places, self.words.address)
        error = self.loaded.error if self.loaded else ""
        starved = memory_kills() > self._memory_kills
        return describe_end(self.end, self.words, error, call, invocation, operand, starved)

    def take_refused(self) -> list[Finding]:
        """Return the system calls that were refused since the last time."""
        taken, self._refused = self._refused, []
        return taken

    def take_text(self) -> tuple[str, str, list[Finding]]:
        """Return what was printed on stdout and stderr since the last time, and findings that say so."""
        out, printed = self.nursery.stdout.take()
        err, complained = self.nursery.stderr.take()
        counts = [("stdout", printed), ("stderr", complained)]
        return out, err, [Finding("printed", f"{n} bytes were printed on {name}.") for name, n in counts if n]


def _sensible(loaded: Loaded) -> bool:
    """Tell whether an answer to Load can be one: the environment is there if the library is."""
    return len(loaded.environment) == (0 if loaded.error else stub.ENVIRONMENT)
