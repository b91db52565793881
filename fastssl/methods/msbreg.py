"""MSBReg: BYOL with many views, a centroid loss, a singular value loss and a Brownian diffusive loss.

Moon, Buracas, Park, Kim, Canny, "An embedding-dynamic approach to self-supervised learning", 2022
(arXiv 2207.03552). The formulas of the paper itself were not at hand, only its supplement, abstract and
figure 1: the forms of the three losses are made to fit what those say, and each function states its form, its
properties and the reason. All three are means over views, so that weights mean the same at any number of
views (table 5 of the supplement finds the same best ones at 4 and at 8), and act on the predictor's unit
vectors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fastssl.distributed.collectives import all_gather_with_gradient, first_row, world_size
from fastssl.methods.method import RunFacts, autocast_off, expect_views
from fastssl.methods.student_teacher import StudentTeacher
from fastssl.metrics.embeddings import embedding_diagnostics
from fastssl.models.backbone import Backbone
from fastssl.models.heads import Head
from pipelines.batch import Batch, to_device
from pipelines.command.ranges import CountFromTwo, NotNegative
from pipelines.files.kernels import njit
from pipelines.keys import absorb, stable_id, to_normal

_DIRECTION = stable_id("msbreg/brownian-direction")

CentroidForm = Literal["leave_one_out", "leave_one_out_normalized", "centroids"]


class MSBReg(StudentTeacher):
    """Loss: centroid + lambda_s * singular value + lambda_b * Brownian.

    With 2 views, ``leave_one_out`` and both weights 0 it is BYOL's (row K = 2, 0, 0 of table 5); with only
    lambda_b above 0, the "BYOL + L_b" of table 4.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(StudentTeacher.Config):
        """MSBReg. The default weights are the best of table 5 at 4 and 8 views (ResNet-18, ImageNet-100)."""

        num_views: CountFromTwo = 4
        """K, of each image; the view groups must make as many."""
        predictor: Head.Config = Head.Config()
        """The student's head behind its projector."""
        centroid: CentroidForm = "leave_one_out"
        """Target of a student's view: see ``centroid_loss``."""
        lambda_s: NotNegative = 0.004
        """Weight of the singular value loss."""
        lambda_b: NotNegative = 0.5
        """Weight of the Brownian diffusive loss."""

    config: Config

    def __init__(self, config: Config, backbone: Backbone.Config, run: RunFacts) -> None:
        super().__init__(config, backbone, run)
        self._rows_seen = 0  # of this process, in the step's parts before; 0 between steps

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the batch of the loss; see ``Method.forward``."""
        config = self.config
        views = expect_views(batch, config.num_views, config.kind)
        queries = torch.stack(self.queries(views))  # [K, B, D]
        keys = torch.stack(self.keys(views, batch.step))
        row = self._rows_seen * world_size() + first_row(len(batch))
        drawn = brownian_directions(self._seed, step, row, len(batch), config.predictor.out_dim)
        self._rows_seen += len(batch)
        with autocast_off(queries):
            centroid = centroid_loss(queries, keys, config.centroid)
            of_all_processes = all_gather_with_gradient(queries.transpose(0, 1)).transpose(0, 1)
            singular_value = singular_value_loss(of_all_processes)
            brownian = brownian_loss(queries, to_device(drawn, queries.device))
            loss = centroid + config.lambda_s * singular_value + config.lambda_b * brownian
        return loss, {
            "loss": loss.detach(),
            "centroid_loss": centroid.detach(),
            "singular_value_loss": singular_value.detach(),
            "brownian_loss": brownian.detach(),
            **embedding_diagnostics(queries[0], keys[1]),
        }

    def after_step(self, step: int) -> None:
        """Count the next step's images from 0."""
        self._rows_seen = 0


