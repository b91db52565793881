import io
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fastssl.optim import LARS, OPTIMIZERS, SGD, Optimizer
from fastssl.optim.optimizer import (
    build_optimizer,
    learning_rates,
    parameter_groups,
    set_learning_rate,
    split_parameters,
)
from pipelines.command.errors import UserError


def network() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 4))
    frozen = nn.Linear(4, 4).requires_grad_(False)
    return nn.Sequential(net, frozen).to(memory_format=torch.channels_last)


def trained(net: nn.Module) -> list[nn.Parameter]:
    return [p for p in net.parameters() if p.requires_grad]


def set_gradients(net: nn.Module, step: int) -> None:
    for i, parameter in enumerate(trained(net)):
        gradient = np.random.default_rng([step, i]).normal(size=parameter.shape)
        parameter.grad = torch.from_numpy(gradient).float()


def test_parameters_are_split_into_weights_and_norms_and_biases() -> None:
    net = network()
    weights, rest = split_parameters(net)
    conv, norm, linear = net[0][0], net[0][1], net[0][3]  # type: ignore[index]
    assert [id(p) for p in weights["params"]] == [id(conv.weight), id(linear.weight)]
    assert {id(p) for p in rest["params"]} == {
        id(p) for p in (conv.bias, norm.weight, norm.bias, linear.bias)
    }
    assert (weights["norm_and_bias"], rest["norm_and_bias"]) == (False, True)
    assert len(split_parameters(nn.Linear(3, 3, bias=False))) == 1


@pytest.mark.parametrize("optimizer_class", OPTIMIZERS)
@pytest.mark.parametrize("exclude", [False, True])
def test_norms_and_biases_can_be_excluded(optimizer_class: type[Optimizer], exclude: bool) -> None:
    net = network()
    config = optimizer_class.Config(weight_decay=0.1, exclude_norm_and_bias=exclude)
    optimizer = build_optimizer(split_parameters(net), config)
    assert isinstance(optimizer, optimizer_class)
    weights, rest = optimizer.param_groups
    assert (weights["weight_decay"], rest["weight_decay"]) == (0.1, 0.0 if exclude else 0.1)
    if optimizer_class is LARS:
        assert (weights["adapt"], rest["adapt"]) == (True, not exclude)


def test_parts_keep_settings_of_their_own() -> None:
    weights, rest = split_parameters(network())
    slow = weights | {"lr_scale": 0.1, "weight_decay": 0.3}
    groups = parameter_groups([slow, rest], SGD.Config(weight_decay=0.2, norm_and_bias_lr_scale=0.5))
    assert [group["lr_scale"] for group in groups] == [0.1, 0.5]
    assert [group["weight_decay"] for group in groups] == [0.3, 0.2]


@pytest.mark.parametrize("optimizer_class", OPTIMIZERS)
def test_norms_and_biases_have_a_rate_of_their_own(optimizer_class: type[Optimizer]) -> None:
    """A tenth of the rate is a tenth of the first step, for every tensor of at most one dimension."""
    moved = []
    for scale in (1.0, 0.1):
        net = network()
        before = [p.detach().clone() for p in trained(net)]
        config = optimizer_class.Config(norm_and_bias_lr_scale=scale)
        optimizer = build_optimizer(split_parameters(net), config)
        set_gradients(net, 0)
        set_learning_rate(optimizer, 0.5)
        optimizer.step()
        moved.append([p.detach() - old for p, old in zip(trained(net), before, strict=True)])
        assert learning_rates(optimizer) == (
            {"learning_rate": 0.5, "learning_rate_norm_and_bias": 0.05}
            if scale < 1
            else {"learning_rate": 0.5}
        )
    for whole, scaled in zip(*moved, strict=True):
        assert whole.abs().sum() > 0
        torch.testing.assert_close(scaled, whole * (0.1 if whole.ndim < 2 else 1), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("optimizer_class", OPTIMIZERS)
def test_the_rate_is_zero_until_it_is_set(optimizer_class: type[Optimizer]) -> None:
    net = network()
    before = [p.detach().clone() for p in trained(net)]
    optimizer = build_optimizer(split_parameters(net), optimizer_class.Config())
    set_gradients(net, 0)
    optimizer.step()
    assert all(torch.equal(p, old) for p, old in zip(trained(net), before, strict=True))


@pytest.mark.parametrize("optimizer_class", OPTIMIZERS)
def test_state_round_trip_is_bit_exact(optimizer_class: type[Optimizer]) -> None:
    config = optimizer_class.Config(norm_and_bias_lr_scale=0.3, exclude_norm_and_bias=True)

    def go(net: nn.Module, optimizer: Optimizer, steps: range) -> None:
        for step in steps:
            set_learning_rate(optimizer, 0.1 / (1 + step))
            set_gradients(net, step)
            optimizer.step()

    net = network()
    optimizer = build_optimizer(split_parameters(net), config)
    go(net, optimizer, range(3))
    file = io.BytesIO()
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    assert saved["optimizer"]["state"]  # there is something to lose
    go(net, optimizer, range(3, 7))
    resumed = network()
    resumed.load_state_dict(saved["net"])
    resumed_optimizer = build_optimizer(split_parameters(resumed), config)
    resumed_optimizer.load_state_dict(saved["optimizer"])
    go(resumed, resumed_optimizer, range(3, 7))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("optimizer_class", OPTIMIZERS)
def test_small_keeps_the_switches(optimizer_class: type[Optimizer]) -> None:
    config = optimizer_class.Config(exclude_norm_and_bias=True, schedule="steps", drops=(0.5,))
    small = config.small()
    assert type(small) is type(config)
    assert (small.exclude_norm_and_bias, small.drops) == (True, (0.5,))
    assert small.warmup_epochs < 1


COMMON: list[dict[str, Any]] = [
    {"schedule": "step"},
    {"schedule": "steps"},
    {"drops": (0.5,)},
    {"schedule": "steps", "drops": (0.8, 0.6)},
    {"end_share": 0.1},
]


@pytest.mark.parametrize(
    ("optimizer_class", "fields"),
    [
        *((optimizer_class, fields) for optimizer_class in OPTIMIZERS for fields in COMMON),
        (SGD, {"momentum": 0, "nesterov": True}),
    ],
)
def test_fields_that_do_not_fit_are_refused(optimizer_class: type[Optimizer], fields: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^[^\n]+$") as refusal:
        optimizer_class.Config(**fields)
    named = "|".join(fields).replace("_", "[-_]")
    assert re.search(named, str(refusal.value))
