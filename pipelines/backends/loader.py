"""The loader: batches in the keyed order, from any step on, made by a backend.

The loader draws what a step shows, keeps ``prefetch`` steps under way (``StepLoader``), and puts batches
together; a backend decodes and renders. A batch that a backend cannot make goes to the CPU backend, with its
substitutes for images that cannot be decoded and its notes of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pipelines.backends.backend import Backend, Finished, LoaderConfig
from pipelines.backends.request import Request, Requests
from pipelines.backends.step_loader import StepLoader
from pipelines.backends.threads import ThreadsBackend
from pipelines.batch import Batch, to_device


@dataclass(frozen=True, eq=False)
class _Job:
    request: Request
    ticket: Any


class Loader(StepLoader[_Job, Batch]):
    """Batches of a plan. Close it, or use it as a context.

    Args:
        config: what is loaded.
        backend: its class.
    """

    def __init__(self, config: LoaderConfig, backend: type[Backend]) -> None:
        super().__init__(config)
        self._config = config
        self._requests = Requests(config.source.index, config.groups, config.plan)
        self._fallback: ThreadsBackend | None = None
        self._backend = backend.open(config, self._requests)

    def close(self) -> None:
        """End the workers; what was prefetched is dropped."""
        self._under_way.clear()
        for part in (self._backend, self._fallback, self._read_ahead):
            if part is not None:
                part.close()

    def _begin(self, step: int) -> _Job:
        request = self._backend.request(self._requests, step)
        return _Job(request, self._backend.start(request))

    def _release(self) -> None:
        self._backend.release()
        if self._fallback is not None:
            self._fallback.release()

    def _drop(self) -> None:
        self._under_way.clear()
        self._backend.drop()
        if self._fallback is not None:
            self._fallback.drop()

    def _by_cpu(self, request: Request) -> Finished:
        if self._fallback is None:
            one = replace(self._config, prefetch=0, cpu_output="views")
            self._fallback = ThreadsBackend(one, self._requests)
        return self._fallback.finish(self._fallback.start(request))

    def _finish(self, job: _Job) -> Batch:
        request = job.request
        finished = self._backend.finish(job.ticket) or self._by_cpu(request)
        index, device = self._config.source.index, self._config.device
        labels = None if index.labels is None else to_device(index.labels[finished.shown], device)
        return Batch(
            step=request.step,
            epoch=request.epoch,
            views=finished.views,
            sample_ids=to_device(index.sample_ids[request.indices], device),
            labels=labels,
            parameters=request.parameters,
        )
