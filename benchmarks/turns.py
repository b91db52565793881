"""Turns of contenders that are functions of this process: rounds, the clock, and a copy as yardstick."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.rounds import ROUNDS
from pipelines.command.progress import show_progress

_LEAST_S = {"cuda": 0.05, "cpu": 0.25}  # of a turn; a GPU's clock is precise, and time with it dear
_MOST_COPIED = {"cuda": 1 << 32, "cpu": 1 << 27}  # bytes, beyond all caches

Run = Callable[[int], object]
"""Does some work so many times."""


@dataclass(frozen=True, eq=False)
class Turn:
    """Warm work, and the number of times that make a turn of it."""

    name: str
    device: torch.device
    run: Run
    times: int


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Seconds of doing the work once: by the wall's or the GPU's clock, and of cores."""

    clock_s: float
    core_s: float


def warm_turn(name: str, device: torch.device, run: Run, patience: float = 1.0) -> Turn:
    """Do the work once, and find how often makes a turn of a quarter of a second, times ``patience``.

    On a GPU, of a twentieth of a second.
    """
    run(1)
    once = clocked(Turn(name, device, run, 1)).clock_s
    return Turn(name, device, run, max(1, math.ceil(patience * _LEAST_S[device.type] / once)))


def take_turns(
    turns: Sequence[Turn], copying_on: torch.device | None = None
) -> tuple[dict[Turn, list[Taken]], float | None]:
    """Let contenders alternate for five rounds, after one that warms up.

    Args:
        turns: the contenders.
        copying_on: device whose copies of a large block of its memory take turns too.

    Returns:
        what each took in each round; bytes that the device read and wrote while it copied, 10^9 per second.
    """
    copy, copied = _copying(copying_on) if copying_on else (None, 0)
    taken: dict[Turn, list[Taken]] = {turn: [] for turn in (*turns, *([copy] if copy else []))}
    rounds = [turn for _ in range(1 + ROUNDS) for turn in taken]
    for turn in show_progress(rounds, len(rounds), "Taking turns"):
        taken[turn].append(clocked(turn))
    counted = {turn: of_turn[1:] for turn, of_turn in taken.items()}
    if copy is None:
        return counted, None
    return counted, copied / float(np.median([once.clock_s for once in counted.pop(copy)])) / 1e9


def clocked(turn: Turn) -> Taken:
    """Take a turn."""
    core, wall = time.process_time(), time.perf_counter()
    if turn.device.type == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        turn.run(turn.times)
        end.record()
        end.synchronize()
        clock = begin.elapsed_time(end) / 1e3
    else:
        turn.run(turn.times)
        clock = time.perf_counter() - wall
    return Taken(clock_s=clock / turn.times, core_s=(time.process_time() - core) / turn.times)


def quartiles(seconds: Sequence[float], parts: float = 1.0) -> tuple[float, float, float]:
    """First quartile, median and third quartile in microseconds per part."""
    low, middle, high = (1e6 * np.percentile(seconds, [25, 50, 75]) / parts).round(3).tolist()
    return low, middle, high


def _copying(device: torch.device) -> tuple[Turn, int]:
    """Copies of a large block of the device's memory, and the bytes that one reads and writes."""
    size = _MOST_COPIED[device.type]
    if device.type == "cuda":
        size = min(size, torch.cuda.mem_get_info()[0] // 4)
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)

    def run(times: int) -> None:
        for _ in range(times):
            target.copy_(source)

    return warm_turn("copy", device, run), 2 * size
