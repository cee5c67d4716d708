"""Operators element by element: for sweeps, where every point is one output element and nothing else is written.

SmoothL1LossGrad is dense as it is. NLLLossGrad has one non-zero element a sample; its dense view computes just that
one, from a gradient, a weight and the total: exact value, oracle, slack and orders are the page's own, without the
scatter.
"""

from functools import partial

import numpy as np

from golden import exact as ex
from golden import scaled_product
from golden.arithmetic import Arithmetic
from golden.errors import UsageError
from golden.formats import Array, Exact, Format
from golden.operator import Golden, Operands, Operator, Scalars, Slack, operator
from golden.rounding import golden_values


def _evaluate(order: scaled_product.Order, m: Arithmetic, scalars: Scalars, operands: Operands) -> Array:
    g, w = m.load(operands["loss_grad"]), m.load(operands["weight"])
    if scalars["reduction_type"] == "mean":
        return -order(m, w, g, m.load(operands["total_weight"][0]))
    return -m.multiply(g, w)


class DenseNLL(Operator):
    """The on-label elements of NLLLossGrad: element i is -g[i] * w[i], divided by total_weight[0] for mean.

    ``loss_grad`` and ``weight`` have one entry an element, or one for all; ``batch`` is the number of elements.
    """

    def __init__(self) -> None:
        page = operator("nlllossgrad")
        self.name, self.title, self.summary, self.formula = page.name, page.title, page.summary, page.formula
        self.parameters = page.parameters
        self.orders = {name: partial(_evaluate, order) for name, order in scaled_product.ORDERS.items()}

    def group(self, scalars: Scalars) -> str:
        """Elements are reported by reduction."""
        return f"reduction={scalars['reduction_type']}"

    def shapes(self, scalars: Scalars) -> dict[str, tuple[int, ...]]:
        """Every real operand has one entry an element."""
        n = int(scalars["batch"])
        shapes: dict[str, tuple[int, ...]] = {p.name: (n,) for p in self.pointers}
        return {**shapes, "total_weight": (1,)}

    def exact(self, fmt: Format, scalars: Scalars, operands: Operands, index: int) -> Exact:
        """Return element ``index`` as exact arithmetic."""
        g, w = (_decoded(fmt, operands[name], index) for name in ("loss_grad", "weight"))
        if scalars["reduction_type"] == "mean":
            w = ex.divide(w, _decoded(fmt, operands["total_weight"], 0))
        return ex.negate(ex.multiply(g, w))

    def oracle(self, fmt: Format, scalars: Scalars, operands: Operands) -> Golden:
        """Return every element correctly rounded; proof: :meth:`golden.operators.nlllossgrad.NLLLossGrad.oracle`."""
        with np.errstate(all="ignore"):
            exact = operands["loss_grad"].astype(np.float64) * operands["weight"].astype(np.float64)
            if scalars["reduction_type"] == "mean":
                exact = exact / operands["total_weight"].astype(np.float64)
        return golden_values(fmt, fmt.cast(-exact), -exact)

    def slack(self, fmt: Format, scalars: Scalars, operands: Operands, index: Array, flush: bool) -> Slack:
        """Return the slack of the elements ``index``; derivation in :mod:`golden.operators.nlllossgrad`."""
        with np.errstate(all="ignore"):
            g, w = (
                np.broadcast_to(operands[name], int(scalars["batch"]))[index].astype(np.float64)
                for name in ("loss_grad", "weight")
            )
        if scalars["reduction_type"] == "mean":
            total = float(operands["total_weight"][0])
            return scaled_product.slack(fmt, w, g, total, np.zeros(index.shape, int), flush)
        return scaled_product.product_slack(fmt, w, g, flush)

    def element_inputs(self, fmt: Format, scalars: Scalars, operands: Operands) -> tuple[Array, Array]:
        """Return the bits of (gradient, weight) of every element."""
        n = int(scalars["batch"])
        columns = [np.broadcast_to(fmt.bits(operands[name]), n) for name in ("loss_grad", "weight")]
        return np.arange(n), np.stack(columns, axis=1)

    def inputs_of(self, scalars: Scalars, operands: Operands, index: int) -> dict[str, int | float | str]:
        """Return gradient, weight and, for mean, total of one element."""
        names = ["loss_grad", "weight"] + ["total_weight"] * (scalars["reduction_type"] == "mean")
        return {name: operands[name][index if operands[name].size > 1 else 0] for name in names}


def _decoded(fmt: Format, values: Array, index: int) -> Exact:
    return fmt.decode(int(fmt.bits(values)[index if values.size > 1 else 0]))


#: Operators that have one.
DENSE = ("smoothl1lossgrad", "nlllossgrad")


def dense(name: str) -> Operator:
    """Return the element-by-element view of an operator; raises :class:`UsageError` where there is none."""
    if name not in DENSE:
        raise UsageError(f"{name} can be neither swept nor hunted: only {' and '.join(DENSE)} can.")
    return DenseNLL() if name == "nlllossgrad" else operator(name)
