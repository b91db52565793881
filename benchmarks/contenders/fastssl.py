"""fastssl's own threaded loader, each of its products, and its decoder."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import pipelines.batch
from benchmarks.contenders import Batch, Pass, Work, decode_each
from pipelines.backends.products import Crops, Pixels, Product, Views
from pipelines.backends.threads import ThreadedLoader
from pipelines.decode.bad_images import BadImages
from pipelines.decode.decode import decode
from pipelines.plan.plan import evaluation_plan
from pipelines.sources import Source
from pipelines.sources.folder import open_folder
from pipelines.views import ViewGroup


def passes(work: Work, product: Product, source: Source) -> Pass:
    """Passes over all images of a source. Each has the same views: views are a function of the step."""
    plan = evaluation_plan(len(source.index), work.batch_size, shuffle=True)
    loader = ThreadedLoader(
        source,
        (ViewGroup(spec=work.spec, num_views=work.views),),
        plan,
        product=product,
        start_step=0,
        stop_step=plan.batches_per_epoch,
        bad_images=BadImages(None, 0),
        workers=work.threads,
    )

    def run() -> Iterator[Batch]:
        loader.load_state_dict({"step": 0})
        for batch in loader:
            yield _views(batch, work.views) if batch.views else (_images(batch),)

    return run


def _views(batch: pipelines.batch.Batch, views: int) -> np.ndarray:
    channels_last = batch.views[0].permute(0, 2, 3, 1).numpy()
    return channels_last.reshape(views, len(batch), *channels_last.shape[1:])


def _images(batch: pipelines.batch.Batch) -> list[np.ndarray]:
    assert batch.images is not None
    pixels = batch.images.pixels.numpy()
    shapes = zip(batch.images.heights.tolist(), batch.images.widths.tolist(), strict=True)
    begins = batch.images.offsets.tolist()
    return [
        pixels[begin:][: 3 * h * w].reshape(h, w, 3) for begin, (h, w) in zip(begins, shapes, strict=True)
    ]


def _open(work: Work) -> Source:
    return open_folder(work.folder, "train", cache=work.folder.with_name("index"))


def _decode(work: Work) -> Pass:
    source = _open(work)
    largest = int((source.index.heights * source.index.widths).max())
    buffer = np.empty(3 * largest, np.uint8)  # reused, as the loader does
    return decode_each(work, lambda data: decode(data, buffer))


PRODUCTS = {
    "views": lambda work: passes(work, Views("uint8"), _open(work)),
    "crops": lambda work: passes(work, Crops(), _open(work)),
    "pixels": lambda work: passes(work, Pixels(), _open(work)),
    "decode": _decode,
}
