"""COCO's layout, written: ``train/`` and ``val/`` with the images, and a JSON of the objects of each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.command.progress import stream_in_threads
from pipelines.packing.layout import Layout
from pipelines.packing.packed_image import PackedImage
from pipelines.sources.coco import coco
from pipelines.sources.coco.run_lengths import encode_mask
from pipelines.sources.source import KeyedSource
from pipelines.sources.splits import Split
from pipelines.targets import Targets, targets_of

_FOLDERS: dict[Split, str] = {"train": "train", "test": "val"}


def _write_split(
    source: KeyedSource, folder: Path, split: Split, images: Iterator[tuple[int, PackedImage]], workers: int
) -> None:
    name = _FOLDERS[split]
    (folder / "annotations").mkdir(exist_ok=True)
    listed: list[dict[str, Any]] = []
    objects = 0

    def label(image: tuple[int, PackedImage]) -> tuple[int, PackedImage, list[dict[str, Any]]]:
        return *image, _annotations(targets_of(source, image[0]))

    with (folder / "annotations" / f"instances_{name}.json").open("w") as file:
        file.write('{"annotations": [')
        for index, packed, annotations in stream_in_threads(label, images, workers):
            path = folder / name / f"{source.key(index)}.{packed.extension}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(packed.data))
            number = len(listed) + 1
            file_name = path.relative_to(folder / name).as_posix()
            sides = {"height": packed.height, "width": packed.width}
            listed.append({"id": number, "file_name": file_name, **sides})
            for annotation in annotations:
                file.write(",\n" if objects else "\n")
                objects += 1
                json.dump({"id": objects, "image_id": number, **annotation}, file)
        categories = [{"id": place, "name": each} for place, each in enumerate(source.index.class_names, 1)]
        file.write(f'],\n"images": {json.dumps(listed)},\n"categories": {json.dumps(categories)}}}\n')


def _annotations(targets: Targets) -> list[dict[str, Any]]:
    """COCO's entries of each object, but for ids; a box is left, top, width and height."""
    assert targets.boxes is not None
    assert targets.classes is not None
    assert targets.areas is not None
    assert targets.masks is not None
    crowd = np.zeros(len(targets.boxes), bool) if targets.crowd is None else targets.crowd
    boxes = targets.boxes.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    size = [targets.height, targets.width]
    return [
        {
            "category_id": int(targets.classes[position]) + 1,
            "bbox": box,
            "area": float(targets.areas[position]),
            "iscrowd": int(crowd[position]),
            "segmentation": {"size": size, "counts": encode_mask(targets.masks[position]).decode()},
        }
        for position, box in enumerate(boxes.tolist())
    ]


COCO = Layout(
    kinds=frozenset({"boxes", "masks"}),
    keeps_key=bool,  # an image is named after it
    write_split=_write_split,
    open_split=coco.open_split,
)
