"""Training of a protocol: its steps one after the other, resumed where they were stopped."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

import torch
from torch import Tensor, nn

from fastssl.evaluate.resumable import Resumable
from fastssl.evaluate.training_setting import TrainingSetting
from fastssl.optim.train_step import TrainStep
from pipelines.command.progress import show_progress


class Trained(nn.Module):
    """A module that ``TrainStep`` takes for a method, whose weights are all there is of it."""

    def averages(self, step: int) -> list[tuple[nn.Module, nn.Module, float]]:
        """Nothing is averaged."""
        return []

    def after_step(self, step: int) -> None:
        """Nothing follows a step."""


def train_to_end(
    network: Trained,
    train_step: TrainStep,
    batches: Callable[[int], Generator[Any]],
    setting: TrainingSetting,
    resumable: Resumable,
    *,
    images: int,
    entry: str,
    doing: str,
    check: Callable[[int], None] = lambda step: None,
) -> Tensor:
    """Train a network to the end of its schedule; an epoch drops its last, partial batch.

    Args:
        network: what ``train_step`` moves.
        train_step: step of it.
        batches: batches of the network, endless or not, from a step on.
        setting: schedule; fewer images than its batch lower the batch, and the rate with it.
        resumable: keeps the state, entered.
        images: training images.
        entry: name of the network in the state.
        doing: shown beside the progress bar.
        check: called with the number of steps done before a state is saved and at the end.

    Returns:
        the mean of the network's metric ``loss`` over the last epoch.
    """
    batch_size = min(setting.batch_size, images)
    steps_per_epoch = images // batch_size
    total, done = setting.epochs * steps_per_epoch, 0
    losses: list[Tensor] = []  # of the last epoch
    if (state := resumable.restored()) is not None:
        done = state["step"]
        network.load_state_dict(state[entry])
        train_step.load_state_dict(state)
        device = next(network.parameters()).device
        losses = [loss.to(device) for loss in state["losses"]]
    with closing(batches(done)) as taken:
        for step in show_progress(range(done, total), total - done, doing):
            _, (metrics,) = train_step(taken, step, setting.rate(step, steps_per_epoch, batch_size))
            if step >= total - steps_per_epoch:
                losses.append(metrics["loss"])
            if step + 1 == total or resumable.is_due():
                check(step + 1)
                now = {"step": step + 1, entry: network.state_dict(), "losses": losses}
                resumable.save(now | train_step.state_dict())
            resumable.stop_if_asked(step + 1, total)
    return torch.stack(losses).mean(0)
