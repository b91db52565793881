"""Waits for the work of others, and signals to this process once a file tells that its own is under way."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path


def wait_until(what: Callable[[], object], seconds: float = 120.0) -> None:
    """Return once something holds; fail where it does not in time."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def signal_when(path: Path, *numbers: int, after: float = 0.0) -> threading.Thread:
    """Send signals as soon as a file holds something, and so many seconds later; join the thread returned."""

    def wait_and_send() -> None:
        until = time.monotonic() + 120
        while not (path.exists() and path.stat().st_size) and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(after)
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(0.3)

    thread = threading.Thread(target=wait_and_send)
    thread.start()
    return thread
