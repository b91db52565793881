"""Fused optimizers for tests: on a GPU, or in Triton's interpreter (with the fixture ``interpreter``)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastssl.models.teacher import update_averages
from fastssl.optim import Optimizer
from fastssl.optim.optimizer import Implementation, build_optimizer, set_learning_rate, split_parameters

ON_GPU = torch.cuda.is_available()
with pytest.MonkeyPatch.context() as environment:
    if not ON_GPU:
        environment.setenv("TRITON_INTERPRET", "1")  # is looked at where a kernel is defined
    from fastssl.optim import multi_tensor_tables

DEVICE = torch.device("cuda" if ON_GPU else "cpu")

SHAPES = [(6, 4, 3, 3), (5, 7), (8,), (3, 3), (4, 2), (2, 2), (1, 300), (8, 4, 1, 1), (3,)]
ZERO_WEIGHT, ZERO_GRADIENT, NO_GRADIENT, AT_TIMES = 3, 4, 5, 6  # positions in SHAPES
SKIPPED = {0, 3}  # steps, modulo 10


@contextmanager
def small_chunks() -> Iterator[None]:
    """Chunks that small tensors have several of, and sums of more chunks than are loaded at once."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"CHUNK": 128, "BLOCK": 64, "LANES": 2}.items():
            patch.setattr(multi_tensor_tables, name, value)
        yield


class Weights(nn.Module):
    """Parameters of SHAPES, some of them channels-last."""

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for position, shape in enumerate(SHAPES):
            values = torch.randn(shape, generator=generator) * (position != ZERO_WEIGHT)
            if len(shape) == 4:
                values = values.contiguous(memory_format=torch.channels_last)
            self.register_parameter(f"of_{position}", nn.Parameter(values.to(DEVICE, dtype)))

    def parts(self) -> list[dict[str, Any]]:
        """Weights, and those that LARS leaves alone, in groups."""
        weights, rest = split_parameters(self)
        return [weights, rest | {"lr_scale": 0.5}]


def gradient(step: int, position: int) -> Tensor | None:
    """Gradient of a step, float32, contiguous in odd steps whatever the weight is."""
    if position == NO_GRADIENT or (position == AT_TIMES and step % 2):
        return None
    values = torch.randn(SHAPES[position], generator=torch.Generator().manual_seed(97 * step + position))
    if position == ZERO_GRADIENT or (position == ZERO_WEIGHT and step % 10 < 3):
        values = torch.zeros(SHAPES[position])
    if values.ndim == 4 and step % 2 == 0:
        values = values.contiguous(memory_format=torch.channels_last)
    return values.to(DEVICE)


def rate(step: int) -> float:
    """Learning rate of a step: it rises, falls and is 0 at times."""
    return 0.3 * abs((step % 13) - 5) / 5


@dataclass
class Trained:
    """Weights, an average of them, and their optimizer."""

    weights: Weights
    average: nn.Module
    optimizer: Optimizer

    def tensors(self) -> list[Tensor]:
        """Weights, averages and momentums (0 where there is none)."""
        state = self.optimizer.state
        momentums = [
            state.get(weight, {}).get("momentum_buffer", torch.zeros_like(weight))
            for weight in self.weights.parameters()
        ]
        return [
            tensor.detach().clone()
            for tensor in (*self.weights.parameters(), *self.average.parameters(), *momentums)
        ]


def start(
    config: Optimizer.Config, implementation: Implementation, dtype: torch.dtype = torch.float32
) -> Trained:
    weights = Weights(dtype)
    average = copy.deepcopy(weights).requires_grad_(False)
    return Trained(weights, average, build_optimizer(weights.parts(), config, implementation))


def go(trained: Trained, steps: Sequence[int], *, scaled: bool = True) -> None:
    """Take steps as the trainer does in fp16, with gradients of another scale, some of which overflow.

    An optimizer that takes scale and overflow on the device is given them so; for another they are applied
    here, as torch's scaler does.
    """
    optimizer = trained.optimizer
    for step in steps:
        skipped, scale = scaled and step % 10 in SKIPPED, 2.0 ** (step % 4) if scaled else 1.0
        set_learning_rate(optimizer, rate(step))
        for position, weight in enumerate(trained.weights.parameters()):
            values = gradient(step, position)
            weight.grad = None if values is None else values.to(weight.dtype)
            if weight.grad is not None and skipped:
                weight.grad.fill_(float("inf"))
        averages = [(trained.average, trained.weights, 0.9 if step % 10 else 0.0)]
        fused = optimizer.take_averages(averages)
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            for weight in trained.weights.parameters():
                if weight.grad is not None:
                    weight.grad *= scale
            optimizer.found_inf = torch.tensor(float(skipped), device=DEVICE)  # type: ignore[attr-defined]
            optimizer.grad_scale = torch.tensor(scale, device=DEVICE)  # type: ignore[attr-defined]
            optimizer.step()
        elif not skipped:
            optimizer.step()
        if not fused:
            update_averages(averages)


def assert_rounded(got: Sequence[Tensor], wanted: Sequence[Tensor]) -> None:
    """Assert that tensors are equal to the rounding of float32, which steps add up."""
    for one, other in zip(got, wanted, strict=True):
        error, largest = (one.double() - other.double()).abs().max(), other.double().abs().max()
        assert error <= 1e-5 * largest + 2**-23, (one.shape, error)  # weights began at about 1
