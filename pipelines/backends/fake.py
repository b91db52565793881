"""The fake backend: one ready batch again and again, for the bound of a training step by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from pipelines.backends.products import TORCH_TYPES, to_device
from pipelines.backends.request import Requests
from pipelines.batch import Batch
from pipelines.plan.plan import Plan
from pipelines.render.finish import NumberFormat
from pipelines.sources import Source
from pipelines.views import ViewGroup


class FakeLoader:
    """Noise in the place of views, made once; ids, labels and parameters are those of the first step.

    Args:
        source: only its index is used.
        groups: the views of a sample.
        plan: gives the size of a batch and the length of an epoch.
        number_format: of the views.
        start_step: the first step; batches end before ``stop_step``.
        device: where the batch lies.
    """

    def __init__(
        self,
        source: Source,
        groups: tuple[ViewGroup, ...],
        plan: Plan,
        *,
        number_format: NumberFormat,
        start_step: int,
        stop_step: int,
        device: torch.device,
    ) -> None:
        self._plan = plan
        self._step, self._stop_step = start_step, stop_step
        index, request = source.index, Requests(source.index, groups, plan).of_step(start_step)
        self._batch = Batch(
            step=request.step,
            epoch=request.epoch,
            views=tuple(
                _noise(group, len(request.numbers)).to(
                    device, TORCH_TYPES[number_format], memory_format=torch.channels_last
                )
                for group in groups
            ),
            sample_ids=to_device(index.sample_ids[request.numbers], device),
            labels=None if index.labels is None else to_device(index.labels[request.numbers], device),
            parameters=request.parameters,
        )

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._step >= self._stop_step:
            raise StopIteration
        step, self._step = self._step, self._step + 1
        return replace(self._batch, step=step, epoch=step // self._plan.batches_per_epoch)

    def state_dict(self) -> dict[str, int]:
        """The step to come."""
        return {"step": self._step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a state."""
        self._step = state["step"]

    def close(self) -> None:
        """Nothing to end."""


def _noise(group: ViewGroup, samples: int) -> torch.Tensor:
    """float32 [K * B, 3, S, S]."""
    side = group.spec.size
    generator = torch.Generator().manual_seed(0)
    return torch.randn(group.num_views * samples, 3, side, side, generator=generator)
