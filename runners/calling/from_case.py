"""Calls of entry points, from a case's scalars and operands."""

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np

from golden.operator import EntryPoint, Operands, Pointer, Scalar, Scalars
from runners.calling.call import Call, Invocation, PointerArgument, ScalarArgument

HalfAbi = Literal["float16", "uint16"]

#: Operands up to that many bytes are copied, which takes less than making a view.
_SMALL = 1 << 12
_NOTHING = memoryview(b"")


def call_for(
    entry_point: EntryPoint,
    scalars: Scalars,
    operands: Operands,
    invocations: Sequence[Invocation],
    *,
    half_abi: HalfAbi = "float16",
    numbering: str = "",
) -> Call:
    """Build the call of an entry point with a case's scalars and input operands.

    Raises KeyError for a missing operand. ``core_mask`` of the invocations is dropped where there is none.
    """
    fmt = entry_point.fmt
    shapes = entry_point.operator.shapes(scalars)
    arguments: list[PointerArgument | ScalarArgument] = []
    for p in entry_point.operator.parameters:
        if isinstance(p, Pointer):
            dtype = p.dtype(fmt)
            data, count = _NOTHING, 0
            if p.role == "input":
                given = np.ascontiguousarray(operands[p.name], dtype)
                count = given.size
                data = memoryview(given.tobytes()) if given.nbytes <= _SMALL else given.reshape(-1).view(np.uint8).data
            arguments.append(
                PointerArgument(p.name, p.role.value, dtype.itemsize, count or math.prod(shapes[p.name]), data)
            )
        else:
            arguments.append(scalar_argument(p, scalars[p.name], entry_point, half_abi, numbering))
    if not entry_point.has_core_mask:
        invocations = [i if i.core_mask is None else msgspec.structs.replace(i, core_mask=None) for i in invocations]
    return Call(entry_point.symbol, tuple(arguments), tuple(invocations))


def scalar_argument(
    parameter: Scalar,
    value: int | float | str,
    entry_point: EntryPoint,
    half_abi: HalfAbi,
    numbering: str,
) -> ScalarArgument:
    """Return a scalar with the bits and the C type that the entry point takes it in."""
    if parameter.kind == "real":
        fmt = entry_point.fmt
        bits = int.from_bytes(fmt.dtype.type(value).tobytes(), "little")
        return ScalarArgument(parameter.name, half_abi if fmt.itemsize == 2 else "float32", bits)
    number = parameter.names(numbering).index(str(value)) if parameter.kind == "choice" else int(value)
    return ScalarArgument(parameter.name, "int32", number)
