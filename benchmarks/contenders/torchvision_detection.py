"""torchvision's ``transforms.v2`` on images with boxes, in a DataLoader, as its detection reference has them.

``RandomShortestSize`` and ``RandomHorizontalFlip`` on uint8 tensors and ``tv_tensors``; then floats,
normalized, in one padded batch, which torchvision's models make by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import v2

from benchmarks.contenders import Batch, Pass, Work
from benchmarks.contenders.detection import DETECTION_BATCH, LONGEST, SHORT_SIDES, boxes_of
from pipelines.views import IMAGENET_MEAN, IMAGENET_STD

_DIVISOR = 32
_Sample = tuple[torch.Tensor, dict[str, torch.Tensor]]


class _Boxed(Dataset[_Sample]):
    """An image and its boxes and classes, transformed."""

    def __init__(self, files: Sequence[str], transform: Callable[..., _Sample]) -> None:
        self._files, self._transform = files, transform

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> _Sample:
        image = decode_jpeg(read_file(self._files[index]), ImageReadMode.RGB)
        size = (image.shape[1], image.shape[2])
        boxes, classes = boxes_of(index, *size)
        target = {
            "boxes": tv_tensors.BoundingBoxes(torch.from_numpy(boxes), format="XYXY", canvas_size=size),
            "labels": torch.from_numpy(classes),
        }
        return self._transform(tv_tensors.Image(image), target)


def detection(work: Work, *, normalized: bool) -> Pass:
    """Passes over the files; without ``normalized`` a batch is a list of uint8 images."""
    torch.set_num_threads(1)
    operations: list[Any] = [v2.RandomShortestSize(list(SHORT_SIDES), LONGEST), v2.RandomHorizontalFlip(0.5)]
    if normalized:
        operations += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    workers = work.threads if work.threads > 1 else 0
    loader = DataLoader(
        _Boxed(work.files(), v2.Compose([*operations, v2.SanitizeBoundingBoxes()])),
        batch_size=DETECTION_BATCH,
        collate_fn=_padded if normalized else _listed,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
    )

    def run() -> Iterator[Batch]:
        for images, _ in loader:
            yield (images,)

    return run


def _listed(samples: Sequence[_Sample]) -> tuple[Any, list[dict[str, torch.Tensor]]]:
    return [image for image, _ in samples], [target for _, target in samples]


def _padded(samples: Sequence[_Sample]) -> tuple[Any, list[dict[str, torch.Tensor]]]:
    """Images at the top left of one batch, as ``GeneralizedRCNNTransform.batch_images`` does."""
    images, targets = _listed(samples)
    height, width = (max(image.shape[axis] for image in images) for axis in (1, 2))
    shape = (len(images), 3, -(-height // _DIVISOR) * _DIVISOR, -(-width // _DIVISOR) * _DIVISOR)
    batch = torch.zeros(shape)
    for slot, image in zip(batch, images, strict=True):
        slot[:, : image.shape[1], : image.shape[2]].copy_(image)
    return batch, targets
