"""Run a study or a grid: python -m launchers.sweep STUDY [--cluster CLUSTER] [...]

The sweep folder holds the plan, a config per run, the code that the jobs run, and the run folders. The same
command resumes with what is missing: finished, queued and running jobs are left alone.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fastssl.classes.mapping import mapped_groups, read_mapping
from fastssl.config import Config
from fastssl.config_file import named_config
from launchers.clusters import job_states, snapshot
from launchers.clusters.cluster import Cluster
from launchers.options import Options, parse
from launchers.studies import STUDIES
from launchers.studies.build import at_scale
from launchers.sweeps.columns import with_columns
from launchers.sweeps.events import forget_end
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.grid import applied, grid_study
from launchers.sweeps.job import Job
from launchers.sweeps.outlook import outlook
from launchers.sweeps.plan import planned_jobs, run_jobs
from launchers.sweeps.prepare import check_folder, make_folder, write_plan
from launchers.sweeps.state import ACTIVE, JobState, read_submission
from launchers.sweeps.study import PlannedRun, Study, run_to_plan, to_plan, with_seeds
from launchers.sweeps.transfer import left_out, with_transfer_data
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import user_path
from pipelines.command.places import is_elsewhere, map_places, places, refuse_secrets, require_place
from pipelines.files import folder_lock

_WATCH = 60.0  # seconds between two submissions of --watch


def sweep(options: Options, cluster: Cluster, command: Sequence[str]) -> int:
    """Do what the options say. Returns the exit status.

    Raises:
        UserError: something the user can mend; nothing was submitted then.
    """
    study = chosen_study(options)
    runs = _chosen_runs(study, options.only)
    folder = SweepFolder(user_path(options.out or _usual_folder(study)).absolute())
    jobs = [job for run in runs for job in _jobs(folder, run, options, cluster)]
    check_folder(folder, study)
    for line in () if options.no_eval else left_out(study):
        print(line, file=sys.stderr)
    if options.dry_run:
        _show(folder, study, runs, jobs, cluster)
        return 0
    _check_data(runs, options, cluster)
    _check_taxonomies(runs)
    cluster.check(folder, study.name)
    make_folder(folder)
    everything = planned_jobs(folder, to_plan(study))
    with folder_lock.hold(folder.path):
        states = job_states(folder, everything, holding_lock=True)
        try:
            write_plan(folder, study, cluster.kind, command)
            _take_code(folder, states, options)
        except OSError as error:  # a full disk, a checkout that has moved
            where = error.filename or folder.path
            raise UserError(f"cannot write {where} ({error.strerror}): make room, or put it back") from None
        print(_tally(folder, jobs, states), file=sys.stderr)
        status, left = _submit(folder, study, cluster, jobs, states)
        if cluster.in_foreground and status < 128 and any(job.anchor for job in left):  # trained by now
            states = job_states(folder, everything, holding_lock=True)
            later, left = _submit(folder, study, cluster, left, states)
            status = max(status, later)
    for job in left:
        if job.anchor:
            what = f"{job.name} is left until {job.run} and {job.anchor} are trained"
            print(f"{what}: then give the same command again", file=sys.stderr)
    while left and options.watch:
        print(f"{len(left)} trainings and evaluations are left", file=sys.stderr)
        time.sleep(_WATCH)
        with folder_lock.hold(folder.path):
            states = job_states(folder, everything, holding_lock=True)
            status, left = _submit(folder, study, cluster, left, states)
    return status


def _submit(
    folder: SweepFolder, study: Study, cluster: Cluster, jobs: Sequence[Job], states: Mapping[str, JobState]
) -> tuple[int, list[Job]]:
    """Submit the jobs that are missing. Returns the exit status, and those that the cluster did not take."""
    missing = [job for job in jobs if states[job.name].name not in {*ACTIVE, "finished"}]
    ready = [job for job in missing if not job.anchor or _has_anchor(job, missing, states)]
    if ready:
        forget_end(folder)
    for job in ready:
        folder_lock.forget(job.own_folder or folder.run(job.run), states[job.name].job_id)
    before = [read_submission(folder, job) for job in missing]
    status = cluster.submit(folder, study.name, ready, states)
    pairs = zip(missing, before, strict=True)
    return status, [job for job, submission in pairs if read_submission(folder, job) == submission]


def _has_anchor(job: Job, missing: Sequence[Job], states: Mapping[str, JobState]) -> bool:
    """True if the run whose norms a transfer takes is trained, and its own is, or is submitted with it."""
    trained = states[job.run].name == "finished" or job.training().name in (each.name for each in missing)
    return trained and states[job.anchor].name == "finished"


# --- the study ----------------------------------------------------------------------------------------------


def chosen_study(options: Options) -> Study:
    """The study that a command names, with seeds, settings and absolute paths.

    Raises:
        UserError: a field or value does not fit.
    """
    study = _chosen_grid(options) if options.recipe else STUDIES[options.study](options.scale)
    eval_data = absolute_data(options.eval_data) if options.eval_data else ""
    study = with_columns(study, options.columns)
    study = with_transfer_data(study, options.transfer_data, absolute_data)
    study = with_seeds(applied(study, options.set, options.data, eval_data), options.seeds)
    runs = tuple(dataclasses.replace(run, config=with_absolute_paths(run.config)) for run in study.runs)
    return dataclasses.replace(study, runs=runs)


def _chosen_grid(options: Options) -> Study:
    recipe = named_config(options.recipe)
    study = grid_study(recipe.recipe, at_scale(recipe, options.scale), options.grid, options.zip)
    return dataclasses.replace(study, scale=options.scale)


def with_absolute_paths(config: Config) -> Config:
    """The config with absolute paths: a job's working folder is the snapshot."""
    experiment, machine = config.experiment, config.machine
    machine = dataclasses.replace(machine, data=absolute_data(machine.data))
    if machine.monitor_data:
        machine = dataclasses.replace(machine, monitor_data=absolute_data(machine.monitor_data))
    if experiment.init:
        experiment = dataclasses.replace(experiment, init=str(user_path(experiment.init).absolute()))
    if Path(experiment.taxonomy).expanduser().is_file():
        taxonomy = str(Path(experiment.taxonomy).expanduser().absolute())
        experiment = dataclasses.replace(experiment, taxonomy=taxonomy)
    return dataclasses.replace(config, experiment=experiment, machine=machine)


