"""Cases of HuberLossGrad, made of golden's samplers."""

from collections.abc import Iterator

from generators import samplers
from generators.stream import Stream
from generators.suite import make_case
from golden.case import Case
from golden.formats import Format
from golden_huber.operator import OPERATOR


def cases(suite: str, fmt: Format) -> Iterator[Case]:
    """List the cases of a suite: normal data at a few lengths and deltas."""
    for delta in (0.5, 1.0):
        for n in (0, 1, 7, 8, 33) if suite == "smoke" else (*range(66), 1000):
            path = f"delta={delta:g}/normal/n={n}"
            stream = Stream(f"{OPERATOR.name}/{fmt.name}/{path}")
            operands = {name: samplers.normal(stream, fmt, n) for name in ("dy", "x1", "x2")}
            flags = ("operand-mixup", "branch", "tail", "position") if n else ("empty",)
            scalars: dict[str, int | float | str] = {"length": n, "delta": delta}
            yield make_case(OPERATOR, fmt, "required", "normal", flags, path, scalars, operands)
