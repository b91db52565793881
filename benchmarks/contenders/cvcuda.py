"""CV-CUDA (NVIDIA): the views of a batch on a GPU. Never run yet: needs a CUDA device.

Written as its documentation advises (operators on ``ImageBatchVarShape``, "Stream"): images are wrapped, not
copied, and its operators take a parameter per image, all in torch's stream. ``random_resized_crop`` draws
its own boxes; ``color_twist`` does jitter and gray; ``gaussian`` and ``solarize`` take those images that are
drawn for them; ``crop_flip_normalize_reformat`` flips, normalizes and gathers, to float32. Leaves nothing
out. Differs from torchvision: resizes without antialiasing; jitter is one affine map with a fixed order,
where hue turns linearly and contrast is about mid-gray; levels are rounded after each operator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import cvcuda
import numpy as np
import torch

from benchmarks.contenders import Decoded, Render, random_crop
from benchmarks.contenders.host_draws import HostDraws, draw_on_host
from pipelines.views import ViewSpec

_FLIP, _NO_FLIP = 1, 2  # about the vertical axis; any number but -1, 0 and 1

_Images = Any  # cvcuda.ImageBatchVarShape


def _renderer(decoded: Decoded) -> Render:
    spec, device, count = decoded.spec, decoded.device, len(decoded.images)
    images = cvcuda.as_images(
        [torch.from_numpy(image).to(device) for image in decoded.images], cvcuda.Format.RGB8
    )
    finish = _finisher(spec, count, device)
    stream = cvcuda.as_stream(torch.cuda.current_stream(device))
    generator = np.random.default_rng()

    def render(times: int) -> Sequence[torch.Tensor]:
        views: list[torch.Tensor] = []
        with stream:
            for _ in range(times):
                views = [
                    finish(*_colored_crops(images, spec, draw_on_host(spec, count, generator), device))
                    for _ in range(decoded.views)
                ]
        return views

    return render


def _colored_crops(
    images: _Images, spec: ViewSpec, drawn: HostDraws, device: torch.device
) -> tuple[_Images, np.ndarray]:
    """All operations but flip and normalization, and which views to flip."""
    crop = random_crop(spec)
    sizes = [(spec.size, spec.size)] * len(images)
    views = cvcuda.random_resized_crop(images, sizes, *crop.scale, *crop.ratio, cvcuda.Interp.LINEAR)
    views = cvcuda.color_twist(views, _tensor(drawn.colors, "NHW", device))

    def blur(some: _Images) -> _Images:
        widest = int(drawn.taps.max())
        taps = _tensor(np.stack([drawn.taps, drawn.taps], 1), "NC", device)
        sigmas = _tensor(np.stack([drawn.sigmas, drawn.sigmas], 1), "NC", device)
        return cvcuda.gaussian(some, (widest, widest), taps, sigmas, cvcuda.Border.REFLECT101)

    views = _of_some(views, drawn.blurred, blur)
    views = _of_some(
        views, drawn.solarized, lambda some: cvcuda.solarize(some, 255 * spec.solarize.threshold)
    )
    return views, drawn.flipped


def _finisher(
    spec: ViewSpec, count: int, device: torch.device
) -> Callable[[_Images, np.ndarray], torch.Tensor]:
    """A function that flips some views, normalizes all and gathers them: float32 [B, 3, S, S]."""
    size = spec.size
    whole = _tensor(np.tile(np.array([0, 0, size, size], np.int32), (count, 1, 1, 1)), "NHWC", device)
    mean, inverse_std = (
        _tensor(np.array(numbers, np.float32).reshape(1, 1, 1, 3), "NHWC", device)
        for numbers in ([255 * mean for mean in spec.mean], [1 / (255 * std) for std in spec.std])
    )

    def finish(views: _Images, flipped: np.ndarray) -> torch.Tensor:
        codes = _tensor(np.where(flipped, _FLIP, _NO_FLIP).astype(np.int32)[:, None], "NC", device)
        batch = cvcuda.crop_flip_normalize_reformat(
            views,
            (count, size, size, 3),
            cvcuda.Type.F32,
            cvcuda.TensorLayout.NHWC,
            whole,
            codes,
            mean,
            inverse_std,
        )
        return torch.as_tensor(batch.cuda(), device=device).permute(0, 3, 1, 2)

    return finish


def _of_some(images: _Images, chosen: np.ndarray, operate: Callable[[_Images], _Images]) -> _Images:
    """The images, of which the chosen ones are operated on."""
    if not len(chosen):
        return images
    mixed = list(images)
    for slot, image in zip(chosen, operate(_batch([mixed[slot] for slot in chosen])), strict=True):
        mixed[slot] = image
    return _batch(mixed)


def _batch(images: Sequence[Any]) -> _Images:
    batch = cvcuda.ImageBatchVarShape(len(images))
    batch.pushback(images)
    return batch


def _tensor(array: np.ndarray, layout: str, device: torch.device) -> Any:
    """A cvcuda.Tensor on the device of an array on the host."""
    tensor = torch.from_numpy(array).to(device)
    # without the word that it is this stream's, CV-CUDA waits for the whole device
    interface = {**tensor.__cuda_array_interface__, "version": 3, "stream": -1}
    return cvcuda.as_tensor(SimpleNamespace(tensor=tensor, __cuda_array_interface__=interface), layout)


RENDERERS = {"cvcuda": _renderer}
