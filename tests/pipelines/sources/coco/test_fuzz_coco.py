"""Damaged JSONs of COCO: one line, or arrays whose masks can be unpacked."""

from __future__ import annotations

import copy
import json
import random
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.command.errors import UserError
from pipelines.sources.coco.coco_file import read_coco
from tests.helpers.coco_folder import write_coco
from tests.helpers.mutations import damaged_files, few_and_many, mutations, one_line

ODD: tuple[Any, ...] = (
    *(None, -1, 0, 7, 1e300, float("nan"), "x", "", "00", [], {}, 1 << 70, True, 3.5, [[1, 2, 3]], [1]),
)


def with_odd_values(content: dict[str, Any], draw: random.Random) -> bytes:
    """A JSON one or two of whose values are others."""
    damaged = copy.deepcopy(content)
    for _ in range(draw.randint(1, 2)):
        value: Any = draw.choice(damaged[draw.choice(("images", "annotations", "annotations", "categories"))])
        while True:
            place = draw.choice(list(value) if isinstance(value, dict) else range(len(value)))
            if not isinstance(value[place], (dict, list)) or not value[place] or draw.random() < 0.2:
                break
            value = value[place]
        value[place] = copy.deepcopy(draw.choice(ODD))
    return json.dumps(damaged).encode()


@few_and_many(200, 2_000)
def test_damaged_jsons(count: int, tmp_path: Path) -> None:
    """Damage the text itself, and values in it."""
    content = write_coco(tmp_path)["val2017"]
    path, opened, draw = tmp_path / "annotations" / "instances_val2017.json", 0, random.Random(0)
    seed = json.dumps(content, indent=1).encode()
    odd = (with_odd_values(content, draw) for _ in range(count))
    for number, _ in enumerate(damaged_files(path, chain(mutations([seed], count), odd))):
        try:
            file = read_coco(path, tmp_path / f"cache-{number % 8}")
        except UserError as error:
            one_line(error, "instances_val2017.json")
            continue
        opened += 1
        assert len(file.names) == len(file.sizes) == len(file.offsets) - 1
        assert file.offsets[-1] == len(file.boxes) == len(file.categories) == len(file.crowd)
        assert np.isfinite(file.boxes).all()
        assert (file.boxes[:, 2:] > file.boxes[:, :2]).all()
        for image in range(len(file.names)):
            if file.has_masks and np.prod(file.sizes[image], dtype=np.int64) < 1 << 20:
                file.masks(image)
    assert count / 20 < opened < count