def centroid_loss(queries: Tensor, keys: Tensor, form: CentroidForm) -> Tensor:
    """The multiview centroid loss: an image's views are drawn to where its other views are. 0-dim.

    With q_i the student's and k_i the teacher's unit vector of view i of K, averaged over the images::

        leave_one_out              2/K sum_i |q_i - c_i|^2,  c_i = mean of the k_j with j != i
        leave_one_out_normalized   the same with c_i at length 1
        centroids                  2 |mean of the q_i - mean of the k_j|^2

    The paper's figure 1 has "the distance between centroids of online and target network embeddings": that is
    ``centroids``. Table 5 has BYOL itself as K = 2 without the other losses: so are both ``leave_one_out``.
    All lie in [0, 8], as BYOL's loss does.

    As |q_i - c_i|^2 = mean_j |q_i - k_j|^2 - mean_j |c_i - k_j|^2, and the latter has no gradient,
    ``leave_one_out`` trains as BYOL's loss averaged over all ordered pairs of views. Its centroids keep their
    length, so that an image whose views disagree pulls less; normalized ones pull all alike. ``centroids``
    leaves free how far the views of an image are spread about their mean.

    Args:
        queries: float32 [K, B, D], unit vectors.
        keys: [K, B, D], unit vectors.
        form: selects one of the three.
    """
    if form == "centroids":
        return 2 * (queries.mean(0) - keys.mean(0)).square().sum(1).mean()
    centroids = (keys.sum(0) - keys) / (len(keys) - 1)
    if form == "leave_one_out_normalized":
        centroids = functional.normalize(centroids, dim=2)
    return 2 * (queries - centroids).square().sum(2).mean()


def singular_value_loss(embeddings: Tensor) -> Tensor:
    """Distance of a batch's squared singular values from equality, 0-dim, mean over matrices.

    With Z the [N, D] matrix of the batch's unit vectors in one view, s its r = min(N, D) singular values::

        sum_i (r s_i^2 / N - 1)^2 = |r G / N - I|^2,  G = Z'Z (D x D) if N >= D, else ZZ' (N x N)

    (Frobenius norm; the s_i^2 sum to N). It is 0 if and only if all s_i are equal: for N >= D the dimensions
    are then uncorrelated and equally strong about the origin, the paper's "decorrelates the different feature
    dimensions to disperse embeddings uniformly". Its greatest value, r (r - 1), is that of a collapse, where
    its gradient along the sphere vanishes: there only the Brownian loss parts images. For N < D it asks for
    orthogonal images, the most that N of them can do. No decomposition is computed, so that gradients exist
    where singular values coincide. The scale is that of Barlow Twins' sum (Zbontar et al., 2021) at unit
    variance, whose weight, 0.005, is of the size of the paper's 0.002 to 0.01.

    Args:
        embeddings: float32 [K, N, D], unit vectors of K views of N images, those of all processes.
    """
    count, dim = embeddings.shape[1:]
    transposed = embeddings.mT
    gram = transposed @ embeddings if count >= dim else embeddings @ transposed
    rank = min(count, dim)
    identity = torch.eye(rank, device=gram.device, dtype=gram.dtype)
    return (gram * (rank / count) - identity).square().sum((1, 2)).mean()


def brownian_loss(embeddings: Tensor, directions: Tensor) -> Tensor:
    """The Brownian diffusive loss: the mean inner product of each embedding with a random direction.

    All views of an image share its direction, so that a step moves them together, at random, along the
    sphere, and parts images, even those that a collapse has put in one place. Directions are uniform and new
    at each step: the loss and its gradient have mean 0 (the loss's variance is 1/(B D) where views agree).
    Table 4 has it keep BYOL with layer norms from collapsing (75.3 % against 10.6 %). That effect was looked
    for with this form and not found.

    Args:
        embeddings: float32 [K, B, D], unit vectors.
        directions: [B, D], one per image, see ``brownian_directions``.

    Returns:
        0-dim, in [-1, 1].
    """
    return (embeddings * directions).sum(2).mean()


@njit(cache=True)
def brownian_directions(seed: int, step: int, first_row: int, rows: int, dim: int) -> np.ndarray:
    """Random unit vectors, uniform on the sphere, one per image of a step, float32 [rows, dim].

    Each follows from (seed, step, purpose, row) alone, however the step's batch is cut into parts.

    Args:
        seed: random seed of the run.
        step: step of the run.
        first_row: position of the first image in the step's whole batch, over ranks and accumulated parts.
        rows: number of images.
        dim: D.
    """
    directions = np.empty((rows, dim), np.float32)
    normals = np.empty(dim)
    of_step = absorb(absorb(absorb(np.uint64(0), seed), step), _DIRECTION)
    for i in range(rows):
        of_row = absorb(of_step, first_row + i)
        for j in range(dim):
            normals[j] = to_normal(of_row, j)
        directions[i] = normals / math.sqrt((normals * normals).sum())
    return directions
