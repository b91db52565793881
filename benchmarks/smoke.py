"""Every GPU kernel once, against its reference: the first minute on a new card.

Renders views with every operation by Triton and by the reference, moves the weights of a small network by the
optimizers' kernels and by their reference, normalizes, and takes steps of small recipes, one as a CUDA graph.
Prints a line per check; exit status 1 if one is wrong.
"""

from __future__ import annotations

import copy
import math
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

import torch
from torch import nn

from benchmarks.contenders import CHAIN, Decoded, open_renderer
from benchmarks.images import generated_jpeg
from benchmarks.optimizer import CONFIGS
from benchmarks.step import ready_steps, recipe_on_scenes
from fastssl.distributed.precision import resolve_precision
from fastssl.models import ResNet9
from fastssl.models.backbone import build_backbone
from fastssl.models.fused_batch_norm import fuse_batch_norms
from fastssl.optim.graphed_step import GraphedStep
from fastssl.optim.optimizer import Implementation, build_optimizer, set_learning_rate, split_parameters
from pipelines.command.errors import UserError, run_command
from pipelines.decode.decode import decode

_LEVELS = 4.0  # of 255: largest difference of a kernel's pixels from the reference's
_BFLOAT16 = 255 * 3 * 2**-8  # levels: its rounding of normalized values of up to 3
_STEPS = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Run all checks."""
    if sys.argv[1:] if argv is None else argv:
        raise UserError("python -m benchmarks.smoke takes no options")
    if not torch.cuda.is_available():
        raise UserError("python -m benchmarks.smoke checks kernels on a GPU, and torch sees none here")
    wrong = 0
    for name, check in CHECKS.items():
        begin = time.perf_counter()
        try:
            found = check(torch.device("cuda"))
        except Exception:
            found, wrong = traceback.format_exc().rstrip(), wrong + 1
        print(f"{name}: {found} ({time.perf_counter() - begin:.1f} s)", flush=True)
    return int(wrong > 0)


def views(device: torch.device) -> str:
    """Compare the views of Triton's kernels with the reference's."""
    images = [decode(generated_jpeg(number)) for number in range(4)]
    found = []
    for name, where in (("triton", device), ("reference", torch.device("cpu"))):
        decoded = Decoded(images=images, views=2, spec=CHAIN, device=where)
        found.append([view.float().cpu() for view in open_renderer(name, decoded)(1)])
    std = torch.tensor(CHAIN.std).view(1, 3, 1, 1)
    worst = max(255 * float(((a - b).abs() * std).max()) for a, b in zip(*found, strict=True))
    assert worst <= _LEVELS + _BFLOAT16, f"{worst:.2f} levels off"
    return f"at most {worst:.2f} levels off"


def optimizers(device: torch.device, kernels: Implementation = "triton") -> str:
    """Compare weights and teachers that the kernels moved with those that the reference moved."""
    worst = 0.0
    for config in CONFIGS.values():
        ends = []
        for implementation in (kernels, "reference"):
            torch.manual_seed(0)
            student = build_backbone(ResNet9.Config(width=0.25)).to(device)
            teacher = copy.deepcopy(student).requires_grad_(False)
            optimizer = build_optimizer(split_parameters(student), config, implementation)
            for step in range(_STEPS):
                set_learning_rate(optimizer, 0.1 / (1 + step))
                for parameter in student.parameters():
                    parameter.grad = torch.sin(parameter.detach() * (3 + step))
                fused = optimizer.take_averages([(teacher, student, 0.9)])
                optimizer.step()
                if not fused:
                    for target, source in zip(teacher.parameters(), student.parameters(), strict=True):
                        target.lerp_(source.detach(), 0.1)
            ends.append([p.detach().flatten() for p in (*student.parameters(), *teacher.parameters())])
        ours, theirs = (torch.cat(end) for end in ends)
        worst = max(worst, float((ours - theirs).abs().max() / theirs.abs().max()))
    assert worst <= 1e-5, f"weights are {worst:.2g} of the largest off"
    return f"weights are {worst:.2g} of the largest off"


def steps(device: torch.device) -> str:
    """Take a few steps of small recipes: losses, queue, averages and optimizer run on the GPU."""
    precision, _ = resolve_precision("auto", device)
    with ExitStack() as stack:
        for name in ("quickstart", "byol-cifar10"):
            step, _ = ready_steps(stack, recipe_on_scenes(name, 64, precision), device)
            step(_STEPS)
            torch.cuda.synchronize()
    gigabytes = torch.cuda.max_memory_allocated() / 1e9
    assert math.isfinite(gigabytes)
    return f"{_STEPS} steps of two recipes in {precision}, {gigabytes:.2f} GB"


def batch_norms(device: torch.device) -> str:
    """Compare fused batch norms, forward and backward, with torch's in float64."""
    torch.manual_seed(0)
    x = torch.randn(16, 48, 14, 14, device=device, dtype=torch.float64) + 3
    x = x.to(memory_format=torch.channels_last)
    ends = []
    for dtype in (torch.float64, torch.float32):
        norm = nn.BatchNorm2d(48, device=device, dtype=dtype)
        given = x.clone().to(dtype).requires_grad_()
        made = (norm if dtype == torch.float64 else fuse_batch_norms(nn.Sequential(norm)))(given)
        (made * torch.cos(made)).sum().backward()
        kept = (made, given.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var)
        ends.append([tensor.detach().double() for tensor in kept if tensor is not None])
    exact, ours = ends
    worst = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(ours, exact, strict=True))
    assert worst <= 1e-3, f"{worst:.2g} of the largest off"
    return f"{worst:.2g} of the largest off"


def graph(device: torch.device) -> str:
    """Replay a step of BYOL as a CUDA graph."""
    precision, _ = resolve_precision("auto", device)
    config = recipe_on_scenes("byol-cifar10", 64, precision)
    with ExitStack() as stack:
        step, _ = ready_steps(
            stack, replace(config, machine=replace(config.machine, cuda_graph=True)), device
        )
        step(GraphedStep.WARM_UP_STEPS + _STEPS)
        torch.cuda.synchronize()
    return f"{_STEPS} replays in {precision}"


CHECKS: dict[str, Callable[[torch.device], str]] = {
    "views": views,
    "optimizers": optimizers,
    "batch norms": batch_norms,
    "steps": steps,
    "graph": graph,
}


if __name__ == "__main__":
    run_command(main)
