"""The interface of a source of images: an index of its samples, and their encoded bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from pipelines.command.text import visible
from pipelines.sources.objects import Objects
from pipelines.sources.splits import Split

_NAMES_SHOWN = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class Index:
    """Metadata of N samples, known before any is decoded."""

    sample_ids: np.ndarray
    """int64 [N], stable: the same image keeps its id in a subset and when repacked
    (``pipelines.keys.stable_id`` of the path below the split, without its extension)."""
    heights: np.ndarray
    """int32 [N], pixels of the upright image (after EXIF rotation); 0: unreadable header."""
    widths: np.ndarray
    """int32 [N], pixels of the upright image; 0: unreadable header."""
    labels: np.ndarray | None
    """int64 [N], position in ``class_names``; None where the source has no classes, or several per image."""
    class_names: tuple[str, ...]
    """Names of the classes of ``labels``, ``objects`` and targets, sorted; of a list whose labels are all
    whole numbers, as numbers; COCO's by their ids."""
    fingerprint: str
    """Hex digest that changes when the samples or their labels do."""
    objects: Objects | None = None
    """Classes and boxes of sources whose images have several, which have no ``labels``."""
    segmentation_names: tuple[str, ...] = ()
    """Classes of the pixels of ``Targets.segmentation``, by their numbers, background among them where it is
    one; empty where pixels have no classes."""
    notes: tuple[str, ...] = ()
    """Lines for the user on what of the data is not used."""

    def summary(self) -> str:
        """One line on the samples: how many, of how many classes, and the first names of these."""
        if self.labels is None and self.objects is None:
            return f"{len(self)} images without classes"
        names = ", ".join(map(visible, self.class_names[:_NAMES_SHOWN]))
        more = ", ..." if len(self.class_names) > _NAMES_SHOWN else ""
        noun = "class" if len(self.class_names) == 1 else "classes"
        return f"{len(self)} images of {len(self.class_names)} {noun} ({names}{more})"

    def __len__(self) -> int:
        return len(self.sample_ids)


class Source(Protocol):
    """Encoded images by index. ``read`` is called from many threads at once."""

    @property
    def index(self) -> Index:
        """Metadata of all samples."""
        ...

    def read(self, index: int) -> bytes | memoryview | np.ndarray:
        """The encoded bytes of a sample, or its pixels, uint8 [H, W, 3], where they are stored raw.

        Raises:
            OSError: where the bytes cannot be read.
        """
        ...

    def describe(self, index: int) -> str:
        """Location of the sample, for messages: a path, or ``shard.tar:member``."""
        ...


@runtime_checkable
class KeyedSource(Source, Protocol):
    """A source whose samples have keys, so that their ids can be made anew when they are packed."""

    def key(self, index: int) -> str | None:
        """The key of a sample, which its id is made of; None where it is not known."""
        ...


class Reader(Protocol):
    """The module of a kind of source: recognizes the data it reads, and opens it."""

    @property
    def ABOUT(self) -> str:
        """Kind of data it reads, for messages: "a folder of images"."""
        ...

    def takes(self, where: str) -> bool:
        """True if ``where`` names data of this kind; it may be missing or damaged, as opening it tells."""
        ...

    def open_split(self, where: str, split: Split, cache: Path) -> KeyedSource:
        """Open a split.

        Args:
            where: taken.
            split: "train" or "test".
            cache: folder for what is found out about the data.

        Raises:
            NoSplitError: asked for "test" where there is none.
            UserError: it cannot be read.
        """
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Fetching:
    """Files that a source fetches from elsewhere into a cache on this machine."""

    where: str
    """The data, for messages."""
    firsts: np.ndarray
    """int64 [files + 1]: the first sample of each file, and behind them the number of all."""
    sizes: np.ndarray
    """int64 [files], bytes; 0: on this machine already."""
    capacity: int
    """Most bytes of the cache."""
    fetched: int = 0
    """Bytes that this process has fetched so far, to read samples."""


@runtime_checkable
class Fetches(Protocol):
    """A source whose files may be elsewhere, each fetched as a whole when it is needed."""

    @property
    def fetching(self) -> Fetching | None:
        """Files to fetch; None where all is on this machine."""
        ...

    def hold(self, runs: np.ndarray) -> None:
        """Fetch the files of these runs, in their order, and let those of no run go.

        Args:
            runs: int64 [R, 2]: first sample, and past the last; none where it is not known any more what
                will be needed.
        """
        ...


@runtime_checkable
class ReadsAhead(Protocol):
    """A source whose samples lie one after the other in large files."""

    def read_ahead(self, first: int, end: int) -> None:
        """Bring the samples from ``first`` to before ``end`` into memory.

        Raises:
            OSError: where the bytes cannot be read.
        """
        ...
