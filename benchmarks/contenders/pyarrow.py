"""A torch DataLoader over a Parquet file by pyarrow, with torchvision's transforms.

Follows what streaming data sets do: row groups in random order, one decoded at a time, and its rows shuffled;
so that it never reads an image by itself, and never leaves its row group for the next one. Worker processes
share the row groups out.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from pyarrow.parquet import ParquetFile
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from torchvision.io import ImageReadMode, decode_jpeg

from benchmarks.contenders import Batch, Pass, Work
from benchmarks.contenders.torchvision import transform_of
from benchmarks.images import parquet_of


class _Rows(IterableDataset[torch.Tensor]):
    """uint8 [K, 3, S, S] for each row."""

    def __init__(self, work: Work) -> None:
        self._path, self._views = parquet_of(work.folder), work.views
        self._transform = transform_of(work.spec)

    def __iter__(self) -> Iterator[torch.Tensor]:
        file, worker = ParquetFile(self._path), get_worker_info()
        mine = slice(worker.id, None, worker.num_workers) if worker else slice(None)
        generator = np.random.default_rng()
        for group in generator.permutation(file.num_row_groups)[mine].tolist():
            images = file.read_row_group(group, columns=["image.bytes"], use_threads=False)
            images = images.column("image").combine_chunks().field("bytes")
            for row in generator.permutation(len(images)).tolist():
                encoded = torch.frombuffer(bytearray(images[row].as_buffer()), dtype=torch.uint8)
                image = decode_jpeg(encoded, ImageReadMode.RGB)
                yield torch.stack([self._transform(image) for _ in range(self._views)])


def _views(work: Work) -> Pass:
    torch.set_num_threads(1)
    workers = work.threads if work.threads > 1 else 0
    loader = DataLoader(
        _Rows(work), batch_size=work.batch_size, num_workers=workers, persistent_workers=workers > 0
    )

    def run() -> Iterator[Batch]:
        for batch in loader:
            yield batch.permute(1, 0, 3, 4, 2).numpy()

    return run


OUTPUTS = {"parquet": _views}
