"""Cityscapes' layout, written: images, label files, and a ``classes.txt`` of what their numbers are."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from pipelines.command.errors import UserError
from pipelines.command.progress import stream_in_threads
from pipelines.packing.layout import Layout
from pipelines.packing.packed_image import PackedImage
from pipelines.sources import cityscapes
from pipelines.sources.source import KeyedSource
from pipelines.sources.splits import Split
from pipelines.targets import targets_of

_FOLDER_WITHOUT_CITY = "images"


def _keeps_key(key: str) -> bool:
    """True for a name without folders: they are lost, as a folder is named after the city."""
    return bool(key) and "/" not in key


def _write_split(
    source: KeyedSource, folder: Path, split: Split, images: Iterator[tuple[int, PackedImage]], workers: int
) -> None:
    """See ``Layout``; all images must be PNGs."""
    part = cityscapes.FOLDERS[split]
    names = "".join(f"{name}\n" for name in source.index.segmentation_names)
    (folder / cityscapes.CLASS_FILE).write_text(names, encoding="utf-8")

    def label(image: tuple[int, PackedImage]) -> tuple[int, PackedImage, bytes]:
        segmentation = targets_of(source, image[0]).segmentation
        assert segmentation is not None
        file = io.BytesIO()
        Image.fromarray(segmentation).save(file, "PNG")
        return *image, file.getvalue()

    for index, packed, labels in stream_in_threads(label, images, workers):
        if packed.extension != "png":
            raise UserError(f"{source.describe(index)} is no PNG, as all images of Cityscapes' layout are")
        name = str(source.key(index))
        city = name.partition("_")[0] if "_" in name else _FOLDER_WITHOUT_CITY
        for place, end, content in (
            (cityscapes.IMAGES, cityscapes.IMAGE_END, bytes(packed.data)),
            (cityscapes.LABELS, cityscapes.LABEL_END, labels),
        ):
            path = folder / place / part / city / f"{name}{end}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


CITYSCAPES = Layout(
    kinds=frozenset({"segmentation"}),
    keeps_key=_keeps_key,
    write_split=_write_split,
    open_split=cityscapes.open_split,
)
