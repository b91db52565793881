"""Detection and segmentation of the built-in scenes, for minutes on a CPU: ``--data scenes:multi-1111``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from fastssl.transfer.task import OptimizerName
from fastssl.transfer.tasks.cityscapes import CityscapesDeepLab
from fastssl.transfer.tasks.coco import CocoFpn
from pipelines.command.ranges import Count, CountOrZero, Counts, Positive


@dataclass(frozen=True, kw_only=True)
class ScenesDetection(CocoFpn):
    """Scenes: Mask R-CNN FPN on images of 128 pixels, with COCO's metrics."""

    published_steps: ClassVar[int] = 500
    paper: ClassVar[Mapping[str, Mapping[str, float]]] = {}

    scale: Literal["paper", "small"] = "small"
    """small: anchors, rates and widths of the head for images of 128 pixels."""
    batch_size: Count = 8
    """Images per step, over all processes."""
    optimizer: OptimizerName = "adam"
    """adam refines boxes and masks within these steps; sgd and lars take longer."""
    learning_rate: Positive = 0.001
    """Peak of the learning rate, at this batch size."""
    warmup_steps: CountOrZero = 20
    """Steps in which the rate rises, from a thousandth."""
    short_sides: Counts = (128,)
    """Short side of a training image, pixels, one of these by chance."""
    test_short_side: Count = 128
    """Short side of a test image."""
    precise_bn: CountOrZero = 20
    """Training batches from which batch norms' statistics are measured anew before the evaluation."""


@dataclass(frozen=True, kw_only=True)
class ScenesSegmentation(CityscapesDeepLab):
    """Scenes: DeepLab v3 on images of 128 pixels."""

    published_steps: ClassVar[int] = 150
    paper: ClassVar[Mapping[str, Mapping[str, float]]] = {}

    scale: Literal["paper", "small"] = "small"
    """small: anchors, rates and widths of the head for images of 128 pixels."""
    batch_size: Count = 8
    """Images per step, over all processes."""
    learning_rate: Positive = 0.05
    """Peak of the learning rate, at this batch size; it falls to 0 by a power of .9."""
    warmup_steps: CountOrZero = 10
    """Steps in which the rate rises, from a thousandth."""
    short_sides: Counts = (128, 144, 160)
    """Short side of a training image before its crop, pixels, one of these by chance."""
    test_short_side: Count = 128
    """Short side of a test image."""
    crop: tuple[Count, Count] = (128, 128)
    """Height and width of the crop of a training image."""
    stride: Literal[8, 16] = 16
    """Pixels of the image between neighbors on the encoder's last map."""
    rates: Counts = (6, 12, 18)
    """Dilations of the pyramid's branches; `--scale small` divides them by six."""
    precise_bn: CountOrZero = 20
    """Training batches from which batch norms' statistics are measured anew before the evaluation."""
