"""Weights of another library or code as diagnostics see them: an opened run, but for where things lie."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from fastssl.diagnostics.opened_run import OpenedRun
from fastssl.evaluate.foreign_subject import foreign_folder, open_foreign_subject
from fastssl.evaluate.subject import Subject, weights_digest
from fastssl.foreign.encoder import ForeignEncoder, foreign_encoder


@dataclass(frozen=True, kw_only=True)
class OpenedWeights(OpenedRun):
    """A file of foreign weights, opened as far as it is used; its results go to ``runs/NAME-DIGEST``."""

    layout: str | None = None
    """See ``fastssl.foreign.encoder.foreign_encoder``."""

    @cached_property
    def folder(self) -> Path:
        """See ``fastssl.evaluate.foreign_subject.foreign_folder``."""
        return foreign_folder(self.where, self._found, weights_digest(self.encoder))

    @property
    def checkpoint(self) -> str:
        """Always ""."""
        return ""

    @property
    def about(self) -> dict[str, str]:
        """Entry of a result: folder, file and layout."""
        return {"run": str(self.folder), "weights": str(self.where), "layout": self._found.layout}

    @property
    def encoder(self) -> nn.Module:
        """The encoder in evaluation mode, on the CPU."""
        return self._found.encoder

    @cached_property
    def subject(self) -> Subject:
        """Encoder and labeled images.

        Raises:
            UserError: no images were named, or they are unfit.
        """
        return open_foreign_subject(self.where, self.layout, self._images, self.device, self.workers)

    @cached_property
    def _found(self) -> ForeignEncoder:
        return foreign_encoder(self.where, self.layout)
