"""Encoders back from their files: ``fastssl.load_encoder`` and ``fastssl.embed``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from fastssl.config import Config
from fastssl.distributed.device import choose_device
from fastssl.distributed.precision import resolve_precision
from fastssl.evaluate.features import FeatureConfig, encode, open_views
from fastssl.export.encoder_file import NAME, read_encoder
from fastssl.export.transform import Transform
from fastssl.methods import build_encoder
from fastssl.models import Backbone
from fastssl.run import folder
from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages
from pipelines.plan.plan import evaluation_plan
from pipelines.sources import open_source
from pipelines.views import evaluation_spec

Image = Any  # a PIL image, uint8 [H, W, 3], or a path


class LoadedEncoder(Backbone):
    """Type of ``load_encoder``'s module: a backbone with its input transform.

    Attributes:
        transform: an image to a view [3, S, S].
    """

    transform: Transform


def load_encoder(path: str | Path) -> LoadedEncoder:
    """The encoder of a run, in evaluation mode on the CPU.

    Args:
        path: run folder, its encoder.safetensors (encoder.json beside it), or one of its checkpoints.

    Returns:
        module [B, 3, S, S] to [B, D]; ``module.transform(image)`` makes a view [3, S, S] of an image.

    Raises:
        UserError: there is no encoder, or its file is damaged.
    """
    return _load(Path(path).expanduser())[0]


def embed(
    path: str | Path,
    images: str | Path | Sequence[Image],
    *,
    batch_size: int = 64,
    device: str = "auto",
    workers: int = 0,
) -> np.ndarray:
    """Features of images by the encoder of a run, float32 [N, D].

    Args:
        path: see ``load_encoder``.
        images: a folder, glob of shards or list as ``--data`` of the training takes it (its training split,
            in the order of its paths), or a sequence of images: PIL images, uint8 [H, W, 3], paths.
        batch_size: images encoded at once.
        device: auto, cpu, cuda or, untested, mps.
        workers: loader threads; 0 takes every core.

    Raises:
        UserError: encoder or images cannot be read.
    """
    encoder, config = _load(Path(path).expanduser())
    chosen = choose_device(device)
    encoder = encoder.to(chosen).to(memory_format=torch.channels_last)
    settings = FeatureConfig(
        spec=encoder.transform.spec,
        device=chosen,
        bad_images=BadImages(None, 0),  # a substitute's features would stand in another image's row
        precision=resolve_precision(config.experiment.precision, chosen)[0],
        batch_size=batch_size,
        workers=workers,
    )
    with torch.inference_mode():
        found = [
            encode(encoder, views, settings).cpu()
            for views in (
                _views_of_source(str(images), settings)
                if isinstance(images, str | Path)
                else _views_of_images(images, encoder.transform, settings)
            )
        ]
    if not found:
        raise UserError("there are no images to embed: give at least one")
    return torch.cat(found).numpy()


def _load(path: Path) -> tuple[LoadedEncoder, Config]:
    file = path / NAME if path.is_dir() else path
    if file.suffix == ".safetensors" and file.exists():
        weights, config = read_encoder(file)
        encoder: Any = build_encoder(config.experiment.method, config.experiment.backbone)
        try:
            encoder.load_state_dict(weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise UserError(f"{file} does not fit the encoder beside it: {reason}") from None
    else:
        config, encoder, _ = folder.load_encoder(path)
    experiment = config.experiment
    encoder.transform = Transform(evaluation_spec(experiment.views[0].spec, experiment.center_fraction))
    return cast(LoadedEncoder, encoder.eval()), config


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
