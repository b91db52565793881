"""Options of ``python -m pipelines.pack``, by themselves: its help needs nothing that reads images."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from pipelines.command.ranges import Count, CountOrNone, Percent, SmallCount, ZeroToOneOrNone, check_ranges


@dataclass(frozen=True, kw_only=True)
class Options:
    """Write a data set as tar shards, FFCV's .beton, or COCO's or Cityscapes' folders, and verify it."""

    src: Annotated[Positional[str], arg(metavar="SRC")]
    """A folder of images, tar shards, Parquet or .beton files, or `scenes`; with --torchvision its root."""
    dst: Annotated[Positional[Path], arg(metavar="DST")]
    """Output: NAME.beton, or a folder, also behind s3:// or gs://."""
    torchvision: Annotated[str, arg(metavar="NAME")] = ""
    """Data set of torchvision that lies in SRC, such as CIFAR100: its pixels are packed without loss."""
    format: Literal["shards", "beton", "coco", "cityscapes"] | None = None
    """Container format. Left out: beton if DST ends so, otherwise shards. A folder may hold either. Targets
    are kept by coco (boxes and masks) and cityscapes (classes of pixels): folders of images and labels."""
    max_side: CountOrNone = None
    """Scale images with a longer side down to so many pixels, and write these as JPEG."""
    quality: Percent = 90
    """JPEG quality of images encoded here; those that need no change are copied byte for byte."""
    raw_share: ZeroToOneOrNone = None
    """Share of the images of a .beton stored as pixels; the others are stored as JPEG. Left out: JPEGs stay
    as they are, and images other than upright JPEGs are stored as pixels."""
    shard_mb: Count = 500
    """Size of a shard, MB: it is closed when it holds so much."""
    split: Literal["train", "test", "all"] = "all"
    """Split to pack; the test split is written as `val`."""
    workers: Annotated[SmallCount, arg(metavar="THREADS")] = 0
    """Threads; 0 takes every core."""

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def container(self) -> Literal["shards", "beton"]:
        """Kind of storage that images are made ready for; folders hold them as shards do."""
        named = self.format or ("beton" if self.dst.suffix == ".beton" else "shards")
        return "beton" if named == "beton" else "shards"

    @property
    def threads(self) -> int:
        """Number of threads that work."""
        return self.workers or len(os.sched_getaffinity(0))
