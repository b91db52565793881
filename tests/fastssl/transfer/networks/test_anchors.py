"""Anchors of the small detectors lie on the objects that they are for."""

import numpy as np
import pytest
import torch
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from fastssl.transfer.networks.detector_settings import DetectorSettings
from fastssl.transfer.networks.fpn import FPNSettings
from fastssl.transfer.networks.proposals import Anchors
from pipelines.sources.scenes.labeled import open_labeled

SIDE = 128
SETTINGS = FPNSettings().small()
PYRAMID = (tuple((size,) for size in SETTINGS.anchor_sizes), (4, 8, 16, 32, 64))
ONE_MAP = ((DetectorSettings().small().anchor_sizes,), (16,))


@pytest.mark.parametrize(("levels", "close"), [(PYRAMID, 0.75), (ONE_MAP, 0.4)])
def test_objects_of_scenes_have_anchors(
    levels: tuple[tuple[tuple[int, ...], ...], tuple[int, ...]], close: float
) -> None:
    """Nearly all objects have an anchor of IoU .5, and ``close`` anchors each, on average, of IoU .7.

    Anchors of two strides' width, as sizes alone scaled down to 128 pixels are, come to .83 and .18.
    """
    sizes, strides = levels
    images = ImageList(torch.zeros(1, 3, SIDE, SIDE), [(SIDE, SIDE)])
    maps = [torch.zeros(1, 1, SIDE // stride, SIDE // stride) for stride in strides]
    (anchors,) = Anchors(sizes, SETTINGS.anchor_ratios, strides)(images, maps)
    scenes = open_labeled("test", "multi-1111")
    boxes = np.concatenate([scenes.targets(index).boxes for index in range(40)])
    overlaps = box_iou(torch.from_numpy(boxes), anchors)
    assert (overlaps.amax(1) >= 0.5).float().mean() > 0.9
    assert (overlaps >= 0.7).sum(1).float().mean() > close
