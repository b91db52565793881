"""Barlow Twins against its equations 1 and 2, in float64 and entry by entry."""

from typing import Any

import pytest
import torch
from torch import Tensor

from fastssl.methods import BarlowTwins
from fastssl.methods.barlow_twins import cross_correlation
from fastssl.models import ResNet
from fastssl.optim import LARS
from fastssl.recipes import augmentations, find_recipe
from tests.helpers.contrastive_by_hand import unit
from tests.helpers.figures_by_hand import embedding_figures_by_hand
from tests.helpers.methods import narrow
from tests.helpers.one_step import assert_step, in_float64

CONFIG = narrow(BarlowTwins, {"redundancy_weight": 0.05})


def correlations(first: Tensor, second: Tensor) -> Tensor:
    """Equation 2 of embeddings [N, D], centered first; 1e-5 is added to variances, as batch norms do."""
    rows = []
    for a in (first - first.mean(0)).T:
        pairs = [(a, b) for b in (second - second.mean(0)).T]
        scales = [((a @ a / len(a) + 1e-5) * (b @ b / len(b) + 1e-5)).sqrt() for a, b in pairs]
        rows.append([a @ b / len(a) / scale for (a, b), scale in zip(pairs, scales, strict=True)])
    return torch.stack([torch.stack(row) for row in rows])


def test_a_step_is_equation_1() -> None:
    method, batch = in_float64(CONFIG)
    embeddings: list[Tensor] = []
    terms: dict[str, Tensor] = {}

    def loss_of(student: Any) -> Tensor:
        embeddings.extend(student(view) for view in batch.each_view())  # each with statistics of its own
        c = correlations(*embeddings)
        off_diagonal = [c[i, j] ** 2 for i in range(len(c)) for j in range(len(c)) if i != j]
        terms["invariance_loss"] = torch.stack([(1 - c[i, i]) ** 2 for i in range(len(c))]).sum()
        terms["redundancy_loss"] = torch.stack(off_diagonal).sum()
        return terms["invariance_loss"] + 0.05 * terms["redundancy_loss"]

    metrics = assert_step(method, batch, loss_of)
    for name, value in terms.items():
        assert metrics[name].item() == pytest.approx(value.item(), rel=1e-6), name
    units = [unit(rows.detach().numpy()) for rows in embeddings]
    for name, figure in embedding_figures_by_hand(*units).items():
        assert metrics[name].item() == pytest.approx(figure, rel=1e-4), name


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
