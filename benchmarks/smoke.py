"""Every GPU kernel once, against its reference: the first minute on a new card.

Renders views with every operation by Triton and by the reference, and takes steps of small recipes. Prints a
line per check; exit status 1 if one is wrong.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Sequence

import numpy as np
import torch

from benchmarks.contenders import CHAIN, Decoded, open_renderer
from benchmarks.images import generated_jpeg
from benchmarks.step import Options, measure
from pipelines.command.errors import UserError, run_command
from pipelines.decode.decode import decode

_TOLERANCE = (
    4 / 255
)  # the reference's pixels against a kernel's, before normalization; bfloat16 adds its rounding


def main(argv: Sequence[str] | None = None) -> int:
    """Run all checks."""
    if argv or sys.argv[1:]:
        raise UserError("python -m benchmarks.smoke takes no options")
    if not torch.cuda.is_available():
        raise UserError("python -m benchmarks.smoke checks kernels on a GPU, and torch sees none here")
    wrong = 0
    for name, check in CHECKS.items():
        begin = time.perf_counter()
        try:
            found = check()
        except Exception:
            found, wrong = traceback.format_exc().rstrip(), wrong + 1
        print(f"{name}: {found} ({time.perf_counter() - begin:.1f} s)", flush=True)
    return int(wrong > 0)


def render() -> str:
    """Largest difference of Triton's views from the reference's, in gray levels."""
    images = [decode(generated_jpeg(number)) for number in range(4)]
    views = []
    for name, device in (("triton", "cuda"), ("reference", "cpu")):
        decoded = Decoded(images=images, views=2, spec=CHAIN, device=torch.device(device))
        views.append([view.float().cpu() for view in open_renderer(name, decoded)(1)])
    std = torch.tensor(CHAIN.std).view(1, 3, 1, 1)
    worst = max(float(((a - b).abs() * std).max()) for a, b in zip(*views, strict=True))
    rounding = 2**-8 * 3  # of bfloat16 at normalized values of up to 3
    assert worst <= _TOLERANCE + rounding, f"{255 * worst:.2f} levels off"
    return f"at most {255 * worst:.2f} levels off"


def steps() -> str:
    """Steps of small recipes on the GPU: the loss machinery, queue, averages and optimizer run there."""
    rows = measure(Options(recipes=("quickstart", "byol-cifar10")), torch.device("cuda"))
    assert np.isfinite([row.images_per_s for row in rows]).all()
    return ", ".join(f"{row.recipe} {row.contender} {row.images_per_s:,.0f} images/s" for row in rows)


CHECKS: dict[str, Callable[[], str]] = {"render": render, "step": steps}


if __name__ == "__main__":
    run_command(main)
