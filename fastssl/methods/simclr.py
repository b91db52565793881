"""SimCLR: tell an image's other view from the views of the batch's other images.

Chen, Kornblith, Norouzi, Hinton, "A simple framework for contrastive learning of visual representations"
(2020); with a sample of the negatives and EqCo's margin as in Zhu et al. (2020), section 2.3.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from fastssl.diagnostics.embeddings import embedding_diagnostics
from fastssl.distributed.collectives import first_row, gather_with_gradient, world_size
from fastssl.methods.info_nce import check_eqco, info_nce, mutual_information_bound, negative_columns
from fastssl.methods.method import Method, RunFacts, exactly, full_precision, unit
from fastssl.models.backbone import Backbone, build_backbone
from fastssl.models.heads import projection_head
from pipelines.batch import Batch
from pipelines.command.errors import UserError
from pipelines.keys import stable_id

_NEGATIVES = stable_id("simclr/negatives")


@dataclass(frozen=True, kw_only=True)
class SimCLRConfig:
    """SimCLR. The defaults are those of Chen et al., 2020, on ImageNet."""

    num_views: ClassVar[int] = 2

    kind: Literal["simclr"] = "simclr"
    hidden_dim: int = 2048  # of the projector: as wide as a ResNet-50's features
    out_dim: int = 128  # D, of the embeddings
    temperature: float = 0.1  # tau, by which similarities are divided
    num_negatives: int | None = None  # K, drawn for each query; None: all 2N - 2 views of the other images
    eqco_alpha: float | None = None  # the number of negatives that K stand for; None: K, the usual loss

    def __post_init__(self) -> None:
        if min(self.hidden_dim, self.out_dim) < 1:
            raise UserError(f"hidden_dim and out_dim must be positive, not {self.hidden_dim}, {self.out_dim}")
        check_eqco(self.temperature, self.num_negatives, self.eqco_alpha)

    def negatives_among(self, images: int) -> int:
        """K of each query of a batch of so many images.

        Raises:
            UserError: there are fewer.
        """
        others, wanted = 2 * images - 2, self.num_negatives
        if wanted is not None and wanted > others:
            raise UserError(
                f"simclr: num_negatives {wanted} but {images} images have {others} views of others: "
                "lower num_negatives, or raise the batch or lower the accumulation steps"
            )
        return others if wanted is None else wanted


class SimCLR(Method):
    """Loss: the mean of InfoNCE over all 2N views, each a query whose key is its image's other view.

    The mean is the paper's; its authors' code sums the means over the two views, twice as much. Both views
    go through the network together, as in their code, so that they share batch-norm statistics: the two of an
    image one after the other, so that norms in groups of images find both of them in one group. Of several
    processes each asks its own images' queries, among the views of all.
    """

    def __init__(self, config: SimCLRConfig, backbone: Backbone.Config, run: RunFacts) -> None:
        super().__init__()
        self.config = config
        self._seed = run.seed
        encoder = build_backbone(backbone)
        projector = projection_head(encoder.feature_dim, config.hidden_dim, config.out_dim)
        self.student = nn.Sequential(OrderedDict(encoder=encoder, projector=projector))

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the batch's views; see ``Method.forward``."""
        views = exactly(batch, self.config.num_views, "simclr")
        images, first = len(batch) * world_size(), first_row(len(batch))
        num_negatives = self.config.negatives_among(images)
        outputs = unit(self.student(_interleaved(views)))
        embeddings = outputs.unflatten(0, (len(batch), self.config.num_views))
        own, keys = (_view_by_view(rows) for rows in (embeddings, gather_with_gradient(embeddings)))
        columns = negative_columns(
            (self._seed, batch.step, _NEGATIVES),
            views=self.config.num_views,
            images=images,
            count=num_negatives,
            own=range(first, first + len(batch)),
            device=own.device,
        )
        with full_precision(own):
            vectors = own.view_as(own)  # the embeddings as queries, apart from the keys that they are too
            queries = vectors / self.config.temperature
            positive = (queries * own.roll(len(batch), 0)).sum(1)
            negatives = (queries @ keys.T).gather(1, columns)
            losses = info_nce(positive, negatives, self.config.eqco_alpha)
            loss = losses.mean()
        with torch.no_grad():
            metrics = {
                "loss": loss.detach(),
                "mi_bound": mutual_information_bound(loss, num_negatives, self.config.eqco_alpha),
                "positive_similarity": positive.mean() * self.config.temperature,
                "accuracy": (positive > negatives.amax(1)).float().mean(),
            }
        return loss, metrics | embedding_diagnostics(own[: len(batch)], own[len(batch) :], losses, [vectors])


def _interleaved(views: tuple[Tensor, ...]) -> Tensor:
    """Views [B, 3, S, S] as one tensor, channels-last: all of the first image, then of the second, ..."""
    pixels = torch.stack([view.permute(0, 2, 3, 1) for view in views], 1)
    return pixels.flatten(0, 1).permute(0, 3, 1, 2)


def _view_by_view(embeddings: Tensor) -> Tensor:
    """[N, V, D] to [V N, D], all images' first views first."""
    return embeddings.transpose(0, 1).flatten(0, 1)
