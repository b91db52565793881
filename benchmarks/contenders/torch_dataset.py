"""A torch DataLoader over image files, as torchvision's and Pillow's users write it: decoded once, K views.

With one thread it works in the calling process; with more, in as many worker processes, which stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.contenders import Batch, Pass, Work


class Views(Dataset[torch.Tensor]):
    """[K, 3, S, S] for each file: decoded once, and transformed K times."""

    def __init__(
        self, work: Work, load: Callable[[str], object], transform: Callable[[object], torch.Tensor]
    ) -> None:
        self._files, self._views = work.files(), work.views
        self._load, self._transform = load, transform

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> torch.Tensor:
        image = self._load(self._files[index])
        return torch.stack([self._transform(image) for _ in range(self._views)])


def passes(work: Work, load: Callable[[str], object], transform: Callable[[object], torch.Tensor]) -> Pass:
    """Passes over the files.

    Args:
        work: what is to be done.
        load: a path to a decoded image.
        transform: a decoded image to one random view, uint8 [3, S, S].
    """
    return load_in_batches(Views(work, load, transform), work)


def load_in_batches(
    dataset: Dataset[torch.Tensor], work: Work, *, shuffle: bool = False, loader: Any = DataLoader
) -> Pass:
    """Passes over a data set of uint8 [K, 3, S, S] per image, loaded in batches.

    Args:
        dataset: it may iterate in an order of its own.
        work: what is to be done.
        shuffle: take a data set with indices in random order.
        loader: ``DataLoader``, or a class of its kind.
    """
    torch.set_num_threads(1)
    workers = work.threads if work.threads > 1 else 0
    batches = loader(
        dataset,
        batch_size=work.batch_size,
        num_workers=workers,
        persistent_workers=workers > 0,
        **({"shuffle": True} if shuffle else {}),
    )

    def run() -> Iterator[Batch]:
        for batch in batches:
            yield batch.permute(1, 0, 3, 4, 2).numpy()

    return run
