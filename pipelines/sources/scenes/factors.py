"""Factors of a scene: the table of one solid's shape, texture, color, viewpoint and lighting.

The four factors are those of Newell and Deng, "How useful is self-supervised pretraining for visual tasks?"
(2020): each is free (drawn for every image) or fixed (the same for all; a fixed color is a hue per class, as
in the paper's renderer, and so tells the class). A scene is a pure function of (stream, number), and every
parameter has its own stream, so that fixing one factor changes nothing else.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipelines.files.kernels import njit
from pipelines.keys import absorb, to_uniform
from pipelines.sources.scenes.solids import SOLIDS

SCENE = np.dtype(
    [
        ("solid", "i4"),  # position in SOLIDS
        ("texture", "i4"),  # position in TEXTURES
        ("proportions", "f8", (2,)),  # in [0, 1): the individual among its kind
        ("texture_axes", "f8", (3, 3)),  # rows: unit axes of the texture, in the solid's coordinates
        ("texture_scale", "f8"),  # periods of the pattern per radius of the solid
        ("texture_phase", "f8", (3,)),  # in periods
        ("primary", "f8", (3,)),  # linear RGB in [0, 1]: the solid's two colors
        ("secondary", "f8", (3,)),
        ("floor", "f8", (3,)),  # linear RGB in [0, 1]: the floor fades into the wall
        ("wall", "f8", (3,)),
        ("azimuth", "f8"),  # of the camera about the solid, radians
        ("elevation", "f8"),  # of the camera above the floor, radians
        ("roll", "f8"),  # of the camera about its axis, radians
        ("zoom", "f8"),  # diameter of the solid's unit sphere / side of the image
        ("offset", "f8", (2,)),  # of the sphere's center from the image's, in sides; right, up
        ("light_azimuth", "f8"),  # of the light from the camera's, radians; positive is to the right
        ("light_elevation", "f8"),  # of the light above the floor, radians
        ("light", "f8", (3,)),  # linear RGB: intensity times tint
        ("ambient", "f8", (3,)),  # linear RGB of the light from everywhere
    ]
)
TEXTURES = ("plain", "stripes", "checks", "dots", "noise", "gradient")

# Stream ids. Never renumber: a number is part of every scene ever drawn.
(
    _PROPORTIONS, _TEXTURE, _AXES, _SCALE, _PHASE, _PRIMARY, _SECONDARY, _FLOOR, _WALL, _AZIMUTH, _ELEVATION,
    _ROLL, _ZOOM, _OFFSET, _LIGHT_AZIMUTH, _LIGHT_ELEVATION, _INTENSITY, _TINT, _AMBIENT, _CONTRAST,
) = range(20)  # fmt: skip

Uniform = Callable[..., np.ndarray]


@njit(cache=True)
def _uniforms(stream: int, numbers: np.ndarray, parameter: int, count: int) -> np.ndarray:
    """float64 [N, count] in [0, 1)."""
    out = np.empty((len(numbers), count))
    for i in range(len(numbers)):
        state = absorb(absorb(absorb(np.uint64(0), stream), numbers[i]), parameter)
        for j in range(count):
            out[i, j] = to_uniform(absorb(state, j))
    return out


def draw_scenes(stream: int, numbers: np.ndarray, fixed: frozenset[str] = frozenset()) -> np.ndarray:
    """Draw the scenes of ``numbers``; number n holds solid n mod 10, so that every ten are balanced.

    Args:
        stream: key of a family of scenes; those of a training and of a test set differ.
        numbers: int64 [N], from 0.
        fixed: names of FACTORS that are held at one value, ``color`` at one per class.

    Returns:
        SCENE [N].
    """

    def uniform(parameter: int, low: float = 0.0, high: float = 1.0, count: int = 1) -> np.ndarray:
        return low + (high - low) * _uniforms(stream, numbers, parameter, count)

    scenes = np.zeros(len(numbers), SCENE)
    scenes["solid"] = numbers % len(SOLIDS)
    scenes["proportions"] = uniform(_PROPORTIONS, count=2)
    for name, (draw, fix) in FACTORS.items():
        (fix if name in fixed else draw)(scenes, uniform)
    return scenes


def _draw_texture(scenes: np.ndarray, uniform: Uniform) -> None:
    scenes["texture"] = uniform(_TEXTURE, 0, len(TEXTURES))[:, 0].astype(np.int32)
    scenes["texture_axes"] = _rotations(uniform(_AXES, count=3))
    scenes["texture_scale"] = 1.2 * 2.5 ** uniform(_SCALE)[:, 0]
    scenes["texture_phase"] = uniform(_PHASE, count=3)


def _fix_texture(scenes: np.ndarray, uniform: Uniform) -> None:
    scenes["texture_axes"] = np.eye(3)
    scenes["texture_scale"] = 1.0


def _draw_color(scenes: np.ndarray, uniform: Uniform) -> None:
    primary, secondary = uniform(_PRIMARY, count=3), uniform(_SECONDARY, count=3)
    scenes["primary"] = _rgb(primary[:, 0], 0.35 + 0.6 * primary[:, 1], 0.45 + 0.55 * primary[:, 2])
    other = _rgb(secondary[:, 0], 0.1 + 0.8 * secondary[:, 1], 0.2 + 0.8 * secondary[:, 2])
    scenes["secondary"] = scenes["primary"] + uniform(_CONTRAST, 0.4, 1.0) * (other - scenes["primary"])
    floor, wall = uniform(_FLOOR, count=3), uniform(_WALL, count=3)
    scenes["floor"] = _rgb(floor[:, 0], 0.7 * floor[:, 1], 0.15 + 0.85 * floor[:, 2])
    scenes["wall"] = _rgb(wall[:, 0], 0.7 * wall[:, 1], 0.15 + 0.85 * wall[:, 2])


def _fix_color(scenes: np.ndarray, uniform: Uniform) -> None:
    hue = 0.06 + scenes["solid"] / len(SOLIDS)  # in turns
    scenes["primary"] = _rgb(hue, np.full_like(hue, 0.75), np.full_like(hue, 0.9))
    scenes["secondary"] = _rgb(hue + 0.04, np.full_like(hue, 0.25), np.full_like(hue, 0.95))
    scenes["floor"] = _rgb(np.array(0.6), np.array(0.1), np.array(0.75))
    scenes["wall"] = _rgb(np.array(0.6), np.array(0.15), np.array(0.6))


def _draw_viewpoint(scenes: np.ndarray, uniform: Uniform) -> None:
    scenes["azimuth"] = uniform(_AZIMUTH, 0, 2 * np.pi)[:, 0]
    scenes["elevation"] = np.radians(uniform(_ELEVATION, 15, 75)[:, 0])
    scenes["roll"] = np.radians(uniform(_ROLL, -10, 10)[:, 0])
    scenes["zoom"] = uniform(_ZOOM, 0.65, 1.05)[:, 0]
    scenes["offset"] = uniform(_OFFSET, -0.16, 0.16, count=2)


def _fix_viewpoint(scenes: np.ndarray, uniform: Uniform) -> None:
    scenes["azimuth"], scenes["elevation"] = np.radians(-60), np.radians(35)
    scenes["zoom"] = 0.8


def _draw_lighting(scenes: np.ndarray, uniform: Uniform) -> None:
    scenes["light_azimuth"] = np.radians(uniform(_LIGHT_AZIMUTH, -120, 120)[:, 0])
    scenes["light_elevation"] = np.radians(uniform(_LIGHT_ELEVATION, 30, 75)[:, 0])
    tint = _rgb(uniform(_TINT)[:, 0], uniform(_TINT, 0, 0.3, count=2)[:, 1], np.ones(len(scenes)))
    scenes["light"] = tint * uniform(_INTENSITY, 0.5, 1.3)
    scenes["ambient"] = (1.3 - 0.3 * tint) * uniform(_AMBIENT, 0.2, 0.5)


def _fix_lighting(scenes: np.ndarray, uniform: Uniform) -> None:
    scenes["light_azimuth"], scenes["light_elevation"] = np.radians(-40), np.radians(50)
    scenes["light"], scenes["ambient"] = 0.9, 0.25


# A factor's name, how it is drawn, and how it is held.
FACTORS: dict[str, tuple[Callable[[np.ndarray, Uniform], None], Callable[[np.ndarray, Uniform], None]]] = {
    "texture": (_draw_texture, _fix_texture),
    "color": (_draw_color, _fix_color),
    "viewpoint": (_draw_viewpoint, _fix_viewpoint),
    "lighting": (_draw_lighting, _fix_lighting),
}


def _rgb(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Linear RGB [..., 3] of HSV in [0, 1] (Smith, 1978), of which each channel is squared."""
    channel = (np.stack([hue, hue + 2 / 3, hue + 1 / 3], -1) * 6) % 6
    ramp = np.clip(np.minimum(np.abs(channel - 3) - 1, 1.0), 0.0, 1.0)
    return np.asarray((value[..., None] * (1 - saturation[..., None] * (1 - ramp))) ** 2)


def _rotations(u: np.ndarray) -> np.ndarray:
    """Rotation matrices [N, 3, 3], uniform for uniform numbers [N, 3] (Shoemake, 1992)."""
    a, b = np.sqrt(1 - u[:, 0]), np.sqrt(u[:, 0])
    s, t = 2 * np.pi * u[:, 1], 2 * np.pi * u[:, 2]
    x, y, z, w = a * np.sin(s), a * np.cos(s), b * np.sin(t), b * np.cos(t)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)
