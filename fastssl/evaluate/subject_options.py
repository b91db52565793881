"""Options of commands that look at encoders: which ones, on which images, where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from fastssl.distributed.device import DeviceName
from fastssl.foreign.layouts import chosen_layout
from pipelines.command.errors import UserError
from pipelines.command.ranges import SmallCount, check_ranges


@dataclass(frozen=True, kw_only=True)
class SubjectOptions:
    """Encoders, images and device."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders, or checkpoints of them."""
    weights: tuple[Path, ...] = ()
    """Weights of other libraries and codes, after the runs: a state_dict, MoCo's checkpoint, detectron2's
    .pkl."""
    layout: str = "auto"
    """Their layout: torchvision, timm, timm:MODEL, moco, moco-v3, simsiam, detectron2, transformers."""
    data: str = ""
    """Labeled images; left out, those of the training."""
    device: DeviceName = "auto"
    """Device to compute on; auto takes a CUDA GPU if there is one. mps (Apple's) is untested."""
    workers: SmallCount = 0
    """Loader threads; 0 takes every core."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.foreign_layout and not self.weights:
            raise UserError(f"--layout {self.layout} tells of --weights FILE: give these, or leave it out")

    @property
    def foreign_layout(self) -> str | None:
        """See ``chosen_layout``."""
        return chosen_layout(self.layout)

    def check_encoders(self) -> None:
        """Check that all runs and files are there; a sweep is planned before they are.

        Raises:
            UserError: one is not.
        """
        for path in (*self.runs, *self.weights):
            if not path.exists():
                raise UserError(f"{path} does not exist: give a run folder or one of its checkpoints")
