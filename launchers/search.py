"""Search a recipe's fields: python -m launchers.search RECIPE --space FIELD=VALUES ... [--metric M] [...]

Optuna draws the trials (TPE), successive halving says which of them train on, and our jobs are the trials:
a trial is a run folder, a paused one its checkpoint, and one that goes on resumes exactly. The same command
goes on with a search whose driver died; several drivers, here or on a cluster, may share its folder.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from fastssl.config_file import named_config
from fastssl.run.interrupt import Interrupt
from launchers.clusters import snapshot
from launchers.clusters.cluster import Cluster
from launchers.clusters.local import Local
from launchers.searching.definition import Search, check_folder
from launchers.searching.drivers import driving
from launchers.searching.folder import SearchFolder, deciding
from launchers.searching.measure import measure_of
from launchers.searching.options import Options, parse
from launchers.searching.ready import READY
from launchers.searching.space import read_space
from launchers.sweep import absolute_data, with_absolute_paths
from launchers.sweeps.fields import assign, read_changes
from launchers.sweeps.job import Job
from launchers.sweeps.prepare import make_folder, write_config
from launchers.sweeps.state import Submission, write_submission
from pipelines.command.errors import UserError, run_command
from pipelines.command.options import user_path
from pipelines.command.places import places, require_place
from pipelines.files.atomic import write_json

if TYPE_CHECKING:  # it loads Optuna
    from launchers.searching.conductor import Conductor

_POLL = 10.0  # seconds between two looks at a cluster's jobs
_ELSEWHERE = 4  # trials at a time on a cluster


def search(options: Options, cluster: Cluster, command: Sequence[str]) -> int:
    """Do what the options say. Returns the exit status: 0, 1 if no trial succeeded, or 128 + the signal.

    Raises:
        UserError: something the user can mend; what was trained is kept.
    """
    if find_spec("optuna") is None:
        raise UserError("launchers.search needs Optuna: pip install '.[search]' in the clone")
    from launchers.searching.conductor import Conductor  # loads Optuna

    defined = defined_search(options)
    folder = SearchFolder(user_path(options.out or f"searches/{defined.base.recipe}").absolute())
    check_folder(folder, defined)
    _check_data(defined, cluster)
    cluster.check(folder, defined.name)
    prepare(folder, defined, command)
    with deciding(folder):
        machine = defined.base.machine
        job = Job(
            sweep=folder.path,
            run="",
            data=machine.data,
            stage=options.stage,
            retries=options.retries,
            device=cluster.device_for(machine.device),
        )
        job_id = f"{cluster.kind}-{os.getpid()}-{int(time.time())}"
        submit = partial(_submit, folder, defined, cluster, job_id)
        conductor = Conductor(folder, defined, cluster, job, submit, command)
    with closing(conductor), driving(folder, job_id):
        if isinstance(cluster, Local):
            status = cluster.drive(folder, [], job_id, conductor.turn)
            conductor.turn((), 0)
        else:
            status = _watch(conductor, options.parallel or _ELSEWHERE)
    if status > 1:
        return status
    if conductor.mistake:
        raise UserError(conductor.mistake)
    print("\n".join(conductor.table()))
    if not folder.best.exists():
        return 1
    print(f"\nbest: {folder.best}\nreport: python -m launchers.report {folder.path}")
    return 0


def _watch(conductor: Conductor, room: int) -> int:
    """Decide until the search is over. Returns the exit status: 0, or 128 + the signal that stopped it."""
    with Interrupt() as interrupt:
        while not interrupt.signal and conductor.turn((), room) is not None:
            until = time.monotonic() + _POLL
            while not interrupt.signal and time.monotonic() < until:
                time.sleep(0.1)
    if interrupt.signal:
        print("stopped; its jobs go on, and the same command goes on with the search", file=sys.stderr)
        return interrupt.exit_status
    return 0


def prepare(folder: SearchFolder, defined: Search, command: Sequence[str]) -> None:
    """Make the folder of a search: its definition, and the code that the trials run.

    Raises:
        UserError: the folder cannot be made, or holds another search.
    """
    make_folder(folder)
    with deciding(folder):
        check_folder(folder, defined)  # another driver may have made it meanwhile
        if not folder.search.exists():
            write_config(folder.base, defined.base)
            new = {**defined.as_json(), "command": list(command), "best": None, "table": []}
            write_json(folder.search, new)
        folder.jobs.mkdir(exist_ok=True)
        if not snapshot.take(folder.code, fresh=False):
            print(f"the trials run the code of {folder.code}", file=sys.stderr)


def defined_search(options: Options) -> Search:
    """The search that a command defines.

    Raises:
        UserError: a field or value does not fit, or the metric is not measured.
    """
    ready = next((READY[word] for word in options.space if word in READY), None)
    base = named_config(options.recipe)
    settings = (*(ready.settings if ready else ()), *options.set)
    base = with_absolute_paths(assign(base, read_changes(settings, options.data, base)))
    space = [setting for setting in options.space if "=" in setting]
    grace = options.grace
    if grace is None:
        grace = ready.grace if ready else 0
    eval_data = absolute_data(options.eval_data) if options.eval_data else ""
    found = Search(
        recipe=options.recipe,
        base=base,
        space=read_space([*(ready.space if ready else ()), *space], base),
        metric=options.metric,
        measure=measure_of(options.metric, options.measure, eval_data),
        minimize=options.minimize,
        trials=options.trials,
        grace=grace,
        reduction=options.reduction,
        seed=options.seed,
    )
    if found.logs_knn and not base.machine.monitor_every and not grace:
        raise UserError(f"--metric {options.metric} is not measured: --set monitor_every=EPOCHS")
    return found


def _check_data(defined: Search, cluster: Cluster) -> None:
    """Say at once that data is missing, or unfit to measure on, where that can be known."""
    if cluster.elsewhere:
        return
    data, measure = defined.base.machine.data, defined.measure
    for place in places(data):
        require_place(place, "--data")
    if measure is not None:
        for place in places(measure.images) if measure.images else ():
            require_place(place, "--eval-data")
        measure.check(data)


def _submit(
    folder: SearchFolder, defined: Search, cluster: Cluster, job_id: str, jobs: Sequence[Job]
) -> None:
    """Hand jobs to a cluster elsewhere; those of this machine are the caller's, and are written down."""
    if not cluster.in_foreground:
        cluster.submit(folder, defined.name, jobs, {})
        return
    for job in jobs:
        write_submission(folder, Submission(job, cluster.kind, job_id))


def main(argv: list[str] | None = None) -> int:
    """The command."""
    arguments = sys.argv[1:] if argv is None else argv
    return search(*parse(arguments), [sys.executable, "-m", "launchers.search", *arguments])


if __name__ == "__main__":
    run_command(main)
