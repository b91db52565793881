"""Divergence: the first step whose loss is not finite, and the file that names the images of its batch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastssl.run.data import TrainingData
from pipelines.command.errors import UserError
from pipelines.files.atomic import write_json

DIVERGED = "diverged.json"
_ENTRIES = {"step", "fingerprint"}


class LossWatch:
    """Losses of the steps since they were last read. They stay on the device until then."""

    MOST = 256
    """Micro-batches kept unread."""

    def __init__(self) -> None:
        self._steps: list[int] = []
        self._losses: list[Tensor] = []

    @property
    def is_full(self) -> bool:
        """True when the losses should be read."""
        return len(self._losses) >= self.MOST

    def add(self, step: int, loss: Tensor) -> None:
        """Take in the loss of a micro-batch of a step (counted from 1): 0-dim, equal on all ranks."""
        self._steps.append(step)
        self._losses.append(loss.detach())

    def first_not_finite(self) -> int | None:
        """The first step since the last call whose loss is NaN or infinite. Waits for the device."""
        if not self._losses:
            return None
        finite = torch.stack(self._losses).isfinite().tolist()
        steps, self._steps, self._losses = self._steps, [], []
        return steps[finite.index(False)] if False in finite else None


def write_divergence(folder: Path, step: int, data: TrainingData) -> None:
    """Write ``diverged.json`` into a run folder: the step (counted from 1), and its images by id and name.

    Images are those of the sample order; one that could not be decoded was replaced (bad_images.txt).
    """
    index, plan = data.source.index, replace(data.plan, rank=0, world_size=1)
    parts = data.config.experiment.accumulation_steps
    chosen = np.concatenate(
        [
            plan.samples(batch // plan.batches_per_epoch, plan.positions(batch))
            for batch in range((step - 1) * parts, step * parts)
        ]
    )
    values = {
        "step": step,
        "fingerprint": index.fingerprint,
        "sample_ids": index.sample_ids[chosen].tolist(),
        "images": [data.source.describe(int(sample)) for sample in chosen],
    }
    write_json(folder / DIVERGED, values)


def read_divergence(path: Path) -> dict[str, Any]:
    """The entries of a ``diverged.json``.

    Raises:
        UserError: there is none, or it is damaged.
    """
    try:
        values = json.loads(path.read_text())
    except OSError:
        raise UserError(f"--replay {path}: no such file: give the {DIVERGED} of a run folder") from None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or not values.keys() >= _ENTRIES or not isinstance(values["step"], int):
        raise UserError(f"--replay {path}: it is damaged, or no {DIVERGED} of a run folder")
    return values
