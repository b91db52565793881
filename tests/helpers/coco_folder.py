"""A made-up COCO: photographs of noise, and objects as polygons, run lengths and crowds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from pycocotools import mask as coco_mask

CATEGORIES = [{"id": 7, "name": "kite"}, {"id": 2, "name": "zebra"}, {"id": 90, "name": "apple"}]
NAMES = ("zebra", "kite", "apple")  # by their ids
SIZES = ((40, 60), (31, 47), (50, 50))
SETS = {"train2017": 6, "val2017": 4}


def write_coco(root: Path) -> dict[str, dict[str, Any]]:
    """Write both sets and return their JSONs; images have none to three objects."""
    (root / "annotations").mkdir(parents=True)
    made = {}
    for number, (name, count) in enumerate(SETS.items()):
        generator = np.random.default_rng(number)
        images, annotations = [], []
        (root / name).mkdir()
        for position in range(count):
            height, width = SIZES[position % 3]
            image_id = 1000 - 13 * position  # neither sorted nor from 0
            file_name = f"{image_id:012d}.jpg"
            pixels = generator.integers(0, 255, (height, width, 3), dtype=np.uint8)
            (root / name / file_name).write_bytes(simplejpeg.encode_jpeg(pixels))
            images.append({"id": image_id, "file_name": file_name, "height": height, "width": width})
            kinds = [_polygons, _runs, _crowd][: (3, 2, 1, 3, 0, 1)[position]]
            annotations += [kind(generator, image_id, height, width) for kind in kinds]
        generator.shuffle(annotations)
        for position, annotation in enumerate(annotations):
            annotation["id"] = 500 + position
        made[name] = {"info": {"year": 2017}, "images": images, "annotations": annotations}
        made[name]["categories"] = CATEGORIES
        write_json(root, name, made[name])
    return made


def write_json(root: Path, name: str, content: dict[str, Any]) -> None:
    """Write the JSON of a set."""
    (root / "annotations" / f"instances_{name}.json").write_text(json.dumps(content, indent=1))


def _polygons(generator: np.random.Generator, image: int, height: int, width: int) -> dict[str, Any]:
    """Two triangles, a corner of which lies outside the image."""
    corners = generator.uniform(0, [width, height], (2, 3, 2)).round(2)
    corners[0, 0] = (-1.5, 3.25)
    return _annotation(image, 7, [triangle.ravel().tolist() for triangle in corners], [0, 1.25, 20.5, 17], 0)


def _runs(generator: np.random.Generator, image: int, height: int, width: int) -> dict[str, Any]:
    mask = np.asfortranarray(generator.random((height, width)) < 0.3, np.uint8)
    encoded = coco_mask.encode(mask)
    runs = {"size": [height, width], "counts": encoded["counts"].decode()}
    return _annotation(image, 90, runs, [3, 4, 1, 1], 0)


def _crowd(generator: np.random.Generator, image: int, height: int, width: int) -> dict[str, Any]:
    cuts = np.sort(generator.integers(0, height * width, 6))
    counts = np.diff([0, *cuts, height * width]).tolist()
    return _annotation(image, 2, {"size": [height, width], "counts": counts}, [5.5, 6, 30, 20.75], 1)


def _annotation(image: int, category: int, segmentation: Any, box: list[float], crowd: int) -> dict[str, Any]:
    known = {"image_id": image, "category_id": category, "segmentation": segmentation, "iscrowd": crowd}
    return {**known, "bbox": box, "area": image + 0.5}
