"""Encoders back from their files: ``fastssl.load_encoder`` and ``fastssl.embed``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from fastssl.config import Config
from fastssl.distributed.device import choose_device
from fastssl.distributed.precision import Precision, resolve_precision
from fastssl.evaluate.features import FeatureConfig, encode, open_views
from fastssl.export.encoder_file import NAME, is_encoder_file, read_encoder
from fastssl.export.transform import Transform
from fastssl.foreign.encoder import foreign_encoder, is_checkpoint
from fastssl.foreign.weight_file import read_weight_file
from fastssl.methods import build_encoder
from fastssl.models import Backbone
from fastssl.run import folder
from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages
from pipelines.plan.plan import evaluation_plan
from pipelines.sources import open_source
from pipelines.views import ViewSpec

Image = Any  # a PIL image, uint8 [H, W, 3], or a path


class LoadedEncoder(Backbone):
    """Type of ``load_encoder``'s module: a backbone with its input transform.

    Attributes:
        transform: an image to a view [3, S, S].
    """

    transform: Transform


@dataclass(frozen=True, kw_only=True)
class OpenedEncoder:
    """An encoder and what is known of it."""

    encoder: LoadedEncoder
    """In evaluation mode on the CPU."""
    backbone: Backbone.Config
    """Its architecture."""
    precision: Precision
    """Precision of its run; auto where it has none."""
    config: Config | None
    """That of its run; None where it has none."""
    origin: Mapping[str, Any]
    """Its file and, as far as they are known, layout, recipe, method and step: plain values."""

    def to_device(self, name: str, workers: int) -> FeatureConfig:
        """Move the encoder to a device, channels-last. Returns how features of its views are made there."""
        device = choose_device(name)
        self.encoder.to(device).to(memory_format=torch.channels_last)
        return FeatureConfig(
            spec=self.encoder.transform.spec,
            device=device,
            bad_images=BadImages(None, 0),  # a substitute's features would stand in another image's row
            precision=resolve_precision(self.precision, device)[0],
            workers=workers,
        )


def load_encoder(path: str | Path, layout: str | None = None) -> LoadedEncoder:
    """The encoder of a run or of another library, in evaluation mode on the CPU.

    Args:
        path: run folder, its encoder.safetensors (encoder.json beside it), one of its checkpoints; or weights
            of another library: a ResNet's state_dict, a checkpoint of MoCo, detectron2's ``.pkl``.
        layout: of another library's weights, a key of ``fastssl.foreign.layouts.LAYOUTS`` or ``timm:MODEL``;
            None: the one that fits.

    Returns:
        module [B, 3, S, S] to [B, D]; ``module.transform(image)`` makes a view [3, S, S] of an image.

    Raises:
        UserError: there is no encoder, its file is damaged, or it fits no layout.
    """
    return open_encoder(Path(path).expanduser(), layout).encoder


def embed(
    path: str | Path,
    images: str | Path | Sequence[Image],
    *,
    layout: str | None = None,
    batch_size: int = 64,
    device: str = "auto",
    workers: int = 0,
) -> np.ndarray:
    """Features of images by an encoder, float32 [N, D].

    Args:
        path: see ``load_encoder``.
        images: a folder, glob of shards or list as ``--data`` of the training takes it (its training split,
            in the order of its paths), or a sequence of images: PIL images, uint8 [H, W, 3], paths.
        layout: see ``load_encoder``.
        batch_size: images encoded at once.
        device: auto, cpu, cuda or, untested, mps.
        workers: loader threads; 0 takes every core.

    Raises:
        UserError: encoder or images cannot be read.
    """
    opened = open_encoder(Path(path).expanduser(), layout)
    encoder, settings = opened.encoder, replace(opened.to_device(device, workers), batch_size=batch_size)
    if isinstance(images, str | Path):
        batches = _views_of_source(str(images), settings)
    else:
        batches = _views_of_images(images, encoder.transform, settings)
    with torch.inference_mode():
        found = [encode(encoder, views, settings).cpu() for views in batches]
    if not found:
        raise UserError("there are no images to embed: give at least one")
    return torch.cat(found).numpy()


def open_encoder(path: Path, layout: str | None = None) -> OpenedEncoder:
    """An encoder of ours or of another library, with what is known of it; arguments as ``load_encoder``'s."""
    file = path / NAME if path.is_dir() else path
    if layout is None and file.exists() and is_encoder_file(file):
        weights, config = read_encoder(file)
        encoder = build_encoder(config.experiment.method, config.experiment.backbone)
        try:
            encoder.load_state_dict(weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{file} does not fit the encoder beside it: {reason}") from None
        return _of_run(path, config, encoder)
    if path.is_file() and (layout is not None or path.parent.name != "checkpoints"):
        content = read_weight_file(path)
        if layout is not None or not is_checkpoint(content):
            found = foreign_encoder(path, layout, content)
            return OpenedEncoder(
                encoder=_with_transform(found.encoder, found.spec),
                backbone=found.backbone,
                precision="auto",
                config=None,
                origin={"file": str(path.absolute()), "layout": found.layout},
            )
    config, loaded, step = folder.load_encoder(path)
    return _of_run(path, config, cast(Backbone, loaded), step=step)


def _of_run(path: Path, config: Config, encoder: Backbone, **more: Any) -> OpenedEncoder:
    experiment = config.experiment
    return OpenedEncoder(
        encoder=_with_transform(encoder, experiment.evaluation_view),
        backbone=experiment.backbone,
        precision=experiment.precision,
        config=config,
        origin={
            "file": str(path.absolute()),
            "recipe": config.recipe,
            "method": experiment.method.kind,
            **more,
        },
    )


def _with_transform(encoder: Any, spec: ViewSpec) -> LoadedEncoder:
    encoder.transform = Transform(spec)
    return cast(LoadedEncoder, encoder.eval())


def _views_of_source(where: str, settings: FeatureConfig) -> Iterator[torch.Tensor]:
    source = open_source(where, "train")
    count = len(source.index)
    plan = evaluation_plan(count, min(settings.batch_size, count))
    with open_views(source, settings, plan, plan.batches_per_epoch) as loader:
        for batch in loader:
            yield batch.views[0]


def _views_of_images(
    images: Sequence[Image], transform: Transform, settings: FeatureConfig
) -> Iterator[torch.Tensor]:
    for start in range(0, len(images), settings.batch_size):
        views = torch.stack([transform(image) for image in images[start : start + settings.batch_size]])
        yield views.to(settings.device).to(memory_format=torch.channels_last)
