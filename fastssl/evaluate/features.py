"""Features of every image of a source, from a frozen encoder or from the pixels themselves."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import nn

from fastssl.distributed.precision import AUTOCAST
from pipelines.backends.backend import LoaderConfig
from pipelines.backends.choose import open_loader
from pipelines.backends.loader import Loader
from pipelines.command.progress import show_progress
from pipelines.decode.bad_images import BadImages
from pipelines.plan.plan import Plan, evaluation_plan
from pipelines.sources import Source
from pipelines.views import ViewGroup, ViewSpec


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """How features are computed.

    ``precision`` is that of the autocast, ``workers`` 0 takes every core, ``bad_images`` takes note of what
    cannot be decoded.
    """

    spec: ViewSpec
    device: torch.device
    bad_images: BadImages
    precision: str = "fp32"
    batch_size: int = 500
    workers: int = 0


def open_views(
    source: Source, spec: ViewSpec, how: Extraction, plan: Plan, steps: int | None = None
) -> Loader:
    """One view of each sample, for an encoder under the autocast of ``how``.

    Args:
        source: of the images.
        spec: of the view.
        how: device, precision, threads.
        plan: which samples form which batch.
        steps: of the plan; None: one epoch.
    """
    config = LoaderConfig(
        source=source,
        groups=(ViewGroup(spec=spec),),
        plan=plan,
        start_step=0,
        stop_step=plan.batches_per_epoch if steps is None else steps,
        bad_images=how.bad_images,
        device=how.device,
        dtype=AUTOCAST[how.precision] or torch.float32,
        workers=how.workers,
    )
    return open_loader(config)


@contextmanager
def _inference(how: Extraction) -> Iterator[None]:
    dtype = AUTOCAST[how.precision]
    with torch.inference_mode(), torch.autocast(how.device.type, dtype, enabled=dtype is not None):
        yield


def extract(
    function: Callable[[torch.Tensor], torch.Tensor], source: Source, how: Extraction, what: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Apply a function to one view of every image, without gradients.

    Args:
        function: [B, 3, S, S] to [B, D].
        source: with labels.
        how: view, device, precision.
        what: shown beside the progress bar.

    Returns:
        features float32 [N, D] and labels int64 [N], on the CPU, in the order of the source.
    """
    count = len(source.index)
    plan = evaluation_plan(count, min(how.batch_size, count))
    features, labels = [], []
    with open_views(source, how.spec, how, plan) as loader, _inference(how):
        for batch in show_progress(loader, plan.batches_per_epoch, what):
            assert batch.labels is not None
            features.append(function(batch.views[0]).float().cpu())
            labels.append(batch.labels.cpu())
    return torch.cat(features), torch.cat(labels)


def encoder_features(
    encoder: nn.Module, source: Source, how: Extraction, what: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of an encoder in evaluation mode; its mode is put back. See ``extract``."""
    was_training = encoder.training
    encoder.eval()
    try:
        return extract(encoder, source, how, what)
    finally:
        encoder.train(was_training)


def pixel_features(source: Source, how: Extraction, what: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The normalised pixels of the central crop at no more than 32 x 32, as features. See ``extract``."""
    small = replace(how, spec=replace(how.spec, size=min(how.spec.size, 32)), precision="fp32")
    # a copy: the loader takes its buffers back
    return extract(lambda views: views.flatten(1).clone(), source, small, what)


def calibrated(encoder: nn.Module, source: Source, how: Extraction, batches: int = 20) -> nn.Module:
    """A copy of an encoder whose batch-normalisation statistics are those of the data.

    An untrained network's statistics are placeholders, so that measuring it without this would understate it.
    """
    encoder = copy.deepcopy(encoder).train()
    for module in encoder.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
            module.momentum = None  # a plain average over the batches
    count = len(source.index)
    plan = evaluation_plan(count, min(how.batch_size, count), shuffle=True)
    whole_batches = count // plan.batch_size  # they weigh the same
    with open_views(source, how.spec, how, plan, min(batches, whole_batches)) as loader, _inference(how):
        for batch in loader:
            encoder(batch.views[0])
    return encoder
