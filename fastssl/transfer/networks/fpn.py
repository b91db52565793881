"""Faster and Mask R-CNN on a feature pyramid (Lin et al., 2017): detectron2's R50-FPN, with batch norms."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.ops import FeaturePyramidNetwork

from fastssl.models import Backbone
from fastssl.transfer.networks.boxes import BoxPredictor
from fastssl.transfer.networks.detector import Detector
from fastssl.transfer.networks.detector_settings import DetectorSettings
from fastssl.transfer.networks.encoder_copy import channels, resnet_copy, strides
from fastssl.transfer.networks.masks import MaskPredictor
from fastssl.transfer.networks.proposals import ProposalNetwork
from fastssl.transfer.networks.regions import pool_regions

_BOX_SIDE, _MASK_SIDE = 7, 14


@dataclass(frozen=True, kw_only=True)
class FPNSettings(DetectorSettings):
    """Settings of a detector on a pyramid; one anchor size per level."""

    proposals_scored: tuple[int, int] = (2000, 1000)
    proposals_kept: tuple[int, int] = (1000, 1000)
    channels: int = 256
    """Channels of the pyramid's maps and of the heads' convolutions."""
    box_convolutions: int = 4
    """Convolutions of the box head."""
    box_layers: int = 1
    """Fully connected layers of the box head, behind its convolutions."""
    box_features: int = 1024
    """Width of these layers."""
    canonical_box: int = 224
    """Side of the box that is cut out of the map of stride 16; half of it: of stride 8, and so on."""

    def small(self) -> FPNSettings:
        """Those of images of 128 pixels, for minutes on a CPU.

        Anchors are six strides wide (the paper's eight: objects of 17 to 136 pixels here), so that some lie
        well on each object, and regions are cut from maps of which they cover 7 to 14 cells.
        """
        return replace(
            self,
            anchor_sizes=(24, 48, 96, 192, 384),
            proposals_scored=(500, 250),
            proposals_kept=(200, 100),
            anchors_per_image=64,
            regions_per_image=64,
            channels=32,
            box_convolutions=1,
            box_features=256,
            canonical_box=112,
        )


class FPNDetector(Detector):
    """Detector on the four stages' maps and one coarser, joined from coarse to fine.

    Args:
        encoder: any ResNet; a copy of it is trained.
        classes: K, classes of objects.
        settings: of the detector; FPN's own where None.

    Raises:
        UserError: the encoder is no ResNet.
    """

    def __init__(self, encoder: Backbone, classes: int, settings: FPNSettings | None = None) -> None:
        settings = FPNSettings() if settings is None else settings
        resnet = resnet_copy(encoder, "FPN", frozen_norms=settings.frozen_norms)
        width, norm = settings.channels, nn.BatchNorm2d if settings.norm else None
        levels = strides(resnet)
        super().__init__(
            settings,
            ProposalNetwork(
                width,
                tuple((size,) for size in settings.anchor_sizes),
                (*levels, 2 * levels[-1]),
                settings,
            ),
            BoxPredictor(settings.box_features, classes),
            MaskPredictor(width, classes, width) if settings.masks else None,
        )
        self.encoder = resnet
        self.pyramid = FeaturePyramidNetwork(list(channels(resnet)), width, norm_layer=norm)
        self.box_head = FastRCNNConvFCHead(
            (width, _BOX_SIDE, _BOX_SIDE),
            [width] * settings.box_convolutions,
            [settings.box_features] * settings.box_layers,
            norm,
        )
        for layer in self.box_head:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_uniform_(layer.weight, a=1)
                nn.init.zeros_(layer.bias)
        self.mask_head = MaskRCNNHeads(width, [width] * 4, 1, norm) if settings.masks else None
        self._strides, self._canonical_box = levels, settings.canonical_box

    def maps(self, images: Tensor) -> list[Tensor]:
        """Five maps of the pyramid; the last is every other pixel of the one before."""
        stages = {str(stage): found for stage, found in enumerate(self.encoder.stages(images))}
        maps = list(self.pyramid(stages).values())
        return [*maps, functional.max_pool2d(maps[-1], 1, stride=2)]

    def region_maps(self, maps: list[Tensor], boxes: list[Tensor]) -> Tensor:
        """7 x 7 bins of the level that fits each box."""
        return pool_regions(maps[:4], self._strides, boxes, _BOX_SIDE, self._canonical_box)

    def region_features(self, region_maps: Tensor) -> Tensor:
        """Outputs of the box head."""
        features: Tensor = self.box_head(region_maps)
        return features

    def mask_maps(self, maps: list[Tensor], boxes: list[Tensor]) -> Tensor:
        """14 x 14 bins of the level that fits each box, through the mask head's convolutions."""
        assert self.mask_head is not None
        found: Tensor = self.mask_head(
            pool_regions(maps[:4], self._strides, boxes, _MASK_SIDE, self._canonical_box)
        )
        return found
