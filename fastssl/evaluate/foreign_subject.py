"""Subjects of foreign weights: encoders that other libraries and codes have trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from fastssl.distributed.device import choose_device
from fastssl.distributed.precision import resolve_precision
from fastssl.evaluate.data import labeled_data
from fastssl.evaluate.feature_cache import FeatureCache
from fastssl.evaluate.features import FeatureConfig
from fastssl.evaluate.result_name import file_part
from fastssl.evaluate.subject import Subject
from fastssl.foreign.encoder import ForeignEncoder, foreign_encoder
from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages, default_limit
from pipelines.files.atomic import write_json


def open_foreign_subject(
    path: Path, layout: str | None, data: str, device: str = "auto", workers: int = 0
) -> Subject:
    """Open a file of weights that another library or code has written.

    Results and features go to ``foreign_folder``.

    Args:
        path: see ``fastssl.foreign.encoder.foreign_encoder``.
        layout: key of ``fastssl.foreign.layouts.LAYOUTS``, or ``timm:MODEL``; None: the one that fits.
        data: labeled images as ``--data`` names them.
        device: auto, cpu or cuda.
        workers: loader threads; 0 takes every core.

    Raises:
        UserError: the file fits no layout, the images are unfit, or the folder cannot be written.
    """
    if not data:
        raise UserError(f"name the images to measure {path} on: --data WHERE (weights come without any)")
    found = foreign_encoder(path, layout)
    labeled = labeled_data(data)
    chosen = choose_device(device)
    config = FeatureConfig(
        spec=found.spec,
        device=chosen,
        bad_images=BadImages(None, default_limit(len(labeled.train.index) + len(labeled.test.index))),
        precision=resolve_precision("auto", chosen)[0],
        workers=workers,
    )
    subject = Subject(
        encoder=found.encoder.to(chosen).to(memory_format=torch.channels_last),
        data=labeled,
        feature_config=config,
        where=data,
        own_data=False,
    )
    folder = foreign_folder(path, found, subject.digest)
    return dataclasses.replace(subject, run=folder, cache=FeatureCache(folder / "features"))


def foreign_folder(path: Path, found: ForeignEncoder, digest: str) -> Path:
    """Make the folder of results on foreign weights, ``runs/NAME-DIGEST``, with ``weights.json`` in it.

    Args:
        path: file of the weights.
        found: encoder of the file.
        digest: ``weights_digest`` of the encoder.

    Raises:
        UserError: it cannot be written.
    """
    folder = Path("runs", f"{file_part(path.name.split('.')[0]) or 'weights'}-{digest[:8]}")
    about = {
        "file": str(path.absolute()),
        "layout": found.layout,
        "architecture": found.backbone.label,
        "digest": digest,
        "view": dataclasses.asdict(found.spec),
    }
    try:
        write_json(folder / "weights.json", about)
    except OSError as error:
        raise UserError(f"cannot write {folder} ({error.strerror}): run this in another folder") from None
    return folder
