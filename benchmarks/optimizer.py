"""Optimizer steps alone: microseconds per step, kernels, and waits of the host, for a ResNet-50's parameters.

Each step is measured by itself and with the update of a teacher, which is a moving average of all parameters:
within the step where the implementation can, else behind it, as the trainer does. Contenders take turns, and
medians of five rounds count, after one that warms up; in a round each takes steps for a quarter of a second,
on a GPU for a twentieth. There the clock is its own, and includes what it waits for the host; on a CPU one
thread computes.

The byte bound is what reading and writing every tensor as often as the rule must would take (28 bytes per
parameter in LARS, 20 in SGD, 8 more with a teacher), at the rate at which the GPU copies a large block of its
memory, measured in the same rounds. Waits are counted by torch's profiler in one step: synchronizing calls on
a GPU, on a CPU the values that Python reads, each of which would be one.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function
from torchvision.models import resnet50

from benchmarks.command import ResultOptions, run_benchmark
from benchmarks.profile_page import WAITS, is_on_gpu
from benchmarks.turns import Run, Taken, Turn, quartiles, take_turns, warm_turn
from fastssl.distributed.device import choose_device
from fastssl.models.teacher import update_averages
from fastssl.optim import LARS, SGD, Optimizer
from fastssl.optim.optimizer import Implementation, build_optimizer, set_learning_rate, split_parameters
from pipelines.command.errors import run_command
from pipelines.command.progress import show_progress

CONFIGS: dict[str, Optimizer.Config] = {
    "lars": LARS.Config(weight_decay=1e-6, exclude_norm_and_bias=True),
    "sgd": SGD.Config(),
}
CONTENDERS = (
    *(("lars", name) for name in ("triton", "foreach", "compiled", "loop")),
    *(("sgd", name) for name in ("triton", "torch", "foreach", "apex")),
)
"""Optimizer and implementation: those of ``--optimizer-implementation``; torch: what SGD takes by itself;
compiled: foreach through torch.compile; loop: LARS tensor by tensor, as peers write it."""

_BYTES = {"lars": 28, "sgd": 20}
_BYTES_OF_AVERAGE = 8
_READ = "aten::_local_scalar_dense"
_STEP = "one step"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One contender: medians of the rounds.

    Attributes:
        optimizer, contender: of CONTENDERS.
        device: "cpu" or "cuda".
        average: whether a teacher is updated too.
        parameters: numbers that are moved.
        us_per_step, us_quartiles: microseconds, and their first and third quartile over the rounds.
        kernels: launched in a step; None on a CPU.
        waits: of the host for the device, in a step.
        bytes_per_parameter: of the byte bound.
        copied_gb_per_s: what the GPU reads and writes while it copies, 10^9 bytes per second.
        share_of_bound: what those bytes would take at that rate, over ``us_per_step``.
    """

    optimizer: str
    contender: str
    device: str
    average: bool
    parameters: int
    us_per_step: float
    us_quartiles: tuple[float, float]
    kernels: int | None
    waits: int
    bytes_per_parameter: int
    copied_gb_per_s: float | None = None
    share_of_bound: float | None = None


@dataclass(frozen=True, eq=False)
class Contender:
    """A step that is ready to be taken."""

    optimizer: str
    name: str
    average: bool
    turn: Turn


@dataclass(frozen=True, kw_only=True)
class Options(ResultOptions):
    """Options of the benchmark."""

    device: Literal["auto", "cuda", "cpu"] = "auto"
    """Device to measure on; auto takes a GPU if there is one."""
    contenders: tuple[Literal["triton", "foreach", "compiled", "loop", "torch", "apex"], ...] = ()
    """Implementations to measure; none: all, on a CPU all but compiled, which takes minutes there."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table."""
    return run_benchmark("optimizer", Options, argv, __doc__, _rows)


def _rows(options: Options) -> list[dict[str, Any]]:
    device = choose_device(options.device)
    wanted = [
        (optimizer, name)
        for optimizer, name in CONTENDERS
        if name in options.contenders
        or not (options.contenders or (name == "compiled" and device.type == "cpu"))
    ]
    return [asdict(row) for row in measure(resnet50(), wanted, device)]


def measure(network: nn.Module, wanted: Sequence[tuple[str, str]], device: torch.device) -> list[Row]:
    """Let contenders take turns; those that cannot run here are named on stderr and left out."""
    torch.set_num_threads(1)
    network = network.to(device).to(memory_format=torch.channels_last)
    contenders = [
        contender
        for optimizer, name in show_progress(wanted, len(wanted), "Setting optimizers up")
        for average in (False, True)
        if (contender := _set_up(network, optimizer, name, average))
    ]
    taken, gb_per_s = take_turns(
        [contender.turn for contender in contenders], copying_on=device if device.type == "cuda" else None
    )
    numel = sum(parameter.numel() for parameter in network.parameters())
    return [row_of(contender, taken[contender.turn], numel, gb_per_s) for contender in contenders]


