"""The files of a run folder: who may write there, what a run was, and its weights."""

from __future__ import annotations

import datetime
import json
import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from fastssl.config import Config
from fastssl.config_values import differing_fields, from_dict, read_config, to_dict
from fastssl.distributed.dist_env import DistEnv
from fastssl.methods import build_encoder
from fastssl.run import checkpoint
from fastssl.run.divergence import DIVERGED
from fastssl.run.summary import summary_if_whole
from fastssl.run.versions import git_commit, versions
from fastssl.user_file import keep_copy
from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages, default_limit
from pipelines.files import folder_lock
from pipelines.files.atomic import write_json

LAST = "checkpoints/last.pt"
BEST = "checkpoints/best.pt"
_PACKAGES = ("torch", "torchvision", "numpy", "numba", "simplejpeg", "pillow")


def claim(folder: Path, config: Config, data: dict[str, Any], resolved: dict[str, str] | None = None) -> None:
    """Make a folder the run folder of a config, or check that it is.

    Args:
        folder: there already.
        config: config of the run, without ``auto`` in ``experiment``.
        data: fingerprint and count of the images; a resumed run must see the same.
        resolved: reasons of choices that ``auto`` left to this machine, to be kept beside the config.

    Raises:
        UserError: the folder holds another run, or something else.
    """
    path = folder / "config.json"
    remove_strays(folder)
    if path.exists():
        problem = _misfit(folder, config, data)
        if problem is None:
            if config.user_file:
                keep_copy(config.user_file, folder)
            return
        if not holds_nothing(folder):
            raise UserError(problem)
        clear(folder)
    else:
        refuse_other_files(folder, [config.user_file.name] if config.user_file else [])
    # pause_after is one process's: the folder's own resumes to the end
    own = to_dict(replace(config, machine=replace(config.machine, pause_after=0)))
    about = {"config": own, "data": data, "resolved": resolved or {}, **circumstances()}
    if config.user_file:
        keep_copy(config.user_file, folder)
    write_json(path, about)


def hold(stack: ExitStack, folder: Path) -> None:
    """Make a run folder, where it is not there, and lock it.

    Raises:
        UserError: it cannot be used, or another process uses it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stack.enter_context(folder_lock.hold(folder))
    except OSError as error:
        raise UserError(
            f"cannot use the run folder {folder}: {error.strerror} ({error.filename}); choose another --out"
        ) from None
    checkpoints = (folder / LAST).parent
    if checkpoints.exists() and not checkpoints.is_dir():
        raise UserError(f"{checkpoints} is no folder: move it away, and give the same command again")


def open_bad_images(folder: Path, images: int, limit: int | None, env: DistEnv) -> BadImages:
    """Record of a run's undecodable images; ``limit`` None: max(10, 0.1 %)."""
    path = folder / "bad_images.txt" if env.is_main else None
    return BadImages(path, default_limit(images) if limit is None else limit)


def remove_strays(folder: Path) -> None:
    """Remove the files that a killed process was writing; other people's are left alone."""
    is_ours = (folder / "config.json").exists()
    for pattern in (".*.part", "checkpoints/.*.part") if is_ours else (".config.json.*.part",):
        for stray in list(folder.glob(pattern)):
            stray.unlink()


def refuse_other_files(folder: Path, known: Sequence[str] = ()) -> None:
    """Refuse a folder without config.json that holds something else than the ``known`` files.

    Raises:
        UserError: it does.
    """
    others = [entry.name for entry in folder.iterdir() if entry.name not in ("lock", *known)]
    if others:
        raise UserError(
            f"{folder} is not empty and not a run folder (it holds {others[0]}): choose another --out"
        )


def circumstances() -> dict[str, Any]:
    """Time, command and versions, as config.json keeps them."""
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": [sys.executable, *sys.orig_argv[1:]],
        "git_commit": git_commit(),
        "versions": versions(_PACKAGES),
    }


def _misfit(folder: Path, config: Config, data: dict[str, Any]) -> str | None:
    """Explain why a run folder is not the one of a config; None where it is."""
    path = folder / "config.json"
    old = read_config(path)
    if (own := config.user_file or old.user_file) and old.user_file != config.user_file:
        return f"{folder} holds a run with another {own.name}: choose another --out, or put it back"
    fields = differing_fields(old.experiment, config.experiment)
    if len(fields) == 1 and fields[0].startswith("epochs (") and _is_finished(folder):
        return (
            f"{folder} is finished, and so is its schedule: {fields[0]}. For more epochs start another run "
            f"from its weights: --init {folder} --out NEW"
        )
    if fields:
        return (
            f"{folder} holds a run with another config: {', '.join(fields)}. "
            f"Choose another --out, or give the same options"
        )
    before = json.loads(path.read_text()).get("data")
    if not isinstance(before, dict) or not before.keys() >= data.keys():
        return f"{path} is damaged (data): put it back, or choose another --out"
    if before != data:
        then, now = before.get("images"), data["images"]
        return (
            f"{folder} holds a run on other images ({then} then, {now} now), or on changed files or "
            f"groups: choose another --out, or put them back"
        )
    return None


def _is_finished(folder: Path) -> bool:
    return bool(summary_if_whole(folder).get("status") == "finished")


def holds_nothing(folder: Path) -> bool:
    """True for a run that came to no checkpoint and to no result: another one may take its folder."""
    found = any(folder.glob("checkpoints/*.pt")) or any(folder.glob("eval/*"))
    return not found and not _is_finished(folder)


def clear(folder: Path) -> None:
    """Remove the files of a run that came to nothing."""
    own = json.loads((folder / "config.json").read_text()).get("config", {}).get("user_file")
    names = ["config.json", "summary.json", "metrics.jsonl", "views.png", "curves.png", "bad_images.txt"]
    names += [DIVERGED, "predictions.png"]
    for name in [*names, *([Path(own["name"]).name] if own else [])]:
        (folder / name).unlink(missing_ok=True)
    for name in ("tb", "wandb", "checkpoints"):
        shutil.rmtree(folder / name, ignore_errors=True)


def run_and_checkpoint(where: Path) -> tuple[Path, str]:
    """The folder that takes results, and the checkpoint's name, "" for the last."""
    if where.is_dir():
        return where, ""
    folder = where.parent.parent if where.parent.name == "checkpoints" else where.parent
    return folder, "" if where.stem == "last" else where.stem


def load_encoder(where: Path) -> tuple[Config, nn.Module, int]:
    """The encoder of a run folder (its last checkpoint) or of one checkpoint file.

    Returns:
        the config, the encoder in evaluation mode on the CPU, and the number of steps it was trained for.

    Raises:
        UserError: there is no such run or checkpoint.
    """
    if not where.exists():
        raise UserError(f"{where} does not exist: give a run folder or one of its checkpoints")
    path = where / LAST if where.is_dir() else where
    state = checkpoint.load(path)
    if not {"config", "encoder", "step"} <= state.keys():
        raise UserError(f"{path} is not a checkpoint of this fastssl")
    config = from_dict(state["config"], str(path), run_and_checkpoint(path)[0].absolute())
    encoder = build_encoder(config.experiment.method, config.experiment.backbone)
    try:
        encoder.load_state_dict(state["encoder"])
    except (RuntimeError, TypeError, AttributeError):  # torch's, of several lines
        raise UserError(f"{path} is damaged: its weights do not fit its config") from None
    return config, encoder.eval(), state["step"]
