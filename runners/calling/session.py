"""The one interface that every way of running a kernel has, and what such ways have in common."""

from abc import ABC, abstractmethod
from collections import deque
from typing import NamedTuple

from golden.results import Library
from runners.calling.call import Call, Finding, Outcome
from runners.calling.manner import Manner


class Endured(NamedTuple):
    """What calls in a row have shown: how many were as they had to be, and what the next one was, if it was not.

    ``outcome``: of that call; None where all were as they had to be. They are fewer than asked for where they took
    long. ``findings``: what they have left in their process.
    """

    calls: int
    outcome: Outcome | None = None
    findings: tuple[Finding, ...] = ()


class Session(ABC):
    """A target that is ready to be called; what a way of running does not say otherwise is as here."""

    #: What the target is called in sentences.
    name: str
    #: Entry points that the target has, out of those asked for.
    symbols: frozenset[str]
    #: What loading the target did that it should not.
    load_findings: list[Finding]
    #: Contracts (:data:`golden.results.CONTRACTS`) that this way of running cannot see broken.
    unobservable: frozenset[str]
    #: The file behind the target, and what compiled it.
    library = Library()
    #: How the target takes ``half`` by value, where it says so: "float16", "uint16", "none"; else "".
    stated_half_abi = ""
    #: What this way of running cannot observe, each as a plural noun; it is stated in the results.
    blind: tuple[str, ...] = ()
    #: Whether it makes calls with operands in plain memory.
    plain = False
    #: Whether an output can lie where an input does.
    aliasing = False
    #: How the platform has it called, for whoever makes calls of their own.
    manner = Manner()
    #: Whether operands of calls that are run one by one lie where those of the call before lay.
    in_place = False
    #: What fills, guards and registers are drawn from, where the session draws any.
    draw = ""
    #: Whether a fork of this process can open the target once more, beside this session.
    again_possible = False
    #: Times that something was tried again, for a fault that was not the target's.
    retries = 0

    def submit(self, call: Call) -> None:
        """Queue a call; calls run in order while the caller does other work.

        Raises ValueError for a symbol that the target does not have.
        """
        if call.symbol not in self.symbols:
            raise ValueError(f"{self.name} has no {call.symbol}")
        self._add(call)

    @abstractmethod
    def collect(self) -> list[Outcome]:
        """Return the outcomes of the oldest call not yet collected, one an invocation; ValueError: there is none."""

    def run(self, call: Call) -> list[Outcome]:
        """Submit a call and collect it; raises ValueError while others are queued."""
        self._require_idle()
        self.submit(call)
        return self.collect()

    def restart(self) -> None:
        """Make the next call the first one of a fresh process; raises ValueError while calls are queued."""
        self._require_idle()
        self._renew()

    def mix(self) -> None:
        """Say that calls of all entry points in turn follow, in a fresh process; ValueError while calls are queued."""
        self.restart()

    def endure(self, call: Call, output: bytes, times: int) -> Endured | None:
        """Make a call so many times in a row, and compare what it gives; None where that cannot be done."""
        return None

    def again(self) -> "Session":
        """Open the same target once more, in a fork of this process, which must not use this session any more.

        Raises :class:`golden.errors.TargetError` where it cannot be loaded again.
        """
        raise NotImplementedError(f"{self.name} is there once")

    def close(self) -> list[Finding]:
        """End the target and return what ending it showed, and what was seen between calls; again it does nothing.

        What names a ``symbol`` decides for that entry point.
        """
        return []

    def facts(self) -> dict[str, str]:
        """Return what results have to tell of how calls were made: how often something was tried again."""
        return {"retries": str(self.retries)} if self.retries else {}

    @property
    @abstractmethod
    def waiting(self) -> int:
        """How many calls are queued and not yet collected."""

    @abstractmethod
    def _add(self, call: Call) -> None:
        """Queue a call of an entry point that there is."""

    @abstractmethod
    def _renew(self) -> None:
        """Have the next call run in a fresh process, where there are processes."""

    def _require_idle(self) -> None:
        if self.waiting:
            raise ValueError("collect the submitted calls first")


class AnsweringSession(Session):
    """A session that answers each call when it is collected, by itself and without a process."""

    def __init__(self) -> None:
        self.load_findings = []
        self._calls: deque[Call] = deque()

    def collect(self) -> list[Outcome]:
        """Answer the oldest call."""
        if not self._calls:
            raise ValueError("no call was submitted")
        return self.answer(self._calls.popleft())

    @abstractmethod
    def answer(self, call: Call) -> list[Outcome]:
        """Return the outcomes of a call."""

    @property
    def waiting(self) -> int:
        """How many calls are queued and not yet collected."""
        return len(self._calls)

    def _add(self, call: Call) -> None:
        self._calls.append(call)

    def _renew(self) -> None:
        """Do nothing: no call leaves anything behind."""
