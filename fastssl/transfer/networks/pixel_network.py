"""An encoder with a linear layer on each pixel of its last map: segmentation and depth."""

from __future__ import annotations

import copy
from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fastssl.distributed.collectives import all_gather
from fastssl.methods.method import autocast_off
from fastssl.models.backbone import Backbone
from fastssl.transfer.network import Prediction
from fastssl.transfer.networks.encoder_with_head import EncoderWithHead
from pipelines.dense.dense_batch import DenseBatch
from pipelines.targets import IGNORED

_TRIED_SIDE = 64  # pixels of the image that tells the channels of a map

FARTHEST = 2.55
"""Depth from which on all is as far, in the labels' unit."""
_DEPTH_UNIT = 0.25  # of the network's output: depths are stored as 100 d, and trained on as a 25th of that


class PixelNetwork(EncoderWithHead):
    """A copy of an encoder, and a linear layer on each pixel of its last map, computed in float32.

    Targets are resized to the map, the nearest pixel's; predictions back to the image likewise.

    Args:
        encoder: left as it is.
        outputs: numbers per pixel.
        frozen: only the linear layer is trained; the encoder stays in evaluation mode.
    """

    def __init__(self, encoder: Backbone, outputs: int, *, frozen: bool) -> None:
        super().__init__(encoder, frozen=frozen)
        self.head = nn.Conv2d(_channels(encoder), outputs, 1)

    def outputs(self, images: Tensor) -> Tensor:
        """Images [B, 3, S, S] to [B, outputs, h, w], float32."""
        maps = self.encoder.stages(images)[-1].float()
        with autocast_off(maps):
            outputs: Tensor = self.head(maps)
        return outputs

    @abstractmethod
    def loss(self, outputs: Tensor, batch: DenseBatch) -> Tensor:
        """The loss of outputs in training, 0-dim."""

    @abstractmethod
    def prediction(self, outputs: np.ndarray, size: tuple[int, int]) -> Prediction:
        """The prediction of an image of height and width ``size`` by its outputs [outputs, h, w], float32."""

    def losses(self, batch: DenseBatch) -> dict[str, Tensor]:
        """One loss."""
        outputs = self.outputs(batch.images)
        with autocast_off(outputs):
            return {"pixel_loss": self.loss(outputs, batch)}

    @torch.no_grad()
    def predict(self, batch: DenseBatch) -> list[Prediction]:
        """A map per image, in the pixels of the original image."""
        outputs = self.outputs(batch.images).cpu().numpy()
        sizes = batch.original_sizes.tolist()
        return [self.prediction(each, tuple(size)) for each, size in zip(outputs, sizes, strict=True)]


class PixelClassifier(PixelNetwork):
    """Semantic segmentation."""

    def loss(self, outputs: Tensor, batch: DenseBatch) -> Tensor:
        """Mean cross entropy over the map's pixels that have a class."""
        classes = _target_maps([targets.segmentation for targets in batch.targets], outputs).long()
        losses = functional.cross_entropy(outputs, classes, ignore_index=IGNORED, reduction="sum")
        return losses / (classes != IGNORED).sum().clamp(min=1)

    def prediction(self, outputs: np.ndarray, size: tuple[int, int]) -> Prediction:
        """The class of each pixel; those that no view shows have none."""
        classes = outputs.argmax(0).astype(np.uint8)
        return Prediction(segmentation=on_image(classes, size, IGNORED))


class PixelDepth(PixelNetwork):
    """Depth, one output per pixel."""

    def loss(self, outputs: Tensor, batch: DenseBatch) -> Tensor:
        """Mean absolute difference; a depth of 0, not known, counts as the batch's largest."""
        depths = _target_maps([targets.depth for targets in batch.targets], outputs)
        depths = depths.clamp(0, FARTHEST) / _DEPTH_UNIT
        largest = all_gather(depths.max()[None]).max()
        return (outputs[:, 0] - torch.where(depths == 0, largest, depths)).abs().mean()

    def prediction(self, outputs: np.ndarray, size: tuple[int, int]) -> Prediction:
        """The depth of each pixel, in the labels' unit; 0 where no view shows it."""
        return Prediction(depth=on_image(outputs[0] * np.float32(_DEPTH_UNIT), size, 0))


def on_image(values: np.ndarray, size: tuple[int, int], fill: int) -> np.ndarray:
    """A map [h, w] of the central square of an image of ``size`` (H, W), nearest, on all of it [H, W]."""
    height, width = size
    side = min(height, width)
    rows, columns = ((2 * np.arange(side) + 1) * count // (2 * side) for count in values.shape)
    whole = np.full(size, fill, values.dtype)
    top, left = (height - side) // 2, (width - side) // 2
    whole[top : top + side, left : left + side] = values[np.ix_(rows, columns)]
    return whole


def _target_maps(maps: list[np.ndarray | None], outputs: Tensor) -> Tensor:
    """Targets [S, S] of B images at the size of the outputs, float32 [B, h, w], the nearest pixel's."""
    stacked = torch.from_numpy(np.stack([each for each in maps if each is not None]).astype(np.float32))
    resized = functional.interpolate(stacked[:, None], outputs.shape[-2:], mode="nearest-exact")
    return resized[:, 0].to(outputs.device)


def _channels(encoder: Backbone) -> int:
    """Channels of the last map of an encoder."""
    tried = copy.deepcopy(encoder).eval()
    with torch.no_grad():
        return int(tried.stages(torch.zeros(1, 3, _TRIED_SIDE, _TRIED_SIDE))[-1].shape[1])
