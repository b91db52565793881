import dataclasses
import errno
import json
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from fastssl.config_values import to_dict
from fastssl.recipes import quickstart
from fastssl.run.summary import read_summary
from launchers import status, sweep
from launchers.clusters import job_states, snapshot
from launchers.clusters.local import Local
from launchers.options import parse
from launchers.sweeps.attempts import read_attempts
from launchers.sweeps.folder import SweepFolder
from launchers.sweeps.job import Job
from launchers.sweeps.plan import VERSION, planned_jobs, read_plan
from launchers.sweeps.stage import staged
from launchers.sweeps.state import JobState
from pipelines.command.errors import UserError
from pipelines.files import folder_lock
from tests.helpers.image_folder import write_colors
from tests.helpers.signals import signal_when
from tests.helpers.stand_ins import stand_in
from tests.helpers.stub_runs import write_stub

GRID = ["--recipe", "quickstart", "--grid", "temperature=0.2,0.5"]


@pytest.fixture
def stubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run the stand-in, whose doings --data names."""

    def take(folder: Path, fresh: bool) -> bool:
        if not folder.exists():
            write_stub(folder)
        return True

    monkeypatch.setattr(snapshot, "take", take)
    monkeypatch.setattr(sweep, "_check_data", lambda *_: None)
    monkeypatch.setattr(sweep, "with_absolute_paths", lambda config: config)


def run(folder: Path, *options: str) -> int:
    return sweep.main([*GRID, "--out", str(folder), "--data", "good", *options])


def attempts(folder: Path, job: str) -> int:
    return len(read_attempts(SweepFolder(folder).attempts(job)))


@pytest.mark.usefixtures("stubbed")
def test_a_sweep_and_the_same_command_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    assert run(folder.path) == 0
    names = ["temperature-0.2-s0", "temperature-0.5-s0"]
    plan = json.loads(folder.plan.read_text())
    assert (plan["version"], plan["study"]) == (VERSION, "quickstart-by-temperature")
    assert (plan["scale"], plan["cluster"]) == ("paper", "local")
    assert plan["axes"] == ["temperature", "seed"]
    assert [planned["name"] for planned in plan["runs"]] == names
    assert plan["runs"][1]["values"] == {"temperature": 0.5, "seed": 0}
    assert plan["runs"][1]["evaluations"] == ["knn", "linear"]
    for name in names:
        assert folder.evaluation(name, "knn").exists()
        assert folder.evaluation(name, "linear").exists()
        record = json.loads(folder.record(f"{name}.linear").read_text())
        assert (record["run"], record["evaluation"], record["cluster"]) == (name, "linear", "local")
    capfd.readouterr()
    assert run(folder.path) == 0  # all is there
    assert "(2 finished)" in capfd.readouterr().err
    assert [attempts(folder.path, name) for name in names] == [1, 1]
    folder.evaluation(names[0], "knn").unlink()
    shutil.rmtree(folder.run(names[1]))
    assert run(folder.path) == 0  # what is missing is made, and no more
    assert attempts(folder.path, names[0]) == 1
    assert attempts(folder.path, f"{names[0]}.knn") == 2
    assert attempts(folder.path, f"{names[0]}.linear") == 1
    assert attempts(folder.path, names[1]) == 2


@pytest.mark.usefixtures("stubbed")
def test_retry_makes_what_is_missing(tmp_path: Path) -> None:
    folder, names = SweepFolder(tmp_path / "sweep"), ("temperature-0.2-s0", "temperature-0.5-s0")
    assert run(folder.path, "--only", *names, "--fresh-code", "--seeds", "1") == 0
    command = json.loads(folder.plan.read_text())["command"]  # for all runs, with the code of the folder
    assert command[3:] == [*GRID, "--out", str(folder.path), "--data", "good", "--seeds", "1"]
    measured = [folder.evaluation(name, "knn") for name in names]
    for path in measured:
        path.unlink()
    assert status.main([str(folder.path), "retry", names[0]]) == 0
    assert [path.exists() for path in measured] == [True, False]
    assert status.main([str(folder.path), "retry"]) == 0
    assert [path.exists() for path in measured] == [True, True]
    assert [attempts(folder.path, name) for name in names] == [1, 1]


@pytest.mark.usefixtures("stubbed")
def test_evaluations_come_later_and_on_other_images(tmp_path: Path) -> None:
    folder, name = SweepFolder(tmp_path / "sweep"), "temperature-0.2-s0"
    only = ("--only", name, "--eval-data", str(tmp_path / "stl"))
    assert run(folder.path, *only, "--no-eval") == 0
    assert not (folder.run(name) / "eval").exists()
    plan = json.loads(folder.plan.read_text())["runs"][0]
    assert (plan["data"], plan["eval_data"], plan["evaluations"]) == (
        "good",
        str(tmp_path / "stl"),
        ["knn", "linear"],
    )
    assert run(folder.path, *only) == 0  # the stand-in does not know of other images
    assert job_states(folder, planned_jobs(folder, read_plan(folder)))[f"{name}.knn"].name == "failed"
    (folder.run(name) / "eval/knn@stl-1a2b3c4d.json").write_text("{}")
    (folder.run(name) / "eval/linear@stl-1a2b3c4d.json").write_text("{}")
    states = job_states(folder, planned_jobs(folder, read_plan(folder)))
    assert {states[f"{name}.{each}"].name for each in ("knn", "linear")} == {"finished"}


@pytest.mark.usefixtures("stubbed")
def test_watch_submits_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a cluster that takes one job at a time."""
    taken: list[list[str]] = []

    class Narrow(Local):
        def submit(
            self, folder: SweepFolder, study: str, jobs: Sequence[Job], states: Mapping[str, JobState]
        ) -> int:
            taken.append([job.name for job in jobs])
            return super().submit(folder, study, jobs[:1], states)

    monkeypatch.setattr(sweep, "_WATCH", 0.0)
    only = ("--only", "temperature-0.2-s0")
    options, _ = parse([*GRID, "--out", str(tmp_path / "sweep"), "--data", "good", *only, "--watch"])
    assert sweep.sweep(options, Narrow(), []) == 0
    names = ["temperature-0.2-s0", "temperature-0.2-s0.knn", "temperature-0.2-s0.linear"]
    assert taken == [names, names[1:], names[2:]]
    assert "2 trainings and evaluations are left" in capsys.readouterr().err


