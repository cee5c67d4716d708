"""Cases of SubExt, made of golden's samplers."""

from collections.abc import Iterator

import numpy as np

from generators import samplers
from generators.stream import Stream
from generators.suite import make_case
from golden.case import Case
from golden.formats import Array, Format
from golden_subext.operator import OPERATOR


def cases(suite: str, fmt: Format) -> Iterator[Case]:
    """List the cases of a suite: lengths, cancellation, numbers of every size and special ones, at a few alphas."""
    for alpha in (1.0, 0.3, -2.5):
        for n in (0, 1, 7, 33, 300) if suite == "smoke" else (*range(66), 257, 1000):
            flags = ("operand-mixup", "sign", "tail", "position", "partition") if n else ("empty",)
            yield _case(fmt, "length", flags, alpha, n)
        for klass, flags in (
            ("cancellation", ("rounding", "sign")),
            ("log-uniform", ("scaling", "rounding")),
            ("subnormal-operands", ("underflow",)),
            ("special-values", ("nan-swallowed", "special-values")),
        ):
            yield _case(fmt, klass, flags, alpha, 36)


def _case(fmt: Format, klass: str, flags: tuple[str, ...], alpha: float, n: int) -> Case:
    path = f"alpha={alpha:g}/{klass}/n={n}"
    stream, typed = Stream(f"{OPERATOR.name}/{fmt.name}/{path}"), fmt.typed(alpha)
    input0, input1 = _operands(stream, fmt, klass, typed, n)
    scalars: dict[str, int | float | str] = {"length": n, "alpha": typed}
    return make_case(OPERATOR, fmt, "required", klass, flags, path, scalars, {"input0": input0, "input1": input1})


def _operands(stream: Stream, fmt: Format, klass: str, alpha: float, n: int) -> tuple[Array, Array]:
    if klass == "special-values":
        special = samplers.specials(fmt, extreme=False)
        return np.resize(special, n), np.resize(np.repeat(special, len(special)), n)
    if klass == "subnormal-operands":
        return samplers.subnormals(stream, fmt, n), samplers.subnormals(stream, fmt, n)
    if klass == "log-uniform":
        return samplers.log_uniform(stream, fmt, n, -8, 8), samplers.log_uniform(stream, fmt, n, -8, 8)
    input1 = samplers.normal(stream, fmt, n)
    if klass == "cancellation":  # input0 a few places from the product
        product = fmt.cast(input1.astype(np.float64) * alpha)
        return samplers.neighbours(fmt, product, stream.integers(n, -9, 10)), input1
    return samplers.normal(stream, fmt, n), input1
