"""The interface of a layout: folders of images with their targets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from pipelines.packing.packed_image import PackedImage
from pipelines.sources.source import KeyedSource
from pipelines.sources.splits import Split
from pipelines.targets import TargetKind


class Layout(Protocol):
    """The module of a layout."""

    @property
    def KINDS(self) -> frozenset[TargetKind]:
        """Kinds of targets that it keeps."""
        ...

    def keeps_key(self, key: str) -> bool:
        """True if a sample of this key has it when it is read again."""
        ...

    def write_split(
        self,
        source: KeyedSource,
        folder: Path,
        split: Split,
        images: Iterator[tuple[int, PackedImage]],
        workers: int,
    ) -> None:
        """Write one split.

        Args:
            source: with targets of KINDS.
            folder: of both splits.
            split: "train" or "test".
            images: index and packed image of each sample to write, in order.
            workers: threads that make the targets.

        Raises:
            UserError: the layout cannot hold an image.
            OSError: the disk is full or broken.
        """
        ...

    def open_written(self, folder: Path, split: Split, cache: Path) -> KeyedSource:
        """Open what was written."""
        ...
