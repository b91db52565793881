"""Barlow Twins: two views' embeddings agree in each dimension, and are uncorrelated between dimensions.

Zbontar, Jing, Misra, LeCun, Deny, "Barlow Twins: self-supervised learning via redundancy reduction" (2021).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from fastssl.distributed.collectives import all_gather_with_gradient
from fastssl.methods.method import Method, RunFacts, autocast_off, expect_views, full_precision, l2_normalize
from fastssl.metrics.embeddings import embedding_diagnostics
from fastssl.models.backbone import Backbone
from fastssl.models.heads import Head
from pipelines.batch import Batch
from pipelines.command.ranges import NotNegative


class BarlowTwins(Method):
    """Loss: sum_i (1 - C_ii)^2 + lambda sum_i sum_{j != i} C_ij^2, C the cross-correlation of two views.

    C is that of the global batch's embeddings (equations 1 and 2). Each view has batch-norm statistics of its
    own.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        """Barlow Twins. The defaults are the paper's on ImageNet; its code has zero_init_residual."""

        num_views: ClassVar[int] = 2

        projector: Head.Config = Head.Config(layers=3, hidden_dim=8192, out_dim=8192, bias=False)
        """Head on the encoder."""
        redundancy_weight: NotNegative = 0.0051
        """lambda, weight of the correlations between different dimensions."""

    def __init__(self, config: Config, backbone: Backbone.Config, run: RunFacts) -> None:
        super().__init__()
        self.config = config
        encoder = self.build_encoder(config, backbone)
        projector = Head(encoder.feature_dim, config.projector)
        self.student = nn.Sequential(OrderedDict(encoder=encoder, projector=projector))

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the global micro-batch; see ``Method.forward``."""
        views = expect_views(batch, self.config.num_views, self.config.kind)
        first, second = (self.student(view) for view in views)
        with autocast_off(first):
            correlation = cross_correlation(all_gather_with_gradient(first), all_gather_with_gradient(second))
            diagonal = correlation.diagonal()
            invariance = (1 - diagonal).square().sum()
            redundancy = correlation.square().sum() - diagonal.square().sum()
            loss = (invariance + self.config.redundancy_weight * redundancy).float()
        return loss, {
            "loss": loss.detach(),
            "invariance_loss": invariance.detach(),
            "redundancy_loss": redundancy.detach(),
            **embedding_diagnostics(l2_normalize(first), l2_normalize(second)),
        }

    repeats = True


def cross_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Correlations over the rows of each dimension of one view with each of the other.

    Args:
        first: [N, D], half precision is taken to float32.
        second: [N, D].

    Returns:
        [D, D]; variances have a batch norm's 1e-5 added, so that a dimension that is constant has 0.
    """
    one, other = (_standardize(rows) for rows in (first, second))
    return one.T @ other / len(one)


def _standardize(rows: Tensor) -> Tensor:
    """Mean 0 and variance 1 in each dimension: a batch norm without scale and offset."""
    return functional.batch_norm(full_precision(rows), None, None, training=True)
