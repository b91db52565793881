"""Hugging Face's ``datasets`` over a Parquet file, in a torch DataLoader, with torchvision's transforms.

Written as its documentation advises ("Use with PyTorch"): the file is converted to Arrow once, which is
mapped into memory, rows are taken in random order, and ``set_transform`` makes the views. Images are not
decoded by it, that is by Pillow, but by torchvision, which is quicker.
"""

from __future__ import annotations

from typing import Any

import torch
from datasets import Image, disable_progress_bars, load_dataset
from torch.utils.data import Dataset

from benchmarks.contenders import Work
from benchmarks.contenders.torch_dataset import load_in_batches
from benchmarks.contenders.torchvision import views_of_bytes
from benchmarks.images import parquet_of


class _Rows(Dataset[torch.Tensor]):
    """uint8 [K, 3, S, S] for each row."""

    def __init__(self, work: Work) -> None:
        disable_progress_bars()
        cache = work.folder.with_name("datasets")
        rows = load_dataset(
            "parquet", data_files=str(parquet_of(work.folder)), split="train", cache_dir=str(cache)
        )
        rows = rows.cast_column("image", Image(decode=False))
        views = views_of_bytes(work)
        rows.set_transform(lambda some: {"views": [views(image["bytes"]) for image in some["image"]]})
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Any:
        return self._rows[index]["views"]

    def __getitems__(self, indices: list[int]) -> Any:
        """Rows of a batch, as the DataLoader asks for them."""
        return self._rows[indices]["views"]


OUTPUTS = {"parquet": lambda work: load_in_batches(_Rows(work), work, shuffle=True)}
