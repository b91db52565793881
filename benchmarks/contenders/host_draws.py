"""Parameters of a batch of views, drawn on the host, for renderers that draw none themselves.

Jitter and gray are one affine map of a view's colors: brightness, contrast about mid-gray, saturation, hue
and gray in this order, hue turned linearly about the gray axis in YIQ, without clamping between them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipelines.views import ViewSpec

TO_GRAY = np.tile([0.299, 0.587, 0.114], (3, 1))  # of red, green and blue, ITU-R BT.601
YIQ = np.array([TO_GRAY[0], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])  # of NTSC, 1953
FROM_YIQ = np.linalg.inv(YIQ)
_MID_GRAY = 127.5


@dataclass(frozen=True, kw_only=True, eq=False)
class HostDraws:
    """Parameters of B views, but for their boxes.

    Attributes:
        colors: float32 [B, 3, 4], a matrix and a shift, in levels.
        flipped: bool [B].
        blurred: int64 [n], numbers of the views that are blurred.
        sigmas: float64 [n], pixels.
        taps: int32 [n], widths of their kernels, as far as 4 sigma reach.
        solarized: int64 [m], numbers of the views that are solarized.
    """

    colors: np.ndarray
    flipped: np.ndarray
    blurred: np.ndarray
    sigmas: np.ndarray
    taps: np.ndarray
    solarized: np.ndarray


def draw_on_host(spec: ViewSpec, count: int, generator: np.random.Generator) -> HostDraws:
    """Draw the parameters of ``count`` views."""
    flipped, blurred, solarized = (
        generator.random(count) < operation.p for operation in (spec.flip, spec.blur, spec.solarize)
    )
    sigmas = generator.uniform(*spec.blur.sigma, int(blurred.sum()))
    return HostDraws(
        colors=_color_maps(spec, count, generator),
        flipped=flipped,
        blurred=np.flatnonzero(blurred),
        sigmas=sigmas,
        taps=(2 * np.ceil(4 * sigmas) + 1).astype(np.int32),
        solarized=np.flatnonzero(solarized),
    )


def _color_maps(spec: ViewSpec, count: int, generator: np.random.Generator) -> np.ndarray:
    jitter, jittered = spec.jitter, generator.random(count) < spec.jitter.p

    def factors(strength: float) -> np.ndarray:
        return np.where(jittered, generator.uniform(max(0.0, 1 - strength), 1 + strength, count), 1.0)

    brightness, contrast, saturation = map(factors, (jitter.brightness, jitter.contrast, jitter.saturation))
    turns = np.where(jittered, generator.uniform(-jitter.hue, jitter.hue, count), 0.0)
    gray = generator.random(count) < spec.grayscale.p
    saturated = saturation[:, None, None] * np.eye(3) + (1 - saturation)[:, None, None] * TO_GRAY
    matrix = _hue_maps(turns) @ saturated
    matrix = np.where(gray[:, None, None], TO_GRAY @ matrix, matrix) * (brightness * contrast)[:, None, None]
    shift = np.repeat(((1 - contrast) * _MID_GRAY)[:, None, None], 3, axis=1)  # grays stay under the others
    return np.concatenate([matrix, shift], axis=2).astype(np.float32)


def _hue_maps(turns: np.ndarray) -> np.ndarray:
    """float64 [B, 3, 3] of turns [B]."""
    sines, cosines = np.sin(2 * math.pi * turns), np.cos(2 * math.pi * turns)
    turned = np.zeros((len(turns), 3, 3))
    turned[:, 0, 0] = 1
    turned[:, 1, 1] = turned[:, 2, 2] = cosines
    turned[:, 1, 2], turned[:, 2, 1] = -sines, sines
    return FROM_YIQ @ turned @ YIQ
