from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fastssl.models.heads import Head, StandardizedLinear
from pipelines.command.errors import UserError


def head(**fields: Any) -> Head:
    """A float64 head on 6 features, all of its parameters random."""
    torch.manual_seed(0)
    network = Head(6, Head.Config(hidden_dim=10, out_dim=4, **fields)).double()
    for parameter in network.parameters():
        nn.init.uniform_(parameter, -1, 1)
    return network


def normalized(x: np.ndarray, norm: str, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    axis = 0 if norm == "batch" else 1
    mean, var = x.mean(axis, keepdims=True), x.var(axis, keepdims=True)
    return np.asarray((x - mean) / np.sqrt(var + 1e-5) * scale + shift)


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("out_norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_layers_are_linear_norm_relu_and_the_last_linear_norm(
    layers: int, norm: str, out_norm: str, bias: bool
) -> None:
    network = head(layers=layers, norm=norm, out_norm=out_norm, bias=bias)
    parameters = [p.detach().numpy() for p in network.parameters()]
    x = torch.randn(7, 6, dtype=torch.float64)
    expected = x.numpy()
    for layer in range(layers):
        expected = expected @ parameters.pop(0).T
        if bias:
            expected = expected + parameters.pop(0)
        last = layer == layers - 1
        if (out_norm if last else norm) != "none":
            scale, shift = parameters.pop(0), parameters.pop(0)
            expected = normalized(expected, out_norm if last else norm, scale, shift)
        if not last:
            expected = np.maximum(expected, 0)
    assert not parameters
    assert expected.shape == (7, 4)
    np.testing.assert_allclose(network(x).detach().numpy(), expected, rtol=1e-10, atol=1e-12)


def test_weights_are_those_of_torch_layers_made_in_order() -> None:
    torch.manual_seed(3)
    hidden, output = nn.Linear(6, 10), nn.Linear(10, 4)
    torch.manual_seed(3)
    network = Head(6, Head.Config(hidden_dim=10, out_dim=4))
    assert torch.equal(network.get_parameter("0.weight"), hidden.weight)
    assert torch.equal(network.get_parameter("3.weight"), output.weight)


@pytest.mark.parametrize("field", ["norm", "out_norm"])
def test_norms_that_cannot_be_are_refused(field: str) -> None:
    with pytest.raises(UserError, match=f"^head {field} must be one of batch, layer, none, not group$"):
        Head.Config(**{field: "group"})  # type: ignore[arg-type]


def test_standardized_weights_have_mean_0_and_variance_1_for_each_unit() -> None:
    network = head(weight_standardization=True, norm="none")
    x = torch.randn(7, 6, dtype=torch.float64)
    expected = x
    for layer in (network[0], network[2]):
        assert isinstance(layer, StandardizedLinear)
        weight = layer.weight.detach()
        weight = (weight - weight.mean(1, keepdim=True)) / (
            weight.var(1, correction=0, keepdim=True) + 1e-5
        ).sqrt()
        expected = expected @ weight.T + layer.bias.detach()
        if layer is network[0]:
            expected = expected.clamp(min=0)
    torch.testing.assert_close(network(x), expected)
    plain = head(norm="none")
    assert plain.state_dict().keys() == network.state_dict().keys()
    assert not isinstance(plain[0], StandardizedLinear)
