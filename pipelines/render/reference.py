"""The definition of a view, in plain torch. Faster renderers are tested against this one.

Semantics are those of ``torchvision.transforms.v2.functional`` on float images. Images are float32
[3, H, W] in [0, 1], RGB, until color space and normalization. Each operation is defined in its own file of
``pipelines.ops``.
"""

from __future__ import annotations

import numpy as np
import torch

from pipelines.ops import OPS
from pipelines.ops.lab import to_lab
from pipelines.views import ViewSpec


def render(image: np.ndarray | torch.Tensor, parameters: np.void, spec: ViewSpec) -> torch.Tensor:
    """One finished view of an image.

    Args:
        image: uint8 [H, W, 3], RGB, upright.
        parameters: one row of VIEW_PARAMETERS, as ``pipelines.views.draw`` fills it.
        spec: gives the size, the color space and the normalization; the rest is in the row.

    Returns:
        float32 [3, S, S] on the image's device, normalized, with Cutout's hole at 0 (the mean).
    """
    view = render_colors(image, parameters, spec.size)
    if spec.color_space == "lab":
        view = to_lab(view)
    view = normalize(view, spec.mean, spec.std)
    for op in OPS:
        if op.finished:
            view = op.reference(view, parameters, spec.size)
    return view


def render_colors(image: np.ndarray | torch.Tensor, parameters: np.void, size: int) -> torch.Tensor:
    """A view of an image before color space and normalization: float32 [3, size, size], RGB in [0, 1].

    Arguments are those of ``render``, with the view's side in pixels.
    """
    pixels = image if isinstance(image, torch.Tensor) else torch.from_numpy(np.array(image))
    view = pixels.permute(2, 0, 1).float() / 255
    for op in OPS:
        if not op.finished:
            view = op.reference(view, parameters, size)
    return view


def normalize(
    image: torch.Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> torch.Tensor:
    """Subtract each channel's ``mean`` and divide by its ``std``."""
    shift = torch.tensor(mean, device=image.device).view(3, 1, 1)
    scale = torch.tensor(std, device=image.device).view(3, 1, 1)
    return (image - shift) / scale
