"""R-CNN C4 assembled once more from its definition, in float64, without parts of torchvision or ours.

Slow and short: loops over boxes, one image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional


def predict(
    weights: Mapping[str, Tensor],
    image: Tensor,
    *,
    sizes: tuple[int, ...],
    scored: int,
    kept: int,
    blocks: tuple[int, int, int, int],
) -> list[tuple[list[float], float, int]]:
    """Boxes, scores and classes found in one unpadded image [3, H, W], best first.

    Args:
        weights: state_dict of a ``FasterRCNNC4`` on basic or bottleneck blocks, extra norm included.
        image: normalized.
        sizes: anchors' sizes.
        scored: proposals ahead of non-maximum suppression.
        kept: proposals behind it.
        blocks: number of blocks of each stage.
    """
    w = {name: value.double() for name, value in weights.items()}
    height, width = image.shape[1:]
    x = norm(w, "encoder.bn1", functional.conv2d(image[None].double(), w["encoder.conv1.weight"], None, 2, 3))
    x = functional.max_pool2d(x.relu(), 3, 2, 1)
    for stage in (1, 2, 3):
        x = run_stage(w, stage, x, blocks[stage - 1])
    proposals = propose(w, x, sizes, scored, kept, (height, width))
    pooled = torch.stack([align(x[0].numpy(), box / 16, 14) for box in proposals])
    regions = norm(w, "norm", run_stage(w, 4, pooled, blocks[3])).mean((2, 3))
    logits = (regions @ w["boxes.cls_score.weight"].T + w["boxes.cls_score.bias"]).numpy()
    deltas = (regions @ w["boxes.bbox_pred.weight"].T + w["boxes.bbox_pred.bias"]).numpy()
    scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found: list[tuple[list[float], float, int]] = []
    for name in range(scores.shape[1] - 1):
        candidates = []
        for row, proposal in enumerate(proposals):
            if scores[row, name] > 0.05:
                delta = deltas[row, 4 * name : 4 * name + 4] / [10, 10, 5, 5]
                box = clip(moved(proposal, delta), height, width)
                candidates.append((box, float(scores[row, name])))
        found += [(box.tolist(), score, name) for box, score in suppress(candidates, 0.5)]
    return sorted(found, key=lambda each: -each[1])[:100]


def norm(w: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    shape = (1, -1, 1, 1)
    mean, variance = w[f"{name}.running_mean"].view(shape), w[f"{name}.running_var"].view(shape)
    scaled = (x - mean) / (variance + 1e-5).sqrt()
    return scaled * w[f"{name}.weight"].view(shape) + w[f"{name}.bias"].view(shape)


def run_stage(w: Mapping[str, Tensor], stage: int, x: Tensor, blocks: int) -> Tensor:
    for block in range(blocks):
        name = f"encoder.layer{stage}.{block}"
        stride = 2 if block == 0 and stage > 1 else 1
        bottleneck = f"{name}.conv3.weight" in w
        strides = (1, stride, 1) if bottleneck else (stride, 1)
        y = x
        for index, step in enumerate(strides, start=1):
            kernel = w[f"{name}.conv{index}.weight"]
            y = norm(w, f"{name}.bn{index}", functional.conv2d(y, kernel, None, step, kernel.shape[-1] // 2))
            y = y.relu() if index < len(strides) else y
        if f"{name}.downsample.0.weight" in w:
            x = norm(
                w,
                f"{name}.downsample.1",
                functional.conv2d(x, w[f"{name}.downsample.0.weight"], None, stride),
            )
        x = (x + y).relu()
    return x


def propose(
    w: Mapping[str, Tensor], x: Tensor, sizes: tuple[int, ...], scored: int, kept: int, size: tuple[int, int]
) -> list[np.ndarray]:
    name = "proposals.head"
    t = functional.conv2d(x, w[f"{name}.conv.0.0.weight"], w[f"{name}.conv.0.0.bias"], 1, 1).relu()
    logits = functional.conv2d(t, w[f"{name}.cls_logits.weight"], w[f"{name}.cls_logits.bias"])[0].numpy()
    deltas = functional.conv2d(t, w[f"{name}.bbox_pred.weight"], w[f"{name}.bbox_pred.bias"])[0].numpy()
    found = []
    shapes = [(side / math.sqrt(r), side * math.sqrt(r)) for side in sizes for r in (0.5, 1.0, 2.0)]
    for row in range(x.shape[2]):
        for column in range(x.shape[3]):
            for index, (wide, high) in enumerate(shapes):
                anchor = np.array([column * 16, row * 16] * 2) + np.array([-wide, -high, wide, high]) / 2
                moved_box = moved(anchor, deltas[4 * index : 4 * index + 4, row, column])
                found.append((moved_box, float(logits[index, row, column])))
    best = sorted(found, key=lambda each: -each[1])[:scored]
    boxes = [(clip(box, *size), score) for box, score in best]
    return [box for box, _ in suppress(boxes, 0.7)[:kept]]


def moved(box: np.ndarray, delta: np.ndarray) -> np.ndarray:
    sides = box[2:] - box[:2]
    center = box[:2] + sides / 2 + delta[:2] * sides
    half = sides * np.exp(np.minimum(delta[2:], math.log(1000 / 16))) / 2
    return np.concatenate([center - half, center + half])


def clip(box: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.clip(box, 0, [width, height, width, height])


def suppress(boxes: list[tuple[np.ndarray, float]], overlap: float) -> list[tuple[np.ndarray, float]]:
    """Non-maximum suppression, greedy, best first; boxes without area are no boxes."""
    found: list[tuple[np.ndarray, float]] = []
    for box, score in sorted(boxes, key=lambda each: -each[1]):
        if (box[2:] > box[:2]).all() and all(iou(box, other) <= overlap for other, _ in found):
            found.append((box, score))
    return found


def iou(a: np.ndarray, b: np.ndarray) -> float:
    inside = np.maximum(0, np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).prod()
    return float(inside / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inside))


def align(features: np.ndarray, box: np.ndarray, bins: int) -> Tensor:
    """RoIAlign of a box in pixels of the map, whose centers lie at halves: [C, bins, bins]."""
    means = []
    for start, end, length in zip(box[:2], box[2:], features.shape[:0:-1], strict=True):
        side = (end - start) / bins
        samples = max(1, math.ceil(side))
        at = start - 0.5 + (np.arange(bins * samples) + 0.5) * side / samples
        means.append(weights_of(at, length).reshape(bins, samples, length).mean(1))
    horizontal, vertical = means
    return torch.from_numpy(np.einsum("chw,yh,xw->cyx", features, vertical, horizontal))


def weights_of(at: np.ndarray, length: int) -> np.ndarray:
    """Linear interpolation as a matrix [samples, length]; beyond one pixel outside there is nothing."""
    matrix = np.zeros((len(at), length))
    for row, place in enumerate(at):
        if -1 <= place <= length:
            place = min(max(place, 0), length - 1)
            low = min(int(place), length - 1)
            matrix[row, low] += 1 - (place - low)
            matrix[row, min(low + 1, length - 1)] += place - low
    return matrix
