"""The definition of every view operation, in plain torch. Faster renderers are tested against this one.

Semantics are those of ``torchvision.transforms.v2.functional`` on float images. Images are float32
[3, H, W] in [0, 1], RGB, until ``to_lab`` and ``normalize``; every function leaves its input untouched.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from pipelines.views import ViewSpec

GREY_WEIGHTS = (0.2989, 0.587, 0.114)  # of red, green and blue, as torchvision rounds ITU-R BT.601's

# Linear RGB to XYZ, each row divided by the white point's, so that grey has X = Y = Z. From the primaries
# and the D65 white (0.3127, 0.3290) of IEC 61966-2-1 (sRGB).
XYZ_FROM_RGB = (
    (0.433887346, 0.376224009, 0.189888645),
    (0.212639006, 0.715168679, 0.072192315),
    (0.017750040, 0.109447621, 0.872802339),
)


def render(image: np.ndarray | torch.Tensor, parameters: np.void, spec: ViewSpec) -> torch.Tensor:
    """One finished view of an image.

    Args:
        image: uint8 [H, W, 3], RGB, upright.
        parameters: one row of VIEW_PARAMETERS, as ``pipelines.views.draw`` fills it.
        spec: gives the size, the colour space and the normalisation; the rest is in the row.

    Returns:
        float32 [3, S, S] on the image's device, normalised, with Cutout's hole at 0 (the mean).
    """
    view = render_colors(image, parameters, spec.size)
    if spec.color_space == "lab":
        view = to_lab(view)
    view = normalize(view, spec.mean, spec.std)
    return cutout(
        view,
        int(parameters["cutout_top"]),
        int(parameters["cutout_left"]),
        int(parameters["cutout_size"]),
    )


def render_colors(image: np.ndarray | torch.Tensor, parameters: np.void, size: int) -> torch.Tensor:
    """A view of an image up to and with solarize, as colours: float32 [3, size, size], RGB in [0, 1].

    Arguments are those of ``render``, with the view's side in pixels.
    """
    pixels = image if isinstance(image, torch.Tensor) else torch.from_numpy(np.array(image))
    top, left, height, width = (int(parameters[name]) for name in ("top", "left", "height", "width"))
    view = crop_resize(pixels.permute(2, 0, 1).float() / 255, top, left, height, width, size)
    if parameters["flip"]:
        view = flip(view)
    for part in parameters["order"]:
        name, adjust, identity = _JITTER[part]
        amount = float(parameters[name])
        if amount != identity:
            view = adjust(view, amount)
    if parameters["grey"]:
        view = to_grey(view)
    if parameters["blur_sigma"] > 0:
        view = gaussian_blur(view, float(parameters["blur_sigma"]))
    if parameters["solarize_threshold"] <= 1:
        view = solarize(view, float(parameters["solarize_threshold"]))
    return view


def crop_resize(image: torch.Tensor, top: int, left: int, height: int, width: int, size: int) -> torch.Tensor:
    """Cut a box out of an image and resize it to [3, size, size], bilinear with antialiasing.

    The box may reach outside the image, which is black there, but must overlap it. A box of
    size x size is only cut. Pixels outside the box have no influence.
    """
    bottom, right = top + height, left + width
    box = F.pad(image, (-left, right - image.shape[2], -top, bottom - image.shape[1]))
    if (height, width) == (size, size):
        return box
    resized = F.interpolate(box[None], (size, size), mode="bilinear", align_corners=False, antialias=True)
    return resized[0]


def flip(image: torch.Tensor) -> torch.Tensor:
    """Mirror left to right."""
    return image.flip(2)


def adjust_brightness(image: torch.Tensor, factor: float) -> torch.Tensor:
    """Multiply by a factor of at least 0, clamped to [0, 1]."""
    return (image * factor).clamp(0, 1)


def adjust_contrast(image: torch.Tensor, factor: float) -> torch.Tensor:
    """Scale the distance from the image's mean grey by a factor of at least 0, clamped to [0, 1]."""
    return _blend(image, _luma(image).mean(), factor)


def adjust_saturation(image: torch.Tensor, factor: float) -> torch.Tensor:
    """Scale each pixel's distance from its own grey by a factor of at least 0, clamped to [0, 1]."""
    return _blend(image, _luma(image), factor)


