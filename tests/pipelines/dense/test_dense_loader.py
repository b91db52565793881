import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages
from pipelines.dense.dense_batch import DenseBatch
from pipelines.dense.loader import DenseLoader, DenseLoaderConfig, open_dense_loader
from pipelines.dense.ride import ride
from pipelines.dense.view import DenseView, ResizedView, draw_views
from pipelines.ops import Cutout, Flip, PaddedCrop, RandomResizedCrop, Shift
from pipelines.plan.plan import Plan, evaluation_plan
from pipelines.render import reference
from pipelines.sources.source import Source
from pipelines.sources.subset import Subset
from pipelines.targets import IGNORED, Targets
from pipelines.views import ViewGroup, ViewSpec
from tests.helpers.loader_checks import BATCH, BLOCKS, COUNT, TRAINING, open_with
from tests.helpers.memory_source import MemorySource, pixels_of
from tests.helpers.target_source import MemoryTargetSource

RESIZED = ResizedView(short_sides=(40, 60, 90), longest=110, crop=(64, 100))
SQUARE = ViewSpec(
    size=40, crop=RandomResizedCrop(scale=(0.3, 1.0)), cutout=Cutout(size=0.5), shift=Shift(padding=0.2)
)
BOTH = pytest.mark.parametrize("view", [RESIZED, SQUARE], ids=["resized", "square"])


@pytest.fixture(scope="module")
def source() -> MemoryTargetSource:
    return MemoryTargetSource(COUNT)


@contextmanager
def opened(
    source: Source, view: DenseView, plan: Plan = TRAINING, stop: int = 4, **options: Any
) -> Iterator[DenseLoader]:
    defaults: dict[str, Any] = {"start_step": 0, "workers": 2, "bad_images": BadImages(None, COUNT)}
    config = DenseLoaderConfig(source=source, view=view, plan=plan, stop_step=stop, **(defaults | options))
    with open_dense_loader(config) as loader:
        yield loader


def load(
    source: Source, view: DenseView, plan: Plan = TRAINING, stop: int = 4, **options: Any
) -> list[DenseBatch]:
    with opened(source, view, plan, stop, **options) as loader:
        return [replace(batch, images=batch.images.clone()) for batch in loader]


def assert_same_targets(ours: Targets, theirs: Targets) -> None:
    for name, value in vars(ours).items():
        np.testing.assert_array_equal(value, getattr(theirs, name), err_msg=name)


def assert_same(ours: DenseBatch, theirs: DenseBatch) -> None:
    assert (ours.step, ours.epoch) == (theirs.step, theirs.epoch)
    assert torch.equal(ours.images, theirs.images)
    assert_same_samples([ours], [theirs])


def samples_of(batches: list[DenseBatch]) -> list[tuple[Any, ...]]:
    """Everything of each sample but its step, one after the other."""
    return [
        (
            batch.images[b, :, : batch.sizes[b, 0], : batch.sizes[b, 1]],
            batch.targets[b],
            *(numbers[b].tolist() for numbers in (batch.sizes, batch.original_sizes, batch.sample_ids)),
            batch.indices[b],
            None if batch.labels is None else batch.labels[b],
        )
        for batch in batches
        for b in range(len(batch))
    ]


def assert_same_samples(ours: list[DenseBatch], theirs: list[DenseBatch]) -> None:
    for left, right in zip(samples_of(ours), samples_of(theirs), strict=True):
        assert torch.equal(left[0], right[0])
        assert_same_targets(left[1], right[1])
        assert left[2:] == right[2:]


# --- what is loaded -----------------------------------------------------------------------------------------


def expected_view(view: DenseView, pixels: np.ndarray, sample: int, epoch: int, targets: Targets) -> Any:
    """The image by torchvision, normalized, or by the reference renderer; and its targets."""
    height, width = (np.array([side], np.int32) for side in pixels.shape[:2])
    (drawn,) = draw_views(view, seed=3, epoch=epoch, samples=np.array([sample]), heights=height, widths=width)
    place = drawn.placement
    if isinstance(view, ViewSpec):
        assert drawn.table is not None
        image = reference.render(pixels, drawn.table[0, 0], view)
    else:
        image = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
        image = F.resize(image, [place.resized_height, place.resized_width], antialias=True)
        image = F.crop(image, place.window_top, place.window_left, place.height, place.width)
        image = F.normalize(F.horizontal_flip(image) if place.flip else image, view.mean, view.std)
    return image, ride(targets, place)