def row_of(contender: Contender, taken: Sequence[Taken], numel: int, gb_per_s: float | None) -> Row:
    """The row of what several rounds took, with the kernels and waits of one more step.

    Args:
        contender: it takes that step.
        taken: by a step, in each round.
        numel: parameters.
        gb_per_s: see ``Row.copied_gb_per_s``; None without a GPU.
    """
    low, middle, high = quartiles([once.clock_s for once in taken])
    moved = _BYTES[contender.optimizer] + _BYTES_OF_AVERAGE * contender.average
    kernels, waits = counted(contender.turn)
    return Row(
        optimizer=contender.optimizer,
        contender=contender.name,
        device=contender.turn.device.type,
        average=contender.average,
        parameters=numel,
        us_per_step=middle,
        us_quartiles=(low, high),
        kernels=kernels,
        waits=waits,
        bytes_per_parameter=moved,
        copied_gb_per_s=gb_per_s and round(gb_per_s, 1),
        share_of_bound=gb_per_s and round(moved * numel / (1e3 * gb_per_s) / middle, 4),
    )


def counted(turn: Turn) -> tuple[int | None, int]:
    """Kernels and waits of one step; see ``Row``."""
    on_gpu = turn.device.type == "cuda"
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own lines
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities, acc_events=True) as profiled:
        with record_function(_STEP):
            turn.run(1)
        if on_gpu:
            torch.cuda.synchronize()
    events = list(profiled.events() or [])
    if not on_gpu:
        return None, sum(event.name == _READ for event in events)
    step = next(event for event in events if event.name == _STEP and event.device_type == DeviceType.CPU)
    waits = [
        event for event in events if event.name in WAITS and event.time_range.start < step.time_range.end
    ]
    kernels = [event for event in events if is_on_gpu(event) and not event.name.startswith("Mem")]
    return len(kernels), len(waits)


def _set_up(network: nn.Module, optimizer: str, name: str, average: bool) -> Contender | None:
    """A contender with weights of its own, warmed up; None if it cannot run here."""
    device = next(network.parameters()).device
    try:
        run = ready_step(network, optimizer, name, average)
        run(1)  # compiles, allocates
    except Exception as error:
        if not average:
            reason = f"{error}".strip().splitlines()[0] if f"{error}".strip() else type(error).__name__
            print(f"{optimizer} {name} is left out: {reason}", file=sys.stderr)
        return None
    return Contender(optimizer, name, average, warm_turn(name, device, run))


def ready_step(network: nn.Module, optimizer: str, name: str, average: bool) -> Run:
    """Steps of a contender, with a copy of the network's weights and gradients that are noise."""
    student = copy.deepcopy(network)
    generator = torch.Generator(next(student.parameters()).device).manual_seed(0)
    for parameter in student.parameters():
        parameter.grad = torch.empty_like(parameter).normal_(generator=generator)
    averages = [(copy.deepcopy(student).requires_grad_(False), student, 0.99)] if average else []
    step = STEPS.get(name, _own)(student, optimizer, name, averages)

    def run(times: int) -> None:
        for _ in range(times):
            step()

    return run


Averages = Sequence[tuple[nn.Module, nn.Module, float]]


def _own(student: nn.Module, optimizer: str, name: str, averages: Averages) -> Callable[[], None]:
    """fastssl's optimizer in one of its implementations, used as the trainer uses it."""
    implementation: Implementation = "auto" if name == "torch" else name  # type: ignore[assignment]
    own = build_optimizer(split_parameters(student), CONFIGS[optimizer], implementation)

    def step() -> None:
        set_learning_rate(own, 1e-3)
        fused = name != "torch" and own.take_averages(averages)
        own.step()
        if not fused:
            update_averages(averages)

    return step


def _compiled(student: nn.Module, optimizer: str, name: str, averages: Averages) -> Callable[[], None]:
    """The foreach step, compiled with torch's inductor for one rate."""
    own = build_optimizer(split_parameters(student), CONFIGS[optimizer], "foreach")
    set_learning_rate(own, 1e-3)

    @torch.compile
    def compiled() -> None:
        own.step()
        update_averages(averages)

    return compiled


def _loop(student: nn.Module, optimizer: str, name: str, averages: Averages) -> Callable[[], None]:
    """LARS as peers write it: tensor by tensor, with norms that Python looks at."""
    groups = split_parameters(student)
    buffers = {parameter: torch.zeros_like(parameter) for parameter in student.parameters()}

    @torch.no_grad()
    def step() -> None:
        for group in groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                if not group["norm_and_bias"]:
                    gradient = gradient.add(parameter, alpha=1e-6)
                    weight_norm, norm = torch.norm(parameter), torch.norm(gradient)
                    if weight_norm > 0 and norm > 0:
                        gradient = gradient.mul(1e-3 * weight_norm / norm)
                buffers[parameter].mul_(0.9).add_(gradient)
                parameter.add_(buffers[parameter], alpha=-1e-3)
        update_averages(averages)

    return step


STEPS = {"compiled": _compiled, "loop": _loop}


if __name__ == "__main__":
    run_command(main)
