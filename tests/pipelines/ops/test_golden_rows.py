"""Rows of ``draw`` stay what they were when operations became files of their own, to the bit.

``data/rows.npz`` was drawn by the code before. A new operation may add fields to a row; it shifts none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.ops import (
    CenterCrop,
    ColorJitter,
    Cutout,
    Flip,
    GaussianBlur,
    Grayscale,
    PaddedCrop,
    RandomResizedCrop,
    Solarize,
)
from pipelines.views import ViewSpec, draw

COLORS: dict[str, Any] = {
    "jitter": ColorJitter(p=0.8, brightness=0.4, contrast=0.3, saturation=0.2, hue=0.1),
    "grayscale": Grayscale(p=0.2),
    "blur": GaussianBlur(p=0.5),
    "solarize": Solarize(p=0.2),
}
# In the order of the file's first axis; the second and the third are KEYS and VIEWS, the fourth samples.
SPECS = {
    "plain": ViewSpec(),
    "everything": ViewSpec(size=64, cutout=Cutout(size=0.25), **COLORS),
    "small crops, strong jitter": ViewSpec(
        size=96,
        crop=RandomResizedCrop(scale=(0.02, 0.2), ratio=(0.5, 3.0)),
        flip=Flip(p=0.25),
        jitter=ColorJitter(p=1.0, brightness=1.5, contrast=0.8, saturation=0.8, hue=0.5),
    ),
    "always": ViewSpec(
        size=33,
        crop=RandomResizedCrop(scale=(0.9, 1.0)),
        flip=Flip(p=1.0),
        grayscale=Grayscale(p=1.0),
        blur=GaussianBlur(p=1.0, sigma=(0.5, 3.0)),
        solarize=Solarize(p=1.0, threshold=0.3),
        cutout=Cutout(size=1.0),
    ),
    "padded": ViewSpec(size=32, crop=PaddedCrop(padding=4), cutout=Cutout(size=0.5)),
    "padded, with colors": ViewSpec(size=40, crop=PaddedCrop(padding=7), flip=Flip(), **COLORS),
    "center": ViewSpec(size=224, crop=CenterCrop(), flip=Flip()),
    "center, lab": ViewSpec(size=17, crop=CenterCrop(fraction=0.6), color_space="lab", **COLORS),
    "blur alone": ViewSpec(blur=GaussianBlur(p=0.5, sigma=(0.1, 0.1))),
    "jitter without strength": ViewSpec(jitter=ColorJitter(p=0.5)),
    "hue alone": ViewSpec(jitter=ColorJitter(p=0.3, hue=0.2), grayscale=Grayscale(p=0.7)),
}
KEYS = ((0, 0), (7, 3), (2**63 - 1, 100_000))  # seed, epoch
VIEWS = (0, 1, 5)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).with_name("data") / "rows.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.mark.parametrize("name", SPECS)
def test_rows_are_the_golden_ones(name: str, golden: dict[str, np.ndarray]) -> None:
    given = {key: golden[key] for key in ("samples", "heights", "widths")}
    fields = golden.keys() - given.keys()
    assert len(fields) == 16
    for number, (seed, epoch) in enumerate(KEYS):
        rows = draw(SPECS[name], seed=seed, epoch=epoch, views=VIEWS, **given)
        for field in fields:
            expected = golden[field][list(SPECS).index(name), number]
            assert rows[field].dtype == expected.dtype
            assert rows[field].tobytes() == expected.tobytes(), field


def test_the_file_holds_rows_of_all_kinds(golden: dict[str, np.ndarray]) -> None:
    """Every operation was seen at work and at rest, and boxes of all kinds."""
    for field in ("flip", "grayscale", "blur_sigma", "cutout_size", "hue", "contrast"):
        assert len(np.unique(golden[field])) > 1, field
    assert golden["order"].shape == (len(SPECS), len(KEYS), len(VIEWS), len(golden["samples"]), 4)
    assert (golden["top"] < 0).any()
