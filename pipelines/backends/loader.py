"""The loader: batches in the keyed order, from any step on, made by a backend.

What is loaded depends on (seed, step) alone, so the whole state of a loader is the step to come. The loader
draws what a step shows, keeps ``prefetch`` steps under way, and puts batches together; a backend decodes and
renders. A batch that a backend cannot make goes to the CPU backend, with its substitutes for images that
cannot be decoded and its notes of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from pipelines.backends.backend import Backend, Finished, LoaderConfig
from pipelines.backends.read_ahead import ReadAhead
from pipelines.backends.request import Request, Requests
from pipelines.backends.threads import ThreadsBackend
from pipelines.batch import Batch, to_device
from pipelines.sources.source import ReadsAhead


@dataclass(frozen=True, eq=False)
class _Job:
    """A step under way."""

    request: Request
    ticket: Any


class Loader:
    """Batches of a plan. Close it, or use it as a context.

    Args:
        config: what is loaded.
        backend: its class.
    """

    def __init__(self, config: LoaderConfig, backend: type[Backend]) -> None:
        self._config = config
        self._requests = Requests(config.source.index, config.groups, config.plan)
        self._next_step = config.start_step
        self._under_way: deque[_Job] = deque()
        self._fallback: ThreadsBackend | None = None
        self._read_ahead: ReadAhead | None = None
        if config.plan.shuffle and config.plan.order == "blocks" and isinstance(config.source, ReadsAhead):
            self._read_ahead = ReadAhead(config.source, config.plan)
        self._backend = backend.open(config, self._requests)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        self._backend.release()
        if self._fallback is not None:
            self._fallback.release()
        try:
            self._start()
            if not self._under_way:
                raise StopIteration
            job = self._under_way.popleft()
            batch = self._batch(job.request, self._backend.finish(job.ticket) or self._by_cpu(job.request))
        except BaseException:  # whatever comes next begins with this step again
            self._drop()
            raise
        self._next_step = job.request.step + 1
        return batch

    def state_dict(self) -> dict[str, int]:
        """The step to come."""
        return {"step": self._next_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Resume from a state; what was prefetched is dropped."""
        self._drop()
        self._next_step = state["step"]

    def close(self) -> None:
        """End the workers; what was prefetched is dropped."""
        self._under_way.clear()
        for part in (self._backend, self._fallback, self._read_ahead):
            if part is not None:
                part.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        step = self._under_way[-1].request.step + 1 if self._under_way else self._next_step
        while len(self._under_way) <= self._config.prefetch and step < self._config.stop_step:
            if self._read_ahead is not None:
                self._read_ahead.reach(step)
            request = self._backend.request(self._requests, step)
            self._under_way.append(_Job(request, self._backend.start(request)))
            step += 1

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

    def _batch(self, request: Request, finished: Finished) -> Batch:
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
