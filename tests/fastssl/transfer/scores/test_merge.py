"""Each evaluator over two processes: what they were given, pickled and merged, is what one was given."""

import pickle
from collections.abc import Callable

import numpy as np
import pytest

from fastssl.transfer.network import Prediction
from fastssl.transfer.scores.coco_ap import CocoAp
from fastssl.transfer.scores.depth_error import DepthError
from fastssl.transfer.scores.mean_iou import MeanIou
from fastssl.transfer.scores.top1 import Top1
from fastssl.transfer.scores.voc_ap import VocAp
from fastssl.transfer.task import Evaluator
from pipelines.targets import Targets

NAMES = ("cat", "dog", "cow")
EVALUATORS: dict[str, Callable[[], Evaluator]] = {
    "coco": lambda: CocoAp(NAMES, masks=True),
    "voc": lambda: VocAp(NAMES),
    "iou": lambda: MeanIou(NAMES),
    "depth": lambda: DepthError(1.4),
    "top1": lambda: Top1(NAMES),
}


def image(rng: np.random.Generator) -> tuple[Prediction, Targets]:
    """Everything there is, drawn: three objects, of which two are nearly found, and maps."""
    corners = rng.integers(0, 10, (3, 2))
    boxes = np.concatenate([corners, corners + rng.integers(4, 10, (3, 2))], axis=1).astype(np.float32)
    masks = rng.random((3, 20, 20)) < 0.5
    classes, segmentation = rng.integers(0, 3, 3), rng.integers(0, 3, (20, 20)).astype(np.uint8)
    depth = rng.random((20, 20), np.float32) + 0.5
    targets = Targets(
        height=20,
        width=20,
        boxes=boxes,
        classes=classes,
        masks=masks,
        segmentation=segmentation,
        depth=depth,
        label=int(rng.integers(3)),
    )
    prediction = Prediction(
        boxes=boxes[:2] + rng.integers(0, 2, (2, 4)).astype(np.float32),
        scores=np.sort(rng.random(2, np.float32))[::-1],
        classes=classes[:2],
        masks=masks[:2] | (rng.random((2, 20, 20)) < 0.2),
        segmentation=rng.integers(0, 3, (20, 20)).astype(np.uint8),
        depth=depth * np.float32(1.2),
        label=int(rng.integers(3)),
    )
    return prediction, targets


@pytest.mark.parametrize("name", EVALUATORS)
def test_halves_make_the_whole(name: str) -> None:
    rng = np.random.default_rng(3)
    images = [image(rng) for _ in range(6)]
    whole, first, second = (EVALUATORS[name]() for _ in range(3))
    for index, each in enumerate(images):
        whole.add(*each)
        (first if index < 3 else second).add(*each)
    partial = first.metrics()
    first.merge(pickle.loads(pickle.dumps(second)))
    assert first.metrics() == pytest.approx(whole.metrics(), abs=1e-12)
    assert first.per_class() == whole.per_class()
    assert first.metrics() != partial
    assert all(0 < value < 1 for value in list(whole.metrics().values())[:1])
