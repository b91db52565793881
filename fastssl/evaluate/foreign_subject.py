"""Subjects of foreign weights: encoders that other libraries and codes have trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fastssl.evaluate.feature_cache import FeatureCache
from fastssl.evaluate.result_name import file_part
from fastssl.evaluate.subject import Subject, subject_on_images
from fastssl.foreign.encoder import ForeignEncoder, foreign_encoder
from pipelines.command.errors import UserError
from pipelines.files.atomic import write_json


def open_foreign_subject(
    path: Path, layout: str | None, data: str, device: str = "auto", workers: int = 0
) -> Subject:
    """Open a file of weights that another library or code has written.

    Results and features go to ``foreign_folder``.

    Args:
        path: see ``fastssl.foreign.encoder.foreign_encoder``.
        layout: see there.
        data: labeled images as ``--data`` names them.
        device: as of ``open_subject``.
        workers: as of ``open_subject``.

    Raises:
        UserError: the file fits no layout, the images are unfit, or the folder cannot be written.
    """
    if not data:
        raise UserError(f"name the images to measure {path} on: --data WHERE (weights come without any)")
    found = foreign_encoder(path, layout)
    subject = subject_on_images(found.encoder, found.spec, data, device, workers)
    folder = foreign_folder(path, found, subject.digest)
    return dataclasses.replace(subject, run=folder, cache=FeatureCache(folder / "features"))


def foreign_folder(path: Path, found: ForeignEncoder, digest: str) -> Path:
    """Make the folder of results on foreign weights, ``runs/NAME-DIGEST``, with ``weights.json`` in it.

    ``digest`` is the encoder's ``weights_digest``.

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
