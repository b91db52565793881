"""triton-augment: the views of a batch by one Triton kernel, each with its own parameters, on a GPU.

Written as its documentation advises ("Basic Usage", "Batch Behavior", "Float16 Support"): float16 images in
[0, 1], [B, 3, H, W], on the device, and ``fused_augment`` with tensors of parameters that are drawn there, as
its ``TritonFusedAugment`` draws them. That one has no ``RandomResizedCrop``: crops here are squares of random
area that its affine map resizes, bilinear. Left out, for it does not have them: other aspect ratios, hue,
blur, solarize. Differs from torchvision: resizes without antialiasing, black beyond the image's edge; jitter
has a fixed order, and contrast is about mid-gray. Compared with the reference in Triton's interpreter; needs
a CUDA device.

A batch's images are of one size: those of another are resized before the clock starts.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.contenders import Decoded, Render, random_crop
from benchmarks.contenders.one_size import of_one_size
from pipelines.views import ViewSpec

os.environ.setdefault("TRITON_AUGMENT_SUPPRESS_FIRST_RUN_MESSAGE", "1")
from triton_augment.functional import fused_augment  # it would greet on stderr


def _renderer(decoded: Decoded) -> Render:
    images, spec = of_one_size(decoded.images).to(decoded.device).contiguous(), decoded.spec

    def render(times: int) -> Sequence[Tensor]:
        views: list[Tensor] = []
        for _ in range(times):
            batch = images.half() / 255
            views = [_view(batch, spec) for _ in range(decoded.views)]
        return views

    return render


def _view(batch: Tensor, spec: ViewSpec) -> Tensor:
    """One random view of each image, normalized float16 [B, 3, S, S]."""
    count, _, height, width = batch.shape
    view: Tensor = fused_augment(
        batch,
        top=0,
        left=0,
        height=spec.size,
        width=spec.size,
        interpolation="bilinear",
        mean=spec.mean,
        std=spec.std,
        **draw_parameters(spec, count, height, width, batch.device),
    )
    return view


def draw_parameters(
    spec: ViewSpec, count: int, height: int, width: int, device: torch.device
) -> dict[str, Tensor]:
    """Arguments of ``fused_augment`` for ``count`` images, [B] or [B, 2] each, drawn on the device."""
    crop, jitter = random_crop(spec), spec.jitter

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(count, device=device).uniform_(low, high)

    side = (height * width * uniform(*crop.scale)).sqrt().clamp(max=min(height, width))
    left, top = (width - side) * uniform(0, 1), (height - side) * uniform(0, 1)
    scale = spec.size / side
    jittered = uniform(0, 1) < jitter.p

    def factor(strength: float) -> Tensor:
        return torch.where(jittered, uniform(max(0.0, 1 - strength), 1 + strength), 1.0)

    return {
        # the affine map is about the image's center, and the output its upper left corner
        "translate": torch.stack([_shift(left, width, scale), _shift(top, height, scale)], 1),
        "scale": scale,
        "flip_horizontal": uniform(0, 1) < spec.flip.p,
        "brightness_factor": factor(jitter.brightness),
        "contrast_factor": factor(jitter.contrast),
        "saturation_factor": factor(jitter.saturation),
        "grayscale": uniform(0, 1) < spec.grayscale.p,
    }


def _shift(first: Tensor, length: int, scale: Tensor) -> Tensor:
    """Pixels that bring the pixel ``first`` of an axis to its beginning, after scaling about its center."""
    return scale * (length / 2 - first) - length / 2


RENDERERS = {"triton_augment": _renderer}
