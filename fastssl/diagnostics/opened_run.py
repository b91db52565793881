"""A run as diagnostics see it: its encoder, and its images where they are asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from fastssl.evaluate.subject import Subject, open_subject
from fastssl.run.folder import load_encoder, run_and_checkpoint


@dataclass(frozen=True, kw_only=True)
class OpenedRun:
    """A run folder or one of its checkpoints, opened as far as it is used."""

    where: Path
    """As the user named it."""
    data: str = ""
    """Labeled images; "": those of the training, or of ``beside``'s."""
    device: str = "auto"
    """auto, cpu or cuda."""
    workers: int = 0
    """Loader threads; 0 takes every core."""
    beside: OpenedRun | None = None
    """The run that it is compared to, whose images it sees."""

    @property
    def folder(self) -> Path:
        """The run folder."""
        return run_and_checkpoint(self.where)[0]

    @property
    def checkpoint(self) -> str:
        """Name of a kept checkpoint; "" is the last."""
        return run_and_checkpoint(self.where)[1]

    @property
    def label(self) -> str:
        """Name for pictures: the folder's and the checkpoint's."""
        return " ".join(filter(None, (self.folder.resolve().name, self.checkpoint)))

    @property
    def about(self) -> dict[str, str]:
        """Entry of a result: folder and checkpoint."""
        return {"run": str(self.folder), "checkpoint": self.checkpoint or "last"}

    @cached_property
    def encoder(self) -> nn.Module:
        """The encoder in evaluation mode, on the CPU; its images are not opened."""
        return load_encoder(self.where)[1]

    @cached_property
    def subject(self) -> Subject:
        """Encoder and labeled images.

        Raises:
            UserError: the images are unfit.
        """
        return open_subject(self.where, self._images, self.device, self.workers)

    @property
    def _images(self) -> str:
        """The images as they were named; "": those of the training."""
        return self.data or (self.beside.subject.where if self.beside else "")
