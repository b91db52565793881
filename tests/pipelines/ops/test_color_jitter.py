"""Color jitter: its parts equal torchvision, amounts and orders are distributed as specified."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest
from scipy import stats
from torchvision.transforms.v2 import functional as TF

from pipelines.ops import ColorJitter
from pipelines.ops.color_jitter import adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation
from pipelines.views import ViewSpec
from tests.helpers.view_checks import (
    EVERYTHING,
    IMAGES,
    SIGNIFICANCE,
    assert_close,
    assert_rate,
    assert_uniform,
    draw_many,
    images,
)


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("factor", [0.0, 0.3, 0.6, 0.999, 1.0, 1.4, 3.0])
def test_brightness_contrast_and_saturation_equal_torchvision(name: str, factor: float) -> None:
    image = images()[name]
    assert_close(adjust_brightness(image, factor), TF.adjust_brightness(image, factor))
    assert_close(adjust_contrast(image, factor), TF.adjust_contrast(image, factor))
    assert_close(adjust_saturation(image, factor), TF.adjust_saturation(image, factor))


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("shift", [-0.5, -0.31, -0.1, -1e-6, 0.0, 1 / 6, 0.25, 1 / 3, 0.5])
def test_hue_equals_torchvision(name: str, shift: float) -> None:
    image = images()[name]
    assert_close(adjust_hue(image, shift), TF.adjust_hue(image, shift))


def test_a_third_of_a_turn_moves_the_channels_on() -> None:
    image = images()["cube"]
    assert_close(adjust_hue(image, 1 / 3), image[[2, 0, 1]])
    assert_close(adjust_hue(image, -1 / 3), image[[1, 2, 0]])


def test_amounts_are_uniform_over_their_ranges() -> None:
    rows = draw_many(EVERYTHING)
    assert_rate(rows["brightness"] != 1, 0.8)
    jittered = rows[rows["brightness"] != 1]
    assert_uniform(jittered["brightness"], 0.6, 1.4)
    assert_uniform(jittered["contrast"], 0.7, 1.3)
    assert_uniform(jittered["saturation"], 0.8, 1.2)
    assert_uniform(jittered["hue"], -0.1, 0.1)
    strong = draw_many(replace(EVERYTHING, jitter=replace(EVERYTHING.jitter, p=1.0, brightness=1.5)))
    assert_uniform(strong["brightness"], 0.0, 2.5)  # torchvision's ColorJitter: not below 0


def test_a_row_without_jitter_changes_nothing() -> None:
    rows = draw_many(EVERYTHING)
    still = rows[rows["brightness"] == 1]
    assert len(still) > 0
    assert (still["contrast"] == 1).all()
    assert (still["saturation"] == 1).all()
    assert (still["hue"] == 0).all()
    assert (still["order"] == [0, 1, 2, 3]).all()
    no_strength = draw_many(ViewSpec(jitter=ColorJitter(p=1.0)))
    assert (no_strength["brightness"] == 1).all()
    assert (no_strength["hue"] == 0).all()


def test_jitter_order_is_uniform_over_the_24_permutations() -> None:
    rows = draw_many(replace(EVERYTHING, jitter=replace(EVERYTHING.jitter, p=1.0)))
    counts = dict.fromkeys(permutations(range(4)), 0)
    for order in rows["order"].tolist():
        counts[tuple(order)] += 1  # a KeyError here is an order that is no permutation
    assert stats.chisquare(list(counts.values())).pvalue > SIGNIFICANCE
