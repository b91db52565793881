"""The colour operations of a view as matrices, for a renderer that knows little else.

Brightness, contrast and saturation in the order that was drawn, up to the hue shift, and what follows it,
with grey at the end, become one step each:

    color' = M color + A mean

where ``mean`` is the view's mean colour before the step: the mean grey that contrast turns about is a linear
function of it. Unlike ``pipelines.render.reference`` a step clamps its values to [0, 1] at its end only.

The hue shift is a rotation about the grey axis (Haeberli, "Matrix Operations for Image Processing", 1993),
after which each pixel has to be stretched to its former largest and smallest colour, which HSV's hue leaves
alone. What remains is the difference between an angle on a circle and on HSV's hexagon, at most 1.1 degrees.
"""

from __future__ import annotations

import numpy as np

from pipelines.ops.grayscale import GRAY_WEIGHTS

_CONTRAST, _HUE = 1, 3  # numbers in the rows' ``order``
_TO_GREY = np.ones((3, 1)) * np.array(GRAY_WEIGHTS)
_GREY_AXIS = np.full((3, 3), 1 / 3)  # the projection on it
_ACROSS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)  # the cross product with it


def color_steps(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The steps of views before and after their hue shifts; a view without a shift has only the first.

    Args:
        rows: VIEW_PARAMETERS [N].

    Returns:
        M and A, each float64 [2, N, 3, 3].
    """
    operations, of_mean = _operations(rows)
    views = np.arange(len(rows))
    matrices = np.tile(np.eye(3), (2, len(rows), 1, 1))
    shifts = np.zeros_like(matrices)
    step = np.zeros(len(rows), int)
    for operation in rows["order"].T:
        matrix, shift = matrices[step, views], shifts[step, views]
        apply, add = operations[operation, views], of_mean[operation, views]
        shifts[step, views] = apply @ shift + add @ (matrix + shift)  # the mean has come to (M + A) mean
        matrices[step, views] = apply @ matrix
        step += (operation == _HUE) & (rows["hue"] != 0)
    to_grey = _blend(1.0 - rows["grayscale"], _TO_GREY)
    matrices[step, views] = to_grey @ matrices[step, views]
    shifts[step, views] = to_grey @ shifts[step, views]
    return matrices, shifts


def hue_rotations(turns: np.ndarray) -> np.ndarray:
    """Rotations about the grey axis, by Rodrigues' formula; a third of a turn takes red to green.

    Args:
        turns: [N].

    Returns:
        float64 [N, 3, 3].
    """
    angle = 2 * np.pi * _column(turns)
    return _GREY_AXIS + np.cos(angle) * (np.eye(3) - _GREY_AXIS) + np.sin(angle) * _ACROSS


def _operations(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the four operations of ``order`` do with the colour and with the mean, each [4, N, 3, 3]."""
    black, same = np.zeros((3, 3)), np.ones(len(rows))
    with_color = np.stack(
        [
            _blend(rows["brightness"], black),
            _blend(rows["contrast"], black),
            _blend(rows["saturation"], _TO_GREY),
            _blend(same, black),
        ]
    )
    with_mean = np.zeros_like(with_color)
    with_mean[_CONTRAST] = (1 - _column(rows["contrast"])) * _TO_GREY
    return with_color, with_mean


def _blend(factor: np.ndarray, base: np.ndarray) -> np.ndarray:
    """``factor`` parts of the colour, the rest of what ``base`` makes of it: [N, 3, 3]."""
    return _column(factor) * np.eye(3) + (1 - _column(factor)) * base


def _column(numbers: np.ndarray) -> np.ndarray:
    return np.asarray(numbers, np.float64)[:, None, None]
