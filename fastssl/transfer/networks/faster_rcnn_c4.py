"""Faster and Mask R-CNN on the third stage's map, the fourth stage as their head: detectron2's R50-C4.

MoCo's variant (He et al., 2020, appendix B) has a batch norm behind the fourth stage.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastssl.models import Backbone
from fastssl.transfer.networks.boxes import BoxPredictor
from fastssl.transfer.networks.detector import Detector
from fastssl.transfer.networks.detector_settings import DetectorSettings
from fastssl.transfer.networks.encoder_copy import channels, resnet_copy, strides
from fastssl.transfer.networks.masks import MaskPredictor
from fastssl.transfer.networks.proposals import ProposalNetwork
from fastssl.transfer.networks.regions import pool_regions

_SIDE = 14


class FasterRCNNC4(Detector):
    """Detector on res4 with res5 as its head.

    Args:
        encoder: any ResNet; a copy of it is trained.
        classes: K, classes of objects.
        settings: of the detector.

    Raises:
        UserError: the encoder is no ResNet.
    """

    def __init__(self, encoder: Backbone, classes: int, settings: DetectorSettings | None = None) -> None:
        settings = DetectorSettings() if settings is None else settings
        resnet = resnet_copy(encoder, "Faster R-CNN C4", frozen_norms=settings.frozen_norms)
        *_, inner, outer = channels(resnet)
        stride = strides(resnet)[2]
        super().__init__(
            settings,
            ProposalNetwork(inner, (settings.anchor_sizes,), (stride,), settings),
            BoxPredictor(outer, classes),
            MaskPredictor(outer, classes) if settings.masks else None,
        )
        self.encoder = resnet
        self.norm = nn.BatchNorm2d(outer) if settings.norm else nn.Identity()
        self._stride = stride

    def maps(self, images: Tensor) -> list[Tensor]:
        """The third stage's map."""
        resnet = self.encoder
        x = resnet.maxpool(resnet.relu(resnet.bn1(resnet.conv1(images))))
        return [resnet.layer3(resnet.layer2(resnet.layer1(x)))]

    def region_maps(self, maps: list[Tensor], boxes: list[Tensor]) -> Tensor:
        """14 x 14 bins of the third stage's map through the fourth, [R, C, 7, 7]."""
        return self.norm(self.encoder.layer4(pool_regions(maps, (self._stride,), boxes, _SIDE)))

    def region_features(self, region_maps: Tensor) -> Tensor:
        """Means over the bins."""
        return region_maps.mean((2, 3))

    def mask_maps(self, maps: list[Tensor], boxes: list[Tensor]) -> Tensor:
        """Same as ``region_maps``."""
        return self.region_maps(maps, boxes)

    def object_maps(
        self, maps: list[Tensor], region_maps: Tensor, boxes: list[Tensor], objects: list[Tensor]
    ) -> Tensor:
        """Rows of ``region_maps``: boxes and masks share the head."""
        return region_maps[torch.cat(objects)]
