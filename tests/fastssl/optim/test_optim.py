import numpy as np
import pytest
import torch
from torch import nn

from fastssl.optim.build import OptimizerConfig, build_optimizer, parameter_groups
from fastssl.optim.lars import LARS
from pipelines.command.errors import UserError


def network() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 4))
    frozen = nn.Linear(4, 4).requires_grad_(False)
    return nn.Sequential(net, frozen).to(memory_format=torch.channels_last)


def test_norms_and_biases_are_excluded() -> None:
    net = network()
    config = OptimizerConfig(name="lars", weight_decay=0.1, exclude_norm_and_bias=True)
    weights, excluded = parameter_groups(net, config)
    conv, norm, linear = net[0][0], net[0][1], net[0][3]  # type: ignore[index]
    assert [id(p) for p in weights["params"]] == [id(conv.weight), id(linear.weight)]
    assert {id(p) for p in excluded["params"]} == {
        id(p) for p in (conv.bias, norm.weight, norm.bias, linear.bias)
    }
    optimizer = build_optimizer(net, config)
    assert isinstance(optimizer, LARS)
    first, second = optimizer.param_groups
    assert (first["weight_decay"], first["adapt"]) == (0.1, True)
    assert (second["weight_decay"], second["adapt"]) == (0.0, False)


def test_otherwise_all_trainable_parameters_are_one_group() -> None:
    for name in ("sgd", "lars"):
        net = network()
        (group,) = build_optimizer(net, OptimizerConfig(name=name, weight_decay=0.1)).param_groups
        assert [id(p) for p in group["params"]] == [id(p) for p in net.parameters() if p.requires_grad]
        assert group["weight_decay"] == 0.1
        assert group.get("adapt", True)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("exclude", [False, True])
def test_sgd_is_the_textbook_loop(nesterov: bool, exclude: bool) -> None:
    net = network()
    config = OptimizerConfig(weight_decay=0.1, nesterov=nesterov, exclude_norm_and_bias=exclude)
    optimizer = build_optimizer(net, config)
    trained = [p for p in net.parameters() if p.requires_grad]
    expected = [p.detach().double().numpy().copy() for p in trained]
    buffers = [np.zeros_like(weight) for weight in expected]
    for step, rate in enumerate([0.1, 0.3, 0.05]):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for i, parameter in enumerate(trained):
            gradient = np.random.default_rng([step, i]).normal(size=parameter.shape)
            parameter.grad = torch.from_numpy(gradient).float()
            decay = 0.0 if exclude and parameter.ndim < 2 else 0.1
            gradient = gradient + decay * expected[i]
            buffers[i] = 0.9 * buffers[i] + gradient
            expected[i] = expected[i] - rate * (gradient + 0.9 * buffers[i] if nesterov else buffers[i])
        optimizer.step()
    for parameter, weight in zip(trained, expected, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), weight, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "field",
    [
        {"name": "adam"},
        {"schedule": "step"},
        {"schedule": "steps"},
        {"drops": (0.5,)},
        {"schedule": "steps", "drops": (0.8, 0.6)},
        {"schedule": "steps", "drops": (0.5, 0.5)},
        {"schedule": "steps", "drops": (0.0, 0.5)},
        {"schedule": "steps", "drops": (30.0, 60.0)},
        {"base_lr": 0.0},
        {"base_lr": float("nan")},
        {"momentum": 1.0},
        {"weight_decay": -1e-4},
        {"warmup_epochs": -1},
        {"trust_coefficient": 0},
        {"name": "lars", "nesterov": True},
        {"momentum": 0, "nesterov": True},
    ],
)
def test_bad_values_are_refused(field: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"^[^\n]+$"):
        OptimizerConfig(**field)  # type: ignore[arg-type]