def test_lists_that_are_given_twice_add_up() -> None:
    parts = ["--grid", "temperature=0.2,0.5", "--set", "epochs=3"]
    more = ["--grid=base_lr=0.1,0.2", "--set", "workers=2", "log_every=1", "--seeds", "2"]
    options, _ = parse(["--recipe", "quickstart", *parts, *more, "--sbatch", "a=1", "--sbatch", "b"])
    assert options.grid == ("temperature=0.2,0.5", "base_lr=0.1,0.2")
    assert options.set == ("epochs=3", "workers=2", "log_every=1")
    assert options.seeds == 2
    assert options.slurm.sbatch == ("a=1", "b")  # type: ignore[attr-defined]
    assert len(sweep.chosen_study(options).runs) == 8


def test_a_gpu_that_was_asked_for_must_be_there(tmp_path: Path) -> None:
    """auto would train on the CPU of a node whose GPU is not visible."""
    for more, device in (
        ((), "cuda"),
        (("--set", "device=cpu"), ""),
        (("--gpus-per-node", "0"), ""),
        (("--cluster", "local"), ""),
    ):
        options, cluster = parse([*GRID, "--cluster", "slurm", *more])
        study = sweep.chosen_study(options)
        jobs = sweep._jobs(SweepFolder(tmp_path), study.runs[0], options, cluster)
        assert {job.device for job in jobs} == {device}


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path, fresh: bool) -> bool:
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    monkeypatch.setattr(snapshot, "take", full)
    with pytest.raises(UserError, match=r"^cannot write \S+code \(No space left on device\): make room"):
        sweep.main([*GRID, "--out", str(tmp_path / "sweep"), "--data", "scenes"])


