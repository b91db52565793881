"""Progress of work over many files, and threads for it."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")
Result = TypeVar("Result")

_SECONDS_BETWEEN_LINES = 10.0


def show_progress(items: Iterable[Item], total: int, doing: str, *, each: int = 1) -> Iterator[Item]:
    """Pass ``items`` on and show on stderr how many of ``total`` have passed.

    On a terminal that is a bar, elsewhere a plain line every ten seconds.

    Args:
        items: the work, or its results as they come.
        total: number of items.
        doing: two or three words for the reader, for example "Reading image headers".
        each: what an item counts for.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(items, doing, total=total / each, console=console, transient=True)
        return
    last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last > _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            print(f"{doing}: {min(done * each, total)} of {total}", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """``2d 3h``, ``3h 20m``, ``4m``, ``30s``."""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f}s"
    if minutes < 60:
        return f"{minutes}m"
    if minutes < 48 * 60:
        return f"{minutes // 60}h {minutes % 60}m"
    return f"{minutes // 1440}d {minutes % 1440 // 60}h"


def map_in_threads(
    function: Callable[[Item], Result], items: Sequence[Item], doing: str, *, chunk: int = 1
) -> list[Result]:
    """``[function(item) for item in items]`` in threads, for work that waits for files, with progress.

    An exception of ``function`` or an interrupt ends it at once: what has not begun is dropped.

    Args:
        function: called from several threads at once.
        items: its arguments.
        doing: see ``show_progress``.
        chunk: items that a thread takes at a time; a task of its own costs some 30 us.
    """
    parts = map_chunks_in_threads(lambda part: [function(item) for item in part], items, doing, chunk=chunk)
    return [result for part in parts for result in part]


def map_chunks_in_threads(
    function: Callable[[Sequence[Item]], Result], items: Sequence[Item], doing: str, *, chunk: int
) -> list[Result]:
    """``function`` of each ``chunk`` items in a row; see ``map_in_threads``."""
    chunks = [items[first : first + chunk] for first in range(0, len(items), chunk)]
    pool = ThreadPoolExecutor(min(16, 4 * (os.cpu_count() or 1)))
    try:
        return list(show_progress(pool.map(function, chunks), len(items), doing, each=chunk))
    finally:
        pool.shutdown(cancel_futures=True)


def end_tasks(tasks: Sequence[Future[Any]]) -> None:
    """Cancel tasks, and wait for those that have begun; their errors are dropped."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        if not task.cancelled():
            task.exception()


def stream_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """``function(item)`` of each item, in order, made in threads a few ahead of what is taken.

    An exception of ``function``, an interrupt or an end of interest ends it at once.
    """
    pool = ThreadPoolExecutor(workers)
    ahead: deque[Future[Result]] = deque()
    try:
        for item in items:
            ahead.append(pool.submit(function, item))
            if len(ahead) >= 4 * workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
