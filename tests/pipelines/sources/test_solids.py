"""The ten solids against geometry, and the renderer against where its camera and light should be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numba import njit

from pipelines.sources.scenes.factors import draw_scenes
from pipelines.sources.scenes.raymarch import render
from pipelines.sources.scenes.solids import SOLIDS, distance, floor_height, normal, sunlight, trace

ALL_FIXED = frozenset({"texture", "color", "viewpoint", "lighting"})
CELLS = 100  # of a grid over the cube from -1 to 1, a side
CORNERS = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.5, 0.5), (1.0, 1.0)]  # of the proportions


@njit(cache=True)
def _distances(solid: int, p: float, q: float, points: np.ndarray) -> np.ndarray:
    out = np.empty(len(points))
    for i in range(len(points)):
        out[i] = distance(solid, p, q, points[i, 0], points[i, 1], points[i, 2])
    return out


def distances(name: str, p: float, q: float, points: np.ndarray) -> np.ndarray:
    flat = _distances(SOLIDS.index(name), p, q, np.ascontiguousarray(points.reshape(-1, 3)))
    return np.asarray(flat.reshape(points.shape[:-1]))


def cells(count: int) -> np.ndarray:
    return (np.arange(count) + 0.5) / count * 2 - 1


def grid() -> np.ndarray:
    return np.stack(np.meshgrid(cells(CELLS), cells(CELLS), cells(CELLS), indexing="ij"), -1)


def volume(name: str, p: float, q: float) -> float:
    """By Monte Carlo: one random point in each cell of the grid."""
    jitter = np.random.default_rng(2).uniform(-1 / CELLS, 1 / CELLS, (CELLS, CELLS, CELLS, 3))
    return float((distances(name, p, q, grid() + jitter) < 0).mean() * 8)


def half_extents(name: str, p: float, q: float) -> list[float]:
    """Half the sides of the bounding box of a solid that reaches it in the planes y = 0 and x = 0."""
    count = 1001  # odd: one line lies on the axis
    across, height = np.meshgrid(cells(count), cells(count), indexing="ij")
    zero = np.zeros_like(across)
    in_xz = distances(name, p, q, np.stack([across, zero, height], -1)) < 0
    in_yz = distances(name, p, q, np.stack([zero, across, height], -1)) < 0
    masks = in_xz.any(1), in_yz.any(1), in_xz.any(0)
    return [(float(np.ptp(np.flatnonzero(mask))) + 1) / count for mask in masks]


@pytest.mark.parametrize("name", SOLIDS)
@pytest.mark.parametrize(("p", "q"), CORNERS)
def test_distance_is_safe_and_the_solid_stands_in_the_unit_sphere(name: str, p: float, q: float) -> None:
    rng = np.random.default_rng(0)
    a = rng.uniform(-1.5, 1.5, (20_000, 3))
    b = a + rng.normal(0, 0.2, a.shape)
    slope = np.abs(distances(name, p, q, a) - distances(name, p, q, b)) / np.linalg.norm(a - b, axis=1)
    assert slope.max() <= 1 + 1e-9  # never overstated: the gradient is no longer than 1
    assert distances(name, p, q, a)[np.linalg.norm(a, axis=1) > 1].min() > 0
    floor = floor_height(SOLIDS.index(name), p, q)
    plane = np.stack(np.meshgrid(cells(101), cells(101), 0.0, indexing="ij"), -1)  # a line on each axis
    plane[..., 2] = floor - 0.001
    assert distances(name, p, q, plane).min() > 0
    plane[..., 2] = floor + 0.035
    assert distances(name, p, q, plane).min() < 0


# Volume / volume of the bounding box, from elementary geometry.
FILLED = {
    "cone": math.pi / 12,
    "cube": 1.0,
    "cylinder": math.pi / 4,
    "octahedron": 1 / 6,
    "sphere": math.pi / 6,
}


@pytest.mark.parametrize("name", FILLED)
@pytest.mark.parametrize(("p", "q"), CORNERS)
def test_volume_of_simple_solids(name: str, p: float, q: float) -> None:
    box = 8 * math.prod(half_extents(name, p, q))
    assert volume(name, p, q) / box == pytest.approx(FILLED[name], rel=0.02)


@pytest.mark.parametrize(("p", "q"), CORNERS)
def test_capsule_and_torus_have_the_volumes_of_their_extents(p: float, q: float) -> None:
    length, radius, _ = half_extents("capsule", p, q)
    expected = math.pi * radius**2 * (2 * (length - radius) + 4 / 3 * radius)
    assert volume("capsule", p, q) == pytest.approx(expected, rel=0.02)
    outer, _, tube = half_extents("torus", p, q)
    expected = 2 * math.pi**2 * (outer - tube) * tube**2
    assert volume("torus", p, q) == pytest.approx(expected, rel=0.02)


def test_star_has_five_tips_cross_six_arms_and_stairs_three_steps() -> None:
    angles = np.radians(np.arange(0, 360, 0.5))
    circle = np.stack([0.65 * np.cos(angles), 0.65 * np.sin(angles), 0 * angles], -1)
    inside = distances("star", 0.5, 0.5, circle) < 0
    assert (np.diff(inside, append=inside[:1])).sum() == 10
    turned = np.roll(inside, 144)  # 72 degrees
    assert (turned == inside).mean() > 0.99

    arms = distances("cross", 0.5, 0.5, 0.7 * np.concatenate([np.eye(3), -np.eye(3)])) < 0
    between = distances("cross", 0.5, 0.5, 0.5 * (np.ones((3, 3)) - np.eye(3))) < 0
    assert arms.all()
    assert not between.any()

    columns = (distances("stairs", 0.5, 0.5, grid()) < 0)[:, CELLS // 2].sum(axis=1)
    heights, runs = np.unique(columns[columns > 0], return_counts=True)
    tall = runs >= 8  # without the rounded edges
    np.testing.assert_allclose(heights[tall] / heights[tall][0], [1, 2, 3], atol=0.15)


def test_rays_meet_a_sphere_where_they_should() -> None:
    solid, p = SOLIDS.index("sphere"), 0.5
    radius = -float(distances("sphere", p, 0.0, np.zeros(3)))
    assert 0.5 < radius < 1
    rng = np.random.default_rng(1)
    met = 0
    for _ in range(200):
        start = rng.normal(size=3)
        start *= 4 / np.linalg.norm(start)
        aim = rng.normal(0, 0.7, 3) - start
        aim /= np.linalg.norm(aim)
        middle = -start @ aim
        inside = middle**2 - start @ start + radius**2
        t = trace(solid, p, 0.0, *start, *aim)
        if abs(inside) < 0.02:
            continue  # grazing: a hair's breadth decides
        assert (t >= 0) == (inside > 0)
        if inside > 0:
            met += 1
            assert t == pytest.approx(middle - math.sqrt(inside), abs=0.02)
            point = start + t * aim
            np.testing.assert_allclose(
                normal(solid, p, 0.0, *point), point / np.linalg.norm(point), atol=1e-4
            )
    assert 50 < met < 190


def test_shadow_falls_behind_the_solid_only() -> None:
    cube = SOLIDS.index("cube")
    assert sunlight(cube, 0.0, 0.0, 0.8, 0.0, 0.0, -1.0, 0.0, 0.0, 8.0) == 0
    assert sunlight(cube, 0.0, 0.0, 0.8, 0.0, 0.0, 1.0, 0.0, 0.0, 8.0) > 0.95
    soft = sunlight(cube, 0.0, 0.0, 0.8, 0.0, 0.0, -math.cos(1.1), math.sin(1.1), 0.0, 8.0)  # past its edge
    assert 0 < soft < 1


def solid_mask(scene: np.ndarray, side: int) -> np.ndarray:
    """Pixels that the solid's color touches: those that change with it."""
    images = []
    for color in (0.05, 0.95):
        painted = scene.copy()
        painted["primary"] = color
        images.append(render(painted[0], side).astype(int))
    return np.abs(images[0] - images[1]).sum(-1) > 60