@pytest.mark.usefixtures("stubbed")
def test_runs_may_join_but_not_change(tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    assert run(folder, "--only", "temperature-0.2-s0") == 0
    assert not SweepFolder(folder).run("temperature-0.5-s0").exists()
    assert run(folder, "--seeds", "2", "--only", "temperature-0.2-s1") == 0
    assert attempts(folder, "temperature-0.2-s0") == 1
    plan = (folder / "sweep.json").read_text()
    for options, message in (
        (["--seeds", "1"], "with the run temperature-0.2-s1, which this command lacks"),
        (["--seeds", "2", "--set", "epochs=3"], r"another config: epochs \(7 became 3\)"),
    ):
        with pytest.raises(UserError, match=message):
            run(folder, *options)
    with pytest.raises(UserError, match="holds the study quickstart-by-temperature at scale paper"):
        sweep.main(["tiny", "--out", str(folder)])
    assert (folder / "sweep.json").read_text() == plan


@pytest.mark.usefixtures("stubbed")
def test_only_one_driver_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    with folder_lock.hold(tmp_path / "sweep"), pytest.raises(UserError, match="another process is working"):
        run(tmp_path / "sweep")


@pytest.mark.usefixtures("stubbed")
def test_a_run_that_someone_trains_is_left_alone(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    folder.run("temperature-0.2-s0").mkdir(parents=True)
    shutil.move(folder.path / "runs", tmp_path / "runs")  # a sweep folder is empty at first
    assert run(folder.path, "--only", "temperature-0.5-s0") == 0
    folder.run("temperature-0.2-s0").mkdir()
    with folder_lock.hold(folder.run("temperature-0.2-s0")):
        assert run(folder.path) == 0
    assert attempts(folder.path, "temperature-0.2-s0") == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["tinny"], r"unknown study tinny \(did you mean tiny\?\)"),
        (["tiny", "--size", "64"], r"unknown option --size, which is the runs' own \(--set size=VALUE for"),
        ([], r"give a study \(tiny, .*or --recipe RECIPE"),
        (["tiny", "--recipe", "quickstart"], r"give a study"),
        (["tiny", "--grid", "epochs=1"], r"--grid belongs to --recipe"),
        (["tiny", "--grid"], r"--grid needs one value or several"),
        (["tiny", "--zip", "epochs=1"], r"--zip belongs to --recipe"),
        (["tiny", "--eval-data", "nowhere"], r"no such folder or file: /.*/nowhere; say with --eval-data"),
        (["--recipe", "quickstrat"], r"unknown recipe quickstrat \(did you mean quickstart\?\)"),
        (["tiny", "--partiton", "gpu"], r"unknown option --partiton \(did you mean --partition\?\)"),
        (["--seds", "3"], r"unknown option --seds \(did you mean --seeds\?\)"),
        (["tiny", "--seeds", "0"], r"--seeds must be at least 1"),
        (["tiny", "--time", "1h"], r"--time 1h is no time limit"),
        (["tiny", "--time", "2"], r"leaves no time for the checkpoint"),
        (["tiny", "--sbatch", "=x"], r"give sbatch's options as NAME=VALUE"),
        (["tiny", "--nodes", "2"], r"take --cluster slurm"),
        (["tiny", "--only", "k3"], r"--only k3: tiny has no such run; it has k4-s0"),
        (["tiny", "--set", "epoch=1"], r"did you mean epochs\?"),
        (["tiny", "--set", "epochs=-1"], r"^--set epochs=-1: --epochs must be above 0, not -1"),
        (["moco-ladder"], r"no such folder or file: /.*/imagenet; say with --data where"),
        (["tiny", "--data", "nowhere"], r"no such folder or file: /.*/nowhere"),
        (
            ["tiny", "--data", "scenes", "--data", "nowhere"],
            r"no such folder or file: /.*/nowhere; say with --data",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as raised:
        sweep.main(options)
    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("cat pet\ndog pet\nhorse farm\n", None),
        ("cat pet\ndog\n", r"mapping\.tsv, line 2: 'dog' must be a class, a tab, its group"),
        ("cat pet\ndgo pet\nhorse farm\n", r"gives no group for the class dog \(did you mean dgo\?\)"),
    ],
)
def test_a_typo_in_a_mapping_file_is_found_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, message: str | None
) -> None:
    monkeypatch.setattr(sweep, "make_folder", lambda _: pytest.fail("made") if message else sys.exit(0))
    for name in ("cat", "dog", "horse", ".cache"):
        (tmp_path / "data/train" / name).mkdir(parents=True)
    (tmp_path / "mapping.tsv").write_text(lines)
    command = ["--recipe", "supervised-imagenet", "--set", f"taxonomy={tmp_path / 'mapping.tsv'}"]
    command += ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "sweep")]
    with pytest.raises(UserError, match=message) if message else pytest.raises(SystemExit):
        sweep.main(command)


