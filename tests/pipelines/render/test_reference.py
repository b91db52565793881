"""Every reference operation equals torchvision's functional, or a formula in float64 where it has none."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images
from torchvision.transforms.functional import to_tensor
from torchvision.transforms.v2 import functional as TF

from pipelines.render import reference
from pipelines.views import NO_SOLARIZE, VIEW_PARAMETERS, ViewSpec, draw

TOLERANCE = 1e-5  # in [0, 1]


@cache
def photographs() -> tuple[np.ndarray, ...]:
    """scikit-learn's two photographs, uint8 [427, 640, 3]."""
    return tuple(load_sample_images().images)


def as_image(pixels: np.ndarray) -> torch.Tensor:
    """Float32 [3, H, W] in [0, 1]."""
    return to_tensor(pixels.copy())


@cache
def images() -> dict[str, torch.Tensor]:
    """Float images [3, H, W] in [0, 1] with everything that has broken a colour operation."""
    china, flower = (as_image(pixels) for pixels in photographs())
    random = torch.Generator().manual_seed(0)
    levels = torch.arange(0, 256, 15) / 255
    cube = torch.cartesian_prod(levels, levels, levels)  # a grid of all colours, 18**3 of them
    grey = torch.rand(1, 33, 17, generator=random).expand(3, -1, -1).contiguous()
    pure = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3).T.reshape(3, 2, 4)
    return {
        "china": china[:, 40:200, 100:300],
        "flower": flower[:, 100:260, 200:350],
        "random": torch.rand(3, 40, 31, generator=random),
        "cube": cube.T.reshape(3, 18, 18 * 18),
        "grey": grey,
        "nearly grey": (grey + 1e-7 * torch.rand(3, 33, 17, generator=random)).clamp(0, 1),
        "black": torch.zeros(3, 8, 8),
        "white": torch.ones(3, 8, 8),
        "pure colours": pure,
        "one pixel": torch.tensor([0.2, 0.9, 0.4]).view(3, 1, 1),
        "row": torch.rand(3, 1, 20, generator=random),
    }


IMAGES = list(images())


def assert_close(ours: torch.Tensor, theirs: torch.Tensor, tolerance: float = TOLERANCE) -> None:
    assert ours.dtype == torch.float32
    assert ours.shape == theirs.shape
    assert (ours.double() - theirs.double()).abs().max().item() <= tolerance


# --- Geometry. ---

BOXES = [
    (0, 0, 160, 200),  # the whole image
    (10, 20, 64, 64),  # exactly the view's size
    (13, 7, 120, 150),  # smaller views than boxes, not square
    (100, 150, 9, 14),  # larger views than boxes
    (159, 199, 1, 1),  # the last pixel alone
    (0, 0, 1, 200),  # a line
    (50, 0, 64, 100),  # one side of the view's size
    (-4, -4, 64, 64),  # over the upper left corner
    (120, 180, 64, 64),  # over the lower right one
    (-30, -20, 220, 250),  # all around
]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("size", [1, 32, 64, 224])
def test_crop_resize_equals_torchvision(box: tuple[int, int, int, int], size: int) -> None:
    image = images()["china"]
    expected = TF.resized_crop(image, *box, size=[size, size], antialias=True)
    assert_close(reference.crop_resize(image, *box, size), expected)


def test_a_box_of_the_views_size_is_cut_and_not_filtered() -> None:
    image = images()["china"]
    assert torch.equal(reference.crop_resize(image, 10, 20, 64, 64, 64), image[:, 10:74, 20:84])
    padded = torch.zeros(3, 168, 208)
    padded[:, 4:164, 4:204] = image
    assert torch.equal(reference.crop_resize(image, -4, -4, 64, 64, 64), padded[:, :64, :64])
    assert torch.equal(reference.crop_resize(image, 100, 140, 64, 64, 64), padded[:, 104:168, 144:208])


def test_pixels_outside_the_box_have_no_influence() -> None:
    image = images()["china"]
    other = torch.rand_like(image)
    other[:, 30:100, 40:90] = image[:, 30:100, 40:90]
    ours = reference.crop_resize(image, 30, 40, 70, 50, 32)
    assert torch.equal(reference.crop_resize(other, 30, 40, 70, 50, 32), ours)


@pytest.mark.parametrize("name", IMAGES)
def test_flip_equals_torchvision(name: str) -> None:
    image = images()[name]
    assert torch.equal(reference.flip(image), TF.horizontal_flip(image))


