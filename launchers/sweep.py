"""Run a study or a grid: python -m launchers.sweep STUDY [--cluster local|slurm|debug] [...]

The sweep folder holds the plan, a config a run, the code that the jobs run, the run folders. The same command
goes on with what is missing: finished, queued and running jobs are left alone.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fastssl.config import Config, differing_fields, read_config, to_dict
from fastssl.run import checkpoint
from fastssl.run.versions import git_commit
from fastssl.user_file import keep_copy
from launchers.clusters import slurm, snapshot
from launchers.clusters.local import run_debug, run_local
from launchers.clusters.state import ACTIVE, JobState, job_states, write_record
from launchers.options import Options, evaluation_resources, parse
from launchers.studies import STUDIES
from launchers.sweeps import cost
from launchers.sweeps.attempts import now
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.grid import applied, grid_study
from launchers.sweeps.job import Job
from launchers.sweeps.plan import read_plan
from launchers.sweeps.study import Run, Study, to_plan, with_seeds
from pipelines.command.errors import UserError, run_command
from pipelines.files.atomic import write_json


def chosen_study(options: Options) -> Study:
    """The study that a command names, with seeds, settings and absolute paths.

    Raises:
        UserError: a field or value does not fit, or --only names no run.
    """
    study = (
        grid_study(options.recipe, options.grid) if options.recipe else STUDIES[options.study](options.scale)
    )
    study = with_seeds(applied(study, options.set, options.data), options.seeds)
    runs = tuple(dataclasses.replace(run, config=_with_absolute_paths(run.config)) for run in study.runs)
    return dataclasses.replace(study, runs=runs)


def _with_absolute_paths(config: Config) -> Config:
    """A job's working folder is the snapshot."""
    experiment, machine = config.experiment, config.machine
    if machine.data.partition(":")[0] != "scenes":
        data = str(Path(machine.data).expanduser().absolute())
        machine = dataclasses.replace(machine, data=data)
    if Path(experiment.taxonomy).expanduser().is_file():
        taxonomy = str(Path(experiment.taxonomy).expanduser().absolute())
        experiment = dataclasses.replace(experiment, taxonomy=taxonomy)
    return dataclasses.replace(config, experiment=experiment, machine=machine)


def sweep(options: Options, command: Sequence[str]) -> int:
    """Do what the options say. Returns the exit status.

    Raises:
        UserError: something the user can mend; nothing was submitted then.
    """
    study = chosen_study(options)
    resources = options.resources()
    folder = SweepFolder(Path(options.out or _usual_folder(study)).absolute())
    _check_folder(folder, study)
    runs = _chosen_runs(study, options.only)
    if options.dry_run:
        print("\n".join(_outlook(folder, study, runs, options)))
        return 0
    _check_data(runs, options)
    if options.cluster == "slurm":
        slurm.check(folder, study.name, resources, len(runs))
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {folder.path}: {error.strerror}; choose another --out") from None
    with checkpoint.lock(folder.path):
        jobs = [job for run in runs for job in _jobs(folder, run, options)]
        states = job_states(folder, jobs, by_driver=True)
        _write_plan(folder, study, options, command)
        _take_code(folder, states, options)
        missing = [job for job in jobs if states[job.name].name not in {*ACTIVE, "finished"}]
        print(_tally(folder, jobs, states), file=sys.stderr)
        if options.cluster == "slurm":
            _submit(folder, study, missing, states, options)
            return 0
        mine = [job for job in missing if states[job.run].name not in ACTIVE]
        if options.cluster == "debug":
            return run_debug(folder, mine)
        return run_local(folder, mine, options.max_parallel)


def _usual_folder(study: Study) -> str:
    small = study.scale == "tiny" and study.name != "tiny"
    return f"sweeps/{study.name}-tiny" if small else f"sweeps/{study.name}"


def _chosen_runs(study: Study, only: Sequence[str]) -> list[Run]:
    known = {run.name: run for run in study.runs}
    for name in only:
        if name not in known:
            raise UserError(f"--only {name}: {study.name} has no such run; it has {', '.join(known)}")
    return [run for run in study.runs if not only or run.name in only]


def _jobs(folder: SweepFolder, run: Run, options: Options) -> Iterator[Job]:
    """A run's training, then its evaluations."""
    for result in ("", *run.results):
        yield Job(
            sweep=folder.path,
            run=run.name,
            data=run.config.machine.data,
            evaluation=result,
            stage=options.stage,
            retries=options.retries,
        )


# --- the folder ---------------------------------------------------------------------------------------------


def _check_folder(folder: SweepFolder, study: Study) -> None:
    """A folder belongs to one study; runs may join it (more seeds), none may change or go."""
    standing = next(path for path in (folder.path, *folder.path.parents) if path.exists())
    if not standing.is_dir():
        raise UserError(f"{standing} is no folder: choose another --out")
    if not folder.plan.exists():
        others = (
            [entry.name for entry in folder.path.iterdir() if entry.name != "lock"]
            if folder.path.exists()
            else []
        )
        if others:
            raise UserError(
                f"{folder.path} is not empty and no sweep folder (it holds {others[0]}): choose --out"
            )
        return
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


def _check_data(runs: Sequence[Run], options: Options) -> None:
    """Say at once that data is missing, where that can be known: nodes may see more than this machine."""
    for data in dict.fromkeys(run.config.machine.data for run in runs):
        pattern = set(data) & set("*?{")
        given = options.data and Path(options.data).is_absolute()
        if data.partition(":")[0] == "scenes" or pattern or (options.cluster == "slurm" and given):
            continue
        if not Path(data).exists():
            raise UserError(f"no such folder or file: {data}; say with --data where the images are")


