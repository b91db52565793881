import numpy as np

from pipelines.sources.source import Fetching
from pipelines.sources.subset import Repeated, Subset, hold_out
from pipelines.targets import target_kinds_of
from tests.helpers.known_labels import labels_of
from tests.helpers.memory_source import MemorySource
from tests.helpers.target_source import MemoryTargetSource

NUMBERS = np.array([7, 0, 12, 3])


class ManySamples(MemorySource):
    """An index of many samples without images."""

    def __init__(self, sample_ids: np.ndarray) -> None:
        super().__init__(0)
        count = len(sample_ids)
        self.index = type(self.index)(
            sample_ids=sample_ids,
            heights=np.full(count, 8, np.int32),
            widths=np.full(count, 8, np.int32),
            labels=np.arange(count) % 3,
            class_names=("a", "b", "c"),
            fingerprint="many",
        )


def random_ids(count: int, seed: int = 0) -> np.ndarray:
    ids: np.ndarray = np.random.default_rng(seed).integers(-(1 << 63), 1 << 62, count)
    return ids


def test_samples_keep_what_they_are() -> None:
    source = MemorySource(15)
    subset = Subset(source, NUMBERS)
    assert subset.index.class_names == source.index.class_names
    for name in ("sample_ids", "heights", "widths", "labels"):
        np.testing.assert_array_equal(getattr(subset.index, name), getattr(source.index, name)[NUMBERS])
    for place, number in enumerate(NUMBERS.tolist()):
        assert subset.read(place) == source.files[number]
        assert subset.describe(place) == f"memory/{number}.jpg"


def test_a_subset_of_a_subset() -> None:
    source = MemorySource(15)
    inner = Subset(Subset(source, NUMBERS), np.array([2, 1]))
    assert [inner.describe(i) for i in range(2)] == ["memory/12.jpg", "memory/0.jpg"]


def test_a_subset_without_labels() -> None:
    assert Subset(MemorySource(15, labeled=False), NUMBERS).index.labels is None


def test_fingerprints_change_when_the_samples_do() -> None:
    source = MemorySource(15)
    prints = {
        Subset(source, numbers).index.fingerprint
        for numbers in (NUMBERS, NUMBERS[:3], NUMBERS + 1, np.arange(15))
    }
    assert len(prints) == 4
    assert Subset(source, NUMBERS).index.fingerprint == Subset(MemorySource(15), NUMBERS).index.fingerprint
    assert Subset(source, NUMBERS).index.fingerprint != Subset(MemorySource(16), NUMBERS).index.fingerprint


def test_a_held_out_part_is_disjoint_and_of_about_the_share() -> None:
    source = ManySamples(random_ids(10_000))
    for share in (0.2, 0.05):
        rest, held_out = hold_out(source, share)
        together = np.concatenate([rest.index.sample_ids, held_out.index.sample_ids])
        assert sorted(together) == sorted(source.index.sample_ids)
        deviation = (share * (1 - share) / 10_000) ** 0.5
        assert abs(len(held_out.index) / 10_000 - share) < 4 * deviation


def test_neighboring_ids_are_held_out_independently() -> None:
    _, held_out = hold_out(ManySamples(np.arange(10_000)), 0.2)
    assert abs(len(held_out.index) / 10_000 - 0.2) < 0.016
    gaps = np.diff(held_out.index.sample_ids)
    assert abs((gaps == 1).mean() - 0.2) < 0.04  # the next one is held out as often as any


def test_who_is_held_out_depends_on_the_sample_alone() -> None:
    ids = random_ids(2_000)
    _, held_out = hold_out(ManySamples(ids), 0.2)
    chosen = set(held_out.index.sample_ids.tolist())
    shuffled = np.random.default_rng(1).permutation(ids)[:500]
    _, of_some = hold_out(ManySamples(shuffled), 0.2)
    assert set(of_some.index.sample_ids.tolist()) == chosen & set(shuffled.tolist())
    _, of_more = hold_out(ManySamples(np.concatenate([random_ids(100, 5), ids])), 0.2)
    assert set(of_more.index.sample_ids.tolist()) & set(ids.tolist()) == chosen


def test_a_larger_share_holds_out_the_same_and_more() -> None:
    source = ManySamples(random_ids(2_000))
    small, large = (set(hold_out(source, share)[1].index.sample_ids.tolist()) for share in (0.1, 0.3))
    assert small < large


class Remote(MemorySource):
    """Samples in files of five elsewhere; notes the runs that are held."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        firsts, sizes = np.arange(0, count + 1, 5), np.full(count // 5, 100)
        self.fetching = Fetching(where="s3://bucket", firsts=firsts, sizes=sizes, capacity=1000)
        self.held: list[list[int]] = []

    def hold(self, runs: np.ndarray) -> None:
        self.held += runs.tolist()


def test_files_elsewhere_are_held_for_a_part_in_order_alone() -> None:
    source = Remote(15)
    rising = Subset(source, np.array([1, 4, 6, 13]))
    assert rising.fetching is not None
    assert rising.fetching.firsts.tolist() == [0, 2, 3, 4]
    rising.hold(np.array([[1, 3]]))
    assert source.held == [[4, 7]]
    shuffled = Subset(source, NUMBERS)
    assert shuffled.fetching is None
    shuffled.hold(np.array([[0, 2]]))
    assert source.held == [[4, 7]]


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
