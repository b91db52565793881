import numpy as np
import pytest
import torch

from fastssl.models.heads import mlp


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_without_a_hidden_layer_it_is_linear(norm: str) -> None:
    torch.manual_seed(0)
    head = mlp(6, None, 4, norm).double()  # type: ignore[arg-type]
    x = torch.randn(7, 6, dtype=torch.float64)
    weight, bias = (p.detach().numpy() for p in head.parameters())
    np.testing.assert_allclose(head(x).detach().numpy(), x.numpy() @ weight.T + bias, rtol=1e-12)


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
def test_mlp_is_linear_norm_relu_linear(norm: str) -> None:
    torch.manual_seed(0)
    head = mlp(6, 10, 4, norm).double()  # type: ignore[arg-type]
    for parameter in head.parameters():
        torch.nn.init.uniform_(parameter, -1, 1)
    x = torch.randn(7, 6, dtype=torch.float64)
    parameters = [p.detach().numpy() for p in head.parameters()]
    hidden = x.numpy() @ parameters[0].T + parameters[1]
    if norm != "none":
        axis = 0 if norm == "batch" else 1
        mean, var = hidden.mean(axis, keepdims=True), hidden.var(axis, keepdims=True)
        hidden = (hidden - mean) / np.sqrt(var + 1e-5) * parameters[2] + parameters[3]
    expected = np.maximum(hidden, 0) @ parameters[-2].T + parameters[-1]
    np.testing.assert_allclose(head(x).detach().numpy(), expected, rtol=1e-10, atol=1e-12)
