"""Six kinds of furniture as parts: bench, cabinet, chair, lamp, sofa, table.

Each function draws one instance: its build (legs or a pedestal, slats or a board) and its proportions, from
uniform numbers. y is up, the front looks along -z. Sizes are relative: ``shapes`` scales instances to one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipelines.sources.scenes.parts import ball, beam, box, rod

Draw = Callable[[float, float], float]
"""A uniform number in [low, high)."""
Parts = list[np.ndarray]


def choose(draw: Draw, count: int) -> int:
    """One of ``count`` builds, 0 to count - 1."""
    return min(int(draw(0, count)), count - 1)


def bench(draw: Draw) -> Parts:
    """A long seat of slats or a board, on legs or side boards, with a back or without."""
    width, depth, height = draw(1.0, 1.5), draw(0.32, 0.45), draw(0.32, 0.45)
    slats, backs, stand, thick = 1 + choose(draw, 4), choose(draw, 4), choose(draw, 3), draw(0.04, 0.06)
    parts = _slats(slats, width, thick, (0, height, -depth / 2), (0, height, depth / 2))
    lean = draw(0.03, 0.15)
    if backs:
        low, high = (0, height + 0.1, depth / 2), (0, height + draw(0.35, 0.5), depth / 2 + lean)
        parts += _slats(backs, width, thick, low, high)
        for x in (-0.42 * width, 0.42 * width):
            parts.append(rod((x, height, depth / 2 - 0.02), (x, high[1], high[2] + 0.03), 0.025))
    reach = draw(0.36, 0.46) * width
    for x in (-reach, reach):
        if stand == 0:
            parts.append(box((x, height / 2, 0), (0.06, height, 0.85 * depth)))
        else:
            splay = draw(0, 0.08) if stand == 2 else 0.0
            for z in (-0.4 * depth, 0.4 * depth):
                parts.append(rod((x, height, z), (x, 0, z * (1 + splay * 5)), 0.03))
    if backs and draw(0, 1) < 0.5:
        for x in (-0.46 * width, 0.46 * width):
            parts.append(beam((x, height + 0.2, -depth / 2), (x, height + 0.2, depth / 2), *_square(0.025)))
            parts.append(rod((x, height, -0.42 * depth), (x, height + 0.2, -0.42 * depth), 0.022))
    return parts


def cabinet(draw: Draw) -> Parts:
    """A body with doors or drawers and their knobs, on feet or a plinth, sometimes with a cornice."""
    width, height, depth = draw(0.5, 1.1), draw(0.5, 1.3), draw(0.3, 0.5)
    parts = [box((0, 0, 0), (width, height, depth))]
    columns, rows, front = 1 + choose(draw, 3), 1 + choose(draw, 4), -depth / 2
    bar = draw(0, 1) < 0.5
    for column in range(columns):
        x, wide = (column + 0.5) / columns * width - width / 2, 0.9 * width / columns
        for row in range(rows):
            y, tall = (row + 0.5) / rows * height - height / 2, 0.9 * height / rows
            parts.append(box((x, y, front), (wide, tall, 0.05)))
            knob = (0.3 * wide, 0.04, 0.06) if bar else (0.06, 0.06, 0.06)
            parts.append(box((x, y + 0.2 * tall, front - 0.05), knob))
    stand = choose(draw, 3)
    if stand == 0:
        parts += _legs(width, depth, -height / 2, draw(0.08, 0.3), 0.03)
    elif stand == 1:
        parts.append(box((0, -height / 2 - 0.04, 0.02), (0.9 * width, 0.08, 0.85 * depth)))
    if draw(0, 1) < 0.4:
        parts.append(box((0, height / 2 + 0.03, 0), (1.08 * width, 0.06, 1.1 * depth), draw(0.8, 1)))
    return parts


def chair(draw: Draw) -> Parts:
    """A seat with a back of a board, slats or spindles, on four legs, a pedestal or runners."""
    width, depth, height = draw(0.42, 0.55), draw(0.4, 0.52), draw(0.38, 0.5)
    thick, tall, lean = draw(0.05, 0.09), draw(0.4, 0.65), draw(0, 0.15)
    seat = rod((0, height, 0), (0, height + thick, 0), width / 2) if draw(0, 1) < 0.25 else None
    parts = [box((0, height, 0), (width, thick, depth)) if seat is None else seat]
    low, high = (0.0, height, depth / 2 - 0.02), (0.0, height + tall, depth / 2 - 0.02 + lean)
    back = choose(draw, 3)
    if back == 0:
        low = (0.0, height + draw(0, 0.2), low[2])
        parts.append(beam(low, high, (width / 2, 0, 0), (0, 0, 0.03), draw(0.7, 1)))
    elif back == 1:
        parts += _slats(2 + choose(draw, 3), width, 0.05, (0, height + 0.15, low[2]), high)
    else:
        for x in np.linspace(-0.4, 0.4, 3 + choose(draw, 3)) * width:
            parts.append(rod((x, height, low[2]), (x, high[1], high[2]), 0.022))
        parts.append(beam((-width / 2, *high[1:]), (width / 2, *high[1:]), *_square(0.04)))
    if low[1] > height or back == 1:
        for x in (-0.44 * width, 0.44 * width):
            parts.append(rod((x, height, low[2]), (x, high[1], high[2]), 0.024))
    parts += _stand(draw, width, depth, height)
    if draw(0, 1) < 0.4:
        for x in (-width / 2, width / 2):
            arm = height + draw(0.18, 0.22)
            parts.append(beam((x, arm, -0.4 * depth), (x, arm, depth / 2), (0.035, 0, 0), (0, 0.02, 0)))
            parts.append(rod((x, height, -0.35 * depth), (x, arm, -0.35 * depth), 0.022))
    return parts


def lamp(draw: Draw) -> Parts:
    """A floor or table lamp with a shade, a desk lamp with a bent arm, or a hanging lamp."""
    build, height = choose(draw, 4), draw(0.5, 1.3)
    radius, shade, narrow = draw(0.16, 0.3), draw(0.2, 0.4), draw(0.35, 1)
    if build == 3:  # hangs from the ceiling
        cord = draw(0.2, 0.6)
        parts = [
            rod((0, 0, 0), (0, shade, 0), radius, narrow),
            rod((0, shade, 0), (0, shade + cord, 0), 0.022),
        ]
        parts.append(rod((0, shade + cord, 0), (0, shade + cord + 0.04, 0), 0.1))
        return [*parts, ball((0, 0, 0), (0.4 * radius,) * 3)]
    parts = [rod((0, 0, 0), (0, draw(0.04, 0.08), 0), draw(0.12, 0.22), draw(0.5, 1))]
    if build == 2:  # a bent arm
        elbow, head = (0, draw(0.4, 0.6), draw(0.1, 0.3)), (0, draw(0.6, 0.85), -draw(0.15, 0.35))
        parts += [rod((0, 0, 0), elbow, 0.03), rod(elbow, head, 0.03), ball(elbow, (0.045,) * 3)]
        tip = (0, head[1] - 0.16, head[2] - draw(0.05, 0.2))
        return [*parts, rod(tip, head, 0.6 * radius, draw(0.2, 0.5))]
    if build == 1:  # a bulging body
        body = draw(0.15, 0.3)
        parts += [ball((0, body, 0), (draw(0.1, 0.18), body, draw(0.1, 0.18)))]
        height = 2 * body
    parts.append(rod((0, 0, 0), (0, height + 0.05, 0), draw(0.022, 0.04)))
    if draw(0, 1) < 0.2:
        return [*parts, ball((0, height + radius, 0), (radius, radius, radius), draw(0.5, 1))]
    return [*parts, rod((0, height, 0), (0, height + shade, 0), radius, narrow)]


def sofa(draw: Draw) -> Parts:
    """A base with a back, two arms (boxes or rolls), seat cushions, perhaps pillows, a corner and feet."""
    width, depth, seat = draw(1.0, 1.7), draw(0.5, 0.65), draw(0.24, 0.34)
    back, thick = draw(0.3, 0.48), draw(0.12, 0.18)
    parts = [box((0, seat / 2, 0), (width, seat, depth))]
    behind = (0, seat / 2 + back / 2, depth / 2 - thick / 2)
    parts.append(box(behind, (width, seat + back, thick), draw(0.85, 1)))
    arm, rise, rolls = draw(0.1, 0.2), draw(0.1, 0.28), draw(0, 1) < 0.4
    for x in (-width / 2, width / 2):
        parts.append(box((x, (seat + rise) / 2, 0), (arm, seat + rise, depth)))
        if rolls:
            parts.append(rod((x, seat + rise, -depth / 2), (x, seat + rise, depth / 2), 0.65 * arm))
    count = 1 + choose(draw, 3)
    for cushion in range(count):
        wide = (width - arm) / count
        x = (cushion + 0.5 - count / 2) * wide
        parts.append(box((x, seat + 0.05, -thick / 2), (0.95 * wide, 0.1, depth - thick), 0.95))
        if draw(0, 1) < 0.4:
            parts.append(ball((x, seat + 0.22, depth / 2 - thick - 0.06), (0.15, 0.14, 0.07)))
    if draw(0, 1) < 0.25:  # a corner
        side = width / 2 - 0.3 if draw(0, 1) < 0.5 else 0.3 - width / 2
        parts.append(box((side, seat / 2 + 0.05, -depth / 2 - 0.2), (0.55, seat + 0.1, 0.6)))
    return parts + _legs(width, depth, 0, draw(0.04, 0.14), 0.035)


def table(draw: Draw) -> Parts:
    """A top, round or not, on four legs, a pedestal, runners or boards, perhaps with a shelf."""
    width, depth, height = draw(0.7, 1.5), draw(0.5, 0.9), draw(0.35, 0.8)
    thick, round_top = draw(0.04, 0.1), draw(0, 1) < 0.35
    if round_top:
        depth = width
        parts = [rod((0, height, 0), (0, height + thick, 0), width / 2)]
    else:
        parts = [box((0, height + thick / 2, 0), (width, thick, depth))]
    inside = 0.66 if round_top else draw(0.85, 1)
    stand = choose(draw, 4)
    if stand == 3:
        for x in (-0.4, 0.4):
            parts.append(box((x * inside * width, height / 2, 0), (0.06, height, 0.8 * inside * depth)))
        parts.append(box((0, height / 3, 0), (0.8 * inside * width, 0.05, 0.05)))
    else:
        parts += _stand(draw, inside * width, inside * depth, height)
    if draw(0, 1) < 0.3:
        parts.append(
            box((0, draw(0.2, 0.5) * height, 0), (0.8 * inside * width, 0.045, 0.8 * inside * depth))
        )
    return parts


def _square(half: float) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Half widths of a bar that does not run along y or z alone: upward, and to the back."""
    return (0.0, half, 0.0), (half, 0.0, half)


