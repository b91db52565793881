"""webdataset over tar shards in a torch DataLoader, with torchvision's transforms.

Written as its documentation advises: shards in random order, shared out among worker processes, and a buffer
of 1,000 samples that are shuffled. Shards in object storage come through a pipe, with nothing kept (curl in
place of the storage's own command, which takes longer to start).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import torch
import webdataset

from benchmarks.contenders import Pass, Work
from benchmarks.contenders.torch_dataset import load_in_batches
from benchmarks.contenders.torchvision import views_of_bytes
from benchmarks.images import shards_of
from benchmarks.object_storage import ENDPOINT, address_of

_BUFFER = 1000  # samples that are shuffled


def _tar(work: Work) -> Pass:
    return _passes(work, sorted(str(path) for path in shards_of(work.folder).glob("*.tar")))


def _s3(work: Work) -> Pass:
    web = address_of(shards_of(work.folder)).replace("s3:/", os.environ[ENDPOINT])
    names = sorted(path.name for path in shards_of(work.folder).glob("*.tar"))
    return _passes(work, [f"pipe:curl -s -f {web}/{name}" for name in names])


def _passes(work: Work, urls: Sequence[str]) -> Pass:
    shards = webdataset.WebDataset(urls, shardshuffle=len(urls)).shuffle(_BUFFER)
    return load_in_batches(shards.map(_views(views_of_bytes(work))), work)


def _views(views: Callable[[bytes], torch.Tensor]) -> Callable[[dict[str, bytes]], torch.Tensor]:
    return lambda sample: views(sample["jpg"])


OUTPUTS = {"tar": _tar, "s3": _s3}
