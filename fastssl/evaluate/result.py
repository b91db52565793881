"""Result files, eval/NAME.json of a run folder: content and names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastssl.evaluate.protocol import Protocol
from fastssl.evaluate.result_name import ResultName, changed_options, data_name, file_part
from fastssl.evaluate.subject import Subject
from fastssl.run.versions import git_commit, versions
from pipelines.command.errors import UserError
from pipelines.files.atomic import write_json

_PACKAGES = ("torch", "numpy", "scikit-learn")


def result_name(protocol: str, options: Protocol, subject: Subject) -> ResultName:
    """The name of the result of a measurement."""
    return ResultName(
        protocol=protocol,
        options=changed_options(options),
        checkpoint=file_part(subject.checkpoint),
        data="" if subject.own_data else data_name(subject.where, subject.data.fingerprints),
    )


def write_result(
    protocol: str, options: Protocol, subject: Subject, result: Mapping[str, Any], seconds: float
) -> Path:
    """Write eval/NAME.json of the subject's run, of a result of ``Protocol.measure``.

    Raises:
        UserError: the file cannot be written.
    """
    assert subject.run is not None
    name, data, config = result_name(protocol, options, subject), subject.data, subject.feature_config
    settings = dataclasses.asdict(options) | result.get("settings", {}) | {"precision": config.precision}
    values = {
        "protocol": protocol,
        "run": str(subject.run),
        "checkpoint": subject.checkpoint or "last",
        "step": subject.step,
        "data": subject.where,
        "data_name": data_name(subject.where, data.fingerprints),
        "own_data": subject.own_data,
        "train_images": len(data.train.index),
        "test_images": len(data.test.index),
        "test_images_are": data.test_images_are,
        "fingerprints": data.fingerprints,
        **result,
        "settings": {"view": dataclasses.asdict(config.spec)} | settings,
        "cost": {"seconds": round(seconds, 2), "device": config.device.type},
        "versions": versions(_PACKAGES),
        "git_commit": git_commit(),
    }
    path = subject.run / "eval" / f"{name}.json"
    try:
        write_json(path, values)
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror}): free some space, or mend it") from None
    return path
