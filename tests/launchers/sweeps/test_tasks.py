"""Tasks of a sweep: planned, run after the training or without one, resumed, retried, shown."""

import signal
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from fastssl.recipes import quickstart
from launchers.clusters.local import Local
from launchers.clusters.slurm_bundles import bundled
from launchers.look import look
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from launchers.sweeps.outlook import outlook
from launchers.sweeps.plan import planned_jobs
from launchers.sweeps.study import PlannedRun, Study, to_plan, with_seeds
from launchers.sweeps.task import Mode, PlannedTask
from pipelines.files.atomic import write_json
from tests.helpers.report_folders import read_sweep
from tests.helpers.signals import signal_when
from tests.helpers.stub_runs import outcomes, stub_sweep


def study(labels: Iterable[int], steps: int = 5, images: str = "", trained: bool = True) -> Study:
    mode: Mode = "finetune" if trained else "scratch"
    run = PlannedRun(
        name="good" if trained else "scratch",
        config=quickstart(),
        values={},
        row="row",
        evaluations=(),
        tasks=tuple(
            PlannedTask(task="pose", labels=count, mode=mode, images=images, options={"steps": steps})
            for count in labels
        ),
        trained=trained,
    )
    return Study(name="s", title="S", about="", axes=(), runs=(run,))


def prepared(tmp_path: Path, planned: Study) -> tuple[SweepFolder, list[Job]]:
    """A sweep folder with its plan, and its jobs; a training's data name what the stand-in does."""
    folder = stub_sweep(tmp_path / "sweep")
    write_json(folder.plan, to_plan(planned))
    jobs = [replace(job, data="good", retries=1) for job in planned_jobs(folder, to_plan(planned))]
    return folder, jobs


def test_seeds_are_options_and_no_part_of_the_name() -> None:
    """The folder of the run has the seed: columns of a table are the same for all."""
    one, two = with_seeds(study([250], images="single-1111"), 2).runs
    assert one.tasks[0].result == two.tasks[0].result == "pose+labels=250+mode=finetune@single-1111"
    assert one.tasks[0].words == ["pose", "--labels", "250", "--mode", "finetune", "--steps", "5"]
    assert two.tasks[0].words == [*one.tasks[0].words, "--seed", "1"]


def test_tasks_follow_the_training_and_none_overwrites_another(tmp_path: Path) -> None:
    folder, jobs = prepared(tmp_path, study([100, 250]))
    assert Local(max_parallel=1).submit(folder, "s", jobs, {}) == 0
    assert [outcomes(folder, job) for job in jobs] == [["finished"]] * 3
    assert [str(job.result()).partition("/transfer/")[2] for job in jobs[1:]] == [
        "pose+labels=100+mode=finetune/eval/pose+labels=100@data-12345678.json",
        "pose+labels=250+mode=finetune/eval/pose+labels=250@data-12345678.json",
    ]
    (run,) = read_sweep(folder.path).runs
    assert not run.missing
    tasks = {name: value for name, value in run.results.items() if name.startswith("pose")}
    assert tasks == {"pose.top1+labels=100+mode=finetune": 0.1, "pose.top1+labels=250+mode=finetune": 0.25}


def test_a_run_that_is_not_trained_has_its_tasks_alone(tmp_path: Path) -> None:
    """One crashes and is started again: it goes on where it stood, as a training does."""
    folder, jobs = prepared(tmp_path, study([100, 7], trained=False))
    training, *tasks = jobs
    assert training.is_done()
    assert Local(max_parallel=1).submit(folder, "s", tasks, {}) == 0
    assert [outcomes(folder, job) for job in tasks] == [["finished"], ["crashed", "finished"]]
    assert "starts at step 3" in folder.log(tasks[1].name).read_text()
    (run,) = look(folder).runs
    assert (run.state.name, run.measured) == ("finished", "2/2")
    (result,) = read_sweep(folder.path).runs
    assert result.status == "finished"
    assert result.results["pose.top1+labels=100+mode=scratch"] == 0.1


def test_a_stopped_task_resumes(tmp_path: Path) -> None:
    folder, jobs = prepared(tmp_path, study([100], steps=200, trained=False))
    task = jobs[1]
    summary = folder.transfer("scratch", task.evaluation) / "summary.json"
    thread = signal_when(summary, signal.SIGTERM)
    assert Local().submit(folder, "s", [task], {}) == 143
    thread.join()
    assert outcomes(folder, task) == ["interrupted"]
    done = task.steps_done()
    assert 0 < done < 200
    quick = replace(task, task=(*task.task[:-1], str(done + 2)))
    assert Local().submit(folder, "s", [quick], {}) == 0
    assert f"starts at step {done}" in folder.log(task.name).read_text()


def test_slurm_gives_each_task_of_an_untrained_run_a_job() -> None:
    jobs = planned_jobs(SweepFolder(Path("/s")), to_plan(study([100, 250], trained=False)))[1:]
    found = bundled(jobs, inside=True, in_training=(), elsewhere=())
    assert found.evaluations == [(jobs[0],), (jobs[1],)]
    trained = planned_jobs(SweepFolder(Path("/s")), to_plan(study([100, 250])))
    assert bundled(trained, inside=True, in_training=(), elsewhere=()).trainings == [tuple(trained)]


def test_the_outlook_counts_tasks(tmp_path: Path) -> None:
    planned = study(range(100, 150), trained=False)
    lines = [*outlook(SweepFolder(tmp_path), planned, planned.runs, 50, 1, "GPU-hours")]
    assert [line.split() for line in lines if line.startswith("scratch")] == [
        ["scratch", "none", str(quickstart().experiment.batch_size), "0.00", "50", "tasks"]
    ]