# --- Colour. ---


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("factor", [0.0, 0.3, 0.6, 0.999, 1.0, 1.4, 3.0])
def test_brightness_contrast_and_saturation_equal_torchvision(name: str, factor: float) -> None:
    image = images()[name]
    assert_close(reference.adjust_brightness(image, factor), TF.adjust_brightness(image, factor))
    assert_close(reference.adjust_contrast(image, factor), TF.adjust_contrast(image, factor))
    assert_close(reference.adjust_saturation(image, factor), TF.adjust_saturation(image, factor))


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("shift", [-0.5, -0.31, -0.1, -1e-6, 0.0, 1 / 6, 0.25, 1 / 3, 0.5])
def test_hue_equals_torchvision(name: str, shift: float) -> None:
    image = images()[name]
    assert_close(reference.adjust_hue(image, shift), TF.adjust_hue(image, shift))


def test_a_third_of_a_turn_moves_the_channels_on() -> None:
    image = images()["cube"]
    assert_close(reference.adjust_hue(image, 1 / 3), image[[2, 0, 1]])
    assert_close(reference.adjust_hue(image, -1 / 3), image[[1, 2, 0]])


@pytest.mark.parametrize("name", IMAGES)
def test_grey_equals_torchvision(name: str) -> None:
    image = images()[name]
    assert_close(reference.to_grey(image), TF.rgb_to_grayscale(image, num_output_channels=3))


@pytest.mark.parametrize("name", ["china", "random", "cube", "black", "white", "pure colours", "one pixel"])
@pytest.mark.parametrize("sigma", [0.1, 0.25, 0.26, 0.5, 1.0, 1.37, 2.0, 5.0])
def test_blur_equals_torchvision(name: str, sigma: float) -> None:
    image = images()[name]
    radius = reference.blur_radius(sigma, min(image.shape[1:]))
    assert_close(
        reference.gaussian_blur(image, sigma), TF.gaussian_blur(image, [2 * radius + 1] * 2, [sigma] * 2)
    )


def test_blur_radius_covers_four_sigma_where_it_can() -> None:
    cases = [(0.1, 224, 1), (0.25, 224, 1), (0.26, 224, 2), (2.0, 224, 8), (2.0, 6, 5), (2.0, 1, 0)]
    assert [reference.blur_radius(sigma, side) for sigma, side, _ in cases] == [r for *_, r in cases]


def test_blur_of_a_point_is_the_gaussian() -> None:
    image = torch.zeros(3, 41, 41)
    image[:, 20, 20] = 1
    rows, columns = np.mgrid[-20:21, -20:21]
    density = np.exp(-(rows**2 + columns**2) / (2 * 1.5**2))
    density[np.maximum(abs(rows), abs(columns)) > 6] = 0  # 4 sigma
    expected = torch.from_numpy(density / density.sum()).expand(3, -1, -1)
    assert_close(reference.gaussian_blur(image, 1.5), expected, 1e-7)


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("threshold", [0.0, 0.3, 128 / 255, 1.0])
def test_solarize_equals_torchvision(name: str, threshold: float) -> None:
    image = images()[name]
    assert_close(reference.solarize(image, threshold), TF.solarize(image, threshold))


def test_solarize_inverts_from_exactly_the_threshold_on() -> None:
    pixels = np.array([[[127, 128, 129]]], np.uint8)
    row = plain_row(1, 1)
    row["solarize_threshold"] = ViewSpec().solarize_threshold
    expected = torch.tensor([127, 255 - 128, 255 - 129]).view(3, 1, 1) / 255
    assert_close(reference.render_colors(pixels, row, 1), expected, 1e-7)


# --- Colour space, normalisation, Cutout. ---


def lab_in_float64(image: torch.Tensor) -> np.ndarray:
    """CIE L*a*b* of sRGB from the primaries, the white point and the definitions alone. [3, H, W]."""

    def xyz_of(x: float, y: float) -> np.ndarray:
        return np.array([x / y, 1, (1 - x - y) / y])

    white = xyz_of(0.3127, 0.3290)
    primaries = np.stack([xyz_of(0.64, 0.33), xyz_of(0.30, 0.60), xyz_of(0.15, 0.06)], axis=1)
    matrix = primaries * np.linalg.solve(primaries, white)
    rgb = image.double().numpy()
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    x, y, z = np.tensordot(matrix, linear, 1) / white[:, None, None]

    def f(t: np.ndarray) -> np.ndarray:
        return np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)

    return np.stack([116 * f(y) - 16, 500 * (f(x) - f(y)), 200 * (f(y) - f(z))])


