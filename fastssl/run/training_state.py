"""Moving parts of any training: weights, optimizer, steps done, means, clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fastssl.distributed.collectives import all_reduce_mean
from fastssl.optim.train_step import TrainStep
from fastssl.run.clock import Clock, rates
from fastssl.run.divergence import LossWatch
from fastssl.run.log import MetricMeans
from pipelines.decode.bad_images import BadImages


@dataclass(kw_only=True)
class TrainingState:
    """The moving parts of a training. They are the same in every process that takes part."""

    method: nn.Module
    """The module that is trained, as ``TrainStep`` takes it."""
    train_step: TrainStep
    bad_images: BadImages
    batch_size: int
    """Images per step, over all processes."""
    steps_per_epoch: int
    total_steps: int
    finished: dict[str, Any] | None = None
    """summary.json of a run that was finished before; there is nothing left to do."""
    step: int = 0
    """Steps done."""
    means: MetricMeans = field(default_factory=MetricMeans)
    losses: LossWatch = field(default_factory=LossWatch)
    clock: Clock = field(default_factory=Clock)

    @property
    def epoch(self) -> float:
        """Epochs done."""
        return self.step / self.steps_per_epoch

    @property
    def is_done(self) -> bool:
        """True when all steps are done."""
        return self.step >= self.total_steps

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
        self.clock.step(self.batch_size)

    def diverged(self, *, weights: bool) -> tuple[int, str] | None:
        """The first step (from 1) that went wrong, and what is not finite: "loss is" or "weights are".

        Weights are looked at if asked for. None if all is well. Waits for the device; equal on all ranks.
        """
        step = self.losses.first_not_finite()
        if step is not None:
            return step, "loss is"
        if weights and not all(bool(weight.isfinite().all()) for weight in self.method.parameters()):
            return self.step, "weights are"
        return None

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Resume from what ``saved`` gave; the weights are loaded already."""
        self.train_step.load_state_dict(state)
        self.means.load_state_dict(state["means"], device)
        self.clock.load_state_dict(state["clock"])
        self.step = state["step"]

    def saved(self) -> dict[str, Any]:
        """Entries of a checkpoint but for the config and the weights."""
        return {
            "step": self.step,
            **self.train_step.state_dict(),
            "means": self.means.state_dict(),
            "clock": self.clock.state_dict(),
        }

    def summarize(self, status: str, **more: Any) -> None:
        """Write summary.json."""
        raise NotImplementedError

    def summary(self) -> dict[str, Any]:
        """Entries of summary.json that all trainings have."""
        clock = self.clock
        images_per_s, data_wait = rates(clock.images, clock.train_seconds, clock.wait_seconds)
        return {
            "epochs_done": self.epoch,
            "steps_done": self.step,
            "total_steps": self.total_steps,
            "images_per_s": round(images_per_s, 1),
            "data_wait": round(data_wait, 4),
            "train_seconds": round(clock.train_seconds, 1),
            "evaluation_seconds": round(clock.seconds["evaluation"], 1),
            "checkpoint_seconds": round(clock.seconds["checkpoint"], 1),
            "bad_images": len(self.bad_images),
        }
