"""NLLLossGrad: the gradient of the negative log likelihood loss with respect to the logits.

logits_grad[i, j] is zero except at j = labels[i], where it is -g_i * w (none), -g * w (sum) or -g * (w / total_weight)
(mean), with w = weight[labels[i]]. ``total_weight`` is an input used as given and touched for mean only;
``logits`` is passed for its size and never read; off-label outputs are selected, not multiplied by zero, so a
NaN in the weight of a class that no label names has no influence.

The output has at most one non-zero element a sample: values are computed per sample, then scattered.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, TypeVar

import numpy as np

from golden import scaled_product
from golden.formats import Array, Format
from golden.layout import Arrangement, Domain, NamedSpace
from golden.operator import Operands, Operator, Pointer, Points, Role, Scalar, Scalars
from golden.program import Arithmetic, Program
from golden.rounding import Golden, golden_values
from golden.scaled_product import ScaledProduct

V = TypeVar("V")


def _product(m: Arithmetic[V], g: V, w: V) -> V:
    """Evaluate one element of none and sum."""
    return m.negate(m.multiply(g, w))


def _mean(order: scaled_product.Order[V], m: Arithmetic[V], g: V, w: V, total: V) -> V:
    """Evaluate one element of mean, with the scaled product in the given order."""
    return m.negate(order(m, w, g, total))


_MEANS: dict[str, Program] = {name: partial(_mean, order) for name, order in scaled_product.EVALUATIONS.items()}


class NLLLossGrad(Operator):
    """Description of the page; ``reduction_type`` is named here and numbered by the runner."""

    name = "nlllossgrad"
    title = "NLLLossGrad"
    summary = "gradient of the negative log likelihood loss with respect to the logits"
    formula = "j == labels[i]: none -g[i]*w, sum -g[0]*w, mean -g[0]*(w/total_weight); else 0"
    orders = tuple(_MEANS)
    flags: ClassVar[Mapping[str, str]] = {
        "reduction-mixup": "reductions exchanged, loss_grad indexed where it is one number, total_weight without mean",
        "weight-mixup": "weights ignored, or indexed by sample instead of label",
        "selection": "one-hot multiplication instead of selection: a NaN weight of an unused class leaks",
        "zero-fill": "off-label outputs not written, or only written once",
    }
    length_name = "class_num"  # a row is what vectors run along
    coordinate_name = "weight / total_weight (weight, unless mean)"
    parameters = (
        Pointer("logits", Role.UNREAD),
        Pointer("loss_grad", Role.INPUT),
        Pointer("labels", Role.INPUT, "int32"),
        Pointer("weight", Role.INPUT),
        Pointer("total_weight", Role.INPUT, domain=Domain(zero=False, positive=True, above="weight")),
        Pointer("logits_grad", Role.OUTPUT),
        Scalar("batch", "int"),
        Scalar("class_num", "int"),
        Scalar(
            "reduction_type",
            "choice",
            option="reduction",
            default="none",
            hunted="mean",
            numberings=(("sum", "mean", "none"), ("none", "sum", "mean")),
        ),
    )

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

    def outside(self, scalars: Scalars, operands: Operands) -> str:
        """Labels are classes."""
        labels, classes = operands.get("labels", np.zeros(0, np.int32)), int(scalars["class_num"])
        wrong = np.flatnonzero((labels < 0) | (labels >= classes))
        return f"label {labels[wrong[0]]} is none of {classes} classes" if wrong.size else ""

    def untouched(self, scalars: Scalars) -> tuple[str, ...]:
        """``total_weight`` is used for mean only."""
        return () if scalars["reduction_type"] == "mean" else ("total_weight",)

    def variables(self, scalars: Scalars) -> tuple[str, ...]:
        """The upstream gradient, the label's weight and, for mean, the total."""
        return ("loss_grad", "weight", *(("total_weight",) if scalars["reduction_type"] == "mean" else ()))

    def programs(self, scalars: Scalars) -> Mapping[str, Program]:
        """Return the scaled product in each order for mean, and the one product there is otherwise."""
        return _MEANS if scalars["reduction_type"] == "mean" else {"formula": _product}

    def scaled(self, scalars: Scalars) -> ScaledProduct:
        """Return the product with the weight, divided by the total for mean."""
        total = "total_weight" if scalars["reduction_type"] == "mean" else ""
        return ScaledProduct(a="weight", b="loss_grad", s=total, negative=True)

    def points(self, scalars: Scalars, operands: Operands, index: Array) -> Points:
        """Return what elements on a label are computed from; the others are zero."""
        samples, classes = np.divmod(index, int(scalars["class_num"]))
        at = np.flatnonzero(classes == operands["labels"][samples])
        chosen = samples[at]
        upstream = np.broadcast_to(_upstream(scalars, operands), operands["labels"].shape)
        values = [upstream[chosen], operands["weight"][operands["labels"][chosen]]]
        if scalars["reduction_type"] == "mean":
            values.append(np.broadcast_to(operands["total_weight"][:1], at.shape))
        return Points(at, tuple(values))

    def arrangements(self, scalars: Scalars) -> tuple[Arrangement, ...]:
        """With one class every sample is a point, and the weight is the same for all.

        With as many classes as samples, and labels 0, 1, 2, ..., the points are the diagonal of the output, with a
        weight each.
        """
        return (
            Arrangement(("batch",), {"labels": lambda n: np.zeros(n, np.int32)}),
            Arrangement(
                ("batch", "class_num"), {"labels": lambda n: np.arange(n, dtype=np.int32)}, stride=lambda n: n + 1
            ),
        )

    def spaces(self, scalars: Scalars) -> Mapping[str, NamedSpace]:
        """Return every gradient with every weight, and every weight with every total."""
        none, mean = (scalars["reduction_type"] == name for name in ("none", "mean"))
        return {
            "g-w": NamedSpace(
                ("weight", "loss_grad") if none else ("loss_grad", "weight"),
                "all 2**32 (gradient, weight); mean with one total_weight",
            ),
            "w-total": NamedSpace(
                ("total_weight", "weight"),
                "mean: all 2**32 (weight, total_weight), for one gradient",
                refused="" if mean else "total_weight is used with the reduction mean only.",
            ),
        }

    def correctly_rounded(self, fmt: Format, scalars: Scalars, values: Sequence[Array]) -> Golden:
        """Return the elements correctly rounded.

        g * w has at most 2p <= 48 bits, exact in float64. A midpoint m has p + 1 bits, so m * total_weight has at
        most 49: two different numbers g*w and m*total_weight of at most 52 bits differ by more than the float64
        rounding of g*w/total_weight can hide, and one direct cast of the quotient rounds correctly.
        """
        with np.errstate(all="ignore"):
            g, w, *total = (v.astype(np.float64) for v in values)
            exact = -(g * w / total[0] if total else g * w)
        return golden_values(fmt, fmt.cast(exact), exact)

    def coordinate(self, scalars: Scalars, operands: Operands, index: Array) -> Array:
        """Return weight / total_weight of each element's sample for mean, its weight otherwise."""
        with np.errstate(all="ignore"):
            weight = _picked(operands)[index // int(scalars["class_num"])].astype(np.float64)
            mean = scalars["reduction_type"] == "mean"
            return np.asarray(weight / float(operands["total_weight"][0]) if mean else weight)

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


def _picked(operands: Operands) -> Array:
    return operands["weight"][operands["labels"]]


def _upstream(scalars: Scalars, operands: Operands) -> Array:
    grad = operands["loss_grad"]
    return grad if scalars["reduction_type"] == "none" else grad[:1]


OPERATOR = NLLLossGrad()
