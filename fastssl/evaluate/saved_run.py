"""The whole of a run's checkpoint, for protocols that measure more of it than its encoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastssl.config import Experiment
from fastssl.config_values import from_dict
from fastssl.evaluate.subject import Subject
from fastssl.methods import Method, build_method
from fastssl.run import checkpoint
from pipelines.command.errors import UserError


@dataclass(frozen=True, kw_only=True, eq=False)
class SavedRun:
    """A checkpoint of a run."""

    path: Path
    """File of the checkpoint."""
    experiment: Experiment
    """Config of the run."""
    method: dict[str, Any]
    """State of the whole method: heads, teacher, queue."""
    step: int
    """Steps that it was trained for."""

    def build(self) -> Method:
        """The method with its saved weights, without probes, on the CPU.

        Raises:
            UserError: they do not fit the config.
        """
        experiment = self.experiment
        method = build_method(
            experiment.method, experiment.backbone, seed=experiment.seed, total_steps=1, num_classes=None
        )
        try:
            method.load_state_dict({k: v for k, v in self.method.items() if not k.startswith("probes.")})
        except (RuntimeError, TypeError, AttributeError):  # torch's, of several lines
            raise UserError(f"{self.path} is damaged: its weights do not fit its config") from None
        return method


def saved_run(subject: Subject, protocol: str, part: str) -> SavedRun:
    """The checkpoint that a subject's encoder is of.

    ``protocol`` needs it, for that ``part`` of the run: words for messages.

    Raises:
        UserError: the encoder is of no run, or its checkpoint holds nothing but an encoder.
    """
    if subject.run is None or not subject.method:
        raise UserError(f"{protocol}: this encoder is of no run, whose {part} is needed")
    path = subject.run / "checkpoints" / f"{subject.checkpoint or 'last'}.pt"
    state = checkpoint.load(path)
    if not isinstance(state.get("method"), dict) or not {"config", "step"} <= state.keys():
        raise UserError(f"{protocol}: {path} holds no {part}: give a checkpoint of fastssl.train")
    config = from_dict(state["config"], str(path), subject.run.absolute())
    return SavedRun(path=path, experiment=config.experiment, method=state["method"], step=state["step"])