def _slats(
    count: int, width: float, thick: float, low: tuple[float, float, float], high: tuple[float, float, float]
) -> Parts:
    """Boards along x that fill the rectangle from ``low`` to ``high`` with gaps between."""
    first, last = np.array(low), np.array(high)
    step = (last - first) / count
    half = step * (0.5 if count == 1 else 0.38)
    aside = np.cross((1.0, 0, 0), step / np.linalg.norm(step)) * thick / 2
    reach = np.array([width / 2, 0, 0])
    middles = [first + (slat + 0.5) * step for slat in range(count)]
    return [beam(middle - reach, middle + reach, half.tolist(), aside.tolist()) for middle in middles]


def _legs(width: float, depth: float, top: float, length: float, radius: float, splay: float = 0.0) -> Parts:
    """Four legs under a board whose underside is at ``top``."""
    corners = [(x, z) for x in (-0.44 * width, 0.44 * width) for z in (-0.44 * depth, 0.44 * depth)]
    return [
        rod((x, top, z), (x * (1 + splay), top - length, z * (1 + splay)), radius, 0.8) for x, z in corners
    ]


def _stand(draw: Draw, width: float, depth: float, height: float) -> Parts:
    """Four legs, a pedestal on a disc or a cross, or two runners."""
    build = choose(draw, 4)
    if build == 0:
        disc, pole = draw(0.25, 0.4) * width, draw(0.03, 0.07)
        return [rod((0, 0, 0), (0, 0.05, 0), disc), rod((0, 0, 0), (0, height, 0), pole)]
    if build == 1:
        pole, reach = draw(0.03, 0.06), 0.45 * min(width, depth)
        parts = [rod((0, 0.1, 0), (0, height, 0), pole)]
        return parts + [rod((0, 0.12, 0), (x, 0, z), 0.035, 0.7) for x, z in _cross(reach)]
    legs = _legs(width, depth, height, height, draw(0.024, 0.045), draw(0, 0.25))
    if build == 2:
        for x in (-0.44 * width, 0.44 * width):
            low = draw(0.05, 0.3) * height
            legs.append(beam((x, low, -depth / 2), (x, low, depth / 2), (0.025, 0, 0), (0, 0.025, 0)))
    return legs


def _cross(reach: float) -> tuple[tuple[float, float], ...]:
    return (-reach, 0.0), (reach, 0.0), (0.0, -reach), (0.0, reach)
