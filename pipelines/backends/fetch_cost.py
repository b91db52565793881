"""Bytes that an epoch fetches of data elsewhere, known before it begins: its order is computed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
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
    """The most that any epoch needs at a time: all files of two windows."""


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
                f"would be fetched again and again: {_remedy(fetching, plan)}"
            )
        return f"{of}; the first epoch fetches them all, on each machine"
    cost = fetch_cost(fetching, plan)
    if cost.held > fetching.capacity - _room(fetching):
        raise UserError(
            f"{of}: two windows of --order blocks lie in files of {_gb(cost.held)}, and the cache of "
            f"{_gb(fetching.capacity)} must hold {_gb(_room(fetching))} more for evaluations: "
            f"{_remedy(fetching, plan)}"
        )
    return (
        f"{of}; an epoch fetches {_gb(cost.fetched)} per machine and needs {_gb(cost.held)} of the cache of "
        f"{_gb(fetching.capacity)} at a time"
    )


def fetch_cost(fetching: Fetching, plan: Plan) -> FetchCost:
    """Cost of the order "blocks"; bytes are those of the first epoch, counted as the cache works.

    Args:
        fetching: the files.
        plan: of the order "blocks".
    """
    order = plan.block_order(0)
    count = order.window(plan.count - 1) + 1
    windows = [files_of_runs(fetching.firsts, order.runs(window)) for window in range(count)]
    fetched = _count(windows, fetching.sizes.tolist(), fetching.capacity)
    return FetchCost(fetched, _most_held(fetching, plan))


def _most_held(fetching: Fetching, plan: Plan) -> int:
    """The most bytes of the files of two windows, in any epoch; of more windows where a batch spans them."""
    begins = np.arange(0, plan.count, plan.block_size)
    ends = np.minimum(begins + plan.block_size, plan.count)
    before = np.concatenate([[0], np.cumsum(fetching.sizes)])
    first = np.searchsorted(fetching.firsts, begins, side="right") - 1
    of_blocks = before[np.searchsorted(fetching.firsts, ends, side="left")] - before[first]
    missing = plan.block_size * len(begins) - plan.count  # a batch may span the short window
    of_batch = (max(0, plan.batch_size - 2) + missing) // (plan.block_size * plan.blocks_per_window) + 2
    most = np.sort(of_blocks)[::-1][: of_batch * plan.blocks_per_window]
    return int(min(most.sum(), before[-1]))


def _count(windows: Sequence[Sequence[int]], sizes: Sequence[int], capacity: int) -> int:
    cached: OrderedDict[int, int] = OrderedDict()  # files and bytes; those that were let go first stand first
    held: dict[int, None] = {}
    fetched = 0
    for now, after in zip(windows, [*windows[1:], []], strict=True):
        needed = dict.fromkeys([*now, *after])
        for file in held:
            if file not in needed:
                cached.move_to_end(file)
        held = needed
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
    return fetched


def _remedy(fetching: Fetching, plan: Plan) -> str:
    """Settings that fit, ready to be typed.

    Blocks are as long as files, or a multiple of it: the longer, the fewer files are fetched twice because a
    block ends in their midst.
    """
    room, total = _room(fetching), int(fetching.sizes.sum())
    largest, per_file = int(fetching.sizes.max()), max(1, int(np.median(np.diff(fetching.firsts))))
    capacity = max(fetching.capacity, 4 * largest + room)
    files = (capacity - room) // largest
    length = min(max(files // (2 * _BLOCKS), 1), _BLOCKS)
    blocks = files // (2 * length)
    plan = replace(plan, order="blocks", block_size=length * per_file, blocks_per_window=blocks)
    while (held := _most_held(fetching, plan)) > capacity - room and plan.blocks_per_window > 1:
        plan = replace(plan, blocks_per_window=plan.blocks_per_window - 1)
    capacity = max(capacity, held + room)
    order = f"--order blocks --block-size {plan.block_size} --blocks-per-window {plan.blocks_per_window}"
    least = f" and ?cache={_size(capacity)}" if fetching.capacity < capacity else ""
    return f"give {order}{least}, or room for all of them behind the address, ?cache={_size(total + room)}"


def _room(fetching: Fetching) -> int:
    """Bytes left for what is read beside the training, in order: the last two files, and the next."""
    return 3 * int(fetching.sizes.max())


def _size(size: int) -> str:
    """A size as an option takes it, rounded up."""
    return f"{-(-size // 10**9)}GB" if size > 10**9 else f"{-(-size // 10**6)}MB"


def _gb(size: int) -> str:
    return f"{size / 1e9:.3g} GB" if size >= 10**8 else f"{size / 1e6:.3g} MB"
