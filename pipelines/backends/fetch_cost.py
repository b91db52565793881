"""Bytes that an epoch fetches of data elsewhere, known before it begins: its order is computed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pipelines.command.errors import UserError
from pipelines.plan.plan import Plan
from pipelines.sources.slices import files_of_runs
from pipelines.sources.source import Fetches, Fetching, Source

_BLOCKS = 8  # in a window, and files' lengths in a block, that are aimed at


class FetchCost(NamedTuple):
    """Bytes of an epoch on one machine."""

    fetched: int
    """Fetched, the cache empty at first."""
    held: int
    """The most that is needed at a time: all files of two windows."""


def fetch_note(source: Source, plan: Plan) -> str | None:
    """One line on what an epoch fetches; None where all is on this machine.

    Raises:
        UserError: the cache is too small for the order; the message says what would do.
    """
    fetching = source.fetching if isinstance(source, Fetches) else None
    if fetching is None:
        return None
    total = int(fetching.sizes.sum())
    of = f"{fetching.where}: {len(fetching.sizes)} files, {_gb(total)}"
    if not plan.shuffle or plan.order == "random":
        if plan.shuffle and total > fetching.capacity:
            raise UserError(
                f"{of}, are more than the cache of {_gb(fetching.capacity)} holds, and in random order each "
                f"would be fetched again and again: {_remedy(fetching)}"
            )
        return f"{of}; the first epoch fetches them all, on each machine"
    cost = fetch_cost(fetching, plan)
    if cost.held > fetching.capacity - _room(fetching):
        raise UserError(
            f"{of}: two windows of --order blocks lie in files of {_gb(cost.held)}, and the cache of "
            f"{_gb(fetching.capacity)} must hold {_gb(_room(fetching))} more for evaluations: "
            f"{_remedy(fetching)}"
        )
    return (
        f"{of}; an epoch fetches {_gb(cost.fetched)} per machine and needs {_gb(cost.held)} of the cache of "
        f"{_gb(fetching.capacity)} at a time"
    )


def fetch_cost(fetching: Fetching, plan: Plan) -> FetchCost:
    """Cost of the first epoch of the order "blocks", counted through its windows, as the cache works.

    Args:
        fetching: the files.
        plan: of the order "blocks".
    """
    order = plan.block_order(0)
    count = order.window(plan.count - 1) + 1
    windows = [files_of_runs(fetching.firsts, order.runs(window)) for window in range(count)]
    return FetchCost(*_count(windows, fetching.sizes.tolist(), fetching.capacity))


def _count(windows: Sequence[Sequence[int]], sizes: Sequence[int], capacity: int) -> tuple[int, int]:
    cached: OrderedDict[int, int] = OrderedDict()  # files and bytes; those that were let go first stand first
    held: dict[int, None] = {}
    fetched = most = 0
    for now, after in zip(windows, [*windows[1:], []], strict=True):
        needed = dict.fromkeys([*now, *after])
        for file in held:
            if file not in needed:
                cached.move_to_end(file)
        held = needed
        most = max(most, sum(sizes[file] for file in needed))
        size = sum(cached.values())
        for file in needed:
            if file in cached:
                continue
            fetched, size = fetched + sizes[file], size + sizes[file]
            for other in [other for other in cached if other not in needed]:
                if size <= capacity:
                    break
                size -= cached.pop(other)
            cached[file] = sizes[file]
    return fetched, most


def _remedy(fetching: Fetching) -> str:
    """Settings that fit, ready to be typed.

    A block of m files' length begins and ends within files, so that an epoch fetches 1 + 1/m of the data, and
    two windows of k blocks need the room of 2 k (m + 1) files.
    """
    largest, total = int(fetching.sizes.max()), int(fetching.sizes.sum())
    per_file = max(1, int(np.median(np.diff(fetching.firsts))))
    capacity = max(fetching.capacity, 4 * largest + _room(fetching))
    files = (capacity - _room(fetching)) // largest
    length = min(max(files // (2 * _BLOCKS) - 1, 1), _BLOCKS)
    blocks = files // (2 * (length + 1))
    least = f" and ?cache={_size(capacity)}" if fetching.capacity < capacity else ""
    return (
        f"give --order blocks --block-size {length * per_file} --blocks-per-window {blocks}{least}, or room "
        f"for all of them behind the address, ?cache={_size(total)}"
    )


def _room(fetching: Fetching) -> int:
    """Bytes left for what is read beside the training, in order: the last two files, and the next."""
    return 3 * int(fetching.sizes.max())


def _size(size: int) -> str:
    """A size as an option takes it, rounded up."""
    return f"{-(-size // 10**9)}GB" if size > 10**9 else f"{-(-size // 10**6)}MB"


def _gb(size: int) -> str:
    return f"{size / 1e9:.3g} GB" if size >= 10**8 else f"{size / 1e6:.3g} MB"