def test_what_slurm_refuses_is_not_submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"echo $@ >> {tmp_path}/calls\necho 'sbatch: error: invalid partition: x' >&2\nexit 1"
    stand_in(tmp_path / "bin", "sbatch", script, monkeypatch)
    command = ["tiny", "--cluster", "slurm", "--partition", "x", "--out", str(tmp_path / "sweep")]
    with pytest.raises(UserError, match=r"^SLURM refuses: invalid partition: x$"):
        sweep.main(command)
    assert "--test-only" in (tmp_path / "calls").read_text()
    assert not (tmp_path / "sweep").exists()


def test_a_strange_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"not empty and no sweep folder \(it holds thesis\.tex\)"):
        run(tmp_path)
    for folder in (tmp_path / "thesis.tex", tmp_path / "thesis.tex" / "sweep"):
        with pytest.raises(UserError, match=r"thesis\.tex is no folder: choose another --out"):
            run(folder, "--dry-run")


def test_a_runs_config_and_a_file_of_fields_serve_as_a_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = dataclasses.replace(quickstart().experiment, epochs=9)
    config = dataclasses.replace(quickstart(), experiment=experiment)
    (tmp_path / "config.json").write_text(json.dumps({"config": to_dict(config)}))
    (tmp_path / "mine.toml").write_text('recipe = "quickstart"\nepochs = 11')
    for name, epochs, study in (("config.json", 9, "quickstart"), ("mine.toml", 11, "mine")):
        words = ["--recipe", str(tmp_path / name), "--grid", "temperature=0.1"]
        assert sweep.main([*words, "--dry-run"]) == 0
        assert f"temperature-0.1-s0  {epochs} " in capsys.readouterr().out
        assert sweep.chosen_study(parse(words)[0]).name == f"{study}-by-temperature"


