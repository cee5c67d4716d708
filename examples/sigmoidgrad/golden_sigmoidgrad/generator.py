"""Cases of SigmoidGrad, made of golden's samplers."""

from collections.abc import Iterator

import numpy as np

from generators import samplers
from generators.stream import Stream
from generators.suite import make_case
from golden.case import Case
from golden.formats import Array, Format
from golden_sigmoidgrad.operator import OPERATOR


def cases(suite: str, fmt: Format) -> Iterator[Case]:
    """List the cases of a suite: lengths, orders, saturated units, small gradients and special values."""
    for n in (0, 1, 7, 33, 300) if suite == "smoke" else (*range(66), 257, 1000):
        flags = ("operand-mixup", "sign", "tail", "position", "partition") if n else ("empty",)
        yield _case(fmt, "length", flags, n)
    for klass, flags in (
        ("orders", ("evaluation-order",)),
        ("saturated", ("rounding", "underflow")),
        ("small-gradients", ("underflow",)),
        ("special-values", ("nan-swallowed", "special-values")),
    ):
        yield _case(fmt, klass, flags, 64)


def _case(fmt: Format, klass: str, flags: tuple[str, ...], n: int) -> Case:
    stream = Stream(f"{OPERATOR.name}/{fmt.name}/{klass}/n={n}")
    dy, y = _operands(stream, fmt, klass, n)
    return make_case(OPERATOR, fmt, "required", klass, flags, f"{klass}/n={n}", {"length": n}, {"dy": dy, "y": y})


def _operands(stream: Stream, fmt: Format, klass: str, n: int) -> tuple[Array, Array]:
    if klass == "special-values":
        special = samplers.specials(fmt, extreme=False)
        return np.resize(special, n), np.resize(np.repeat(special, len(special)), n)
    dy = samplers.normal(stream, fmt, n)
    y = fmt.cast(stream.unit(n))
    if klass == "saturated":
        y = samplers.neighbours(fmt, np.ones(n, fmt.dtype), -stream.integers(n, 0, 40))
    if klass == "small-gradients":
        dy = samplers.log_uniform(stream, fmt, n, fmt.emin, fmt.emin + 6)
    return dy, y
