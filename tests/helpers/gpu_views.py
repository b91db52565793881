"""The GPU renderer for tests: on a GPU, or in Triton's interpreter (with the fixture ``interpreter``)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from pipelines.batch import Images

ON_GPU = torch.cuda.is_available()
with pytest.MonkeyPatch.context() as environment:
    if not ON_GPU:
        environment.setenv("TRITON_INTERPRET", "1")  # is looked at where a kernel is defined
    from pipelines.render.gpu import finish_crops as finish_crops
    from pipelines.render.gpu import render_views as render_views

DEVICE = torch.device("cuda" if ON_GPU else "cpu")


def packed(images: Sequence[np.ndarray]) -> Images:
    """The images behind each other, each but the first after a gap that no view may show."""
    gap = np.full(7, 255, np.uint8)
    offsets = np.cumsum([0, *(image.size + len(gap) for image in images[:-1])])
    pixels = np.concatenate([part for image in images for part in (image.reshape(-1), gap)])
    sides = np.array([image.shape[:2] for image in images], np.int32)
    return Images(
        pixels=torch.from_numpy(pixels).to(DEVICE),
        offsets=torch.from_numpy(offsets).to(DEVICE),
        heights=torch.from_numpy(sides[:, 0].copy()).to(DEVICE),
        widths=torch.from_numpy(sides[:, 1].copy()).to(DEVICE),
    )
