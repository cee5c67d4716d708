"""Calls on their way to a process that may die at any time: queued, sent ahead, answered in order."""

from collections import Counter, deque
from collections.abc import Sequence

import msgspec

from runners.calling.call import Call, Outcome

#: Calls sent to the process ahead of the one that is collected.
AHEAD = 4
#: After its first time-out a symbol gets at most this many seconds a call, and after MAX_TIMEOUTS none at
#: all.
SHORT_TIMEOUT = 1.0
MAX_TIMEOUTS = 3


class Job:
    """A call on its way, and its outcomes so far."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.outcomes: list[Outcome] = []

    @property
    def done(self) -> bool:
        """Tell whether every invocation has its outcome."""
        return len(self.outcomes) == len(self.call.invocations)

    def rest(self) -> Call:
        """Return what is still to run."""
        if not self.outcomes:
            return self.call
        return msgspec.structs.replace(self.call, invocations=self.call.invocations[len(self.outcomes) :])

    def skip(self, message: str) -> None:
        """Answer what is still to run with "not-run"."""
        missing = len(self.call.invocations) - len(self.outcomes)
        self.outcomes += [Outcome("not-run", message=message) for _ in range(missing)]


class Backlog:
    """The jobs of a session. After ``crash_limit`` crashes or MAX_TIMEOUTS time-outs a symbol is not called again."""

    def __init__(self, crash_limit: int, ahead: int = AHEAD) -> None:
        self.crash_limit = crash_limit
        self._ahead = ahead
        self.sent: deque[Job] = deque()  # with the process; the first one runs
        self._jobs: deque[Job] = deque()  # not collected yet
        self._unsent: deque[Job] = deque()
        self._pending = 0
        self._crashes: Counter[str] = Counter()
        self._timeouts: Counter[str] = Counter()

    def inherit(self, other: "Backlog") -> None:
        """Count the crashes and time-outs of another session of the same target as its own."""
        self._crashes.update(other._crashes)
        self._timeouts.update(other._timeouts)

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def pending(self) -> int:
        """How many invocations wait for being sent, or a few more where a call was interrupted."""
        return self._pending

    def next_symbol(self) -> str:
        """Return the entry point of the next job to send, "" where there is none."""
        return self._unsent[0].call.symbol if self._unsent else ""

    def add(self, call: Call) -> None:
        """Queue a call."""
        job = Job(call)
        self._pending += len(call.invocations)
        self._jobs.append(job)
        self._unsent.append(job)

    def first(self) -> Job:
        """Return the oldest job that is not collected; raises ValueError where there is none."""
        if not self._jobs:
            raise ValueError("no call was submitted")
        return self._jobs[0]

    def collect(self) -> Job:
        """Take the oldest job away."""
        return self._jobs.popleft()

    def to_send(self) -> Job | None:
        """Return the next job to send, if one more may be ahead; calls of hopeless symbols are answered on the way."""
        while self._unsent and len(self.sent) < self._ahead:
            job = self._unsent.popleft()
            self._pending -= len(job.call.invocations)
            symbol = job.call.symbol
            if self._timeouts[symbol] >= MAX_TIMEOUTS:
                job.skip(f"{symbol} was not called again after {MAX_TIMEOUTS} time-outs.")
            elif self._crashes[symbol] >= self.crash_limit:
                job.skip(f"{symbol} was not called again after {self._crashes[symbol]} crashes.")
            elif not job.done:
                self.sent.append(job)
                return job
        return None

    def skip_all(self, message: str) -> None:
        """Answer everything that was not sent with "not-run"."""
        for job in self._unsent:
            job.skip(message)
        self._unsent.clear()
        self._pending = 0

    def answered(self, outcomes: Sequence[Outcome]) -> None:
        """Take the outcomes of the invocations that come next in."""
        at = 0
        while at < len(outcomes):
            job = self.sent[0]
            missing = len(job.call.invocations) - len(job.outcomes)
            job.outcomes += outcomes[at : at + missing]
            at += missing
            if job.done:
                self.sent.popleft()

    def failed(self, outcome: Outcome) -> None:
        """Take the outcome of a running invocation in that did not end well, but left its process working."""
        self._crashes[self.sent[0].call.symbol] += 1
        self.answered([outcome])

    def lost(self) -> Job | None:
        """Put everything that was sent back, because the process is gone; returns the job that was running."""
        running = self.sent[0] if self.sent else None
        self._unsent.extendleft(reversed(self.sent))
        self._pending += sum(len(job.call.invocations) for job in self.sent)
        self.sent.clear()
        return running

    def crashed(self, job: Job, outcome: Outcome) -> None:
        """Answer the running invocation of a lost job; the others go on in a fresh process."""
        self._crashes[job.call.symbol] += 1
        job.outcomes.append(outcome)

    def hung(self, job: Job, seconds: float) -> Outcome:
        """Answer the running invocation of a lost job with "timeout", and what is left of the call with "not-run"."""
        symbol = job.call.symbol
        self._timeouts[symbol] += 1
        outcome = Outcome("timeout", message=f"{symbol} did not return within {seconds:g} s.")
        job.outcomes.append(outcome)
        job.skip(f"{symbol} did not return from an earlier invocation of this call.")
        return outcome

    def limit(self, call: Call, timeout: float) -> float:
        """Return the seconds that an invocation of a call may take, ``timeout`` being the session's."""
        limit = call.timeout or timeout
        return min(limit, SHORT_TIMEOUT) if self._timeouts[call.symbol] else limit
