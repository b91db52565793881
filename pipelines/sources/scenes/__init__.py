"""Built-in images: ray-marched solids, or ray-cast shapes with exact labels; both of known factors."""

from __future__ import annotations

from pathlib import Path

from pipelines.sources.source import KeyedSource
from pipelines.sources.splits import Split

ABOUT = "the built-in `scenes`"


def takes(where: str) -> bool:
    """True if ``scenes`` or a variant of it is meant."""
    return where.partition(":")[0] == "scenes"


def open_split(where: str, split: Split, cache: Path) -> KeyedSource:
    """See ``scenes.open_scenes`` and, for ``scenes:single-...`` and ``scenes:multi-...``, ``labeled``."""
    variant = where.partition(":")[2]
    if variant.startswith(("single", "multi")):  # the kernels of both take a while to load
        from pipelines.sources.scenes.labeled import open_labeled

        return open_labeled(split, variant)
    from pipelines.sources.scenes.scenes import open_scenes

    return open_scenes(split, cache, variant)
