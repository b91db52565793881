"""The interface of a layout: folders of images with their targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.packing.packed_image import PackedImage
from pipelines.sources.source import KeyedSource
from pipelines.sources.splits import Split
from pipelines.targets import TargetKind


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A layout of folders."""

    kinds: frozenset[TargetKind]
    """Kinds of targets that it keeps."""
    keeps_key: Callable[[str], bool]
    """True if a sample of this key has it when it is read again."""
    write_split: Callable[[KeyedSource, Path, Split, Iterator[tuple[int, PackedImage]], int], None]
    """Write one split of a source that has the targets to the folder of both splits. The images to write come
    with their indices, in order; the last argument is the threads that make the targets. Raises UserError
    where the layout cannot hold an image, OSError where the disk is full or broken."""
    open_split: Callable[[str, Split, Path], KeyedSource]
    """Open a split of such a folder; the last argument is a folder for its index."""