def test_a_dry_run_says_all_and_makes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--cluster", "slurm", "--partition", "gpu", "--gpus-per-node", "4", "--time", "8:00:00"]
    assert run(tmp_path / "sweep", "--dry-run", *command, "--seeds", "3", "--max-parallel", "2") == 0
    text = capsys.readouterr().out
    assert "6 runs into" in text
    assert "12 evaluations of them" in text
    assert "warning: without --cpus-per-gpu SLURM gives each process one core" in text
    assert "temperature-0.5-s2  7       64     unknown         knn linear" in text
    assert "cost of 6 runs: unknown" in text
    assert "#SBATCH --array=0-5%2" in text
    assert "#SBATCH --dependency=afterok:JOB_OF_THE_RUN" in text
    assert text.count("#SBATCH --partition=gpu") == 2
    assert text.count("#SBATCH --time=480") == 2
    assert "#SBATCH --gpus-per-node=4" in text
    assert "#SBATCH --gpus-per-node=1" in text  # of an evaluation
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("stubbed")
def test_the_cost_follows_from_what_was_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """7 epochs of the 10,000 scenes at 50 images/s are 0.389 hours, whatever the temperature."""
    assert run(tmp_path / "one", "--only", "temperature-0.2-s0") == 0
    folder = SweepFolder(tmp_path / "one").run("temperature-0.2-s0")
    shutil.copy(SweepFolder(tmp_path / "one").config("temperature-0.2-s0"), folder / "config.json")
    capsys.readouterr()
    assert sweep.main([*GRID, "--out", str(tmp_path / "two"), "--dry-run", "--data", "scenes"]) == 0
    text = capsys.readouterr().out
    assert "temperature-0.5-s0  7       64     0.39" in text
    assert "cost: 0.8 GPU-hours for 2 runs" in text
    assert "unknown" not in text


def test_scales_have_folders_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for options, folder in (
        (["batch-size"], "batch-size"),
        (["batch-size", "--scale", "tiny"], "batch-size-tiny"),
        (["tiny"], "tiny"),
        ([*GRID], "quickstart-by-temperature"),
        ([*GRID, "--scale", "tiny"], "quickstart-by-temperature-tiny"),
    ):
        assert sweep.main([*options, "--dry-run"]) == 0
        assert f" runs into {tmp_path}/sweeps/{folder}\n" in capsys.readouterr().out


def test_a_recipe_at_the_scale_tiny_is_shrunk_as_in_studies(tmp_path: Path) -> None:
    """4 epochs of the scenes in batches of 64, in place of 200 epochs in batches of 1024."""
    command = ["--recipe", "moco-v2-imagenet", "--grid", "temperature=0.1,0.2", "--out", str(tmp_path)]
    paper, tiny = (sweep.chosen_study(parse([*command, "--scale", scale])[0]) for scale in ("paper", "tiny"))
    assert (paper.name, paper.scale) == ("moco-v2-imagenet-by-temperature", "paper")
    assert (tiny.name, tiny.scale) == ("moco-v2-imagenet-by-temperature", "tiny")
    assert [run.name for run in tiny.runs] == [run.name for run in paper.runs]
    for run, of_paper, temperature in zip(tiny.runs, paper.runs, (0.1, 0.2), strict=True):
        experiment = run.config.experiment
        assert (experiment.epochs, experiment.batch_size, run.config.machine.data) == (4, 64, "scenes")
        assert experiment.backbone.kind == "resnet9"
        assert experiment.method.loss.temperature == temperature  # type: ignore[attr-defined]
        assert (of_paper.config.experiment.epochs, of_paper.config.experiment.batch_size) == (200, 1024)


