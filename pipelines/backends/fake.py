"""The fake backend: one ready batch again and again, for the bound of a training step by itself."""

from __future__ import annotations

from dataclasses import replace

import torch

from pipelines.backends.backend import Backend, Finished, LoaderConfig
from pipelines.backends.request import Request, Requests
from pipelines.views import ViewGroup


class FakeBackend(Backend):
    """Noise in the place of views, made once; ids, labels and parameters are those of the first step."""

    def __init__(self, config: LoaderConfig, requests: Requests) -> None:
        self._per_epoch = config.plan.batches_per_epoch
        self._request = requests.of_step(config.start_step)
        samples = len(self._request.indices)
        views = tuple(
            _noise(group, samples).to(config.device, config.dtype, memory_format=torch.channels_last)
            for group in config.groups
        )
        self._finished = Finished(views, self._request.indices)

    def request(self, requests: Requests, step: int) -> Request:
        """The first step's request, under another number."""
        return replace(self._request, step=step, epoch=step // self._per_epoch)

    def start(self, request: Request) -> None:
        """No-op."""

    def finish(self, ticket: None) -> Finished:
        """The same views."""
        return self._finished

    def drop(self) -> None:
        """No-op."""

    def close(self) -> None:
        """No-op."""


def _noise(group: ViewGroup, samples: int) -> torch.Tensor:
    """float32 [K * B, 3, S, S]."""
    side = group.spec.size
    generator = torch.Generator().manual_seed(0)
    return torch.randn(group.num_views * samples, 3, side, side, generator=generator)
