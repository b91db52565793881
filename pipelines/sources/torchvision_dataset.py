"""Classification data sets of torchvision, read by its own code to be packed: CIFAR100, STL10, SVHN, ...

Images are kept as pixels, so that packing loses nothing. A data set of JPEG files is better packed as a
folder, which keeps its bytes.
"""

from __future__ import annotations

import inspect
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.command.errors import UserError
from pipelines.command.progress import show_progress
from pipelines.command.suggest import suggest
from pipelines.sources.identity import fingerprint, sample_ids
from pipelines.sources.source import Index
from pipelines.sources.splits import TEST_NAMES, NoSplitError, Split


class TorchvisionSource:
    """Images of a data set of torchvision (a ``KeyedSource``), uint8 [H, W, 3]."""

    def __init__(self, index: Index, name: str, dataset: Any) -> None:
        self.index = index
        self._name, self._dataset = name, dataset

    def read(self, index: int) -> np.ndarray:
        """Pixels of a sample, uint8 [H, W, 3]."""
        return _pixels(self._dataset[index][0])

    def key(self, index: int) -> str:
        """The data set's name and the sample's number in its split."""
        return f"{self._name}/{index:06d}"

    def describe(self, index: int) -> str:
        """Same as ``key``."""
        return self.key(index)


def open_torchvision(name: str, root: Path, split: Split) -> TorchvisionSource:
    """Open a split of a data set that lies on the disk; nothing is downloaded.

    Args:
        name: class of ``torchvision.datasets`` whose samples are an image and its class.
        root: its ``root``.
        split: "train" or "test"; for the latter, its validation split where it has no other.

    Raises:
        NoSplitError: asked for "test" where there is none.
        UserError: torchvision has no such data set, it is not there, or its labels are no classes.
    """
    dataset = _open(name, root, split)
    count = len(dataset)
    if not count:
        raise UserError(f"{name} in {root} has no images: give a folder that holds it")
    heights, widths = np.zeros(count, np.int32), np.zeros(count, np.int32)
    labels, checksums = np.zeros(count, np.int64), []
    for number in show_progress(range(count), count, f"Reading {name}"):
        image, label = dataset[number]
        if not isinstance(label, int | np.integer) or label < 0:
            raise UserError(f"the labels of torchvision's {name} are no classes: choose another data set")
        pixels = _pixels(image)
        heights[number], widths[number], labels[number] = *pixels.shape[:2], label
        checksums.append(zlib.crc32(pixels.tobytes()))
    keys = [f"{name}/{number:06d}" for number in range(count)]
    given = getattr(dataset, "classes", None)
    names = tuple(map(str, given or range(int(labels.max()) + 1)))
    index = Index(
        sample_ids=sample_ids(keys, keys),
        heights=heights,
        widths=widths,
        labels=labels,
        class_names=names,
        fingerprint=fingerprint(keys, checksums, labels, names),
    )
    return TorchvisionSource(index, name, dataset)


def _open(name: str, root: Path, split: Split) -> Any:
    import torchvision.datasets as datasets  # slow to import

    kinds = {each: kind for each, kind in vars(datasets).items() if _has_root(kind)}
    if name not in kinds:
        hint = suggest(name, kinds, otherwise="torchvision.datasets has their names")
        raise UserError(f"torchvision has no data set {name!r}: {hint}")
    options = inspect.signature(kinds[name]).parameters
    if "train" in options:
        choices: list[dict[str, Any]] = [{"train": split == "train"}]
    elif "split" in options:
        choices = [{"split": word} for word in (("train",) if split == "train" else TEST_NAMES[::-1])]
    elif split == "train":
        choices = [{}]
    else:
        raise NoSplitError(f"torchvision's {name} has no test split")
    reason = ""
    for choice in choices:
        try:
            return kinds[name](str(root), **choice)
        except (RuntimeError, ValueError, OSError, TypeError) as error:  # as torchvision's data sets raise
            reason = reason or " ".join(str(error).split())
    raise UserError(f"{root} does not hold torchvision's {name} ({reason}): give the root that it lies in")


def _has_root(kind: object) -> bool:
    return inspect.isclass(kind) and next(iter(inspect.signature(kind).parameters), "") == "root"


def _pixels(image: Any) -> np.ndarray:
    return np.asarray(image.convert("RGB"))
