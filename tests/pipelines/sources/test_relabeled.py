from __future__ import annotations

import numpy as np

from pipelines.sources.relabeled import Relabeled
from tests.helpers.known_labels import labels_of
from tests.helpers.memory_source import MemorySource

GROUPS = np.array([1, 0, 1, 3, 0])  # of the classes a to e
NAMES = ("fish", "bird", "nobody", "car")


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
