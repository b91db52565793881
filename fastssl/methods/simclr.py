"""SimCLR: InfoNCE against the views of the batch's other images.

Chen, Kornblith, Norouzi, Hinton, "A simple framework for contrastive learning of visual representations"
(2020); with a sample of the negatives and EqCo's margin as in Zhu et al. (2020), section 2.3.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from fastssl.component import ExperimentFields
from fastssl.distributed.collectives import all_gather_with_gradient, first_row, world_size
from fastssl.methods.info_nce import InfoNCE, negative_columns
from fastssl.methods.method import Method, RunFacts, autocast_off, expect_views, l2_normalize
from fastssl.metrics.embeddings import embedding_diagnostics
from fastssl.models.backbone import Backbone
from fastssl.models.heads import Head
from pipelines.batch import Batch
from pipelines.command.errors import UserError
from pipelines.keys import stable_id

_NEGATIVES = stable_id("simclr/negatives")


class SimCLR(Method):
    """Loss: the mean of InfoNCE over all 2N views, each a query whose key is its image's other view.

    The mean is the paper's; its authors' code sums the means over the two views, twice as much: under SGD its
    rate of 0.3 with decay 1e-6 is 0.6 with 5e-7 here; under LARS, norms and biases take half its step. Views
    go through the network together, as in their code, so that they share batch-norm statistics: the two of an
    image one after the other, so that norms in groups of images find both of them in one group. Of several
    processes each asks its own images' queries, among the views of all.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        """SimCLR. The defaults are those of Chen et al., 2020, on ImageNet."""

        num_views: ClassVar[int] = 2

        projector: Head.Config = Head.Config(hidden_dim=2048, out_dim=128, out_norm="batch", bias=False)
        """Head on the encoder; its hidden layer is as wide as a ResNet-50's features."""
        loss: InfoNCE.Config = InfoNCE.Config(temperature=0.1)
        """Its negatives: None: all 2N - 2 views of the other images; otherwise K of them, drawn for each
        query."""

        def negatives_among(self, images: int) -> int:
            """K of each query of a batch of so many images.

            Raises:
                UserError: there are fewer.
            """
            others, wanted = 2 * images - 2, self.loss.num_negatives
            if wanted is not None and wanted > others:
                raise UserError(
                    f"simclr: num_negatives {wanted} but {images} images have {others} views of others: "
                    "lower num_negatives, or raise the batch or lower the accumulation steps"
                )
            return others if wanted is None else wanted

        def fitted(self, *, images: int, batch_size: int) -> Self:
            """The same with no more negatives than the batch has views of other images."""
            return replace(self, loss=self.loss.at_most(2 * batch_size - 2))

        def check(self, experiment: ExperimentFields) -> None:
            """Check that a micro-batch has as many negatives as asked for.

            Raises:
                UserError: it has fewer.
            """
            super().check(experiment)
            self.negatives_among(experiment.batch_size // experiment.accumulation_steps)

    def __init__(self, config: Config, backbone: Backbone.Config, run: RunFacts) -> None:
        super().__init__()
        self.config = config
        self._seed = run.seed
        self._loss = InfoNCE(config.loss)
        encoder = self.build_encoder(config, backbone)
        projector = Head(encoder.feature_dim, config.projector)
        self.student = nn.Sequential(OrderedDict(encoder=encoder, projector=projector))

    def of_first_view(self, features: Tensor, images: int) -> Tensor:
        """See ``Method.of_first_view``: views are encoded together, all of an image side by side."""
        return features[:: len(features) // images]

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over the batch's views; see ``Method.forward``."""
        views = expect_views(batch, self.config.num_views, self.config.kind)
        images, first = len(batch) * world_size(), first_row(len(batch))
        num_negatives = self.config.negatives_among(images)
        outputs = l2_normalize(self.student(_interleaved(views)))
        embeddings = outputs.unflatten(0, (len(batch), self.config.num_views))
        own, keys = (_view_by_view(rows) for rows in (embeddings, all_gather_with_gradient(embeddings)))
        columns = negative_columns(
            (self._seed, batch.step, _NEGATIVES),
            views=self.config.num_views,
            images=images,
            count=num_negatives,
            own=range(first, first + len(batch)),
            device=own.device,
        )
        with autocast_off(own):
            vectors = own.view_as(own)  # the embeddings as queries, apart from the keys that they are too
            queries = vectors / self.config.loss.temperature
            positive = (queries * own.roll(len(batch), 0)).sum(1)
            negatives = (queries @ keys.T).gather(1, columns)
            losses = self._loss(positive, negatives)
            loss = losses.mean()
        with torch.no_grad():
            rivals = negatives.amax(1)
        metrics = {
            "loss": loss.detach(),
            **self._loss.metrics(loss, losses, positive, rivals, num_negatives),
            **embedding_diagnostics(own[: len(batch)], own[len(batch) :], losses, [vectors]),
        }
        return loss, metrics

    @property
    def repeats(self) -> bool:
        """True where all negatives of the batch are taken; False where they are drawn."""
        return self.config.loss.num_negatives is None


def _interleaved(views: tuple[Tensor, ...]) -> Tensor:
    """Views [B, 3, S, S] as one tensor, channels-last: all of the first image, then of the second, ..."""
    pixels = torch.stack([view.permute(0, 2, 3, 1) for view in views], 1)
    return pixels.flatten(0, 1).permute(0, 3, 1, 2)


def _view_by_view(embeddings: Tensor) -> Tensor:
    """[N, V, D] to [V N, D], all images' first views first."""
    return embeddings.transpose(0, 1).flatten(0, 1)
