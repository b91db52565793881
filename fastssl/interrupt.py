"""SIGTERM and Ctrl-C: a request to stop at the next step, and the exit status that tells of it."""

from __future__ import annotations

import signal
from types import FrameType


class Interrupt:
    """Catches SIGTERM and SIGINT from its creation on. A second Ctrl-C stops at once.

    Attributes:
        signal: the number of the signal that came, or 0.
    """

    def __init__(self) -> None:
        self.signal = 0
        signal.signal(signal.SIGTERM, self._catch)
        signal.signal(signal.SIGINT, self._catch)

    def _catch(self, number: int, frame: FrameType | None) -> None:
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    @property
    def exit_status(self) -> int:
        """128 + the signal's number, as shells have it: 143 for SIGTERM, 130 for Ctrl-C."""
        return 128 + self.signal
