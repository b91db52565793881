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
from torch.utils.data import IterableDataset, get_worker_info

from benchmarks.contenders import Work
from benchmarks.contenders.torch_dataset import load_in_batches
from benchmarks.contenders.torchvision import views_of_bytes
from benchmarks.images import parquet_of


class _Rows(IterableDataset[torch.Tensor]):
    """uint8 [K, 3, S, S] for each row."""

    def __init__(self, work: Work) -> None:
        self._path, self._views = parquet_of(work.folder), views_of_bytes(work)

    def __iter__(self) -> Iterator[torch.Tensor]:
        file, worker = ParquetFile(self._path), get_worker_info()
        mine = slice(worker.id, None, worker.num_workers) if worker else slice(None)
        generator = np.random.default_rng()
        for group in generator.permutation(file.num_row_groups)[mine].tolist():
            images = file.read_row_group(group, columns=["image.bytes"], use_threads=False)
            images = images.column("image").combine_chunks().field("bytes")
            for row in generator.permutation(len(images)).tolist():
                yield self._views(images[row].as_buffer())


OUTPUTS = {"parquet": lambda work: load_in_batches(_Rows(work), work)}
