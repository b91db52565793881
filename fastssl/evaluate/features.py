"""Features of every image of a source, from a frozen encoder."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import nn

from fastssl.distributed.precision import AUTOCAST
from pipelines.backends.backend import LoaderConfig
from pipelines.backends.choose import open_loader
from pipelines.backends.loader import Loader
from pipelines.command.errors import UserError
from pipelines.command.progress import show_progress
from pipelines.command.ranges import Count, CountOrZero, check_ranges
from pipelines.decode.bad_images import BadImages
from pipelines.plan.plan import Plan, evaluation_plan
from pipelines.sources import Source
from pipelines.views import ViewGroup, ViewSpec

Features = tuple[torch.Tensor, torch.Tensor]  # float32 [N, D] and labels int64 [N], on the CPU


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """Settings of feature extraction."""

    spec: ViewSpec
    """The view of an image that is encoded."""
    device: torch.device
    """Device that renders and encodes views."""
    bad_images: BadImages
    """Record of images that cannot be decoded."""
    precision: str = "fp32"
    """Precision of the encoder's autocast and of the views."""
    batch_size: Count = 500
    """Images encoded at once."""
    workers: CountOrZero = 0
    """Loader threads; 0 takes every core."""

    def __post_init__(self) -> None:
        check_ranges(self)


def open_views(
    source: Source,
    config: FeatureConfig,
    plan: Plan,
    steps: int,
    groups: tuple[ViewGroup, ...] = (),
    start: int = 0,
) -> Loader:
    """Open a loader of a plan's batches from ``start`` to before ``steps``, by the backend that suits.

    Views have the dtype of the encoder's autocast; they are the config's, or those of ``groups``.
    """
    loading = LoaderConfig(
        source=source,
        groups=groups or (ViewGroup(spec=config.spec),),
        plan=plan,
        start_step=start,
        stop_step=steps,
        bad_images=config.bad_images,
        device=config.device,
        dtype=AUTOCAST[config.precision] or torch.float32,
        workers=config.workers,
    )
    return open_loader(loading)


def encode(encoder: nn.Module, views: torch.Tensor, config: FeatureConfig) -> torch.Tensor:
    """Features float32 [B, D] of views [B, 3, S, S], under the config's autocast."""
    dtype = AUTOCAST[config.precision]
    with torch.autocast(config.device.type, dtype, enabled=dtype is not None):
        features: torch.Tensor = encoder(views).float()
    return features


def extract(encoder: nn.Module, source: Source, config: FeatureConfig, doing: str) -> Features:
    """Encode one view of every image, in evaluation mode and without gradients; the mode is put back.

    ``doing`` is shown beside the progress bar.

    Returns:
        features float32 [N, D] and labels int64 [N] (-1: the source has none), on the CPU, in its order.
    """
    count = len(source.index)
    plan = evaluation_plan(count, min(config.batch_size, count))
    features, labels = [], []
    was_training = encoder.training
    encoder.eval()
    try:
        with open_views(source, config, plan, plan.batches_per_epoch) as loader, torch.inference_mode():
            for batch in show_progress(loader, plan.batches_per_epoch, doing):
                features.append(encode(encoder, batch.views[0], config).cpu())
                unlabeled = torch.full((len(batch.sample_ids),), -1)
                labels.append(unlabeled if batch.labels is None else batch.labels.cpu())
    finally:
        encoder.train(was_training)
    return torch.cat(features), torch.cat(labels)


def require_finite(values: torch.Tensor, what: str) -> None:
    """Raise a ``UserError`` on NaN or infinity; ``what`` they are stands in it, "features of runs/a" say."""
    if not values.isfinite().all():
        raise UserError(f"{what} are not finite: the training has diverged; measure an earlier checkpoint")


class Pixels(nn.Module):
    """Baseline encoder: the raw pixels, [B, 3, S, S] to [B, 3 S S]."""

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """Flatten the views; a copy, as the loader takes its buffers back."""
        return views.flatten(1).clone()


def pixel_config(config: FeatureConfig) -> FeatureConfig:
    """The view of ``Pixels``: at most 32 x 32, in full precision."""
    return replace(config, spec=replace(config.spec, size=min(config.spec.size, 32)), precision="fp32")


def calibrated(encoder: nn.Module, source: Source, config: FeatureConfig, batches: int = 20) -> nn.Module:
    """A copy of an encoder after recalibrating its batch norms on the data.

    Running statistics of an untrained network are placeholders: measured with them, it would be understated.
    """
    encoder = copy.deepcopy(encoder).train()
    for module in encoder.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # a plain average over the batches
    count = len(source.index)
    plan = evaluation_plan(count, min(config.batch_size, count), shuffle=True)
    whole_batches = count // plan.batch_size  # they weigh the same
    with (
        open_views(source, config, plan, min(batches, whole_batches)) as loader,
        torch.inference_mode(),
    ):
        for batch in loader:
            encode(encoder, batch.views[0], config)
    return encoder
