"""C4 against an independent plain assembly with the same weights: the same boxes on photographs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from fastssl.models import Backbone, ResNet
from fastssl.models.backbone import build_backbone
from fastssl.transfer.networks.detector_settings import DetectorSettings
from fastssl.transfer.networks.faster_rcnn_c4 import FasterRCNNC4
from pipelines.targets import Targets
from tests.helpers import ROOT, c4_by_hand
from tests.helpers.dense_batches import CLASSES, batch_of, dense_batch, encoder

PHOTOGRAPHS = ROOT.parent / "shared" / "data"


def network(backbone: Backbone) -> Any:
    """A detector that finds much: scores and boxes spread wide."""
    torch.manual_seed(3)
    settings = replace(DetectorSettings().small(), proposals_scored=(80, 80), proposals_kept=(30, 30))
    found: Any = FasterRCNNC4(backbone, CLASSES, settings)
    for layer, deviation in (
        (found.boxes.cls_score, 3),
        (found.boxes.bbox_pred, 1),
        (found.proposals.head.cls_logits, 1),
        (found.proposals.head.bbox_pred, 0.2),
    ):
        nn.init.normal_(layer.weight, std=deviation / layer.weight[0].numel() ** 0.5)
    nn.init.uniform_(found.norm.weight, 0.5, 2)
    return found.eval()


def check(found: Any, image: Tensor, blocks: tuple[int, int, int, int], within: float) -> None:
    """The same boxes within so many pixels (float32 against float64), scores within a 200th of that."""
    (ours,) = found.predict(batch_of(image[None], [Targets(height=image.shape[1], width=image.shape[2])]))
    expected: list[Any] = c4_by_hand.predict(
        found.state_dict(), image, sizes=found.settings.anchor_sizes, scored=80, kept=30, blocks=blocks
    )
    assert len(expected) > 10
    assert ours.classes.tolist() == [each[2] for each in expected]
    np.testing.assert_allclose(ours.boxes, [each[0] for each in expected], atol=within)
    np.testing.assert_allclose(ours.scores, [each[1] for each in expected], atol=within / 200)


@torch.no_grad()
def test_same_boxes_as_the_plain_assembly() -> None:
    image = dense_batch((3,), ((96, 128),)).images[0, :, :96]
    check(network(encoder()), image, (2, 2, 2, 2), 2e-3)


@pytest.mark.slow
@torch.no_grad()
def test_same_boxes_on_real_photographs() -> None:
    """R50-C4 at full width."""
    paths = sorted(PHOTOGRAPHS.rglob("*.JPEG"))[:3]
    if not paths:
        pytest.skip(f"no photographs in {PHOTOGRAPHS}")
    images = [torch.from_numpy(pixels(path)).permute(2, 0, 1) / 58 - 2 for path in paths]
    torch.manual_seed(0)
    backbone = build_backbone(ResNet.Config(depth=50))
    for part in backbone.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    backbone(torch.stack(images))  # norms with statistics of photographs
    found = network(backbone)
    for image in images:
        check(found, image, (3, 4, 6, 3), 2e-2)


def pixels(path: Path) -> np.ndarray:
    """float32 [192, 224, 3]."""
    return np.asarray(Image.open(path).convert("RGB").resize((224, 192)), dtype=np.float32)