def plain_scene(name: str) -> np.ndarray:
    scene = draw_scenes(0, np.array([SOLIDS.index(name)]), ALL_FIXED)
    scene["proportions"] = 0.5
    return scene


def test_zoom_and_offset_are_shares_of_the_image() -> None:
    scene = plain_scene("sphere")
    radius = -float(distances("sphere", 0.5, 0.5, np.zeros(3)))
    scene["zoom"] = 0.8
    mask = solid_mask(scene, 96)
    rows, columns = np.nonzero(mask)
    assert abs(rows.mean() - 47.5) < 0.5
    assert abs(columns.mean() - 47.5) < 0.5
    # Tangents of the half angles, seen from 4.5 radii of the unit sphere.
    expected = 0.8 * (radius / math.sqrt(4.5**2 - radius**2)) / (1 / math.sqrt(4.5**2 - 1))
    assert math.sqrt(mask.sum() / math.pi) / 48 == pytest.approx(expected, rel=0.03)

    scene["offset"] = 0.1, 0.05
    moved_rows, moved_columns = np.nonzero(solid_mask(scene, 96))
    assert moved_columns.mean() - columns.mean() == pytest.approx(9.6, abs=0.7)
    assert moved_rows.mean() - rows.mean() == pytest.approx(-4.8, abs=0.7)