@pytest.mark.parametrize("name", IMAGES)
def test_lab_equals_the_definition(name: str) -> None:
    image = images()[name]
    lightness, a, b = lab_in_float64(image)
    expected = torch.from_numpy(np.stack([lightness / 100, (a + 128) / 255, (b + 128) / 255]))
    ours = reference.to_lab(image)
    assert_close(ours, expected)
    assert ours.min() >= 0
    assert ours.max() <= 1 + 1e-6


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [  # published tables of sRGB under D65, e.g. Lindbloom's calculator
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
    ],
)
def test_lab_of_known_colours(rgb: tuple[int, int, int], lab: tuple[float, float, float]) -> None:
    scaled = reference.to_lab(torch.tensor(rgb).float().view(3, 1, 1)).view(3)
    lightness, a, b = (scaled * torch.tensor([100, 255, 255]) - torch.tensor([0, 128, 128])).tolist()
    # The tables' white points differ in the fourth place, which moves b by up to 0.02.
    assert (lightness, a, b) == pytest.approx(lab, abs=0.03)


@pytest.mark.parametrize("name", IMAGES)
def test_normalize_equals_torchvision(name: str) -> None:
    image, spec = images()[name], ViewSpec()
    expected = TF.normalize(image, list(spec.mean), list(spec.std))
    assert_close(reference.normalize(image, spec.mean, spec.std), expected)


@pytest.mark.parametrize(
    ("top", "left", "size"),
    [
        (3, 5, 4),
        (0, 0, 10),
        (-2, 6, 5),
        (-3, -3, 16),
        (8, 8, 1),
        (6, -1, 8),
        (2, 2, 0),
        (-6, 2, 4),
        (2, -9, 3),
    ],
)
def test_cutout_sets_its_hole_and_nothing_else(top: int, left: int, size: int) -> None:
    view = torch.rand(3, 10, 10) + 1
    rows, columns = torch.meshgrid(torch.arange(10), torch.arange(10), indexing="ij")
    hole = (rows >= top) & (rows < top + size) & (columns >= left) & (columns < left + size)
    holed = reference.cutout(view, top, left, size)
    assert (holed[:, hole] == 0).all()
    assert torch.equal(holed[:, ~hole], view[:, ~hole])


# --- The chain. ---


def plain_row(height: int, width: int) -> np.void:
    """A row that shows a whole image of this size and changes no colour."""
    row = np.zeros(1, VIEW_PARAMETERS)[0]
    row["height"], row["width"] = height, width
    row["order"] = range(4)
    row["brightness"] = row["contrast"] = row["saturation"] = 1
    row["solarize_threshold"] = NO_SOLARIZE
    return row


def by_torchvision(pixels: np.ndarray, row: np.void, size: int) -> torch.Tensor:
    """A row applied with torchvision's functionals alone, up to and with solarize."""
    box = [int(row[name]) for name in ("top", "left", "height", "width")]
    view = TF.resized_crop(as_image(pixels), *box, size=[size, size], antialias=True)
    view = TF.horizontal_flip(view) if row["flip"] else view
    for part in row["order"]:
        if part == 0:
            view = TF.adjust_brightness(view, float(row["brightness"]))
        if part == 1:
            view = TF.adjust_contrast(view, float(row["contrast"]))
        if part == 2:
            view = TF.adjust_saturation(view, float(row["saturation"]))
        if part == 3:
            view = TF.adjust_hue(view, float(row["hue"]))
    view = TF.rgb_to_grayscale(view, num_output_channels=3) if row["grey"] else view
    if row["blur_sigma"] > 0:
        sigma = float(row["blur_sigma"])
        radius = min(max(1, int(np.ceil(4 * sigma))), size - 1)
        view = TF.gaussian_blur(view, [2 * radius + 1] * 2, [sigma] * 2)
    return TF.solarize(view, float(row["solarize_threshold"])) if row["solarize_threshold"] <= 1 else view


# Solarize at 1/2 is continuous, so that a pixel within rounding of the threshold cannot tip over it.
CHAIN = ViewSpec(
    size=56,
    jitter_p=0.9,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.2,
    grey_p=0.2,
    blur_p=0.5,
    solarize_p=0.3,
    solarize_threshold=0.5,
    cutout=0.3,
)


