"""VAE: a variational autoencoder of the views.

Kingma, Welling, "Auto-encoding variational Bayes" (2014), as the public code of Newell and Deng, "How useful
is self-supervised pretraining for visual tasks?" (2020), trains it.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from fastssl.distributed.collectives import first_row, world_size
from fastssl.methods.method import Method, RunFacts, autocast_off, expect_views, full_precision
from fastssl.models.backbone import Backbone
from fastssl.models.decoder import Decoder
from pipelines.batch import Batch, to_device
from pipelines.command.ranges import NotNegative
from pipelines.files.kernels import njit
from pipelines.keys import absorb, hash_keys, stable_id, to_normal

_NOISE = stable_id("vae/noise")


class VAE(Method):
    """Loss: mean squared error of the decoded view, plus ``kl_weight`` times the divergence from N(0, 1).

    The encoder's features f give mean and log-variance of a code by a linear layer each; the decoder sees
    mean + deviation x noise. The error is the mean over pixels and colors, of the view resized to
    ``output_size`` (nearest pixels); the divergence is summed over dimensions and over the images of the
    global micro-batch, as in the authors' code.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(Method.Config):
        """Variational autoencoder."""

        num_views: ClassVar[int] = 1

        output_size: Literal[8, 16, 32, 64, 128] = 64
        """Side of the decoded image, pixels."""
        kl_weight: NotNegative = 1e-5
        """Weight of the divergence, which grows with the batch."""

        def small(self) -> Self:
            """The same with a smaller image."""
            return replace(self, output_size=8)

    def __init__(self, config: Config, backbone: Backbone.Config, run: RunFacts) -> None:
        super().__init__()
        self.config = config
        encoder = self.build_encoder(config, backbone)
        dim = encoder.feature_dim
        self.student = nn.Sequential(
            OrderedDict(
                encoder=encoder, posterior=nn.Linear(dim, 2 * dim), decoder=Decoder(dim, config.output_size)
            )
        )
        self._seed = run.seed

    def forward(self, batch: Batch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of the global micro-batch; see ``Method.forward``."""
        (view,) = expect_views(batch, self.config.num_views, self.config.kind)
        encoder, posterior, decoder = self.student
        mean, log_variance = posterior(encoder(view)).chunk(2, 1)
        mean, log_variance = (full_precision(half) for half in (mean, log_variance))
        rows = np.arange(len(batch)) + first_row(len(batch))
        noise = to_device(
            normals(np.array([self._seed, batch.step, _NOISE]), rows, mean.shape[1]), view.device
        )
        decoded = full_precision(decoder(mean + (log_variance / 2).exp() * noise))
        with autocast_off(decoded):
            target = functional.interpolate(view, size=self.config.output_size).to(decoded.dtype)
            error = (decoded - target).square().mean()
            divergence = kl_divergence(mean, log_variance).mean()
            images = len(batch) * world_size()
            loss = (error + self.config.kl_weight * images * divergence).float()
        return loss, {
            "loss": loss.detach(),
            "reconstruction_error": error.detach(),
            "kl_divergence": divergence.detach(),
        }


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Divergence of normal distributions [B, D] from the standard one, summed over D, nats: [B]."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


@njit(cache=True)
def normals(draw: np.ndarray, rows: np.ndarray, dim: int) -> np.ndarray:
    """Standard normal numbers, float32 [R, dim]; a row's follow from ``draw`` and its number in ``rows``."""
    out = np.empty((len(rows), dim), np.float32)
    stream = hash_keys(draw)
    for i, row in enumerate(rows):
        state = absorb(stream, row)
        for j in range(dim):
            out[i, j] = to_normal(state, j)
    return out
