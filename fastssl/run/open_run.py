"""Open a run: its folder is claimed and locked, its state fresh or as the last checkpoint left it."""

from __future__ import annotations

import dataclasses
import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from fastssl.config import Config
from fastssl.config_values import differing_fields, from_dict
from fastssl.distributed.collectives import broadcast_object
from fastssl.distributed.dist_env import DistEnv
from fastssl.distributed.precision import AUTOCAST, resolve_precision
from fastssl.methods import Method
from fastssl.run import checkpoint
from fastssl.run.build import build_train_step
from fastssl.run.clock import Clock
from fastssl.run.data import TrainingData
from fastssl.run.folder import LAST, claim, hold, open_bad_images
from fastssl.run.state import RunState
from fastssl.run.summary import read_summary
from pipelines.command.errors import UserError

_ENTRIES = {"config", "step", "method", "optimizer", "scaler", "means", "clock", "knn"}
_REMEDY = "put the run's own in its place, or start anew in another folder"
_FINISHED = {"steps_done", "knn_top1"}  # entries of summary.json that a finished run is told by


def open_run(
    stack: ExitStack, config: Config, method: Method, data: TrainingData, env: DistEnv, device: torch.device
) -> RunState:
    """Open the run of a config, whose lock ``stack`` holds; the state's has ``auto`` resolved.

    All processes call; process 0 alone touches the folder. The method is freshly built, on ``device``.

    Raises:
        UserError: the folder cannot be used, holds another run, or is in use.
    """
    out, found = config.out, None
    if env.is_main:
        hold(stack, out)
        config, why = _resolved(config, device)
        images = {"images": len(data.source.index), "fingerprint": data.source.index.fingerprint}
        claim(out, config, images, resolved={"precision": why})
        summary = read_summary(out)
        finished = summary if summary.get("status") == "finished" else None
        if finished is not None and not finished.keys() >= _FINISHED:
            raise UserError(f"{out / 'summary.json'} is damaged: delete it and give the same command again")
        resumes = not finished and (out / LAST).exists()
        state = _checkpoint_of(config, out / LAST, data.total_steps) if resumes else None
        found = config.experiment, why, state, finished
    experiment, why, state, finished = broadcast_object(found)
    config = dataclasses.replace(config, experiment=experiment)
    run = RunState(
        config=config,
        method=method,
        train_step=build_train_step(config, method, device),
        bad_images=open_bad_images(out, len(data.source.index), config.machine.max_bad_images, env),
        batch_size=experiment.batch_size,
        steps_per_epoch=data.steps_per_epoch,
        total_steps=data.total_steps,
        precision_because=why if state is None else "as the run began",
        finished=finished,
        clock=Clock(device),
    )
    if state is not None:
        with checkpoint.fitting(out / LAST, "the run", _REMEDY):
            method.load_state_dict(state["method"])
            run.restore(state, device)
    return run


def _checkpoint_of(config: Config, path: Path, total_steps: int) -> dict[str, Any]:
    """The checkpoint of this very run.

    Raises:
        UserError: it is damaged, of another run, or of no step of this one.
    """
    state = checkpoint.load(path)
    if not state.keys() >= _ENTRIES:
        raise UserError(f"{path} is not a checkpoint of a run: {_REMEDY}")
    fields = differing_fields(from_dict(state["config"], str(path)).experiment, config.experiment)
    if fields:
        raise UserError(f"{path} is the checkpoint of another run: {', '.join(fields)}: {_REMEDY}")
    if not isinstance(state["step"], int) or not 0 <= state["step"] <= total_steps:
        raise UserError(f"{path} is of step {state['step']}, and the run has {total_steps}: {_REMEDY}")
    return state


def _resolved(config: Config, device: torch.device) -> tuple[Config, str]:
    """The config with a precision in place of ``auto``: the folder's, so that a resumed run keeps it."""
    experiment = config.experiment
    precision, why = resolve_precision(experiment.precision, device)
    if experiment.precision == "auto":
        before = _recorded(config.out / "config.json")
        if before is not None:
            precision, why = before["config"]["experiment"]["precision"], "as the run began"
    experiment = dataclasses.replace(experiment, precision=precision)
    return dataclasses.replace(config, experiment=experiment), why


def _recorded(path: Path) -> Any:
    """config.json as it stands; None where it has no precision (``claim`` then says what is wrong)."""
    try:
        values = json.loads(path.read_text())
        return values if values["config"]["experiment"]["precision"] in AUTOCAST else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
