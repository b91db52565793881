"""The property test of views: rows depend on their keys alone, and are distributed as specified."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as TF

from pipelines.command.errors import UserError
from pipelines.plan.order import batch_positions, permute
from pipelines.views import (
    IMAGENET_STD,
    NO_SOLARIZE,
    VIEW_PARAMETERS,
    ViewGroup,
    ViewSpec,
    draw,
    evaluation_spec,
)

EVERYTHING = ViewSpec(
    size=64,
    jitter_p=0.8,
    brightness=0.4,
    contrast=0.3,
    saturation=0.2,
    hue=0.1,
    grey_p=0.2,
    blur_p=0.5,
    solarize_p=0.2,
    cutout=0.25,
)
DRAWS = 20_000
SIGNIFICANCE = 1e-3  # every seed is fixed, so that a test passes always or never


def draw_many(
    spec: ViewSpec, *, seed: int = 0, epoch: int = 0, view: int = 0, size: tuple[int, int] = (375, 500)
) -> np.ndarray:
    """VIEW_PARAMETERS [DRAWS] of samples 0, 1, ..., all of one height and width."""
    samples = np.arange(DRAWS)
    heights, widths = (np.full(DRAWS, side, np.int32) for side in size)
    return draw(spec, seed=seed, epoch=epoch, samples=samples, heights=heights, widths=widths, views=[view])[
        0
    ]


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


@pytest.mark.parametrize("batch_size", [1, 7, 32, 500])
def test_batches_join_to_one_table(batch_size: int) -> None:
    images, views = some_images(500), [0, 1, 2]
    whole = draw(EVERYTHING, seed=1, epoch=2, views=views, **images)
    batches = [np.arange(first, min(first + batch_size, 500)) for first in range(0, 500, batch_size)]
    parts = [draw(EVERYTHING, seed=1, epoch=2, views=views, **rows_of(images, part)) for part in batches]
    assert np.concatenate(parts, axis=1).tobytes() == whole.tobytes()


@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
def test_ranks_draw_the_same_global_batch(world_size: int) -> None:
    images = some_images(100)

    def drawn(positions: np.ndarray) -> np.ndarray:
        numbers = permute(3, 4, 100, positions)
        return draw(EVERYTHING, seed=3, epoch=4, views=[0, 1], **rows_of(images, numbers))

    expected = drawn(np.arange(32, 64))  # the second batch of 32
    ranks = [drawn(batch_positions(1, 32, rank, world_size)) for rank in range(world_size)]
    assert np.concatenate(ranks, axis=1).tobytes() == expected.tobytes()


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


@pytest.mark.parametrize("change", ["seed", "epoch", "view", "sample"])
def test_each_key_changes_every_row(change: str) -> None:
    images = some_images(200)
    keys = {"seed": 5, "epoch": 6, "view": 7}
    first = draw(EVERYTHING, seed=keys["seed"], epoch=keys["epoch"], views=[keys["view"]], **images)[0]
    if change == "sample":
        images["samples"] = images["samples"] ^ 1
    else:
        keys[change] += 1
    second = draw(EVERYTHING, seed=keys["seed"], epoch=keys["epoch"], views=[keys["view"]], **images)[0]
    assert (first != second).all()


# --- An operation has its own streams: another one shifts nothing. ---

OPERATIONS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "crop": ({"crop": "center"}, ("top", "left", "height", "width")),
    "flip": ({"flip_p": 0.0}, ("flip",)),
    "jitter": ({"jitter_p": 0.0}, ("order", "brightness", "contrast", "saturation", "hue")),
    "brightness": ({"brightness": 0.0}, ("brightness",)),
    "hue": ({"hue": 0.0}, ("hue",)),
    "grey": ({"grey_p": 0.0}, ("grey",)),
    "blur": ({"blur_p": 0.0}, ("blur_sigma",)),
    "solarize": ({"solarize_p": 0.0}, ("solarize_threshold",)),
    "cutout": ({"cutout": 0.0}, ("cutout_top", "cutout_left", "cutout_size")),
}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_another_operation_shifts_nothing(operation: str) -> None:
    changes, own_fields = OPERATIONS[operation]
    with_it, without = draw_many(EVERYTHING), draw_many(replace(EVERYTHING, **changes))
    for name in VIEW_PARAMETERS.names or ():
        same = np.array_equal(with_it[name], without[name])
        assert same == (name not in own_fields), name


# --- An implementation of its own, in Python's integers, from the docstrings of keys.py and views.py. ---


class PythonView:
    """The streams of one view, numbered as in views.py."""

    def __init__(self, *keys: int) -> None:
        self.key = 0
        for key in keys:
            self.key = self.absorb(self.key, key)

    @staticmethod
    def absorb(state: int, word: int) -> int:
        modulus = 1 << 64
        z = ((state + 0x9E3779B97F4A7C15) ^ (word * 0xBF58476D1CE4E5B9)) % modulus
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % modulus
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % modulus
        return z ^ (z >> 31)

    def uniform(self, *words: int) -> float:
        state = self.key
        for word in words:
            state = self.absorb(state, word)
        return (state >> 11) / 2**53

    def between(self, low: float, high: float, *words: int) -> float:
        return low + (high - low) * self.uniform(*words)

    def crop(self, spec: ViewSpec, height: int, width: int) -> tuple[int, int, int, int]:
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
    table = draw(spec, seed=seed, epoch=epoch, samples=samples, heights=heights, widths=widths, views=views)
    for k, number in enumerate(views):
        for b, sample in enumerate(samples.tolist()):
            row, view = table[k, b], PythonView(seed, epoch, sample, number)
            box = view.crop(spec, int(heights[b]), int(widths[b]))
            assert (row["top"], row["left"], row["height"], row["width"]) == box
            assert row["flip"] == (view.uniform(1) < spec.flip_p)
            jittered = view.uniform(2) < spec.jitter_p
            assert row["order"].tolist() == (view.order() if jittered else [0, 1, 2, 3])
            assert row["brightness"] == np.float32(view.between(0.6, 1.4, 4) if jittered else 1)
            assert row["contrast"] == np.float32(view.between(0.7, 1.3, 5) if jittered else 1)
            assert row["saturation"] == np.float32(view.between(0.8, 1.2, 6) if jittered else 1)
            assert row["hue"] == np.float32(view.between(-0.1, 0.1, 7) if jittered else 0)
            assert row["grey"] == (view.uniform(8) < spec.grey_p)
            sigma = view.between(0.1, 2.0, 10) if view.uniform(9) < spec.blur_p else 0
            assert row["blur_sigma"] == np.float32(sigma)
            threshold = 128 / 255 if view.uniform(11) < spec.solarize_p else NO_SOLARIZE
            assert row["solarize_threshold"] == np.float32(threshold)
            assert row["cutout_size"] == 16
            assert row["cutout_top"] == int(view.uniform(12, 0) * 64) - 8
            assert row["cutout_left"] == int(view.uniform(12, 1) * 64) - 8


# --- Marginal distributions. ---


def assert_rate(happened: np.ndarray, p: float) -> None:
    assert stats.binomtest(int(happened.sum()), len(happened), p).pvalue > SIGNIFICANCE


def assert_uniform(values: np.ndarray, low: float, high: float) -> None:
    assert values.min() >= np.float32(low)
    assert values.max() <= np.float32(high)
    assert stats.kstest((values - low) / (high - low), "uniform").pvalue > SIGNIFICANCE


def test_rates_are_as_specified() -> None:
    rows = draw_many(EVERYTHING)
    assert_rate(rows["flip"] == 1, 0.5)
    assert_rate(rows["brightness"] != 1, 0.8)
    assert_rate(rows["grey"] == 1, 0.2)
    assert_rate(rows["blur_sigma"] > 0, 0.5)
    assert_rate(rows["solarize_threshold"] != NO_SOLARIZE, 0.2)
    assert set(rows["solarize_threshold"].tolist()) == {NO_SOLARIZE, float(np.float32(128 / 255))}


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_never_and_always_are_exact(p: float) -> None:
    rows = draw_many(replace(EVERYTHING, flip_p=p, jitter_p=p, grey_p=p, blur_p=p, solarize_p=p))
    assert (rows["flip"] == p).all()
    assert (rows["grey"] == p).all()
    assert ((rows["brightness"] != 1) == p).all()
    assert ((rows["blur_sigma"] > 0) == p).all()
    assert ((rows["solarize_threshold"] < NO_SOLARIZE) == p).all()


def test_jitter_and_blur_amounts_are_uniform_over_their_ranges() -> None:
    rows = draw_many(EVERYTHING)
    jittered = rows[rows["brightness"] != 1]
    assert_uniform(jittered["brightness"], 0.6, 1.4)
    assert_uniform(jittered["contrast"], 0.7, 1.3)
    assert_uniform(jittered["saturation"], 0.8, 1.2)
    assert_uniform(jittered["hue"], -0.1, 0.1)
    assert_uniform(rows["blur_sigma"][rows["blur_sigma"] > 0], 0.1, 2.0)
    strong = draw_many(replace(EVERYTHING, jitter_p=1.0, brightness=1.5))
    assert_uniform(strong["brightness"], 0.0, 2.5)  # torchvision's ColorJitter: not below 0


def test_a_row_without_jitter_changes_nothing() -> None:
    rows = draw_many(EVERYTHING)
    still = rows[rows["brightness"] == 1]
    assert len(still) > 0
    assert (still["contrast"] == 1).all()
    assert (still["saturation"] == 1).all()
    assert (still["hue"] == 0).all()
    assert (still["order"] == [0, 1, 2, 3]).all()
    no_strength = draw_many(ViewSpec(jitter_p=1.0))
    assert (no_strength["brightness"] == 1).all()
    assert (no_strength["hue"] == 0).all()


def test_jitter_order_is_uniform_over_the_24_permutations() -> None:
    rows = draw_many(replace(EVERYTHING, jitter_p=1.0))
    counts = dict.fromkeys(permutations(range(4)), 0)
    for order in rows["order"].tolist():
        counts[tuple(order)] += 1  # a KeyError here is an order that is no permutation
    assert stats.chisquare(list(counts.values())).pvalue > SIGNIFICANCE


def torchvision_boxes(spec: ViewSpec, size: tuple[int, int], count: int) -> np.ndarray:
    image = torch.empty(3, 1, 1).expand(3, *size)
    boxes = [RandomResizedCrop.get_params(image, list(spec.scale), list(spec.ratio)) for _ in range(count)]
    return np.array(boxes)


@pytest.mark.parametrize(
    ("size", "scale"),
    [((375, 500), (0.08, 1.0)), ((375, 500), (0.2, 1.0)), ((32, 32), (0.2, 1.0)), ((640, 160), (0.08, 1.0))],
)
def test_random_resized_boxes_are_distributed_as_torchvisions(
    size: tuple[int, int], scale: tuple[float, float]
) -> None:
    spec = ViewSpec(scale=scale)
    rows = draw_many(spec, size=size)
    torch.manual_seed(0)
    theirs = torchvision_boxes(spec, size, 10_000).T
    ours = np.stack([rows[name] for name in ("top", "left", "height", "width")])

    def features(
        top: np.ndarray, left: np.ndarray, height: np.ndarray, width: np.ndarray
    ) -> dict[str, np.ndarray]:
        return {
            "area": height * width,
            "log ratio": np.log(width / height),
            "top": top,
            "left": left,
            "middle": 2 * top + height,
            "center": 2 * left + width,
        }

    expected = features(*theirs)
    for name, values in features(*ours).items():
        assert stats.ks_2samp(values, expected[name]).pvalue > SIGNIFICANCE, name


def test_random_resized_area_and_ratio_are_uniform() -> None:
    # An image this large and a share this small: no try fails, so that the rule's own distributions show.
    rows = draw_many(ViewSpec(scale=(0.05, 0.3)), size=(20_000, 20_000))
    height, width = (rows[name].astype(float) for name in ("height", "width"))
    assert stats.kstest((height * width / 4e8 - 0.05) / 0.25, "uniform").pvalue > SIGNIFICANCE
    turned = (np.log(width / height) - np.log(3 / 4)) / np.log(16 / 9)
    assert stats.kstest(turned, "uniform").pvalue > SIGNIFICANCE
    for start, side in (("top", height), ("left", width)):
        assert stats.kstest(rows[start] / (20_000 - side), "uniform").pvalue > SIGNIFICANCE


@pytest.mark.parametrize("size", [(1000, 20), (20, 1000), (1, 300), (300, 1)])
def test_an_image_of_extreme_shape_falls_back_to_torchvisions_central_box(size: tuple[int, int]) -> None:
    spec = ViewSpec(scale=(0.9, 1.0))  # no box of this share and ratio fits: every try fails
    rows = draw_many(spec, size=size)
    expected = torchvision_boxes(spec, size, 1)[0]
    for name, value in zip(("top", "left", "height", "width"), expected, strict=True):
        assert (rows[name] == value).all(), name


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
    scale=st.tuples(st.floats(1e-6, 1), st.floats(1e-6, 1)).map(lambda pair: (min(pair), max(pair))),
    ratio=st.tuples(st.floats(0.01, 100), st.floats(0.01, 100)).map(lambda pair: (min(pair), max(pair))),
    crop=st.sampled_from(["random_resized", "center"]),
)
def test_boxes_lie_inside_the_image_and_are_not_empty(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], crop: Any
) -> None:
    samples = np.arange(50)
    heights, widths = np.full(50, height, np.int32), np.full(50, width, np.int32)
    spec = ViewSpec(scale=scale, ratio=ratio, crop=crop)
    rows = draw(spec, seed=0, epoch=0, samples=samples, heights=heights, widths=widths, views=[0])[0]
    for start, side, whole in (("top", "height", height), ("left", "width", width)):
        assert (rows[start] >= 0).all()
        assert (rows[side] >= 1).all()
        assert (rows[start] + rows[side] <= whole).all()


def test_padded_crop_is_uniform_over_its_places() -> None:
    rows = draw_many(ViewSpec(size=32, crop="padded", padding=4), size=(32, 36))
    assert (rows["height"] == 32).all()
    assert (rows["width"] == 32).all()
    assert rows["top"].min() == -4
    assert stats.chisquare(np.bincount(rows["top"] + 4, minlength=9)).pvalue > SIGNIFICANCE
    assert stats.chisquare(np.bincount(rows["left"] + 4, minlength=13)).pvalue > SIGNIFICANCE
    small = draw_many(ViewSpec(size=32, crop="padded", padding=4), size=(10, 20))
    assert (small["top"] == -4).all()  # the padded image is smaller than the view: no freedom
    assert (small["left"] == -4).all()


def test_cutout_centre_is_uniform_over_the_view() -> None:
    rows = draw_many(replace(EVERYTHING, cutout=0.5))
    assert (rows["cutout_size"] == 32).all()
    for name in ("cutout_top", "cutout_left"):
        assert stats.chisquare(np.bincount(rows[name] + 16, minlength=64)).pvalue > SIGNIFICANCE


# --- Independence. ---


def numbers(rows: np.ndarray) -> dict[str, np.ndarray]:
    """The random numbers of the rows, a column each."""
    columns = {name: rows[name].astype(float) for name in VIEW_PARAMETERS.names or () if name != "order"}
    columns |= {f"order {i}": rows["order"][:, i].astype(float) for i in range(3)}
    del columns["cutout_size"]
    # The middle of a place's share of [0, 1]: its mean is 1/2 however many places there are.
    columns["top"] = (columns["top"] + 0.5) / (375 - columns["height"] + 1)
    columns["left"] = (columns["left"] + 0.5) / (500 - columns["width"] + 1)
    columns["area"] = columns.pop("height") * columns.pop("width")
    return columns


def assert_uncorrelated(first: np.ndarray, second: np.ndarray, names: str) -> None:
    # A correlation of n independent pairs has standard deviation 1 / sqrt(n); about 2000 pairs are tested.
    assert abs(np.corrcoef(first, second)[0, 1]) < 4.5 / math.sqrt(len(first)), names


def test_parameters_of_a_view_are_independent() -> None:
    columns = numbers(draw_many(replace(EVERYTHING, jitter_p=1.0, blur_p=1.0)))
    for (one, first), (other, second) in combinations(columns.items(), 2):
        if not (one.startswith("order") and other.startswith("order")):
            assert_uncorrelated(first, second, f"{one}, {other}")


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}, {"view": 1}, {"seed": 1, "view": 1}])
def test_seeds_epochs_and_views_are_independent(change: dict[str, Any]) -> None:
    spec = replace(EVERYTHING, jitter_p=1.0, blur_p=1.0)
    first, second = numbers(draw_many(spec)), numbers(draw_many(spec, **change))
    for name in first:
        assert_uncorrelated(first[name], second[name], name)


@pytest.mark.parametrize("distance", [1, 2, 256])
def test_neighbouring_samples_are_independent(distance: int) -> None:
    for name, values in numbers(draw_many(replace(EVERYTHING, jitter_p=1.0, blur_p=1.0))).items():
        assert_uncorrelated(values[:-distance], values[distance:], name)


# --- The central crop of an evaluation. ---


@pytest.mark.parametrize("size", [(375, 500), (500, 333), (32, 32), (48, 64), (1200, 900)])
@pytest.mark.parametrize(("side", "fraction"), [(224, 0.875), (32, 1.0), (96, 0.875)])
def test_evaluation_box_is_torchvisions_up_to_rounding(
    size: tuple[int, int], side: int, fraction: float
) -> None:
    """Both crop an image of its own coordinates, in pixels; the coordinates differ by less than 1.5."""
    height, width = size
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    coordinates = torch.from_numpy(np.stack([rows, columns, rows]))
    resized = TF.resize(coordinates, [round(side / fraction)], antialias=True)
    expected = TF.center_crop(resized, [side])

    spec = evaluation_spec(EVERYTHING, fraction)
    row = draw(
        replace(spec, size=side),
        seed=0,
        epoch=0,
        samples=np.array([0]),
        heights=np.array([height], np.int32),
        widths=np.array([width], np.int32),
        views=[0],
    )[0, 0]
    box = coordinates[:, row["top"] :, row["left"] :][:, : row["height"], : row["width"]]
    ours = TF.resize(box, [side, side], antialias=True)
    inner = slice(2, -2)  # at the border of its box a resize sees less
    difference = (ours - expected)[:, inner, inner].abs().max()
    assert difference < 1.5 * max(1, min(size) * fraction / side)
    assert row["height"] == row["width"]
    assert row["flip"] == 0
    assert row["brightness"] == 1


def test_evaluation_spec_keeps_what_the_encoder_expects() -> None:
    trained = replace(EVERYTHING, color_space="lab", mean=(0.5, 0.5, 0.5), std=(0.2, 0.3, 0.4))
    spec = evaluation_spec(trained, 0.9)
    assert (spec.size, spec.color_space, spec.mean, spec.std) == (64, "lab", (0.5, 0.5, 0.5), (0.2, 0.3, 0.4))
    rows = draw_many(spec)
    assert len(np.unique(rows)) == 1  # nothing is random


# --- Bad values. ---


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 0),
        ("crop", "centre"),
        ("color_space", "hsv"),
        ("scale", (0.5, 0.2)),
        ("scale", (0.0, 1.0)),
        ("ratio", (2.0, 1.0)),
        ("ratio", (-1.0, 1.0)),
        ("padding", -1),
        ("padding", 224),
        ("center_fraction", 0.0),
        ("center_fraction", 1.1),
        ("flip_p", 1.5),
        ("jitter_p", -0.1),
        ("grey_p", math.nan),
        ("blur_p", 2),
        ("solarize_p", -1),
        ("solarize_threshold", 128),
        ("cutout", 1.2),
        ("brightness", -0.4),
        ("contrast", math.inf),
        ("saturation", math.nan),
        ("hue", 0.6),
        ("hue", -0.1),
        ("blur_sigma", (0.0, 2.0)),
        ("blur_sigma", (2.0, 0.1)),
        ("std", (0.2, 0.0, 0.2)),
    ],
)
def test_a_bad_value_is_one_line_that_names_it(field: str, value: Any) -> None:
    with pytest.raises(UserError, match=field) as caught:
        ViewSpec(**{field: value})
    assert "\n" not in str(caught.value)
    assert str(value).strip("()").split(", ")[0] in str(caught.value)


@pytest.mark.parametrize("num_views", [0, -1])
def test_num_views_below_one_is_refused(num_views: int) -> None:
    with pytest.raises(UserError, match="num_views must be at least 1"):
        ViewGroup(spec=ViewSpec(), num_views=num_views)


def test_good_limits_are_accepted() -> None:
    spec = ViewSpec(
        size=1, flip_p=1, hue=0.5, cutout=1.0, center_fraction=1.0, solarize_threshold=1.0, scale=(1.0, 1.0)
    )
    assert spec.std == IMAGENET_STD
    assert ViewGroup(spec=spec).num_views == 1
    rows = draw(
        spec,
        seed=0,
        epoch=0,
        samples=np.array([0]),
        heights=np.array([1], np.int32),
        widths=np.array([1], np.int32),
        views=[],
    )
    assert rows.shape == (0, 1)


def test_a_table_is_an_int32_matrix() -> None:
    rows = draw_many(EVERYTHING)
    matrix = rows.view(np.int32).reshape(DRAWS, -1)
    assert matrix.shape == (DRAWS, 19)
    assert np.array_equal(matrix[:, 2], rows["height"])
    assert np.array_equal(matrix[:, 9].view(np.float32), rows["brightness"])
