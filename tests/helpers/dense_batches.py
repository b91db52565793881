"""Batches of images like photographs, made on the fly, and encoders of a quarter of the width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fastssl.models import Backbone, ResNet
from fastssl.models.backbone import build_backbone
from pipelines.dense.dense_batch import DenseBatch
from pipelines.targets import IGNORED, Targets

CLASSES = 3
SIZE = 128


def encoder(seed: int = 0, width: float = 0.25) -> Backbone:
    """A ResNet-18 whose batch norms have statistics of their own."""
    torch.manual_seed(seed)
    found = build_backbone(ResNet.Config(depth=18, width=width))
    for name, buffer in found.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.add_(torch.rand_like(buffer) * 0.3)
    return found.eval()


def photograph(generator: np.random.Generator, height: int, width: int) -> Tensor:
    """Smooth shades and a little noise, [3, height, width], mean 0, deviation about 1."""
    coarse = torch.from_numpy(generator.normal(size=(1, 3, 6, 6)).astype(np.float32))
    shades = functional.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=False)[0]
    return shades + 0.1 * torch.from_numpy(generator.normal(size=(3, height, width)).astype(np.float32))


def dense_batch(
    objects: Sequence[int] = (2, 0, 3),
    sizes: Sequence[tuple[int, int]] = ((128, 128), (96, 128), (128, 100)),
    seed: int = 0,
    double: bool = False,
) -> DenseBatch:
    """Images with so many rectangles each, of a color per class, and their boxes, masks and pixels' classes.

    Args:
        objects: per image.
        sizes: height and width of each image's view.
        seed: of everything.
        double: original images have twice the height and width.
    """
    generator = np.random.default_rng(seed)
    images = torch.zeros(len(objects), 3, SIZE, SIZE)
    targets = []
    for image, (count, (height, width)) in enumerate(zip(objects, sizes, strict=True)):
        view = photograph(generator, height, width)
        corners = generator.integers(0, (width - 50, height - 50), (count, 2))
        boxes = np.concatenate([corners, corners + generator.integers(20, 50, (count, 2))], axis=1)
        classes = generator.integers(0, CLASSES, count)
        masks = np.zeros((count, height, width), dtype=bool)
        segmentation = np.zeros((height, width), dtype=np.uint8)
        segmentation[:3] = IGNORED
        for index, ((left, top, right, bottom), name) in enumerate(zip(boxes, classes, strict=True)):
            view[:, top:bottom, left:right] = 0
            view[name, top:bottom, left:right] = 3
            masks[: index + 1, top:bottom, left:right] = False  # the later one hides
            masks[index, top:bottom, left:right] = True
            segmentation[top:bottom, left:right] = name
        images[image, :, :height, :width] = view
        targets.append(
            Targets(
                height=height,
                width=width,
                boxes=boxes.astype(np.float32).reshape(-1, 4),
                classes=classes.astype(np.int64),
                crowd=np.zeros(count, dtype=bool),
                masks=masks,
                segmentation=segmentation,
            )
        )
    batch = batch_of(images.contiguous(memory_format=torch.channels_last), targets)
    return replace(batch, original_sizes=2 * batch.sizes) if double else batch


def batch_of(images: Tensor, targets: Sequence[Targets]) -> DenseBatch:
    """Images [B, 3, H, W] with their targets, which tell the sizes within the padding."""
    sizes = np.array([(each.height, each.width) for each in targets], dtype=np.int64)
    return DenseBatch(
        step=0,
        epoch=0,
        images=images,
        sizes=sizes,
        original_sizes=sizes,
        targets=tuple(targets),
        labels=None,
        sample_ids=np.arange(len(targets)),
        indices=np.arange(len(targets)),
    )
