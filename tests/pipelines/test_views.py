"""The property test of views: rows depend on their keys alone, and are distributed as specified."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.command.errors import UserError
from pipelines.ops import KINDS, ColorJitter, Cutout, Flip, PaddedCrop, RandomResizedCrop, Solarize
from pipelines.ops.solarize import NO_SOLARIZE
from pipelines.views import IMAGENET_STD, VIEW_PARAMETERS, ViewGroup, ViewSpec, draw, evaluation_spec
from tests.helpers.hash_by_hand import hash_of, to_uniform
from tests.helpers.view_checks import DRAWS, EVERYTHING, draw_many, draw_rows

ALWAYS = replace(EVERYTHING, jitter=replace(EVERYTHING.jitter, p=1.0), blur=replace(EVERYTHING.blur, p=1.0))
FIELDS = VIEW_PARAMETERS.names or ()
OWNERS = {field.name: name for name, kinds in KINDS.items() for field in kinds[0].fields} | {"area": "crop"}
# Operations whose fields are independent of one another, too; those of others may hang together.
APART = ("crop", "jitter", "channel_jitter", "shift", "cutout")


def some_images(count: int) -> dict[str, np.ndarray]:
    """Keyword arguments of ``draw``: ids that fill 64 bits, and mixed sizes."""
    rng = np.random.default_rng(1)
    return {
        "samples": rng.integers(-(2**63), 2**63, count),
        "heights": rng.integers(1, 600, count, np.int32),
        "widths": rng.integers(1, 600, count, np.int32),
    }


def rows_of(images: dict[str, np.ndarray], chosen: np.ndarray) -> dict[str, np.ndarray]:
    return {name: values[chosen] for name, values in images.items()}


# --- Rows depend on (seed, epoch, sample, view) alone. ---


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(-(2**63), 2**63 - 1),
    epoch=st.integers(0, 10_000),
    views=st.lists(st.integers(0, 1000), min_size=1, max_size=5),
    chosen=st.lists(st.integers(0, 99), min_size=1, max_size=30),
)
def test_rows_do_not_depend_on_company(seed: int, epoch: int, views: list[int], chosen: list[int]) -> None:
    """Any choice of samples and views, in any order and repeated, gets the rows each has alone."""
    images = some_images(100)
    together = draw(EVERYTHING, seed=seed, epoch=epoch, views=views, **rows_of(images, np.array(chosen)))
    for k, view in enumerate(views):
        for b, number in enumerate(chosen):
            alone = rows_of(images, np.array([number]))
            row = draw(EVERYTHING, seed=seed, epoch=epoch, views=[view], **alone)
            assert row.tobytes() == together[k, b].tobytes()


def test_threads_draw_what_one_draws() -> None:
    images = some_images(2000)
    whole = draw(EVERYTHING, seed=0, epoch=0, views=[0, 1], **images)
    parts = np.array_split(np.random.default_rng(0).permutation(2000), 200)

    def work(part: np.ndarray) -> np.ndarray:
        return draw(EVERYTHING, seed=0, epoch=0, views=[0, 1], **rows_of(images, part))

    with ThreadPoolExecutor(8) as pool:
        tables = list(pool.map(work, parts))
    for part, table in zip(parts, tables, strict=True):
        assert table.tobytes() == whole[:, part].tobytes()


# --- An implementation of its own, in Python's integers, from the docstrings of keys.py and views.py. ---


class PythonView:
    """The streams of one view, numbered as in ``pipelines.ops``."""

    def __init__(self, *keys: int) -> None:
        self.key = hash_of(*keys)

    def uniform(self, *words: int) -> float:
        return to_uniform(hash_of(*words, state=self.key))

    def between(self, low: float, high: float, *words: int) -> float:
        return low + (high - low) * self.uniform(*words)

    def crop(self, spec: RandomResizedCrop, height: int, width: int) -> tuple[int, int, int, int]:
        for i in range(10):
            area = height * width * self.between(*spec.scale, 0, 4 * i)
            ratio = math.exp(self.between(math.log(spec.ratio[0]), math.log(spec.ratio[1]), 0, 4 * i + 1))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                top = int(self.uniform(0, 4 * i + 2) * (height - h + 1))
                left = int(self.uniform(0, 4 * i + 3) * (width - w + 1))
                return top, left, h, w
        raise AssertionError("ten tries failed")

    def order(self) -> list[int]:
        order = [0, 1, 2, 3]
        for i in (3, 2, 1):
            j = int(self.uniform(3, i) * (i + 1))
            order[i], order[j] = order[j], order[i]
        return order


@pytest.mark.parametrize("seed", [0, 1, -7, 2**63 - 1])
def test_rows_equal_an_implementation_in_plain_python(seed: int) -> None:
    spec, epoch, views = EVERYTHING, 3, [0, 5]
    samples = np.array([0, 1, 2, -1, 123456789012345678, -(2**63)])
    heights = np.array([375, 500, 333, 64, 48, 3000], np.int32)
    widths = np.array([500, 375, 500, 64, 48, 4000], np.int32)
    assert isinstance(spec.crop, RandomResizedCrop)
    table = draw(spec, seed=seed, epoch=epoch, samples=samples, heights=heights, widths=widths, views=views)
    for k, number in enumerate(views):
        for b, sample in enumerate(samples.tolist()):
            row, view = table[k, b], PythonView(seed, epoch, sample, number)
            box = view.crop(spec.crop, int(heights[b]), int(widths[b]))
            assert (row["top"], row["left"], row["height"], row["width"]) == box
            assert row["flip"] == (view.uniform(1) < spec.flip.p)
            jittered = view.uniform(2) < spec.jitter.p
            assert row["order"].tolist() == (view.order() if jittered else [0, 1, 2, 3])
            assert row["brightness"] == np.float32(view.between(0.6, 1.4, 4) if jittered else 1)
            assert row["contrast"] == np.float32(view.between(0.7, 1.3, 5) if jittered else 1)
            assert row["saturation"] == np.float32(view.between(0.8, 1.2, 6) if jittered else 1)
            assert row["hue"] == np.float32(view.between(-0.1, 0.1, 7) if jittered else 0)
            assert row["grayscale"] == (view.uniform(8) < spec.grayscale.p)
            sigma = view.between(0.1, 2.0, 10) if view.uniform(9) < spec.blur.p else 0
            assert row["blur_sigma"] == np.float32(sigma)
            threshold = 128 / 255 if view.uniform(11) < spec.solarize.p else NO_SOLARIZE
            assert row["solarize_threshold"] == np.float32(threshold)
            assert row["cutout_size"] == 16
            assert row["cutout_top"] == int(view.uniform(12, 0) * 64) - 8
            assert row["cutout_left"] == int(view.uniform(12, 1) * 64) - 8


# --- Independence. ---


def numbers(rows: np.ndarray) -> dict[str, np.ndarray]:
    """The random numbers of the rows, a column each."""
    matrices = {name: rows[name].astype(float).reshape(DRAWS, -1) for name in FIELDS}
    columns = {f"{name} {i}": column for name in matrices for i, column in enumerate(matrices[name].T)}
    columns = {name.removesuffix(" 0"): column for name, column in columns.items()}
    del columns["order 3"]
    # The middle of a place's share of [0, 1]: its mean is 1/2 however many places there are.
    columns["top"] = (columns["top"] + 0.5) / (375 - columns["height"] + 1)
    columns["left"] = (columns["left"] + 0.5) / (500 - columns["width"] + 1)
    columns["area"] = columns.pop("height") * columns.pop("width")
    return {name: column for name, column in columns.items() if column.std()}  # a size may be the spec's


def assert_uncorrelated(first: np.ndarray, second: np.ndarray, names: str) -> None:
    # A correlation of n independent pairs has standard deviation 1 / sqrt(n); about 2000 pairs are tested.
    assert abs(np.corrcoef(first, second)[0, 1]) < 4.5 / math.sqrt(len(first)), names


def test_parameters_of_a_view_are_independent() -> None:
    columns = numbers(draw_many(ALWAYS))
    for (one, first), (other, second) in combinations(columns.items(), 2):
        fields = {one.split()[0], other.split()[0]}  # the numbers of one field may hang together
        owners = {OWNERS[field] for field in fields}
        if len(owners) == 2 or (len(fields) == 2 and owners <= set(APART)):
            assert_uncorrelated(first, second, f"{one}, {other}")


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}, {"view": 1}, {"seed": 1, "view": 1}])
def test_seeds_epochs_and_views_are_independent(change: dict[str, Any]) -> None:
    first, second = numbers(draw_many(ALWAYS)), numbers(draw_many(ALWAYS, **change))
    for name in first:
        assert_uncorrelated(first[name], second[name], name)


@pytest.mark.parametrize("distance", [1, 2, 256])
def test_neighboring_samples_are_independent(distance: int) -> None:
    for name, values in numbers(draw_many(ALWAYS)).items():
        assert_uncorrelated(values[:-distance], values[distance:], name)


def test_evaluation_spec_keeps_what_the_encoder_expects() -> None:
    trained = replace(EVERYTHING, color_space="lab", mean=(0.5, 0.5, 0.5), std=(0.2, 0.3, 0.4))
    spec = evaluation_spec(trained, 0.9)
    assert (spec.size, spec.color_space, spec.mean, spec.std) == (64, "lab", (0.5, 0.5, 0.5), (0.2, 0.3, 0.4))
    rows = draw_many(spec)
    assert len(np.unique(rows)) == 1  # nothing is random


# --- Bad values. ---


@pytest.mark.parametrize(
    ("make", "field", "value"), [(ViewSpec, "color_space", "hsv"), (PaddedCrop, "padding", 224)]
)
def test_a_bad_value_is_one_line_that_names_it(make: type, field: str, value: Any) -> None:
    with pytest.raises(UserError, match=field) as caught:
        _ = ViewSpec(crop=make(**{field: value}))  # what must fit the size is refused with it
    assert "\n" not in str(caught.value)
    assert str(value).strip("()").split(", ")[0] in str(caught.value)


def test_good_limits_are_accepted() -> None:
    spec = ViewSpec(
        size=1,
        crop=RandomResizedCrop(scale=(1.0, 1.0)),
        flip=Flip(p=1),
        jitter=ColorJitter(hue=0.5),
        solarize=Solarize(threshold=1.0),
        cutout=Cutout(size=1.0),
    )
    assert spec.std == IMAGENET_STD
    assert ViewGroup(spec=spec).num_views == 1
    assert draw_rows(spec, [(1, 1)], views=[]).shape == (0, 1)


def test_a_table_is_an_int32_matrix() -> None:
    rows = draw_many(EVERYTHING)
    matrix = rows.view(np.int32).reshape(DRAWS, -1)
    assert matrix.shape[1] == sum(VIEW_PARAMETERS[name].itemsize // 4 for name in FIELDS)
    assert np.array_equal(matrix[:, 2], rows["height"])
    assert np.array_equal(matrix[:, 9].view(np.float32), rows["brightness"])
