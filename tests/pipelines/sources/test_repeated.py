"""Samples over and over: the same images, with views of their own."""

import numpy as np

from pipelines.sources.repeated import Repeated
from pipelines.targets import target_kinds_of
from tests.helpers.known_labels import labels_of
from tests.helpers.memory_source import MemorySource
from tests.helpers.target_source import MemoryTargetSource


def test_repetitions_show_the_same_images_by_other_ids() -> None:
    source = MemoryTargetSource(3)
    repeated = Repeated(source, 8)
    assert len(repeated.index) == 8
    assert [repeated.read(index) for index in range(8)] == [source.files[index % 3] for index in range(8)]
    assert repeated.index.sample_ids[:3].tolist() == source.index.sample_ids.tolist()
    assert len(np.unique(repeated.index.sample_ids)) == 8
    assert labels_of(repeated.index) == [labels_of(source.index)[index % 3] for index in range(8)]
    assert target_kinds_of(repeated) == source.target_kinds
    assert repeated.targets(7).height == source.index.heights[1]


def test_the_fingerprint_tells_how_often() -> None:
    source = MemorySource(3)
    prints = {Repeated(source, count).index.fingerprint for count in (3, 6, 7)}
    assert len(prints | {source.index.fingerprint}) == 4
