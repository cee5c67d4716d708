"""What the end of a worker means: a status, a sentence, and the contract that was broken."""

import contextlib
import signal
from pathlib import Path
from typing import NamedTuple

from runners.calling.call import Call, Finding, Invocation, PointerArgument, Status
from runners.process.messages import Ended, Fault, Trouble


class Ending(NamedTuple):
    """How a worker ended. ``predicate`` wants a subject; ``finding`` names the operand a failed access missed."""

    status: Status
    signal: str
    predicate: str
    finding: Finding | None = None


def describe_end(
    end: Ended,
    words: Fault | Trouble | None,
    load_error: str = "",
    call: Call | None = None,
    invocation: Invocation | None = None,
    operand: tuple[str, int] | None = None,
    starved: bool = False,
) -> Ending:
    """Describe an end from what the supervisor has seen, and the worker's own last words.

    ``load_error``: why the library could not be loaded into this worker; ``call`` and ``invocation``: what ran;
    ``operand``: which one, and which element of it, the failed access was at or near;
    ``starved``: :func:`memory_kills` has risen meanwhile.
    """
    if isinstance(words, Fault):
        name = signal_name(words.signal)
        access, finding = _explain(words, call, invocation, operand)
        return Ending("crash", name, f"crashed with {name} {access}", finding)
    if isinstance(words, Trouble):
        return Ending("crash", "", f"left its process unable to go on ({words.message})")
    if end.note:
        return Ending("crash", "", end.note)
    if end.signal == signal.SIGKILL:
        return Ending("crash", "SIGKILL", describe_kill(starved))
    if end.signal:
        return Ending("crash", signal_name(end.signal), f"crashed with {signal_name(end.signal)}")
    if load_error:
        return Ending("crash", "", f"could not be loaded again ({load_error})")
    return Ending("exit", "", f"ended its process with exit code {end.code}")


def died(noun: str, predicate: str, symbol: str, call: str, unloading: bool = False) -> Finding:
    """Say of a process that it ended outside calls: it decides for the entry point that it had called last.

    ``symbol`` and ``call``: of that call; "" where there was none, and then nothing is decided.
    """
    if not symbol:
        return Finding("crash", f"The {noun} {predicate} before its first call.")
    when = (
        f"while it was unloaded, after its call of {symbol}"
        if unloading
        else f"after its call of {symbol}, before another"
    )
    return Finding("crash", f"The {noun} died {when}: it {predicate}.", symbol=symbol, call=call)


def describe_kill(starved: bool) -> str:
    """Say of a SIGKILL that golden did not send where it came from, as a predicate."""
    if starved:
        return "was killed with SIGKILL by the system, for want of memory"
    return "was killed with SIGKILL, not by golden: by itself, by another process, or by the system for want of memory"


def memory_kills() -> int:
    """Return how many processes the kernel has killed for want of memory in our control group; 0 if it does not say."""
    count = 0
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers in ("", "memory"):
                kind, file = ("memory", "memory.oom_control") if controllers else ("", "memory.events")
                count += _memory_kills(Path("/sys/fs/cgroup", kind), path, file)
    return count


def _memory_kills(root: Path, path: str, file: str) -> int:
    """Read a group's count; in a container the root of the tree may be the group itself."""
    for folder in (root / path.lstrip("/"), root):
        with contextlib.suppress(OSError, ValueError):
            words = (folder / file).read_text(encoding="utf-8").split()
            return int(words[words.index("oom_kill") + 1])
    return 0


def signal_name(number: int) -> str:
    """Return a name such as SIGSEGV; real-time signals have none and give their number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _explain(
    fault: Fault, call: Call | None, invocation: Invocation | None, near: tuple[str, int] | None
) -> tuple[str, Finding | None]:
    """Say what an access missed, as the end of a sentence, and as a finding if it was an operand."""
    verb = {"read": "reading", "write": "writing"}.get(fault.access, "accessing")
    if fault.access == "sent":
        return "that its own code sent", None
    if fault.address is None:
        return "at an address that is none, or at an unaligned one that an instruction needs aligned", None
    name, number = near or ("", 0)
    operand = next((a for a in call.arguments if a.name == name), None) if call else None
    if not isinstance(operand, PointerArgument) or invocation is None:
        null = " (a null pointer)" if fault.address < 1 << 16 else ""
        return f"{verb} address {fault.address:#x}{null}", None
    element = f"{operand.name}[{number}]"
    written = fault.access == "write"
    kind = "guard"
    if operand.name in invocation.unreadable:
        kind, where = "touched", "which it has no reason to touch"
    elif number < 0:
        where = "before its first element"
        kind = "output-underrun" if operand.role == "output" and written else kind
    elif number >= operand.count:
        where = f"beyond its {operand.count} elements"
        kind = "output-overrun" if operand.role == "output" and written else kind
    else:
        kind, where = "input-written", "which is an input"
    text = f"{verb} {element}, {where}"
    return text, Finding(kind, f"{call.symbol if call else ''} crashed {text}.", operand.name, number)
