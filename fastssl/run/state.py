"""State of a training run: saved whole, and restored as it was."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fastssl.config import Config
from fastssl.config_values import to_dict
from fastssl.methods import Method
from fastssl.run import checkpoint
from fastssl.run.training_state import TrainingState
from pipelines.files.atomic import write_json


@dataclass(kw_only=True)
class RunState(TrainingState):
    """The moving parts of a run. It is the same in every process that trains it."""

    config: Config
    method: Method
    precision_because: str = "as told"
    knn: dict[str, float | None] = field(
        default_factory=lambda: {"knn_top1": None, "knn_top1_untrained": None, "knn_top1_pixels": None}
    )
    """Accuracies of the monitor; ``knn_top1_best`` too, where the best checkpoint is kept."""

    @property
    def baselines(self) -> dict[str, float]:
        """kNN top-1 of the ``untrained`` encoder and of ``pixels``, as far as they were measured."""
        found = {name: self.knn[f"knn_top1_{name}"] for name in ("untrained", "pixels")}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def stop_step(self) -> int:
        """Steps after which this process stops: all of them, or as ``pause_after`` has it."""
        asked = self.config.machine.pause_after
        return (
            min(self.total_steps, max(1, round(asked * self.steps_per_epoch))) if asked else self.total_steps
        )

    def keeps_best(self, top1: float) -> bool:
        """Take in a kNN top-1; True if it is above all before, so that its checkpoint is to be kept."""
        best = self.knn.get("knn_top1_best")
        if best is not None and top1 <= best:
            return False
        self.knn["knn_top1_best"] = top1
        return True

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Resume from the state that ``save`` wrote; the method has its weights already."""
        super().restore(state, device)
        self.knn = state["knn"]

    def save(self, path: Path) -> None:
        """Write a checkpoint.

        Raises:
            UserError: the file cannot be written; the one before stands.
        """
        state = {
            "config": to_dict(self.config),
            "method": self.method.state_dict(),
            "encoder": self.method.encoder.state_dict(),  # shares the method's storage: no byte more
            **self.saved(),
            "knn": self.knn,
        }
        checkpoint.save(path, state)

    def summarize(self, status: str, **more: Any) -> None:
        """Write summary.json."""
        values = {
            "status": status,
            "recipe": self.config.recipe,
            **self.summary(),
            **self.knn,
            **more,
        }
        write_json(self.config.out / "summary.json", values)
