"""Built-in images: ray-marched scenes with known factors."""

from __future__ import annotations

from pathlib import Path

from pipelines.sources.source import KeyedSource
from pipelines.sources.splits import Split

ABOUT = "the built-in `scenes`"


def takes(where: str) -> bool:
    """True if ``scenes`` or a variant of it is meant."""
    return where.partition(":")[0] == "scenes"


def open_split(where: str, split: Split, cache: Path) -> KeyedSource:
    """See ``pipelines.sources.scenes.scenes.open_scenes``."""
    from pipelines.sources.scenes.scenes import open_scenes  # its kernels take a while to load

    return open_scenes(split, cache, where.partition(":")[2])
