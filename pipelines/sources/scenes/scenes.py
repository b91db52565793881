"""``scenes``, the built-in data set: 10,000 training and 2,000 test images of ten solids, 48 pixels a side.

``scenes:fixed=texture,lighting`` holds these factors at one value; the others vary freely. A fixed ``color``
is a hue per solid. The images are rendered once and kept as one JPEG shard per split in the cache folder,
where they may be deleted at any time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import simplejpeg

from pipelines.command.errors import UserError
from pipelines.command.progress import show_progress
from pipelines.files.cache_folder import cache_folder
from pipelines.sources import shards
from pipelines.sources.cache import locked
from pipelines.sources.scenes.factors import FACTORS, draw_scenes
from pipelines.sources.scenes.raymarch import render
from pipelines.sources.scenes.solids import SOLIDS
from pipelines.sources.splits import Split

# Part of the name of every cached shard: raise it whenever a change alters an image. That of a fixed color is
# raised by one more: until it was a hue per solid all solids had one color.
_VERSION = 1
_COUNTS: dict[Split, int] = {"train": 10_000, "test": 2_000}
_STREAMS: dict[Split, int] = {"train": 0, "test": 1}
_SIDE = 48  # pixels
_QUALITY = 92  # of the JPEG; color is not subsampled: at this size it would show


def open_scenes(split: Split, cache: Path | None = None, variant: str = "") -> shards.ShardSource:
    """Open a split of the built-in data set; render it first where the cache folder lacks it.

    Rendering both splits takes 32 core-seconds (user time of two calls, on an AMD EPYC, family 25:
    ``time python -c "from pipelines.sources.scenes.scenes import open_scenes as o; o('train'), o('test')"``).

    Args:
        cache: folder to keep the images in; the usual one if None.
        variant: what follows ``scenes:``; "" or ``fixed=`` and names of FACTORS with commas between.

    Raises:
        UserError: unknown variant, or a cache folder that cannot be written.
    """
    fixed = _parse(variant)
    return _open(split, fixed, cache_folder() if cache is None else cache, _COUNTS[split], _SIDE)


def _parse(variant: str) -> frozenset[str]:
    """The fixed factors of a variant."""
    known = (
        f"scenes, scenes:fixed= and some of {', '.join(FACTORS)} with commas between, or those with labels: "
        "scenes:single-1011"
    )
    option, _, names = variant.partition("=")
    if variant and option != "fixed":
        raise UserError(f"scenes:{variant}: no such variant; give {known}")
    fixed = names.split(",") if variant else []
    for name in fixed:
        if name not in FACTORS:
            raise UserError(f"scenes:{variant}: no factor named {name!r}; give {known}")
    return frozenset(fixed)


def _open(split: Split, fixed: frozenset[str], cache: Path, count: int, side: int) -> shards.ShardSource:
    """A shard of the first ``count`` scenes of a split, each ``side`` pixels high and wide."""
    variant = "-".join(["fixed", *sorted(fixed)]) if fixed else "free"
    version = _VERSION + ("color" in fixed)
    path = cache / f"scenes-v{version}-{variant}-{side}px-{count}-{split}.tar"
    try:
        if not path.exists():
            cache.mkdir(parents=True, exist_ok=True)
            with locked(path.with_name(f".{path.name}.lock")):
                if not path.exists():  # nor made meanwhile; where nothing locks two make it, each one whole
                    shards.write_shard(path, _samples(split, fixed, count, side))
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; set FASTSSL_CACHE to a writable folder with 40 MB free"
        ) from None
    return shards.open_split(str(path), "train", cache)  # the one shard, whatever its split


def _samples(
    split: Split, fixed: frozenset[str], count: int, side: int
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Keys and members of the scenes of a split, rendered in threads, in order."""
    scenes = draw_scenes(_STREAMS[split], np.arange(count), fixed)
    for index, jpeg in enumerate(_render_all(scenes, side)):
        solid = int(scenes["solid"][index])
        label = json.dumps({"label": solid, "class_name": SOLIDS[solid]})
        yield f"{split}-{index:06d}", {"jpg": jpeg, "json": label.encode()}


def _render_all(scenes: np.ndarray, side: int) -> Iterator[bytes]:
    """The JPEG files of scenes, in order."""
    pool = ThreadPoolExecutor(os.cpu_count() or 1)
    try:
        files = pool.map(lambda scene: _encode(render(scene, side)), list(scenes))
        yield from show_progress(files, len(scenes), "Rendering scenes")
    finally:
        pool.shutdown(cancel_futures=True)


def _encode(image: np.ndarray) -> bytes:
    return bytes(simplejpeg.encode_jpeg(image, quality=_QUALITY, colorsubsampling="444", fastdct=False))
