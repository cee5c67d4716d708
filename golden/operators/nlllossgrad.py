"""NLLLossGrad: the gradient of the negative log likelihood loss with respect to the logits.

logits_grad[i, j] is zero except at j = labels[i], where it is -g_i * w (none), -g * w (sum) or -g * (w / total_weight)
(mean), with w = weight[labels[i]]. ``total_weight`` is an input used as given and touched for mean only;
``logits`` is passed for its size and never read; off-label outputs are selected, not multiplied by zero, so a
NaN in the weight of a class that no label names has no influence.

Bounds: none and sum are one product, rounded once: anything but the correctly rounded value is an error. Mean is
a scaled product (:mod:`golden.scaled_product`) with a = w, b = g, s = total_weight and nothing rounded before.
Changing a sign is exact wherever it is done.

The output has at most one non-zero element a sample: values are computed per sample, then scattered.
"""

from functools import partial

import numpy as np

from golden import exact as ex
from golden import scaled_product
from golden.arithmetic import Arithmetic
from golden.formats import Array, Exact, Format
from golden.operator import Evaluate, Golden, Operands, Operator, Pointer, Role, Scalar, Scalars, Slack
from golden.rounding import golden_values


def _evaluate(order: scaled_product.Order, m: Arithmetic, scalars: Scalars, operands: Operands) -> Array:
    """Evaluate the gradient with the mean's scaled product in the given order."""
    w, g = m.load(_picked(operands)), m.load(_upstream(scalars, operands))
    if scalars["reduction_type"] == "mean":
        values = order(m, w, g, m.load(operands["total_weight"][0]))
    else:
        values = m.multiply(g, w)
    return _scatter(scalars, operands, -values)


