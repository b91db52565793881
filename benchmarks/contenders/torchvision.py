"""torchvision's ``transforms.v2`` on uint8 tensors, in a DataLoader.

Written as its documentation advises ("Transforming images, videos, boxes and more", performance
considerations): v2 transforms, tensors in place of PIL images, uint8, antialiased bilinear resizing,
DataLoader workers for more than one thread. Its semantics are what fastssl's are defined by, save that it
rounds to levels after every operation. Its blur takes one kernel size for all: the 17 taps that fastssl uses
for sigma 2, though users mostly take SimCLR's 23.

As a renderer it takes one image after the other on a GPU too: of a batch it would make all views alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2

from benchmarks.contenders import Decoded, Pass, Render, Work, decode_each, random_crop
from benchmarks.contenders.torch_dataset import passes
from benchmarks.contenders.torchvision_detection import detection
from pipelines.views import ViewSpec


def load(path: str) -> torch.Tensor:
    """Read and decode a file: uint8 [3, H, W]."""
    return decode_jpeg(read_file(path), ImageReadMode.RGB)


def transform_of(spec: ViewSpec) -> v2.Transform:
    """The operations of a view, uint8 [3, H, W] to uint8 [3, S, S]."""
    crop = random_crop(spec)
    strengths = (spec.jitter.brightness, spec.jitter.contrast, spec.jitter.saturation, spec.jitter.hue)
    blur = v2.GaussianBlur(2 * math.ceil(4 * spec.blur.sigma[1]) + 1, spec.blur.sigma)
    return v2.Compose(
        [
            v2.RandomResizedCrop(spec.size, crop.scale, crop.ratio, antialias=True),
            v2.RandomHorizontalFlip(spec.flip.p),
            v2.RandomApply([v2.ColorJitter(*strengths)], spec.jitter.p),
            v2.RandomGrayscale(spec.grayscale.p),
            v2.RandomApply([blur], spec.blur.p),
            v2.RandomSolarize(round(255 * spec.solarize.threshold), spec.solarize.p),
        ]
    )


def views_of_bytes(work: Work) -> Callable[[bytes | memoryview], torch.Tensor]:
    """From an encoded image to its views, uint8 [K, 3, S, S]: decoded once, and transformed K times."""
    return partial(_views_of_bytes, transform_of(work.spec), work.views)


def _views_of_bytes(transform: v2.Transform, views: int, encoded: bytes | memoryview) -> torch.Tensor:
    image = decode_jpeg(torch.frombuffer(bytearray(encoded), dtype=torch.uint8), ImageReadMode.RGB)
    return torch.stack([transform(image) for _ in range(views)])


def _views(work: Work) -> Pass:
    return passes(work, load, transform_of(work.spec))


def _decode(work: Work) -> Pass:
    torch.set_num_threads(1)

    def decode(data: bytes) -> np.ndarray:
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return decode_jpeg(encoded, ImageReadMode.RGB).permute(1, 2, 0).numpy()

    return decode_each(work, decode)


def _renderer(decoded: Decoded) -> Render:
    spec, size = decoded.spec, decoded.spec.size
    transform = v2.Compose(
        [transform_of(spec), v2.ToDtype(torch.float32, scale=True), v2.Normalize(spec.mean, spec.std)]
    )
    images = [
        torch.from_numpy(image).permute(2, 0, 1).contiguous().to(decoded.device) for image in decoded.images
    ]
    out = torch.empty(decoded.views, len(images), 3, size, size, device=decoded.device)

    def render(times: int) -> Sequence[torch.Tensor]:
        for _ in range(times):
            for view in out:
                for slot, image in zip(view, images, strict=True):
                    slot.copy_(transform(image))
        return list(out)

    return render


OUTPUTS = {
    "views": _views,
    "decode": _decode,
    "detection": lambda work: detection(work, normalized=True),
    "detection-uint8": lambda work: detection(work, normalized=False),
}
RENDERERS = {"torchvision": _renderer}
