"""One page on where the time of some work goes: kernels (or operations) by time, gaps, copies, waits."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

_ROWS = 25
WAITS = {"cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy"}
"""Calls by which the host waits for a GPU."""


def profile_page(title: str, run: Callable[[int], object], times: int, device: torch.device) -> str:
    """Profile work that is warmed up.

    Args:
        title: name of the work.
        run: does it so many times.
        times: number of times that the profile is taken of.
        device: where it computes; on a CPU the page has operations in place of kernels.

    Returns:
        Text: a line of totals, then the costliest names with their milliseconds and calls per time.
    """
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities, acc_events=True) as taken:
        begin = time.perf_counter()
        run(times)
        if on_gpu:
            torch.cuda.synchronize()
        wall_ms = 1e3 * (time.perf_counter() - begin) / times
    events = taken.events() or []
    of_device = [event for event in events if is_on_gpu(event)] if on_gpu else []
    milliseconds: dict[str, float] = defaultdict(float)
    calls: Counter[str] = Counter()
    for event in of_device or events:
        milliseconds[event.name] += (_us(event) if on_gpu else event.self_cpu_time_total) / 1e3 / times
        calls[event.name] += 1
    lines = [f"{title}: {wall_ms:.2f} ms each, {times} times"]
    if on_gpu:
        busy = sum(milliseconds.values())
        waits = Counter(event.name for event in events if event.name in WAITS)
        copied = sum(milliseconds[name] for name in milliseconds if name.startswith("Memcpy"))
        lines.append(
            f"kernels {busy:.2f} ms, gaps {max(0.0, wall_ms - busy):.2f} ms, copies {copied:.2f} ms, "
            f"{sum(calls.values()) / times:.0f} launches, "
            f"waits of the host: {dict(waits) or 'none'} (one is this page's own)"
        )
    for name, spent in sorted(milliseconds.items(), key=lambda item: -item[1])[:_ROWS]:
        lines.append(f"{spent:10.3f} ms {calls[name] / times:8.1f} calls  {name[:110]}")
    return "\n".join(lines) + "\n"


def is_on_gpu(event: Any) -> bool:
    """True for kernels, copies and fills; ranges of the host that the profiler draws there too are none."""
    return bool(event.device_type == DeviceType.CUDA) and not event.is_user_annotation


def _us(event: Any) -> float:
    return float(event.time_range.elapsed_us())
