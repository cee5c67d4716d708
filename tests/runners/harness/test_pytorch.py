"""PyTorch's kernels as a target: what docs/third-party.md says of them. Skipped where PyTorch is not installed (CI)."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from golden.errors import TargetError
from golden.files.results import read_results
from golden.formats import FORMATS, Array
from golden.operator import operators
from golden.results import Results
from golden.working import WorkingPrecision
from runners.harness.adapter import CallableSession
from tests import ROOT
from tests.runners.harness.test_callable import validate

installed = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")


@pytest.fixture
def kernels() -> Any:
    from runners.adapters import pytorch

    return pytorch.cpu


def test_without_pytorch_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(TargetError) as caught:
        CallableSession("runners.adapters.pytorch:cpu")
    assert str(caught.value).endswith("PyTorch is not installed: pip install 'golden-kernels[torch]'.")


@installed
def test_a_device_that_is_not_there() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(TargetError, match="PyTorch finds no CUDA device here"):
        CallableSession("runners.adapters.pytorch:cuda")
    with pytest.raises(TargetError, match="did you mean 'cuda'"):
        CallableSession("runners.adapters.pytorch:cude")


def nll(kernels: Any, dtype: str, gradient: float, weight: list[float], total: float, reduction: str) -> list[float]:
    real, n = FORMATS[dtype].dtype, len(weight)
    operands = {
        "logits": np.full((n, n), np.nan, real),
        "loss_grad": np.array([gradient] * n, real),
        "labels": np.arange(n, dtype=np.int32),
        "weight": np.array(weight, real),
        "total_weight": np.array([total], real),
    }
    scalars = {"batch": n, "class_num": n, "reduction_type": reduction}
    output = kernels.evaluate("nlllossgrad", dtype, scalars, operands)
    assert output.shape == (n, n) and np.count_nonzero(output[~np.eye(n, dtype=bool)]) == 0
    return output.diagonal().tolist()


@installed
def test_reductions_and_total_weight_are_the_pages(kernels: Any) -> None:
    assert nll(kernels, "fp32", 3.0, [1.0, 2.0], 4.0, "sum") == [-3.0, -6.0]
    assert nll(kernels, "fp32", 3.0, [1.0, 2.0], 4.0, "none") == [-3.0, -6.0]
    assert nll(kernels, "fp32", 3.0, [1.0, 2.0], 4.0, "mean") == [-0.75, -1.5]


@installed
def test_a_masked_class_becomes_nan_in_fp16(kernels: Any) -> None:
    assert repr(nll(kernels, "fp16", 65504.0, [0.0, 1.3e-6], 0.7, "mean")) == "[nan, -inf]"


@installed
def test_body_and_tail_have_two_orders(kernels: Any) -> None:
    fmt, operator, n = FORMATS["fp32"], operators()["smoothl1lossgrad"], 15 + 32 * 20
    rng = np.random.default_rng(1)
    scalars = {"length": n, "beta": fmt.typed(0.1)}
    operands = {name: rng.uniform(-0.05, 0.05, n).astype(np.float32) for name in ("dy", "x1", "x2")}
    output = kernels.evaluate("smoothl1lossgrad", "fp32", scalars, operands)

    def same(order: str) -> Array:
        return np.asarray(operator.evaluate(order, WorkingPrecision(fmt), fmt, scalars, operands) == output)

    formula, product_first = same("formula"), same("product-first")
    assert (formula | product_first).all() and not formula.all() and not product_first.all()
    assert formula[: n // 2].all() and product_first[-7:].all()


@installed
def test_verdicts_and_grades(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    done = validate("python:runners.adapters.pytorch:cpu", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    results: Results = read_results(tmp_path / "results.json")
    grades = {e.symbol: e.grade for e in results.entry_points}
    assert grades["hp_smoothl1lossgrad_p"] in ("correctly-rounded", "faithful")
    assert grades["fp_smoothl1lossgrad_p"] in ("formula", "legal") and grades["fp_nlllossgrad_s"] == "formula"
    assert results.library.compiler.startswith("PyTorch ")
    assert any(f.kind == "position-dependent" and "smoothl1" in f.symbol for f in results.findings)
    assert {c.broken for e in results.entry_points for c in e.contracts if c.name == "unread-operands"} == {0}
