"""Result file of a transfer, eval/TASK.json of its own folder and of the encoder's run folder."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastssl.run.versions import git_commit, versions
from fastssl.transfer.measure import Measured
from fastssl.transfer.prepared import PreparedTransfer
from fastssl.transfer.transfer_state import TransferState
from pipelines.command.errors import UserError
from pipelines.files.atomic import write_json

_PACKAGES = ("torch", "torchvision", "numpy", "pycocotools")


def write_results(prepared: PreparedTransfer, run: TransferState, measured: Measured) -> list[Path]:
    """Write the result, and return the files.

    Raises:
        UserError: a file cannot be written.
    """
    config, start, data = prepared.config, prepared.start, prepared.data
    options = config.options
    name = prepared.result_name
    values: dict[str, Any] = {
        "protocol": name.protocol,
        "task": config.name,
        "run": str(start.run or run.out),
        "transfer": str(run.out),
        "checkpoint": start.checkpoint or "last",
        "step": start.step,
        "encoder": start.about | {"where": start.where},
        "data": options.data,
        "data_name": name.data,
        "own_data": False,
        "train_images": len(data.train.index),
        "test_images": len(data.test.index),
        "test_images_are": data.test_images_are,
        "fingerprints": data.fingerprints,
        **measured.metrics,
        "per_class": measured.per_class,
        "paper": dict(config.task.paper),
        "settings": asdict(config.task) | {"steps": run.total_steps, "precision": options.precision},
        "cost": {
            "seconds": round(run.clock.train_seconds + run.clock.evaluation_seconds, 2),
            "device": next(run.method.parameters()).device.type,
        },
        "versions": versions(_PACKAGES),
        "git_commit": git_commit(),
    }
    folders = [run.out]
    if start.run is not None and not options.held_out:
        folders.append(start.run)
    paths = [folder / "eval" / f"{name}.json" for folder in folders]
    for path in paths:
        try:
            write_json(path, values)
        except OSError as error:
            raise UserError(f"cannot write {path} ({error.strerror}): free some space, or mend it") from None
    return paths