def adjust_hue(image: torch.Tensor, shift: float) -> torch.Tensor:
    """Turn the hue of HSV by ``shift`` turns in [-0.5, 0.5]; HSV's saturation and value stay.

    Back from HSV, a channel is value - chroma * clamp(min(k, 4 - k), 0, 1), where chroma is
    value * saturation, k = (n + 6 * hue) mod 6, and n is 5, 3, 1 for red, green, blue.
    """
    red, green, blue = image
    low, value = image.amin(0), image.amax(0)
    chroma = value - low
    divisor = torch.where(chroma == 0, 1.0, chroma)  # the hue of grey does not matter
    sixths = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    n = torch.tensor([5.0, 3.0, 1.0], device=image.device).view(3, 1, 1)
    k = (n + sixths + 6 * shift).remainder(6)
    return value - chroma * torch.minimum(k, 4 - k).clamp(0, 1)


def to_grey(image: torch.Tensor) -> torch.Tensor:
    """Each pixel's grey in all three channels."""
    return _luma(image).repeat(3, 1, 1)


def gaussian_blur(image: torch.Tensor, sigma: float) -> torch.Tensor:
    """Convolve with a Gaussian of ``sigma`` pixels, borders reflected without repeating the edge pixel.

    The kernel has ``blur_radius(sigma, side)`` taps on either side and sums to 1, as torchvision's
    ``gaussian_blur`` with kernel_size 2 * radius + 1.
    """
    radius = blur_radius(sigma, min(image.shape[1:]))
    offsets = torch.arange(-radius, radius + 1, device=image.device).double()
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).float()
    padded = F.pad(image[:, None], (radius, radius, radius, radius), mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))[:, 0]


def blur_radius(sigma: float, side: int) -> int:
    """Taps on either side of the blur kernel: 4 sigma rounded up, at least 1, at most what reflects."""
    return min(max(1, math.ceil(4 * sigma)), side - 1)


def solarize(image: torch.Tensor, threshold: float) -> torch.Tensor:
    """Invert the values of at least ``threshold``."""
    return torch.where(image >= threshold, 1 - image, image)


def to_lab(image: torch.Tensor) -> torch.Tensor:
    """SRGB to CIE L*a*b* under D65, scaled to [0, 1]: L / 100, (a + 128) / 255, (b + 128) / 255.

    Transfer function and primaries: IEC 61966-2-1. L*a*b*: CIE 15, with its linear part below (6/29)^3.
    Within sRGB a lies in [-86.2, 98.2] and b in [-107.9, 94.5], so that nothing is cut off.
    """
    linear = torch.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)
    xyz = torch.einsum("xc,chw->xhw", torch.tensor(XYZ_FROM_RGB, device=image.device), linear)
    delta = 6 / 29
    x, y, z = torch.where(xyz > delta**3, xyz ** (1 / 3), xyz / (3 * delta**2) + 4 / 29)
    return torch.stack([(116 * y - 16) / 100, (500 * (x - y) + 128) / 255, (200 * (y - z) + 128) / 255])


def normalize(
    image: torch.Tensor, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> torch.Tensor:
    """Subtract each channel's ``mean`` and divide by its ``std``."""
    shift = torch.tensor(mean, device=image.device).view(3, 1, 1)
    scale = torch.tensor(std, device=image.device).view(3, 1, 1)
    return (image - shift) / scale


def cutout(view: torch.Tensor, top: int, left: int, size: int) -> torch.Tensor:
    """Set a square hole, clipped at the border, of a normalised view to 0 (DeVries, Taylor, 2017)."""
    rows = slice(max(0, top), max(0, top + size))
    columns = slice(max(0, left), max(0, left + size))
    holed = view.clone()
    holed[:, rows, columns] = 0
    return holed


def _luma(image: torch.Tensor) -> torch.Tensor:
    """The grey of each pixel, [1, H, W]."""
    weights = torch.tensor(GREY_WEIGHTS, device=image.device).view(3, 1, 1)
    return (image * weights).sum(0, keepdim=True)


def _blend(image: torch.Tensor, base: torch.Tensor, factor: float) -> torch.Tensor:
    return (factor * image + (1 - factor) * base).clamp(0, 1)


# Number in the row's ``order``: the field of its amount, the operation, the amount that changes nothing.
_JITTER: tuple[tuple[str, Callable[[torch.Tensor, float], torch.Tensor], float], ...] = (
    ("brightness", adjust_brightness, 1.0),
    ("contrast", adjust_contrast, 1.0),
    ("saturation", adjust_saturation, 1.0),
    ("hue", adjust_hue, 0.0),
)