def assert_shows(batch: DenseBatch, b: int, view: DenseView, source: MemoryTargetSource, shown: int) -> None:
    """Sample b of a batch is image ``shown``, drawn with the keys of the sample."""
    pixels = pixels_of(source.files[shown])
    sample, targets = int(batch.sample_ids[b]), source.targets(shown)
    image, rode = expected_view(view, pixels, sample, batch.epoch, targets)
    assert source.index.labels is not None
    rode = replace(rode, label=int(source.index.labels[shown]))
    height, width = image.shape[1:]
    assert batch.sizes[b].tolist() == [height, width]
    assert batch.original_sizes[b].tolist() == [*pixels.shape[:2]]
    difference = (batch.images[b, :, :height, :width] - image) * torch.tensor(view.std).view(3, 1, 1)
    assert difference.abs().max() <= 4 / 255
    assert (batch.images[b, :, height:] == 0).all()
    assert (batch.images[b, :, :, width:] == 0).all()
    assert_same_targets(batch.targets[b], rode)
    assert batch.indices[b] == shown
    assert batch.labels is not None
    assert batch.labels[b] == source.index.labels[shown]


@BOTH
@pytest.mark.parametrize("plan", [TRAINING, BLOCKS], ids=["random", "blocks"])
def test_samples_are_those_of_the_plan_in_views_of_the_keys(
    source: MemoryTargetSource, view: DenseView, plan: Plan
) -> None:
    batches = load(source, view, plan)
    assert [(batch.step, batch.epoch) for batch in batches] == [(0, 0), (1, 0), (2, 1), (3, 1)]
    for batch in batches:
        indices = plan.samples(batch.epoch, plan.positions(batch.step))
        assert batch.sample_ids.tolist() == source.index.sample_ids[indices].tolist()
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert batch.images.dtype == torch.float32
        for b, index in enumerate(indices.tolist()):
            assert_shows(batch, b, view, source, index)


