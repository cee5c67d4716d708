"""What a harness tells of a call, as an outcome; and what it cannot see."""

from runners.calling.call import Call, Finding, Outcome, PointerArgument
from runners.harness.frames import Disturbance, HarnessError, Hello, Result, environment_changes, swapped

#: Contracts that a harness cannot see broken, having no memory protection and no view of processes.
UNOBSERVABLE = frozenset({"outside-access", "untouched-operands", "processes", "registers", "aliasing"})


def observed(call: Call, result: Result, before: bytes | None, hello: Hello) -> Outcome:
    """Turn what a harness says of an invocation into its outcome; ``before``: output of the one before it, if any.

    Raises :class:`HarnessError` where the result is none of this call.
    """
    pointers = [a if isinstance(a, PointerArgument) else None for a in call.arguments]
    target = next(a for a in pointers if a is not None and a.role == "output")
    output = before
    if result.output is not None:
        if len(result.output) != target.size:
            raise HarnessError(f"sent {len(result.output)} bytes of output where {target.size} belong")
        output = swapped(result.output, target.itemsize) if hello.big_endian else result.output
    if output is None:
        raise HarnessError("sent a first result without output")
    changes = environment_changes(hello.environment, result.environment)
    findings = [Finding("fp-environment", f"The call changed {c}.") for c in changes]
    for found in result.disturbances:
        argument = pointers[found.argument] if found.argument < len(pointers) else None
        if argument is None:
            raise HarnessError(f"found a change beside argument {found.argument}, which is no operand")
        findings.append(_disturbed(argument, found, hello.guard))
    return Outcome("ok", output, findings)


def blind(hello: Hello) -> tuple[str, ...]:
    """Say what a harness cannot see of what the worker process of a library can."""
    return (
        "reads outside operands",
        "reads of operands that a call has no reason to touch",
        f"writes that miss an operand by more than {hello.guard} bytes",
        "writes of an input's own content back into it",
        "exception traps, and modes of fp16 arithmetic",
        "memory that calls lose",
        "state that shows only after tens of thousands of calls of an entry point",
    )


def _disturbed(argument: PointerArgument, found: Disturbance, guard: int) -> Finding:
    """Return the contract that a changed byte breaks, in the words of the other runners."""
    size = argument.size if argument.role != "output" or found.where != "inside" else 0
    room = {"before": range(-guard, 0), "inside": range(size), "after": range(size, size + guard)}[found.where]
    if found.offset not in room:
        raise HarnessError(f"found a change {found.where} {argument.name} that is not there (byte {found.offset})")
    element = found.offset // argument.itemsize
    text, name = f"{argument.name}[{element}] was written", argument.name
    if found.where == "inside":
        return Finding("input-written", f"{text}, which is an input.", name, element)
    beside = "before its first element" if found.where == "before" else f"beyond its {argument.count} elements"
    kind = {"before": "output-underrun", "after": "output-overrun"}[found.where]
    return Finding(kind if argument.role == "output" else "guard", f"{text}, {beside}.", name, element)
