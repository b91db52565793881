"""Clock of a run: seconds of training, of waiting for data, and of other work. Saved with the run."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar

import torch

_Item = TypeVar("_Item")

Work = Literal["evaluation", "checkpoint", "pictures"]


class StepEvents:
    """Seconds that a GPU works on steps, by events around each micro-batch; the device is never waited for.

    Attributes:
        seconds: of the parts that the device had finished at the last ``end``.
    """

    def __init__(self) -> None:
        self._begin: torch.cuda.Event | None = None
        self._parts: deque[tuple[torch.cuda.Event, torch.cuda.Event]] = deque()
        self.seconds = 0.0

    def begin(self) -> None:
        """A micro-batch is there."""
        self._begin = self._mark()

    def end(self) -> None:
        """The next micro-batch is asked for, or the step has ended."""
        if self._begin is not None:
            self._parts.append((self._begin, self._mark()))
            self._begin = None
        while self._parts and self._parts[0][1].query():
            begin, end = self._parts.popleft()
            self.seconds += begin.elapsed_time(end) / 1e3

    def _mark(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


class Clock:
    """Adds up seconds and images. Pauses (evaluation, checkpoints) and the first steps after a start
    (compilation, caches) count neither as training time nor as images.

    Args:
        device: of the run. On a GPU the seconds of steps in ``spent`` are its own, by events; all others are
            the host's.

    Attributes:
        seconds: of steps (without waiting for data), of waiting for data, of evaluation and of checkpoints:
            the last two of the whole run, the others since this process began.
    """

    WARM_UP_STEPS = 3

    def __init__(self, device: torch.device | None = None) -> None:
        self.train_seconds = 0.0
        self.wait_seconds = 0.0
        self.images = 0
        self._to_skip = self.WARM_UP_STEPS
        self._mark = time.perf_counter()
        self._wait = 0.0
        self._lap = (0, 0.0, 0.0)
        self.seconds = {"step": 0.0, "data": 0.0, "evaluation": 0.0, "checkpoint": 0.0}
        self._told = dict(self.seconds)  # by ``spent``
        self._events = StepEvents() if device is not None and device.type == "cuda" else None

    def waiting_for(self, items: Iterator[_Item]) -> Iterator[_Item]:
        """The same items; the time until each is there is waiting for data."""
        while True:
            if self._events is not None:
                self._events.end()
            start = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            self._wait += time.perf_counter() - start
            if self._events is not None:
                self._events.begin()
            yield item

    @contextmanager
    def pause(self, work: Work) -> Iterator[None]:
        """Time inside is not training but ``work``."""
        start = time.perf_counter()
        yield
        if work in self.seconds:
            self.seconds[work] += time.perf_counter() - start
        self.restart()

    def restart(self) -> None:
        """Forget the time since the last step."""
        self._mark, self._wait = time.perf_counter(), 0.0

    def step(self, images: int) -> None:
        """A training step has ended."""
        now = time.perf_counter()
        if self._events is not None:
            self._events.end()
        else:
            self.seconds["step"] += now - self._mark - self._wait
        self.seconds["data"] += self._wait
        if self._to_skip:
            self._to_skip -= 1
        else:
            self.train_seconds += now - self._mark
            self.wait_seconds += self._wait
            self.images += images
        self._mark, self._wait = now, 0.0

    def lap(self) -> tuple[float, float]:
        """``rates`` of the steps since the last lap, or since this process began."""
        now = (self.images, self.train_seconds, self.wait_seconds)
        before, self._lap = self._lap, now
        return rates(now[0] - before[0], now[1] - before[1], now[2] - before[2])

    def spent(self) -> dict[str, float]:
        """Seconds since the last call, or since this process began, the first steps included.

        ``step_seconds`` (without waiting for data), ``data_seconds``, ``evaluation_seconds``,
        ``checkpoint_seconds``.
        """
        if self._events is not None:
            self._events.end()
            self.seconds["step"] = self._events.seconds
        before, self._told = self._told, dict(self.seconds)
        return {f"{work}_seconds": seconds - before[work] for work, seconds in self.seconds.items()}

    def state_dict(self) -> dict[str, float]:
        """State for a checkpoint."""
        return {
            "train": self.train_seconds,
            "wait": self.wait_seconds,
            "evaluation": self.seconds["evaluation"],
            "checkpoint": self.seconds["checkpoint"],
            "images": self.images,
        }

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Resume from a checkpoint; older ones know nothing of evaluation and checkpoints."""
        self.train_seconds, self.wait_seconds = state["train"], state["wait"]
        for work in ("evaluation", "checkpoint"):
            self.seconds[work] = self._told[work] = state.get(work, 0.0)
        self.images = int(state["images"])
        self._lap = (self.images, self.train_seconds, self.wait_seconds)


def rates(images: int, train_seconds: float, wait_seconds: float) -> tuple[float, float]:
    """Images per second, and the share of the time spent waiting for data."""
    if train_seconds <= 0:
        return 0.0, 0.0
    return images / train_seconds, wait_seconds / train_seconds
