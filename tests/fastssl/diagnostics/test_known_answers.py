"""Norms, spectrum, map and neighbors of what is known."""

import numpy as np
import pytest
import torch
from torch import nn

from fastssl.diagnostics.map import principal_components, tsne
from fastssl.diagnostics.neighbors import nearest_rows
from fastssl.diagnostics.norms import convolution_norms, tensor_norms
from fastssl.diagnostics.spectrum import covariance_eigenvalues
from fastssl.models import ResNet
from fastssl.models.backbone import build_backbone
from pipelines.command.errors import UserError


def test_a_resnet_50_has_sixteen_3x3_convolutions_and_their_norms_are_of_all_weights() -> None:
    encoder = build_backbone(ResNet.Config(depth=50, width=1 / 16))
    norms = convolution_norms(encoder)
    assert len(norms) == 16
    blocks = [(1, 3), (2, 4), (3, 6), (4, 3)]
    assert list(norms) == [
        f"layer{stage}.{block}.conv2.weight" for stage, count in blocks for block in range(count)
    ]
    weights = dict(encoder.named_parameters())
    for name, norm in norms.items():
        assert norm == pytest.approx(np.linalg.norm(weights[name].detach().numpy().ravel()), rel=1e-5)
    tensors = tensor_norms(encoder)
    assert norms.items() <= tensors.items()
    assert tensors["bn1.weight"] == pytest.approx(2.0)  # four ones
    assert "bn1.running_var" in tensors
    assert "bn1.num_batches_tracked" not in tensors


def test_a_weight_that_is_not_finite_is_one_line() -> None:
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight[0, 1] = torch.nan
    with pytest.raises(UserError, match="values of weight are not finite"):
        tensor_norms(layer)


def box(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows [N, 3] about an offset, with variances 9, 4, 0 along orthonormal axes (the columns)."""
    axes = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    signs = np.array([[a, b] for a in (-1, 1) for b in (-1, 1)] * 5)
    return (signs * [3, 2]) @ axes[:, :2].T + 10, axes


def test_eigenvalues_and_components_of_a_box() -> None:
    rows, axes = box(np.random.default_rng(0))
    assert covariance_eigenvalues(torch.from_numpy(rows)).tolist() == pytest.approx([9, 4, 0], abs=1e-9)
    points, explained = principal_components(torch.from_numpy(rows))
    assert explained == pytest.approx([9 / 13, 4 / 13])
    expected = (rows - 10) @ axes[:, :2]
    expected *= np.sign(axes[np.abs(axes).argmax(0), range(3)])[:2]
    np.testing.assert_allclose(points.numpy(), expected, atol=1e-9)


def test_the_nearest_are_those_of_the_largest_cosine() -> None:
    bank = torch.tensor([[1.0, 0.0], [0.0, 5.0], [-1.0, 0.0], [3.0, 3.0]])
    similarities, numbers = nearest_rows(torch.tensor([[2.0, 0.1], [0.0, 1.0]]), bank, 2)
    assert numbers.tolist() == [[0, 3], [1, 3]]
    assert similarities[1].tolist() == pytest.approx([1, np.sqrt(0.5)])


def test_tsne_keeps_clusters_together_and_is_the_same_at_each_call() -> None:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 12)
    rows = torch.from_numpy((10 * np.eye(8)[labels] + generator.normal(size=(36, 8))).astype(np.float32))
    points, divergence = tsne(rows, 5)
    distances = np.linalg.norm(points[:, None] - points, axis=2) + np.diag([np.inf] * 36)
    assert (labels[distances.argmin(1)] == labels).all()
    assert 0 < divergence < 1
    again, _ = tsne(rows, 5)
    np.testing.assert_array_equal(again, points)