def absolute_data(data: str) -> str:
    """A location of images as a job sees it; the built-in scenes have none, and addresses are absolute."""
    refuse_secrets(data)
    return map_places(data, lambda one: one if is_elsewhere(one) else str(user_path(one).absolute()))


def _chosen_runs(study: Study, only: Sequence[str]) -> list[PlannedRun]:
    known = {run.name: run for run in study.runs}
    for name in only:
        if name not in known:
            raise UserError(f"--only {name}: {study.name} has no such run; it has {', '.join(known)}")
    return [run for run in study.runs if not only or run.name in only]


def _usual_folder(study: Study) -> str:
    small = study.scale == "tiny" and study.name != "tiny"
    return f"sweeps/{study.name}-tiny" if small else f"sweeps/{study.name}"


def _jobs(folder: SweepFolder, run: PlannedRun, options: Options, cluster: Cluster) -> Iterator[Job]:
    """A run's training, then its evaluations and tasks."""
    device = cluster.device_for(run.config.machine.device)
    for job in run_jobs(folder, run_to_plan(run)):
        if not (job.evaluation and options.no_eval):
            yield dataclasses.replace(
                job, device=device, stage=options.stage, retries=options.retries, on_event=options.on_event
            )


# --- before anything is submitted ---------------------------------------------------------------------------


def _show(
    folder: SweepFolder, study: Study, runs: Sequence[PlannedRun], jobs: Sequence[Job], cluster: Cluster
) -> None:
    """The table of runs, the cost, and what would be submitted."""
    resources = cluster.resources()
    evaluations = sum(bool(job.evaluation) for job in jobs)
    unit = "GPU-hours" if resources.gpus_per_node else "node-hours"
    print("\n".join(outlook(folder, study, runs, evaluations, resources.processes, unit)))
    submission = cluster.outlook(folder, study.name, jobs)
    if submission:
        print(f"\n{submission}")


def _check_data(runs: Sequence[PlannedRun], options: Options, cluster: Cluster) -> None:
    """Say at once that data is missing, where that can be known."""
    locations = dict.fromkeys((run.config.machine.data, "--data", options.data) for run in runs)
    locations |= dict.fromkeys(
        (run.eval_data, "--eval-data", options.eval_data) for run in runs if run.eval_data
    )
    locations |= dict.fromkeys(
        (where, "--transfer-data", where)
        for run in runs
        for where in (*run.transfer_data.values(), *(task.where for task in run.tasks if task.where))
    )
    for data, option, typed in ((each, *rest) for where, *rest in locations for each in places(where)):
        if not (cluster.elsewhere and typed and Path(typed).is_absolute()):
            require_place(data, option)


def _check_taxonomies(runs: Sequence[PlannedRun]) -> None:
    """Find what is wrong with a mapping file before it ends every run."""
    for taxonomy, data in dict.fromkeys(
        (run.config.experiment.taxonomy, run.config.machine.data) for run in runs
    ):
        if not Path(taxonomy).is_file():
            continue
        folder = Path(data) / "train"
        names = sorted(path.name for path in folder.glob("[!.@]*/")) if folder.is_dir() else []
        if names:
            mapped_groups(Path(taxonomy), names)
        else:  # the classes are known where the data is read
            read_mapping(Path(taxonomy))


def _take_code(folder: SweepFolder, states: Mapping[str, JobState], options: Options) -> None:
    active = [name for name, state in states.items() if state.name in ACTIVE]
    if options.fresh_code and active:
        raise UserError(
            f"--fresh-code: {active[0]} is {states[active[0]].name}; wait for it, or cancel it first"
        )
    if not snapshot.take(folder.code, options.fresh_code):
        print(f"the jobs run the code of {folder.code}; --fresh-code takes the present one", file=sys.stderr)


def _tally(folder: SweepFolder, jobs: Sequence[Job], states: Mapping[str, JobState]) -> str:
    names = [states[job.name].name for job in jobs if not job.evaluation]
    counts = ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))
    return f"{folder.path}: {len(names)} runs ({counts})"


def main(argv: list[str] | None = None) -> int:
    """The command."""
    arguments = sys.argv[1:] if argv is None else argv
    command = [sys.executable, "-m", "launchers.sweep", *_lasting(arguments)]
    return sweep(*parse(arguments), command)


def _lasting(arguments: Sequence[str]) -> Iterator[str]:
    """A command as it may be given again: for all runs, with the code of the folder."""
    kept = True
    for word in arguments:
        if word.startswith("--"):
            kept = word.replace("_", "-") not in ("--only", "--fresh-code")
        if kept:
            yield word


if __name__ == "__main__":
    run_command(main)