def test_elevation_looks_down_and_azimuth_turns_about_the_axis() -> None:
    torus = plain_scene("torus")
    torus["elevation"] = math.pi / 2
    assert not solid_mask(torus, 48)[24, 24]  # through the hole
    torus["elevation"] = 0.2
    rows, columns = np.nonzero(solid_mask(torus, 48))
    assert np.ptp(columns) > 1.8 * np.ptp(rows)

    cross = plain_scene("cross")
    straight = render(cross[0], 48).astype(int)
    cross["azimuth"] += math.pi / 2
    turned = np.abs(render(cross[0], 48) - straight)  # four-fold, and the light comes along
    assert turned.mean() < 0.3
    cross["azimuth"] += math.pi / 4
    assert np.abs(render(cross[0], 48) - straight).mean() > 5


def test_roll_turns_the_picture() -> None:
    capsule = plain_scene("capsule")
    capsule["azimuth"], capsule["elevation"] = math.pi / 2, 1.3  # across the view
    level_rows, _ = np.nonzero(solid_mask(capsule, 48))
    capsule["roll"] = math.pi / 2
    upright_rows, upright_columns = np.nonzero(solid_mask(capsule, 48))
    assert np.ptp(upright_rows) > 1.5 * np.ptp(level_rows)
    assert np.ptp(upright_rows) > 1.5 * np.ptp(upright_columns)


def test_light_comes_from_its_side_in_its_color() -> None:
    sphere = plain_scene("sphere")
    sphere["primary"] = sphere["secondary"] = 0.8
    sphere["light_azimuth"], sphere["light"] = math.pi / 2, (0.9, 0.2, 0.2)
    image = render(sphere[0], 48).astype(float)
    mask = solid_mask(sphere, 48)
    left, right = mask.copy(), mask.copy()
    left[:, 24:] = right[:, :24] = False
    assert image[right].mean() > image[left].mean() + 20
    sphere["light_azimuth"] = -math.pi / 2
    mirrored = render(sphere[0], 48).astype(float)
    np.testing.assert_allclose(mirrored[:, ::-1], image, atol=3)

    sphere["primary"], sphere["light"] = 0.5, (0.9, 0.0, 0.0)
    sphere["ambient"] = 0.0
    image = render(sphere[0], 48)
    assert image[..., 0].max() > 100
    assert image[..., 1:].max() == 0


def test_every_texture_shows_both_colors() -> None:
    scene = plain_scene("cube")
    scene["primary"], scene["secondary"] = (1, 0, 0), (0, 0, 1)
    scene["texture_scale"], scene["texture_phase"] = 1.5, 0.3
    looks = []
    mask = solid_mask(scene, 48)
    for texture in range(6):
        scene["texture"] = texture
        image = render(scene[0], 48).astype(int)
        looks.append(image)
        blue_share = (image[..., 2] > image[..., 0] + 30)[mask].mean()
        red_share = (image[..., 0] > image[..., 2] + 30)[mask].mean()
        if texture == 0:
            assert blue_share == 0
        else:
            assert min(blue_share, red_share) > 0.04, texture
    for a in range(6):
        for b in range(a):
            assert np.abs(looks[a] - looks[b]).mean() > 3
