"""PyTorch's own kernels: ``python:runners.adapters.pytorch:cpu``, and ``:cuda`` where there is a device.

Called are the operators of ATen that autograd calls, not the loss functions above them: smooth_l1_loss_backward
without reduction, which is the page's element by element, and nll_loss_backward, which takes total_weight as an
argument and uses it as given. Labels are widened to int64; ignore_index is -100, which no label is. One thread, so
that results do not depend on how many processors there are.
"""

from typing import Any

import numpy as np

from golden.errors import TargetError
from golden.formats import Array

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise TargetError("PyTorch is not installed: pip install 'golden-kernels[torch]'") from error

#: ATen's numbers of reductions.
_REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}
_NO_LABEL = -100


class Kernels:
    """The kernels of one device; an adapter as docs/third-party.md describes it."""

    name = "PyTorch"
    operators = {"smoothl1lossgrad": ("fp16", "fp32"), "nlllossgrad": ("fp16", "fp32")}  # noqa: RUF012 - never mutated

    def __init__(self, device: str) -> None:
        torch.set_num_threads(1)
        self._device = torch.device(device)
        what = torch.cuda.get_device_name() if device == "cuda" else torch.backends.cpu.get_cpu_capability()
        self.version = f"{torch.__version__} ({what})"

    def evaluate(self, operator: str, dtype: str, scalars: dict[str, Any], operands: dict[str, Array]) -> Array:
        """Compute an output; shapes and dtypes are the pages'."""
        values = {name: torch.from_numpy(array).to(self._device) for name, array in operands.items()}
        if operator == "smoothl1lossgrad":
            result = torch.ops.aten.smooth_l1_loss_backward(
                values["dy"], values["x1"], values["x2"], _REDUCTIONS["none"], scalars["beta"]
            )
        else:
            reduction = scalars["reduction_type"]
            gradient = values["loss_grad"] if reduction == "none" else values["loss_grad"][0]
            result = torch.ops.aten.nll_loss_backward(
                *(gradient, values["logits"], values["labels"].long(), values["weight"]),
                *(_REDUCTIONS[reduction], _NO_LABEL, values["total_weight"][0]),
            )
        return np.asarray(result.cpu().numpy())


def __getattr__(name: str) -> Kernels:
    """Make the adapter of a device when it is asked for."""
    if name == "cpu" or (name == "cuda" and torch.cuda.is_available()):
        return Kernels(name)
    if name == "cuda":
        raise TargetError("PyTorch finds no CUDA device here")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Name the adapters, for suggestions."""
    return ["cpu", "cuda"]
