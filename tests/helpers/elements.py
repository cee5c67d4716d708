"""Cases of a few elements, and results that are wrong in some of them."""

import numpy as np

from generators.samplers import neighbours
from generators.suite import make_case
from golden.case import Case
from golden.formats import Array, Format
from golden.operator import operator


def smooth(fmt: Format, beta: float, *triples: tuple[float, float, float], path: str = "test") -> Case:
    """A case of SmoothL1LossGrad from (dy, x1, x2)."""
    columns = np.array(triples, np.float64).reshape(-1, 3).T
    operands = {name: fmt.cast(column) for name, column in zip(("dy", "x1", "x2"), columns, strict=True)}
    scalars: dict[str, int | float | str] = {"length": len(triples), "beta": fmt.typed(beta)}
    return make_case(operator("smoothl1lossgrad"), fmt, "required", "test", (), path, scalars, operands)


def nll(fmt: Format, reduction: str, g: float, w: float, total: float = 1.0) -> Case:
    """One sample, two classes, the label being the first."""
    operands = {"loss_grad": fmt.cast(np.array([g])), "labels": np.zeros(1, np.int32)}
    operands |= {"weight": fmt.cast(np.array([w, 1.0])), "total_weight": fmt.cast(np.array([total]))}
    scalars: dict[str, int | float | str] = {"batch": 1, "class_num": 2, "reduction_type": reduction}
    return make_case(operator("nlllossgrad"), fmt, "required", "test", (), "test", scalars, operands)


def sample(fmt: Format, seed: int, path: str) -> Case:
    source = np.random.Generator(np.random.Philox(seed))
    triples = [(float(a), float(b), 0.0) for a, b in source.uniform(-1, 1, (200, 2))]
    return smooth(fmt, 1.5, *triples, path=path)


def moved_by(case: Case, places: int, share: int) -> Array:
    """Golden, every ``share``-th element moved away from zero."""
    output = case.golden.value.copy()
    output[::share] = neighbours(case.fmt, output[::share], places)
    return output