def test_the_snapshot_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run the code that was submitted, until a fresh copy is asked for."""
    tree = tmp_path / "tree"
    for package in ("pipelines", "fastssl", "launchers"):
        (tree / package).mkdir(parents=True)
        (tree / package / "__init__.py").write_text("version = 1\n")
    (tree / "fastssl" / "__pycache__").mkdir()
    monkeypatch.setattr(snapshot, "_ROOT", tree)
    code = tmp_path / "sweep" / "code"
    assert snapshot.take(code, fresh=False)
    assert not (code / "fastssl" / "__pycache__").exists()
    (tree / "fastssl" / "__init__.py").write_text("version = 2\n")
    assert not snapshot.take(code, fresh=False)
    assert (code / "fastssl" / "__init__.py").read_text() == "version = 1\n"
    assert snapshot.take(code, fresh=True)
    assert (code / "fastssl" / "__init__.py").read_text() == "version = 2\n"
    (tree / "launchers" / "new.py").touch()
    assert not snapshot.take(code, fresh=False)
    assert sorted(path.name for path in code.parent.iterdir()) == ["code"]


# --- stopped and started ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("stubbed")
def test_a_stopped_sweep_goes_on_to_its_evaluations(tmp_path: Path) -> None:
    folder, only = SweepFolder(tmp_path / "sweep"), ("--data", "good-100", "--only", "temperature-0.2-s0")
    thread = signal_when(folder.run("temperature-0.2-s0") / "summary.json", signal.SIGINT)
    assert run(folder.path, *only) == 130
    thread.join()
    assert read_summary(folder.run("temperature-0.2-s0"))["status"] == "interrupted"
    assert not folder.evaluation("temperature-0.2-s0", "knn").exists()
    assert run(folder.path, *only) == 0
    assert folder.evaluation("temperature-0.2-s0", "knn").exists()
    assert attempts(folder.path, "temperature-0.2-s0") == 2


@pytest.mark.usefixtures("stubbed")
def test_a_driver_that_was_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    """Its attempt has no end: the run is lost, and not running."""
    folder, name = SweepFolder(tmp_path / "sweep"), "temperature-0.2-s0"
    assert run(folder.path, "--only", name) == 0
    shutil.rmtree(folder.run(name))
    lines = folder.attempts(name).read_text().splitlines()
    folder.attempts(name).write_text(lines[0] + "\n")
    assert run(folder.path, "--only", name) == 0
    assert [attempt.outcome for attempt in read_attempts(folder.attempts(name))] == ["lost", "finished"]
    assert folder.evaluation(name, "linear").exists()


SHRUNK = [
    *("batch_size=6", "backbone.width=0.0625", "views.0.spec.size=16", "num_negatives=16"),
    *("projector.hidden_dim=16", "predictor.hidden_dim=16", "projector.out_dim=8", "predictor.out_dim=8"),
    *("epochs=20", "log_every=1", "checkpoint_minutes=60"),
]


def test_a_real_run_is_stopped_and_resumes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The whole path: snapshot, training of real images, Ctrl-C, the same command again, evaluations."""
    for split, count in (("train", 4), ("test", 2)):
        write_colors(tmp_path / "colors" / split, count, seed=count)
    command = ["--recipe", "quickstart", "--grid", "temperature=0.2", "--data", str(tmp_path / "colors")]
    command += ["--out", str(tmp_path / "sweep"), "--set", *SHRUNK]
    folder = SweepFolder(tmp_path / "sweep").run("temperature-0.2-s0")
    thread = signal_when(folder / "metrics.jsonl", signal.SIGINT)
    assert sweep.main(command) == 130
    thread.join()
    assert "the same command resumes" in capfd.readouterr().err
    stopped_at = read_summary(folder)["steps_done"]
    assert 0 < stopped_at < 40
    assert sweep.main(command) == 0
    summary = read_summary(folder)
    assert (summary["status"], summary["steps_done"]) == ("finished", 40)
    log = SweepFolder(tmp_path / "sweep").log("temperature-0.2-s0").read_text()
    assert f"resumed at step {stopped_at}" in log
    assert json.loads((folder / "eval" / "knn.json").read_text())["step"] == 40
    assert (folder / "eval" / "linear.json").exists()
    assert "temperature-0.2-s0 finished: kNN top-1" in capfd.readouterr().err


def test_addresses_stay_as_they_are_and_are_not_staged(tmp_path: Path) -> None:
    address = "s3://bucket/train-{000..127}.tar?cache=20e9"
    assert sweep.absolute_data(f"{address} + {tmp_path}") == f"{address} + {tmp_path}"
    assert staged(address, str(tmp_path)) == address
    with pytest.raises(UserError, match="holds a password"):
        sweep.absolute_data("s3://key:secret@bucket/set")
