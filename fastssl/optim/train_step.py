"""One optimizer step, from micro-batches to moved weights: the one thing that compilers and graphs wrap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fastssl.distributed.collectives import rank, wrap_ddp
from fastssl.models.batch_norm import average_statistics
from fastssl.models.teacher import update_averages
from fastssl.optim.optimizer import Optimizer, set_learning_rate
from pipelines.keys import stable_id

AnyBatch = TypeVar("AnyBatch")


class TrainStep:
    """Forward, accumulation, backward, optimizer, and what follows the weights.

    With several processes the gradients are averaged over them. On a GPU nothing waits for the device, but in
    fp16 where the optimizer is implemented in foreach, reference or apex: there torch's scaler asks at each
    step whether to skip it.

    Args:
        method: a ``fastssl.methods.Method`` on its device, or a module with its ``forward``, which is called
            on each micro-batch, ``averages`` and ``after_step``.
        optimizer: optimizer of the method's parameters. Each step sets the rate of its groups.
        device: device of the method.
        autocast: dtype of forward and backward; None: the weights'.
        accumulation_steps: micro-batches per step; their mean loss is followed.
        clip_grad_norm: largest norm of the gradient, which is scaled down to it; 0: as it is. The norm before
            is logged as ``grad_norm``, 0 for a step that fp16 skips.
        seed: seed of draws from torch's global generator (dropout, drop path), made per process.

    Attributes:
        scaler: keeps fp16's gradients in range; it does nothing in other formats.
    """

    def __init__(
        self,
        method: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        device: torch.device,
        autocast: torch.dtype | None = None,
        accumulation_steps: int = 1,
        clip_grad_norm: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.optimizer = optimizer
        self.scaler = torch.amp.GradScaler(device.type, enabled=autocast is torch.float16)
        self._method = method
        self._model = wrap_ddp(method)
        self._device, self._autocast = device, autocast
        self._accumulation_steps, self._clip_grad_norm = accumulation_steps, clip_grad_norm
        self._seed = seed

    def __call__(
        self, batches: Iterator[AnyBatch], step: int, rate: float
    ) -> tuple[AnyBatch, list[dict[str, Tensor]]]:
        """Take the micro-batches of ``step`` (from 0) and move the weights at the learning rate ``rate``.

        Returns:
            The last micro-batch, and the metrics of each: detached 0-dim tensors on the device.
        """
        self._begin(step, rate)
        metrics = []
        for part in range(self._accumulation_steps):
            batch = next(batches)
            if isinstance(self._model, DistributedDataParallel):  # once per step is enough
                self._model.require_backward_grad_sync = part == self._accumulation_steps - 1
            metrics.append(self._add_gradients(batch, step))
        metrics = self._move_weights(metrics, step)
        self._end(step)
        return batch, metrics

    def _begin(self, step: int, rate: float) -> None:
        set_learning_rate(self.optimizer, rate)
        torch.manual_seed(stable_id(f"layers/{self._seed}/{step}/{rank()}"))  # the same in a resumed run

    def _add_gradients(self, batch: Any, step: int) -> dict[str, Tensor]:
        """Forward and backward of a micro-batch. Returns its metrics."""
        with torch.autocast(self._device.type, self._autocast, enabled=self._autocast is not None):
            loss, values = self._model(batch, step)
        self.scaler.scale(loss / self._accumulation_steps).backward()
        metrics: dict[str, Tensor] = values
        return metrics

    def _move_weights(self, metrics: list[dict[str, Tensor]], step: int) -> list[dict[str, Tensor]]:
        """Optimizer and moving averages. Returns the metrics, with the gradient's norm if it is clipped."""
        if self._clip_grad_norm:
            norm = self._clip_gradients()
            metrics = [values | {"grad_norm": norm} for values in metrics]
        averages = self._method.averages(step)  # type: ignore[operator]
        fused = isinstance(self.optimizer, Optimizer) and self.optimizer.take_averages(averages)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if not fused:
            update_averages(averages)
        return metrics

    def _end(self, step: int) -> None:
        """Finish a step whose weights have moved: queues, memories, statistics."""
        self._method.after_step(step)  # type: ignore[operator]
        average_statistics(self._method)

    def _clip_gradients(self) -> Tensor:
        """Scale gradients down to the largest norm. Returns the norm before, 0-dim, 0 if it is not finite."""
        self.scaler.unscale_(self.optimizer)
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, self._clip_grad_norm)
        return torch.where(norm.isfinite(), norm, 0.0)

    def state_dict(self) -> dict[str, object]:
        """Everything that a checkpoint keeps of the step."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, dict[str, object]]) -> None:
        """Restore what ``state_dict`` gave; other entries are left alone."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
