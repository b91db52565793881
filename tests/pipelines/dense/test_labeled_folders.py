"""Batches of COCO's and Cityscapes' folders: those of the scenes that they were packed from, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from pipelines.decode.bad_images import BadImages
from pipelines.dense.dense_batch import DenseBatch
from pipelines.dense.loader import DenseLoaderConfig, open_dense_loader
from pipelines.dense.view import ResizedView
from pipelines.pack import Options, pack
from pipelines.plan.plan import Plan
from pipelines.sources import open_source

SCENES = "scenes:multi-1111,images=4"


def first_batch(where: str) -> DenseBatch:
    config = DenseLoaderConfig(
        source=open_source(where, "train"),
        view=ResizedView(short_sides=(100, 150), longest=200),
        plan=Plan(count=4, batch_size=4, batches_per_epoch=1),
        start_step=0,
        stop_step=1,
        bad_images=BadImages(None, 0),
        workers=1,
    )
    with open_dense_loader(config) as loader:
        return next(iter(loader))


@pytest.mark.parametrize(
    ("form", "fields"), [("coco", ("boxes", "classes", "areas", "masks")), ("cityscapes", ("segmentation",))]
)
@pytest.mark.usefixtures("own_cache")
def test_batches_are_those_of_the_scenes(
    form: Literal["coco", "cityscapes"],
    fields: tuple[str, ...],
    tmp_path: Path,
) -> None:
    pack(Options(src=SCENES, dst=tmp_path / "packed", format=form, split="train", workers=1))
    ours, theirs = first_batch(str(tmp_path / "packed")), first_batch(SCENES)
    assert torch.equal(ours.images, theirs.images)
    np.testing.assert_array_equal(ours.sample_ids, theirs.sample_ids)
    for one, other in zip(ours.targets, theirs.targets, strict=True):
        for name in fields:
            assert getattr(one, name).size
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), strict=True)
