"""Clock of a run: seconds of training and of waiting for data. Saved with the run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

_Item = TypeVar("_Item")


class Clock:
    """Adds up seconds and images. Pauses (evaluation, checkpoints) and the first steps after a start
    (compilation, caches) count neither as training time nor as images.
    """

    WARM_UP_STEPS = 3

    def __init__(self) -> None:
        self.train_seconds = 0.0
        self.wait_seconds = 0.0
        self.images = 0
        self._to_skip = self.WARM_UP_STEPS
        self._mark = time.perf_counter()
        self._wait = 0.0
        self._lap = (0, 0.0, 0.0)

    def waiting_for(self, items: Iterator[_Item]) -> Iterator[_Item]:
        """The same items; the time until each is there is waiting for data."""
        while True:
            start = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            self._wait += time.perf_counter() - start
            yield item

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Time inside is not training."""
        yield
        self.restart()

    def restart(self) -> None:
        """Forget the time since the last step."""
        self._mark, self._wait = time.perf_counter(), 0.0

    def step(self, images: int) -> None:
        """A training step has ended."""
        now = time.perf_counter()
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

    def state_dict(self) -> dict[str, float]:
        """State for a checkpoint."""
        return {"train": self.train_seconds, "wait": self.wait_seconds, "images": self.images}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Resume from a checkpoint."""
        self.train_seconds, self.wait_seconds = state["train"], state["wait"]
        self.images = int(state["images"])
        self._lap = (self.images, self.train_seconds, self.wait_seconds)


def rates(images: int, train_seconds: float, wait_seconds: float) -> tuple[float, float]:
    """Images per second, and the share of the time spent waiting for data."""
    if train_seconds <= 0:
        return 0.0, 0.0
    return images / train_seconds, wait_seconds / train_seconds
