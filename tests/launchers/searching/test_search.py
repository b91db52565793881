"""Searches by the real engine over real processes of a stand-in for the training (``stub_trials``)."""

import json
import os
import signal
from pathlib import Path

import pytest

from fastssl.config_file import named_config
from launchers import site
from launchers.clusters.slurm import Slurm
from launchers.look import look
from launchers.search import defined_search, main
from launchers.searching.options import parse
from launchers.status import main as status
from pipelines.command.errors import UserError
from tests.helpers.commands import ForkedCommand
from tests.helpers.signals import wait_until
from tests.helpers.stub_trials import WORDS, epochs_trained, score, stub_search, table


def test_a_search_pauses_most_trials_and_trains_the_best_to_their_end(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder, command = stub_search(tmp_path / "s", ["--trials", "7", "--grace", "1", "--parallel", "2"])
    assert main(command) == 0
    found = table(folder)
    assert [*found] == [f"trial-{number:04d}" for number in range(7)]
    rates = {run: line["values"]["optimizer.base_lr"] for run, line in found.items()}
    assert len({*rates.values()}) == 7
    assert all(1e-5 <= rate <= 1e-1 for rate in rates.values())
    for run, line in found.items():  # every trial came to a rung, and no epoch was trained twice
        assert line["epoch"] in (1, 3, 9)
        assert line["metric"] == pytest.approx(score(rates[run], line["epoch"]))
        assert epochs_trained(folder, run) == [*range(1, int(line["epoch"]) + 1)]
        assert line["state"] == ("finished" if line["epoch"] == 9 else "paused")
    assert 2 <= sum(line["epoch"] > 1 for line in found.values()) <= 4
    finished = [run for run, line in found.items() if line["state"] == "finished"]
    best = json.loads(folder.search.read_text())["best"]
    assert best == max(finished, key=lambda run: found[run]["metric"])
    config = named_config(str(folder.best))
    assert config.experiment.optimizer.base_lr == rates[best]
    assert (config.experiment.epochs, config.machine.pause_after) == (9, 0)
    assert best in capfd.readouterr().out
    states = {run.name: run.state.name for run in look(folder).runs}  # as launchers.status shows them
    assert states == {run: line["state"] for run, line in found.items()}
    before = folder.journal.read_bytes()
    assert main(command) == 0  # there is nothing left to do
    assert folder.journal.read_bytes() == before
    more = [word if word != "7" else "8" for word in command]
    assert main(more) == 0
    assert len(table(folder)) == 8


@pytest.mark.slow
def test_failures_are_told_and_the_search_goes_on(tmp_path: Path) -> None:
    faults = {"trial-0000": "crash", "trial-0001": "diverged", "trial-0002": "killed"}
    folder, command = stub_search(tmp_path / "s", ["--trials", "4", "--retries", "1"], faults)
    assert main(command) == 0
    found = table(folder)
    assert found["trial-0000"]["state"] == "failed"
    assert found["trial-0000"]["error"] == "RuntimeError: the loss went away"
    assert found["trial-0001"]["state"] == "diverged"
    assert found["trial-0002"]["state"] == "finished"  # started again
    assert epochs_trained(folder, "trial-0002") == [*range(1, 10)]
    assert found["trial-0003"]["state"] == "finished"


def test_a_users_mistake_stops_the_search_and_loses_nothing(tmp_path: Path) -> None:
    folder, command = stub_search(
        tmp_path / "s", ["--trials", "3", "--grace", "3"], {"trial-0001": "mistake"}
    )
    with pytest.raises(UserError, match=r"^trial-0001 \(base_lr .*\): no such folder$"):
        main(command)
    assert epochs_trained(folder, "trial-0000") == [1, 2, 3]
    (folder.path / "faults.json").unlink()  # mended
    assert main(command) == 0
    assert epochs_trained(folder, "trial-0000")[:3] == [1, 2, 3]
    assert [*table(folder)] == ["trial-0000", "trial-0001", "trial-0002"]


def test_a_search_of_failures_stops_early(tmp_path: Path) -> None:
    faults = {f"trial-{number:04d}": "crash" for number in range(20)}
    folder, command = stub_search(tmp_path / "s", ["--retries", "0"], faults)
    with pytest.raises(UserError, match="3 trials failed and none succeeded"):
        main(command)
    assert len(table(folder)) == 3
    (folder.path / "faults.json").unlink()  # mended
    assert main([*command, "--trials", "5"]) == 0
    assert [line["state"] for line in table(folder).values()] == ["failed"] * 3 + ["finished"] * 2


def test_a_metric_that_is_not_logged_is_named_with_the_nearest(tmp_path: Path) -> None:
    _, command = stub_search(tmp_path / "s", ["--metric", "scorre", "--trials", "2"])
    with pytest.raises(UserError, match="trial-0000 logs no such metric; did you mean score"):
        main(command)


def test_two_drivers_share_a_search_and_one_is_killed(tmp_path: Path) -> None:
    folder, command = stub_search(tmp_path / "s", ["--trials", "4", "--grace", "3"])
    drivers = [ForkedCommand("launchers.search", *command) for _ in range(2)]
    wait_until(lambda: len(table(folder)) >= 2)
    os.kill(drivers[0].pid, signal.SIGKILL)
    _, errors = drivers[1].communicate(timeout=200)
    drivers[0].communicate(timeout=20)
    assert drivers[1].returncode == 0, errors
    found = table(folder)
    assert len(found) == 4
    for run, line in found.items():
        assert epochs_trained(folder, run) == [*range(1, int(line["epoch"]) + 1)]
    assert any(line["state"] == "finished" for line in found.values())


def test_cancel_stops_all_drivers_of_this_machine_after_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of them has nothing to do: it waits for the trials of the other."""
    folder, command = stub_search(tmp_path / "s", ["--trials", "1", "--set", "epochs=400"])
    drivers = [ForkedCommand("launchers.search", *command) for _ in range(2)]
    metrics = folder.run("trial-0000") / "metrics.jsonl"
    wait_until(lambda: metrics.exists() and len([*folder.drivers.glob("*/lock")]) == 2)
    with pytest.raises(UserError, match="trial-0000 runs on this machine: stop the whole"):
        status([str(folder.path), "cancel", "trial-0000"])
    assert status([str(folder.path), "cancel"]) == 0
    assert capsys.readouterr().out.endswith("cancelled 1 jobs\n")
    for driver in drivers:
        _, errors = driver.communicate(timeout=60)
        assert driver.returncode == 143, errors
    assert json.loads((folder.run("trial-0000") / "summary.json").read_text())["status"] == "interrupted"
    assert not [*folder.drivers.iterdir()]
    assert table(folder)["trial-0000"]["state"] == "training"  # the same command goes on


def test_settings_are_set_at_once_and_a_ready_space_brings_its_own() -> None:
    """The widths of moco's two heads fit together only."""
    widths = ["projector.out_dim=16", "predictor.out_dim=16"]
    words = ["quickstart", "--space", "newell-deng", "temperature=0.1,0.2", "--set", *widths, "epochs=50"]
    found = defined_search(parse(words)[0])
    assert [each.path for each in found.space] == [
        "optimizer.base_lr",
        "optimizer.end_share",
        "optimizer.weight_decay",
        "method.loss.temperature",
    ]
    assert found.rungs == (20, 50)
    assert found.base.experiment.optimizer.schedule == "linear"
    values = {each.path: 0.1 for each in found.space}
    assert found.config(values).machine.monitor_every == 4  # quickstart's own, which meets every rung
    assert defined_search(parse([*words, "--grace", "0"])[0]).rungs == (50,)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--metric", "other"], r"metric \(score became other\)"),
        (["--space", "weight_decay=log:1e-7:1e-3"], "space .*weight_decay"),
        (["--set", "batch_size=32"], r"batch_size \(64 became 32\)"),
        (["--minimize"], r"minimize \(False became True\)"),
    ],
)
def test_another_search_in_the_folder_is_refused(tmp_path: Path, words: list[str], told: str) -> None:
    _, command = stub_search(tmp_path / "s")
    with pytest.raises(UserError, match=f"holds another search: {told}.*choose another --out"):
        main([*command, *words])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--trials", "0"], "--trials must be at least 1, not 0"),
        (["--reduction", "1"], "--reduction must be at least 2, not 1"),
        (["--space", "newell"], "ready space: newell-deng"),
        (["--data", "/nowhere"], "no such folder or file: /nowhere"),
        (["--cluster", "debug"], "invalid choice 'debug'"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, words: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        main([*WORDS, *words, "--out", str(tmp_path / "s")])
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "s").exists()


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(UserError, match=r"no search folder \(it holds photo\.jpg\)"):
        main([*WORDS, "--out", str(tmp_path)])


def test_optuna_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("launchers.search.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs Optuna: pip install '\.\[search\]'"):
        main([*WORDS, "--out", str(tmp_path / "s")])


def test_a_sites_defaults_and_slurms_own_grace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM's grace time is in seconds and called --slurm-grace here; options of sweeps are left out."""
    file = tmp_path / "site.toml"
    file.write_text('cluster = "slurm"\npartition = "gpu"\ngrace = 300\nmax_parallel = 3\nsetup = ["true"]\n')
    monkeypatch.setattr(site, "USUAL", str(file))
    options, cluster = parse([*WORDS, "--grace", "5", "--setup", "module load cuda"])
    assert (options.grace, cluster.kind) == (5, "slurm")
    assert isinstance(cluster.config, Slurm.Config)
    assert (cluster.config.grace, cluster.config.partition) == (300, "gpu")
    assert cluster.config.setup == ("true", "module load cuda")
    _, cluster = parse([*WORDS, "--slurm-grace", "200"])
    assert isinstance(cluster.config, Slurm.Config)
    assert cluster.config.grace == 200
    file.write_text("grase = 300\n")
    with pytest.raises(UserError, match="unknown option grase; did you mean grace"):
        parse(WORDS)
