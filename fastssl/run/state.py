"""State of a training run: saved whole, and restored as it was."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastssl.config import Config, to_dict
from fastssl.distributed.collectives import all_reduce_mean
from fastssl.methods import Method
from fastssl.optim.train_step import TrainStep
from fastssl.run import checkpoint
from fastssl.run.clock import Clock, rates
from fastssl.run.divergence import LossWatch
from fastssl.run.log import MetricMeans
from pipelines.decode.bad_images import BadImages
from pipelines.files.atomic import write_json


@dataclass
class RunState:
    """The moving parts of a run. It is the same in every process that trains it."""

    config: Config
    method: Method
    train_step: TrainStep
    bad_images: BadImages
    steps_per_epoch: int
    total_steps: int
    precision_because: str = "as told"
    finished: dict[str, Any] | None = None
    """summary.json of a run that was finished before; there is nothing left to do."""
    step: int = 0
    """Steps done."""
    means: MetricMeans = field(default_factory=MetricMeans)
    losses: LossWatch = field(default_factory=LossWatch)
    clock: Clock = field(default_factory=Clock)
    knn: dict[str, float | None] = field(
        default_factory=lambda: {"knn_top1": None, "knn_top1_untrained": None, "knn_top1_pixels": None}
    )
    """Accuracies of the monitor; ``knn_top1_best`` too, where the best checkpoint is kept."""

    @property
    def epoch(self) -> float:
        """Epochs done."""
        return self.step / self.steps_per_epoch

    @property
    def baselines(self) -> dict[str, float]:
        """kNN top-1 of the ``untrained`` encoder and of ``pixels``, as far as they were measured."""
        found = {name: self.knn[f"knn_top1_{name}"] for name in ("untrained", "pixels")}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def is_done(self) -> bool:
        """True when all steps are done."""
        return self.step >= self.total_steps

    @property
    def stop_step(self) -> int:
        """Steps after which this process stops: all of them, or as ``stop_epoch`` has it."""
        asked = self.config.machine.stop_epoch
        return (
            min(self.total_steps, max(1, round(asked * self.steps_per_epoch))) if asked else self.total_steps
        )

    def ends_epochs(self, epochs: float) -> bool:
        """True if the last step ended a multiple of ``epochs``; 0: never."""
        steps = round(epochs * self.steps_per_epoch)
        return bool(steps) and self.step % steps == 0

    def advance(self, metrics: list[dict[str, Tensor]]) -> None:
        """Count a step that is done, with the metrics of its micro-batches."""
        self.step += 1
        for values in metrics:
            means = all_reduce_mean(values)
            self.means.add(means)
            self.losses.add(self.step, means["loss"])
        self.clock.step(self.config.experiment.batch_size)

    def diverged(self, *, weights: bool) -> tuple[int, str] | None:
        """The first step (from 1) that went wrong, and what is not finite: "loss is" or "weights are".

        None if all is well. Waits for the device; equal on all ranks.

        Args:
            weights: look at the weights too.
        """
        step = self.losses.first_not_finite()
        if step is not None:
            return step, "loss is"
        if weights and not all(bool(weight.isfinite().all()) for weight in self.method.parameters()):
            return self.step, "weights are"
        return None

    def keeps_best(self, top1: float) -> bool:
        """Take in a kNN top-1; True if it is above all before, so that its checkpoint is to be kept."""
        best = self.knn.get("knn_top1_best")
        if best is not None and top1 <= best:
            return False
        self.knn["knn_top1_best"] = top1
        return True

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Resume from the state that ``save`` wrote; the method has its weights already."""
        self.train_step.load_state_dict(state)
        self.means.load_state_dict(state["means"], device)
        self.clock.load_state_dict(state["clock"])
        self.step, self.knn = state["step"], state["knn"]

    def save(self, path: Path) -> None:
        """Write a checkpoint.

        Raises:
            UserError: the file cannot be written; the one before stands.
        """
        state = {
            "config": to_dict(self.config),
            "step": self.step,
            "method": self.method.state_dict(),
            "encoder": self.method.encoder.state_dict(),  # shares the method's storage: no byte more
            **self.train_step.state_dict(),
            "means": self.means.state_dict(),
            "clock": self.clock.state_dict(),
            "knn": self.knn,
        }
        checkpoint.save(path, state)

    def summarize(self, status: str, **more: Any) -> None:
        """Write summary.json."""
        clock = self.clock
        images_per_s, data_wait = rates(clock.images, clock.train_seconds, clock.wait_seconds)
        values = {
            "status": status,
            "recipe": self.config.recipe,
            "epochs_done": self.epoch,
            "steps_done": self.step,
            "total_steps": self.total_steps,
            "images_per_s": round(images_per_s, 1),
            "data_wait": round(data_wait, 4),
            "train_seconds": round(clock.train_seconds, 1),
            "evaluation_seconds": round(clock.evaluation_seconds, 1),
            "checkpoint_seconds": round(clock.checkpoint_seconds, 1),
            "bad_images": len(self.bad_images),
            **self.knn,
            **more,
        }
        write_json(self.config.out / "summary.json", values)
