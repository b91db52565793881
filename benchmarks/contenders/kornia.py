"""kornia: augmentations of a batch at once, each image with its own parameters.

Written as its documentation advises ("kornia.augmentation", "Augmentation Containers", "Image
Augmentations"): float images in [0, 1], [B, 3, H, W], on the device, in an ``ImageSequential``, which it
prefers where there are images only, and crops by slicing, "for efficiency". ``ColorJitter``, for that one is
torchvision's; the order of its parts is drawn anew for each batch. Not compiled: that would want a fixed one.
Differs from torchvision in resizing without antialiasing. Its blur takes one kernel size for all, 17 taps, as
torchvision's here.

A batch's images are of one size: those of another are resized before the clock starts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import kornia.augmentation as K
import torch

from benchmarks.contenders import Decoded, Render, random_crop
from benchmarks.contenders.one_size import of_one_size
from pipelines.views import ViewSpec


def _renderer(decoded: Decoded) -> Render:
    images = of_one_size(decoded.images).to(decoded.device)
    augment = _augmentations(decoded.spec).to(decoded.device)

    def render(times: int) -> Sequence[torch.Tensor]:
        views: list[torch.Tensor] = []
        for _ in range(times):
            batch = images.float() / 255
            views = [augment(batch) for _ in range(decoded.views)]
        return views

    return render


def _augmentations(spec: ViewSpec) -> K.ImageSequential:
    crop = random_crop(spec)
    strengths = (spec.jitter.brightness, spec.jitter.contrast, spec.jitter.saturation, spec.jitter.hue)
    taps = 2 * math.ceil(4 * spec.blur.sigma[1]) + 1
    threshold = (spec.solarize.threshold, spec.solarize.threshold)
    return K.ImageSequential(
        K.RandomResizedCrop((spec.size, spec.size), crop.scale, crop.ratio),
        K.RandomHorizontalFlip(p=spec.flip.p),
        K.ColorJitter(*strengths, p=spec.jitter.p),
        K.RandomGrayscale(p=spec.grayscale.p),
        K.RandomGaussianBlur((taps, taps), spec.blur.sigma, p=spec.blur.p),
        K.RandomSolarize(threshold, additions=0.0, p=spec.solarize.p),
        K.Normalize(torch.tensor(spec.mean), torch.tensor(spec.std)),
    )


RENDERERS = {"kornia": _renderer}
