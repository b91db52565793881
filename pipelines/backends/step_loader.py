"""Base of the loaders: batches of steps, several of them under way, from any step on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

import torch

from pipelines.backends.read_ahead import ReadAhead
from pipelines.decode.bad_images import BadImages
from pipelines.plan.plan import Plan
from pipelines.sources import Source
from pipelines.sources.source import ReadsAhead

_CPU = torch.device("cpu")
AnyJob = TypeVar("AnyJob")
AnyBatch = TypeVar("AnyBatch")


@dataclass(frozen=True, kw_only=True, eq=False)
class StepLoaderConfig:
    """Arguments shared by all loaders."""

    source: Source
    """Encoded images."""
    plan: Plan
    """Assignment of samples to batches."""
    start_step: int
    """The first step to load."""
    stop_step: int
    """One past the last step to load."""
    bad_images: BadImages
    """Record of images that cannot be decoded."""
    device: torch.device = _CPU
    """Device of the batches."""
    workers: int = 0
    """Threads; 0 takes every core."""
    prefetch: int = 3
    """Batches under way beside the one in use."""


class StepLoader(ABC, Generic[AnyJob, AnyBatch]):
    """Batches of a plan. Close it, or use it as a context.

    What is loaded depends on (seed, step) alone, so the whole state of a loader is the step to come.

    Args:
        config: what is loaded.
    """

    def __init__(self, config: StepLoaderConfig) -> None:
        source, plan = config.source, config.plan
        self._next_step, self._stop_step = config.start_step, config.stop_step
        self._prefetch = config.prefetch
        self._under_way: deque[AnyJob] = deque()
        self._read_ahead: ReadAhead | None = None
        if plan.shuffle and plan.order == "blocks" and isinstance(source, ReadsAhead):
            self._read_ahead = ReadAhead(source, plan)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> AnyBatch:
        self._release()
        try:
            step = self._next_step + len(self._under_way)
            while len(self._under_way) <= self._prefetch and step < self._stop_step:
                if self._read_ahead is not None:
                    self._read_ahead.reach(step)
                self._under_way.append(self._begin(step))
                step += 1
            if not self._under_way:
                raise StopIteration
            batch = self._finish(self._under_way[0])
        except BaseException:  # whatever comes next begins with this step again
            self._drop()
            raise
        self._under_way.popleft()
        self._next_step += 1
        return batch

    def state_dict(self) -> dict[str, int]:
        """The step to come."""
        return {"step": self._next_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Resume from a state; what was prefetched is dropped."""
        self._drop()
        self._next_step = state["step"]

    @abstractmethod
    def close(self) -> None:
        """End the workers; what was prefetched is dropped."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _begin(self, step: int) -> AnyJob:
        """Set the workers on a step, without waiting for them."""

    @abstractmethod
    def _finish(self, job: AnyJob) -> AnyBatch:
        """The batch of the oldest step under way."""

    @abstractmethod
    def _release(self) -> None:
        """Take the memory of the last batch back."""

    @abstractmethod
    def _drop(self) -> None:
        """Forget the steps under way."""
