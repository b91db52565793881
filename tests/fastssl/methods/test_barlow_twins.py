"""Barlow Twins against its equations 1 and 2, in float64 and entry by entry."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fastssl.methods import BarlowTwins
from fastssl.methods.barlow_twins import cross_correlation
from fastssl.models import ResNet
from fastssl.optim import LARS
from fastssl.recipes import augmentations, find_recipe
from tests.helpers.batches import make_batch, tiny_method
from tests.helpers.figures_by_hand import embedding_figures_by_hand
from tests.helpers.methods import narrow

CONFIG = narrow(BarlowTwins, {"redundancy_weight": 0.05})


def correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Equation 2 of embeddings [N, D], centered first; 1e-5 is added to variances, as batch norms do."""
    found = np.empty((first.shape[1], second.shape[1]))
    for i, a in enumerate((first - first.mean(0)).T):
        for j, b in enumerate((second - second.mean(0)).T):
            scale = np.sqrt((a @ a / len(a) + 1e-5) * (b @ b / len(b) + 1e-5))
            found[i, j] = a @ b / len(a) / scale
    return found


def loss_of(first: np.ndarray, second: np.ndarray, weight: float) -> tuple[float, float, float]:
    """Equation 1 and its two terms."""
    c = correlations(first, second)
    invariance = sum((1 - c[i, i]) ** 2 for i in range(len(c)))
    redundancy = sum(c[i, j] ** 2 for i in range(len(c)) for j in range(len(c)) if i != j)
    return invariance + weight * redundancy, invariance, redundancy


def test_loss_and_its_gradient_are_equation_1s() -> None:
    method, rng, outputs = tiny_method(CONFIG), np.random.default_rng(0), []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        output.retain_grad()
        outputs.append(output)

    method.student.register_forward_hook(keep)
    loss, metrics = method(make_batch(3), 3)
    loss.backward()
    first, second = (output.detach().double().numpy() for output in outputs)
    expected = loss_of(first, second, 0.05)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected[0], rel=1e-5)
    assert metrics["loss"].item() == loss.item()
    assert metrics["invariance_loss"].item() == pytest.approx(expected[1], rel=1e-5)
    assert metrics["redundancy_loss"].item() == pytest.approx(expected[2], rel=1e-4)
    gradients = [output.grad.double().numpy() for output in outputs if output.grad is not None]
    for _ in range(5):
        along = [rng.normal(size=first.shape) for _ in range(2)]
        above, below = (loss_of(first + h * along[0], second + h * along[1], 0.05)[0] for h in (1e-5, -1e-5))
        slope = sum(
            (gradient * direction).sum() for gradient, direction in zip(gradients, along, strict=True)
        )
        assert slope == pytest.approx((above - below) / 2e-5, rel=1e-4, abs=1e-5)
    units = [rows / np.sqrt((rows**2).sum(1, keepdims=True)) for rows in (first, second)]
    for name, value in embedding_figures_by_hand(*units).items():
        assert metrics[name].item() == pytest.approx(value, rel=1e-4), name


def test_equal_views_of_uncorrelated_dimensions_have_no_loss() -> None:
    rows = torch.tensor([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    torch.testing.assert_close(
        cross_correlation(3 * rows + 5, 7 * rows), torch.eye(2, dtype=torch.float64), rtol=1e-5, atol=1e-12
    )
    opposed = cross_correlation(rows, rows * torch.tensor([1.0, -1.0]))
    torch.testing.assert_close(opposed.diagonal(), torch.tensor([1.0, -1.0]).double(), rtol=1e-4, atol=0)
    constant = cross_correlation(torch.ones_like(rows), rows)  # a collapse: neither infinite nor 0 / 0
    assert torch.equal(constant, torch.zeros(2, 2, dtype=torch.float64))


def test_projector_is_the_papers() -> None:
    head = BarlowTwins.Config().projector
    assert (head.layers, head.hidden_dim, head.out_dim) == (3, 8192, 8192)
    assert (head.norm, head.out_norm, head.bias) == ("batch", "none", False)


def test_recipe_has_the_published_settings() -> None:
    config = find_recipe("barlow-twins-imagenet")
    experiment, optimizer = config.experiment, config.experiment.optimizer
    assert config.paper is not None
    assert config.paper.results == (("linear top-1", 0.732),)  # table 1
    assert (experiment.epochs, experiment.batch_size, experiment.method.kind) == (1000, 2048, "barlowtwins")
    assert experiment.backbone == ResNet.Config(depth=50, zero_init_residual=True)
    first, second = (group.spec for group in experiment.views)
    assert (first, second) == (augmentations.BYOL_FIRST, augmentations.BYOL_SECOND)  # section 2.2: BYOL's
    assert isinstance(optimizer, LARS.Config)
    assert (optimizer.base_lr, optimizer.weight_decay, optimizer.warmup_epochs) == (0.2, 1e-6, 10)
    assert optimizer.base_lr * optimizer.norm_and_bias_lr_scale == pytest.approx(0.0048)
    assert (optimizer.exclude_norm_and_bias, optimizer.schedule) == (True, "cosine")
