import numpy as np
import pytest
import torch
from torch import nn

from fastssl.optim import LARS
from fastssl.optim.optimizer import build_optimizer, set_learning_rate

RATES = [0.5, 0.4, 1.2, 0.05, 0.7, 0.0, 0.3]
SHAPES = [(6, 4, 3, 3), (5, 7), (8,), (3, 3), (4, 2)]
ZERO_WEIGHT, ZERO_GRADIENT = 3, 4  # positions in SHAPES


def parameters() -> list[nn.Parameter]:
    torch.manual_seed(0)
    tensors = [torch.randn(shape, dtype=torch.float64) for shape in SHAPES]
    tensors[0] = tensors[0].contiguous(memory_format=torch.channels_last)
    tensors[ZERO_WEIGHT].zero_()
    return [nn.Parameter(tensor) for tensor in tensors]


def gradient(step: int, position: int) -> np.ndarray:
    if position == ZERO_GRADIENT:
        return np.zeros(SHAPES[position])
    if position == ZERO_WEIGHT and step == 0:
        return np.zeros(SHAPES[position])
    return np.random.default_rng([step, position]).normal(size=SHAPES[position])


def set_gradients(weights: list[nn.Parameter], step: int) -> None:
    for position, weight in enumerate(weights):
        weight.grad = torch.from_numpy(gradient(step, position)).to(weight.dtype)


@pytest.mark.parametrize(("decay", "eta"), [(0.0, 1e-3), (1e-2, 1e-3), (0.3, 0.02)])
def test_lars_is_the_loop_of_its_docstring(decay: float, eta: float) -> None:
    weights = parameters()
    adapted, excluded = [0, 1, 3, 4], [2]
    parts = [
        {"params": [weights[i] for i in adapted], "norm_and_bias": False},
        {"params": [weights[i] for i in excluded], "norm_and_bias": True},
    ]
    config = LARS.Config(weight_decay=decay, trust_coefficient=eta, exclude_norm_and_bias=True)
    optimizer = build_optimizer(parts, config)
    expected = [weight.detach().numpy().copy() for weight in weights]
    buffers = [np.zeros(shape) for shape in SHAPES]
    for step, rate in enumerate(RATES):
        set_learning_rate(optimizer, rate)
        set_gradients(weights, step)
        optimizer.step()
        for i, weight in enumerate(expected):
            update, ratio = gradient(step, i), 1.0
            if i in adapted:
                update = update + decay * weight
                weight_norm, update_norm = np.sqrt((weight**2).sum()), np.sqrt((update**2).sum())
                if weight_norm > 0 and update_norm > 0:
                    ratio = eta * weight_norm / update_norm
            buffers[i] = 0.9 * buffers[i] + ratio * update
            expected[i] = weight - rate * buffers[i]
        for parameter, value in zip(weights, expected, strict=True):
            np.testing.assert_allclose(parameter.detach().numpy(), value, rtol=1e-11, atol=1e-13)
    assert np.abs(expected[ZERO_WEIGHT]).max() > 0  # it left 0 by a plain step


def test_parameters_without_gradients_stay() -> None:
    weights = parameters()
    before = [weight.detach().clone() for weight in weights]
    optimizer = build_optimizer([{"params": weights, "norm_and_bias": False}], LARS.Config(weight_decay=0.1))
    set_learning_rate(optimizer, 1.0)
    optimizer.step()
    weights[1].grad = torch.ones_like(weights[1])
    optimizer.step()
    assert [torch.equal(weight, old) for weight, old in zip(weights, before, strict=True)] == [
        position != 1 for position in range(len(weights))
    ]
