"""Harnesses as targets: ``exec:COMMAND`` starts one, here, under an emulator or on a board, and talks through pipes.

The harness checks memory with canaries and copies, because it may run where nothing can be protected; what it cannot
see is stated in :attr:`ExecSession.unobservable` and :attr:`ExecSession.blind` and becomes part of the results.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

import msgspec

from golden.errors import MachineError, TargetError
from golden.operator import entry_points
from golden.results import Library
from runners.calling.backlog import Backlog, Job
from runners.calling.call import Call, Finding, Outcome, PointerArgument, Status
from runners.calling.placement import Regions, addresses, remainders, room
from runners.calling.session import Session
from runners.harness.frames import (
    DEFAULT_ENVIRONMENT,
    HarnessError,
    Hello,
    Message,
    Result,
    decode_failed,
    decode_fault,
    decode_hello,
    decode_result,
    encode_call,
    environment_changes,
    frame,
    printable,
)
from runners.harness.observed import UNOBSERVABLE, blind, observed
from runners.harness.peer import Peer
from runners.process.endings import died

#: Seconds for a harness to greet: a connection to a board may have to be made first.
PATIENCE = 30.0
#: What a harness gets beyond an invocation's time before it ends itself, where nobody could kill it.
_GRACE = 5
#: Seconds before a harness that this machine had no room for is started once more.
_PAUSE = 1.0
#: Bytes of a result beside the output: its fixed part, and three disturbances for each of 16 arguments.
_RESULT_LIMIT = 1 << 12
#: Bytes of what a harness says of itself that are shown.
_SAID = 2000


class _Sent(msgspec.Struct):
    """What a process was sent of a job: under which serial number, from which invocation on, and its last output."""

    serial: int
    first: int
    owed: int
    output: bytes | None = None


class ExecSession(Session):
    """A harness behind the session interface; see :class:`runners.calling.session.Session`.

    ``timeout``: seconds for an invocation; its clock runs only while someone waits in :meth:`collect`. ``regions``:
    where operands have to lie; anywhere by default. A harness that dies or breaks the protocol is started again, and
    the remaining invocations go on; one that cannot be started again leaves all other calls "not-run". However it ended
    is the outcome of the invocation that ran; only what this machine had no room to start is tried again (``retries``).

    Raises :class:`UsageError` for a command that cannot be read, :class:`TargetError` for a harness that does not
    start, or does not speak the protocol, and :class:`MachineError` where this machine has no room for it.
    """

    #: What is at the other end, in sentences.
    noun = "harness"
    unobservable = UNOBSERVABLE
    _environment: Mapping[str, str] | None = None

    def __init__(
        self,
        command: str,
        *,
        timeout: float = 10.0,
        crash_limit: int = 100,
        patience: float = PATIENCE,
        regions: Regions | None = None,
    ) -> None:
        self.name = self.command = command
        self.timeout = timeout
        self._patience = patience
        self._regions = regions
        self._backlog = Backlog(crash_limit)
        self._sent: dict[int, _Sent] = {}  # by id of the job
        self._serial = 0
        self._said, self._printed = "", 0  # text of harnesses that are gone
        self._knows_of_children = False
        self._peer: Peer | None = None
        self._gone = ""  # why there will be no harness any more
        self._stray: list[Finding] = []
        self._last = ("", "")  # symbol and name of the call that was made last
        self._closed = False
        peer = Peer(command, self._environment)
        hello = self._greeting(peer)
        if isinstance(hello, str):
            said = peer.last_lines()
            raise TargetError(f"The {self.noun} {hello}" + (f"; it wrote: {said}" if said else "") + ".")
        self.hello = hello
        self._peer = peer
        if regions and not hello.claims:
            self.close()
            raise TargetError(f"--memory documented: this {self.noun} cannot place operands at addresses.")
        self.symbols = hello.symbols.intersection(entry_points())
        self.stated_half_abi = hello.half_abi
        self.blind = self._blind(hello)
        self.library = Library(compiler=hello.compiler, machine=hello.machine)
        changed = environment_changes(DEFAULT_ENVIRONMENT, hello.environment)
        self.load_findings = [
            Finding("fp-environment", f"Before its first call the {self.noun} has changed {c}.") for c in changed
        ]
        self.load_findings += self._take_text()[1]

    @property
    def waiting(self) -> int:
        """How many calls are queued and not yet collected."""
        return len(self._backlog)

    def _add(self, call: Call) -> None:
        self._backlog.add(call)
        self._send_ahead()

    def collect(self) -> list[Outcome]:
        """Return the outcomes of the oldest call not yet collected; raises ValueError when there is none."""
        job = self._backlog.first()
        while not job.done:
            self._send_ahead()
            if not job.done:
                self._follow(job, self._backlog.limit(job.call, self.timeout))
        self._backlog.collect()
        if job.outcomes:
            blamed = next((o for o in job.outcomes if o.status != "ok"), job.outcomes[-1])
            blamed.stderr, findings = self._take_text()
            blamed.findings += findings
            if self._peer is not None and (count := self._peer.orphans()):
                blamed.findings.append(_left(count, "the call"))
        return job.outcomes

    def _renew(self) -> None:
        self._dismiss()

    def close(self) -> list[Finding]:
        """End the harness and return what ending it showed; calling it again does nothing."""
        if not self._closed:
            self._closed = True
            self._dismiss()
        return self._stray

    def _blind(self, hello: Hello) -> tuple[str, ...]:
        """Say what cannot be seen here of what the worker process of a library can."""
        return blind(hello)

    # The harness's life

    def _dismiss(self) -> None:
        """Say goodbye, if it is not in the middle of a call, and see it end."""
        self._look()
        peer, self._peer = self._peer, None
        if peer is None:
            return
        if not self._backlog.sent and not peer.ended:
            peer.send(frame(Message.BYE))
            deadline = time.monotonic() + self.timeout
            while (left := deadline - time.monotonic()) > 0 and (news := peer.wait(left)):
                self._last_words(peer, news)
            if not peer.ended:
                self._stray.append(Finding("unload", f"The {self.noun} took over {self.timeout:g} s to end."))
            elif (peer.signal or peer.fault) and self._last[0]:
                self._stray.append(died(self.noun, peer.ended, *self._last, unloading=True))
            elif peer.exit_code != 0:
                self._stray.append(Finding("unload", f"The {self.noun} {peer.ended} after its last call."))
        if count := peer.kill():
            self._stray.append(_left(count, f"the {self.noun}"))
        _, printed = peer.take_text()
        if printed:
            self._stray.append(_printed(printed))

    def _greeting(self, peer: Peer) -> Hello | str:
        """Wait for a harness's hello; returns why there is none, as a predicate, having killed the process."""
        news = peer.wait(self._patience)
        problem = peer.ended or f"did not greet within {self._patience:g} s: is it the {self.noun}, and is it started?"
        if news:
            kind, payload = news[0]
            try:
                if kind is Message.HELLO and len(news) == 1:
                    hello = decode_hello(payload)
                    peer.orphans()  # what it starts for itself is its own affair
                    return hello
                problem = "spoke before it was asked"
                if kind is Message.TROUBLE:
                    problem = f"cannot work: {_sentence(payload)}"
            except HarnessError as error:
                problem = str(error)
        peer.kill()
        return problem

    def _start(self) -> None:
        """Start a harness again; a failure that is its own leaves none."""
        try:
            try:
                peer = Peer(self.command, self._environment)
            except MachineError:
                self.retries += 1
                time.sleep(_PAUSE)
                peer = Peer(self.command, self._environment)
        except TargetError as error:
            self._gone = f"The {self.noun} could not be started again: {error}"
            return
        hello = self._greeting(peer)
        if isinstance(hello, Hello):
            if msgspec.structs.replace(hello, capacity=self.hello.capacity) == self.hello:
                self._peer, self.hello, self._knows_of_children = peer, hello, False
                return
            peer.kill()
            hello = "is another one than before"
        self._gone = f"The {self.noun} could not be started again: it {hello}."

    def _look(self) -> None:
        """See whether it has ended between two calls, of what an earlier one left behind, perhaps."""
        peer = self._peer
        if peer is None or self._backlog.sent:
            return
        if news := peer.wait(0.0):
            self._last_words(peer, news)
            if not peer.fault or peer.wait(_GRACE) or not peer.ended:
                peer.ended = "spoke before it was asked"
        if peer.ended:
            self._lost(None)

    def _last_words(self, peer: Peer, news: Sequence[tuple[Message, bytes]]) -> None:
        """Take in what is said outside calls, if it is of which signal a process dies."""
        for kind, payload in news:
            if kind is Message.FAULT:
                with suppress(HarnessError):
                    peer.fault = decode_fault(payload)

    def _send_ahead(self) -> None:
        """Keep the harness supplied, and answer calls of hopeless symbols without it."""
        self._look()
        while (job := self._backlog.to_send()) is not None:
            if self._peer is None and not self._gone:
                self._start()
            if self._peer is None:
                self._backlog.lost()
                self._backlog.skip_all(self._gone)
                return
            self._send(self._peer, job)

    def _send(self, peer: Peer, job: Job) -> None:
        call, hello = job.rest(), self.hello
        self._serial = self._serial + 1 & 0xFFFFFFFF
        places, unit = remainders(call)
        if self._regions:
            places, unit = addresses(call, self._regions.of(call.symbol), hello.guard), 0
        seconds = int(min(self._backlog.limit(call, self.timeout) + _GRACE, 0xFFFF))
        payload = encode_call(self._serial, call, seconds, hello.big_endian, unit, places)
        outputs = sum(a.size for a in call.arguments if isinstance(a, PointerArgument) and a.role == "output")
        needed = len(payload) + room(call, unit, hello.guard)
        if needed > hello.capacity:
            self._backlog.sent.remove(job)
            job.skip(
                f"The call needs {needed} bytes and the harness has {hello.capacity}; "
                "build it with a larger -DHARNESS_MEMORY."
            )
            return
        self._sent[id(job)] = _Sent(self._serial, len(job.outcomes), outputs)
        peer.send(frame(Message.CALL, payload))

    def _follow(self, job: Job, seconds: float) -> None:
        """Wait for news of the running call and take them in."""
        peer = self._peer
        if peer is None:
            return
        peer.reader.limit = max(sent.owed for sent in self._sent.values()) + _RESULT_LIMIT
        news = peer.wait(seconds)
        try:
            for kind, payload in news:
                self._take(peer, kind, payload)
        except HarnessError as error:
            peer.ended = str(error)
        if peer.ended:
            self._lost(None)
        elif not news and not job.done:
            self._lost(seconds)

    def _take(self, peer: Peer, kind: Message, payload: bytes) -> None:
        if kind is Message.FAULT:
            if peer.fault:
                raise HarnessError("sent a second fault frame")
            peer.fault = decode_fault(payload)
            return
        if kind is Message.TROUBLE:
            raise HarnessError(f"gave up: {_sentence(payload)}")
        if kind is Message.FAILED:
            serial, index, why = decode_failed(payload)
            job = self._asked(serial, index)
            self._backlog.failed(Outcome("crash", message=f"{job.call.symbol} {why}."))
        elif kind is Message.RESULT:
            result = decode_result(payload)
            job = self._asked(result.serial, result.index)
            self._backlog.answered([self._outcome(job, result)])
        else:
            raise HarnessError(f"sent a {kind.name.lower()} frame in the middle of its work")
        self._last = job.call.symbol, job.call.name
        if job.done:
            del self._sent[id(job)]

    def _asked(self, serial: int, index: int) -> Job:
        """Return the job whose next invocation an answer is for; raises :class:`HarnessError` where there is none."""
        job = self._backlog.sent[0] if self._backlog.sent else None
        sent = self._sent.get(id(job))
        if job is None or sent is None or (serial, len(job.outcomes) - index) != (sent.serial, sent.first):
            raise HarnessError("sent a result that nobody asked for")
        return job

    def _outcome(self, job: Job, result: Result) -> Outcome:
        """Turn a result into an outcome; raises :class:`HarnessError` where it is none of this call."""
        sent = self._sent[id(job)]
        outcome = observed(job.call, result, sent.output, self.hello)
        sent.output = outcome.output
        if result.children and not self._knows_of_children:
            self._knows_of_children = True
            outcome.findings.append(Finding("forked", "The call left a child process behind."))
        return outcome

    def _lost(self, hung: float | None) -> None:
        """Give the running invocation its outcome, and put calls that were sent ahead back.

        ``hung``: seconds that were waited for it, if the harness has not ended by itself.
        """
        peer, self._peer = self._peer, None
        assert peer is not None
        count = max(peer.orphans(), peer.kill())
        left = [_left(count, "the call")] if count else []
        text, printed = peer.take_text()
        self._said, self._printed = self._said + text, self._printed + printed
        job = self._backlog.lost()
        self._sent.clear()
        if job is None:
            self._stray += [*left, died(self.noun, peer.ended, *self._last)]
            return
        self._last = job.call.symbol, job.call.name
        symbol = job.call.symbol
        if (hung is not None and not peer.fault) or peer.signal == "SIGALRM":
            limit = self._backlog.limit(job.call, self.timeout)
            self._backlog.hung(job, hung if hung is not None else limit + _GRACE).findings = left
            return
        signal = peer.signal or peer.fault
        if peer.fault and not peer.signal:
            message = f"{symbol} crashed with {peer.fault}."
        elif peer.signal or peer.exit_code >= 0:
            message = f"{symbol} {peer.ended}."
        else:
            message = f"The {self.noun} {peer.ended} while {symbol} ran."
        status: Status = "exit" if peer.exit_code >= 0 and not signal else "crash"
        self._backlog.crashed(job, Outcome(status, findings=left, message=message, signal=signal))

    def _take_text(self) -> tuple[str, list[Finding]]:
        """Return what was printed since the last time, and a finding that says so."""
        text, printed = self._said, self._printed
        self._said, self._printed = "", 0
        if self._peer is not None:
            new, count = self._peer.take_text()
            text, printed = text + new, printed + count
        return text, [_printed(printed)] if printed else []


def _sentence(payload: bytes) -> str:
    """Return what a harness says as the end of a sentence."""
    return " ".join(printable(payload[:_SAID]).split())


def _left(count: int, who: str) -> Finding:
    return Finding("left-process", f"{count} processes that {who} had started were left.")


def _printed(count: int) -> Finding:
    return Finding("printed", f"{count} bytes were printed on stdout or stderr.")
