"""Adam against its paper's algorithm in float64, against torch's, and one implementation against another."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fastssl.optim import Adam
from fastssl.optim.optimizer import Implementation, build_optimizer, set_learning_rate, split_parameters

IMPLEMENTATIONS: tuple[Implementation, ...] = Adam.implementations
RATES = (0.0, 0.1, 0.3, 0.05, 0.2)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 4))
    return layers.to(memory_format=torch.channels_last)


def gradient(parameter: Tensor, step: int, index: int) -> np.ndarray:
    return np.random.default_rng([step, index]).normal(size=parameter.shape)


def steps(net: nn.Module, optimizer: torch.optim.Optimizer, numbers: range) -> None:
    for step in numbers:
        set_learning_rate(optimizer, RATES[step])
        for index, parameter in enumerate(net.parameters()):
            parameter.grad = torch.from_numpy(gradient(parameter, step, index)).float()
        optimizer.step()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("beta1", [0.0, 0.8])
def test_adam_is_the_papers_algorithm(implementation: Implementation, beta1: float) -> None:
    net, beta2 = network(), 0.999
    config = Adam.Config(beta1=beta1, weight_decay=0.1, exclude_norm_and_bias=True)
    optimizer = build_optimizer(split_parameters(net), config, implementation)
    expected = [p.detach().double().numpy().copy() for p in net.parameters()]
    means, squares = ([np.zeros_like(weight) for weight in expected] for _ in range(2))
    steps(net, optimizer, range(len(RATES)))
    for t, rate in enumerate(RATES, start=1):
        for i, parameter in enumerate(net.parameters()):
            decay = 0.0 if parameter.ndim < 2 else 0.1
            update = gradient(parameter, t - 1, i).astype(np.float32) + decay * expected[i]
            means[i] = beta1 * means[i] + (1 - beta1) * update
            squares[i] = beta2 * squares[i] + (1 - beta2) * update**2
            root = np.sqrt(squares[i] / (1 - beta2**t)) + 1e-8
            expected[i] = expected[i] - rate * means[i] / (1 - beta1**t) / root
    for parameter, weight in zip(net.parameters(), expected, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), weight, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_adam_is_torchs(implementation: Implementation) -> None:
    ours, theirs = network(), network()
    parts: list[dict[str, Any]] = split_parameters(ours)
    optimizer = build_optimizer(parts, Adam.Config(weight_decay=0.01), implementation)
    torchs = torch.optim.Adam(theirs.parameters(), betas=(0.8, 0.999), weight_decay=0.01)
    steps(ours, optimizer, range(len(RATES)))
    steps(theirs, torchs, range(len(RATES)))
    for parameter, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(parameter, other, rtol=1e-4, atol=1e-6)
        own, its = optimizer.state[parameter], torchs.state[other]
        assert own.keys() == its.keys()  # so that torch's fused step can take it over
        assert own["step"] == its["step"] == len(RATES)


def test_a_run_goes_on_in_another_implementation() -> None:
    whole, parts = network(), network()
    optimizer = build_optimizer(split_parameters(whole), Adam.Config(), "foreach")
    steps(whole, optimizer, range(5))
    first = build_optimizer(split_parameters(parts), Adam.Config(), "reference")
    steps(parts, first, range(2))
    state = copy.deepcopy(first.state_dict())
    second = build_optimizer(split_parameters(parts), Adam.Config(), "foreach")
    second.load_state_dict(state)
    assert second.implementation == "foreach"  # type: ignore[attr-defined]
    steps(parts, second, range(2, 5))
    for parameter, other in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(parameter, other, rtol=1e-4, atol=1e-6)


def test_the_defaults_are_the_authors() -> None:
    config = Adam.Config()
    assert (config.beta1, config.beta2, config.epsilon) == (0.8, 0.999, 1e-8)
