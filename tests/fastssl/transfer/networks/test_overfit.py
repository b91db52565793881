"""Detectors learn eight images by heart."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from fastssl.transfer.networks.detector import Detector
from fastssl.transfer.networks.detector_settings import DetectorSettings
from fastssl.transfer.networks.faster_rcnn_c4 import FasterRCNNC4
from fastssl.transfer.networks.fpn import FPNDetector, FPNSettings
from fastssl.transfer.precise_bn import precise_statistics
from fastssl.transfer.scores.coco_ap import CocoAp
from tests.helpers.dense_batches import CLASSES, SIZE, dense_batch, encoder

OBJECTS = (2, 1, 2, 1, 2, 1, 2, 1)
WARMUP, PEAK = 20, 0.003


def c4() -> Detector:
    return FasterRCNNC4(encoder(), CLASSES, DetectorSettings().small())


def fpn() -> Detector:
    return FPNDetector(encoder(), CLASSES, replace(FPNSettings().small(), box_convolutions=1))


@pytest.mark.slow
@pytest.mark.parametrize(("build", "steps"), [(c4, 400), (fpn, 400)])
def test_ap_of_eight_images(build: Callable[[], Detector], steps: int) -> None:
    batch = dense_batch(OBJECTS, ((SIZE, SIZE),) * len(OBJECTS))
    torch.manual_seed(0)
    network = build().train()
    optimizer = torch.optim.Adam(network.parameters())
    for step in range(steps):
        rate = PEAK * min(1, (step + 1) / WARMUP) * (1 + math.cos(math.pi * step / steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        torch.manual_seed(step)
        loss, _ = network(batch, step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.eval()
    evaluator = CocoAp(tuple("abc"))
    with precise_statistics(network, [batch]):
        for prediction, targets in zip(network.predict(batch), batch.targets, strict=True):
            boxes: Any = targets.boxes
            areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
            evaluator.add(prediction, replace(targets, areas=areas))
    assert evaluator.metrics()["AP"] > 0.9
