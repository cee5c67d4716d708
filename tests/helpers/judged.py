"""Calls for the C judge and the NumPy path to agree on, shared by their tests."""

import numpy as np
import pytest

from golden.formats import FORMATS, Array, Format
from golden.pointwise import dense
from golden.terms import Terms
from runners.sweeping import judge as native
from runners.sweeping.judge import NativeJudge
from runners.sweeping.tally import BlockTally, numpy_tally
from runners.toolchain import compiled

POINTS = 4099  # several batches of the C code, and a tail that is no multiple of a vector
Call = tuple[dict[str, int | float | str], dict[str, Array]]
NEEDS_C = pytest.mark.skipif(compiled.compiler() is None, reason="needs a C compiler")
BOTH = pytest.mark.parametrize("fmt", FORMATS.values(), ids=list(FORMATS))


def judge() -> NativeJudge:
    loaded = native.load()
    assert loaded is not None
    return loaded


def assert_same(name: str, fmt: Format, call: Call, output: Array, flush: bool = False) -> BlockTally:
    terms = Terms(flush)
    scalars, operands = call
    output = np.ascontiguousarray(output)
    expected = numpy_tally(dense(name), fmt, scalars, operands, output, terms)
    assert judge().tally(dense(name), fmt, scalars, operands, output, terms) == expected
    return expected


def smooth(fmt: Format, beta: float, dy: Array, x1: Array, x2: Array) -> Call:
    return {"length": len(dy), "beta": fmt.typed(beta)}, {"dy": dy, "x1": x1, "x2": x2}


def nll(fmt: Format, reduction: str, g: Array, w: Array, total: float = 1.0) -> Call:
    operands = {"loss_grad": g, "weight": w, "total_weight": np.array([total], fmt.dtype)}
    return {"batch": len(g), "class_num": 1, "reduction_type": reduction}, operands


def patterns(fmt: Format, rng: np.random.Generator, n: int = POINTS) -> Array:
    return fmt.from_bits(rng.integers(0, 1 << fmt.width, n, dtype=np.uint64).astype(fmt.bits_dtype))


def near(fmt: Format, rng: np.random.Generator, scale: float, n: int = POINTS) -> Array:
    return fmt.cast(rng.normal(size=n) * scale)
