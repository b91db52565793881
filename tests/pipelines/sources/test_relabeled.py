from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from pipelines.sources.relabeled import Relabeled, choose_classes, class_subset
from tests.helpers.known_labels import labels_of
from tests.helpers.memory_source import MemorySource
from tests.helpers.refusals import refused

GROUPS = np.array([1, 0, 1, 3, 0])  # of the classes a to e
NAMES = ("fish", "bird", "nobody", "car")
WNIDS = tuple(f"n{number:08d}" for number in range(1000))
SHARES = (0.1, 0.2, 0.5, 0.7, 1.0)


class ReadingAhead(MemorySource):
    """A source that is told what to read."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.runs: list[tuple[int, int]] = []

    def read_ahead(self, first: int, end: int) -> None:
        self.runs.append((first, end))


def test_labels_are_groups_and_all_else_is_as_it_was() -> None:
    source = MemorySource(15)
    relabeled = Relabeled(source, GROUPS, NAMES)
    old, new = source.index, relabeled.index
    assert new.class_names == ("fish", "bird", "car")
    group_of = {"a": "bird", "b": "fish", "c": "bird", "d": "car", "e": "fish"}
    expected = [group_of[old.class_names[label]] for label in labels_of(old)]
    assert [new.class_names[label] for label in labels_of(new)] == expected
    for number in range(15):
        assert relabeled.read(number) == source.files[number]
        assert relabeled.describe(number) == source.describe(number)
    assert np.array_equal(new.sample_ids, old.sample_ids)
    assert np.array_equal(new.heights, old.heights)
    assert np.array_equal(new.widths, old.widths)


def test_fingerprints_change_with_the_groups() -> None:
    source = MemorySource(15)
    prints = [
        source.index.fingerprint,
        Relabeled(source, GROUPS, NAMES).index.fingerprint,
        Relabeled(source, GROUPS[::-1], NAMES).index.fingerprint,
        Relabeled(source, GROUPS, ("fish", "bird", "nobody", "lorry")).index.fingerprint,
        Relabeled(MemorySource(16), GROUPS, NAMES).index.fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    assert Relabeled(MemorySource(15), GROUPS, NAMES).index.fingerprint == prints[1]


def test_reading_ahead_reaches_a_source_that_reads_ahead_alone() -> None:
    source, plain = ReadingAhead(5), MemorySource(5)
    for each in (source, plain):
        Relabeled(each, GROUPS, NAMES).read_ahead(2, 4)
    assert (source.runs, plain.reads) == ([(2, 4)], [])


def names_of(share: float, seed: int = 0, names: tuple[str, ...] = WNIDS) -> set[str]:
    return {names[number] for number in choose_classes(names, share, seed)}


def test_as_many_classes_as_the_share_says_in_order_and_part_of_every_larger_share() -> None:
    chosen = [choose_classes(WNIDS, share, 0) for share in SHARES]
    for share, classes in zip(SHARES, chosen, strict=True):
        assert classes.dtype == np.int64
        assert len(classes) == round(1000 * share)
        assert (np.diff(classes) > 0).all()
    assert chosen[-1].tolist() == list(range(1000))
    assert all(set(small.tolist()) < set(large.tolist()) for small, large in pairwise(chosen))


def test_the_choice_depends_on_names_and_not_on_places() -> None:
    shuffled = tuple(np.random.default_rng(0).permutation(WNIDS).tolist())
    assert names_of(0.2, names=shuffled) == names_of(0.2)


def test_seeds_choose_independently_and_evenly() -> None:
    counts = np.zeros(1000)
    for seed in range(200):
        counts[choose_classes(WNIDS, 0.2, seed)] += 1
    overlap = len(names_of(0.2, seed=1) & names_of(0.2, seed=2))
    assert abs(overlap - 40) < 4 * np.sqrt(1000 * 0.04 * 0.96)
    # binomial(200, 0.2): standard deviation 5.66; five of them, for the largest of 1000
    assert abs(counts - 40).max() < 5 * np.sqrt(200 * 0.2 * 0.8)
    assert np.std(counts) == pytest.approx(np.sqrt(200 * 0.2 * 0.8), rel=0.1)


def test_shares_out_of_range_or_that_leave_no_class() -> None:
    for share in (0.0, -0.5, 1.1, float("nan")):
        with refused("share of the classes must lie in"):
            choose_classes(WNIDS, share, 0)
    with refused("leaves none"):
        choose_classes(("a", "b", "c"), 0.1, 0)


def test_all_images_of_the_chosen_classes_and_no_others() -> None:
    source = MemorySource(15)  # three images in each of the classes a to e
    labels = labels_of(source.index)
    subset = class_subset(source, np.array([1, 4]))
    assert subset.index.class_names == ("b", "e")
    expected = [number for number, label in enumerate(labels) if label in (1, 4)]
    assert len(subset.index) == len(expected) == 6
    assert labels_of(subset.index) == [(1, 4).index(labels[number]) for number in expected]
    for name in ("sample_ids", "heights"):
        np.testing.assert_array_equal(getattr(subset.index, name), getattr(source.index, name)[expected])
    for place, number in enumerate(expected):
        assert subset.read(place) == source.files[number]
        assert subset.describe(place) == source.describe(number)


def test_a_class_without_images_keeps_its_label() -> None:
    """A test split may lack images of a chosen class; its labels are those of the training split."""
    source = MemorySource(3)  # classes a, c and e
    subset = class_subset(source, np.array([1, 2, 4]))
    assert subset.index.class_names == ("b", "c", "e")
    assert [subset.index.class_names[label] for label in labels_of(subset.index)] == ["c", "e"]
