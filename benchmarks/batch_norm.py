"""Batch norm alone: microseconds of torch's own and of the fused kernels, in the shapes of a ResNet-50.

Forward in training, and forward and backward, of bfloat16 images in channels-last. Each is captured in a CUDA
graph, so that the host's part does not count, and all take turns; medians of five rounds count, after one
that warms up. At two of the shapes the fused kernels take turns with other settings of their programs too;
the fastest go into ``fastssl.models.fused_batch_norm`` by hand.

The byte bound is what the least passes over memory would take at the rate at which the GPU copies a large
block of it: statistics read a tensor, normalizing reads and writes one (6 bytes per element); sums of
gradients read two, the input's gradient reads two and writes one (10 bytes more). Needs a CUDA device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from benchmarks.command import ResultOptions, run_benchmark
from benchmarks.tune import Setting, applied
from benchmarks.turns import Turn, quartiles, take_turns, warm_turn
from fastssl.models.fused_batch_norm import fuse_batch_norms
from fastssl.optim.graphed_step import capture_on_gpu
from pipelines.command.errors import UserError, run_command
from pipelines.command.ranges import Count

SHAPES = ((64, 112), (256, 56), (512, 28), (1024, 14), (2048, 7), (64, 56))
"""Channels, and height and width, of a ResNet-50's batch norms at images of 224 pixels."""

_MODULE = "fastssl.models.fused_batch_norm"
AS_IT_IS = Setting(module=_MODULE, values=())
SETTINGS = tuple(
    Setting(module=_MODULE, values=values)
    for values in (
        (("STAGES", 1),),
        (("STAGES", 4),),
        (("TILE", 2048),),
        (("TILE", 8192), ("WARPS", 8)),
        (("COLUMNS", 64),),
        (("SUMMING", 2),),
        (("SUMMING", 8),),
        (("MOVING", 4),),
        (("MOVING", 64),),
    )
)
SHAPES_OF_SETTINGS = ((256, 56), (1024, 14))

_FORWARD, _BOTH = "forward", "forward and backward"
_BYTES = {_FORWARD: 6, _BOTH: 16}
_PATIENCE = 0.5  # turns of 25 ms
_GPU = torch.device("cuda")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A contender at a shape: medians of the rounds."""

    contender: str
    """torch or fused."""
    setting: str
    """Of the fused kernels; "as it is": their own."""
    work: str
    """forward, or forward and backward."""
    channels: int
    size: int
    """Height and width."""
    images: int
    us: float
    """Microseconds of the GPU's clock."""
    us_quartiles: tuple[float, float]
    bytes_per_element: int
    """Of the byte bound."""
    copied_gb_per_s: float
    """What the GPU reads and writes while it copies, 10^9 bytes per second."""
    share_of_bound: float
    """What those bytes would take at that rate, over ``us``."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A contender at some work, a shape and a setting: a row of the result."""

    contender: str
    setting: Setting
    work: str
    shape: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Options(ResultOptions):
    """Options of the benchmark."""

    images: Count = 256
    """Images of a batch."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    return run_benchmark("batch_norm", Options, argv, __doc__, _rows)


def _rows(options: Options) -> list[dict[str, Any]]:
    if not torch.cuda.is_available():
        raise UserError("python -m benchmarks.batch_norm needs a GPU, and torch sees none here")
    turns = dict(_turns(options.images, _GPU, capture_on_gpu))
    taken, gb_per_s = take_turns(list(turns.values()), copying_on=_GPU)
    assert gb_per_s is not None
    rows = []
    for case, turn in turns.items():
        (channels, size), moved = case.shape, _BYTES[case.work]
        low, middle, high = quartiles([once.clock_s for once in taken[turn]])
        bound_us = moved * options.images * channels * size**2 / (1e3 * gb_per_s)
        rows.append(
            Row(
                contender=case.contender,
                setting=case.setting.name,
                work=case.work,
                channels=channels,
                size=size,
                images=options.images,
                us=middle,
                us_quartiles=(low, high),
                bytes_per_element=moved,
                copied_gb_per_s=round(gb_per_s, 1),
                share_of_bound=round(bound_us / middle, 4),
            )
        )
    return [asdict(row) for row in rows]


def cases() -> Iterator[Case]:
    """All cases, those of a shape one after another."""
    for shape in SHAPES:
        for work in _BYTES:
            for contender in ("torch", "fused"):
                yield Case(contender=contender, setting=AS_IT_IS, work=work, shape=shape)
        if shape in SHAPES_OF_SETTINGS:
            for setting in SETTINGS:
                yield Case(contender="fused", setting=setting, work=_BOTH, shape=shape)


Body = Callable[[], object]


def _turns(
    images: int, device: torch.device, capture: Callable[[Callable[[], None]], Body]
) -> Iterator[tuple[Case, Turn]]:
    """Warm turns of all cases, each of what ``capture`` makes of it; those of a shape share their images."""
    tensors: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}
    for case in cases():
        if case.shape not in tensors:
            tensors[case.shape] = _noise(images, *case.shape, device)
        with applied(case.setting):
            body = _body(case, *tensors[case.shape])
            body()  # compiles
            replay = capture(body)

        def run(times: int, replay: Body = replay) -> None:
            for _ in range(times):
                replay()

        yield case, warm_turn(case.contender, device, run, _PATIENCE)


def _noise(images: int, channels: int, size: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and gradients, bfloat16 [images, channels, size, size] in channels-last."""
    shape, generator = (images, size, size, channels), torch.Generator(device).manual_seed(0)
    x, gradient = (
        torch.empty(shape, dtype=torch.bfloat16, device=device).normal_(generator=generator).movedim(-1, 1)
        for _ in range(2)
    )
    return x, gradient


def _body(case: Case, x: torch.Tensor, gradient: torch.Tensor) -> Callable[[], None]:
    """The work of a case, once."""
    norm = nn.BatchNorm2d(case.shape[0]).to(x.device)
    if case.contender == "fused":
        fuse_batch_norms(norm)

    def forward() -> None:
        with torch.no_grad():
            norm(x)

    def both() -> None:
        values = x.detach().requires_grad_()
        torch.autograd.grad(norm(values), [values, *norm.parameters()], gradient)

    return forward if case.work == _FORWARD else both


if __name__ == "__main__":
    run_command(main)
