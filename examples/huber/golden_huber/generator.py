"""Cases of HuberLossGrad, made of golden's samplers."""

from collections.abc import Iterator

from generators import samplers
from generators.stream import Stream
from generators.suite import Offer, Scalars, make_case
from golden.case import Case
from golden.formats import Array, Format
from golden_huber.operator import OPERATOR

FLAGS = ("operand-mixup", "branch", "tail", "position")


def cases(suite: str, fmt: Format) -> Iterator[Case]:
    """List the cases of a suite: normal data at a few lengths and deltas."""
    for delta in (0.5, 1.0):
        for n in (0, 1, 7, 8, 33) if suite == "smoke" else (*range(66), 1000):
            path = f"delta={delta:g}/normal/n={n}"
            stream = Stream(f"{OPERATOR.name}/{fmt.name}/{path}")
            scalars: dict[str, int | float | str] = {"length": n, "delta": delta}
            operands = _normal(stream, fmt, "normal", scalars)
            yield make_case(OPERATOR, fmt, "required", "normal", FLAGS if n else ("empty",), path, scalars, operands)


def _normal(stream: Stream, fmt: Format, klass: str, scalars: Scalars) -> dict[str, Array]:
    return {name: samplers.normal(stream, fmt, int(scalars["length"])) for name in ("dy", "x1", "x2")}


#: What suite files can ask for.
OFFER = Offer(
    classes={"normal": (FLAGS, ())}, usual="normal", operands=_normal, scalars={"delta": (0.5, 1.0)}, sizes=((33,),)
)
