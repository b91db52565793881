"""Adam against torch's in float64."""

import numpy as np
import pytest
import torch
from torch import nn

from fastssl.optim import Adam
from fastssl.optim.optimizer import build_optimizer, set_learning_rate, split_parameters

RATES = (0.0, 0.1, 0.3, 0.05, 0.2)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 4))
    return layers.to(memory_format=torch.channels_last)


def take_steps(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    for step, rate in enumerate(RATES):
        set_learning_rate(optimizer, rate)
        for index, parameter in enumerate(net.parameters()):
            values = np.random.default_rng([step, index]).normal(size=parameter.shape)
            parameter.grad = torch.from_numpy(values).float().to(parameter.dtype)
        optimizer.step()


@pytest.mark.parametrize("beta1", [0.0, 0.8])
@pytest.mark.parametrize("exclude", [False, True])
def test_adam_is_torchs_in_float64(beta1: float, exclude: bool) -> None:
    ours, theirs = network(), network().double()
    config = Adam.Config(beta1=beta1, weight_decay=0.1, exclude_norm_and_bias=exclude)
    optimizer = build_optimizer(split_parameters(ours), config)
    weights, rest = split_parameters(theirs)
    groups = [weights, rest | {"weight_decay": 0.0 if exclude else 0.1}]
    torchs = torch.optim.Adam(groups, betas=(beta1, 0.999), weight_decay=0.1)
    for net, each in ((ours, optimizer), (theirs, torchs)):
        take_steps(net, each)
    for parameter, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(parameter.double(), other, rtol=1e-4, atol=1e-6)
        own, its = optimizer.state[parameter], torchs.state[other]
        assert own.keys() == its.keys()  # so that torch's fused step can take it over
        assert own["step"] == its["step"] == len(RATES)


def test_the_defaults_are_the_authors() -> None:
    config = Adam.Config()
    assert (config.beta1, config.beta2, config.epsilon) == (0.8, 0.999, 1e-8)