def _write_plan(folder: SweepFolder, study: Study, options: Options, command: Sequence[str]) -> None:
    folder.jobs.mkdir(exist_ok=True)
    for run in study.runs:
        folder.config(run.name).parent.mkdir(exist_ok=True)
        if run.config.user_file:
            keep_copy(run.config.user_file, folder.config(run.name).parent)
        write_json(folder.config(run.name), {"config": to_dict(run.config)})
    created = read_plan(folder)["created"] if folder.plan.exists() else now()
    about = {
        "created": created,
        "git_commit": git_commit(),
        "command": list(command),
        "folder": str(Path.cwd()),
        "cluster": options.cluster,
    }
    write_json(folder.plan, {**about, **to_plan(study)})


def _take_code(folder: SweepFolder, states: Mapping[str, JobState], options: Options) -> None:
    active = [name for name, state in states.items() if state.name in ACTIVE]
    if options.fresh_code and active:
        raise UserError(
            f"--fresh-code: {active[0]} is {states[active[0]].name}; wait for it, or cancel it first"
        )
    if not snapshot.take(folder.code, options.fresh_code):
        print(f"the jobs run the code of {folder.code}; --fresh-code takes the present one", file=sys.stderr)


# --- SLURM --------------------------------------------------------------------------------------------------


def _submit(
    folder: SweepFolder,
    study: Study,
    missing: Sequence[Job],
    states: Mapping[str, JobState],
    options: Options,
) -> None:
    """The trainings as one array, the evaluations of each run as one that waits for it."""
    resources = options.resources()
    trainings = [job for job in missing if not job.evaluation]
    ids = {name: state.job_id for name, state in states.items() if state.name in ACTIVE}
    if trainings:
        submitted = slurm.submit(folder, study.name, trainings, resources)
        for job, job_id in zip(trainings, submitted, strict=True):
            write_record(folder, job, "slurm", job_id)
            ids[job.name] = job_id
    by_run: dict[str, list[Job]] = {}
    for job in missing:
        if job.evaluation:  # those whose run is finished need not wait, and form one array
            by_run.setdefault(job.run if job.run in ids else "", []).append(job)
    for run, jobs in by_run.items():
        name, after = f"{study.name}-evaluate", ids.get(run, "")
        submitted = slurm.submit(folder, name, jobs, evaluation_resources(resources), after)
        for job, job_id in zip(jobs, submitted, strict=True):
            write_record(folder, job, "slurm", job_id)
    print(
        f"submitted {len(trainings)} runs and {len(missing) - len(trainings)} evaluations; "
        f"python -m launchers.status {folder.path}"
    )


# --- what is said -------------------------------------------------------------------------------------------


def _tally(folder: SweepFolder, jobs: Sequence[Job], states: Mapping[str, JobState]) -> str:
    names = [states[job.name].name for job in jobs if not job.evaluation]
    counts = ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))
    return f"{folder.path}: {len(names)} runs ({counts})"


def _outlook(folder: SweepFolder, study: Study, runs: Sequence[Run], options: Options) -> Iterator[str]:
    """The table of runs, the cost, the sbatch text."""
    yield f"{study.title}"
    yield f"{len(runs)} runs into {folder.path}"
    yield ""
    measured = cost.measured(folder.path.parent.glob("*/runs/*"))
    hours = [cost.run_hours(run.config, measured) for run in runs]
    heads = ("run", "epochs", "batch", "hours", "paper", "evaluations")
    rows = [heads, *(_row(run, known) for run, known in zip(runs, hours, strict=True))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
    yield ""
    gpus = options.nodes * max(1, options.gpus_per_node)
    unit = "GPU-hours" if options.gpus_per_node else "node-hours"
    known = [value for value in hours if value is not None]
    if known:
        yield f"cost: {gpus * sum(known):.1f} {unit} for {len(known)} runs, by images/s measured here"
    if len(known) < len(runs):
        yield f"cost of {len(runs) - len(known)} runs: unknown until a run of their kind was measured here"
    if options.cluster == "slurm":
        evaluations = sum(len(run.results) for run in runs)
        yield f"\n--- sbatch: {len(runs)} runs " + "-" * 40
        yield slurm.sbatch_text(folder, study.name, options.resources(), len(runs))
        if evaluations:
            yield f"\n--- sbatch: the evaluations of each run ({evaluations} in all) " + "-" * 20
            name, resources = f"{study.name}-evaluate", evaluation_resources(options.resources())
            yield slurm.sbatch_text(folder, name, resources, len(runs[0].results), after="JOB_OF_THE_RUN")


def _row(run: Run, hours: float | None) -> tuple[str, ...]:
    experiment = run.config.experiment
    paper = ", ".join(f"{metric} {number:g}" for metric, number in run.paper.results) if run.paper else ""
    return (
        run.name,
        f"{experiment.epochs:g}",
        str(experiment.batch_size),
        "unknown" if hours is None else f"{hours:.2f}",
        paper,
        " ".join(run.results),
    )


def main(argv: list[str] | None = None) -> int:
    """The command."""
    arguments = sys.argv[1:] if argv is None else argv
    return sweep(parse(arguments), [sys.executable, "-m", "launchers.sweep", *_lasting(arguments)])


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
