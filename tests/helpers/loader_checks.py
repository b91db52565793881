"""What the tests of the loaders share: a plan, views of two sizes, devices, loaders, comparisons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.backends.backend import LoaderConfig
from pipelines.backends.choose import open_loader
from pipelines.backends.loader import Loader
from pipelines.batch import Batch
from pipelines.decode.bad_images import BadImages
from pipelines.ops import ColorJitter, Cutout, GaussianBlur, Grayscale, RandomResizedCrop, Solarize
from pipelines.plan.order import permute
from pipelines.plan.plan import Plan
from pipelines.render import reference
from pipelines.sources import Source
from pipelines.views import ViewGroup, ViewSpec, draw

COUNT, BATCH = 22, 8  # two whole batches per epoch, six samples left over
SPEC = ViewSpec(
    size=24,
    crop=RandomResizedCrop(scale=(0.3, 1.0)),
    jitter=ColorJitter(p=0.8, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    grayscale=Grayscale(p=0.2),
    blur=GaussianBlur(p=0.5),
    solarize=Solarize(p=0.2),
    cutout=Cutout(size=0.3),
)
GROUPS = (
    ViewGroup(spec=SPEC, num_views=2),
    ViewGroup(
        spec=replace(SPEC, size=17, blur=GaussianBlur(p=0.0), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    ),
)
TRAINING = Plan(count=COUNT, batch_size=BATCH, batches_per_epoch=COUNT // BATCH, seed=3)
BLOCKS = replace(TRAINING, order="blocks", block_size=3, blocks_per_window=2)
CPU, GPU = torch.device("cpu"), torch.device("cuda")
DEVICES = [pytest.param(CPU, id="cpu"), pytest.param(GPU, id="gpu", marks=pytest.mark.gpu)]
needs_dali = pytest.mark.skipif(
    find_spec("nvidia") is None or find_spec("nvidia.dali") is None,
    reason="DALI is not installed: pip install -e '.[dali]'",
)
needs_ffcv = pytest.mark.skipif(
    find_spec("ffcv") is None,
    reason="ffcv is not installed (it needs libturbojpeg and OpenCV's headers): pip install -e '.[ffcv]'",
)


def open_with(pipeline: str, source: Any, plan: Plan = TRAINING, stop: int = 5, **options: Any) -> Loader:
    """The loader of a backend, with ``GROUPS`` unless told otherwise."""
    defaults: dict[str, Any] = {
        "groups": GROUPS,
        "start_step": 0,
        "workers": 2,
        "prefetch": 2,
        "bad_images": BadImages(None, COUNT),
    }
    fields = {**defaults, **options}
    return open_loader(LoaderConfig(source=source, plan=plan, stop_step=stop, pipeline=pipeline, **fields))


def load(pipeline: str, source: Any, plan: Plan = TRAINING, **options: Any) -> list[Batch]:
    """Batches by a backend, in memory of their own on the CPU."""
    with open_with(pipeline, source, plan, **options) as loader:
        return [copied(batch) for batch in loader]


def load_threaded(source: Any, plan: Plan = TRAINING, **options: Any) -> list[Batch]:
    return load("cpu", source, plan, **options)


def copied(batch: Batch) -> Batch:
    """In memory of its own, on the CPU: loaders take their buffers back."""
    return replace(
        batch,
        views=tuple(views.to("cpu", copy=True) for views in batch.views),
        sample_ids=batch.sample_ids.to("cpu", copy=True),
        labels=None if batch.labels is None else batch.labels.to("cpu", copy=True),
    )


def numbers_of(source: Source, batch: Batch) -> list[int]:
    number = {int(sample_id): i for i, sample_id in enumerate(source.index.sample_ids)}
    return [number[int(sample_id)] for sample_id in batch.sample_ids]


def assert_same_samples(left: Batch, right: Batch) -> None:
    assert (left.step, left.epoch) == (right.step, right.epoch)
    assert torch.equal(left.sample_ids, right.sample_ids)
    assert left.labels is not None
    assert right.labels is not None
    assert torch.equal(left.labels, right.labels)
    for ours, theirs in zip(left.parameters, right.parameters, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def assert_same(left: Batch, right: Batch) -> None:
    assert_same_samples(left, right)
    for ours, theirs in zip(left.views, right.views, strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


def assert_follows_the_keys(
    batch: Batch,
    source: Source,
    pixels: Callable[[int], np.ndarray],
    plan: Plan = TRAINING,
    *,
    largest: float = 4,
) -> None:
    """Samples, labels and ``GROUPS``' parameters are those of the keys, the views those of the reference.

    Args:
        batch: of ``source`` by ``plan``.
        pixels: of a sample, uint8 [H, W, 3].
        largest: difference of a view's pixels that is allowed, in levels of 255; on average it is 1 at most.
    """
    order = plan.samples(batch.epoch, np.arange(plan.count))
    if plan.shuffle and plan.order == "random":
        np.testing.assert_array_equal(
            order, permute(plan.seed, batch.epoch, plan.count, np.arange(plan.count))
        )
    first = batch.step % plan.batches_per_epoch * plan.batch_size
    numbers = order[first : first + plan.batch_size].tolist()
    assert numbers_of(source, batch) == numbers
    assert source.index.labels is not None
    assert batch.labels is not None
    assert batch.labels.tolist() == source.index.labels[numbers].tolist()
    assert batch.labels.dtype == batch.sample_ids.dtype == torch.int64
    assert torch.equal(torch.cat(batch.each_view()[:2]), batch.views[0])
    for group, keys, views, table in zip(GROUPS, ([0, 1], [2]), batch.views, batch.parameters, strict=True):
        expected = draw(
            group.spec,
            seed=plan.seed,
            epoch=batch.epoch,
            samples=source.index.sample_ids[numbers],
            heights=source.index.heights[numbers],
            widths=source.index.widths[numbers],
            views=keys,
        )
        np.testing.assert_array_equal(table, expected)
        assert views.shape == (group.num_views * len(numbers), 3, group.spec.size, group.spec.size)
        assert views.dtype == torch.float32
        assert views.is_contiguous(memory_format=torch.channels_last)
        for k, of_view in enumerate(views.split(len(numbers))):
            for b, number in enumerate(numbers):
                assert_is_the_reference(of_view[b], pixels(number), table[k, b], group.spec, largest)


def assert_is_the_reference(
    view: torch.Tensor, pixels: np.ndarray, row: np.void, spec: ViewSpec, largest: float = 4
) -> None:
    """Within ``largest`` levels of 255 everywhere, and within one on average."""
    difference = (view - reference.render(pixels, row, spec)) * torch.tensor(spec.std).view(3, 1, 1) * 255
    assert difference.abs().max() <= largest
    assert difference.abs().mean() <= 1
