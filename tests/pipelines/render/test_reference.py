"""The chain of operations equals torchvision's functionals on drawn rows."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as TF

from pipelines.ops import ColorJitter, Cutout, GaussianBlur, Grayscale, Solarize
from pipelines.render import reference
from pipelines.views import ViewSpec
from tests.helpers.view_checks import (
    IMAGES,
    TOLERANCE,
    as_image,
    assert_close,
    draw_rows,
    images,
    lab_in_float64,
    photographs,
    plain_row,
)


@pytest.mark.parametrize("name", IMAGES)
def test_normalize_equals_torchvision(name: str) -> None:
    image, spec = images()[name], ViewSpec()
    expected = TF.normalize(image, list(spec.mean), list(spec.std))
    assert_close(reference.normalize(image, spec.mean, spec.std), expected)


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
    view = TF.rgb_to_grayscale(view, num_output_channels=3) if row["grayscale"] else view
    if row["blur_sigma"] > 0:
        sigma = float(row["blur_sigma"])
        radius = min(max(1, int(np.ceil(4 * sigma))), size - 1)
        view = TF.gaussian_blur(view, [2 * radius + 1] * 2, [sigma] * 2)
    return TF.solarize(view, float(row["solarize_threshold"])) if row["solarize_threshold"] <= 1 else view


# Solarize at 1/2 is continuous, so that a pixel within rounding of the threshold cannot tip over it.
CHAIN = ViewSpec(
    size=56,
    jitter=ColorJitter(p=0.9, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2),
    grayscale=Grayscale(p=0.2),
    blur=GaussianBlur(p=0.5),
    solarize=Solarize(p=0.3, threshold=0.5),
    cutout=Cutout(size=0.3),
)


def drawn_rows(spec: ViewSpec, count: int) -> np.ndarray:
    return draw_rows(spec, [(427, 640)] * count)[0]


@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_chain_equals_torchvision_in_every_jitter_order(order: tuple[int, ...]) -> None:
    rows = drawn_rows(replace(CHAIN, jitter=replace(CHAIN.jitter, p=1.0)), 2)
    for pixels, row in zip(photographs(), rows, strict=True):
        row["order"] = order
        assert_close(reference.render_colors(pixels, row, 56), by_torchvision(pixels, row, 56))


def test_chain_equals_torchvision_on_drawn_rows() -> None:
    rows = drawn_rows(CHAIN, 40)
    for i, row in enumerate(rows):
        pixels = photographs()[i % 2]
        assert_close(reference.render_colors(pixels, row, 56), by_torchvision(pixels, row, 56))
    assert {0, 1} == set(rows["flip"].tolist()) == set(rows["grayscale"].tolist())  # both ways were seen
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
        assert_close(ours, expected, TOLERANCE / 0.2)  # in normalized units


def test_a_plain_row_shows_the_image_itself() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    view = reference.render_colors(pixels, plain_row(32, 32), 32)
    assert torch.equal((view * 255).round().to(torch.uint8), torch.from_numpy(pixels).permute(2, 0, 1))
    assert torch.equal(view, as_image(pixels))


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
