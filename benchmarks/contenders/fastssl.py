"""fastssl's own threaded loader, each of its outputs, and its decoder."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from benchmarks.contenders import Batch, Pass, Work, decode_each
from benchmarks.contenders.detection import DETECTION_BATCH, LONGEST, SHORT_SIDES, boxes_of
from benchmarks.images import parquet_of, shards_of
from benchmarks.object_storage import address_of
from pipelines.backends.backend import CpuOutput, LoaderConfig
from pipelines.backends.choose import open_loader
from pipelines.backends.request import Requests
from pipelines.backends.threads import ThreadsBackend
from pipelines.batch import Images
from pipelines.decode.bad_images import BadImages
from pipelines.decode.decode import decode
from pipelines.dense.loader import DenseLoaderConfig, open_dense_loader
from pipelines.dense.view import ResizedView
from pipelines.plan.plan import evaluation_plan
from pipelines.sources import Source, folder, shards
from pipelines.sources.parquet import parquet
from pipelines.sources.remote.remote import FOLDER, open_split
from pipelines.targets import TargetKind, Targets
from pipelines.views import ViewGroup


def passes(work: Work, source: Source) -> Pass:
    """Passes over all images of a source. Each has the same views: views are a function of the step."""
    loader = open_loader(loader_config(work, source))

    def run() -> Iterator[Batch]:
        loader.load_state_dict({"step": 0})
        for batch in loader:
            yield _views(batch.views[0], work.views)

    return run


def _stages(work: Work, output: CpuOutput, source: Source) -> Pass:
    """Passes that end where a GPU would take over: with crops, or with decoded images."""
    config = loader_config(work, source, output)
    requests = Requests(source.index, config.groups, config.plan)
    backend = ThreadsBackend(config, requests)

    def run() -> Iterator[Batch]:
        under_way = deque[Any]()
        for step in range(config.stop_step + config.prefetch):
            backend.release()
            if step < config.stop_step:
                under_way.append(backend.start(requests.of_step(step)))
            if step >= config.prefetch:
                made = backend.stage(under_way.popleft())
                yield (_images(made),) if isinstance(made, Images) else _views(made[0], work.views)

    return run


def loader_config(work: Work, source: Source, output: CpuOutput = "views") -> LoaderConfig:
    """The threaded loader of one pass, uint8."""
    plan = evaluation_plan(len(source.index), work.batch_size, shuffle=True)
    return LoaderConfig(
        source=source,
        groups=(ViewGroup(spec=work.spec, num_views=work.views),),
        plan=plan,
        start_step=0,
        stop_step=plan.batches_per_epoch,
        bad_images=BadImages(None, 0),
        dtype=torch.uint8,
        pipeline="cpu",
        cpu_output=output,
        workers=work.threads,
    )


def _views(views: torch.Tensor, count: int) -> np.ndarray:
    channels_last = views.permute(0, 2, 3, 1).numpy()
    return channels_last.reshape(count, -1, *channels_last.shape[1:])


def _images(images: Images) -> list[np.ndarray]:
    pixels = images.pixels.numpy()
    shapes = zip(images.heights.tolist(), images.widths.tolist(), strict=True)
    begins = images.offsets.tolist()
    return [
        pixels[begin:][: 3 * h * w].reshape(h, w, 3) for begin, (h, w) in zip(begins, shapes, strict=True)
    ]


def open_files(work: Work) -> Source:
    """The files, with their index beside them."""
    return folder.open_split(str(work.folder), "train", cache=work.folder.with_name("index"))


def _decode(work: Work) -> Pass:
    source = open_files(work)
    largest = int((source.index.heights * source.index.widths).max())
    buffer = np.empty(3 * largest, np.uint8)  # reused, as the loader does
    return decode_each(work, lambda data: decode(data, buffer))


def _parquet(work: Work) -> Pass:
    where = str(parquet_of(work.folder))
    return passes(work, parquet.open_split(where, "train", cache=work.folder.with_name("index")))


class _Boxed:
    """Images of a source with the boxes of ``detection``."""

    target_kinds: frozenset[TargetKind] = frozenset({"boxes"})

    def __init__(self, source: Source) -> None:
        self.index, self.read, self.describe = source.index, source.read, source.describe

    def targets(self, index: int) -> Targets:
        """See ``TargetSource``."""
        height, width = int(self.index.heights[index]), int(self.index.widths[index])
        boxes, classes = boxes_of(index, height, width)
        return Targets(height=height, width=width, boxes=boxes, classes=classes)


def _detection(work: Work) -> Pass:
    source = _Boxed(open_files(work))
    plan = evaluation_plan(len(source.index), DETECTION_BATCH, shuffle=True)
    loader = open_dense_loader(
        DenseLoaderConfig(
            source=source,
            view=ResizedView(short_sides=SHORT_SIDES, longest=LONGEST),
            plan=plan,
            start_step=0,
            stop_step=plan.batches_per_epoch,
            bad_images=BadImages(None, 0),
            workers=work.threads,
        )
    )

    def run() -> Iterator[Batch]:
        loader.load_state_dict({"step": 0})
        for batch in loader:
            yield (batch.images,)

    return run


def _tar(work: Work) -> Pass:
    where = str(shards_of(work.folder))
    return passes(work, shards.open_split(where, "train", cache=work.folder.with_name("index")))


def _s3(work: Work) -> Pass:
    """Passes over the same shards in object storage; each begins with an empty cache."""
    cache = work.folder.with_name("index")
    source = open_split(address_of(shards_of(work.folder)), "train", cache)
    batches = passes(work, source)

    def run() -> Iterator[Batch]:
        source.hold(np.empty((0, 2), np.int64))
        shutil.rmtree(cache / FOLDER, ignore_errors=True)
        yield from batches()

    return run


OUTPUTS = {
    "detection": _detection,
    "parquet": _parquet,
    "s3": _s3,
    "tar": _tar,
    "views": lambda work: passes(work, open_files(work)),
    "crops": lambda work: _stages(work, "crops", open_files(work)),
    "pixels": lambda work: _stages(work, "pixels", open_files(work)),
    "decode": _decode,
}