def drawn_rows(spec: ViewSpec, count: int) -> np.ndarray:
    samples = np.arange(count)
    heights, widths = np.full(count, 427, np.int32), np.full(count, 640, np.int32)
    return draw(spec, seed=0, epoch=0, samples=samples, heights=heights, widths=widths, views=[0])[0]


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_chain_equals_torchvision_in_every_jitter_order(order: tuple[int, ...]) -> None:
    for pixels, row in zip(photographs(), drawn_rows(replace(CHAIN, jitter_p=1.0), 2), strict=True):
        row["order"] = order
        assert_close(reference.render_colors(pixels, row, 56), by_torchvision(pixels, row, 56))


def test_chain_equals_torchvision_on_drawn_rows() -> None:
    rows = drawn_rows(CHAIN, 40)
    for i, row in enumerate(rows):
        pixels = photographs()[i % 2]
        assert_close(reference.render_colors(pixels, row, 56), by_torchvision(pixels, row, 56))
    assert {0, 1} == set(rows["flip"].tolist()) == set(rows["grey"].tolist())  # both ways were seen
    assert len(np.unique(rows["order"], axis=0)) > 15


@pytest.mark.parametrize("color_space", ["rgb", "lab"])
def test_finished_views_equal_torchvision_on_drawn_rows(color_space: str) -> None:
    spec = replace(CHAIN, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
    if color_space == "lab":
        spec = replace(spec, color_space="lab")
    for row in drawn_rows(spec, 20):
        expected = by_torchvision(photographs()[0], row, 56)
        if color_space == "lab":
            lightness, a, b = lab_in_float64(expected)
            expected = torch.from_numpy(np.stack([lightness / 100, (a + 128) / 255, (b + 128) / 255]))
        expected = TF.normalize(expected, list(spec.mean), list(spec.std))
        top, left, side = (int(row[f"cutout_{name}"]) for name in ("top", "left", "size"))
        bottom, right = top + side, left + side
        top, left = max(0, top), max(0, left)
        expected = TF.erase(expected, top, left, bottom - top, right - left, torch.zeros(()))
        ours = reference.render(photographs()[0], row, spec)
        assert_close(ours, expected, TOLERANCE / 0.2)  # in normalised units


def test_a_plain_row_shows_the_image_itself() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    view = reference.render_colors(pixels, plain_row(32, 32), 32)
    assert torch.equal((view * 255).round().to(torch.uint8), torch.from_numpy(pixels).permute(2, 0, 1))
    assert torch.equal(view, as_image(pixels))


def test_padded_crop_equals_torchvisions_pad_and_crop() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    spec = ViewSpec(size=32, crop="padded", padding=4)
    samples, sides = np.arange(50), np.full(50, 32, np.int32)
    rows = draw(spec, seed=0, epoch=0, samples=samples, heights=sides, widths=sides, views=[0])[0]
    padded = TF.pad(as_image(pixels), [4])
    for row in rows:
        expected = TF.crop(padded, int(row["top"]) + 4, int(row["left"]) + 4, 32, 32)
        expected = expected.flip(2) if row["flip"] else expected
        assert torch.equal(reference.render_colors(pixels, row, 32), expected)


@pytest.mark.parametrize("kind", ["tensor", "read-only", "mirrored", "fortran"])
def test_any_layout_of_the_pixels_gives_the_same_view(kind: str) -> None:
    pixels = photographs()[0]
    row = drawn_rows(CHAIN, 1)[0]
    expected = reference.render(pixels, row, CHAIN)
    given: np.ndarray | torch.Tensor = torch.from_numpy(pixels.copy())
    if kind == "read-only":
        given = pixels.copy()
        given.flags.writeable = False
    elif kind == "mirrored":
        given = pixels[::-1].copy()[::-1]
    elif kind == "fortran":
        given = np.asfortranarray(pixels)
    assert torch.equal(reference.render(given, row, CHAIN), expected)
    assert np.array_equal(given, pixels)


def test_no_operation_changes_its_input() -> None:
    image = images()["china"].clone()
    before = image.clone()
    reference.crop_resize(image, 0, 0, 64, 64, 64)
    reference.flip(image)
    for adjust in (reference.adjust_brightness, reference.adjust_contrast, reference.adjust_saturation):
        adjust(image, 1.5)
    reference.adjust_hue(image, 0.2)
    reference.to_grey(image)
    reference.gaussian_blur(image, 1.0)
    reference.solarize(image, 0.5)
    reference.to_lab(image)
    reference.normalize(image, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    reference.cutout(image, 0, 0, 5)
    assert torch.equal(image, before)
