"""The interface of a backend: it starts the requests of a loader, and finishes their views in order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch

from pipelines.backends.request import Request, Requests
from pipelines.backends.step_loader import StepLoaderConfig
from pipelines.views import ViewGroup

# The backends by name, each imported when it is asked for: this is the one place that lists them.
BACKENDS = {
    "cpu": "pipelines.backends.threads:ThreadsBackend",
    "dali": "pipelines.backends.dali:DaliBackend",
    "ffcv": "pipelines.backends.ffcv:FfcvBackend",
    "resident": "pipelines.backends.resident:ResidentBackend",
    "fake": "pipelines.backends.fake:FakeBackend",
}

if TYPE_CHECKING:
    Pipeline = str
else:
    Pipeline = Literal[("auto", *BACKENDS)]
CpuOutput = Literal["auto", "views", "crops", "pixels"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LoaderConfig(StepLoaderConfig):
    """Arguments shared by all backends."""

    groups: tuple[ViewGroup, ...]
    """The views of a sample, numbered across the groups."""
    dtype: torch.dtype = torch.float32
    """Dtype of the views; uint8: levels of 255, not normalized."""
    pipeline: Pipeline = "auto"
    """The backend; auto chooses among them."""
    cpu_output: CpuOutput = "auto"
    """Backend cpu: its threads make finished views, or, for a GPU to finish, crops or decoded pixels."""

    @property
    def samples(self) -> int:
        """The most samples of a batch of this rank."""
        return self.plan.batch_size // self.plan.world_size


@dataclass(frozen=True, eq=False)
class Finished:
    """A request's views."""

    views: tuple[torch.Tensor, ...]
    """Per view group [K_g * B, 3, S_g, S_g], channels-last, on the device of the loader."""
    shown: np.ndarray
    """Indices of the samples that are shown, substitutes among them, int64 [B]."""


class Backend(ABC):
    """Decodes and renders. A loader alone calls it, from one thread.

    A backend's files are imported when it is chosen, what it ``requires`` when it is made.
    """

    requires: ClassVar[tuple[str, ...]] = ()
    """Modules without which it does not work."""
    stand_in: ClassVar[tuple[str, str] | None] = None
    """Backend that serves instead if these are missing, and a word on it; None: a user's mistake."""

    @classmethod
    def open(cls, config: LoaderConfig, requests: Requests) -> Backend:
        """The backend of a loader. It leaves no thread behind if this fails."""
        return cls(config, requests)

    @abstractmethod
    def __init__(self, config: LoaderConfig, requests: Requests) -> None: ...

    @classmethod
    def missing(cls) -> str | None:
        """Reason that it cannot be used here, as part of a line; None where it can."""
        for name in cls.requires:
            try:
                found = find_spec(name) is not None
            except ModuleNotFoundError:  # of a package above it
                found = False
            if not found:
                return f"{name} is not installed"
        return None

    def request(self, requests: Requests, step: int) -> Request:
        """The request of a step."""
        return requests.of_step(step)

    @abstractmethod
    def start(self, request: Request) -> Any:
        """Begin with a request, without waiting for it. Returns a ticket to finish it by."""

    @abstractmethod
    def finish(self, ticket: Any) -> Finished | None:
        """The views of the oldest request; None where the CPU backend has to make them.

        They are valid until ``release``.
        """

    def release(self) -> None:  # noqa: B027 (most have nothing to release)
        """Take the memory of the views that were finished last back."""

    @abstractmethod
    def drop(self) -> None:
        """Forget all requests that were started and not finished."""

    @abstractmethod
    def close(self) -> None:
        """Drop all requests, and end the workers."""