class NLLLossGrad(Operator):
    """Description of the page; ``reduction_type`` is named here and numbered by the runner."""

    name = "nlllossgrad"
    title = "NLLLossGrad"
    summary = "gradient of the negative log likelihood loss with respect to the logits"
    formula = "j == labels[i]: none -g[i]*w, sum -g[0]*w, mean -g[0]*(w/total_weight); else 0"
    coordinate_name = "weight / total_weight (weight, unless mean)"
    parameters = (
        Pointer("logits", Role.UNREAD),
        Pointer("loss_grad", Role.INPUT),
        Pointer("labels", Role.INPUT, "int32"),
        Pointer("weight", Role.INPUT),
        Pointer("total_weight", Role.INPUT),
        Pointer("logits_grad", Role.OUTPUT),
        Scalar("batch", "int"),
        Scalar("class_num", "int"),
        Scalar("reduction_type", "reduction"),
    )
    orders: dict[str, Evaluate] = {  # noqa: RUF012 - declarative, never mutated
        name: partial(_evaluate, order) for name, order in scaled_product.ORDERS.items()
    }

    def shapes(self, scalars: Scalars) -> dict[str, tuple[int, ...]]:
        """``loss_grad`` is ``[batch]`` for none and one element otherwise."""
        batch, classes = int(scalars["batch"]), int(scalars["class_num"])
        return {
            "logits": (batch, classes),
            "loss_grad": (batch if scalars["reduction_type"] == "none" else 1,),
            "labels": (batch,),
            "weight": (classes,),
            "total_weight": (1,),
            "logits_grad": (batch, classes),
        }

    def group(self, scalars: Scalars) -> str:
        """Cases are reported by reduction."""
        return f"reduction={scalars['reduction_type']}"

    def outside(self, scalars: Scalars, operands: Operands) -> str:
        """Labels are classes."""
        labels, classes = operands.get("labels", np.zeros(0, np.int32)), int(scalars["class_num"])
        wrong = np.flatnonzero((labels < 0) | (labels >= classes))
        return f"label {labels[wrong[0]]} is none of {classes} classes" if wrong.size else ""

    def untouched(self, scalars: Scalars) -> tuple[str, ...]:
        """``total_weight`` is used for mean only."""
        return () if scalars["reduction_type"] == "mean" else ("total_weight",)

    def exact(self, fmt: Format, scalars: Scalars, operands: Operands, index: int) -> Exact:
        """Return logits_grad.flat[index] as the page defines it."""
        i, j = divmod(index, int(scalars["class_num"]))
        label = int(operands["labels"][i])
        if j != label:
            return 0.0
        reduction = scalars["reduction_type"]
        g = _decoded(fmt, operands["loss_grad"], i if reduction == "none" else 0)
        w = _decoded(fmt, operands["weight"], label)
        if reduction == "mean":
            return ex.negate(ex.multiply(g, ex.divide(w, _decoded(fmt, operands["total_weight"], 0))))
        return ex.negate(ex.multiply(g, w))

    def oracle(self, fmt: Format, scalars: Scalars, operands: Operands) -> Golden:
        """Return logits_grad correctly rounded.

        g * w has at most 2p <= 48 bits, exact in float64. A midpoint m has p + 1 bits, so m * total_weight has at
        most 49: two different numbers g*w and m*total_weight of at most 52 bits differ by more than the float64
        rounding of g*w/total_weight can hide, and one direct cast of the quotient rounds correctly.
        """
        with np.errstate(invalid="ignore"):
            exact = _upstream(scalars, operands).astype(np.float64) * _picked(operands).astype(np.float64)
            if scalars["reduction_type"] == "mean":
                exact = exact / operands["total_weight"].astype(np.float64)
        values = golden_values(fmt, fmt.cast(-exact), -exact)
        return Golden(*(_scatter(scalars, operands, part) for part in values))

    def slack(self, fmt: Format, scalars: Scalars, operands: Operands, index: Array, flush: bool) -> Slack:
        """Return the slack of logits_grad.flat[index]; derivation at the top of this file."""
        samples, classes = np.divmod(index, int(scalars["class_num"]))
        with np.errstate(invalid="ignore"):  # signalling NaNs
            upstream = np.broadcast_to(_upstream(scalars, operands), operands["labels"].shape)
            g, w = (v[samples].astype(np.float64) for v in (upstream, _picked(operands)))
        on_label = classes == operands["labels"][samples]
        g, w = np.where(on_label, g, 0.0), np.where(on_label, w, 0.0)
        if scalars["reduction_type"] == "mean":
            total = float(operands["total_weight"][0])
            return scaled_product.slack(fmt, w, g, total, np.zeros(index.shape, int), flush)
        return scaled_product.product_slack(fmt, w, g, flush)

    def coordinate(self, scalars: Scalars, operands: Operands, index: Array) -> Array:
        """Return weight / total_weight of each element's sample for mean, its weight otherwise."""
        with np.errstate(all="ignore"):
            weight = _picked(operands)[index // int(scalars["class_num"])].astype(np.float64)
            mean = scalars["reduction_type"] == "mean"
            return np.asarray(weight / float(operands["total_weight"][0]) if mean else weight)

    def element_inputs(self, fmt: Format, scalars: Scalars, operands: Operands) -> tuple[Array, Array]:
        """Return the bits of (gradient, weight) of the elements on a label; total_weight is the same for all."""
        labels = operands["labels"]
        upstream = np.broadcast_to(_upstream(scalars, operands), labels.shape)
        rows = np.stack([fmt.bits(upstream), fmt.bits(_picked(operands))], axis=1)
        return np.arange(len(labels)) * int(scalars["class_num"]) + labels, rows

    def inputs_of(self, scalars: Scalars, operands: Operands, index: int) -> dict[str, int | float | str]:
        """Return the sample, class and label, and the numbers that are multiplied there."""
        i, j = divmod(index, int(scalars["class_num"]))
        label = int(operands["labels"][i])
        none = scalars["reduction_type"] == "none"
        found: dict[str, int | float | str] = {"sample": i, "class": j, "label": label}
        found[f"loss_grad[{i if none else 0}]"] = operands["loss_grad"][i if none else 0]
        found[f"weight[{label}]"] = operands["weight"][label]
        if scalars["reduction_type"] == "mean":
            found["total_weight"] = operands["total_weight"][0]
        return found


def _decoded(fmt: Format, values: Array, index: int) -> Exact:
    return fmt.decode(int(fmt.bits(values)[index]))


def _picked(operands: Operands) -> Array:
    return operands["weight"][operands["labels"]]


def _upstream(scalars: Scalars, operands: Operands) -> Array:
    grad = operands["loss_grad"]
    return grad if scalars["reduction_type"] == "none" else grad[:1]


def _scatter(scalars: Scalars, operands: Operands, values: Array) -> Array:
    labels = operands["labels"]
    output = np.zeros((len(labels), int(scalars["class_num"])), values.dtype)
    output[np.arange(len(labels)), labels] = values
    return output.reshape(-1)


OPERATOR = NLLLossGrad()
