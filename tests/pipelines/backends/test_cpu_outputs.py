"""What the threads of the CPU backend make of images: views, crops, and whole images."""

from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pipelines.backends.backend import CpuOutput, LoaderConfig
from pipelines.backends.request import Request, Requests
from pipelines.backends.threads import ThreadsBackend
from pipelines.batch import Images
from pipelines.decode.bad_images import BadImages
from pipelines.plan.order import permute
from pipelines.plan.plan import Plan, evaluation_plan
from pipelines.render import reference
from pipelines.views import ViewGroup
from tests.helpers.loader_checks import SPEC
from tests.helpers.memory_source import MemorySource, pixels_of

COUNT, BATCH = 13, 6
GROUPS = (
    ViewGroup(spec=SPEC, num_views=2),
    ViewGroup(spec=replace(SPEC, size=12, color_space="lab")),
)
TRAINING = Plan(count=COUNT, batch_size=BATCH, batches_per_epoch=2, seed=5)


@dataclass(frozen=True, kw_only=True)
class Made:
    """A request, and copies of the threads' work on it: views (or crops), or decoded images."""

    request: Request
    views: tuple[torch.Tensor, ...] = ()
    images: Images | None = None


def load(source: MemorySource, output: CpuOutput, plan: Plan = TRAINING, stop: int = 3) -> list[Made]:
    config = LoaderConfig(
        source=source,
        groups=GROUPS,
        plan=plan,
        start_step=0,
        stop_step=stop,
        bad_images=BadImages(None, COUNT),
        cpu_output=output,
        workers=2,
        prefetch=1,
    )
    requests = Requests(source.index, GROUPS, plan)
    backend, made = ThreadsBackend(config, requests), []
    try:
        for step in range(stop):
            backend.release()
            ticket = backend.start(requests.of_step(step))
            stage = deepcopy(backend.stage(ticket))
            if isinstance(stage, Images):
                made.append(Made(request=ticket.request, images=stage))
            else:
                made.append(Made(request=ticket.request, views=stage))
    finally:
        backend.close()
    return made


def image_of(images: Images, b: int) -> np.ndarray:
    begin, height, width = int(images.offsets[b]), int(images.heights[b]), int(images.widths[b])
    return images.pixels[begin : begin + 3 * height * width].view(height, width, 3).numpy()


def test_crops_are_the_reference_s_crops_and_nothing_more() -> None:
    source = MemorySource(COUNT)
    for batch, finished in zip(load(source, "crops"), load(source, "views"), strict=True):
        assert batch.images is None
        np.testing.assert_array_equal(batch.request.indices, finished.request.indices)
        for group, crops, table in zip(GROUPS, batch.views, batch.request.parameters, strict=True):
            assert crops.dtype == torch.uint8
            assert crops.shape == (group.num_views * BATCH, 3, group.spec.size, group.spec.size)
            for k, of_view in enumerate(crops.split(BATCH)):
                for b, number in enumerate(batch.request.indices):
                    row = table[k, b]
                    top, left, height, width = (int(row[name]) for name in ("top", "left", "height", "width"))
                    pixels = pixels_of(source.files[number])[top : top + height, left : left + width]
                    box = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
                    size = (group.spec.size, group.spec.size)
                    expected = F.interpolate(box, size, mode="bilinear", antialias=True)[0]
                    if row["flip"]:
                        expected = expected.flip(2)
                    assert (of_view[b] - expected).abs().max() <= 1.01  # a level


def test_crops_finished_by_the_reference_are_its_views() -> None:
    source = MemorySource(COUNT)
    (batch, *_) = load(source, "crops")
    for group, crops, table in zip(GROUPS, batch.views, batch.request.parameters, strict=True):
        size = group.spec.size
        for k, of_view in enumerate(crops.split(BATCH)):
            for b, number in enumerate(batch.request.indices):
                row = table[k, b].copy()
                expected = reference.render(pixels_of(source.files[number]), row, group.spec)
                row["top"], row["left"], row["height"], row["width"], row["flip"] = 0, 0, size, size, 0
                finished = reference.render(of_view[b].permute(1, 2, 0).contiguous(), row, group.spec)
                assert (finished - expected).abs().mean() <= 0.05  # of about 4.4 from black to white


def test_pixels_are_the_decoded_images() -> None:
    source = MemorySource(COUNT)
    for batch, finished in zip(load(source, "pixels"), load(source, "views"), strict=True):
        assert batch.views == ()
        assert batch.images is not None
        np.testing.assert_array_equal(batch.request.indices, finished.request.indices)
        for ours, theirs in zip(batch.request.parameters, finished.request.parameters, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        for b, number in enumerate(batch.request.indices):
            np.testing.assert_array_equal(image_of(batch.images, b), pixels_of(source.files[number]))


@pytest.mark.parametrize("output", ["views", "crops", "pixels"])
@pytest.mark.parametrize(("world_size", "sizes"), [(1, [6, 6, 1]), (2, [3, 3, 0])])
def test_the_last_batch_of_an_evaluation_holds_the_rest(
    output: CpuOutput, world_size: int, sizes: list[int]
) -> None:
    """On the last rank: that may be no image at all."""
    plan = replace(evaluation_plan(COUNT, BATCH), rank=world_size - 1, world_size=world_size)
    *_, last = batches = load(MemorySource(COUNT), output, plan)
    assert [len(batch.request.indices) for batch in batches] == sizes
    if last.images is None:
        assert [len(views) for views in last.views] == [group.num_views * sizes[-1] for group in GROUPS]
    else:
        images = last.images
        assert len(images.offsets) == len(images.heights) == len(images.widths) == sizes[-1]
        assert len(images.pixels) == 3 * (images.heights * images.widths).sum()


def test_a_substitute_of_another_size_finds_its_place_among_the_pixels() -> None:
    source = MemorySource(COUNT)
    order = permute(5, 0, COUNT, np.arange(COUNT)).tolist()
    lost, substitute = order[2], order[3]
    assert source.index.heights[lost] != source.index.heights[substitute]
    source.files[lost] = source.files[lost][:100]
    first, second, third = load(source, "pixels")
    assert first.images is not None
    decoded = [pixels_of(source.files[n]) for n in (*order[:2], substitute, *order[3:BATCH])]
    for b, pixels in enumerate(decoded):
        np.testing.assert_array_equal(image_of(first.images, b), pixels)
    for batch in (second, third):  # buffers in use again
        assert batch.images is not None
        for b, number in enumerate(batch.request.indices):
            if number != lost:
                np.testing.assert_array_equal(image_of(batch.images, b), pixels_of(source.files[number]))


def test_images_that_are_stored_raw_are_copied_into_the_pixels() -> None:
    class Raw(MemorySource):
        def read(self, number: int) -> np.ndarray:  # type: ignore[override]
            return pixels_of(super().read(number))

    for ours, theirs in zip(load(Raw(COUNT), "pixels"), load(MemorySource(COUNT), "pixels"), strict=True):
        assert ours.images is not None
        assert theirs.images is not None
        assert torch.equal(ours.images.pixels, theirs.images.pixels)