def test_batches_have_room_for_each_view_and_the_crop(source: MemoryTargetSource) -> None:
    for divisor, size in ((1, (64, 100)), (32, (64, 128)), (60, (120, 120))):
        assert load(source, RESIZED, stop=1, divisor=divisor)[0].images.shape == (BATCH, 3, *size)
    whole = replace(RESIZED, crop=None)
    for batch in load(source, whole, divisor=16):
        assert batch.images.shape[2:] == tuple(-(-batch.sizes.max(0) // 16) * 16)


def test_square_views_are_those_of_the_other_loader(source: MemoryTargetSource) -> None:
    view = replace(SQUARE, size=64)
    with open_with("cpu", source, groups=(ViewGroup(spec=view),), stop=4) as loader:
        for batch, theirs in zip(load(source, view), loader, strict=True):
            assert torch.equal(batch.images, theirs.views[0])


@pytest.mark.parametrize(
    "view",
    [
        ResizedView(short_sides=(50, 80), longest=200, crop=(70, 90)),
        ViewSpec(
            size=72,
            crop=RandomResizedCrop(scale=(0.3, 1.0)),
            flip=Flip(p=0.5),
            shift=Shift(padding=0.2),
            mean=(0, 0, 0),
        ),
        ViewSpec(size=48, crop=PaddedCrop(padding=9), mean=(0, 0, 0)),
    ],
    ids=["resized", "square", "padded"],
)
def test_pixels_and_maps_ride_together(view: DenseView) -> None:
    """Images painted from their maps: what a view shows is what its map says, but for blurred borders."""

    class Painted(MemoryTargetSource):
        def read(self, index: int) -> Any:
            targets = self.targets(index)
            assert targets.segmentation is not None
            return np.repeat(255 * targets.segmentation[..., None], 3, axis=2)

        def targets(self, index: int) -> Targets:
            height, width = int(self.index.heights[index]), int(self.index.widths[index])
            coarse = np.random.default_rng(index).integers(0, 2, (8, 8)).astype(np.uint8)
            fine = coarse.repeat(9, 0).repeat(9, 1)[:height, :width]
            return Targets(height=height, width=width, segmentation=fine)

    agreed, known = 0, 0
    for batch in load(Painted(COUNT), view):
        for image, (height, width), targets in zip(batch.images, batch.sizes, batch.targets, strict=True):
            levels = image[0, :height, :width] * view.std[0] + view.mean[0]
            assert targets.segmentation is not None
            inside = targets.segmentation != IGNORED
            agreed += ((levels.numpy() > 0.5) == (targets.segmentation == 1))[inside].sum()
            known += inside.sum()
            assert (levels.numpy()[~inside] < 0.1 / 255).all()  # what has no class is black
    assert agreed > 0.95 * known
    assert known > 20_000


def test_cutout_blackens_pixels_and_leaves_labels(source: MemoryTargetSource) -> None:
    with_hole, without = (load(source, replace(SQUARE, cutout=Cutout(size=size))) for size in (0.5, 0.0))
    for ours, theirs in zip(with_hole, without, strict=True):
        assert not torch.equal(ours.images, theirs.images)
        for left, right in zip(ours.targets, theirs.targets, strict=True):
            assert_same_targets(left, right)


def test_a_source_without_targets_gives_labels_and_sizes() -> None:
    for batch in load(MemorySource(COUNT), RESIZED, stop=1):
        assert batch.labels is not None
        shown = zip(batch.targets, batch.sizes, batch.labels.tolist(), strict=True)
        for targets, (height, width), label in shown:
            assert vars(targets) == vars(Targets(height=height, width=width, label=label))
    (batch,) = load(MemorySource(COUNT, labeled=False), RESIZED, stop=1)
    assert batch.labels is None
    assert {targets.label for targets in batch.targets} == {None}


def test_targets_are_left_alone_where_none_are_asked_for() -> None:
    class Forbidden(MemoryTargetSource):
        def targets(self, index: int) -> Targets:
            raise AssertionError("asked for targets")

    (theirs,) = load(MemorySource(COUNT), RESIZED, stop=1)
    (ours,) = load(Forbidden(COUNT), RESIZED, stop=1, with_targets=False)
    assert_same(ours, theirs)


def test_a_part_of_a_source_shows_the_same(source: MemoryTargetSource) -> None:
    everything = evaluation_plan(COUNT, COUNT)
    for whole in (source, MemorySource(COUNT)):
        part = Subset(whole, np.arange(COUNT))
        assert_same(load(part, RESIZED, everything, stop=1)[0], load(whole, RESIZED, everything, stop=1)[0])


# --- by whom it is loaded does not matter -------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(("workers", "prefetch"), [(1, 0), (5, 3)])
def test_batches_are_the_same_whatever_the_workers(
    source: MemoryTargetSource, view: DenseView, workers: int, prefetch: int
) -> None:
    for ours, theirs in zip(
        load(source, view, workers=workers, prefetch=prefetch), load(source, view), strict=True
    ):
        assert_same(ours, theirs)


@BOTH
def test_samples_do_not_depend_on_ranks_and_batch_size(view: DenseView) -> None:
    source = MemoryTargetSource(COUNT).cut_off(3, 8, 9)
    plan = replace(TRAINING, batch_size=4, batches_per_epoch=4)
    whole = load(source, view)
    assert_same_samples(load(source, view, plan, stop=8), whole)
    shares = [load(source, view, replace(TRAINING, rank=rank, world_size=2)) for rank in (0, 1)]
    assert_same_samples([share[step] for step in range(4) for share in shares], whole)


def test_evaluation_sees_every_sample_once_in_order(source: MemoryTargetSource) -> None:
    view = ResizedView(short_sides=(48,), longest=80, flip_p=0)
    batches = load(source, view, evaluation_plan(COUNT, BATCH), stop=3)
    assert [len(batch) for batch in batches] == [8, 8, 6]
    assert np.concatenate([batch.indices for batch in batches]).tolist() == list(range(COUNT))


# --- resuming -----------------------------------------------------------------------------------------------


@BOTH
def test_a_loader_resumes_from_its_state(source: MemoryTargetSource, view: DenseView) -> None:
    expected = load(source, view)
    with opened(source, view, prefetch=3) as loader:
        assert loader.state_dict() == {"step": 0}
        next(loader)
        assert loader.state_dict() == {"step": 1}
        for step in (3, 0, 1):
            loader.load_state_dict({"step": step})
            batch = next(loader)
            assert_same(batch, expected[step])
        assert [batch.step for batch in loader] == [2, 3]
        assert loader.state_dict() == {"step": 4}
    assert_same(load(source, view, start_step=3)[0], expected[3])


# --- what cannot be decoded, or is labeled wrongly ----------------------------------------------------------


@BOTH
def test_the_next_of_the_order_stands_in_with_its_targets_and_the_keys_of_the_lost(
    tmp_path: Path, view: DenseView
) -> None:
    order = TRAINING.samples(0, np.arange(COUNT)).tolist()
    path = tmp_path / "bad_images.txt"
    source = MemoryTargetSource(COUNT).cut_off(order[2], order[5], order[6])
    source.index.heights[order[2]] = 0  # an unreadable header
    (batch,) = load(source, view, stop=1, bad_images=BadImages(path, 10))
    assert len(path.read_text().splitlines()) == 3
    assert batch.sample_ids.tolist() == source.index.sample_ids[order[:BATCH]].tolist()
    for b in range(BATCH):
        assert_shows(batch, b, view, source, order[{2: 3, 5: 7, 6: 7}.get(b, b)])
    (untouched,) = load(MemoryTargetSource(COUNT), view, stop=1)
    for b in set(range(BATCH)) - {2, 5, 6}:
        assert_same_targets(batch.targets[b], untouched.targets[b])


def test_more_bad_images_than_the_limit_stop_it() -> None:
    with pytest.raises(UserError, match="6 images cannot be decoded, more than the 5 tolerated"):
        load(MemoryTargetSource(COUNT).cut_off(*range(6)), RESIZED, stop=20, bad_images=BadImages(None, 5))


def test_damaged_labels_stop_it_and_it_can_go_on_from_there() -> None:
    class Mislabeled(MemoryTargetSource):
        damaged = True

        def targets(self, index: int) -> Targets:
            targets = super().targets(index)
            return replace(targets, height=7) if self.damaged and index == 5 else targets

    source = Mislabeled(COUNT)
    step = next(step for step in range(4) if 5 in TRAINING.samples(step // 2, TRAINING.positions(step)))
    with opened(source, RESIZED, workers=3) as loader:
        with pytest.raises(UserError, match=r"labels of memory/5\.jpg are for 7x\d+ pixels, and it has \d+x"):
            for _ in loader:
                pass
        assert loader.state_dict()["step"] == step
        source.damaged = False
        assert_same(next(loader), load(source, RESIZED)[step])


# --- threads and slow storage -------------------------------------------------------------------------------


def test_blocks_are_read_ahead_of_their_samples() -> None:
    class Slow(MemoryTargetSource):
        def __init__(self, count: int) -> None:
            super().__init__(count)
            self.ahead: set[int] = set()

        def read_ahead(self, first: int, end: int) -> None:
            self.ahead |= set(range(first, end))

        def read(self, index: int) -> bytes:
            assert index in self.ahead
            return super().read(index)

    for ours, theirs in zip(
        load(Slow(COUNT), RESIZED, BLOCKS), load(MemoryTargetSource(COUNT), RESIZED, BLOCKS), strict=True
    ):
        assert_same(ours, theirs)


@pytest.mark.parametrize("taken", [0, 2])
def test_closing_early_leaves_no_threads(source: MemoryTargetSource, taken: int) -> None:
    def ours() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name.startswith("dense-loader")]

    with opened(source, RESIZED, stop=100, prefetch=3) as loader:
        for _ in range(taken):
            next(loader)
        assert len(ours()) == (2 if taken else 0)
    assert ours() == []
    loader.close()  # a second time does no harm
