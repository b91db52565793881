"""Lightning's ``litdata`` with its own DataLoader, and torchvision's transforms.

The images lie in its own chunks, with as many images each as the tar shards. Written as its documentation
advises: ``StreamingDataset`` with ``shuffle`` and ``transform``, in a ``StreamingDataLoader``. From object
storage chunks are copied to the disk; each pass begins without them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from litdata import StreamingDataLoader, StreamingDataset
from litdata.streaming import downloader
from litdata.streaming.cache import Cache

from benchmarks.contenders import Batch, Pass, Work
from benchmarks.contenders.torch_dataset import load_in_batches
from benchmarks.contenders.torchvision import views_of_bytes
from benchmarks.images import IN_SHARD
from benchmarks.object_storage import upload


def _passes(work: Work, **where: str) -> Pass:
    dataset = StreamingDataset(**where, shuffle=True, drop_last=False, transform=views_of_bytes(work))
    return load_in_batches(dataset, work, loader=StreamingDataLoader)


def _s3(work: Work) -> Pass:
    downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True  # loopback; there is no door for it
    copies = work.folder.with_name(f"litdata-copies-{work.views}")
    copies.mkdir(exist_ok=True)
    batches = _passes(work, input_dir=upload(_written(work)), cache_dir=str(copies))

    def run() -> Iterator[Batch]:
        for chunk in copies.rglob("*.bin"):
            chunk.unlink()
        yield from batches()

    return run


def _written(work: Work) -> Path:
    """The files in chunks beside their folder."""
    folder = work.folder.with_name(f"litdata-{work.views}")
    shutil.rmtree(folder, ignore_errors=True)
    cache = Cache(str(folder), chunk_size=IN_SHARD)
    for number, file in enumerate(work.files()):
        cache[number] = Path(file).read_bytes()
    cache.done()
    cache.merge()
    return folder


OUTPUTS = {"tar": lambda work: _passes(work, input_dir=str(_written(work))), "s3": _s3}
