"""A sweep folder before jobs start: whether it is this study's, and its plan."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from fastssl.config import Config
from fastssl.config_values import differing_fields, read_config, to_dict
from fastssl.run.versions import git_commit
from fastssl.user_file import keep_copy
from launchers.sweeps.attempts import now
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.plan import read_plan
from launchers.sweeps.study import Study, to_plan
from pipelines.command.errors import UserError
from pipelines.files.atomic import write_json


def check_folder(folder: SweepFolder, study: Study) -> None:
    """A folder belongs to one study; runs may join it (more seeds), none may change or go.

    Raises:
        UserError: the folder is another study's, or none that a sweep may write to.
    """
    if folder.plan.exists():
        _check_plan(folder, study)
    else:
        check_free(folder.path, "sweep", ("lock",))


def check_free(path: Path, kind: str, own: Collection[str]) -> None:
    """Find what stands in the way of a new folder.

    Args:
        kind: of the folder, for messages.
        own: names of files that it may hold.

    Raises:
        UserError: the folder is a file's, or holds something else.
    """
    standing = next(each for each in (path, *path.parents) if each.exists())
    if not standing.is_dir():
        raise UserError(f"{standing} is no folder: choose another --out")
    others = [entry.name for entry in path.glob("*") if entry.name not in own]
    if others:
        holds = f"it holds {others[0]}"
        raise UserError(f"{path} is not empty and no {kind} folder ({holds}): choose another --out")


def _check_plan(folder: SweepFolder, study: Study) -> None:
    plan = read_plan(folder)
    remedy = "choose another --out"
    if (plan["study"], plan["scale"]) != (study.name, study.scale):
        raise UserError(f"{folder.path} holds the study {plan['study']} at scale {plan['scale']}: {remedy}")
    new = {run.name: run.config for run in study.runs}
    for run in plan["runs"]:
        name = run["name"]
        if name not in new:
            raise UserError(
                f"{folder.path} holds a sweep with the run {name}, which this command lacks: {remedy}"
            )
        old = read_config(folder.config(name))
        own = new[name].user_file or old.user_file
        if own and old.user_file != new[name].user_file:
            raise UserError(f"{folder.path} holds {name} with another {own.name}: {remedy}, or put it back")
        fields = differing_fields(old.experiment, new[name].experiment)
        if fields:
            raise UserError(f"{folder.path} holds {name} with another config: {', '.join(fields)}: {remedy}")


def make_folder(folder: SweepFolder) -> None:
    """Make the folder, where it is not there yet.

    Raises:
        UserError: that is not allowed.
    """
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {folder.path}: {error.strerror}; choose another --out") from None


def write_plan(folder: SweepFolder, study: Study, cluster: str, command: Sequence[str]) -> None:
    """Write sweep.json and a config per run.

    ``cluster`` is the kind of the cluster of this submission, ``command`` resumes the sweep, for all runs.
    """
    folder.jobs.mkdir(exist_ok=True)
    for run in study.runs:
        write_config(folder.config(run.name), run.config)
    created = read_plan(folder)["created"] if folder.plan.exists() else now()
    about = {
        "created": created,
        "git_commit": git_commit(),
        "command": list(command),
        "folder": str(Path.cwd()),
        "cluster": cluster,
    }
    write_json(folder.plan, {**about, **to_plan(study)})


def write_config(path: Path, config: Config) -> None:
    """Write a config as ``python -m fastssl.train`` takes it, with the user's file that it may come from."""
    path.parent.mkdir(exist_ok=True)
    if config.user_file:
        keep_copy(config.user_file, path.parent)
    write_json(path, {"config": to_dict(config)})
