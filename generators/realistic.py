"""Gradients of actual small networks over a few training steps, computed with NumPy from a fixed seed.

Only + - * / and comparisons are used, with sums in a fixed order: matrix products and library exponentials
may differ in the last bit between machines, and vectors must not.
"""

from collections.abc import Iterator

import numpy as np

from generators.stream import Stream
from golden.formats import Array

BOXES, FEATURES, COORDINATES, CLASSES = 48, 12, 4, 10
LOSS_SCALE = 1024.0


def _linear(features: Array, weights: Array) -> Array:
    """Return features @ weights, summed feature by feature."""
    total = np.zeros((features.shape[0], weights.shape[1]))
    for k in range(weights.shape[0]):
        total = total + features[:, k, None] * weights[None, k]
    return total


def _row_sum(values: Array) -> Array:
    total = np.zeros(values.shape[0])
    for j in range(values.shape[1]):
        total = total + values[:, j]
    return total


def exponential(x: Array) -> Array:
    """Return exp(x) for |x| <= 32 to about 1e-13: Taylor's series of x/64, squared six times."""
    small, term, total = x / 64.0, np.ones_like(x), np.ones_like(x)
    for k in range(1, 14):
        term = term * small / k
        total = total + term
    for _ in range(6):
        total = total * total
    return total


def detection_head(beta: float, steps: int) -> Iterator[tuple[Array, Array, Array]]:
    """Train the box regression of a detection head with the smooth L1 loss; yield (dy, x1, x2) of each step.

    Every coordinate of every box is one element. dy is the upstream gradient: loss scale / number of positive
    boxes for these, zero for background boxes.
    """
    stream = Stream(f"detection-head/{beta:.4g}")
    features = stream.normal(BOXES * FEATURES).reshape(BOXES, FEATURES)
    truth = stream.normal(FEATURES * COORDINATES).reshape(FEATURES, COORDINATES) * 0.4
    target = _linear(features, truth) + stream.normal(BOXES * COORDINATES).reshape(BOXES, COORDINATES) * 0.1
    positive = stream.integers(BOXES, 0, 4) > 0
    dy = np.where(positive[:, None], LOSS_SCALE / int(positive.sum()), 0.0) * np.ones((1, COORDINATES))
    weights = np.zeros((FEATURES, COORDINATES))
    for _ in range(steps):
        predicted = _linear(features, weights)
        yield dy.reshape(-1), predicted.reshape(-1), target.reshape(-1)
        gradient = np.minimum(np.maximum(predicted - target, -beta), beta) * dy / beta
        weights = weights - 0.25 * _linear(features.T, gradient) / LOSS_SCALE


def classifier(steps: int) -> Iterator[dict[str, Array]]:
    """Train a linear classifier with log-softmax and weighted NLL loss; yield the operands of each step.

    Keys: ``labels`` [BOXES], ``weight`` [CLASSES] (inverse class frequency), ``total_weight`` [1] (sum of the picked
    weights) and ``loss_grad`` [BOXES] (loss scale times a sample weight; element 0 is the scalar of sum and mean).
    """
    stream = Stream("classifier")
    labels = stream.integers(BOXES, 0, CLASSES)
    centres = stream.normal(CLASSES * FEATURES).reshape(CLASSES, FEATURES)
    features = centres[labels] + stream.normal(BOXES * FEATURES).reshape(BOXES, FEATURES) * 0.7
    weight = BOXES / (CLASSES * (np.bincount(labels, minlength=CLASSES) + 1.0))
    picked = weight[labels]
    total = float(_row_sum(picked[None])[0])
    one_hot = (labels[:, None] == np.arange(CLASSES)[None]).astype(np.float64)
    weights = np.zeros((FEATURES, CLASSES))
    for _ in range(steps):
        logits = np.clip(_linear(features, weights), -15.0, 15.0)
        raised = exponential(logits)
        probability = raised / _row_sum(raised)[:, None]
        # A focal factor (1 - p) per sample is what makes upstream gradients differ between samples.
        confidence = _row_sum(probability * one_hot)
        yield {
            "labels": labels.astype(np.int32),
            "weight": weight,
            "total_weight": np.array([total]),
            "loss_grad": LOSS_SCALE / BOXES * (1.0 - confidence),
        }
        gradient = (probability - one_hot) * picked[:, None] / total
        weights = weights - 0.5 * _linear(features.T, gradient)
