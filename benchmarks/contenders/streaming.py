"""MosaicML's ``streaming`` in a torch DataLoader, with torchvision's transforms.

The images lie in its own shards (MDS), with as many images each as the tar shards. Written as its
documentation advises: ``StreamingDataset`` with ``shuffle``, whose samples a class of the user's transforms.
From object storage shards are copied to the disk; each pass begins without them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from streaming import MDSWriter, StreamingDataset
from streaming.base.util import clean_stale_shared_memory

from benchmarks.contenders import Batch, Pass, Work
from benchmarks.contenders.torch_dataset import load_in_batches
from benchmarks.contenders.torchvision import views_of_bytes
from benchmarks.images import IN_SHARD
from benchmarks.object_storage import upload


class _Views(StreamingDataset):
    """uint8 [K, 3, S, S] for each sample."""

    def __init__(self, work: Work, **where: str) -> None:
        clean_stale_shared_memory()
        super().__init__(**where, shuffle=True, batch_size=work.batch_size)
        self._views_of = views_of_bytes(work)

    def __getitem__(self, at: int) -> torch.Tensor:
        sample: dict[str, Any] = super().__getitem__(at)
        return self._views_of(sample["image"])


def _local(work: Work) -> Pass:
    return load_in_batches(_Views(work, local=str(_written(work))), work)


def _s3(work: Work) -> Pass:
    copies = work.folder.with_name(f"mds-copies-{work.views}")
    dataset = _Views(work, remote=upload(_written(work)), local=str(copies))
    batches = load_in_batches(dataset, work)

    def run() -> Iterator[Batch]:
        for shard in range(dataset.num_shards):
            dataset.evict_shard(shard)
        yield from batches()

    return run


def _written(work: Work) -> Path:
    """The files in shards beside their folder."""
    folder, files = work.folder.with_name(f"mds-{work.views}"), work.files()
    shutil.rmtree(folder, ignore_errors=True)
    mean_size = sum(Path(file).stat().st_size for file in files) // len(files)
    with MDSWriter(out=str(folder), columns={"image": "bytes"}, size_limit=IN_SHARD * mean_size) as writer:
        for file in files:
            writer.write({"image": Path(file).read_bytes()})
    return folder


OUTPUTS = {"tar": _local, "s3": _s3}
